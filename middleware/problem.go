package middleware

import (
	"crypto/rand"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/latchkey-go/latchkey/internal/problem"
)

// fail answers with what err means; back is where a new login shall lead, "" for nowhere in particular.
func (g *Guard) fail(w http.ResponseWriter, r *http.Request, err error, back string) {
	f := failure(err)
	switch f.Kind {
	case "forbidden", "cross-origin", "store-unavailable", "too-large", "internal", "timeout":
		// Another login changes nothing.
	case "step-up-required":
		f.RetryURL = back
	default:
		f.RetryURL = g.loginURL(back)
	}
	g.answer(w, r, f)
}

// failAt is fail with a RetryURL that is no login.
func (g *Guard) failAt(w http.ResponseWriter, r *http.Request, err error, retry string) {
	f := failure(err)
	f.RetryURL = retry
	g.answer(w, r, f)
}

func (g *Guard) answer(w http.ResponseWriter, r *http.Request, f *Failure) {
	f.Reference = rand.Text()[:10]
	level := slog.LevelWarn
	switch {
	case f.Status == http.StatusUnauthorized:
		level = slog.LevelDebug // every visitor begins like this
	case f.Status == http.StatusInternalServerError:
		level = slog.LevelError
	}
	g.log().LogAttrs(r.Context(), level, "middleware: request failed", slog.Int("status", f.Status), slog.String("kind", f.Kind),
		slog.String("reference", f.Reference), slog.String("path", problem.Quote(r.URL.Path)), slog.String("error", problem.Quote(f.Err.Error())))
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if f.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((f.RetryAfter+time.Second-1)/time.Second)))
	}
	if g.Failed != nil {
		h.Set("Referrer-Policy", "no-referrer") // the callback's address holds a code
		private(w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.Failed(w, r, f) }))
		return
	}
	if classify(r).html() {
		g.page(w, r, f)
		return
	}
	problem.Write(w, problem.Document{
		Kind: f.Kind, Title: f.Title, Status: f.Status, Detail: f.Detail, LoginURL: f.RetryURL, Reference: f.Reference,
	})
}
