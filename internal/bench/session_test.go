package bench

import (
	"context"
	"encoding/gob"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/gorilla/sessions"
	"github.com/latchkey-go/latchkey/middleware"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

// content is what every peer keeps: the tokens and identity of one login, about 1.5 KB.
type content struct {
	Subject, AccessToken, RefreshToken, IDToken string
	Expiry, LoginAt                             time.Time
}

func init() { gob.Register(content{}) }

// login signs alice in through the whole stack and returns the manager, her cookies and what they hold.
func login(b *testing.B, store func() sessions.Store) (*session.Manager, []*http.Cookie, content) {
	b.Helper()
	return loginAt(b, rptest.Start(b, rptest.Options{}), "", store())
}

func loginAt(b *testing.B, provider *rptest.Provider, alg string, store sessions.Store) (*session.Manager, []*http.Cookie, content) {
	b.Helper()
	client, err := rp.New(rp.Config{
		Issuer: provider.Issuer(), ClientID: provider.ClientID(), ClientSecret: provider.ClientSecret(),
		RedirectURL: "http://127.0.0.1/auth/callback", InsecureLoopbackHTTP: true, SigningAlg: alg,
	})
	if err != nil {
		b.Fatal(err)
	}
	manager, err := session.New(client, session.Config{Keys: [][]byte{[]byte(strings.Repeat("benchmark-key-32", 2))}, Store: store, SingleProcess: true})
	if err != nil {
		b.Fatal(err)
	}
	start := httptest.NewRecorder()
	to, err := manager.Begin(start, httptest.NewRequest(http.MethodGet, "http://127.0.0.1/", nil), "/", rp.AuthParams{})
	if err != nil {
		b.Fatal(err)
	}
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := browser.Get(to)
	if err != nil {
		b.Fatal(err)
	}
	answer.Body.Close()
	back, err := url.Parse(answer.Header.Get("Location"))
	if err != nil {
		b.Fatal(err)
	}
	callback := httptest.NewRequest(http.MethodGet, back.String(), nil)
	for _, c := range start.Result().Cookies() {
		callback.AddCookie(c)
	}
	end := httptest.NewRecorder()
	s, _, err := manager.Finish(end, callback, nil)
	if err != nil {
		b.Fatal(err)
	}
	var cookies []*http.Cookie
	for _, c := range end.Result().Cookies() {
		if c.MaxAge >= 0 && c.Value != "" {
			cookies = append(cookies, c)
		}
	}
	token := s.Token()
	return manager, cookies, content{
		Subject: s.Subject, AccessToken: token.AccessToken, RefreshToken: strings.Repeat("r", 43),
		IDToken: s.RawIDToken(), Expiry: token.Expiry, LoginAt: s.LoginAt,
	}
}

// discard is a ResponseWriter that keeps headers only, so that no peer pays for a recorder.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

func request(cookies []*http.Cookie) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1/private", nil)
	for _, c := range cookies {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	return r
}

// BenchmarkSessionLoad reads an existing session from a request.
func BenchmarkSessionLoad(b *testing.B) {
	manager, cookies, same := login(b, func() sessions.Store { return nil })
	b.Run("latchkey/cookie", func(b *testing.B) { loadManager(b, manager, cookies) })
	memory, memoryCookies, _ := login(b, memoryStore)
	b.Run("latchkey/memory", func(b *testing.B) { loadManager(b, memory, memoryCookies) })

	for _, peer := range []struct {
		name  string
		store sessions.Store
	}{
		{"gorilla/CookieStore", sessions.NewCookieStore([]byte(strings.Repeat("h", 32)), []byte(strings.Repeat("b", 32)))},
		{"gorilla/FilesystemStore", filesystemStore(b)},
	} {
		b.Run(peer.name, func(b *testing.B) {
			w := httptest.NewRecorder()
			s, _ := peer.store.New(request(nil), "latchkey")
			s.Values["session"] = same
			if err := peer.store.Save(request(nil), w, s); err != nil {
				b.Fatal(err)
			}
			r := request(w.Result().Cookies())
			b.ReportAllocs()
			for b.Loop() {
				s, err := peer.store.New(r, "latchkey")
				if err != nil || s.Values["session"].(content).Subject != same.Subject {
					b.Fatal("no session", err)
				}
			}
		})
	}
	b.Run("oauth2-proxy design", func(b *testing.B) {
		codec := newProxyCodec()
		r := request([]*http.Cookie{{Name: "_oauth2_proxy", Value: codec.seal(same)}})
		b.ReportAllocs()
		for b.Loop() {
			c, err := r.Cookie("_oauth2_proxy")
			if err != nil {
				b.Fatal(err)
			}
			if got, err := codec.open(c.Value); err != nil || got.Subject != same.Subject {
				b.Fatal("no session", err)
			}
		}
	})
	b.Run("scs/memstore", func(b *testing.B) {
		m := scs.New()
		ctx, err := m.Load(context.Background(), "")
		if err != nil {
			b.Fatal(err)
		}
		m.Put(ctx, "session", same)
		token, _, err := m.Commit(ctx)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			ctx, err := m.Load(context.Background(), token)
			if err != nil || m.Get(ctx, "session").(content).Subject != same.Subject {
				b.Fatal("no session", err)
			}
		}
	})
}

func memoryStore() sessions.Store {
	store, err := session.NewMemoryStore(session.MemoryConfig{})
	if err != nil {
		panic(err)
	}
	return store
}

func filesystemStore(b *testing.B) sessions.Store {
	store := sessions.NewFilesystemStore(b.TempDir(), []byte(strings.Repeat("h", 32)), []byte(strings.Repeat("b", 32)))
	store.MaxLength(0)
	return store
}

func loadManager(b *testing.B, manager *session.Manager, cookies []*http.Cookie) {
	r, w := request(cookies), &discard{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		s, err := manager.Load(w, r)
		if err != nil || s.Subject == "" {
			b.Fatal("no session", err)
		}
	}
}

// BenchmarkSessionSave writes a session into a response.
func BenchmarkSessionSave(b *testing.B) {
	_, _, same := login(b, func() sessions.Store { return nil })
	own, err := session.NewCookieStore([]byte(strings.Repeat("benchmark-key-32", 2)))
	if err != nil {
		b.Fatal(err)
	}
	record := fmt.Appendf(nil, "%s|%s|%s|%s", same.Subject, same.AccessToken, same.RefreshToken, same.IDToken)
	for _, peer := range []struct {
		name  string
		store sessions.Store
		value any
	}{
		{"latchkey/CookieStore", own, record},
		{"gorilla/CookieStore", sessions.NewCookieStore([]byte(strings.Repeat("h", 32)), []byte(strings.Repeat("b", 32))), same},
		{"gorilla/FilesystemStore", filesystemStore(b), same},
	} {
		b.Run(peer.name, func(b *testing.B) {
			r := request(nil)
			w := &discard{header: http.Header{}}
			s, _ := peer.store.New(r, "latchkey")
			s.Values["session"] = peer.value
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				if err := peer.store.Save(r, w, s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("oauth2-proxy design", func(b *testing.B) {
		codec := newProxyCodec()
		w := &discard{header: http.Header{}}
		b.ReportAllocs()
		for b.Loop() {
			clear(w.header)
			http.SetCookie(w, &http.Cookie{Name: "_oauth2_proxy", Value: codec.seal(same), Path: "/", HttpOnly: true, Secure: true})
		}
	})
	b.Run("scs/memstore", func(b *testing.B) {
		m := scs.New()
		b.ReportAllocs()
		for b.Loop() {
			ctx, err := m.Load(context.Background(), "")
			if err != nil {
				b.Fatal(err)
			}
			m.Put(ctx, "session", same)
			if _, _, err := m.Commit(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkGuard is a whole guarded request, beside the bare handler.
func BenchmarkGuard(b *testing.B) {
	bare := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	b.Run("bare", func(b *testing.B) { serve(b, bare, request(nil)) })
	for name, store := range map[string]func() sessions.Store{
		"cookie": func() sessions.Store { return nil },
		"memory": memoryStore,
	} {
		manager, cookies, _ := login(b, store)
		guard := &middleware.Guard{Sessions: manager}
		guarded := guard.Handler(guard.Require(bare))
		b.Run(name, func(b *testing.B) { serve(b, guarded, request(cookies)) })
	}
}

func serve(b *testing.B, h http.Handler, r *http.Request) {
	w := &discard{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}
