// Package app is a small web application on middleware.Guard, with a record of what it said to its provider.
package app

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
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

	"github.com/latchkey-go/latchkey/middleware"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/session"
)

// App is the application. It listens from Listen on, and serves after Serve.
type App struct {
	URL      string // of its front page, without a slash at the end
	Callback string
	Goodbye  string // the post-logout redirect URI

	Server   *httptest.Server
	Client   *rp.Client
	Sessions *session.Manager
	Guard    *middleware.Guard
	Tape     *Tape

	mu       sync.Mutex
	handler  http.Handler
	params   rp.AuthParams
	failures []*middleware.Failure
}

// Options say how the application differs from a plain one.
type Options struct {
	Issuer, ClientID, Secret string

	RP      func(*rp.Config)
	Session func(*session.Config)
	Guard   func(*middleware.Guard)
	// Transport makes the calls to the provider; nil: http.DefaultTransport.
	Transport http.RoundTripper
	// Wrap goes around the application's routes, in place of Guard.Handler alone.
	Wrap func(g *middleware.Guard, routes http.Handler) http.Handler
}

// Listen opens the application's port, so that its URL can be registered before it is configured.
func Listen(t testing.TB, tls bool) *App {
	a := new(App)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		h := a.handler
		a.mu.Unlock()
		h.ServeHTTP(w, r)
	})
	if tls {
		a.Server = httptest.NewTLSServer(handler)
	} else {
		a.Server = httptest.NewServer(handler)
	}
	t.Cleanup(a.Server.Close)
	a.SetURL(a.Server.URL)
	return a
}

// SetURL says where browsers reach the application, when that is not its own port.
func (a *App) SetURL(base string) {
	a.URL, a.Callback, a.Goodbye = base, base+"/auth/callback", base+"/auth/logout/done"
}

// Serve configures the application and lets requests in.
func (a *App) Serve(t testing.TB, o Options) {
	t.Helper()
	a.Tape = &Tape{base: http.DefaultTransport}
	if o.Transport != nil {
		a.Tape.base = o.Transport
	}
	cfg := rp.Config{
		Issuer: o.Issuer, ClientID: o.ClientID, ClientSecret: o.Secret,
		RedirectURL: a.Callback, PostLogoutRedirectURL: a.Goodbye,
		HTTPClient: &http.Client{Transport: a.Tape}, InsecureLoopbackHTTP: true,
	}
	if o.RP != nil {
		o.RP(&cfg)
	}
	var err error
	if a.Client, err = rp.New(cfg); err != nil {
		t.Fatal(err)
	}
	sessions := session.Config{Keys: [][]byte{[]byte("a key of 32 bytes, only for tests")}, SingleProcess: true, UserInfo: true, RefreshInterval: -1}
	if o.Session != nil {
		o.Session(&sessions)
	}
	if a.Sessions, err = session.New(a.Client, sessions); err != nil {
		t.Fatal(err)
	}
	a.Guard = &middleware.Guard{
		Sessions: a.Sessions,
		Params: func(*http.Request) rp.AuthParams {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.params
		},
		Logger: slog.New(slog.DiscardHandler),
	}
	if o.Guard != nil {
		o.Guard(a.Guard)
	}
	wrap := o.Wrap
	if wrap == nil {
		wrap = func(g *middleware.Guard, routes http.Handler) http.Handler { return g.Handler(routes) }
	}
	h := wrap(a.Guard, a.routes())
	a.mu.Lock()
	defer a.mu.Unlock()
	a.handler = h
}

// Params sets the parameters of the logins from now on.
func (a *App) Params(p rp.AuthParams) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.params = p
}

// KeepFailures makes the guard note its failures for Failure, and answer with their status and title only.
func (a *App) KeepFailures(g *middleware.Guard) {
	g.Failed = func(w http.ResponseWriter, _ *http.Request, f *middleware.Failure) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.failures = append(a.failures, f)
		http.Error(w, f.Title, f.Status)
	}
}

// Failure returns the last failure.
func (a *App) Failure(t testing.TB) *middleware.Failure {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.failures) == 0 {
		t.Fatal("the guard reported no failure")
	}
	return a.failures[len(a.failures)-1]
}

// Account is what the application shows a signed-in user.
type Account struct {
	Subject     string    `json:"subject"`
	SID         string    `json:"sid"`
	Name        string    `json:"name"`
	Email       string    `json:"email"`
	ACR         string    `json:"acr"`
	AuthTime    time.Time `json:"auth_time"`
	Scope       []string  `json:"scope"`
	CanRefresh  bool      `json:"can_refresh"`
	TokenExpiry time.Time `json:"token_expiry"`
	TokenHash   string    `json:"token_hash"` // of the access token
}

func (a *App) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, `<!doctype html><title>Front page</title><p>Welcome.</p><a href="/account">Account</a>`)
	})
	mux.Handle("GET /account", a.Guard.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		show(w, session.FromContext(r.Context()))
	})))
	mux.Handle("GET /maybe", a.Guard.Optional(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s := session.FromContext(r.Context()); s != nil {
			show(w, s)
			return
		}
		io.WriteString(w, "nobody")
	})))
	mux.Handle("GET /fresh", a.Guard.RequireFresh(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		show(w, session.FromContext(r.Context()))
	}), time.Hour))
	mux.HandleFunc("GET /refresh", func(w http.ResponseWriter, r *http.Request) {
		s, err := a.Sessions.Refresh(w, r)
		switch {
		case errors.Is(err, session.ErrNone):
			http.Error(w, "session over", http.StatusUnauthorized)
		case err != nil:
			http.Error(w, err.Error(), http.StatusBadGateway)
		default:
			show(w, s)
		}
	})
	return mux
}

func show(w http.ResponseWriter, s *session.Session) {
	sum := sha256.Sum256([]byte(s.Token().AccessToken))
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(Account{
		Subject: s.Subject, SID: s.SID, Name: s.Claims().Name(), Email: s.Claims().Email(), ACR: s.ACR, AuthTime: s.AuthTime,
		Scope: s.Scope(), CanRefresh: s.CanRefresh(), TokenExpiry: s.TokenExpiry,
		TokenHash: base64.RawURLEncoding.EncodeToString(sum[:]),
	})
}

// ReadAccount decodes an answer of the application.
func ReadAccount(t testing.TB, status int, body string) Account {
	t.Helper()
	var got Account
	if status != http.StatusOK {
		t.Fatalf("want an account, got status %d:\n%s", status, body)
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("want an account, got %v:\n%s", err, body)
	}
	return got
}

// Tape records the calls to the provider.
type Tape struct {
	base  http.RoundTripper
	mu    sync.Mutex
	calls []Call
	bend  func(form url.Values)
	twist func(answer map[string]any)
}

// Call is one exchange.
type Call struct {
	Method, URL   string
	Authorization string
	Form          url.Values
	Status        int
	ContentType   string
	Body          []byte
}

// JSON returns a string member of the answer's body.
func (c Call) JSON(member string) string {
	var body map[string]any
	_ = json.Unmarshal(c.Body, &body)
	s, _ := body[member].(string)
	return s
}

// Bend lets f change the forms that are sent from now on; nil: as they are.
func (tp *Tape) Bend(f func(form url.Values)) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.bend = f
}

// BendAnswer lets f change the JSON objects that are answered from now on; nil: as they are.
func (tp *Tape) BendAnswer(f func(answer map[string]any)) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.twist = f
}

// Calls returns the exchanges whose URL contains part.
func (tp *Tape) Calls(part string) []Call {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(tp.calls), func(c Call) bool { return !strings.Contains(c.URL, part) })
}

// Grants returns the exchanges of the token endpoint with this grant_type.
func (tp *Tape) Grants(grant string) []Call {
	return slices.DeleteFunc(tp.Calls(""), func(c Call) bool { return c.Form.Get("grant_type") != grant })
}

func (tp *Tape) RoundTrip(req *http.Request) (*http.Response, error) {
	call := Call{Method: req.Method, URL: req.URL.String(), Authorization: req.Header.Get("Authorization")}
	if req.Body != nil && req.Body != http.NoBody {
		raw, err := io.ReadAll(req.Body)
		req.Body.Close()
		if err != nil {
			return nil, err
		}
		if call.Form, err = url.ParseQuery(string(raw)); err != nil {
			return nil, err
		}
		tp.mu.Lock()
		bend := tp.bend
		tp.mu.Unlock()
		if bend != nil {
			bend(call.Form)
			raw = []byte(call.Form.Encode())
		}
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(raw))
		req.ContentLength = int64(len(raw))
		req.GetBody = nil
	}
	res, err := tp.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil {
		return nil, err
	}
	tp.mu.Lock()
	twist := tp.twist
	tp.mu.Unlock()
	var answer map[string]any
	if twist != nil && json.Unmarshal(raw, &answer) == nil {
		twist(answer)
		if raw, err = json.Marshal(answer); err != nil {
			return nil, err
		}
		res.ContentLength = int64(len(raw))
		res.Header.Del("Content-Length")
	}
	res.Body = io.NopCloser(bytes.NewReader(raw))
	call.Status, call.ContentType, call.Body = res.StatusCode, res.Header.Get("Content-Type"), raw
	tp.mu.Lock()
	tp.calls = append(tp.calls, call)
	tp.mu.Unlock()
	return res, nil
}
