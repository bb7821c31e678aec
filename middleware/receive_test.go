package middleware_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/middleware"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

func (s *site) deliver(contentType, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, shop+"/auth/backchannel-logout", strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Sec-Fetch-Site", "cross-site") // whoever sends it is no page of ours
	w := httptest.NewRecorder()
	s.guard.Handler(http.NotFoundHandler()).ServeHTTP(w, r)
	return w
}

func (s *site) logoutToken(changes ...any) string {
	now := time.Now().Unix()
	c := map[string]any{
		"iss": s.provider.Issuer(), "sub": "alice", "aud": s.provider.ClientID(), "iat": now, "exp": now + 120, "jti": fmt.Sprint(time.Now().UnixNano()),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	for i := 0; i < len(changes); i += 2 {
		c[fmt.Sprint(changes[i])] = changes[i+1]
	}
	return s.provider.Sign(c, "typ", "logout+jwt")
}

// The module of the conformance suite wants 200 exactly for a good token, and 400 exactly for each bad one.
func TestOIDCCClientTestRPBackchannel(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	s := newSite(t, setup{session: session.Config{BackchannelLogout: true}})
	token := func(changes ...any) string {
		return url.Values{"logout_token": {s.logoutToken(changes...)}, "other": {"ignored"}}.Encode()
	}
	good := token()
	for _, c := range []struct {
		name, contentType, body string
		status                  int
	}{
		{"rpinitlogout", form, good, 200},
		{"with a charset", form + "; charset=utf-8", token(), 200},
		{"a session nobody knows", form, token("sid", "unknown"), 200},
		{"the same token again", form, good, 400},
		{"wrong audience", form, token("aud", "another"), 400},
		{"wrong event", form, token("events", map[string]any{}), 400},
		{"nonce", form, token("nonce", "n"), 400},
		{"alg none", form, url.Values{"logout_token": {s.provider.SignBent(map[string]any{}, rptest.AlgNone)}}.Encode(), 400},
		{"no token", form, "a=b", 400},
		{"two tokens", form, token() + "&" + token(), 400},
		{"JSON", "application/json", `{"logout_token":"x"}`, 400},
		{"no type", "", token(), 400},
		{"too long", form, token() + "&x=" + strings.Repeat("x", 64<<10), 400},
		{"a broken form", form, "logout_token=%zz", 400},
	} {
		w := s.deliver(c.contentType, c.body)
		if w.Code != c.status || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s, Cache-Control %q", c.name, w.Code, w.Body, w.Header().Get("Cache-Control"))
		}
		if c.status == 400 && (w.Header().Get("Content-Type") != "application/json" || !strings.Contains(w.Body.String(), `"error":"invalid_request"`)) {
			t.Errorf("%s: %s", c.name, w.Body)
		}
	}
	r := httptest.NewRequest(http.MethodGet, shop+"/auth/backchannel-logout", nil)
	w := httptest.NewRecorder()
	s.guard.Handler(http.NotFoundHandler()).ServeHTTP(w, r)
	if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "POST" {
		t.Errorf("GET: %d", w.Code)
	}
}

func TestALogoutTokenThatCanNotBeTakenIsToBeSentAgain(t *testing.T) {
	s := newSite(t, setup{})
	body := url.Values{"logout_token": {s.logoutToken()}}.Encode()
	if w := s.deliver("application/x-www-form-urlencoded", body); w.Code != http.StatusNotImplemented {
		t.Errorf("not asked for: %d %s", w.Code, w.Body)
	}
	s = newSite(t, setup{session: session.Config{BackchannelLogout: true}})
	body = url.Values{"logout_token": {s.logoutToken()}}.Encode()
	s.provider.Fault(rptest.JWKS, rptest.Status(http.StatusBadGateway, ""))
	if w := s.deliver("application/x-www-form-urlencoded", body); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("keys out of reach: %d %s", w.Code, w.Body)
	}
}

func TestTheProvidersBackchannelLogoutEndsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{
			session:  session.Config{BackchannelLogout: true},
			provider: rptest.Options{Clients: []rptest.Client{{ID: "shop", Secret: "secret", BackchannelLogoutURI: shop + "/auth/backchannel-logout"}}},
		})
		b := s.provider.Browser()
		s.open(b, "/private")
		time.Sleep(2 * time.Second) // a login of the same second would have been after the logout
		if err := s.provider.BackchannelLogout(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		s.provider.SignInAs("-")
		if got := s.open(b, "/private"); got.Status == http.StatusOK && strings.Contains(string(got.Body), "alice at") {
			t.Errorf("afterwards: %d %s", got.Status, got.Body)
		}
	})
}

func TestOIDCCClientTestRPFrontchannel(t *testing.T) {
	s := newSite(t, setup{client: func(c *rp.Config) {}})
	b := s.provider.Browser()
	s.open(b, "/private")
	frame := func(query string) *http.Response {
		return s.do(b, http.MethodGet, "/auth/frontchannel-logout"+query, "", "Sec-Fetch-Dest", "iframe", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "cross-site")
	}
	issuer := url.QueryEscape(s.provider.Issuer())
	for _, query := range []string{"", "?sid=x", "?iss=" + issuer, "?iss=" + issuer + "&sid=wrong", "?iss=x&sid=x", "?iss=" + issuer + "&sid=a&sid=b"} {
		resp := frame(query)
		if h := resp.Header; resp.StatusCode != 200 || h.Get("Cache-Control") != "no-store" || h.Get("X-Frame-Options") != "" ||
			h.Get("Content-Security-Policy") != "default-src 'none'; frame-ancestors https://op.example" {
			t.Errorf("%s: %d %v", query, resp.StatusCode, resp.Header)
		}
		if page := s.open(b, "/private"); !strings.Contains(string(page.Body), "alice at") {
			t.Fatalf("%s ended the session", query)
		}
	}
}

func TestThePathsOfTheProvidersLogoutsCanBeChosen(t *testing.T) {
	s := newSite(t, setup{guard: func(g *middleware.Guard) { g.BackchannelPath, g.FrontchannelPath = "/a", "/b" }})
	for path, want := range map[string]int{"/a": 405, "/b": 200, "/auth/backchannel-logout": 404, "/auth/frontchannel-logout": 404} {
		w := httptest.NewRecorder()
		s.guard.Handler(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest(http.MethodGet, shop+path, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
}
