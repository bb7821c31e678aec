package rp_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/rp/store"
	"golang.org/x/oauth2"
)

// job is a provider with one-minute tokens and rotation, and a store of one or more processes.
type job struct {
	t       *testing.T
	op      *rptest.Provider
	backend store.Backend
	ring    *store.Keyring
	client  *rp.Client
	told    []string // to OnReconnect
	mu      sync.Mutex
}

func newJob(t *testing.T, opts rptest.Options) *job {
	t.Helper()
	opts.Issuer, opts.SigningAlg = "https://op.example", "ES256" // RSA signs slowly
	if opts.AccessTokenLifetime == 0 {
		opts.AccessTokenLifetime = time.Minute
	}
	op, err := rptest.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := store.NewKeyring([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	j := &job{t: t, op: op, backend: store.NewMemory(0), ring: ring}
	j.client = j.newClient("test-client")
	return j
}

func (j *job) newClient(id string) *rp.Client {
	j.t.Helper()
	c, err := rp.New(rp.Config{Issuer: j.op.Issuer(), ClientID: id, ClientSecret: j.op.ClientSecret(), RedirectURL: testCallback, HTTPClient: j.op.Client()})
	if err != nil {
		j.t.Fatal(err)
	}
	return c
}

// process is a store of its own over the shared backend.
func (j *job) process() *rp.TokenStore { return j.processOver(j.backend) }

func (j *job) processOver(b store.Backend) *rp.TokenStore {
	j.t.Helper()
	s, err := rp.NewTokenStore(rp.TokenStoreConfig{Backend: b, Keyring: j.ring, OnReconnect: func(key string, err *rp.ReconnectError) {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.told = append(j.told, key+" "+err.Reason)
	}})
	if err != nil {
		j.t.Fatal(err)
	}
	return s
}

func (j *job) heard() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.told, ", ")
}

// login is somebody's consent.
func (j *job) login() *rp.Tokens {
	j.t.Helper()
	login, err := j.client.Begin(j.t.Context(), rp.AuthParams{Scopes: []string{"offline_access"}})
	if err != nil {
		j.t.Fatal(err)
	}
	tokens, err := j.client.Finish(j.t.Context(), login, visit(j.op, login.URL))
	if err != nil {
		j.t.Fatal(err)
	}
	return tokens
}

func (j *job) connect(s *rp.TokenSource) *rp.Tokens {
	j.t.Helper()
	tokens := j.login()
	if err := s.Save(j.t.Context(), tokens); err != nil {
		j.t.Fatal(err)
	}
	return tokens
}

func (j *job) token(s *rp.TokenSource) string {
	j.t.Helper()
	token, err := s.Token()
	if err != nil {
		j.t.Fatal(err)
	}
	if token.RefreshToken != "" {
		j.t.Error("the refresh token was handed out")
	}
	if code := j.ask(token.AccessToken); code != http.StatusOK {
		j.t.Fatalf("the provider does not take the token: %d", code)
	}
	return token.AccessToken
}

func (j *job) ask(accessToken string) int {
	req, _ := http.NewRequestWithContext(j.t.Context(), http.MethodGet, j.op.Issuer()+"/userinfo", nil)
	req.Header.Set("Authorization", "Bearer "+accessToken)
	resp, err := j.op.Client().Do(req)
	if err != nil {
		j.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// counts are the provider's: refreshes, and refresh tokens used twice.
func (j *job) counts(refreshes, reuses int) {
	j.t.Helper()
	if r, u := j.op.Refreshes(), j.op.RefreshReuses(); r != refreshes || u != reuses {
		j.t.Errorf("the provider counts %d refreshes and %d reuses, want %d and %d", r, u, refreshes, reuses)
	}
}

func TestATokenIsRefreshedAheadOfItsEndAndSavedBeforeItIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{})
		source := j.client.TokenSource(t.Context(), j.process(), "tenant-42")
		first := j.connect(source).OAuth2.AccessToken
		if got := j.token(source); got != first {
			t.Error("another token than the one that was saved")
		}
		j.counts(0, 0)
		time.Sleep(54 * time.Second) // due, and good for a second more
		if got := j.token(source); got != first {
			t.Error("a token that is still good was not served at once")
		}
		synctest.Wait()
		second := j.token(source)
		if second == first {
			t.Error("no refresh in the background")
		}
		j.counts(1, 0)
		// Another process that starts now finds the new refresh token.
		other := j.client.TokenSource(t.Context(), j.process(), "tenant-42")
		if j.token(other) != second {
			t.Error("the store has other tokens than the ones in use")
		}
		time.Sleep(time.Hour) // nobody asks
		j.counts(1, 0)
		if j.token(other) == second {
			t.Error("an ended token")
		}
		if j.token(source) == second {
			t.Error("an ended token")
		}
		j.counts(2, 0)
	})
}

func TestAnyNumberOfGoroutinesAndProcessesRefreshOnce(t *testing.T) {
	for _, processes := range []int{1, 3} {
		t.Run(fmt.Sprint(processes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := newJob(t, rptest.Options{})
				var sources []*rp.TokenSource
				for range processes {
					sources = append(sources, j.client.TokenSource(t.Context(), j.process(), "tenant-42"))
				}
				j.connect(sources[0])
				for round := 1; round <= 3; round++ {
					j.op.FaultTimes(rptest.Token, rptest.Slow(4*time.Second), 1)
					time.Sleep(time.Minute)
					var tokens sync.Map
					var wg sync.WaitGroup
					for _, source := range sources {
						for range 1000 {
							wg.Go(func() {
								token, err := source.Token()
								if err != nil {
									t.Error(err)
									return
								}
								tokens.Store(token.AccessToken, true)
							})
						}
					}
					wg.Wait()
					n := 0
					tokens.Range(func(any, any) bool { n++; return true })
					if n != 1 {
						t.Errorf("%d different tokens", n)
					}
					j.counts(round, 0)
				}
			})
		})
	}
}

func TestAnOutageOfTheProviderIsOutlived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{AccessTokenLifetime: 10 * time.Minute})
		source := j.client.TokenSource(t.Context(), j.process(), "tenant-42")
		first := j.connect(source).OAuth2.AccessToken
		j.op.Fault(rptest.Token, rptest.Status(http.StatusServiceUnavailable, ""))
		time.Sleep(9 * time.Minute)
		for range 59 { // to a second before the end that is kept
			if j.token(source) != first {
				t.Fatal("another token")
			}
			time.Sleep(900 * time.Millisecond)
		}
		tries := j.op.Hits(rptest.Token)
		if tries < 4 || tries > 12 {
			t.Errorf("the provider was asked %d times in a minute", tries)
		}
		time.Sleep(5 * time.Second)
		for range 1000 {
			if _, err := source.Token(); !errors.Is(err, rp.ErrUnavailable) || errors.Is(err, rp.ErrReconnect) {
				t.Fatalf("after the end: %v", err)
			}
		}
		if n := j.op.Hits(rptest.Token); n > tries+1 {
			t.Errorf("a thousand callers asked the provider %d times", n-tries)
		}
		j.op.ClearFaults()
		time.Sleep(2 * time.Minute) // the longest pause, and its jitter
		j.token(source)
		j.counts(1, 0)
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{})
		source := j.client.TokenSource(t.Context(), j.process(), "tenant-42")
		j.connect(source)
		time.Sleep(time.Minute)
		j.op.ResetHits()
		j.op.FaultTimes(rptest.Token, rptest.RetryAfter(40*time.Second), 1)
		began := time.Now()
		for time.Since(began) < 39*time.Second {
			if _, err := source.Token(); !errors.Is(err, rp.ErrUnavailable) {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if n := j.op.Hits(rptest.Token); n != 1 {
			t.Errorf("asked %d times", n)
		}
		time.Sleep(2 * time.Second)
		j.token(source)
	})
}

func TestAnEndedGrantIsToldOnceAndNeverTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{})
		source := j.client.TokenSource(t.Context(), j.process(), "tenant-42")
		other := j.client.TokenSource(t.Context(), j.process(), "tenant-42")
		j.connect(source)
		j.op.EndUserSessions("alice")
		j.op.Fault(rptest.Token, rptest.InvalidGrant)
		time.Sleep(time.Minute)
		j.op.ResetHits()
		for _, s := range []*rp.TokenSource{source, other, source} {
			for range 100 {
				_, err := s.Token()
				var reconnect *rp.ReconnectError
				if !errors.As(err, &reconnect) || !errors.Is(err, rp.ErrReconnect) || reconnect.Reason != "invalid_grant" || errors.Is(err, rp.ErrUnavailable) {
					t.Fatalf("the error is %v", err)
				}
			}
			time.Sleep(time.Hour)
		}
		synctest.Wait()
		if n := j.op.Hits(rptest.Token); n != 1 {
			t.Errorf("the provider was asked %d times for what is over", n)
		}
		if got := j.heard(); got != "tenant-42 invalid_grant, tenant-42 invalid_grant" { // once by each process
			t.Errorf("told %q", got)
		}
		j.op.ClearFaults()
		j.connect(source)
		j.token(source)
		time.Sleep(time.Minute)
		if j.token(other) == "" {
			t.Error("the other process does not see the new connection")
		}
	})
}

func TestWhatWasNeverSavedMustConnect(t *testing.T) {
	j := newJob(t, rptest.Options{})
	source := j.client.TokenSource(t.Context(), j.process(), "nobody")
	var reconnect *rp.ReconnectError
	if _, err := source.Token(); !errors.As(err, &reconnect) || reconnect.Reason != "unknown_key" || reconnect.Key != "nobody" {
		t.Errorf("the error is %v", err)
	}
	j.connect(source)
	j.token(source)
	if err := source.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := source.Token(); !errors.Is(err, rp.ErrReconnect) {
		t.Errorf("after Forget: %v", err)
	}
}

// wire is a connection to the backend that can fail.
type wire struct {
	store.Backend
	down  atomic.Bool
	onPut func(n int) error // before the n-th write of tokens
	puts  int
	mu    sync.Mutex
}

var errWire = errors.New("no route to host")

func (w *wire) Get(ctx context.Context, keys ...store.Key) ([]store.Item, error) {
	if w.down.Load() {
		return nil, errWire
	}
	return w.Backend.Get(ctx, keys...)
}

func (w *wire) Put(ctx context.Context, key store.Key, item store.Item, from uint64) error {
	w.mu.Lock()
	hook := w.onPut
	if key != sha256.Sum256([]byte("latchkey v1 tokens tenant-42")) {
		hook = nil
	} else {
		w.puts++
	}
	n := w.puts
	w.mu.Unlock()
	if hook != nil {
		if err := hook(n); err != nil {
			return err
		}
	}
	if w.down.Load() {
		return errWire
	}
	return w.Backend.Put(ctx, key, item, from)
}

func (w *wire) Delete(ctx context.Context, key store.Key, version uint64) error {
	if w.down.Load() {
		return errWire
	}
	return w.Backend.Delete(ctx, key, version)
}

func TestTokensOutlastAStoreThatDoesNotTakeThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{})
		w := &wire{Backend: j.backend}
		w.onPut = func(n int) error {
			if n == 2 {
				w.down.Store(true) // right before the save
			}
			return nil
		}
		tokens := j.processOver(w)
		source := j.client.TokenSource(t.Context(), tokens, "tenant-42")
		first := j.connect(source).OAuth2.AccessToken
		time.Sleep(time.Minute)
		second := j.token(source)
		if second == first {
			t.Fatal("no refresh")
		}
		if n := tokens.Stats().Unsaved; n != 1 {
			t.Errorf("%d unsaved", n)
		}
		for range 50 {
			time.Sleep(time.Second)
			if j.token(source) != second {
				t.Error("not served from memory")
			}
		}
		time.Sleep(time.Minute)
		if _, err := source.Token(); !errors.Is(err, rp.ErrUnavailable) {
			t.Errorf("an ended token, or an error that is not passing: %v", err)
		}
		j.counts(1, 0) // the provider is not asked again
		w.down.Store(false)
		time.Sleep(3 * time.Second)
		j.token(source)
		j.token(j.client.TokenSource(t.Context(), j.process(), "tenant-42"))
		j.counts(2, 0)
		if n := tokens.Stats().Unsaved; n != 0 {
			t.Errorf("%d unsaved", n)
		}
	})
}

func TestAStoreThatCannotBeReadSpendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{})
		w := &wire{Backend: j.backend}
		source := j.client.TokenSource(t.Context(), j.processOver(w), "tenant-42")
		first := j.connect(source).OAuth2.AccessToken
		w.down.Store(true)
		time.Sleep(54 * time.Second)
		if j.token(source) != first {
			t.Error("not served")
		}
		time.Sleep(time.Minute)
		if _, err := source.Token(); !errors.Is(err, rp.ErrTokenStore) || !errors.Is(err, rp.ErrUnavailable) || errors.Is(err, rp.ErrReconnect) {
			t.Errorf("the error is %v", err)
		}
		if err := source.Save(t.Context(), j.login()); !errors.Is(err, rp.ErrTokenStore) {
			t.Errorf("saved nowhere: %v", err)
		}
		j.counts(0, 0)
		w.down.Store(false)
		time.Sleep(2 * time.Minute)
		j.token(source)
		j.counts(1, 0)
	})
}

// A process dies after the provider has answered and before it has saved. What the next one can do is the provider's choice.
func TestAProcessThatDiesWithTheAnswer(t *testing.T) {
	for name, x := range map[string]struct {
		grace  time.Duration
		reuses int
		reason string
	}{
		"with grace": {grace: 30 * time.Second},
		"strict":     {reuses: 1, reason: "refresh_outcome_unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := newJob(t, rptest.Options{RefreshGrace: x.grace})
				w := &wire{Backend: j.backend}
				w.onPut = func(n int) error {
					if n == 2 {
						w.down.Store(true)
					}
					return nil
				}
				doomed := j.client.TokenSource(t.Context(), j.processOver(w), "tenant-42")
				j.connect(doomed)
				time.Sleep(time.Minute)
				j.token(doomed) // served from the memory of what dies now
				began := time.Now()
				tokens := j.process()
				next := j.client.TokenSource(t.Context(), tokens, "tenant-42")
				_, err := next.Token()
				var reconnect *rp.ReconnectError
				switch {
				case x.reason == "" && err != nil:
					t.Error(err)
				case x.reason != "" && (!errors.As(err, &reconnect) || reconnect.Reason != x.reason):
					t.Errorf("the error is %v", err)
				}
				if waited := time.Since(began); waited > 16*time.Second {
					t.Errorf("the next process waited %v", waited)
				}
				if got := tokens.Stats(); got.SentAgain != 1 {
					t.Errorf("the store counts %+v", got)
				}
				if n := j.op.RefreshReuses(); n != x.reuses {
					t.Errorf("%d reuses", n)
				}
				w.down.Store(false) // it was not dead: it must not overwrite what is there
				time.Sleep(5 * time.Second)
				if x.reason == "" {
					time.Sleep(time.Minute)
					j.token(next)
				}
				if n := j.op.RefreshReuses(); n != x.reuses {
					t.Errorf("%d reuses after it came back", n)
				}
			})
		})
	}
}

func TestARefusedTokenIsReplacedOnceAndNotAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{AccessTokenLifetime: time.Hour})
		source := j.client.TokenSource(t.Context(), j.process(), "tenant-42")
		first := j.connect(source).OAuth2.AccessToken
		source.Invalidate(first)
		if j.token(source) != first {
			t.Error("a token that has just come was thrown away")
		}
		time.Sleep(11 * time.Second)
		source.Invalidate("another")
		if j.token(source) != first {
			t.Error("another token was refused")
		}
		source.Invalidate(first)
		second := j.token(source)
		if second == first {
			t.Error("a refused token")
		}
		for range 100 {
			source.Invalidate(second)
			j.token(source)
		}
		j.counts(1, 0)
	})
}

func TestTokensOfAnotherClientAreNotSentAnywhere(t *testing.T) {
	j := newJob(t, rptest.Options{Clients: []rptest.Client{{ID: "test-client", Secret: "test-secret"}, {ID: "other", Secret: "test-secret"}}})
	tokens := j.process()
	j.connect(j.client.TokenSource(t.Context(), tokens, "tenant-42"))
	j.op.ResetHits()
	_, err := j.newClient("other").TokenSource(t.Context(), tokens, "tenant-42").Token()
	if err == nil || !strings.Contains(err.Error(), `of client "test-client"`) {
		t.Errorf("the error is %v", err)
	}
	if n := j.op.Hits(rptest.Token); n != 0 {
		t.Errorf("the provider was asked %d times", n)
	}
}

func TestTokensThatCannotBeRefreshedEndInWords(t *testing.T) {
	for reason, x := range map[string]struct {
		opts rptest.Options
		with func(*job)
	}{
		"no_refresh_token": {opts: rptest.Options{NoRefreshTokens: true}},
		"refresh_token_expired": {with: func(j *job) {
			j.op.Fault(rptest.Token, rptest.WithMember("refresh_expires_in", 30))
		}},
		"invalid_token": {with: func(j *job) {
			j.op.Fault(rptest.Token, rptest.OnGrant("refresh_token", rptest.WithMember("id_token", "not.a.token")))
		}},
	} {
		t.Run(reason, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := newJob(t, x.opts)
				if x.with != nil {
					x.with(j)
				}
				source := j.client.TokenSource(t.Context(), j.process(), "tenant-42")
				first := j.connect(source).OAuth2.AccessToken
				time.Sleep(45 * time.Second)
				if j.token(source) != first {
					t.Error("not served to its end")
				}
				time.Sleep(15 * time.Second)
				var reconnect *rp.ReconnectError
				if _, err := source.Token(); !errors.As(err, &reconnect) || reconnect.Reason != reason {
					t.Errorf("the error is %v", err)
				}
			})
		})
	}
}

func TestWaitingEndsWithTheContextAndTheRefreshGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{})
		source := j.client.TokenSource(t.Context(), j.process(), "tenant-42")
		j.connect(source)
		time.Sleep(time.Minute)
		j.op.FaultTimes(rptest.Token, rptest.Slow(5*time.Second), 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := source.TokenContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the error is %v", err)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		j.counts(1, 0)
		j.token(source)
		j.counts(1, 0)
	})
}

func TestCloseWaitsForWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{})
		tokens := j.process()
		source := j.client.TokenSource(t.Context(), tokens, "tenant-42")
		j.connect(source)
		time.Sleep(time.Minute)
		j.op.FaultTimes(rptest.Token, rptest.Slow(5*time.Second), 1)
		go source.Token()
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := tokens.Close(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("closed with a refresh under way: %v", err)
		}
		if err := tokens.Close(t.Context()); err != nil {
			t.Error(err)
		}
		j.counts(1, 0)
		j.token(source)
		time.Sleep(time.Minute)
		if _, err := source.Token(); err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("a closed store refreshes: %v", err)
		}
		j.counts(1, 0)
	})
}

func TestAPanicInAStoreEndsNoProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{})
		w := &wire{Backend: j.backend}
		source := j.client.TokenSource(t.Context(), j.processOver(w), "tenant-42")
		j.connect(source)
		w.onPut = func(int) error { panic("boom") }
		time.Sleep(time.Minute)
		if _, err := source.Token(); err == nil || !strings.Contains(err.Error(), "panicked") {
			t.Errorf("the error is %v", err)
		}
	})
}

func TestStoredTokensShowNothing(t *testing.T) {
	j := newJob(t, rptest.Options{})
	tokens := j.process()
	source := j.client.TokenSource(t.Context(), tokens, "tenant-42")
	came := j.connect(source)
	name := store.Key(sha256.Sum256([]byte("latchkey v1 tokens tenant-42")))
	items, err := j.backend.Get(t.Context(), name)
	if err != nil || items[0].Version == 0 {
		t.Fatal("nothing is stored", err)
	}
	type holder struct {
		source *rp.TokenSource
		tokens *rp.TokenStore
	}
	printed := string(items[0].Data)
	for _, v := range []any{source, tokens, *source, rp.TokenStoreConfig{Backend: j.backend, Keyring: j.ring}, holder{source, tokens}} {
		printed += fmt.Sprintf("%v %+v %#v %s %q", v, v, v, v, v)
	}
	for _, secret := range []string{came.OAuth2.AccessToken, came.OAuth2.RefreshToken, "0123456789abcdef"} {
		if strings.Contains(printed, secret) {
			t.Errorf("shown in %s", printed)
		}
	}
	keys, err := tokens.Keys(t.Context(), 10)
	if err != nil || len(keys) != 1 || keys[0] != "tenant-42" {
		t.Errorf("the keys are %q, %v", keys, err)
	}
	// Another key, the same data: sealed values can't be moved.
	moved := items[0]
	if err := j.backend.Put(t.Context(), sha256.Sum256([]byte("latchkey v1 tokens mallory")), moved, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := j.client.TokenSource(t.Context(), tokens, "mallory").Token(); !errors.Is(err, rp.ErrTokenStore) {
		t.Errorf("moved tokens open: %v", err)
	}
}

func TestATokenStoreNeedsABackendAndKeys(t *testing.T) {
	for want, cfg := range map[string]rp.TokenStoreConfig{
		"Backend is missing": {},
		"Keyring is missing": {Backend: &wire{}},
		"empty Keyring":      {Backend: store.NewMemory(0), Keyring: &store.Keyring{}},
	} {
		if _, err := rp.NewTokenStore(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := rp.NewTokenStore(rp.TokenStoreConfig{Backend: store.NewMemory(0)}); err != nil {
		t.Error(err)
	}
}

func TestRevokeForgetsHereAndEndsTheGrantThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{})
		source := j.client.TokenSource(t.Context(), j.process(), "tenant-42")
		access := j.connect(source).OAuth2.AccessToken
		if err := source.Revoke(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := source.Token(); !errors.Is(err, rp.ErrReconnect) {
			t.Errorf("after it: %v", err)
		}
		if code := j.ask(access); code != http.StatusUnauthorized {
			t.Errorf("the provider still takes the access token: %d", code)
		}
		if err := source.Revoke(t.Context()); err != nil {
			t.Errorf("nothing to revoke: %v", err)
		}
		// A refresh that is under way brings tokens that nobody wants any more.
		j.connect(source)
		time.Sleep(time.Minute)
		j.op.FaultTimes(rptest.Token, rptest.Late(2*time.Second), 1)
		revoked := j.op.Hits(rptest.Revocation)
		go source.Token()
		time.Sleep(time.Second)
		j.op.FaultTimes(rptest.Revocation, rptest.Down, 1)
		if err := source.Revoke(t.Context()); !errors.Is(err, rp.ErrUnavailable) {
			t.Errorf("the provider is out of reach: %v", err)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n := j.op.Hits(rptest.Revocation) - revoked; n != 2 {
			t.Errorf("%d revocations, want one for what was there and one for what came", n)
		}
		if _, err := source.Token(); !errors.Is(err, rp.ErrReconnect) {
			t.Errorf("what was forgotten is there again: %v", err)
		}
	})
}

// A note that the backend took without saying so is no sign of a refresh token that was sent.
func TestANoteOfWhatWasNeverSentEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{})
		w := &deaf{Backend: j.backend, left: 4}
		tokens := j.processOver(w)
		source := j.client.TokenSource(t.Context(), tokens, "tenant-42")
		j.connect(source)
		time.Sleep(time.Minute)
		for w.left > 0 {
			if _, err := source.Token(); !errors.Is(err, rp.ErrTokenStore) || errors.Is(err, rp.ErrReconnect) {
				t.Fatalf("the error is %v", err)
			}
			time.Sleep(2 * time.Minute)
		}
		j.token(source)
		j.counts(1, 0)
		if n := tokens.Stats().SentAgain; n != 0 {
			t.Errorf("%d counted as sent again", n)
		}
	})
}

// deaf takes the first notes that a refresh token is about to be sent, and its answers are lost.
type deaf struct {
	store.Backend
	left int
}

func (d *deaf) Put(ctx context.Context, key store.Key, item store.Item, from uint64) error {
	err := d.Backend.Put(ctx, key, item, from)
	if err == nil && d.left > 0 && key == sha256.Sum256([]byte("latchkey v1 token intent tenant-42")) {
		d.left--
		return errWire
	}
	return err
}

func TestAnOutageOfTheStoreMakesAnEndNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{})
		w := &wire{Backend: j.backend}
		source := j.client.TokenSource(t.Context(), j.processOver(w), "tenant-42")
		j.connect(source)
		j.op.Fault(rptest.Token, rptest.InvalidGrant)
		for _, down := range []bool{false, true, false, true, false} {
			time.Sleep(2 * time.Minute)
			w.down.Store(down)
			if _, err := source.Token(); errors.Is(err, rp.ErrReconnect) == down {
				t.Errorf("the store is down: %v; the error is %v", down, err)
			}
		}
		synctest.Wait()
		if got := j.heard(); got != "tenant-42 invalid_grant" {
			t.Errorf("told %q", got)
		}
	})
}

func TestAnEmptySourceSaysSo(t *testing.T) {
	for _, source := range []interface {
		Token() (*oauth2.Token, error)
		TokenContext(context.Context) (*oauth2.Token, error)
		Invalidate(string)
	}{&rp.TokenSource{}, (*rp.TokenSource)(nil), &rp.CredentialsSource{}, (*rp.CredentialsSource)(nil)} {
		source.Invalidate("token")
		if _, err := source.Token(); err == nil || !strings.Contains(err.Error(), "empty TokenSource") {
			t.Errorf("%T: %v", source, err)
		}
		if _, err := source.TokenContext(t.Context()); err == nil {
			t.Errorf("%T brings a token", source)
		}
	}
	if got := fmt.Sprint(&rp.TokenStore{}); !strings.Contains(got, "NewTokenStore") {
		t.Error(got)
	}
}

func TestAnEmptyTokenStoreOrKeeperSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{})
		source := j.newClient("app").TokenSource(t.Context(), &rp.TokenStore{}, "tenant")
		_, err := source.Token()
		tokens := &rp.Tokens{OAuth2: &oauth2.Token{AccessToken: "token"}}
		_, listing := new(rp.TokenStore).Keys(t.Context(), 1)
		for name, err := range map[string]error{"Token": err, "Save": source.Save(t.Context(), tokens), "Forget": source.Forget(t.Context()), "Revoke": source.Revoke(t.Context()), "Keys": listing} {
			if err == nil || !strings.Contains(err.Error(), "NewTokenStore") {
				t.Errorf("%s: %v", name, err)
			}
		}
		keeper := &rp.Keeper{}
		keeper.Remove(source)
		keeper.Add(source)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := keeper.Run(ctx); err != nil {
			t.Error(err)
		}
		if s := keeper.Stats(); s.Looks != 1 || s.Failing != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestARefreshTokenThatEndsFirstIsUsedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{AccessTokenLifetime: time.Hour})
		j.op.Fault(rptest.Token, rptest.WithMember("refresh_expires_in", 600)) // and each refresh moves it
		source := j.client.TokenSource(t.Context(), j.process(), "tenant-42")
		j.connect(source)
		_, stop := keeperOf(t, rp.KeeperConfig{}, source)
		time.Sleep(5 * time.Hour)
		j.token(source)
		stop()
		if n := j.op.Refreshes(); n < 5*6 || n > 5*60/7 {
			t.Errorf("%d refreshes in five hours", n)
		}
	})
}

func TestKeysOutOfReachCostNoRefreshASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{AccessTokenLifetime: time.Hour})
		source := j.client.TokenSource(t.Context(), j.process(), "tenant-42")
		first := j.connect(source).OAuth2.AccessToken
		j.op.RotateKeys(false)
		j.op.Fault(rptest.JWKS, rptest.Down)
		_, stop := keeperOf(t, rp.KeeperConfig{}, source)
		time.Sleep(58 * time.Minute)
		if j.token(source) != first {
			t.Error("not served to its end")
		}
		if n := j.op.Refreshes(); n < 3 || n > 15 {
			t.Errorf("%d refreshes whose ID token could not be judged", n)
		}
		j.op.ClearFaults()
		time.Sleep(3 * time.Minute)
		if j.token(source) == first {
			t.Error("not renewed when the keys were back")
		}
		stop()
		if n := j.op.RefreshReuses(); n != 0 {
			t.Errorf("%d reuses", n)
		}
	})
}
