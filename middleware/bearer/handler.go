package bearer

import (
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/internal/problem"
)

// Handler lets requests through to next whose token is good and has all of scopes. next reads it with FromContext.
func (v *Verifier) Handler(next http.Handler, scopes ...string) http.Handler {
	return v.Require(next, Scopes(scopes...))
}

// Require lets requests through to next whose token is good and keeps all rules.
func (v *Verifier) Require(next http.Handler, rules ...Rule) http.Handler {
	return v.gate(next, false, rules)
}

// Optional is Require that also lets requests without any token through; FromContext is nil then. A token that is not good is refused all the same.
func (v *Verifier) Optional(next http.Handler, rules ...Rule) http.Handler {
	return v.gate(next, true, rules)
}

// gate is the one way to next.
func (v *Verifier) gate(next http.Handler, optional bool, rules []Rule) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if v.cfg.Preflight && isPreflight(r) {
			next.ServeHTTP(w, r)
			return
		}
		raw, err := v.fromRequest(r)
		if optional && errors.Is(err, ErrNoToken) {
			next.ServeHTTP(w, r)
			return
		}
		if err != nil {
			v.fail(w, r, err, rules)
			return
		}
		t, err := v.Verify(r.Context(), raw)
		if err == nil {
			err = Authorize(t, rules...)
		}
		if err != nil {
			v.fail(w, r, err, rules)
			return
		}
		next.ServeHTTP(w, r.WithContext(NewContext(r.Context(), t)))
	})
}

// isPreflight knows the request a browser makes before another (Fetch, "CORS-preflight request"). It never carries credentials or content, nor
// a header that handlers may take for another method.
func isPreflight(r *http.Request) bool {
	if r.Method != http.MethodOptions || r.Header.Get("Origin") == "" || r.Header.Get("Access-Control-Request-Method") == "" || r.ContentLength != 0 {
		return false
	}
	for _, name := range []string{"Authorization", "X-Http-Method", "X-Http-Method-Override", "X-Method-Override"} {
		if r.Header[name] != nil {
			return false
		}
	}
	return true
}

// Either sends requests with credentials of the scheme Bearer to token and all others to session, so that one route serves programs and browsers:
//
//	mux.Handle("GET /orders", bearer.Either(api.Handler(orders, "orders:read"), guard.Require(orders)))
//
// A request that has both counts by its token alone: a browser sends cookies by itself, and an Authorization header never.
func Either(token, session http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, value := range r.Header["Authorization"] {
			if scheme, _, _ := strings.Cut(value, " "); strings.EqualFold(scheme, "Bearer") {
				token.ServeHTTP(w, r)
				return
			}
		}
		session.ServeHTTP(w, r)
	})
}

func (v *Verifier) fail(w http.ResponseWriter, r *http.Request, err error, rules []Rule) {
	f := v.Failure(err, rules...)
	level := slog.LevelDebug // anybody can send anything
	switch {
	case f.Status == http.StatusServiceUnavailable:
		level = slog.LevelWarn
	case f.Status >= http.StatusInternalServerError:
		level = slog.LevelError
	}
	v.cfg.Logger.LogAttrs(r.Context(), level, "bearer: request refused", slog.Int("status", f.Status), slog.String("kind", f.Kind), slog.String("error", problem.Quote(err.Error())))
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if f.Challenge != "" {
		h.Add("WWW-Authenticate", f.Challenge)
	}
	if f.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((f.RetryAfter+time.Second-1)/time.Second)))
	}
	if v.cfg.Failed != nil {
		v.cfg.Failed(w, r, f)
		return
	}
	problem.Write(w, problem.Document{Kind: f.Kind, Title: f.Title, Status: f.Status, Detail: f.Detail})
}
