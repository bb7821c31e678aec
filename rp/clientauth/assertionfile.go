package clientauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// nearEnd is how long before its end a token is looked for a newer one at each request, although its file looks unchanged.
	nearEnd = time.Minute
	// settled is how old a file must be for its time of change to tell one content from the next: file systems count time in steps.
	settled = 2 * time.Second
)

// AssertionFile is Assertion with the JWT that a file holds and somebody else renews: a projected service account token of Kubernetes (also as EKS and AKS mount it), or a JWT-SVID
// that a SPIFFE helper writes. The file is read when a request needs it and it has changed, so New needs no file yet. White space around the JWT is dropped.
//
// While a file is empty, half written or gone, its last good JWT is used for as long as it is good; an error says what is wrong after that. A JWT without exp is never taken.
func AssertionFile(path string) Method { return Assertion((&assertionFile{path: path}).token) }

type assertionFile struct {
	path string

	mu   sync.Mutex
	good string // the last token that could be used
	exp  time.Time
	info os.FileInfo // of the file that held it; nil: read again
}

func (a *assertionFile) token(ctx context.Context) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	info, err := os.Stat(a.path)
	if err == nil && a.unchanged(info, now) {
		return a.good, nil
	}
	if err == nil {
		err = a.read(info, now)
	}
	switch {
	case err == nil:
		return a.good, nil
	case now.Before(a.exp):
		a.info = nil
		return a.good, nil
	}
	return "", fmt.Errorf("assertion file %s: %w; whoever renews it must be running, and this process able to read it", a.path, bare(err))
}

func (a *assertionFile) unchanged(info os.FileInfo, now time.Time) bool {
	return a.info != nil && os.SameFile(a.info, info) && a.info.ModTime().Equal(info.ModTime()) && a.info.Size() == info.Size() &&
		now.Sub(info.ModTime()) > settled && a.exp.Sub(now) > nearEnd
}

// read takes over what the file holds now, if it can be used.
func (a *assertionFile) read(info os.FileInfo, now time.Time) error {
	if !info.Mode().IsRegular() { // opening a pipe waits for its writer
		return errors.New("it is no regular file")
	}
	f, err := os.Open(a.path)
	if err != nil {
		return err
	}
	defer f.Close()
	// Of the file that is open: the name may belong to the next one by now.
	if info, err = f.Stat(); err != nil {
		return err
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxAssertion+1))
	if err != nil {
		return err
	}
	token := strings.TrimSpace(string(raw))
	exp, err := expiry(token)
	switch {
	case err != nil:
		return err
	case len(raw) > maxAssertion:
		return fmt.Errorf("it is longer than %d bytes", maxAssertion)
	case !now.Before(exp):
		return fmt.Errorf("the assertion has expired at %s", exp.UTC().Format(time.RFC3339))
	}
	a.good, a.exp, a.info = token, exp, info
	return nil
}

// bare drops the path that errors of package os repeat.
func bare(err error) error {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err
	}
	return err
}
