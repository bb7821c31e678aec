package session_test

import (
	"bytes"
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

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

const (
	shop       = "https://shop.example"
	callback   = shop + "/auth/callback"
	sessionKey = "__Host-Http-latchkey"
	attempts   = sessionKey + "-login-"
	goodbyeKey = sessionKey + "-logout"
)

func testKey(n byte) []byte { return bytes.Repeat([]byte{n, n + 1, n + 2, n + 3}, 8) }

// site is an application and its provider.
type site struct {
	t        testing.TB
	provider *rptest.Provider
	client   *rp.Client
	*session.Manager
	logs *logBuffer
}

// setup bends the defaults of newSite.
type setup struct {
	provider rptest.Options
	client   func(*rp.Config)
	session  session.Config
}

func newProvider(t testing.TB, o rptest.Options) *rptest.Provider {
	t.Helper()
	if o.Issuer == "" {
		o.Issuer = "https://op.example"
	}
	if o.SigningAlg == "" {
		o.SigningAlg = "ES256" // cheap under the race detector
	}
	p, err := rptest.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func newClient(t testing.TB, p *rptest.Provider, bend func(*rp.Config)) *rp.Client {
	t.Helper()
	c := rp.Config{
		Issuer: p.Issuer(), ClientID: p.ClientID(), ClientSecret: p.ClientSecret(), RedirectURL: callback,
		PostLogoutRedirectURL: shop + "/bye", HTTPClient: p.Client(),
	}
	if bend != nil {
		bend(&c)
	}
	client, err := rp.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func newSite(t testing.TB, s setup) *site {
	t.Helper()
	p := newProvider(t, s.provider)
	return siteOn(t, p, newClient(t, p, s.client), s.session)
}

func siteOn(t testing.TB, p *rptest.Provider, client *rp.Client, c session.Config) *site {
	t.Helper()
	logs := &logBuffer{}
	if c.Keys == nil {
		c.Keys = [][]byte{testKey(1)}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.NewTextHandler(logs, nil))
	}
	m, err := session.New(client, c)
	if err != nil {
		t.Fatal(err)
	}
	return &site{t: t, provider: p, client: client, Manager: m, logs: logs}
}

// stores are the configurations that every kind of test runs with.
func stores(t testing.TB) map[string]func() session.Config {
	return map[string]func() session.Config{
		"cookies": func() session.Config { return session.Config{SingleProcess: true} },
		"memory": func() session.Config {
			return session.Config{Store: memoryStore(t)}
		},
		"server": func() session.Config {
			return session.Config{Store: serverStore(t, session.NewMemoryBackend(0))}
		},
	}
}

// allStores are stores and gorilla's.
func allStores(t testing.TB) map[string]func() session.Config {
	all := stores(t)
	all["gorilla cookies"] = func() session.Config {
		s := sessions.NewCookieStore(testKey(30), testKey(31))
		s.Options.MaxAge = 0
		for _, codec := range s.Codecs {
			codec.(*securecookie.SecureCookie).MaxLength(0)
		}
		return session.Config{SingleProcess: true, Store: s}
	}
	all["gorilla files"] = func() session.Config {
		s := sessions.NewFilesystemStore(t.TempDir(), testKey(30))
		s.MaxLength(0)
		return session.Config{SingleProcess: true, Store: s}
	}
	return all
}

func serverStore(t testing.TB, b session.Backend) *session.ServerStore {
	t.Helper()
	s, err := session.NewServerStore(b, testKey(40))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func memoryStore(t testing.TB) *session.MemoryStore {
	t.Helper()
	s, err := session.NewMemoryStore(session.MemoryConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// visitor is a browser: cookies by name, until they end.
type visitor struct {
	site *site
	mu   sync.Mutex
	jar  map[string]cookie
}

type cookie struct {
	value string
	until time.Time
}

func (s *site) visitor() *visitor { return &visitor{site: s, jar: map[string]cookie{}} }

// copy is another browser with the same cookies.
func (v *visitor) copy() *visitor {
	twin := v.site.visitor()
	v.mu.Lock()
	defer v.mu.Unlock()
	for name, c := range v.jar {
		twin.jar[name] = c
	}
	return twin
}

func (v *visitor) header() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var pairs []string
	for name, c := range v.jar {
		if time.Now().Before(c.until) {
			pairs = append(pairs, name+"="+c.value)
		}
	}
	return strings.Join(pairs, "; ")
}

func (v *visitor) names(prefix string) (names []string) {
	for pair := range strings.SplitSeq(v.header(), "; ") {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names
}

func (v *visitor) get(target string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	if h := v.header(); h != "" {
		r.Header.Set("Cookie", h)
	}
	return r
}

// take stores a response's cookies; every response must be private.
func (v *visitor) take(w *httptest.ResponseRecorder) {
	v.site.t.Helper()
	h := w.Result().Header
	if h.Get("Cache-Control") != "no-store" || !strings.Contains(strings.Join(h.Values("Vary"), ","), "Cookie") {
		v.site.t.Errorf("the response may be cached: Cache-Control %q, Vary %q", h.Values("Cache-Control"), h.Values("Vary"))
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	seen := map[string]bool{}
	for _, c := range w.Result().Cookies() {
		if seen[c.Name] {
			v.site.t.Errorf("cookie %s is set twice in one response", c.Name)
		}
		seen[c.Name] = true
		if !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite == 0 || strings.HasPrefix(c.Name, "__Host-") && !c.Secure {
			v.site.t.Errorf("cookie %s lacks an attribute: HttpOnly %t, Secure %t, Path %q, SameSite %v", c.Name, c.HttpOnly, c.Secure, c.Path, c.SameSite)
		}
		if c.MaxAge < 0 {
			delete(v.jar, c.Name)
			continue
		}
		until := time.Now().Add(time.Duration(c.MaxAge) * time.Second)
		if c.MaxAge == 0 {
			until = time.Now().Add(1e6 * time.Hour)
		}
		v.jar[c.Name] = cookie{c.Value, until}
	}
}

func (v *visitor) begin(returnTo string) string {
	v.site.t.Helper()
	w := httptest.NewRecorder()
	to, err := v.site.Begin(w, v.get(shop+"/login"), returnTo, rp.AuthParams{})
	if err != nil {
		v.site.t.Fatalf("Begin: %v", err)
	}
	v.take(w)
	return to
}

// authorize visits the provider and returns where it sends the browser back to.
func (s *site) authorize(to string) string {
	s.t.Helper()
	c := &http.Client{Transport: s.provider.Transport(), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Get(to)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	back := resp.Header.Get("Location")
	if !strings.HasPrefix(back, callback) {
		s.t.Fatalf("the provider answered %s and %q", resp.Status, back)
	}
	return back
}

func (v *visitor) finishWith(back string, accept session.Accept) (*session.Session, string, error) {
	v.site.t.Helper()
	return v.finishRequest(v.get(back), accept)
}

func (v *visitor) finishRequest(r *http.Request, accept session.Accept) (*session.Session, string, error) {
	v.site.t.Helper()
	w := httptest.NewRecorder()
	s, returnTo, err := v.site.Finish(w, r, accept)
	if (s == nil) != (err != nil) {
		v.site.t.Fatalf("Finish returned %v and %v", s, err)
	}
	v.take(w)
	return s, returnTo, err
}

func (v *visitor) finish(back string) (*session.Session, string, error) {
	v.site.t.Helper()
	return v.finishWith(back, nil)
}

func (v *visitor) login() *session.Session {
	v.site.t.Helper()
	s, returnTo, err := v.finish(v.site.authorize(v.begin("/orders?open=1")))
	if err != nil || returnTo != "/orders?open=1" {
		v.site.t.Fatalf("login: %v, return to %q", err, returnTo)
	}
	return s
}

// load is one request of the signed-in user.
func (v *visitor) load() (*session.Session, error) {
	v.site.t.Helper()
	w := httptest.NewRecorder()
	s, err := v.site.Load(w, v.get(shop+"/orders"))
	if (s == nil) != (err != nil) {
		v.site.t.Fatalf("Load returned %v and %v", s, err)
	}
	v.take(w)
	return s, err
}

func (v *visitor) mustLoad() *session.Session {
	v.site.t.Helper()
	s, err := v.load()
	if err != nil {
		v.site.t.Fatalf("Load: %v", err)
	}
	return s
}

func (v *visitor) refresh() (*session.Session, error) {
	v.site.t.Helper()
	w := httptest.NewRecorder()
	s, err := v.site.Refresh(w, v.get(shop+"/orders"))
	v.take(w)
	return s, err
}

func (v *visitor) end() (string, error) {
	v.site.t.Helper()
	w := httptest.NewRecorder()
	to, err := v.site.End(w, v.get(shop+"/logout"), "/goodbye")
	v.take(w)
	return to, err
}

func query(t testing.TB, raw, name string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get(name)
}

// withQuery replaces parameters of a URL; an empty value removes it.
func withQuery(t testing.TB, raw string, pairs ...string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for i := 0; i < len(pairs); i += 2 {
		if q.Del(pairs[i]); pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// reason is that of a LoginError, or the error itself.
func reason(err error) string {
	if e, ok := err.(*session.LoginError); ok {
		return e.Reason
	}
	return fmt.Sprint(err)
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// claim is a text claim of the session.
func claim(s *session.Session, name string) string {
	var text string
	_ = s.Claims().DecodeClaim(name, &text)
	return text
}

// notes are texts that a provider's handlers saw.
type notes struct {
	mu   sync.Mutex
	seen []string
}

func (n *notes) add(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen = append(n.seen, text)
}

func (n *notes) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.seen)
}

// form notes a form value of each request.
func (n *notes) form(name string) rptest.Fault {
	return func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			form, _ := url.ParseQuery(string(body))
			n.add(form.Get(name))
			r.Body = io.NopCloser(bytes.NewReader(body))
			honest.ServeHTTP(w, r)
		})
	}
}

// member notes a member of each answer.
func (n *notes) member(name string) rptest.Fault {
	return rptest.ModifyJSON(func(answer map[string]any) {
		text, _ := answer[name].(string)
		n.add(text)
	})
}
