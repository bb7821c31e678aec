//go:build unix

package interop_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-go/latchkey/internal/interop/app"
	"github.com/latchkey-go/latchkey/internal/interop/chrome"
	"github.com/latchkey-go/latchkey/internal/interop/service"
	"github.com/latchkey-go/latchkey/middleware"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

// Front-channel logout is a page of the application in a frame of the provider's, and so a matter of which cookies a browser sends from there. oidc-provider
// has given it up for that reason; the provider here is rptest.

const frontPath = "/auth/frontchannel-logout"

// framed is an application whose page for frames is watched.
type framed struct {
	*app.App
	name string // of the client and of the session cookie

	mu   sync.Mutex
	seen []frameRequest
}

// frameRequest is one request for that page.
type frameRequest struct {
	query   url.Values
	session bool // the session's cookie came with it
	answer  http.Header
}

// listenFramed opens a port; host, if any, is the name under which browsers reach it.
func listenFramed(t *testing.T, name, host string, tls bool) *framed {
	f := &framed{App: app.Listen(t, tls), name: name}
	if host != "" {
		f.SetURL(strings.Replace(f.URL, "127.0.0.1", host, 1))
	}
	return f
}

func (f *framed) client() rptest.Client {
	return rptest.Client{ID: f.name, Secret: "secret", FrontchannelLogoutURI: f.URL + frontPath}
}

// serve makes f a client of issuer. sameSite is the session cookie's, zero for what it is without a word.
func (f *framed) serve(t *testing.T, issuer string, transport http.RoundTripper, sameSite http.SameSite) {
	t.Helper()
	f.Serve(t, app.Options{
		Issuer: issuer, ClientID: f.name, Secret: "secret", Transport: transport, Wrap: f.watch,
		Session: func(c *session.Config) { c.CookieName, c.SameSite = f.name, sameSite },
	})
}

func (f *framed) watch(g *middleware.Guard, routes http.Handler) http.Handler {
	next := g.Handler(routes)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != frontPath {
			next.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		sent := false
		for _, c := range r.Cookies() {
			sent = sent || strings.HasSuffix(c.Name, f.name)
		}
		f.mu.Lock()
		f.seen = append(f.seen, frameRequest{r.URL.Query(), sent, answer.Header().Clone()})
		f.mu.Unlock()
		// What a frame shows is hidden from the page around it, so the page tells. Who may frame it stays as the guard says.
		maps.Copy(w.Header(), answer.Header())
		w.Header().Set("Content-Security-Policy", answer.Header().Get("Content-Security-Policy")+"; script-src 'unsafe-inline'")
		w.WriteHeader(answer.Code)
		w.Write(append(answer.Body.Bytes(), `<script>parent.postMessage("shown", "*")</script>`...))
	})
}

// last is the last of n requests for the page.
func (f *framed) last(t *testing.T, n int) frameRequest {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.seen) != n {
		t.Fatalf("%s: %d requests of frames, want %d", f.name, len(f.seen), n)
	}
	return f.seen[n-1]
}

// enter signs alice in, or finds that the provider knows her.
func (f *framed) enter(t *testing.T, tab *chrome.Tab, issuer string) {
	t.Helper()
	if tab.Open(f.URL + "/account"); strings.HasPrefix(tab.URL(), issuer) {
		signIn(t, tab, "alice", f.URL+"/account")
	} else {
		tab.Wait(`location.pathname === "/account"`) // under Strict by way of a page at the callback
	}
	if !f.knows(tab) {
		t.Fatalf("%s: the login ended with %s", f.name, tab.Text())
	}
}

func (f *framed) knows(tab *chrome.Tab) bool {
	tab.Open(f.URL + "/maybe")
	return strings.Contains(tab.Text(), `"alice"`)
}

// leaveFramed signs out on the provider's own page, and stays at the next one with the frames, which are loaded then.
func leaveFramed(tab *chrome.Tab, issuer string) {
	tab.Open(issuer + "/end_session")
	tab.Click(`#confirm`, issuer+"/end_session")
}

// shows puts address into a frame of the page that tab shows, and reports whether it is shown there.
func shows(t *testing.T, tab *chrome.Tab, address string) bool {
	t.Helper()
	return chrome.Eval[string](tab, fmt.Sprintf(`new Promise(done => {
		addEventListener("message", e => done(e.data));
		const f = document.createElement("iframe");
		f.onload = () => setTimeout(() => done("nothing"), 500);
		f.src = %q;
		document.body.append(f);
	})`, address)) == "shown"
}

// The setting of Chromium's for cookies of foreign frames, "third-party cookies". Without a word the profiles of these tests block them, as private windows do.
const (
	foreignCookiesSent    = 0
	foreignCookiesBlocked = 1
)

// setForeignCookies has the browsers which the test starts from now on begin with this setting. There is no switch for it: it must be in the
// new user's preferences.
func setForeignCookies(t *testing.T, mode int) {
	t.Helper()
	browser, dir := service.Chromium(t), t.TempDir()
	script := fmt.Sprintf(`#!/bin/sh
for arg do
	case $arg in --user-data-dir=*)
		mkdir -p "${arg#*=}/Default"
		echo '{"profile": {"cookie_controls_mode": %d}}' >"${arg#*=}/Default/Preferences" ;;
	esac
done
exec '%s' "$@"
`, mode, browser)
	if err := os.WriteFile(filepath.Join(dir, "chromium"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// TestFrontChannelLogoutInChromium shows where the provider's frames end sessions: where the application is on the provider's site. Elsewhere it takes a
// SameSite=None cookie and a browser that sends cookies from foreign frames, which most don't. The provider is at login.example.com.
func TestFrontChannelLogoutInChromium(t *testing.T) {
	for _, browser := range []struct {
		name string
		mode int
	}{
		{"that sends cookies from foreign frames", foreignCookiesSent},
		{"that does not", foreignCookiesBlocked},
	} {
		t.Run("a browser "+browser.name, func(t *testing.T) {
			setForeignCookies(t, browser.mode)
			cases := []struct {
				*framed
				sameSite http.SameSite
				ended    bool
			}{
				{listenFramed(t, "sibling", "shop.example.com", true), 0, true},
				{listenFramed(t, "sibling-strict", "office.example.com", true), http.SameSiteStrictMode, true},
				{listenFramed(t, "foreign", "", true), 0, false},
				{listenFramed(t, "foreign-none", "", true), http.SameSiteNoneMode, browser.mode == foreignCookiesSent},
			}
			var clients []rptest.Client
			for _, c := range cases {
				clients = append(clients, c.client())
			}
			s := newStage(t, rptest.Options{Clients: clients})
			desk, phone := s.browser.Profile(t).Tab(), s.browser.Profile(t).Tab()
			for _, c := range cases {
				c.serve(t, s.issuer, s.transport, c.sameSite)
				c.enter(t, desk, s.issuer)
				c.enter(t, phone, s.issuer)
			}
			leaveFramed(desk, s.issuer)
			for _, c := range cases {
				got := c.last(t, 1)
				if got.query.Get("iss") != s.issuer || got.query.Get("sid") == "" {
					t.Errorf("%s: the frame was asked for with %v, want the issuer and a sid", c.name, got.query)
				}
				if got.session != c.ended {
					t.Errorf("%s: the session came with the frame's request: %v, want %v", c.name, got.session, c.ended)
				}
				if cleared := got.answer.Get("Clear-Site-Data") != ""; cleared != c.ended || strings.Contains(got.answer.Get("Set-Cookie"), "Max-Age=0") != c.ended {
					t.Errorf("%s: answered with %v, want cookies and cache cleared: %v", c.name, got.answer, c.ended)
				}
			}
			for _, c := range cases {
				if known := c.knows(desk); known == c.ended {
					t.Errorf("%s: signed in after the frame: %v, want %v", c.name, known, !c.ended)
				}
				for _, cookie := range desk.Cookies(c.URL) {
					if c.ended && strings.HasSuffix(cookie.Name, c.name) {
						t.Errorf("%s: the browser still holds %s", c.name, cookie.Name)
					}
				}
				if !c.knows(phone) {
					t.Errorf("%s: a browser which showed no frame was signed out", c.name)
				}
			}
			if desk.Open(cases[0].URL + "/account"); !strings.HasPrefix(desk.URL(), s.issuer) {
				t.Errorf("after the logout the account is at %s", desk.URL())
			}
		})
	}
}

// Ports are no part of a site, but names are: what a developer tries at localhost tells little of the frames in production.
func TestFrontChannelLogoutOnLoopbackPorts(t *testing.T) {
	setForeignCookies(t, foreignCookiesBlocked)
	same, named := listenFramed(t, "same", "", false), listenFramed(t, "named", "localhost", false)
	browser := chrome.Start(t)
	p := rptest.Start(t, rptest.Options{Interactive: true, Clients: []rptest.Client{same.client(), named.client()}})
	tab := browser.Profile(t).Tab()
	for _, f := range []*framed{same, named} {
		f.serve(t, p.Issuer(), nil, 0)
		f.enter(t, tab, p.Issuer())
	}
	leaveFramed(tab, p.Issuer())
	if !same.last(t, 1).session || same.knows(tab) {
		t.Error("another port of the provider's host is still signed in")
	}
	if named.last(t, 1).session || !named.knows(tab) {
		t.Error("localhost was signed out by a frame at 127.0.0.1: the browser takes them for one site by now")
	}
}

func TestFrontChannelLogoutPageIsShownToTheProviderAlone(t *testing.T) {
	shop, attacker := listenFramed(t, "shop", "shop.example.com", true), listenFramed(t, "attacker", "attacker.example.com", true)
	s := newStage(t, rptest.Options{Clients: []rptest.Client{shop.client(), attacker.client()}})
	for _, f := range []*framed{shop, attacker} {
		f.serve(t, s.issuer, s.transport, 0)
	}
	tab := s.browser.Profile(t).Tab()
	shop.enter(t, tab, s.issuer)
	leaveFramed(tab, s.issuer)
	sid := shop.last(t, 1).query.Get("sid")
	if !shows(t, tab, shop.URL+frontPath) {
		t.Fatal("the provider can't show the page, and the test shows nothing")
	}
	shop.last(t, 2)

	shop.enter(t, tab, s.issuer)
	// The request is made, with the cookies: the attacker is on the same site. Neither a sid of before nor none at all ends the session.
	for i, query := range []string{"", "?" + url.Values{"iss": {s.issuer}}.Encode(), "?" + url.Values{"iss": {s.issuer}, "sid": {sid}}.Encode()} {
		tab.Open(attacker.URL + "/")
		if shows(t, tab, shop.URL+frontPath+query) {
			t.Errorf("a foreign page shows ours with %q", query)
		}
		if !shop.last(t, i+3).session {
			t.Error("no session came with the request, and the test shows nothing")
		}
		if !shop.knows(tab) {
			t.Fatalf("a foreign page ended the session with %q", query)
		}
	}
	if tab.Open(shop.URL + "/"); shows(t, tab, shop.URL+frontPath) {
		t.Error("a page of our own shows it")
	}
	if !shop.knows(tab) {
		t.Error("a page of our own ended the session")
	}
}

// An application that asks for the logout is among those whom the provider frames, and gets the browser back after them.
func TestFrontChannelLogoutOfAnotherApplication(t *testing.T) {
	shop, office := listenFramed(t, "shop", "shop.example.com", true), listenFramed(t, "office", "office.example.com", true)
	s := newStage(t, rptest.Options{Clients: []rptest.Client{shop.client(), office.client()}})
	tab := s.browser.Profile(t).Tab()
	for _, f := range []*framed{shop, office} {
		f.serve(t, s.issuer, s.transport, 0)
		f.enter(t, tab, s.issuer)
	}
	tab.Open(office.URL + "/auth/logout")
	tab.Click(`form button`, office.URL+"/")
	if tab.URL() != office.URL+"/" {
		t.Errorf("the logout ended at %s", tab.URL())
	}
	if office.last(t, 1).session {
		t.Error("the application that asked for the logout still had its session")
	}
	if !shop.last(t, 1).session || shop.knows(tab) || office.knows(tab) {
		t.Error("a session is not over")
	}
}
