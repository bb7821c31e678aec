package middleware_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/middleware"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

const framePath = "/auth/session-frame"

// ownFrame is what a browser says of the request of a frame on a page of ours, foreignFrame of one that another site led to.
var (
	ownFrame     = []string{"Sec-Fetch-Dest", "iframe", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "same-origin"}
	foreignFrame = []string{"Sec-Fetch-Dest", "iframe", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "cross-site"}
	ownPage      = []string{"Sec-Fetch-Dest", "document", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "same-origin"}
)

func watchedSite(t *testing.T, change func(*setup)) *site {
	with := setup{provider: rptest.Options{SessionManagement: true}, guard: func(g *middleware.Guard) { g.SessionFramePath = framePath }}
	if change != nil {
		change(&with)
	}
	return newSite(t, with)
}

// frameStatus is what a session frame says.
func frameStatus(t *testing.T, resp *http.Response) string {
	t.Helper()
	return pageStatus(t, &rptest.Page{Status: resp.StatusCode, Header: resp.Header, Body: text(resp)})
}

func pageStatus(t *testing.T, page *rptest.Page) string {
	t.Helper()
	_, rest, _ := strings.Cut(page.Body, `data-status="`)
	status, _, ok := strings.Cut(rest, `"`)
	if !ok || page.Status != http.StatusOK || page.Header.Get("Cache-Control") != "no-store" || !strings.Contains(page.Header.Get("Content-Security-Policy"), "frame-ancestors 'self'") {
		t.Fatalf("no session frame: %d %v %s", page.Status, page.Header, page.Body)
	}
	return status
}

func TestTheSessionFrameIsThereOnRequestOnly(t *testing.T) {
	s := newSite(t, setup{provider: rptest.Options{SessionManagement: true}})
	s.open(s.provider.Browser(), "/private")
	for _, path := range []string{framePath, "", "/"} {
		if body := text(s.do(nil, http.MethodGet, "/public"+path, "", ownFrame...)); strings.Contains(body, "data-status") {
			t.Errorf("%q: %s", path, body)
		}
	}
	if resp := s.do(nil, http.MethodGet, "/auth/callback?state=x", "", foreignFrame...); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a callback in a frame: %d", resp.StatusCode)
	}
}

func TestTheSessionFrameAllowsItsScriptAndTheProvidersFrameAlone(t *testing.T) {
	s := watchedSite(t, nil)
	b := s.provider.Browser()
	b.StopAt = func(u *url.URL) bool { return u.Path == "/auth/callback" }
	answer := s.open(b, "/private").Location
	b.StopAt = nil
	s.open(b, answer.RequestURI())
	state := answer.Query().Get("session_state")

	script, err := os.ReadFile("checksession.js")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(script)
	resp := s.do(b, http.MethodGet, framePath, "", ownFrame...)
	body := text(resp)
	want := "default-src 'none'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; frame-src 'self' https://op.example"
	if got := resp.Header.Get("Content-Security-Policy"); got != want {
		t.Errorf("policy %q, want %q", got, want)
	}
	for _, part := range []string{`data-status="watch"`, `data-client="test-client"`, `data-state="` + state + `"`, `data-silent="1"`, `src="https://op.example/check_session"`, "<script>" + string(script) + "</script>"} {
		if state == "" || !strings.Contains(body, part) {
			t.Errorf("no %s in %s", part, body)
		}
	}
	for name, value := range map[string]string{"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "Access-Control-Allow-Origin": ""} {
		if got := resp.Header.Get(name); got != value {
			t.Errorf("%s %q, want %q", name, got, value)
		}
	}
	if who := text(s.do(b, http.MethodGet, "/auth/session", "")); strings.Contains(who, state) || !strings.Contains(who, "alice") {
		t.Errorf("the session route shows it: %s", who)
	}
}

func TestARefreshKeepsTheSessionState(t *testing.T) {
	s := watchedSite(t, func(w *setup) { w.session.RefreshInterval = -1 })
	b := s.provider.Browser()
	s.open(b, "/private")
	state := func() string {
		_, rest, _ := strings.Cut(s.open(b, framePath).Body, `data-state="`)
		state, _, _ := strings.Cut(rest, `"`)
		return state
	}
	before, calls := state(), s.provider.Hits(rptest.Token)
	s.post(b, "/auth/session", nil)
	if after := state(); before == "" || after != before || s.provider.Hits(rptest.Token) != calls+1 {
		t.Errorf("%q after %q and %d refreshes", after, before, s.provider.Hits(rptest.Token)-calls)
	}
}

func TestWhatTheSessionFrameCanNotWatchItTells(t *testing.T) {
	hostile := func(iframe string) func(*site) {
		return func(s *site) {
			s.provider.Fault(rptest.Discovery, rptest.ModifyJSON(func(m map[string]any) { m["check_session_iframe"] = iframe }))
		}
	}
	for name, c := range map[string]struct {
		change func(*setup)
		before func(*site)
		want   string
	}{
		"everything there":                 {nil, nil, "watch"},
		"no such page":                     {func(w *setup) { w.provider.SessionManagement = false }, nil, "unsupported"},
		"no session_state":                 {nil, func(s *site) { s.provider.AnswerFault(func(q url.Values) { q.Del("session_state") }) }, "unsupported"},
		"a session_state with a space":     {nil, func(s *site) { s.provider.AnswerFault(func(q url.Values) { q.Set("session_state", "a b") }) }, "unsupported"},
		"a page with a policy in its host": {nil, hostile("https://op.example;script-src/*"), "unsupported"},
	} {
		t.Run(name, func(t *testing.T) {
			s := watchedSite(t, c.change)
			if c.before != nil {
				c.before(s)
			}
			b := s.provider.Browser()
			s.open(b, "/private")
			if got := frameStatus(t, s.do(b, http.MethodGet, framePath, "", ownFrame...)); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
	s := watchedSite(t, nil)
	if got := frameStatus(t, s.do(s.provider.Browser(), http.MethodGet, framePath, "", ownFrame...)); got != "signed-out" {
		t.Errorf("to nobody: %s", got)
	}
	s = watchedSite(t, func(w *setup) { w.client = func(c *rp.Config) { c.ResponseMode = "form_post" } })
	b := s.provider.Browser()
	s.open(b, "/private")
	if body := text(s.do(b, http.MethodGet, framePath, "", ownFrame...)); !strings.Contains(body, `data-silent=""`) || !strings.Contains(body, `data-status="watch"`) {
		t.Errorf("form_post: %s", body)
	}
	s = watchedSite(t, func(w *setup) { w.session.Store = brokenStore{} })
	if resp := s.do(nil, http.MethodGet, framePath, "", ownFrame...); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("without its store: %d", resp.StatusCode)
	}
}

func TestOnlyAFrameOfOurOwnMayAskForASilentLogin(t *testing.T) {
	s := watchedSite(t, nil)
	b := s.provider.Browser()
	s.open(b, "/private")
	for name, headers := range map[string][]string{"a foreign frame": foreignFrame, "a link": ownPage, "a program": nil, "an old browser": {"Accept", "text/html"}} {
		if resp := s.do(b, http.MethodGet, framePath+"?silent=1", "", headers...); resp.StatusCode != http.StatusForbidden || len(resp.Cookies()) != 0 {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}
	resp := s.do(b, http.MethodGet, framePath+"?silent=1", "", ownFrame...)
	to, err := resp.Location()
	if err != nil {
		t.Fatal(err)
	}
	if q := to.Query(); resp.StatusCode != http.StatusSeeOther || q.Get("prompt") != "none" || q.Get("id_token_hint") == "" || q.Get("code_challenge") == "" {
		t.Errorf("%d %v", resp.StatusCode, q)
	}
	if got := frameStatus(t, s.do(s.provider.Browser(), http.MethodGet, framePath+"?silent=1", "", ownFrame...)); got != "signed-out" {
		t.Errorf("nobody's: %s", got)
	}
}

// frames makes the requests of a browser those of its frames.
type frames struct {
	http.RoundTripper
	on bool
}

func (f *frames) RoundTrip(r *http.Request) (*http.Response, error) {
	if !f.on {
		return f.RoundTripper.RoundTrip(r)
	}
	r = r.Clone(r.Context())
	headers := foreignFrame
	if r.URL.Path == framePath || r.URL.Query().Has("framed") {
		headers = ownFrame
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return f.RoundTripper.RoundTrip(r)
}

// check goes through a silent login as a frame does, and returns what its page says and whether alice is still signed in.
func (s *site) check(b *rptest.Browser, meanwhile func()) (status string, signedIn bool) {
	s.t.Helper()
	f := &frames{b.Transport, true}
	b.Transport = f
	defer func() { b.Transport = f.RoundTripper }()
	// By the provider's redirect it changes nothing: the frame asks again by itself.
	first := s.open(b, framePath+"?silent=1")
	if got := pageStatus(s.t, first); got != "bounce" || len(first.Header["Set-Cookie"]) != 0 || first.URL.Path != "/auth/callback" {
		s.t.Fatalf("the provider's redirect was answered %q and %v", got, first.Header)
	}
	f.on = false
	if meanwhile != nil {
		meanwhile()
	}
	f.on = true
	status = pageStatus(s.t, s.open(b, first.URL.RequestURI()+"&framed=1"))
	f.on = false
	return status, strings.HasPrefix(s.open(b, "/public").Body, "alice")
}

func TestWhatASilentLoginFindsDecides(t *testing.T) {
	refused := func(code string) func(*site) {
		return func(s *site) {
			s.provider.AnswerFault(func(q url.Values) { q.Del("code"); q.Del("session_state"); q.Set("error", code) })
		}
	}
	for name, c := range map[string]struct {
		found  func(*site)
		status string
		stays  bool
	}{
		"the same user":            {func(*site) {}, "signed-in", true},
		"nobody":                   {refused("login_required"), "signed-out", false},
		"a page to be shown":       {refused("interaction_required"), "signed-out", false},
		"no consent any more":      {refused("consent_required"), "signed-out", false},
		"somebody to be chosen":    {refused("account_selection_required"), "signed-out", false},
		"no access":                {refused("access_denied"), "signed-out", false},
		"another user":             {func(s *site) { s.provider.TokenFault(rptest.WithClaim("sub", "bob")) }, "signed-out", false},
		"a busy provider":          {refused("temporarily_unavailable"), "unknown", true},
		"a fault of the provider":  {refused("server_error"), "unknown", true},
		"a request it won't take":  {refused("invalid_request"), "unknown", true},
		"a token that is not good": {func(s *site) { s.provider.TokenFault(rptest.BadSignature) }, "unknown", true},
		"no token endpoint":        {func(s *site) { s.provider.Fault(rptest.Token, rptest.Status(http.StatusBadGateway, "")) }, "unknown", true},
		"a foreign state":          {func(s *site) { s.provider.AnswerFault(func(q url.Values) { q.Set("state", "another") }) }, "unknown", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := watchedSite(t, nil)
			b := s.provider.Browser()
			s.open(b, "/private")
			c.found(s)
			if status, stays := s.check(b, nil); status != c.status || stays != c.stays {
				t.Errorf("the frame says %s, signed in %v; want %s, %v\n%s", status, stays, c.status, c.stays, s.log)
			}
		})
	}
}

func TestASilentLoginReplacesTheSessionItAskedAboutAndNoOther(t *testing.T) {
	s := watchedSite(t, nil)
	b := s.provider.Browser()
	s.open(b, "/private")
	old := b.Cookies(shop + "/")
	if status, _ := s.check(b, nil); status != "signed-in" {
		t.Fatal(status)
	}
	copied := make([]string, 0, len(old))
	for _, c := range old {
		copied = append(copied, c.Name+"="+c.Value)
	}
	if got := text(s.do(nil, http.MethodGet, "/public", "", "Cookie", strings.Join(copied, "; "))); !strings.HasPrefix(got, "nobody") {
		t.Errorf("the replaced session lives on: %s", got)
	}

	// Another tab logs in while the silent login is under way, which finds nobody.
	s.provider.AnswerFaultTimes(1, func(q url.Values) { q.Del("code"); q.Set("error", "login_required") })
	status, stays := s.check(b, func() { s.open(b, "/auth/login") })
	if status != "signed-in" || !stays {
		t.Errorf("the other tab's session: %s, signed in %v", status, stays)
	}
}

func TestASilentLoginAsksForNothingThatNeedsAPage(t *testing.T) {
	s := watchedSite(t, nil)
	b := s.provider.Browser()
	s.open(b, "/private")
	s.guard.Params = func(*http.Request) rp.AuthParams {
		return rp.AuthParams{Prompt: "login", MaxAge: time.Minute, LoginHint: "bob", UILocales: []string{"de"}}
	}
	to, err := s.do(b, http.MethodGet, framePath+"?silent=1", "", ownFrame...).Location()
	if err != nil {
		t.Fatal(err)
	}
	if q := to.Query(); q.Get("prompt") != "none" || q.Has("max_age") || q.Has("login_hint") || q.Get("ui_locales") != "de" {
		t.Errorf("asked for %v", q)
	}
}

func TestAnOrdinaryLoginThatTheProviderRefusesEndsNothing(t *testing.T) {
	s := watchedSite(t, nil)
	b := s.provider.Browser()
	s.open(b, "/private")
	s.provider.AnswerFault(func(q url.Values) { q.Del("code"); q.Set("error", "login_required") })
	if page := s.open(b, "/auth/login"); page.Status != http.StatusForbidden {
		t.Errorf("the login ended with %d", page.Status)
	}
	if page := s.open(b, "/public"); !strings.HasPrefix(page.Body, "alice") {
		t.Errorf("afterwards: %s", page.Body)
	}
}

func TestNoLinkMakesALoginASilentOne(t *testing.T) {
	s := watchedSite(t, nil)
	page := s.open(s.provider.Browser(), "/auth/login?return_to="+url.QueryEscape(framePath))
	if page.URL.Path != "/home" {
		t.Errorf("the login ended at %s", page.URL)
	}
}

// What the script must not lose; it runs in a browser only.
func TestTheScriptOfTheSessionFrameEndsItsCircles(t *testing.T) {
	script, err := os.ReadFile("checksession.js")
	if err != nil {
		t.Fatal(err)
	}
	for why, part := range map[string]string{
		"a provider that says changed of the session_state it has just renewed would be asked without end": `forget();`,
		"a fragment, which some providers add to their answer, would swallow the parameter":                `location.pathname + (location.search || "?") + "&framed=1"`,
		"messages go to pages of our own alone":                                                            `postMessage({latchkey: "session", status}, location.origin)`,
		"answers are the provider's frame's alone":                                                         `message.source === provider.contentWindow && message.origin === origin`,
	} {
		if !strings.Contains(string(script), part) {
			t.Errorf("no %s: %s", part, why)
		}
	}
	if strings.Contains(string(script), "'*'") || strings.Contains(string(script), `"*"`) {
		t.Error("something is posted to anybody")
	}
}

// Another site may open the page in a window, with our cookie, and count the frames in it: one for somebody who is signed in, none for nobody.
func TestAnotherSitesPageLearnsNothingFromTheSessionFrame(t *testing.T) {
	s := watchedSite(t, nil)
	signedIn, nobody := s.provider.Browser(), s.provider.Browser()
	s.open(signedIn, "/private")
	for name, site := range map[string]string{"another site": "cross-site", "a neighbour": "same-site"} {
		for _, dest := range []string{"document", "iframe"} {
			headers := []string{"Sec-Fetch-Dest", dest, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", site}
			for _, b := range []*rptest.Browser{signedIn, nobody} {
				resp := s.do(b, http.MethodGet, framePath, "", headers...)
				if body := text(resp); resp.StatusCode != http.StatusForbidden || strings.Contains(body, "data-status") || strings.Contains(body, "<iframe") {
					t.Errorf("%s, %s: %d %s", name, dest, resp.StatusCode, body)
				}
			}
		}
	}
	// A browser that does not say who asks at least parts the window from its opener.
	for name, headers := range map[string][]string{"our own frame": ownFrame, "an old browser": {"Accept", "text/html"}} {
		resp := s.do(signedIn, http.MethodGet, framePath, "", headers...)
		if got := resp.Header.Get("Cross-Origin-Opener-Policy"); got != "same-origin" || frameStatus(t, resp) != "watch" {
			t.Errorf("%s: opener policy %q", name, got)
		}
	}
}
