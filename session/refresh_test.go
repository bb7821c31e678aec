package session_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

// inBubble runs f for the cookie store and the memory store, each with a clock of its own.
func inBubble(t *testing.T, f func(t *testing.T, config session.Config)) {
	t.Helper()
	for name, config := range stores(t) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f(t, config()) })
		})
	}
}

func access(s *session.Session) string { return s.Token().AccessToken }

// untilDue sleeps until the session's refresh is due.
func untilDue(s *session.Session) { time.Sleep(time.Until(s.RefreshAt) + time.Second) }

func TestTokensAreRefreshedAheadOfTheirEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		v := s.visitor()
		first := v.login()
		if ahead := first.TokenExpiry.Sub(first.RefreshAt); ahead < time.Minute || ahead > 90*time.Second {
			t.Errorf("the refresh of a token of 5 minutes is %v ahead of its end", ahead)
		}
		time.Sleep(time.Until(first.RefreshAt) - time.Second)
		if got := v.mustLoad(); access(got) != access(first) {
			t.Fatal("refreshed before it was due")
		}
		time.Sleep(time.Second)
		second := v.mustLoad()
		if access(second) == access(first) || !second.TokenExpiry.After(first.TokenExpiry) || second.LoginAt != first.LoginAt || second.ExpiresAt != first.ExpiresAt {
			t.Errorf("the refreshed session: %v until %v, %v", second, second.TokenExpiry, second.ExpiresAt)
		}
		if got := v.mustLoad(); access(got) != access(second) {
			t.Error("the refreshed tokens were not kept")
		}
		if n := s.provider.Refreshes(); n != 1 {
			t.Errorf("%d refreshes, want 1", n)
		}
	})
}

func TestManyRequestsWithOneCookieRefreshOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		s.provider.Fault(rptest.Token, rptest.Late(time.Second))
		v := s.visitor()
		untilDue(v.login())
		s.provider.ResetHits()
		old := v.copy()
		var wg sync.WaitGroup
		got := make(chan string, 1000)
		for range 1000 {
			wg.Go(func() {
				if s, err := old.copy().load(); err != nil {
					t.Errorf("Load: %v", err)
				} else {
					got <- access(s)
				}
			})
		}
		wg.Wait()
		want := <-got
		for len(got) > 0 {
			if <-got != want {
				t.Fatal("two requests got different tokens")
			}
		}
		time.Sleep(time.Minute)
		late, err := old.load()
		if err != nil || access(late) != want {
			t.Errorf("a later request with the old cookie: %v", err)
		}
		if after := old.mustLoad(); access(after) != want {
			t.Error("the later request was not given the new cookie")
		}
		if n, reused := s.provider.Hits(rptest.Token), s.provider.RefreshReuses(); n != 1 || reused != 0 {
			t.Errorf("%d token requests and %d reuses, want 1 and 0", n, reused)
		}
	})
}

func TestAnOldCookieFollowsAChainOfRefreshes(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config, provider: rptest.Options{AccessTokenLifetime: time.Minute}})
		v := s.visitor()
		got := v.login()
		oldest := v.copy()
		for range 4 {
			untilDue(got)
			got = v.mustLoad()
		}
		late := oldest.mustLoad()
		if access(late) != access(got) || access(oldest.mustLoad()) != access(got) {
			t.Error("the oldest cookie did not lead to the newest tokens")
		}
		if n, reused := s.provider.Refreshes(), s.provider.RefreshReuses(); n != 4 || reused != 0 {
			t.Errorf("%d refreshes and %d reuses, want 4 and 0", n, reused)
		}
	})
}

func TestARefreshTokenThatDoesNotRotateIsUsedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config, provider: rptest.Options{KeepRefreshTokens: true, AccessTokenLifetime: time.Minute}})
		v := s.visitor()
		got := v.login()
		for i := range 20 {
			untilDue(got)
			next := v.mustLoad()
			if access(next) == access(got) || !next.TokenExpiry.After(time.Now()) {
				t.Fatalf("refresh %d brought no new token", i+1)
			}
			got = next
		}
		time.Sleep(10 * time.Second)
		if forced, err := v.refresh(); err != nil || access(forced) == access(got) {
			t.Errorf("Refresh: %v, want a new token", err)
		}
		if n := s.provider.Refreshes(); n != 21 {
			t.Errorf("%d refreshes, want 21", n)
		}
	})
}

func TestAProviderThatIsDownIsWaitedFor(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		v := s.visitor()
		first := v.login()
		s.provider.Fault(rptest.Token, rptest.Down)
		s.provider.ResetHits()
		for untilDue(first); time.Now().Before(first.TokenExpiry); time.Sleep(100 * time.Millisecond) {
			if got := v.mustLoad(); access(got) != access(first) {
				t.Fatal("another token")
			}
		}
		if n := s.provider.Hits(rptest.Token); n < 2 || n > 8 {
			t.Errorf("%d token requests in a minute of outage, want a few", n)
		}
		for range 10 {
			if _, err := v.load(); !errors.Is(err, rp.ErrUnavailable) || errors.Is(err, session.ErrNone) {
				t.Fatalf("after the access token's end: %v, want ErrUnavailable and not ErrNone", err)
			}
			time.Sleep(5 * time.Second)
		}
		s.provider.ClearFaults()
		time.Sleep(time.Minute)
		if got := v.mustLoad(); access(got) == access(first) {
			t.Error("the provider is back, and the tokens are old")
		}
		if n := s.provider.RefreshReuses(); n != 0 {
			t.Errorf("%d reuses", n)
		}
	})
}

func TestARefreshTokenThatIsRefusedEndsTheSession(t *testing.T) {
	for name, fault := range map[string]func(p *rptest.Provider){
		"invalid_grant":            func(p *rptest.Provider) { p.EndUserSessions("alice") },
		"an ID token of bob":       func(p *rptest.Provider) { p.TokenFault(rptest.OnRefresh(rptest.WithClaim("sub", "bob"))) },
		"an ID token badly signed": func(p *rptest.Provider) { p.TokenFault(rptest.OnRefresh(rptest.BadSignature)) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, config session.Config) {
				s := newSite(t, setup{session: config})
				v := s.visitor()
				untilDue(v.login())
				fault(s.provider)
				old := v.copy()
				for range 2 {
					if _, err := v.load(); !errors.Is(err, session.ErrNone) {
						t.Fatalf("Load: %v, want ErrNone", err)
					}
				}
				if _, err := old.load(); !errors.Is(err, session.ErrNone) {
					t.Errorf("the old cookie: %v, want ErrNone", err)
				}
				if left := v.names(sessionKey); len(left) > 1 { // the loop breaker's may be left
					t.Errorf("cookies left: %v", left)
				}
				if n := s.provider.Hits(rptest.Token); n != 2 {
					t.Errorf("%d token requests, want the login's and one refresh", n)
				}
			})
		})
	}
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		v := s.visitor()
		untilDue(v.login())
		s.provider.EndUserSessions("alice")
		if _, err := v.load(); !errors.Is(err, session.ErrExpired) {
			t.Errorf("after invalid_grant: %v, want ErrExpired", err)
		}
	})
}

func TestABadRegistrationDoesNotEndSessions(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		v := s.visitor()
		first := v.login()
		s.provider.Fault(rptest.Token, rptest.InvalidClient)
		untilDue(first)
		if got := v.mustLoad(); access(got) != access(first) {
			t.Error("another token")
		}
		time.Sleep(time.Until(first.TokenExpiry))
		if _, err := v.load(); err == nil || errors.Is(err, session.ErrNone) {
			t.Errorf("after the token's end: %v, want an error that is not ErrNone", err)
		}
		s.provider.ClearFaults()
		time.Sleep(2 * time.Minute)
		v.mustLoad()
	})
}

func TestAClientThatLeavesDuringARefreshFindsItsTokens(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		v := s.visitor()
		first := v.login()
		untilDue(first)
		s.provider.Fault(rptest.Token, rptest.Late(2*time.Second))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Load(httptest.NewRecorder(), v.get(shop).WithContext(ctx)); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, session.ErrNone) {
			t.Errorf("Load: %v, want DeadlineExceeded", err)
		}
		time.Sleep(10 * time.Second)
		if got := v.mustLoad(); access(got) == access(first) {
			t.Error("the refreshed tokens are lost")
		}
		if n, reused := s.provider.Refreshes(), s.provider.RefreshReuses(); n != 1 || reused != 0 {
			t.Errorf("%d refreshes and %d reuses, want 1 and 0", n, reused)
		}
	})
}

func TestRefreshRefreshesNow(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		v := s.visitor()
		if _, err := v.refresh(); !errors.Is(err, session.ErrNone) {
			t.Errorf("without a session: %v, want ErrNone", err)
		}
		last := v.login()
		for range 3 {
			got, err := v.refresh()
			if err != nil || access(got) == access(last) {
				t.Fatalf("Refresh: %v", err)
			}
			if last = got; access(v.mustLoad()) != access(got) {
				t.Fatal("the refreshed tokens were not kept")
			}
			time.Sleep(10 * time.Second)
		}
	})
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config, provider: rptest.Options{NoRefreshTokens: true}})
		v := s.visitor()
		v.login()
		if _, err := v.refresh(); !errors.Is(err, session.ErrNoRefreshToken) || errors.Is(err, session.ErrNone) {
			t.Errorf("without a refresh token: %v, want ErrNoRefreshToken", err)
		}
	})
}

func TestALogoutDuringRefreshesWins(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		v := s.visitor()
		untilDue(v.login())
		issued, revoked := &notes{}, &notes{}
		s.provider.Fault(rptest.Token, rptest.Both(issued.member("refresh_token"), rptest.Late(2*time.Second)))
		s.provider.Fault(rptest.Revocation, revoked.form("token"))
		old := v.copy()
		twins := make([]*visitor, 100)
		var wg sync.WaitGroup
		for i := range twins {
			twins[i] = v.copy()
			wg.Go(func() { _, _ = twins[i].load() })
		}
		time.Sleep(time.Second)
		if _, err := v.end(); err != nil {
			t.Fatalf("End: %v", err)
		}
		wg.Wait()
		for _, b := range append(twins, old, v) {
			if got, err := b.load(); !errors.Is(err, session.ErrNone) {
				t.Fatalf("after End: %v, %v; want ErrNone", got, err)
			}
		}
		time.Sleep(time.Second)
		if newest := issued.all(); len(newest) != 1 || !slices.Contains(revoked.all(), newest[0]) {
			t.Errorf("%d tokens were revoked, and the newest is not one of them", len(revoked.all()))
		}
	})
}

func TestALogoutWithAnOldCookieRevokesTheNewestRefreshToken(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		issued, revoked := &notes{}, &notes{}
		s.provider.Fault(rptest.Token, issued.member("refresh_token"))
		s.provider.Fault(rptest.Revocation, revoked.form("token"))
		v := s.visitor()
		untilDue(v.login())
		old := v.copy()
		v.mustLoad()
		if _, err := old.end(); err != nil {
			t.Fatal(err)
		}
		if _, err := v.load(); !errors.Is(err, session.ErrNone) {
			t.Errorf("the renewed session after End: %v, want ErrNone", err)
		}
		if tokens := issued.all(); len(tokens) != 2 || !slices.Equal(revoked.all(), tokens[1:]) {
			t.Errorf("%d tokens were revoked, and the newest is not the only one", len(revoked.all()))
		}
	})
}

func TestARotatedRefreshTokenIsKeptWhileKeysAreOutOfReach(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		v := s.visitor()
		first := v.login()
		untilDue(first)
		s.provider.RotateKeys()
		s.provider.Fault(rptest.JWKS, rptest.Down)
		for time.Now().Before(first.TokenExpiry) {
			// Asking for the keys takes its time, in which the access token may end.
			if got, err := v.load(); err == nil && access(got) != access(first) || err != nil && time.Now().Before(first.TokenExpiry) {
				t.Fatalf("while the access token lasts: %v, %v; want the session as it was", got, err)
			}
			time.Sleep(5 * time.Second)
		}
		for range 5 {
			if got, err := v.load(); !errors.Is(err, rp.ErrUnavailable) || errors.Is(err, session.ErrNone) {
				t.Fatalf("after the access token's end: %v, %v; want ErrUnavailable", got, err)
			}
			time.Sleep(5 * time.Second)
		}
		s.provider.ClearFaults()
		time.Sleep(2 * time.Minute)
		if got := v.mustLoad(); access(got) == access(first) || !got.TokenExpiry.After(time.Now()) {
			t.Error("the keys are back, and the tokens are old")
		}
		if n := s.provider.RefreshReuses(); n != 0 {
			t.Errorf("%d refresh tokens were used twice", n)
		}
	})
}

func TestAnOldCookieIsReplacedEvenWhenTheNextRefreshFails(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config, provider: rptest.Options{AccessTokenLifetime: time.Minute}})
		v := s.visitor()
		untilDue(v.login())
		late := v.copy()
		second := v.mustLoad()
		untilDue(second)
		s.provider.Fault(rptest.Token, rptest.Down)
		if got := late.mustLoad(); access(got) != access(second) {
			t.Error("the old cookie did not lead to the newer tokens")
		}
		time.Sleep(10 * time.Minute) // what the process remembers of the first refresh is gone
		s.provider.ClearFaults()
		other := s.visitor()
		untilDue(other.login())
		other.mustLoad() // forgets old refreshes
		if got := late.mustLoad(); !got.TokenExpiry.After(time.Now()) {
			t.Error("old tokens")
		}
		if n := s.provider.RefreshReuses(); n != 0 {
			t.Errorf("%d refresh tokens were used twice", n)
		}
	})
}

func TestASlowRefreshHoldsNobodyUpWhileTheAccessTokenIsGood(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		s.provider.Fault(rptest.Token, rptest.Late(8*time.Second))
		v := s.visitor()
		first := v.login()
		untilDue(first)
		s.provider.ResetHits()
		begun := time.Now()
		if got := v.mustLoad(); access(got) != access(first) || time.Since(begun) != 2*time.Second {
			t.Errorf("the first request waited %v", time.Since(begun))
		}
		time.Sleep(7 * time.Second)
		if got := v.mustLoad(); access(got) == access(first) {
			t.Error("what the refresh brought was lost")
		}
		if n := s.provider.Hits(rptest.Token); n != 1 {
			t.Errorf("%d token requests, want 1", n)
		}
		// Without a token that is good, there is nothing to serve but the answer.
		time.Sleep(time.Until(v.mustLoad().TokenExpiry))
		begun = time.Now()
		if v.mustLoad(); time.Since(begun) != 8*time.Second {
			t.Errorf("after the token's end a request waited %v", time.Since(begun))
		}
	})
}
