package session_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
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

// rotate is a request whose handler rotates the session.
func (v *visitor) rotate() error {
	v.site.t.Helper()
	w := httptest.NewRecorder()
	err := v.site.Rotate(w, v.get(shop+"/elevate"))
	v.take(w)
	return err
}

func (v *visitor) mustRotate() {
	v.site.t.Helper()
	if err := v.rotate(); err != nil {
		v.site.t.Fatalf("Rotate: %v", err)
	}
}

// inEveryStore runs f for every kind of store, each with a clock of its own.
func inEveryStore(t *testing.T, f func(t *testing.T, config session.Config)) {
	t.Helper()
	for name, config := range allStores(t) {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { f(t, config()) }) })
	}
}

func TestARotatedSessionGoesOnAndItsOldCookieIsRefused(t *testing.T) {
	inEveryStore(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		v := s.visitor()
		if _, _, err := v.finishWith(s.authorize(v.begin("/")), func(context.Context, *session.Session) (any, error) { return "kept", nil }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		before := v.mustLoad()
		thief := v.copy()
		v.mustRotate()
		if v.jar[sessionKey].value == thief.jar[sessionKey].value {
			t.Error("the cookie is the same")
		}
		if _, err := thief.load(); !errors.Is(err, session.ErrNone) {
			t.Errorf("the old cookie: %v", err)
		}
		if err := thief.rotate(); !errors.Is(err, session.ErrNone) || len(thief.names(sessionKey)) == 0 {
			t.Errorf("rotating with the old cookie: %v", err)
		}
		after := v.mustLoad()
		var app string
		if err := after.App(&app); err != nil || app != "kept" {
			t.Errorf("what Accept returned: %q, %v", app, err)
		}
		if after.Subject != before.Subject || after.SID != before.SID || access(after) != access(before) || after.RawIDToken() != before.RawIDToken() || after.CanRefresh() != before.CanRefresh() {
			t.Errorf("%v, want %v", after, before)
		}
		if after.ExpiresAt != before.ExpiresAt || after.LoginAt != before.LoginAt || after.AuthTime != before.AuthTime || after.RefreshAt != before.RefreshAt {
			t.Errorf("its times: %v, want %v", after, before)
		}
		if want := time.Now().Add(time.Hour); after.IdleUntil.After(want) || after.IdleUntil.Before(want.Add(-time.Second)) {
			t.Errorf("idle until %v, want about %v", after.IdleUntil, want)
		}
		untilDue(after) // its tokens are refreshed as before
		renewed := v.mustLoad()
		if access(renewed) == access(before) || s.provider.RefreshReuses() != 0 {
			t.Errorf("refreshed: %v, %d reuses", renewed, s.provider.RefreshReuses())
		}
		old := v.copy()
		v.mustRotate()
		if _, err := old.load(); !errors.Is(err, session.ErrNone) {
			t.Errorf("the cookie before the second rotation: %v", err)
		}
		if _, err := thief.load(); !errors.Is(err, session.ErrNone) {
			t.Errorf("the first cookie: %v", err)
		}
		if again := v.mustLoad(); access(again) != access(renewed) {
			t.Error("the second rotation brought back older tokens")
		}
		last := v.copy()
		if _, err := v.end(); err != nil {
			t.Fatal(err)
		}
		if _, err := last.load(); !errors.Is(err, session.ErrNone) {
			t.Errorf("after the logout: %v", err)
		}
		if err := s.visitor().rotate(); !errors.Is(err, session.ErrNone) {
			t.Errorf("without a session: %v", err)
		}
	})
}

func TestARotatedSessionEndsAtItsIdleAndAbsoluteEnds(t *testing.T) {
	inEveryStore(t, func(t *testing.T, config session.Config) {
		config.Lifetime, config.Idle = 90*time.Minute, time.Hour
		s := newSite(t, setup{session: config})
		v := s.visitor()
		v.login()
		time.Sleep(50 * time.Minute)
		v.mustRotate() // which is a use of it
		time.Sleep(39 * time.Minute)
		v.mustRotate()
		time.Sleep(61 * time.Second)
		if _, err := v.load(); !errors.Is(err, session.ErrNone) {
			t.Errorf("after the absolute end: %v", err)
		}
		if err := v.rotate(); !errors.Is(err, session.ErrNone) {
			t.Errorf("rotated after the absolute end: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{session: session.Config{Store: serverStore(t, session.NewMemoryBackend(0)), OutliveTokens: true}})
		v := s.visitor()
		v.login()
		v.mustRotate()
		time.Sleep(time.Hour + time.Second)
		if err := v.rotate(); !errors.Is(err, session.ErrExpired) {
			t.Errorf("after the idle end: %v", err)
		}
	})
}

func TestASecondRotationInOneRequestIsRefused(t *testing.T) {
	inEveryStore(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		v := s.visitor()
		v.login()
		w, r := httptest.NewRecorder(), v.get(shop)
		loaded, err := s.Load(w, r)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Rotate(w, r); err != nil {
			t.Fatal(err)
		}
		if err := s.Rotate(w, r); !errors.Is(err, session.ErrNone) {
			t.Errorf("the second: %v", err)
		}
		if loaded.Subject == "" || access(loaded) == "" {
			t.Error("the snapshot was emptied")
		}
		v.take(w)
		v.mustLoad()
	})
}

func TestRevocationsReachARotatedSession(t *testing.T) {
	inEveryStore(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		for _, by := range []func(*session.Session) session.Revocation{
			func(s *session.Session) session.Revocation { return session.Revocation{Subject: s.Subject} },
			func(s *session.Session) session.Revocation {
				return session.Revocation{Subject: s.Subject, Before: s.LoginAt.Add(time.Second)} // before the rotation
			},
		} {
			v := s.visitor()
			first := v.login()
			time.Sleep(time.Minute)
			v.mustRotate()
			if err := s.Revoke(t.Context(), by(first)); err != nil {
				t.Fatal(err)
			}
			if err := v.rotate(); !errors.Is(err, session.ErrRevoked) {
				t.Errorf("rotated after the revocation: %v", err)
			}
			if _, err := v.load(); !errors.Is(err, session.ErrRevoked) {
				t.Errorf("after the revocation: %v", err)
			}
			time.Sleep(2 * time.Second)
		}
	})
}

// A logout that comes at the same moment with the cookie before wins, whichever is first.
func TestARotationBesideALogoutLeavesNobodySignedIn(t *testing.T) {
	inEveryStore(t, func(t *testing.T, config session.Config) {
		_, files := config.Store.(*sessions.FilesystemStore) // where a logout after the rotation finds nothing, and takes only the cookies of its browser
		s := newSite(t, setup{session: config})
		for range 40 {
			v := s.visitor()
			v.login()
			other := v.copy()
			var wg sync.WaitGroup
			wg.Go(func() { _ = v.rotate() })
			found := false
			wg.Go(func() {
				to, _ := other.end()
				found = to != ""
			})
			wg.Wait()
			if _, err := v.load(); !errors.Is(err, session.ErrNone) && (found || !files) {
				t.Fatal("the rotated session lives on")
			}
		}
	})
}

func TestALogoutWithTheOldCookieEndsTheRotatedSession(t *testing.T) {
	for name, config := range stores(t) {
		if name == "cookies" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, setup{session: config()})
				v := s.visitor()
				v.login()
				other := v.copy()
				v.mustRotate()
				v.mustRotate()
				if _, err := other.end(); err != nil {
					t.Fatal(err)
				}
				if _, err := v.load(); !errors.Is(err, session.ErrNone) {
					t.Errorf("afterwards: %v", err)
				}
			})
		})
	}
}

func TestARotationAtAnyStepOfALogoutInAnotherReplicaLeavesNobodySignedIn(t *testing.T) {
	for step := int64(1); step <= 6; step++ {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, 2, rptest.Options{AccessTokenLifetime: time.Hour})
			v := f.sites[0].visitor()
			v.login()
			other := v.at(f.sites[1])
			link := f.links[0]
			link.puts.Store(0)
			link.beforePut = func(n int64) {
				if n == step {
					if _, err := other.end(); err != nil {
						t.Errorf("step %d: %v", step, err)
					}
				}
			}
			err := v.rotate()
			link.beforePut = nil
			if link.puts.Load() < step {
				return
			}
			if _, now := v.load(); !errors.Is(now, session.ErrNone) {
				t.Errorf("step %d: the rotation said %v, and then %v", step, err, now)
			}
			if all, err := f.sites[1].List(t.Context(), "", "alice"); err != nil || len(all) != 0 {
				t.Errorf("step %d: %d sessions are left, %v", step, len(all), err)
			}
		})
	}
}

func TestARotationWaitsForARefreshAndKeepsItsTokens(t *testing.T) {
	inEveryStore(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		v := s.visitor()
		first := v.login()
		untilDue(first)
		s.provider.Fault(rptest.Token, rptest.Slow(5*time.Second))
		tab := v.copy()
		go func() { _, _ = tab.load() }()
		time.Sleep(time.Second)
		began := time.Now()
		v.mustRotate()
		if waited := time.Since(began); waited < 3*time.Second {
			t.Errorf("it waited %v for a provider that takes 5 s", waited)
		}
		after := v.mustLoad()
		if access(after) == access(first) || s.provider.Refreshes() != 1 || s.provider.RefreshReuses() != 0 {
			t.Errorf("old tokens: %t, %d refreshes, %d reuses", access(after) == access(first), s.provider.Refreshes(), s.provider.RefreshReuses())
		}
		synctest.Wait()
	})
}

func TestARotationLeavesASessionWhoseRefreshTakesLong(t *testing.T) {
	inEveryStore(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		v := s.visitor()
		first := v.login()
		untilDue(first)
		s.provider.Fault(rptest.Token, rptest.Slow(8*time.Second))
		tab := v.copy()
		go func() { _, _ = tab.load() }()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		w := httptest.NewRecorder()
		if err := s.Rotate(w, v.get(shop).WithContext(ctx)); !errors.Is(err, context.DeadlineExceeded) || len(w.Result().Cookies()) != 0 {
			t.Errorf("a request that ends during the refresh: %v, cookies %v", err, w.Result().Cookies())
		}
		time.Sleep(8 * time.Second)
		v.mustRotate()
		if after := v.mustLoad(); access(after) == access(first) || s.provider.RefreshReuses() != 0 {
			t.Errorf("%v, %d reuses", after, s.provider.RefreshReuses())
		}
	})
}

// A replica whose refresh has just failed keeps the others from the token for a while, and from rotating as well: the error says to try again.
func TestARotationRightAfterAFailedRefreshSaysToTryAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, rptest.Options{AccessTokenLifetime: time.Hour})
		v := f.sites[0].visitor()
		first := v.login()
		untilDue(first)
		f.provider.Fault(rptest.Token, rptest.Status(http.StatusBadGateway, ""))
		v.mustLoad()
		if err := v.at(f.sites[1]).rotate(); !errors.Is(err, rp.ErrUnavailable) || errors.Is(err, session.ErrNone) {
			t.Errorf("soon after: %v", err)
		}
		v.mustLoad()
		f.provider.ClearFaults()
		time.Sleep(time.Minute)
		v.at(f.sites[1]).mustRotate()
	})
}

func TestReplicasThatRotateAndRefreshAtOnceLoseNoToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, rptest.Options{})
		v := f.sites[0].visitor()
		v.login()
		for round := range 10 {
			time.Sleep(61 * time.Second)
			f.provider.Fault(rptest.Token, rptest.Slow(time.Second))
			var done atomic.Int64
			var won sync.Mutex
			var next *visitor
			var wg sync.WaitGroup
			for i := range 12 {
				twin := v.at(f.sites[i%3])
				wg.Go(func() {
					if i < 4 {
						if err := twin.rotate(); err == nil {
							done.Add(1)
							won.Lock()
							next = twin
							won.Unlock()
						} else if !errors.Is(err, session.ErrNone) && !errors.Is(err, rp.ErrUnavailable) {
							t.Errorf("Rotate: %v", err)
						}
						return
					}
					_, err := twin.load()
					if err != nil && !errors.Is(err, session.ErrNone) && !errors.Is(err, rp.ErrUnavailable) {
						t.Errorf("Load: %v", err)
					}
					if len(twin.names(sessionKey)) == 0 {
						t.Error("a request beside the rotation took the browser's cookie away")
					}
				})
			}
			wg.Wait()
			f.provider.ClearFaults()
			if done.Load() != 1 {
				t.Fatalf("round %d: %d of 4 rotations succeeded, want 1", round, done.Load())
			}
			v = next
			v.at(f.sites[2]).mustLoad()
			if n := f.provider.RefreshReuses(); n != 0 {
				t.Fatalf("round %d: %d reuses", round, n)
			}
			if all, err := f.sites[1].List(t.Context(), "", "alice"); err != nil || len(all) != 1 {
				t.Fatalf("round %d: %d sessions, %v", round, len(all), err)
			}
		}
	})
}

func TestARotatedSessionIsRefusedAndListedOnEveryReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, rptest.Options{AccessTokenLifetime: time.Hour})
		v := f.sites[0].visitor()
		first := v.login()
		oldKey := v.mustLoad().Key()
		time.Sleep(2 * time.Minute)
		thief := v.copy()
		v.mustRotate()
		if _, err := thief.at(f.sites[1]).load(); !errors.Is(err, session.ErrNone) {
			t.Errorf("the old cookie elsewhere: %v", err)
		}
		all, err := f.sites[1].List(t.Context(), "", "alice")
		if err != nil || len(all) != 1 {
			t.Fatalf("%d sessions, %v", len(all), err)
		}
		if l := all[0]; !l.LoginAt.Equal(first.LoginAt) || !l.ExpiresAt.Equal(first.ExpiresAt) || l.Key == oldKey || l.Key != v.at(f.sites[1]).mustLoad().Key() {
			t.Errorf("%+v, want the login's times", l)
		}
		if err := f.sites[1].EndListed(t.Context(), "", "bob", oldKey); !errors.Is(err, session.ErrNone) {
			t.Errorf("somebody else's: %v", err)
		}
		v.mustLoad()
		if err := f.sites[1].EndListed(t.Context(), "", "alice", oldKey); err != nil { // of a page made before
			t.Fatal(err)
		}
		if _, err := v.load(); !errors.Is(err, session.ErrNone) {
			t.Errorf("after it was ended: %v", err)
		}
	})
}

// At every step of a rotation the user has as many sessions as before: a login at that moment evicts nobody.
func TestARotationIsNoNewSession(t *testing.T) {
	for step := int64(1); step <= 5; step++ {
		synctest.Test(t, func(t *testing.T) {
			p := newProvider(t, rptest.Options{AccessTokenLifetime: time.Hour})
			link := &mortal{Backend: session.NewMemoryBackend(0), provider: p.Client().Transport}
			s := siteOn(t, p, newClient(t, p, nil), session.Config{Store: serverStore(t, link), MaxSessions: 3})
			other, v, third := s.visitor(), s.visitor(), s.visitor()
			other.login() // the one used least lately
			time.Sleep(time.Minute)
			v.login()
			link.puts.Store(0)
			var once atomic.Bool
			link.beforePut = func(n int64) {
				if n == step && once.CompareAndSwap(false, true) {
					if all, err := s.List(t.Context(), "", "alice"); err != nil || len(all) != 2 {
						t.Errorf("step %d: %d sessions, %v", step, len(all), err)
					}
					third.login()
				}
			}
			v.mustRotate()
			link.beforePut = nil
			other.mustLoad()
			v.mustLoad()
			if once.Load() {
				third.mustLoad()
			}
			all, err := s.List(t.Context(), "", "alice")
			if want := map[bool]int{true: 3, false: 2}[once.Load()]; err != nil || len(all) != want {
				t.Errorf("step %d: %d sessions, %v; want %d", step, len(all), err, want)
			}
		})
	}
}

// A process that loses its store at any step leaves one cookie that opens: the old one, or where it had said so already, the new.
func TestAProcessThatDiesInARotationLosesNoSession(t *testing.T) {
	for step := int64(1); step <= 6; step++ {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, 2, rptest.Options{AccessTokenLifetime: time.Hour})
			v := f.sites[0].visitor()
			first := v.login()
			link := f.links[0]
			link.puts.Store(0)
			link.beforePut = func(n int64) {
				if n == step {
					link.dead.Store(true)
				}
			}
			err := v.rotate()
			if link.puts.Load() >= step && step <= 4 && err == nil {
				t.Errorf("step %d: no error", step)
			}
			if err != nil && !errors.Is(err, session.ErrStore) {
				t.Errorf("step %d: %v, want what ends as 503", step, err)
			}
			time.Sleep(10 * time.Second) // the lease ends
			alive := v.at(f.sites[1])
			if s, err := alive.load(); err != nil || access(s) != access(first) {
				// Nobody knows which cookie opens when the store dies on the way from old to new; then the browser has the new one, and its row is there.
				t.Fatalf("step %d: %v, %v", step, s, err)
			}
			alive.mustRotate()
			time.Sleep(time.Until(first.RefreshAt) + time.Second)
			if s := alive.mustLoad(); access(s) == access(first) || f.provider.RefreshReuses() != 0 {
				t.Errorf("step %d: its tokens are not refreshed any more", step)
			}
			if f.provider.Refreshes() != 1 {
				t.Errorf("step %d: %d refreshes", step, f.provider.Refreshes())
			}
		})
	}
}

func TestAnOutageOfTheLedgerLeavesTheSessionAsItIs(t *testing.T) {
	for name, config := range allStores(t) {
		t.Run(name, func(t *testing.T) {
			ledger := &faultyLedger{Ledger: session.NewMemoryLedger(0)}
			cfg := config()
			cfg.Ledger = ledger
			s := newSite(t, setup{session: cfg})
			v := s.visitor()
			v.login()
			v.mustLoad()
			ledger.writes.Store(true)
			err := v.rotate()
			if marks := name == "memory" || name == "server"; marks == errors.Is(err, session.ErrStore) {
				t.Errorf("Rotate: %v", err)
			}
			v.mustLoad()
			ledger.reads.Store(true)
			if err := v.rotate(); !errors.Is(err, session.ErrStore) {
				t.Errorf("while it can't be read: %v", err)
			}
			ledger.reads.Store(false)
			ledger.writes.Store(false)
			v.mustLoad()
			v.mustRotate()
			v.mustLoad()
		})
	}
}

type faultyLedger struct {
	session.Ledger
	reads, writes atomic.Bool
}

func (l *faultyLedger) Revoke(ctx context.Context, key string, at, until time.Time) error {
	if l.writes.Load() {
		return errDead
	}
	return l.Ledger.Revoke(ctx, key, at, until)
}

func (l *faultyLedger) RevokedAt(ctx context.Context, keys ...string) (time.Time, error) {
	if l.reads.Load() {
		return time.Time{}, errDead
	}
	return l.Ledger.RevokedAt(ctx, keys...)
}

func TestRotatingAtOnceInManyTabsLeavesOneSession(t *testing.T) {
	for name, config := range stores(t) {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, setup{session: config()})
			v := s.visitor()
			v.login()
			var wg sync.WaitGroup
			var mu sync.Mutex
			var winners []*visitor
			for range 8 {
				twin := v.copy()
				wg.Go(func() {
					switch err := twin.rotate(); {
					case err == nil:
						mu.Lock()
						winners = append(winners, twin)
						mu.Unlock()
					case !errors.Is(err, session.ErrNone) && !errors.Is(err, rp.ErrUnavailable):
						t.Errorf("Rotate: %v", err)
					}
				})
			}
			wg.Wait()
			if len(winners) != 1 {
				t.Fatalf("%d rotations succeeded, want 1", len(winners))
			}
			winners[0].mustLoad()
		})
	}
}

// What is written down of a rotation holds neither the old cookie's secret nor the new one's.
func TestARotationSetsItsCookieOnceWithItsAttributes(t *testing.T) {
	inEveryStore(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		v := s.visitor()
		v.login()
		w, r := httptest.NewRecorder(), v.get(shop)
		if err := s.Rotate(w, r); err != nil {
			t.Fatal(err)
		}
		var main []*http.Cookie
		for _, c := range w.Result().Cookies() {
			if c.Name == sessionKey {
				main = append(main, c)
			}
		}
		if len(main) != 1 || !main[0].Secure || !main[0].HttpOnly || main[0].MaxAge <= 0 || !slices.Contains(w.Result().Header.Values("Cache-Control"), "no-store") {
			t.Errorf("cookies %v, headers %v", main, w.Result().Header.Values("Cache-Control"))
		}
		if strings.Contains(s.logs.String(), main[0].Value) {
			t.Error("the log has the cookie")
		}
	})
}
