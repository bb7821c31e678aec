package middleware

import (
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"
	"time"
)

// problemType is the base of problem types (RFC 9457 section 3.1.1); the kind is its fragment.
const problemType = "https://github.com/latchkey-go/latchkey#"

// problem is what scripts get.
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail,omitempty"`
	LoginURL  string `json:"login_url,omitempty"`
	Reference string `json:"reference,omitempty"`
}

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
		slog.String("reference", f.Reference), slog.String("path", quoted(r.URL.Path)), slog.String("error", quoted(f.Err.Error())))
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if f.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((f.RetryAfter+time.Second-1)/time.Second)))
	}
	if g.Failed != nil {
		g.Failed(w, r, f)
		return
	}
	if classify(r).html() {
		g.page(w, r, f)
		return
	}
	writeJSON(w, f.Status, "application/problem+json", problem{
		Type: problemType + f.Kind, Title: f.Title, Status: f.Status, Detail: f.Detail, LoginURL: f.RetryURL, Reference: f.Reference,
	})
}

// quoted keeps hostile text in one line of a log, and short.
func quoted(s string) string {
	q := strconv.QuoteToASCII(s)
	q = q[1 : len(q)-1]
	if len(q) > 512 {
		q = q[:512]
	}
	return q
}

func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{}`)
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}
