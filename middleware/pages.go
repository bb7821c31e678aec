package middleware

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
)

//go:embed page.css
var pageStyle string

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// pagePolicy allows the one style sheet there is, by its hash, and nothing else.
var pagePolicy = func() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; frame-ancestors 'none'"
}()

// pageData is what the template shows.
type pageData struct {
	Style            template.CSS
	Title, Detail    string
	Reference        string
	RetryURL, Action string // Action: a form to post instead of a link
	Button           string
}

// page shows a failure.
func (g *Guard) page(w http.ResponseWriter, r *http.Request, f *Failure) {
	button := "Try again"
	switch f.Kind {
	case "login-required":
		button = "Sign in"
	case "no-login", "mismatch":
		button = "Start again"
	case "step-up-required":
		button = "Go on"
	}
	render(w, r, f.Status, pageData{Title: f.Title, Detail: f.Detail, Reference: f.Reference, RetryURL: f.RetryURL, Button: button})
}

// confirmLogout asks for the POST that logging out takes: a link of another site must not do it.
func (g *Guard) confirmLogout(w http.ResponseWriter, r *http.Request) {
	render(w, r, http.StatusOK, pageData{Title: "Sign out?", Detail: "You will be signed out of this site.", Action: g.logoutPath(), Button: "Sign out"})
}

func render(w http.ResponseWriter, r *http.Request, status int, data pageData) {
	data.Style = template.CSS(pageStyle)
	var body bytes.Buffer
	if err := pageTemplate.Execute(&body, data); err != nil {
		http.Error(w, "this page can't be shown", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Referrer-Policy", "no-referrer")
	if data.Action != "" {
		h.Set("Referrer-Policy", "same-origin") // under the other a form's Origin is "null", all that a browser without Sec-Fetch-Site has to say
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = body.WriteTo(w)
	}
}
