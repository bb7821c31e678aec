package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/latchkey-go/latchkey/examples/internal/program"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

const issuer = "https://login.example" // listens nowhere: it is reached in memory

type settings struct {
	tenants          int
	folder           string
	length, lifetime time.Duration
	outage           time.Duration
}

// line is an io.Writer for several who write at once.
type line struct {
	mu sync.Mutex
	to io.Writer
}

func (l *line) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(b)
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	out := &line{to: stdout}
	var set settings
	flags := flag.NewFlagSet("job", flag.ContinueOnError)
	flags.IntVar(&set.tenants, "tenants", 500, "`number` of tenants")
	flags.StringVar(&set.folder, "dir", "", "`folder` to keep the tokens in; none: in memory")
	flags.DurationVar(&set.length, "for", 3*time.Minute, "how `long` to work; zero: until interrupted")
	flags.DurationVar(&set.lifetime, "lifetime", time.Minute, "how `long` an access token lives")
	flags.DurationVar(&set.outage, "outage", 20*time.Second, "how `long` the provider is out of reach, from the second refresh on; zero: never")
	if err := program.Parse(flags, args, out, "Keeps the tokens of many tenants fresh, with an embedded provider."); err != nil {
		return err
	}
	if err := set.check(); err != nil {
		return program.UsageError{Err: err}
	}
	provider, client, err := set.connect()
	if err != nil {
		return err
	}
	tokens, err := open(set.folder, out)
	if err != nil {
		return program.UsageError{Err: err}
	}
	fmt.Fprintf(out, "%d tenants give their consent ...\n", set.tenants)
	names, err := consent(ctx, provider, client, tokens, set.tenants)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Their tokens live %v and are kept fresh from now on; stop with Ctrl-C.\n", set.lifetime)
	if set.length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, set.length)
		defer cancel()
	}
	var troubles sync.WaitGroup
	troubles.Go(func() { set.trouble(ctx, provider, names, out) })
	began := time.Now()
	err = work(ctx, client, tokens, names, func(s rp.KeeperStats) {
		fmt.Fprintf(out, "\r%4.0f s  %d tenants: %d fresh, %d failing, %d to connect again; %d refreshes, %d running, %d waiting  ",
			time.Since(began).Seconds(), s.Keys, s.Fresh, s.Failing, s.Reconnect, tokens.Stats().Refreshes, s.Running, s.Waiting)
	})
	troubles.Wait()
	stats := tokens.Stats()
	fmt.Fprintf(out, "\n\nIn %v: %d refreshes here, %d at the provider, %d refresh tokens used twice, %d failures, %d tokens not saved.\n",
		time.Since(began).Round(time.Second), stats.Refreshes, provider.Refreshes(), provider.RefreshReuses(), stats.Failures, stats.Unsaved)
	return err
}

func (s *settings) check() error {
	switch {
	case s.tenants < 1 || s.tenants > 100_000:
		return fmt.Errorf("-tenants %d is out of range; 1 to 100000", s.tenants)
	case s.lifetime < 5*time.Second:
		return fmt.Errorf("-lifetime %v is too short; 5s at least", s.lifetime)
	case s.length < 0 || s.outage < 0:
		return errors.New("-for and -outage must not be negative")
	}
	return nil
}

// connect makes the provider, with a user for each tenant, and its client.
func (s *settings) connect() (*rptest.Provider, *rp.Client, error) {
	provider, err := rptest.New(rptest.Options{Issuer: issuer, AccessTokenLifetime: s.lifetime, SigningAlg: "ES256"})
	if err != nil {
		return nil, nil, err
	}
	client, err := rp.New(rp.Config{
		Issuer: issuer, ClientID: provider.ClientID(), ClientSecret: provider.ClientSecret(),
		RedirectURL: "https://job.example/callback", HTTPClient: provider.Client(),
	})
	return provider, client, err
}

// consent is what happens in the browsers of the tenants' administrators, once: they log in, and the application saves what comes.
func consent(ctx context.Context, provider *rptest.Provider, client *rp.Client, tokens *rp.TokenStore, n int) (names []string, err error) {
	for i := range n {
		name := fmt.Sprintf("tenant-%d", i)
		provider.SetUser(rptest.User{Name: name})
		login, err := client.Begin(ctx, rp.AuthParams{LoginHint: name, Scopes: []string{"offline_access"}})
		if err != nil {
			return nil, err
		}
		browser := provider.Client()
		browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		answer, err := browser.Get(login.URL)
		if err != nil {
			return nil, err
		}
		answer.Body.Close()
		back, err := answer.Location()
		if err != nil {
			return nil, err
		}
		granted, err := client.Finish(ctx, login, back.Query())
		if err != nil {
			return nil, err
		}
		if err := client.TokenSource(ctx, tokens, name).Save(ctx, granted); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

// trouble is what a worker has to live with.
func (s *settings) trouble(ctx context.Context, provider *rptest.Provider, names []string, out io.Writer) {
	after := func(d time.Duration) bool {
		select {
		case <-time.After(d):
			return true
		case <-ctx.Done():
			return false
		}
	}
	if !after(s.lifetime) {
		return
	}
	provider.EndUserSessions(names[0])
	fmt.Fprintf(out, "\n%s has taken its consent back.\n", names[0])
	if s.outage == 0 || !after(s.lifetime/2) {
		return
	}
	fmt.Fprintf(out, "\nThe provider is out of reach for %v.\n", s.outage)
	provider.Fault(rptest.Token, rptest.Down)
	after(s.outage)
	provider.ClearFaults()
	fmt.Fprintln(out, "\nThe provider is back.")
}
