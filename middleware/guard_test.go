package middleware_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/sessions"
	"github.com/latchkey-go/latchkey/middleware"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

const shop = "https://shop.example"

// site is an application behind a Guard, its provider, and what it logs, all in memory.
type site struct {
	t        *testing.T
	provider *rptest.Provider
	sessions *session.Manager
	guard    *middleware.Guard
	log      *syncBuffer
	served   int // requests that reached a handler behind the guard
	mu       sync.Mutex
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

type setup struct {
	provider rptest.Options
	client   func(*rp.Config)
	session  session.Config
	guard    func(*middleware.Guard)
}

func newSite(t *testing.T, with setup) *site {
	t.Helper()
	with.provider.Issuer = "https://op.example"
	if with.provider.SigningAlg == "" {
		with.provider.SigningAlg = "ES256"
	}
	provider, err := rptest.New(with.provider)
	if err != nil {
		t.Fatal(err)
	}
	config := rp.Config{
		Issuer: provider.Issuer(), ClientID: provider.ClientID(), ClientSecret: provider.ClientSecret(), RedirectURL: shop + "/auth/callback",
		PostLogoutRedirectURL: shop + "/auth/bye", HTTPClient: provider.Client(),
	}
	if with.client != nil {
		with.client(&config)
	}
	client, err := rp.New(config)
	if err != nil {
		t.Fatal(err)
	}
	with.session.Keys = [][]byte{[]byte("0123456789abcdef0123456789abcdef")}
	with.session.SingleProcess = true
	manager, err := session.New(client, with.session)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, provider: provider, sessions: manager, log: &syncBuffer{}}
	s.guard = &middleware.Guard{Sessions: manager, AfterLogin: "/home", AfterLogout: "/bye", Logger: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if with.guard != nil {
		with.guard(s.guard)
	}
	provider.HandleHost("shop.example", s.handler())
	return s
}

// handler is the application: private by default, with a few doors of other kinds.
func (s *site) handler() http.Handler {
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.served++
		s.mu.Unlock()
		name := "nobody"
		if user := session.FromContext(r.Context()); user != nil {
			name = user.Subject
		}
		fmt.Fprintf(w, "%s at %s", name, r.URL.RequestURI())
	})
	mux := http.NewServeMux()
	mux.Handle("/", s.guard.Require(hello))
	mux.Handle("/public", s.guard.Optional(hello))
	mux.Handle("/bye", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "goodbye") }))
	mux.Handle("/bob", s.guard.Authorize(hello, func(u *session.Session) bool { return u.Subject == "bob" }))
	mux.Handle("/gold", s.guard.RequireACR(hello, "gold", "platinum"))
	mux.Handle("/fresh", s.guard.RequireFresh(hello, 5*time.Minute))
	mux.Handle("/both", s.guard.RequireACR(s.guard.RequireFresh(hello, 5*time.Minute), "gold"))
	return s.guard.Handler(mux)
}

func (s *site) reached() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.served
}

// do sends one request with the browser's cookies and follows nothing.
func (s *site) do(b *rptest.Browser, method, path, body string, headers ...string) *http.Response {
	s.t.Helper()
	r := httptest.NewRequest(method, shop+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	if b != nil {
		for _, c := range b.Cookies(shop + "/") {
			r.AddCookie(c)
		}
	}
	w := httptest.NewRecorder()
	s.handler().ServeHTTP(w, r)
	return w.Result()
}

func (s *site) open(b *rptest.Browser, path string) *rptest.Page {
	s.t.Helper()
	page, err := b.Get(shop + path)
	if err != nil {
		s.t.Fatal(err)
	}
	return page
}

func (s *site) post(b *rptest.Browser, path string, form url.Values) *rptest.Page {
	s.t.Helper()
	page, err := b.PostForm(shop+path, form)
	if err != nil {
		s.t.Fatal(err)
	}
	return page
}

func text(resp *http.Response) string {
	body, _ := io.ReadAll(resp.Body)
	return string(body)
}

var navigation = []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html"}

// brokenStore is a session store that is down.
type brokenStore struct{}

func (brokenStore) Get(*http.Request, string) (*sessions.Session, error) {
	return nil, errors.New("connection refused")
}
func (brokenStore) New(*http.Request, string) (*sessions.Session, error) {
	return nil, errors.New("connection refused")
}
func (brokenStore) Save(*http.Request, http.ResponseWriter, *sessions.Session) error {
	return errors.New("connection refused")
}

func TestALoginComesBackToItsPage(t *testing.T) {
	for name, store := range map[string]func() sessions.Store{
		"cookie": func() sessions.Store { return nil },
		"memory": func() sessions.Store {
			m, err := session.NewMemoryStore(session.MemoryConfig{})
			if err != nil {
				t.Fatal(err)
			}
			return m
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, setup{session: session.Config{Store: store()}})
			b := s.provider.Browser()
			for range 2 { // the second is a reload
				if page := s.open(b, "/orders/42?view=full"); page.Status != 200 || page.Body != "alice at /orders/42?view=full" {
					t.Fatalf("%d %s", page.Status, page.Body)
				}
			}
			if got := s.provider.Hits(rptest.Token); got != 1 {
				t.Errorf("%d token requests", got)
			}
			if page := s.open(b, "/public"); page.Body != "alice at /public" {
				t.Error(page.Body)
			}
			if page := s.open(s.provider.Browser(), "/public"); page.Body != "nobody at /public" {
				t.Error(page.Body)
			}
		})
	}
}

func TestOnlyNavigationsAreRedirectedAndOnlyTheyGetACookie(t *testing.T) {
	s := newSite(t, setup{})
	for name, c := range map[string]struct {
		method  string
		headers []string
		status  int
		media   string
		cookie  bool
	}{
		"navigation":    {"GET", navigation, 303, "", true},
		"HEAD":          {"HEAD", navigation, 303, "", false},
		"form":          {"POST", navigation, 401, "text/html", false},
		"fetch":         {"GET", []string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty"}, 401, "application/problem+json", false},
		"POST by fetch": {"POST", []string{"Sec-Fetch-Mode", "cors"}, 401, "application/problem+json", false},
		"XHR":           {"GET", []string{"Accept", "text/html", "X-Requested-With", "XMLHttpRequest"}, 401, "application/problem+json", false},
		"prefetch":      {"GET", append([]string{"Sec-Purpose", "prefetch"}, navigation...), 401, "application/problem+json", false},
		"iframe":        {"GET", []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, 401, "text/html", false},
		"WebSocket":     {"GET", []string{"Connection", "Upgrade", "Upgrade", "websocket"}, 401, "application/problem+json", false},
		"program":       {"GET", nil, 401, "application/problem+json", false},
	} {
		resp := s.do(nil, c.method, "/orders", "", c.headers...)
		if resp.StatusCode != c.status || !strings.HasPrefix(resp.Header.Get("Content-Type"), c.media) {
			t.Errorf("%s: %d %s", name, resp.StatusCode, resp.Header.Get("Content-Type"))
		}
		if got := resp.Header.Get("Set-Cookie") != ""; got != c.cookie {
			t.Errorf("%s: a cookie was set: %t", name, got)
		}
		if !strings.Contains(strings.Join(resp.Header.Values("Vary"), ","), "Sec-Fetch-Mode") || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: Vary %q, Cache-Control %q", name, resp.Header.Values("Vary"), resp.Header.Get("Cache-Control"))
		}
		if strings.HasSuffix(c.media, "problem+json") {
			var p struct {
				Status   int    `json:"status"`
				LoginURL string `json:"login_url"`
				Type     string `json:"type"`
			}
			if err := json.NewDecoder(resp.Body).Decode(&p); err != nil || p.Status != 401 || p.LoginURL != "/auth/login" || !strings.HasSuffix(p.Type, "#login-required") {
				t.Errorf("%s: %+v %v", name, p, err)
			}
		}
	}
	if s.reached() != 0 {
		t.Errorf("%d requests reached the application", s.reached())
	}
}

func TestTheQueryDecidesNothingOfALogin(t *testing.T) {
	s := newSite(t, setup{})
	resp := s.do(nil, "GET", "/auth/login?scope=admin&acr_values=x&prompt=none&redirect_uri=https://evil.example&max_age=1&client_id=evil&return_to=//evil.example", "", navigation...)
	to, err := url.Parse(resp.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	q := to.Query()
	if to.Host != "op.example" || q.Get("scope") != "openid profile email" || q.Has("acr_values") || q.Has("prompt") || q.Has("max_age") || q.Get("redirect_uri") != shop+"/auth/callback" || q.Get("client_id") != s.provider.ClientID() {
		t.Errorf("Location %s", to)
	}
}

func TestNoForwardedHeaderAndNoHostChangesTheRequest(t *testing.T) {
	s := newSite(t, setup{})
	strip := func(location string) string {
		u, err := url.Parse(location)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		for _, fresh := range []string{"state", "nonce", "code_challenge"} {
			q.Del(fresh)
		}
		u.RawQuery = q.Encode()
		return u.String()
	}
	want := strip(s.do(nil, "GET", "/orders", "", navigation...).Header.Get("Location"))
	for _, h := range [][]string{
		{"Host", "evil.example"}, {"X-Forwarded-Host", "evil.example"}, {"X-Forwarded-Proto", "http"}, {"Forwarded", "host=evil.example;proto=http"}, {"X-Forwarded-For", "127.0.0.1"},
		{"X-Forwarded-Prefix", "/evil"}, {"X-Original-URL", "/evil"}, {"X-Rewrite-URL", "/evil"}, {"X-Real-IP", "127.0.0.1"}, {"X_Forwarded_Host", "evil.example"},
		{"X-Forwarded-User", "alice"}, {"X-Auth-Request-User", "alice"}, {"Remote-User", "alice"}, {"X-HTTP-Method-Override", "POST"},
	} {
		resp := s.do(nil, "GET", "/orders", "", append(h, navigation...)...)
		if got := strip(resp.Header.Get("Location")); got != want {
			t.Errorf("%v: %s, want %s", h, got, want)
		}
	}
}

func TestACallbackThatIsNotThisBrowsers(t *testing.T) {
	s := newSite(t, setup{})
	attacker := s.provider.Browser()
	attacker.StopAt = func(u *url.URL) bool { return u.Path == "/auth/callback" }
	stolen := s.open(attacker, "/orders").Location
	if stolen == nil {
		t.Fatal("no callback")
	}
	before := s.provider.Hits(rptest.Token)
	victim := s.provider.Browser()
	page := s.open(victim, stolen.RequestURI())
	if page.Status != 400 || !strings.Contains(page.Body, "Start again") || !strings.Contains(page.Body, `href="/auth/login"`) {
		t.Errorf("%d %s", page.Status, page.Body)
	}
	if s.provider.Hits(rptest.Token) != before {
		t.Error("the stolen code was redeemed")
	}
	// Somebody who is signed in just goes on.
	s.open(victim, "/orders")
	if page := s.open(victim, stolen.RequestURI()); page.Body != "alice at /home" {
		t.Errorf("%d %s", page.Status, page.Body)
	}
}

func TestAReplayedCallbackGoesOnOrExplains(t *testing.T) {
	s := newSite(t, setup{})
	b := s.provider.Browser()
	var callback *url.URL
	for _, u := range s.open(b, "/orders").Visited {
		if u.Path == "/auth/callback" {
			callback = u
		}
	}
	if page := s.open(b, callback.RequestURI()); page.Body != "alice at /home" {
		t.Errorf("%d %s", page.Status, page.Body)
	}
	s.post(b, "/auth/logout", url.Values{"local": {"1"}})
	if page := s.open(b, callback.RequestURI()); page.Status != 400 || !strings.Contains(page.Body, "used already") {
		t.Errorf("%d %s", page.Status, page.Body)
	}
	if got := s.provider.Hits(rptest.Token); got != 1 {
		t.Errorf("%d token requests", got)
	}
}

func TestAnOutageOfTheProviderIs503AndKeepsTheWayBack(t *testing.T) {
	s := newSite(t, setup{})
	s.provider.Fault(rptest.Discovery, rptest.Down)
	resp := s.do(nil, "GET", "/orders?x=1", "", navigation...)
	body := text(resp)
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !strings.Contains(body, "return_to=%2Forders%3Fx%3D1") {
		t.Errorf("%d %q %s", resp.StatusCode, resp.Header.Get("Retry-After"), body)
	}
}

func TestASessionOutlastsAnOutageOfTheProvider(t *testing.T) {
	s := newSite(t, setup{})
	b := s.provider.Browser()
	s.open(b, "/orders")
	for _, e := range []rptest.Endpoint{rptest.Discovery, rptest.JWKS, rptest.Token, rptest.UserInfo, rptest.Authorization} {
		s.provider.Fault(e, rptest.Down)
	}
	if page := s.open(b, "/orders"); page.Body != "alice at /orders" {
		t.Errorf("%d %s", page.Status, page.Body)
	}
}

func TestAnOutageOfTheStoreIs503EverywhereAndNeverALogin(t *testing.T) {
	s := newSite(t, setup{session: session.Config{Store: brokenStore{}}})
	for _, path := range []string{"/orders", "/public", "/bob", "/gold", "/fresh", "/auth/session"} {
		resp := s.do(nil, "GET", path, "", append([]string{"Cookie", "__Host-Http-latchkey=x"}, navigation...)...)
		if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || resp.Header.Get("Location") != "" {
			t.Errorf("%s: %d to %q", path, resp.StatusCode, resp.Header.Get("Location"))
		}
	}
	if resp := s.do(nil, "POST", "/auth/logout", "local=1", append([]string{"Cookie", "__Host-Http-latchkey=x", "Sec-Fetch-Site", "same-origin"}, navigation...)...); resp.StatusCode != 503 {
		t.Errorf("logout: %d", resp.StatusCode)
	}
	if s.reached() != 0 {
		t.Errorf("%d requests reached the application", s.reached())
	}
}

func TestWhatTheProviderRefusesIsToldInOurWords(t *testing.T) {
	for code, want := range map[string]int{
		"access_denied": 403, "login_required": 403, "interaction_required": 403, "consent_required": 403, "account_selection_required": 403, "invalid_scope": 403,
		"unmet_authentication_requirements": 403, "temporarily_unavailable": 503, "server_error": 502, "<script>alert(1)</script>": 403,
	} {
		s := newSite(t, setup{})
		s.provider.AnswerFault(rptest.AnswerError(code, "<b>marked</b>\r\nSet-Cookie: evil=1"))
		page := s.open(s.provider.Browser(), "/orders")
		if page.Status != want || strings.Contains(page.Body, "marked") || strings.Contains(page.Body, "<script>") || !strings.Contains(page.Body, "return_to=%2Forders") {
			t.Errorf("%s: %d %s", code, page.Status, page.Body)
		}
		for line := range strings.Lines(s.log.String()) {
			if strings.HasPrefix(line, "Set-Cookie") {
				t.Errorf("%s broke the log: %q", code, line)
			}
		}
	}
}

func TestAnInvalidTokenSignsNobodyIn(t *testing.T) {
	faults := rptest.TokenFaults()
	if len(faults) < 25 {
		t.Fatalf("only %d kinds", len(faults))
	}
	for name, fault := range faults {
		s := newSite(t, setup{})
		s.provider.TokenFault(fault)
		b := s.provider.Browser()
		page := s.open(b, "/orders")
		if page.Status < 400 || s.reached() != 0 {
			t.Errorf("%s: %d, %d requests came through", name, page.Status, s.reached())
		}
		if resp := s.do(b, "GET", "/auth/session", ""); resp.StatusCode != 401 {
			t.Errorf("%s: somebody is signed in", name)
		}
	}
}

func TestTheApplicationMapsOrRefusesAUser(t *testing.T) {
	type account struct{ ID int }
	s := newSite(t, setup{guard: func(g *middleware.Guard) {
		g.LoggedIn = func(_ context.Context, u *session.Session) (any, error) {
			if u.Subject != "alice" {
				return nil, middleware.Refuse("<i>" + u.Subject + "</i> has no account here")
			}
			return account{ID: 7}, nil
		}
	}})
	b := s.provider.Browser()
	s.open(b, "/orders")
	var got account
	probe := s.guard.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if err := session.FromContext(r.Context()).App(&got); err != nil {
			t.Error(err)
		}
	}))
	r := httptest.NewRequest("GET", shop+"/", nil)
	for _, c := range b.Cookies(shop + "/") {
		r.AddCookie(c)
	}
	probe.ServeHTTP(httptest.NewRecorder(), r)
	if got.ID != 7 {
		t.Errorf("the mapped account is %+v", got)
	}
	s.provider.SignInAs("bob")
	stranger := s.provider.Browser()
	if page := s.open(stranger, "/orders"); page.Status != 403 || !strings.Contains(page.Body, "&lt;i&gt;bob&lt;/i&gt; has no account here") {
		t.Errorf("%d %s", page.Status, page.Body)
	}
	if resp := s.do(stranger, "GET", "/auth/session", ""); resp.StatusCode != 401 {
		t.Error("the refused user has a session")
	}
}

func TestAuthorizeIsAFunctionOfTheUser(t *testing.T) {
	s := newSite(t, setup{})
	b := s.provider.Browser()
	if page := s.open(b, "/bob"); page.Status != 403 || strings.Contains(page.Body, "id=\"retry\"") {
		t.Errorf("alice: %d %s", page.Status, page.Body)
	}
	s.provider.SignInAs("bob")
	if page := s.open(s.provider.Browser(), "/bob"); page.Body != "bob at /bob" {
		t.Errorf("bob: %d %s", page.Status, page.Body)
	}
}

func TestStepUpAsksTheProviderAndChecksItsAnswer(t *testing.T) {
	s := newSite(t, setup{})
	b := s.provider.Browser()
	s.open(b, "/orders")
	if resp := s.do(b, "GET", "/gold", "", "Sec-Fetch-Mode", "cors"); resp.StatusCode != 401 || !strings.Contains(text(resp), `"login_url":"/gold"`) {
		t.Errorf("fetch: %d", resp.StatusCode)
	}
	for _, path := range []string{"/gold", "/both", "/fresh"} {
		if page := s.open(b, path); page.Body != "alice at "+path {
			t.Errorf("%s: %d %s", path, page.Status, page.Body)
		}
	}
	weak := newSite(t, setup{provider: rptest.Options{NoStepUp: true}})
	if page := weak.open(weak.provider.Browser(), "/gold"); page.Status != 403 || !strings.Contains(page.Body, "not confirm you as strongly") || weak.reached() != 0 {
		t.Errorf("a weak answer: %d %s", page.Status, page.Body)
	}
	old := newSite(t, setup{})
	old.provider.TokenFault(rptest.OldAuthTime)
	if page := old.open(old.provider.Browser(), "/fresh"); page.Status != 403 && page.Status != 502 || old.reached() != 0 {
		t.Errorf("an old authentication: %d", page.Status)
	}
}

func TestAWebSocketOfAnotherSiteIsRefused(t *testing.T) {
	s := newSite(t, setup{})
	b := s.provider.Browser()
	s.open(b, "/orders")
	upgrade := []string{"Connection", "Upgrade", "Upgrade", "websocket"}
	for origin, want := range map[string]int{shop: 200, "": 200, "https://evil.example": 403, "http://shop.example": 403, "null": 403, "https://shop.example.evil.example": 403} {
		headers := upgrade
		if origin != "" {
			headers = append([]string{"Origin", origin}, upgrade...)
		}
		if resp := s.do(b, "GET", "/feed", "", headers...); resp.StatusCode != want {
			t.Errorf("Origin %q: %d, want %d", origin, resp.StatusCode, want)
		}
		// By HTTP/2 it is a CONNECT (RFC 8441).
		if resp := s.do(b, "CONNECT", "/feed", "", headers[:len(headers)-len(upgrade)]...); resp.StatusCode != want {
			t.Errorf("CONNECT, Origin %q: %d, want %d", origin, resp.StatusCode, want)
		}
		if resp := s.do(b, "GET", "/public", "", headers...); resp.StatusCode != want {
			t.Errorf("where a session is optional, Origin %q: %d, want %d", origin, resp.StatusCode, want)
		}
	}
}

func TestLoggingOutTakesAPostOfOurOwn(t *testing.T) {
	s := newSite(t, setup{})
	b := s.provider.Browser()
	s.open(b, "/orders")
	signedIn := func() bool { return s.do(b, "GET", "/auth/session", "").StatusCode == 200 }
	if page := s.open(b, "/auth/logout"); page.Status != 200 || !strings.Contains(page.Body, `method="post"`) || !signedIn() {
		t.Errorf("a GET: %d %s", page.Status, page.Body)
	}
	for name, headers := range map[string][]string{
		"cross-site": {"Sec-Fetch-Site", "cross-site"}, "same-site": {"Sec-Fetch-Site", "same-site"},
		"foreign Origin": {"Origin", "https://evil.example"}, "null Origin": {"Origin", "null"},
	} {
		for _, path := range []string{"/auth/logout", "/auth/session"} {
			if resp := s.do(b, "POST", path, "local=1", headers...); resp.StatusCode != 403 || !signedIn() {
				t.Errorf("%s to %s: %d", name, path, resp.StatusCode)
			}
		}
	}
	for name, headers := range map[string][]string{
		"same-origin": {"Sec-Fetch-Site", "same-origin"}, "our Origin": {"Origin", shop}, "our Origin behind a proxy": {"Origin", shop, "Host", "10.0.0.7:8080"},
	} {
		if resp := s.do(b, "POST", "/auth/session", "", headers...); resp.StatusCode != 200 && resp.StatusCode != 303 {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
		s.open(b, "/orders")
	}
}

func TestLogoutHereLeavesTheProviderAlone(t *testing.T) {
	s := newSite(t, setup{})
	b := s.provider.Browser()
	s.open(b, "/orders")
	if page := s.post(b, "/auth/logout", url.Values{"local": {"1"}}); page.Body != "goodbye" || s.provider.Hits(rptest.EndSession) != 0 {
		t.Errorf("%s, %d visits to the provider", page.Body, s.provider.Hits(rptest.EndSession))
	}
	if s.do(b, "GET", "/auth/session", "").StatusCode != 401 {
		t.Error("still signed in")
	}
}

func TestLogoutEverywhereEndsOtherBrowsersToo(t *testing.T) {
	s := newSite(t, setup{})
	one, two := s.provider.Browser(), s.provider.Browser()
	s.provider.SignInAs("bob")
	other := s.provider.Browser()
	s.open(other, "/orders")
	s.provider.SignInAs("alice")
	s.open(one, "/orders")
	s.open(two, "/orders")
	s.post(one, "/auth/logout", url.Values{"everywhere": {"1"}})
	for name, c := range map[string]struct {
		b    *rptest.Browser
		want int
	}{"the first": {one, 401}, "the second": {two, 401}, "another user's": {other, 200}} {
		if got := s.do(c.b, "GET", "/auth/session", "").StatusCode; got != c.want {
			t.Errorf("%s browser: %d, want %d", name, got, c.want)
		}
	}
}

func TestOIDCCClientTestRPInitLogout(t *testing.T) {
	s := newSite(t, setup{})
	b := s.provider.Browser()
	s.open(b, "/orders")
	page := s.post(b, "/auth/logout", nil)
	var end *url.URL
	for _, u := range page.Visited {
		if u.Host == "op.example" {
			end = u
		}
	}
	if end == nil || end.Query().Get("id_token_hint") == "" || end.Query().Get("client_id") == "" || len(end.Query().Get("state")) < 22 || end.Query().Get("post_logout_redirect_uri") != shop+"/auth/bye" {
		t.Fatalf("the provider's logout was %v", end)
	}
	if page.Body != "goodbye" || s.provider.Hits(rptest.EndSession) != 1 {
		t.Errorf("%s at %s", page.Body, page.URL)
	}
}

func TestOIDCCClientTestRPInitLogoutOtherStateAndNoState(t *testing.T) {
	for name, bend := range map[string]func(url.Values){
		"other": func(q url.Values) { q.Set("state", q.Get("state")+"1") },
		"none":  func(q url.Values) { q.Del("state") },
		"twice": func(q url.Values) { q.Add("state", q.Get("state")) },
	} {
		s := newSite(t, setup{})
		b := s.provider.Browser()
		s.open(b, "/orders")
		b.StopAt = func(u *url.URL) bool { return u.Path == "/auth/bye" }
		back := s.post(b, "/auth/logout", nil).Location
		if back == nil {
			t.Fatal("no way back from the provider")
		}
		b.StopAt = nil
		q := back.Query()
		bend(q)
		page := s.open(b, "/auth/bye?"+q.Encode())
		if page.Body != "goodbye" || !strings.Contains(s.log.String(), "a logout that is not known") {
			t.Errorf("%s: %d %s", name, page.Status, page.Body)
		}
		if s.do(b, "GET", "/auth/session", "").StatusCode != 401 {
			t.Errorf("%s: still signed in", name)
		}
	}
}

func TestTheSessionRouteTellsWhoAndNeverAToken(t *testing.T) {
	s := newSite(t, setup{})
	b := s.provider.Browser()
	if resp := s.do(b, "GET", "/auth/session", "", "Sec-Fetch-Mode", "cors"); resp.StatusCode != 401 || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("nobody: %d", resp.StatusCode)
	}
	s.open(b, "/orders")
	body := text(s.do(b, "GET", "/auth/session", "", "Sec-Fetch-Mode", "cors"))
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"subject", "issuer", "login_at", "expires_at", "idle_until", "login_url", "logout_url", "token_expires_at", "refresh_at"} {
		if got[name] == nil {
			t.Errorf("%s is missing in %s", name, body)
		}
	}
	if strings.Contains(body, "eyJ") {
		t.Errorf("a token is in %s", body)
	}
	before := s.provider.Hits(rptest.Token)
	if resp := s.do(b, "POST", "/auth/session", "", "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors"); resp.StatusCode != 200 {
		t.Errorf("refresh: %d", resp.StatusCode)
	}
	if got := s.provider.Hits(rptest.Token) - before; got != 1 {
		t.Errorf("%d token requests for one refresh", got)
	}
}

func TestRoutesTakeTheirMethodsOnly(t *testing.T) {
	s := newSite(t, setup{})
	for path, allowed := range map[string]string{
		"/auth/callback": "GET", "/auth/login": "GET, HEAD", "/auth/logout": "GET, POST", "/auth/session": "GET, POST", "/auth/bye": "GET",
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"} {
			resp := s.do(nil, method, path, "", "Sec-Fetch-Site", "same-origin")
			refused := resp.StatusCode == 405
			if refused == strings.Contains(", "+allowed+",", ", "+method+",") {
				t.Errorf("%s %s: %d", method, path, resp.StatusCode)
			}
			if refused && resp.Header.Get("Allow") != allowed {
				t.Errorf("%s: Allow %q", path, resp.Header.Get("Allow"))
			}
			if resp.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s may be cached", method, path)
			}
		}
	}
}

func TestFormPostAnswersArriveByPost(t *testing.T) {
	s := newSite(t, setup{client: func(c *rp.Config) { c.ResponseMode = "form_post" }})
	if page := s.open(s.provider.Browser(), "/orders"); page.Body != "alice at /orders" {
		t.Errorf("%d %s", page.Status, page.Body)
	}
}

func TestSpellingsOfAGuardedPathReachTheSameDecision(t *testing.T) {
	s := newSite(t, setup{})
	n := 0
	for _, start := range []string{"/bob", "/BOB", "/./bob", "//bob", "/x/../bob", "/%62ob", "/bob/", "/bob%2f", "/bob;x", "/bob%00", "/bob%20", "/bob?x=1", "/bob#x", "/%2e/bob", "/bob//", "/gold", "//gold", "/%67old", "/orders", "/orders/"} {
		for _, end := range []string{"", "?a=b", "?/auth/login", "#/auth/login", ";/auth/login", "/..", "?skip=/public", "/%2e%2e/public", "?__proto__", "%3f/public"} {
			u, err := url.Parse(shop + start + end)
			if err != nil {
				n++
				continue
			}
			r := httptest.NewRequest("GET", shop+"/", nil)
			r.URL = u
			w := httptest.NewRecorder()
			s.handler().ServeHTTP(w, r)
			n++
			if w.Code == 200 && strings.Contains(w.Body.String(), " at ") && !strings.HasPrefix(w.Body.String(), "nobody at /public") {
				t.Errorf("%s%s: %d %s", start, end, w.Code, w.Body)
			}
		}
	}
	if n < 200 {
		t.Errorf("only %d spellings", n)
	}
}

func TestASessionOfAnotherManagerOpensNothing(t *testing.T) {
	mine, theirs := newSite(t, setup{}), newSite(t, setup{})
	b := theirs.provider.Browser()
	theirs.open(b, "/orders")
	outer := theirs.guard.Require(mine.handler())
	r := httptest.NewRequest("GET", shop+"/orders", nil)
	for _, c := range b.Cookies(shop + "/") {
		r.AddCookie(c)
	}
	// Both have the same keys, client and issuer here, so only the cookie is taken away before the inner one looks.
	w := httptest.NewRecorder()
	outer.ServeHTTP(w, r)
	if w.Code != 200 {
		t.Fatalf("the control: %d", w.Code)
	}
	s := &session.Session{Subject: "mallory"}
	r = httptest.NewRequest("GET", shop+"/orders", nil)
	w = httptest.NewRecorder()
	mine.handler().ServeHTTP(w, r.WithContext(session.NewContext(r.Context(), s)))
	if w.Code != 401 {
		t.Errorf("a made-up session in the context: %d %s", w.Code, w.Body)
	}
}

func TestTheFailedHookAnswersInOurPlace(t *testing.T) {
	s := newSite(t, setup{guard: func(g *middleware.Guard) {
		g.Failed = func(w http.ResponseWriter, _ *http.Request, f *middleware.Failure) {
			w.WriteHeader(f.Status)
			fmt.Fprintf(w, "%s %s %s", f.Kind, f.Title, f.Reference)
		}
	}})
	resp := s.do(nil, "GET", "/orders", "")
	body := text(resp)
	reference := body[strings.LastIndex(body, " ")+1:]
	if resp.StatusCode != 401 || !strings.HasPrefix(body, "login-required") || !strings.Contains(s.log.String(), reference) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

func TestPagesAllowNothingButThemselves(t *testing.T) {
	s := newSite(t, setup{})
	resp := s.do(nil, "GET", "/auth/callback?state=x&code=y", "", navigation...)
	policy := resp.Header.Get("Content-Security-Policy")
	body := text(resp)
	if !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(body, "<script") || resp.Header.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("%s\n%s", policy, body)
	}
}

func TestHostileTextStaysText(t *testing.T) {
	for _, evil := range []string{`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `javascript:alert(1)`, `'-alert(1)-'`, `</style><script>`, `{{.Secret}}`, "\r\nSet-Cookie: a=b", `" onmouseover="x`, `<svg/onload=x>`, `&lt;script&gt;`} {
		for _, param := range []string{"error", "error_description", "error_uri", "state", "iss", "code"} {
			s := newSite(t, setup{})
			resp := s.do(nil, "GET", "/auth/callback?"+url.Values{param: {evil}, "x": {"y"}}.Encode(), "", navigation...)
			if body := text(resp); strings.Contains(body, evil) || resp.Header.Get("Set-Cookie") == "a=b" {
				t.Errorf("%s=%s: %s", param, evil, body)
			}
			if n := strings.Count(s.log.String(), "\n"); n != strings.Count(s.log.String(), "time=") {
				t.Errorf("%s=%s broke the log: %q", param, evil, s.log)
			}
		}
		s := newSite(t, setup{})
		resp := s.do(nil, "GET", "/auth/login?return_to="+url.QueryEscape(evil), "", navigation...)
		if strings.Contains(resp.Header.Get("Location"), "alert") {
			t.Errorf("return_to=%s leads to %s", evil, resp.Header.Get("Location"))
		}
	}
}

func ExampleGuard() {
	client, err := rp.New(rp.Config{Issuer: "https://login.example", ClientID: "shop", ClientSecret: "secret", RedirectURL: "https://shop.example/auth/callback"})
	if err != nil {
		fmt.Println(err)
		return
	}
	sessions, err := session.New(client, session.Config{Keys: [][]byte{[]byte("an example's key, not a secret!!")}, SingleProcess: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	guard := &middleware.Guard{Sessions: sessions}
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "Hello %s", session.FromContext(r.Context()).Claims().Name())
	})
	handler := guard.Handler(guard.Require(app))

	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "https://shop.example/orders", nil)) // what fetch() would be told
	fmt.Println(w.Code, w.Header().Get("Content-Type"))
	// Output: 401 application/problem+json
}

func ExampleGuard_Authorize() {
	guard := &middleware.Guard{Sessions: nil} // the manager of session.New
	reports := http.NotFoundHandler()
	http.Handle("/reports", guard.Authorize(reports, func(s *session.Session) bool {
		return slices.Contains(s.Claims().Strings("groups"), "accounting")
	}))
}
