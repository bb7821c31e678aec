package session

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
)

// gorillaValue is the key in Values under which a foreign store holds our one value.
const gorillaValue = "latchkey"

// gorillaKeeper keeps the record in any gorilla store, as one []byte. What such a store leaves open is closed here: the record is sealed before the store sees it
// (FilesystemStore writes files, CookieStore need not encrypt), every session gets our cookie options (theirs lack HttpOnly and SameSite), reads go through
// New (Get answers from the request's registry), and a session that comes with an error is none. Saves and removals of one session take turns in this process, so that a save under
// way doesn't bring back what a logout removed. What can't be closed: gorilla's port has no compare-and-swap, so in two processes it can; and FilesystemStore leaves the files of
// sessions that ended in the browser alone.
type gorillaKeeper struct {
	cookieAttributes
	store sessions.Store
	seal  *sealer
	bound string
	seen  seenCookie
	turns [64]sync.Mutex // by the first byte of the record's id
}

func newGorillaKeeper(store sessions.Store, a cookieAttributes, ring *Keyring, owner string) (*gorillaKeeper, error) {
	g := &gorillaKeeper{
		cookieAttributes: a, store: store, bound: a.name,
		seen: seenCookie{cookieAttributes: a, full: a.name + seenSuffix},
	}
	return g, sealers(ring, owner, map[string]**sealer{"store": &g.seal, "store seen": &g.seen.seal})
}

func (g *gorillaKeeper) load(r *http.Request, k *kept) error {
	var p cookieParts
	p.scan(r, g.name)
	if p.times[0] > 1 {
		return errNoRecord // gorilla would take the first of the two
	}
	_, sealed, err := g.read(r)
	if err != nil {
		return err
	}
	plain, err := g.seal.open(nil, sealed, g.bound)
	if err != nil {
		return err
	}
	if err := openEnvelope(plain, k); err != nil {
		return err
	}
	k.handle = sealed
	k.seen = g.seen.read(&p, k.id)
	return nil
}

// read returns the stored session and what it holds for us.
func (g *gorillaKeeper) read(r *http.Request) (*sessions.Session, []byte, error) {
	s, err := g.store.New(g.ownCookies(r), g.name)
	if err != nil {
		return nil, nil, readError(err)
	}
	if s == nil || s.IsNew {
		return nil, nil, errNoRecord
	}
	switch v := s.Values[gorillaValue].(type) {
	case []byte:
		return s, v, nil
	case string: // of stores that keep JSON
		if b, err := base64.StdEncoding.DecodeString(v); err == nil {
			return s, b, nil
		}
	}
	return nil, nil, errNoRecord
}

// readError tells "nothing that opens" from an outage.
func readError(err error) error {
	var cookie securecookie.Error
	if errors.Is(err, fs.ErrNotExist) || errors.As(err, &cookie) && cookie.IsDecode() {
		return errNoRecord
	}
	return storeError(err)
}

// storeError drops the path of a file error: it holds the session's id.
func storeError(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return fmt.Errorf("%w: %s: %w", ErrStore, path.Op, path.Err)
	}
	return fmt.Errorf("%w: %w", ErrStore, err)
}

func (g *gorillaKeeper) create(w http.ResponseWriter, r *http.Request, data []byte, expires time.Time) error {
	made := headersOnly{http.Header{}}
	if err := g.createBeside(made, r, data, expires); err != nil {
		return err
	}
	if _, err := g.forget(r); err != nil { // what it says of cookies is overtaken by the new ones
		return err
	}
	dropSetCookie(w, g.seen.full)
	pass(w, made.h)
	return nil
}

// createBeside is create, and leaves what r names in the store.
func (g *gorillaKeeper) createBeside(w http.ResponseWriter, r *http.Request, data []byte, expires time.Time) error {
	var p cookieParts
	p.scan(r, g.name)
	// The store's own New on a request without cookies gives a session whose id, if it has one already, nobody planted.
	fresh, err := g.store.New(withoutCookies(r), g.name)
	if err != nil {
		return storeError(err)
	}
	if fresh == nil || !fresh.IsNew {
		return fmt.Errorf("%w: %T gives a session that isn't new to a request without cookies", ErrStore, g.store)
	}
	made, err := g.save(r, fresh, g.sealed(newEnvelopeID(), data, expires), expires)
	if err != nil {
		return err
	}
	g.seen.drop(w, &p)
	pass(w, made)
	return nil
}

func withoutCookies(r *http.Request) *http.Request {
	bare := r.WithContext(r.Context())
	bare.Header = maps.Clone(r.Header)
	delete(bare.Header, "Cookie")
	return bare
}

// ownCookies gives a store those cookies of r that can be its own: net/http gives it none of more than 3,000.
func (g *gorillaKeeper) ownCookies(r *http.Request) *http.Request {
	var line strings.Builder
	for name, value := range eachCookie(r) {
		if strings.HasPrefix(name, g.name) && !strings.ContainsAny(name, " \t") { // net/http would trim it, and take it for ours
			line.WriteString("; " + name + "=" + value)
		}
	}
	own := withoutCookies(r)
	if line.Len() > 0 {
		own.Header["Cookie"] = []string{line.String()[2:]}
	}
	return own
}

func (g *gorillaKeeper) sealed(id keptID, data []byte, expires time.Time) []byte {
	return g.seal.seal(nil, appendEnvelope(nil, id, expires, data), g.bound)
}

func (g *gorillaKeeper) update(w http.ResponseWriter, r *http.Request, k *kept, data []byte, expires time.Time) error {
	turn := g.turn(k)
	turn.Lock()
	defer turn.Unlock()
	s, stored, err := g.read(r)
	if err != nil {
		return err
	}
	if was, ok := k.handle.([]byte); !ok || !bytes.Equal(was, stored) {
		return errConflict
	}
	made, err := g.save(r, s, g.sealed(k.id, data, expires), expires)
	if err != nil {
		return err
	}
	pass(w, made)
	return nil
}

// turn is the lock of k's session, and of every 64th other one.
func (g *gorillaKeeper) turn(k *kept) *sync.Mutex { return &g.turns[int(k.id[0])%len(g.turns)] }

// save replaces all of the session's values by ours and returns the cookies the store made of them. One that no browser takes would be a session lost without a word.
func (g *gorillaKeeper) save(r *http.Request, s *sessions.Session, sealed []byte, expires time.Time) (http.Header, error) {
	s.Options = g.options(maxAge(expires))
	s.Values = map[any]any{gorillaValue: sealed}
	made := headersOnly{http.Header{}}
	if err := g.store.Save(r, made, s); err != nil {
		return nil, saveError(err, len(sealed))
	}
	for _, line := range made.h["Set-Cookie"] {
		if pair, _, _ := strings.Cut(line, ";"); len(pair) > maxCookie {
			name, _, _ := strings.Cut(pair, "=")
			return nil, fmt.Errorf("%w: the store made a cookie %q of %d bytes and browsers take %d; use NewCookieStore or a server-side store", ErrTooLarge, name, len(pair), maxCookie)
		}
	}
	return made.h, nil
}

// pass hands the store's cookies on, in place of earlier ones of the same names.
func pass(w http.ResponseWriter, made http.Header) {
	for _, line := range made["Set-Cookie"] {
		name, _, _ := strings.Cut(line, "=")
		dropSetCookie(w, name)
		w.Header().Add("Set-Cookie", line)
	}
}

func (g *gorillaKeeper) options(maxAge int) *sessions.Options {
	return &sessions.Options{Path: "/", MaxAge: maxAge, Secure: g.secure, HttpOnly: true, SameSite: g.sameSite}
}

// saveError explains securecookie's bound, which is met as soon as a provider's tokens are large.
func saveError(err error, size int) error {
	var cookie securecookie.Error
	if errors.As(err, &cookie) && strings.Contains(err.Error(), "too long") {
		return fmt.Errorf("%w: %d bytes for a store bounded by securecookie's MaxLength, 4096 by default: call MaxLength(65536) on a FilesystemStore, and in place of gorilla's CookieStore use NewCookieStore",
			ErrTooLarge, size)
	}
	return storeError(err)
}

func (g *gorillaKeeper) touch(w http.ResponseWriter, _ *http.Request, k *kept, t time.Time) error {
	g.seen.write(w, k, t)
	return nil
}

func (g *gorillaKeeper) remove(w http.ResponseWriter, r *http.Request, k *kept) error {
	if k != nil {
		turn := g.turn(k)
		turn.Lock()
		defer turn.Unlock()
	}
	var p cookieParts
	p.scan(r, g.name)
	g.seen.drop(w, &p)
	dropSetCookie(w, g.name)
	made, err := g.forget(r)
	pass(w, made)
	if p.times[0] > 0 {
		g.delete(w, g.name)
	}
	return err
}

// forget removes from the store the session r names, and returns what the store says of cookies.
func (g *gorillaKeeper) forget(r *http.Request) (http.Header, error) {
	s, err := g.store.New(g.ownCookies(r), g.name)
	if err != nil {
		if err = readError(err); errors.Is(err, errNoRecord) {
			return nil, nil
		}
		return nil, err
	}
	if s == nil || s.IsNew {
		return nil, nil
	}
	s.Options = g.options(-1)
	made := headersOnly{http.Header{}}
	if err := g.store.Save(r, made, s); err != nil {
		return nil, storeError(err)
	}
	return made.h, nil
}

func (g *gorillaKeeper) exclusive() bool { return false }

func (g *gorillaKeeper) final() bool { return false }

// headersOnly collects the cookies a store sets.
type headersOnly struct{ h http.Header }

func (o headersOnly) Header() http.Header       { return o.h }
func (headersOnly) Write(b []byte) (int, error) { return len(b), nil }
func (headersOnly) WriteHeader(int)             {}
