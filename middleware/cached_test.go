package middleware_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/middleware"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

func TestAPageThatSetsTheSessionsCookieIsNeverCacheable(t *testing.T) {
	files := http.FileServerFS(fstest.MapFS{"a.txt": {Data: []byte("a")}})
	public := func(w http.ResponseWriter) { w.Header().Set("Cache-Control", "public, max-age=3600") }
	for name, next := range map[string]http.HandlerFunc{
		"a public page":      func(w http.ResponseWriter, _ *http.Request) { public(w); io.WriteString(w, "x") },
		"a public status":    func(w http.ResponseWriter, _ *http.Request) { public(w); w.WriteHeader(204) },
		"a header alone":     func(w http.ResponseWriter, _ *http.Request) { public(w) },
		"early hints":        func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103); public(w); w.WriteHeader(200) },
		"a flushed page":     func(w http.ResponseWriter, _ *http.Request) { public(w); w.(http.Flusher).Flush() },
		"a controlled flush": func(w http.ResponseWriter, _ *http.Request) { public(w); http.NewResponseController(w).Flush() },
		"a missing file":     files.ServeHTTP, // net/http takes Cache-Control off
	} {
		synctest.Test(t, func(t *testing.T) {
			for _, kind := range []string{"Require", "Optional"} {
				for _, after := range []time.Duration{0, 2 * time.Minute} {
					s := newSite(t, setup{})
					b := s.provider.Browser()
					s.open(b, "/orders")
					h := s.guard.Require(next)
					if kind == "Optional" {
						h = s.guard.Optional(next)
					}
					time.Sleep(after) // the use of a session is noted once a minute, in a cookie
					r := httptest.NewRequest("GET", shop+"/none", nil)
					for _, c := range b.Cookies(shop + "/") {
						r.AddCookie(c)
					}
					w := httptest.NewRecorder()
					h.ServeHTTP(w, r)
					got := w.Result().Header
					if sets := len(got["Set-Cookie"]) > 0; sets != (after > 0) {
						t.Errorf("%s, %s: sets a cookie: %t", name, kind, sets)
					} else if sets && got.Get("Cache-Control") != "no-store" {
						t.Errorf("%s, %s: Cache-Control %q beside %q", name, kind, got.Get("Cache-Control"), strings.SplitN(got.Get("Set-Cookie"), "=", 2)[0])
					} else if !sets && name == "a public page" && got.Get("Cache-Control") != "public, max-age=3600" {
						t.Errorf("%s, %s: the application's own word was changed to %q", name, kind, got.Get("Cache-Control"))
					}
				}
			}
		})
	}
}

func TestWhatIsAnsweredAfterAPanicIsNotCacheableEither(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{})
		b := s.provider.Browser()
		s.open(b, "/orders")
		time.Sleep(2 * time.Minute)
		h := s.guard.Require(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "public, max-age=3600")
			panic("a bug")
		}))
		r := httptest.NewRequest("GET", shop+"/none", nil)
		for _, c := range b.Cookies(shop + "/") {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
				w.WriteHeader(500)
			}()
			h.ServeHTTP(w, r)
		}()
		if got := w.Result().Header; len(got["Set-Cookie"]) == 0 || got.Get("Cache-Control") != "no-store" {
			t.Errorf("%v", got)
		}
	})
}

func TestAnErrorPageOfTheApplicationsIsNotCacheableWhereItClearsACookie(t *testing.T) {
	s := newSite(t, setup{guard: func(g *middleware.Guard) {
		g.Failed = func(w http.ResponseWriter, _ *http.Request, f *middleware.Failure) {
			w.Header().Set("Cache-Control", "public")
			w.WriteHeader(f.Status)
		}
	}})
	s.provider.Fault(rptest.Token, rptest.Down)
	page := s.open(s.provider.Browser(), "/orders")
	if page.Status != 503 || len(page.Header["Set-Cookie"]) == 0 || page.Header.Get("Cache-Control") != "no-store" || page.Header.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("%d %v", page.Status, page.Header)
	}
}
