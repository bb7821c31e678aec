package interop_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/latchkey-go/latchkey/internal/interop/app"
	"github.com/latchkey-go/latchkey/internal/interop/chrome"
	"github.com/latchkey-go/latchkey/middleware"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

// stage is a browser and a provider at another site than the applications'.
type stage struct {
	browser   *chrome.Browser
	issuer    string
	provider  *rptest.Provider
	transport http.RoundTripper
}

// newStage serves the provider over TLS at login.example.com, so that browsers treat its redirects as cross-site.
func newStage(t *testing.T, o rptest.Options) *stage {
	t.Helper()
	s := &stage{browser: chrome.Start(t)}
	var provider *rptest.Provider
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { provider.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s.issuer = "https://login.example.com:" + port
	o.Issuer, o.Interactive = s.issuer, true
	if provider, err = rptest.New(o); err != nil {
		t.Fatal(err)
	}
	s.provider = provider
	s.transport = &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	return s
}

// app serves an application over TLS.
func (s *stage) app(t *testing.T, change func(*app.App, *app.Options)) *app.App {
	t.Helper()
	a := app.Listen(t, true)
	o := app.Options{Issuer: s.issuer, ClientID: "test-client", Secret: "test-secret", Transport: s.transport}
	if change != nil {
		change(a, &o)
	}
	a.Serve(t, o)
	return a
}

// signIn fills in the provider's login page, which tab shows.
func signIn(t *testing.T, tab *chrome.Tab, user, where string) {
	t.Helper()
	tab.Type(`input[name=username]`, user)
	tab.Type(`input[type=password]`, user)
	tab.Click(`#sign-in`, where)
}

// visit goes to a guarded page and through the login, which is demanded.
func (s *stage) visit(t *testing.T, tab *chrome.Tab, address, user string) {
	t.Helper()
	tab.Open(address)
	if !strings.HasPrefix(tab.URL(), s.issuer) {
		t.Fatalf("%s led to %s, want the provider", address, tab.URL())
	}
	signIn(t, tab, user, address)
}

func TestBrowser(t *testing.T) {
	s := newStage(t, rptest.Options{})

	t.Run("logs in, reloads, goes back and replays the callback", func(t *testing.T) {
		a := s.app(t, nil)
		profile := s.browser.Profile(t)
		tab := profile.Tab()
		tab.Open(a.URL + "/")
		tab.Click(`a[href="/account"]`, s.issuer)
		signIn(t, tab, "alice", a.URL+"/account")
		var callback string
		for _, at := range tab.Documents() {
			if strings.HasPrefix(at, a.Callback) {
				callback = at
			}
		}
		if callback == "" || !strings.Contains(tab.Text(), `"alice"`) {
			t.Fatalf("went by %v to %s", tab.Documents(), tab.Text())
		}
		tab.Reload()
		if tab.URL() != a.URL+"/account" || !strings.Contains(tab.Text(), `"alice"`) {
			t.Errorf("after a reload: %s %s", tab.URL(), tab.Text())
		}

		// The history holds the provider's login page and no callback.
		tab.Back(s.issuer)
		tab.Back(a.URL + "/")
		if strings.HasPrefix(tab.URL(), a.Callback) {
			t.Errorf("back led to %s", tab.URL())
		}
		tab.Open(a.URL + "/account")
		if !strings.Contains(tab.Text(), `"alice"`) {
			t.Errorf("going back ended the session: %s", tab.Text())
		}

		before := len(a.Tape.Grants("authorization_code"))
		tab.Open(callback)
		if strings.HasPrefix(tab.URL(), s.issuer) {
			t.Errorf("a replayed callback was sent on to the provider")
		}
		if len(a.Tape.Grants("authorization_code")) != before {
			t.Error("a replayed code was sent to the provider")
		}
		tab.Open(a.URL + "/account")
		if !strings.Contains(tab.Text(), `"alice"`) {
			t.Errorf("a replay ended the session: %s", tab.Text())
		}

		stranger := s.browser.Profile(t).Tab()
		stranger.Open(callback)
		if stranger.Status() < 400 || !strings.HasPrefix(stranger.URL(), a.Callback) {
			t.Errorf("another browser's replay answered %d at %s", stranger.Status(), stranger.URL())
		}
		if cookies := stranger.Cookies(a.URL); len(cookies) != 0 {
			t.Errorf("another browser's replay left cookies: %v", names(cookies))
		}
	})

	t.Run("keeps cookies as they are meant", func(t *testing.T) {
		a := s.app(t, nil)
		tab := s.browser.Profile(t).Tab()
		tab.Open(a.URL + "/account")
		attempt := tab.Cookies(a.URL)
		if len(attempt) != 1 {
			t.Fatalf("during the login the browser holds %v, want one attempt", names(attempt))
		}
		signIn(t, tab, "alice", a.URL+"/account")
		kept := tab.Cookies(a.URL)
		if len(kept) == 0 {
			t.Fatal("no session cookie")
		}
		for _, c := range kept {
			if c.Name == attempt[0].Name {
				t.Errorf("the attempt's cookie %s outlived the login", c.Name)
			}
		}
		for _, c := range append(attempt, kept...) {
			if !strings.HasPrefix(c.Name, "__Host-Http-") || !c.Secure || !c.HTTPOnly || c.Path != "/" || strings.HasPrefix(c.Domain, ".") || c.SameSite != network.CookieSameSiteLax || c.SourceScheme != network.CookieSourceSchemeSecure {
				t.Errorf("cookie %+v, want __Host-Http-, Secure, HttpOnly, Path=/, no Domain, SameSite=Lax", *c)
			}
		}
		if visible := chrome.Eval[string](tab, `document.cookie`); visible != "" {
			t.Errorf("scripts see %q", visible)
		}
		// A prefix of its own keeps another page of this host from planting the cookie by script.
		chrome.Eval[any](tab, `document.cookie = "`+kept[0].Name+`=planted; Secure; Path=/"; null`)
		for _, c := range tab.Cookies(a.URL) {
			if c.Value == "planted" {
				t.Error("a script planted the session cookie")
			}
		}
	})

	t.Run("form_post sends the attempt with SameSite=None and the session with Lax", func(t *testing.T) {
		a := s.app(t, func(_ *app.App, o *app.Options) { o.RP = func(c *rp.Config) { c.ResponseMode = "form_post" } })
		tab := s.browser.Profile(t).Tab()
		tab.Open(a.URL + "/account?by=post")
		for _, c := range tab.Cookies(a.URL) {
			if c.SameSite != network.CookieSameSiteNone || !c.Secure || !c.HTTPOnly {
				t.Errorf("attempt cookie %+v", *c)
			}
		}
		signIn(t, tab, "alice", a.URL+"/account?by=post")
		if !strings.Contains(tab.Text(), `"alice"`) {
			t.Fatalf("%s", tab.Text())
		}
		for _, c := range tab.Cookies(a.URL) {
			if c.SameSite != network.CookieSameSiteLax {
				t.Errorf("session cookie %+v", *c)
			}
		}
		tab.Reload()
		if tab.Status() != http.StatusOK || !strings.Contains(tab.Text(), `"alice"`) {
			t.Errorf("after a reload: %d %s", tab.Status(), tab.Text())
		}
	})

	t.Run("two tabs log in at the same time", func(t *testing.T) {
		a := s.app(t, nil)
		profile := s.browser.Profile(t)
		one, two := profile.Tab(), profile.Tab()
		one.Open(a.URL + "/account?tab=1")
		two.Open(a.URL + "/account?tab=2")
		signIn(t, one, "alice", a.URL+"/account?tab=1")
		signIn(t, two, "alice", a.URL+"/account?tab=2")
		for _, tab := range []*chrome.Tab{one, two} {
			tab.Reload()
			if !strings.Contains(tab.Text(), `"alice"`) {
				t.Errorf("%s: %s", tab.URL(), tab.Text())
			}
		}
	})

	t.Run("five tabs interleave and each comes back to its own page", func(t *testing.T) {
		a := s.app(t, nil)
		profile := s.browser.Profile(t)
		var tabs []*chrome.Tab
		for i := range 5 {
			tab := profile.Tab()
			tab.Open(fmt.Sprintf("%s/account?tab=%d", a.URL, i))
			tabs = append(tabs, tab)
		}
		for _, i := range []int{3, 0, 4, 1, 2} {
			signIn(t, tabs[i], "alice", fmt.Sprintf("%s/account?tab=%d", a.URL, i))
			if !strings.Contains(tabs[i].Text(), `"alice"`) {
				t.Errorf("tab %d: %s", i, tabs[i].Text())
			}
		}
	})

	t.Run("many abandoned logins leave a bounded number of cookies", func(t *testing.T) {
		a := s.app(t, nil)
		tab := s.browser.Profile(t).Tab()
		for i := range 12 {
			tab.Open(fmt.Sprintf("%s/account?try=%d", a.URL, i))
		}
		if n := len(tab.Cookies(a.URL)); n > 5 {
			t.Errorf("%d attempts are kept, want at most 5", n)
		}
		signIn(t, tab, "alice", a.URL+"/account?try=11")
	})

	t.Run("logout everywhere reaches another browser", func(t *testing.T) {
		a := s.app(t, nil)
		desk, phone, other := s.browser.Profile(t).Tab(), s.browser.Profile(t).Tab(), s.browser.Profile(t).Tab()
		s.visit(t, desk, a.URL+"/account", "alice")
		s.visit(t, phone, a.URL+"/account", "alice")
		s.visit(t, other, a.URL+"/account", "bob")
		desk.Open(a.URL + "/")
		desk.Go(post("/auth/logout", "everywhere", "1"), "")
		phone.Open(a.URL + "/maybe")
		if phone.Text() != "nobody" {
			t.Errorf("the phone is still signed in: %s", phone.Text())
		}
		desk.Open(a.URL + "/maybe")
		if desk.Text() != "nobody" {
			t.Errorf("the desk is still signed in: %s", desk.Text())
		}
		other.Open(a.URL + "/maybe")
		if !strings.Contains(other.Text(), `"bob"`) {
			t.Errorf("somebody else was signed out: %s", other.Text())
		}
		// A later login is not touched by the revocation. Times of ID tokens are whole seconds.
		time.Sleep(1100 * time.Millisecond)
		phone.Open(a.URL + "/account")
		if strings.HasPrefix(phone.URL(), s.issuer) {
			signIn(t, phone, "alice", a.URL+"/account")
		}
		phone.Reload()
		if !strings.Contains(phone.Text(), `"alice"`) {
			t.Errorf("after another login: %s", phone.Text())
		}
	})

	t.Run("another site can't log anybody out", func(t *testing.T) {
		a := s.app(t, nil)
		tab := s.browser.Profile(t).Tab()
		s.visit(t, tab, a.URL+"/account", "alice")
		attacker := strings.Replace(s.app(t, nil).URL, "127.0.0.1", "attacker.example.com", 1)
		tab.Open(attacker + "/")
		tab.Go(post(a.URL+"/auth/logout", "everywhere", "1"), a.URL)
		if tab.Status() != http.StatusForbidden {
			t.Errorf("a cross-site POST got %d", tab.Status())
		}
		tab.Open(attacker + "/")
		tab.Go(`location.href = "`+a.URL+`/auth/logout"`, a.URL)
		tab.Open(a.URL + "/maybe")
		if !strings.Contains(tab.Text(), `"alice"`) {
			t.Errorf("signed out by another site: %s", tab.Text())
		}
	})

	t.Run("fetch gets 401 with the login URL and no redirect", func(t *testing.T) {
		a := s.app(t, nil)
		tab := s.browser.Profile(t).Tab()
		tab.Open(a.URL + "/")
		type answer struct {
			Status     int    `json:"status"`
			Type       string `json:"type"`
			Redirected bool   `json:"redirected"`
			Body       struct {
				Status   int    `json:"status"`
				Title    string `json:"title"`
				LoginURL string `json:"login_url"`
			} `json:"body"`
		}
		for _, script := range []string{
			`fetch("/account")`,
			`fetch("/account", {headers: {"Accept": "text/html"}})`,
			`fetch("/account", {headers: {"X-Requested-With": "XMLHttpRequest"}, credentials: "include"})`,
		} {
			got := chrome.Eval[answer](tab, script+`.then(async r => ({status: r.status, type: r.headers.get("content-type"), redirected: r.redirected, body: await r.json()}))`)
			if got.Status != 401 || got.Redirected || !strings.HasPrefix(got.Type, "application/problem+json") || got.Body.Status != 401 || got.Body.Title == "" {
				t.Errorf("%s got %+v", script, got)
			}
			if !strings.HasPrefix(chrome.Eval[string](tab, `new URL(`+fmt.Sprintf("%q", got.Body.LoginURL)+`, location).href`), a.URL+"/auth/login") {
				t.Errorf("%s: login_url %q", script, got.Body.LoginURL)
			}
		}
		if cookies := tab.Cookies(a.URL); len(cookies) != 0 {
			t.Errorf("fetch left cookies: %v", names(cookies))
		}
		if status := chrome.Eval[int](tab, `fetch("/auth/session").then(r => r.status)`); status != http.StatusUnauthorized {
			t.Errorf("/auth/session answered %d to nobody", status)
		}
		s.visit(t, tab, a.URL+"/account", "alice")
		text := chrome.Eval[string](tab, `fetch("/auth/session").then(r => r.text())`)
		if !strings.Contains(text, "alice") || strings.Contains(text, "eyJ") {
			t.Errorf("/auth/session answered %s", text)
		}
	})

	t.Run("a frame is not redirected to the provider", func(t *testing.T) {
		a := s.app(t, nil)
		tab := s.browser.Profile(t).Tab()
		tab.Open(a.URL + "/")
		chrome.Eval[any](tab, `new Promise(done => { const f = document.createElement("iframe"); f.onload = () => done(null); f.src = "/account"; document.body.append(f) })`)
		if cookies := tab.Cookies(a.URL); len(cookies) != 0 {
			t.Errorf("a frame left cookies: %v", names(cookies))
		}
	})

	t.Run("prefetch begins no login", func(t *testing.T) {
		for name, script := range map[string]string{
			"link":              `const l = document.createElement("link"); l.rel = "prefetch"; l.href = "/account?by=link"; document.head.append(l)`,
			"speculation rules": `const l = document.createElement("script"); l.type = "speculationrules"; l.textContent = JSON.stringify({prefetch: [{source: "list", urls: ["/account?by=rules"], eagerness: "immediate"}]}); document.head.append(l)`,
		} {
			t.Run(name, func(t *testing.T) {
				var asked requests
				a := s.app(t, func(_ *app.App, o *app.Options) {
					o.Wrap = func(g *middleware.Guard, routes http.Handler) http.Handler { return asked.note(g.Handler(routes)) }
				})
				tab := s.browser.Profile(t).Tab()
				tab.Open(a.URL + "/")
				chrome.Eval[any](tab, script+`; null`)
				if !asked.within(10*time.Second, "/account") {
					t.Fatal("the browser prefetched nothing, and the test shows nothing")
				}
				time.Sleep(300 * time.Millisecond) // for the answer's cookies, if any
				if cookies := tab.Cookies(a.URL); len(cookies) != 0 {
					t.Errorf("a prefetch left cookies: %v", names(cookies))
				}
				tab.Open(a.URL + "/account")
				signIn(t, tab, "alice", a.URL+"/account")
			})
		}
	})
}

// TestBrowserOutlastsLifetimes waits for the shortest lifetimes that the constructor takes: a browser's clock can't be turned.
func TestBrowserOutlastsLifetimes(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes more than a minute")
	}
	t.Parallel()
	s := newStage(t, rptest.Options{})

	t.Run("an expired attempt ends in a page that logs in again", func(t *testing.T) {
		t.Parallel()
		a := s.app(t, func(_ *app.App, o *app.Options) {
			o.Session = func(c *session.Config) { c.AttemptLifetime = 30 * time.Second }
		})
		tab := s.browser.Profile(t).Tab()
		tab.Open(a.URL + "/account?late=1")
		time.Sleep(32 * time.Second)
		if cookies := tab.Cookies(a.URL); len(cookies) != 0 {
			t.Errorf("the browser still holds %v", names(cookies))
		}
		signIn(t, tab, "alice", a.Callback)
		if tab.Status() < 400 || tab.Status() >= 500 {
			t.Errorf("a late answer got status %d: %s", tab.Status(), tab.Text())
		}
		if n := len(a.Tape.Grants("authorization_code")); n != 0 {
			t.Errorf("the code of an expired attempt was redeemed")
		}
		if chrome.Eval[bool](tab, `document.querySelector('a[href*="/auth/login"]') === null`) {
			t.Fatalf("the page offers no way to try again: %s", tab.Text())
		}
		tab.Click(`a[href*="/auth/login"]`, a.URL+"/")
	})

	t.Run("a session ends with its lifetime", func(t *testing.T) {
		t.Parallel()
		a := s.app(t, func(_ *app.App, o *app.Options) {
			o.Session = func(c *session.Config) { c.Lifetime = time.Minute }
		})
		tab := s.browser.Profile(t).Tab()
		s.visit(t, tab, a.URL+"/account", "alice")
		time.Sleep(45 * time.Second)
		tab.Reload()
		if !strings.Contains(tab.Text(), `"alice"`) {
			t.Errorf("before its lifetime: %s", tab.Text())
		}
		time.Sleep(17 * time.Second)
		tab.Open(a.URL + "/maybe")
		if tab.Text() != "nobody" {
			t.Errorf("after its lifetime: %s", tab.Text())
		}
	})
}

// post is a script that posts a form.
func post(action, name, value string) string {
	return fmt.Sprintf(`const f = document.createElement("form"); f.method = "post"; f.action = %q;
		const i = document.createElement("input"); i.type = "hidden"; i.name = %q; i.value = %q; f.append(i); document.body.append(f); f.submit()`, action, name, value)
}

func names(cookies []*network.Cookie) []string {
	var all []string
	for _, c := range cookies {
		all = append(all, c.Name)
	}
	return all
}
