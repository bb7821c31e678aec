package session_test

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

// logoutToken for the session, or with changes: pairs of names and values, nil for none.
func logoutToken(p *rptest.Provider, s *session.Session, changes ...any) string {
	now := time.Now().Unix()
	c := map[string]any{
		"iss": p.Issuer(), "sub": s.Subject, "aud": p.ClientID(), "iat": now, "exp": now + 120, "jti": fmt.Sprint("t", time.Now().UnixNano()), "sid": s.SID,
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	for i := 0; i < len(changes); i += 2 {
		if name := fmt.Sprint(changes[i]); changes[i+1] == nil {
			delete(c, name)
		} else {
			c[name] = changes[i+1]
		}
	}
	return p.Sign(c, "typ", "logout+jwt")
}

func TestALogoutTokenEndsTheSessionsItNamesAndNoOther(t *testing.T) {
	for name, config := range stores(t) {
		for _, c := range []struct {
			by      string
			changes []any
			other   bool // the user's session at another browser ends as well
		}{
			{"sid", []any{"sub", nil}, false},
			{"both", nil, false},
			{"sub", []any{"sid", nil}, true},
		} {
			t.Run(name+" by "+c.by, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					cfg := config()
					cfg.BackchannelLogout = true
					s := newSite(t, setup{session: cfg})
					v, elsewhere, bob := s.visitor(), s.visitor(), s.visitor()
					victim := v.login()
					elsewhere.login()
					s.provider.SignInAs("bob")
					bob.login()
					time.Sleep(2 * time.Second)
					if err := s.BackchannelLogout(t.Context(), logoutToken(s.provider, victim, c.changes...)); err != nil {
						t.Fatal(err)
					}
					if _, err := v.load(); !errors.Is(err, session.ErrRevoked) {
						t.Errorf("the session named: %v", err)
					}
					if _, err := elsewhere.load(); errors.Is(err, session.ErrRevoked) != c.other {
						t.Errorf("another session of the user: %v", err)
					}
					bob.mustLoad()
					time.Sleep(2 * time.Second)
					s.provider.SignInAs("alice")
					v.login()
					v.mustLoad()
				})
			})
		}
	}
}

func TestALogoutTokenCountsOnceAndEndsNoLaterLogin(t *testing.T) {
	for name, config := range stores(t) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := config()
				cfg.BackchannelLogout = true
				s := newSite(t, setup{session: cfg})
				v := s.visitor()
				raw := logoutToken(s.provider, v.login(), "sid", nil)
				if err := s.BackchannelLogout(t.Context(), raw); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Second)
				v.login()
				if err := s.BackchannelLogout(t.Context(), raw); !errors.Is(err, session.ErrReplayed) {
					t.Errorf("the same token again: %v", err)
				}
				v.mustLoad()
				time.Sleep(5 * time.Minute)
				if err := s.BackchannelLogout(t.Context(), raw); !errors.Is(err, rp.ErrInvalidToken) {
					t.Errorf("the same token after its end: %v", err)
				}
			})
		})
	}
}

func TestARefusedLogoutTokenChangesNothing(t *testing.T) {
	s := newSite(t, setup{session: session.Config{BackchannelLogout: true, SingleProcess: true}})
	v := s.visitor()
	victim := v.login()
	for _, raw := range []string{"", "nonsense", logoutToken(s.provider, victim, "aud", "another"), logoutToken(s.provider, victim, "events", nil), victim.RawIDToken()} {
		if err := s.BackchannelLogout(t.Context(), raw); !errors.Is(err, rp.ErrInvalidToken) {
			t.Errorf("%.20q: %v", raw, err)
		}
	}
	v.mustLoad()
}

func TestLogoutTokensNeedWhoKeepsThem(t *testing.T) {
	p := newProvider(t, rptest.Options{})
	client := newClient(t, p, nil)
	if _, err := session.New(client, session.Config{Keys: [][]byte{testKey(1)}, BackchannelLogout: true}); err == nil || !strings.Contains(err.Error(), "Ledger") {
		t.Errorf("cookies alone: %v", err)
	}
	ledger := session.NewBackendLedger(session.NewMemoryBackend(0))
	if _, err := session.New(client, session.Config{Keys: [][]byte{testKey(1)}, BackchannelLogout: true, Ledger: ledger}); err != nil {
		t.Errorf("cookies with a shared ledger: %v", err)
	}
	s := newSite(t, setup{})
	if err := s.BackchannelLogout(t.Context(), logoutToken(s.provider, s.visitor().login())); !errors.Is(err, session.ErrNoLedger) {
		t.Errorf("not asked for: %v", err)
	}
}

func TestALogoutThatCanNotBeWrittenIsGoodForAnotherTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := &mortal{Backend: session.NewMemoryBackend(0)}
		s := newSite(t, setup{session: session.Config{BackchannelLogout: true, Store: serverStore(t, link)}})
		v := s.visitor()
		raw := logoutToken(s.provider, v.login())
		link.beforePut = func(int64) { link.dead.Store(true) }
		if err := s.BackchannelLogout(t.Context(), raw); !errors.Is(err, session.ErrStore) {
			t.Errorf("while the store is away: %v", err)
		}
		link.beforePut = nil
		link.dead.Store(false)
		if err := s.BackchannelLogout(t.Context(), raw); err != nil {
			t.Errorf("the second try: %v", err)
		}
		if _, err := v.load(); !errors.Is(err, session.ErrRevoked) {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestAFrameEndsTheSessionItNamesAndNoOther(t *testing.T) {
	for name, config := range stores(t) {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, setup{session: config()})
			v := s.visitor()
			here := v.login()
			frame := func(issuer, sid string) bool {
				w := httptest.NewRecorder()
				ended, err := s.FrontchannelLogout(w, v.get(shop+"/auth/frontchannel-logout"), issuer, sid)
				if err != nil {
					t.Fatal(err)
				}
				v.take(w)
				return ended
			}
			for _, c := range [][2]string{{"", ""}, {here.Issuer, ""}, {"", here.SID}, {here.Issuer, "another"}, {"https://other.example", here.SID}} {
				if frame(c[0], c[1]) {
					t.Errorf("%q ended the session", c)
				}
				v.mustLoad()
			}
			twin := v.copy()
			if !frame(here.Issuer, here.SID) {
				t.Error("the session was not ended")
			}
			if _, err := twin.load(); !errors.Is(err, session.ErrNone) {
				t.Errorf("a copy afterwards: %v", err)
			}
			if frame(here.Issuer, here.SID) {
				t.Error("it was ended twice")
			}
		})
	}
}
