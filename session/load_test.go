package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/sessions"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

func TestAnIdleSessionEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		config.Idle = 10 * time.Minute
		s := newSite(t, setup{session: config, provider: rptest.Options{AccessTokenLifetime: time.Hour, IDTokenLifetime: time.Hour}})
		v := s.visitor()
		v.login()
		for range 5 { // use keeps it
			time.Sleep(9 * time.Minute)
			got := v.mustLoad()
			if left := time.Until(got.IdleUntil); left < 9*time.Minute || left > 10*time.Minute {
				t.Errorf("idle until %v from now", left)
			}
		}
		before := v.copy()
		time.Sleep(10*time.Minute - time.Second)
		before.mustLoad()
		time.Sleep(time.Second)
		// The store in memory was told of the use; a cookie that another browser holds was not.
		if config.Store == nil {
			if _, err := v.load(); !errors.Is(err, session.ErrExpired) || !errors.Is(err, session.ErrNone) {
				t.Errorf("after 10 minutes without use: %v, want ErrExpired", err)
			}
		}
		time.Sleep(10 * time.Minute)
		for _, b := range []*visitor{v, before} {
			if _, err := b.load(); !errors.Is(err, session.ErrExpired) {
				t.Errorf("after 20 minutes: %v, want ErrExpired", err)
			}
		}
	})
}

func TestASessionWithoutIdleEndStaysToItsAbsoluteEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		config.Idle = -1
		s := newSite(t, setup{session: config})
		v := s.visitor()
		if got := v.login(); !got.IdleUntil.IsZero() {
			t.Errorf("idle until %v", got.IdleUntil)
		}
		time.Sleep(12*time.Hour - time.Second)
		v.mustLoad()
	})
}

func TestTheAbsoluteEndHoldsToTheSecondUnderTraffic(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		const month = 30 * 24 * time.Hour
		config.Lifetime = month
		s := newSite(t, setup{session: config, provider: rptest.Options{AccessTokenLifetime: 2 * time.Hour, IDTokenLifetime: 2 * time.Hour, RefreshTokenLifetime: 2 * month}})
		v := s.visitor()
		began := time.Now()
		if end := v.login().ExpiresAt; !end.Equal(began.Add(month)) {
			t.Fatalf("ends after %v", end.Sub(began))
		}
		for time.Since(began) < month-time.Minute {
			time.Sleep(time.Minute)
			v.mustLoad()
		}
		time.Sleep(time.Until(began.Add(month - time.Second)))
		v.mustLoad()
		kept := v.copy()
		for name, c := range kept.jar { // a browser that keeps cookies for longer than it should
			c.until = c.until.Add(time.Hour)
			kept.jar[name] = c
		}
		time.Sleep(time.Second)
		if _, err := kept.load(); !errors.Is(err, session.ErrExpired) {
			t.Errorf("at the end: %v, want ErrExpired", err)
		}
	})
}

func TestASessionWithoutRefreshTokenEndsWithItsTokens(t *testing.T) {
	for _, c := range []struct {
		name       string
		access, id time.Duration
		outlive    bool
		want       time.Duration
	}{
		{"the access token first", 10 * time.Minute, time.Hour, false, 10 * time.Minute},
		{"the ID token first", time.Hour, 10 * time.Minute, false, 10 * time.Minute},
		{"OutliveTokens", 10 * time.Minute, 10 * time.Minute, true, 12 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, config session.Config) {
				config.OutliveTokens, config.Idle = c.outlive, -1
				s := newSite(t, setup{session: config, provider: rptest.Options{NoRefreshTokens: true, AccessTokenLifetime: c.access, IDTokenLifetime: c.id}})
				v := s.visitor()
				if got := v.login(); got.CanRefresh() || !got.RefreshAt.IsZero() {
					t.Error("a session without refresh token says it can be refreshed")
				}
				time.Sleep(c.want - time.Second)
				v.mustLoad()
				time.Sleep(time.Second)
				if _, err := v.load(); !errors.Is(err, session.ErrNone) {
					t.Errorf("after %v: %v, want ErrNone", c.want, err)
				}
			})
		})
	}
}

func TestCookiesOfSeveralProcessesKeepNoRefreshToken(t *testing.T) {
	s := newSite(t, setup{}) // cookies, no SingleProcess
	v := s.visitor()
	if got := v.login(); got.CanRefresh() {
		t.Error("the refresh token was kept")
	}
	if got := v.mustLoad(); got.CanRefresh() || got.ExpiresAt != got.TokenExpiry {
		t.Errorf("ends at %v, its access token at %v", got.ExpiresAt, got.TokenExpiry)
	}
}

func TestATokenKeptByOneProcessIsNotSpentBySeveral(t *testing.T) {
	for _, outlive := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := newProvider(t, rptest.Options{})
			client := newClient(t, p, nil)
			one := siteOn(t, p, client, session.Config{SingleProcess: true, Idle: -1})
			v := one.visitor()
			first := v.login()
			v.site = siteOn(t, p, client, session.Config{OutliveTokens: outlive, Idle: -1})
			p.ResetHits()
			got := v.mustLoad()
			if got.CanRefresh() || !got.RefreshAt.IsZero() || got.ExpiresAt.Equal(got.TokenExpiry) == outlive {
				t.Errorf("OutliveTokens %t: can be refreshed: %t; ends %v, its token %v", outlive, got.CanRefresh(), got.ExpiresAt, got.TokenExpiry)
			}
			if _, err := v.refresh(); !errors.Is(err, session.ErrNoRefreshToken) {
				t.Errorf("Refresh: %v, want ErrNoRefreshToken", err)
			}
			time.Sleep(time.Until(first.TokenExpiry) - time.Second)
			v.mustLoad()
			time.Sleep(time.Second)
			if _, err := v.load(); errors.Is(err, session.ErrExpired) == outlive {
				t.Errorf("OutliveTokens %t, after the token's end: %v", outlive, err)
			}
			if n := p.Hits(rptest.Token); n != 0 {
				t.Errorf("%d token requests", n)
			}
			v.site = one
			v.mustLoad() // back to one process: nothing is lost
		})
	}
}

// TestALoadTakesFewAllocations holds four for cookies and three for memory; the race detector empties pools at random, hence the slack.
func TestALoadTakesFewAllocations(t *testing.T) {
	for name, config := range stores(t) {
		if name == "server" {
			continue // a round trip to its backend costs more than any allocation
		}
		v := newSite(t, setup{session: config()}).visitor()
		v.login()
		r, w := v.get(shop), httptest.NewRecorder()
		if n := testing.AllocsPerRun(200, func() {
			clear(w.Header())
			if _, err := v.site.Load(w, r); err != nil {
				t.Fatal(err)
			}
		}); n > 6 {
			t.Errorf("%s: %v allocations, want 6 at most", name, n)
		}
	}
}

// Somebody who leaves is no outage, and nobody is logged out by it.
func TestARequestThatIsGoneIsNoOutage(t *testing.T) {
	s := newSite(t, setup{})
	v := s.visitor()
	v.login()
	if err := s.Revoke(t.Context(), session.Revocation{Subject: "bob"}); err != nil { // so that the ledger is asked
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Load(httptest.NewRecorder(), v.get(shop).WithContext(ctx)); !errors.Is(err, context.Canceled) || errors.Is(err, session.ErrStore) || errors.Is(err, session.ErrNone) {
		t.Errorf("Load: %v, want Canceled alone", err)
	}
	v.mustLoad()
}

// brokenStore is a store that can't be reached while it is down.
type brokenStore struct {
	sessions.Store
	down atomic.Bool
}

var errDown = errors.New("connection refused")

func (b *brokenStore) New(r *http.Request, name string) (*sessions.Session, error) {
	if b.down.Load() {
		return sessions.NewSession(b, name), errDown
	}
	return b.Store.New(r, name)
}

func (b *brokenStore) Save(r *http.Request, w http.ResponseWriter, s *sessions.Session) error {
	if b.down.Load() {
		return errDown
	}
	return b.Store.Save(r, w, s)
}

func TestAStoreThatIsDownLogsNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := sessions.NewFilesystemStore(t.TempDir(), testKey(30))
		files.MaxLength(0)
		files.MaxAge(0)
		store := &brokenStore{Store: files}
		s := newSite(t, setup{session: session.Config{Store: store, SingleProcess: true}})
		v := s.visitor()
		first := v.login()
		pending := s.authorize(v.begin("/"))
		outage := func(what string, err error) {
			t.Helper()
			if !errors.Is(err, session.ErrStore) || errors.Is(err, session.ErrNone) {
				t.Errorf("%s: %v, want ErrStore and not ErrNone", what, err)
			}
		}
		store.down.Store(true)
		_, err := v.load()
		outage("Load", err)
		_, err = v.refresh()
		outage("Refresh", err)
		_, _, err = v.finish(pending)
		outage("Finish", err)
		_, err = v.copy().end()
		outage("End", err)
		store.down.Store(false)
		v.mustLoad()

		// It goes down while a refresh is under way: the tokens aren't lost.
		untilDue(first)
		s.provider.Fault(rptest.Token, func(honest http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				store.down.Store(true)
				honest.ServeHTTP(w, r)
			})
		})
		renewed := v.mustLoad()
		if access(renewed) == access(first) {
			t.Error("the refresh brought nothing")
		}
		s.provider.ClearFaults()
		time.Sleep(5 * time.Second)
		store.down.Store(false)
		time.Sleep(2 * time.Minute)
		if got := v.mustLoad(); access(got) != access(renewed) {
			t.Error("the renewed tokens were not saved")
		}
		if n := s.provider.RefreshReuses(); n != 0 {
			t.Errorf("%d refresh tokens were used twice", n)
		}
	})
}

// brokenLedger can't be reached.
type brokenLedger struct{ session.Ledger }

func TestALedgerThatIsDownLogsNobodyOut(t *testing.T) {
	full := session.NewMemoryLedger(1)
	s := newSite(t, setup{session: session.Config{Ledger: brokenLedger{full}}})
	v := s.visitor()
	v.login()
	if err := s.Revoke(t.Context(), session.Revocation{Subject: "bob"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Revoke(t.Context(), session.Revocation{Subject: "carol"}); !errors.Is(err, session.ErrStore) {
		t.Errorf("Revoke with a full ledger: %v, want ErrStore", err)
	}
	twin := v.copy()
	if _, err := twin.end(); !errors.Is(err, session.ErrStore) {
		t.Errorf("End with a full ledger: %v, want ErrStore", err)
	}
	if _, err := twin.load(); !errors.Is(err, session.ErrNone) {
		t.Errorf("after it the browser's own session: %v, want ErrNone", err)
	}
}

func TestKeysRollBothWays(t *testing.T) {
	p := newProvider(t, rptest.Options{})
	client := newClient(t, p, nil)
	with := func(keys ...byte) *site {
		c := session.Config{}
		for _, k := range keys {
			c.Keys = append(c.Keys, testKey(k))
		}
		return siteOn(t, p, client, c)
	}
	old, added, moved, dropped := with(1), with(1, 2), with(2, 1), with(2)
	for name, pair := range map[string][2]*site{"key added": {old, added}, "rolled back": {added, old}, "key moved first": {added, moved}, "moved back": {moved, added}, "old key dropped": {moved, dropped}} {
		v := pair[0].visitor()
		begun := v.begin("/")
		v.login()
		v.site = pair[1]
		v.mustLoad()
		if _, _, err := v.finish(v.site.authorize(begun)); err != nil {
			t.Errorf("%s: a login that was under way: %v", name, err)
		}
	}
	v := old.visitor()
	begun := v.begin("/")
	v.login()
	v.site = dropped
	if _, err := v.load(); !errors.Is(err, session.ErrNone) {
		t.Errorf("a cookie of a dropped key: %v, want ErrNone", err)
	}
	if _, _, err := v.finish(dropped.authorize(begun)); reason(err) != "unknown-key" {
		t.Errorf("an attempt of a dropped key: %v, want unknown-key", err)
	}
}

func TestASessionOfAnotherClientOrIssuerDoesNotOpen(t *testing.T) {
	clients := []rptest.Client{{ID: "shop", Secret: "shop-secret"}, {ID: "office", Secret: "office-secret"}}
	first := newProvider(t, rptest.Options{Clients: clients})
	second := newProvider(t, rptest.Options{Issuer: "https://other.example", Clients: clients})
	shopClient := newClient(t, first, nil)
	office := func(c *rp.Config) { c.ClientID, c.ClientSecret = "office", "office-secret" }
	for name, client := range map[string]*rp.Client{"client": newClient(t, first, office), "issuer": newClient(t, second, nil)} {
		cookies, err := session.NewCookieStore(testKey(7))
		if err != nil {
			t.Fatal(err)
		}
		files := sessions.NewFilesystemStore(t.TempDir(), testKey(30))
		files.MaxLength(0)
		for store, c := range map[string]session.Config{
			"cookies": {}, "one cookie store": {Store: cookies}, "one memory store": {Store: memoryStore(t)}, "one file store": {Store: files},
		} {
			t.Run("another "+name+" with the same keys, "+store, func(t *testing.T) {
				v := siteOn(t, first, shopClient, c).visitor()
				begun := v.begin("/")
				v.login()
				v.mustLoad()
				v.site = siteOn(t, first, client, c)
				if got, err := v.load(); !errors.Is(err, session.ErrNone) {
					t.Errorf("Load: %v, %v; want ErrNone", got, err)
				}
				if _, err := v.refresh(); !errors.Is(err, session.ErrNone) {
					t.Errorf("Refresh: %v, want ErrNone", err)
				}
				if _, _, err := v.finish(v.site.authorize(begun)); !errors.Is(err, session.ErrNoLogin) {
					t.Errorf("Finish: %v, want ErrNoLogin", err)
				}
			})
		}
	}
}

func TestEachOfManyUsersSeesItself(t *testing.T) {
	const users = 300
	var accounts []rptest.User
	for i := range users {
		accounts = append(accounts, rptest.User{Name: fmt.Sprintf("user-%d", i)})
	}
	for name, config := range stores(t) {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, setup{session: config(), provider: rptest.Options{Users: accounts}})
			var wg sync.WaitGroup
			for i := range users {
				wg.Go(func() {
					me := fmt.Sprintf("user-%d", i)
					v := s.visitor()
					w := httptest.NewRecorder()
					to, err := s.Begin(w, v.get(shop), "/"+me, rp.AuthParams{LoginHint: me})
					if err != nil {
						t.Error(err)
						return
					}
					v.take(w)
					_, returnTo, err := v.finish(s.authorize(to))
					if err != nil || returnTo != "/"+me {
						t.Errorf("%s: %v, return to %q", me, err, returnTo)
						return
					}
					var requests sync.WaitGroup
					for n := range 4 {
						requests.Go(func() {
							twin := v.copy()
							load := twin.load
							if n == 0 {
								load = twin.refresh
							}
							got, err := load()
							if err != nil || got.Subject != me || claim(got, "sub") != me {
								t.Errorf("%s got %v, %v", me, got, err)
							}
						})
					}
					requests.Wait()
				})
			}
			wg.Wait()
		})
	}
}

func TestVaryKeepsWhatIsThere(t *testing.T) {
	s := newSite(t, setup{})
	for have, want := range map[string]string{"": "Cookie", "Accept": "Accept,Cookie", "Accept, cookie": "Accept, cookie", "X-Cookie-Consent": "X-Cookie-Consent,Cookie"} {
		w := httptest.NewRecorder()
		if have != "" {
			w.Header().Set("Vary", have)
		}
		_, _ = s.Load(w, httptest.NewRequest(http.MethodGet, shop, nil))
		if got := strings.Join(w.Header().Values("Vary"), ","); got != want {
			t.Errorf("Vary %q became %q, want %q", have, got, want)
		}
	}
}
