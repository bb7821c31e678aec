package session_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

func (v *visitor) finishLogout(back string) (string, error) {
	v.site.t.Helper()
	w := httptest.NewRecorder()
	to, err := v.site.FinishLogout(w, v.get(back))
	v.take(w)
	return to, err
}

func TestEndLeadsThroughTheProviderAndBack(t *testing.T) {
	for name, config := range allStores(t) {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, setup{session: config()})
			v := s.visitor()
			idToken := v.login().RawIDToken()
			to, err := v.end()
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(to, "https://op.example/") || query(t, to, "id_token_hint") != idToken || query(t, to, "client_id") != s.provider.ClientID() ||
				query(t, to, "post_logout_redirect_uri") != shop+"/bye" || len(query(t, to, "state")) < 20 {
				t.Errorf("the logout URL lacks a parameter, or has a wrong one")
			}
			if n := s.provider.Grants(); n != 0 {
				t.Errorf("%d refresh tokens live on at the provider", n)
			}
			state := query(t, to, "state")
			for _, c := range []struct{ back, want string }{
				{shop + "/bye", "no-state"}, {shop + "/bye?state=", "no-state"}, {shop + "/bye?state=other", "foreign-state"},
				{shop + "/bye?state=" + state + "&state=" + state, "no-state"}, {shop + "/bye?state=%zz", "malformed"},
			} {
				if returnTo, err := v.finishLogout(c.back); !errors.Is(err, session.ErrNoLogin) || reason(err) != c.want || returnTo != "" {
					t.Errorf("FinishLogout of %s: %q, %v; want %s", c.back, returnTo, err, c.want)
				}
			}
			if _, err := s.visitor().finishLogout(shop + "/bye?state=" + state); reason(err) != "no-cookie" {
				t.Errorf("in another browser: %v, want no-cookie", err)
			}
			if returnTo, err := v.finishLogout(shop + "/bye?state=" + state); err != nil || returnTo != "/goodbye" {
				t.Errorf("FinishLogout: %q, %v", returnTo, err)
			}
			if _, err := v.finishLogout(shop + "/bye?state=" + state); reason(err) != "no-cookie" {
				t.Errorf("once more: %v, want no-cookie", err)
			}
		})
	}
}

func TestTheReturnFromLogoutHasItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newSite(t, setup{}).visitor()
		v.login()
		to, err := v.end()
		if err != nil {
			t.Fatal(err)
		}
		c := v.jar[goodbyeKey]
		c.until = c.until.Add(time.Hour)
		v.jar[goodbyeKey] = c
		time.Sleep(10 * time.Minute)
		if _, err := v.finishLogout(shop + "/bye?state=" + query(t, to, "state")); reason(err) != "expired" {
			t.Errorf("FinishLogout after 10 minutes: %v, want expired", err)
		}
		c.value = "AAAA" + c.value
		v.jar[goodbyeKey] = c
		if _, err := v.finishLogout(shop + "/bye?state=" + query(t, to, "state")); reason(err) != "altered" {
			t.Errorf("FinishLogout with an altered cookie: %v, want altered", err)
		}
	})
}

func TestEndWithoutASessionDeletesWhatBearsItsName(t *testing.T) {
	for name, config := range stores(t) {
		t.Run(name, func(t *testing.T) {
			v := newSite(t, setup{session: config()}).visitor()
			v.jar[sessionKey] = cookie{"garbage", time.Now().Add(time.Hour)}
			if to, err := v.end(); err != nil || to != "" {
				t.Errorf("End: %q, %v; want nothing", to, err)
			}
			if left := v.names(sessionKey); len(left) != 0 {
				t.Errorf("cookies left: %v", left)
			}
		})
	}
}

func TestEndNeedsNothingOfTheProvider(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		v := s.visitor()
		v.login()
		s.provider.Fault(rptest.Revocation, rptest.Hang)
		start := time.Now()
		if to, err := v.end(); err != nil || to == "" {
			t.Errorf("End: %q, %v", to, err)
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("End took %v", took)
		}
		if _, err := v.load(); !errors.Is(err, session.ErrNone) {
			t.Errorf("Load: %v, want ErrNone", err)
		}
	})
}

func TestAProviderWithoutLogoutEndsHere(t *testing.T) {
	s := newSite(t, setup{})
	s.provider.Fault(rptest.Discovery, rptest.WithoutMember("end_session_endpoint"))
	v := s.visitor()
	v.login()
	if to, err := v.end(); err != nil || to != "" {
		t.Errorf("End: %q, %v; want no URL and no error", to, err)
	}
	if left := v.names(goodbyeKey); len(left) != 0 {
		t.Errorf("a logout cookie without a logout: %v", left)
	}
}

func TestACopyOfACookieDiesWithItsSession(t *testing.T) {
	for name, config := range allStores(t) {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, setup{session: config()})
			v := s.visitor()
			v.login()
			stolen := v.copy()
			other := s.visitor()
			other.login()
			stolen.mustLoad()
			if _, err := v.end(); err != nil {
				t.Fatal(err)
			}
			if got, err := stolen.load(); !errors.Is(err, session.ErrNone) {
				t.Errorf("the copy: %v, %v; want ErrNone", got, err)
			}
			if _, err := stolen.refresh(); !errors.Is(err, session.ErrNone) {
				t.Errorf("refreshing the copy: %v, want ErrNone", err)
			}
			other.mustLoad() // the same user's session elsewhere
			v.login()        // at once
			v.mustLoad()
		})
	}
}

func TestRevokeEndsTheSessionsItNames(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		signIn := func(user string) *visitor {
			s.provider.SignInAs(user)
			v := s.visitor()
			v.login()
			return v
		}
		ended := func(v *visitor, want bool) {
			t.Helper()
			if _, err := v.load(); errors.Is(err, session.ErrRevoked) != want || want && !errors.Is(err, session.ErrNone) {
				t.Errorf("Load: %v; revoked is to be %t", err, want)
			}
		}
		revoke := func(by session.Revocation) {
			t.Helper()
			if err := s.Revoke(t.Context(), by); err != nil {
				t.Fatal(err)
			}
		}
		laptop, phone, bob := signIn("alice"), signIn("alice"), signIn("bob")
		if err := s.Revoke(t.Context(), session.Revocation{Issuer: "https://op.example"}); err == nil {
			t.Error("Revoke of nobody: no error")
		}
		time.Sleep(time.Minute)
		revoke(session.Revocation{Issuer: "https://other.example", Subject: "alice"})
		ended(laptop, false)
		revoke(session.Revocation{SID: laptop.mustLoad().SID})
		ended(laptop, true)
		ended(phone, false)
		revoke(session.Revocation{Subject: "alice"})
		ended(phone, true)
		ended(bob, false)
		// In the same second, and after a logout token that is delivered again.
		back := signIn("alice")
		ended(back, false)
		revoke(session.Revocation{Subject: "alice", Before: time.Now().Add(-time.Second)})
		ended(back, false)
		time.Sleep(time.Second)
		revoke(session.Revocation{Subject: "alice"})
		ended(back, true)
	})
}

func TestALoginThatBeganBeforeALogoutIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{})
		s.provider.Fault(rptest.Token, rptest.Late(5*time.Second))
		v := s.visitor()
		back := s.authorize(v.begin("/"))
		done := make(chan error)
		go func() {
			_, _, err := v.finish(back)
			done <- err
		}()
		time.Sleep(3 * time.Second)
		if err := s.Revoke(t.Context(), session.Revocation{Subject: "alice"}); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, session.ErrRevoked) {
			t.Errorf("Finish: %v, want ErrRevoked", err)
		}
	})
}

func TestARevocationDuringARefreshWins(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		v := s.visitor()
		untilDue(v.login())
		s.provider.Fault(rptest.Token, rptest.Late(2*time.Second))
		done := make(chan error)
		go func() {
			_, err := v.load()
			done <- err
		}()
		time.Sleep(time.Second)
		if err := s.Revoke(t.Context(), session.Revocation{Subject: "alice"}); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, session.ErrRevoked) {
			t.Errorf("the request whose refresh was under way: %v, want ErrRevoked", err)
		}
		if _, err := v.load(); !errors.Is(err, session.ErrNone) {
			t.Errorf("Load: %v, want ErrNone", err)
		}
		time.Sleep(time.Second)
		if n := s.provider.Grants(); n != 0 {
			t.Errorf("%d refresh tokens live on at the provider", n)
		}
	})
}

func TestOnLoopbackHTTPCookiesHaveNoPrefix(t *testing.T) {
	s := newSite(t, setup{client: func(c *rp.Config) {
		c.RedirectURL, c.PostLogoutRedirectURL = "http://127.0.0.1:8080/auth/callback", ""
	}})
	w := httptest.NewRecorder()
	if _, err := s.Begin(w, httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8080/", nil), "/", rp.AuthParams{}); err != nil {
		t.Fatal(err)
	}
	if c := w.Result().Cookies()[0]; !strings.HasPrefix(c.Name, "latchkey-login-") || c.Secure || !c.HttpOnly {
		t.Errorf("%s, Secure %t, HttpOnly %t", c.Name, c.Secure, c.HttpOnly)
	}
}

// A provider whose clock is ahead of ours stamps logins later than we see them. A revocation by our clock must still find those that came before it.
func TestARevocationFindsLoginsOfAProviderWhoseClockIsAhead(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		s.provider.TokenFault(rptest.WithClaim("iat", time.Now().Add(30*time.Second).Unix()))
		v := s.visitor()
		v.login()
		time.Sleep(10 * time.Second)
		if err := s.Revoke(t.Context(), session.Revocation{Subject: "alice"}); err != nil {
			t.Fatal(err)
		}
		if _, err := v.load(); !errors.Is(err, session.ErrRevoked) {
			t.Errorf("the session from before: %v, want ErrRevoked", err)
		}
		s.provider.TokenFault(rptest.WithClaim("iat", time.Now().Add(30*time.Second).Unix()))
		again := s.visitor()
		again.login()
		if _, err := again.load(); err != nil {
			t.Errorf("a login right after: %v", err)
		}
	})
}
