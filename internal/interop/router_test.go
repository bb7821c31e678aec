package interop_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	chimiddleware "github.com/go-chi/chi/v5/middleware"
	"github.com/latchkey-go/latchkey/internal/interop/app"
	"github.com/latchkey-go/latchkey/internal/interop/visitor"
	"github.com/latchkey-go/latchkey/internal/interop/zitadel"
	"github.com/latchkey-go/latchkey/middleware"
	"github.com/latchkey-go/latchkey/session"
)

// TestGuardWorksUnchangedUnderChi mounts the guard as chi middleware, and guards one group of routes.
func TestGuardWorksUnchangedUnderChi(t *testing.T) {
	s := zitadelSubject(zitadel.Start(t))
	a := s.serve(t, "chi", "client_secret_basic", func(_ *app.App, o *app.Options) {
		o.Guard = nil // the guard's own answers
		o.Wrap = func(g *middleware.Guard, routes http.Handler) http.Handler {
			r := chi.NewRouter()
			r.Use(chimiddleware.Recoverer, chimiddleware.Compress(5), g.Handler)
			r.Get("/", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "front") })
			r.Route("/shop", func(r chi.Router) {
				r.Use(g.Require)
				r.Get("/orders/{id}", func(w http.ResponseWriter, r *http.Request) {
					io.WriteString(w, chi.URLParam(r, "id")+" of "+session.FromContext(r.Context()).Subject)
				})
			})
			r.Mount("/", routes)
			return r
		}
	})
	v := visitor.New(t, nil)
	if page := v.Open(a.URL + "/"); page.Body != "front" {
		t.Fatalf("the public page: %s", page)
	}
	page := s.signIn(t, v.Open(a.URL+"/shop/orders/42?view=full"))
	if page.Body != "42 of id2" || page.URL.String() != a.URL+"/shop/orders/42?view=full" {
		t.Fatalf("after login: %s", page)
	}
	if page := v.Open(a.URL + "/shop/missing"); page.Status != http.StatusNotFound {
		t.Errorf("a missing page answered %d", page.Status)
	}
	if page := visitor.New(t, nil).Open(a.URL + "/").Fetch("/shop/orders/42"); page.Status != http.StatusUnauthorized ||
		!strings.HasPrefix(page.Header.Get("Content-Type"), "application/problem+json") {
		t.Errorf("a script without a session: %s", page)
	}
	if page := v.Open(a.URL+"/").Post("/auth/logout", url.Values{}); page.Body != "front" {
		t.Errorf("after logout: %s", page)
	}
	if page := v.Open(a.URL + "/maybe"); page.Body != "nobody" {
		t.Errorf("still signed in: %s", page)
	}
}

// TestGuardWorksBehindATLSTerminatingProxy has browsers speak https to a proxy which rewrites Host, and the application plain http.
func TestGuardWorksBehindATLSTerminatingProxy(t *testing.T) {
	s := zitadelSubject(zitadel.Start(t))
	a := app.Listen(t, false)
	inside, err := url.Parse(a.URL)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(inside)
		r.Out.Host = "app.internal"
	}})
	t.Cleanup(front.Close)
	a.SetURL(front.URL)
	s.register(t, "proxied", "0123456789abcdef", "client_secret_basic", a)
	a.Serve(t, app.Options{Issuer: s.issuer, ClientID: "proxied", Secret: "0123456789abcdef", Guard: a.KeepFailures})

	v := visitor.New(t, front.Client().Transport)
	page := s.signIn(t, v.Open(a.URL+"/account?tab=2"))
	account(t, page)
	if page.URL.String() != a.URL+"/account?tab=2" {
		t.Errorf("login ended at %s", page.URL)
	}
	for _, hop := range v.Hops {
		if strings.Contains(hop.Host, "internal") || hop.Host == inside.Host {
			t.Errorf("the browser was sent inside: %s", hop)
		}
	}
	cookies := v.Cookies(a.URL)
	if len(cookies) == 0 {
		t.Error("no cookie")
	}
	for name := range cookies {
		if !strings.HasPrefix(name, "__Host-") {
			t.Errorf("cookie %s has no __Host- prefix although browsers speak https", name)
		}
	}
	if page := v.Open(a.URL+"/").Post("/auth/logout", url.Values{}); page.Status != http.StatusOK || page.URL.String() != a.URL+"/" {
		t.Errorf("logout ended at %s", page)
	}
	if page := v.Open(a.URL + "/maybe"); page.Body != "nobody" {
		t.Errorf("still signed in: %s", page)
	}
}
