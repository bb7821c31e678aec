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

// A library that takes over the connection writes an answer of its own: the browser gets none of the cookies that Load has set.
func TestAHandshakeLosesNoRenewedToken(t *testing.T) {
	for name, config := range allStores(t) {
		for kind, handshake := range map[string]func(*http.Request){
			"HTTP/1.1": func(r *http.Request) { r.Header.Set("Connection", "Upgrade"); r.Header.Set("Upgrade", "WebSocket") },
			"HTTP/2":   func(r *http.Request) { r.Method = http.MethodConnect },
		} {
			t.Run(name+", "+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newSite(t, setup{session: config(), provider: rptest.Options{AccessTokenLifetime: 10 * time.Minute}})
					v, other := s.visitor(), s.visitor()
					user := v.login()
					open := func() *session.Session {
						r := v.get(shop + "/feed")
						handshake(r)
						s, err := v.site.Load(httptest.NewRecorder(), r)
						if err != nil {
							t.Fatal(err)
						}
						return s
					}
					time.Sleep(time.Until(user.RefreshAt))
					if got := open(); got.Subject != "alice" || !time.Now().Before(got.TokenExpiry) {
						t.Errorf("at the handshake: %v", got)
					}
					other.login()
					time.Sleep(20 * time.Minute) // longer than a process remembers whom it has renewed, when others come
					other.mustLoad()
					if _, err := v.load(); err != nil {
						t.Errorf("the next page: %v", err)
					}
				})
			})
		}
	}
}

func TestAHandshakeWithAnEndedTokenIsServedARenewedOneOrNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{session: session.Config{SingleProcess: true}, provider: rptest.Options{AccessTokenLifetime: 10 * time.Minute}})
		v := s.visitor()
		user := v.login()
		time.Sleep(time.Until(user.TokenExpiry))
		r := v.get(shop + "/feed")
		r.Header.Set("Upgrade", "websocket")
		s.provider.Fault(rptest.Token, rptest.Down)
		if _, err := s.Load(httptest.NewRecorder(), r); !errors.Is(err, rp.ErrUnavailable) {
			t.Errorf("the provider is down: %v", err)
		}
		s.provider.ClearFaults()
		time.Sleep(time.Minute)
		w := httptest.NewRecorder()
		got, err := s.Load(w, r)
		if err != nil || !time.Now().Before(got.TokenExpiry) || !strings.Contains(strings.Join(w.Header()["Set-Cookie"], "\n"), sessionKey+"=") {
			t.Errorf("%v, %v, %v", got, err, w.Header())
		}
	})
}
