// Package problem writes problem documents (RFC 9457), one shape for all of this module.
package problem

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// base is the base of problem types (RFC 9457 section 3.1.1); the kind is its fragment.
const base = "https://github.com/latchkey-go/latchkey#"

// Document is what scripts get.
type Document struct {
	Kind      string `json:"-"`
	Type      string `json:"type"` // filled in from Kind
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail,omitempty"`
	LoginURL  string `json:"login_url,omitempty"`
	Reference string `json:"reference,omitempty"`
}

// Write answers with d.
func Write(w http.ResponseWriter, d Document) {
	d.Type = base + d.Kind
	WriteJSON(w, d.Status, "application/problem+json", d)
}

// WriteJSON answers with v, never to be stored.
func WriteJSON(w http.ResponseWriter, status int, contentType string, v any) {
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

// Quote keeps hostile text in one line of a log, and short.
func Quote(s string) string {
	q := strconv.QuoteToASCII(s)
	q = q[1 : len(q)-1]
	if len(q) > 512 {
		q = q[:512]
	}
	return q
}
