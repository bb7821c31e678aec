package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"html/template"
	"log/slog"
	"net/http"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/session"
)

//go:embed static
var staticFiles embed.FS

//go:embed pages/*.html
var pageFiles embed.FS

var templates = func() map[string]*template.Template {
	layout := template.Must(template.New("layout.html").Funcs(template.FuncMap{"moment": moment, "until": until}).ParseFS(pageFiles, "pages/layout.html"))
	parsed := map[string]*template.Template{}
	for _, name := range []string{"home", "private", "api", "sensitive"} {
		parsed[name] = template.Must(template.Must(layout.Clone()).ParseFS(pageFiles, "pages/"+name+".html"))
	}
	return parsed
}()

// moment shows a time; a zero one was not stated.
func moment(t time.Time) string {
	if t.IsZero() {
		return "not stated"
	}
	return t.UTC().Format("2 Jan 2006, 15:04:05 UTC")
}

// until shows how far off a time is.
func until(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	if left := time.Until(t).Round(time.Second); left > 0 {
		return "in " + left.String()
	} else if left < 0 {
		return (-left).String() + " ago"
	}
	return "now"
}

func static() http.Handler {
	files := http.FileServerFS(staticFiles)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=300")
		files.ServeHTTP(w, r)
	})
}

// pages are the handlers behind the guard; they read the session from the request's context and nothing else.
type pages struct {
	client *rp.Client
	cfg    config
}

// page is what every template sees.
type page struct {
	Title    string
	Path     string
	Embedded bool
	Issuer   string
	Session  *session.Session // nil: nobody is signed in
	User     rp.Claims
	Name     string
	Claims   string // indented JSON
	Status   int
	Answer   string
	ACR      string
}

func (p *pages) render(w http.ResponseWriter, r *http.Request, name string, data page) {
	data.Path, data.Embedded, data.Issuer = r.URL.Path, p.cfg.embedded, p.client.Issuer()
	if s := session.FromContext(r.Context()); s != nil {
		data.Session, data.User, data.Name = s, s.Claims(), displayName(s)
	}
	var body bytes.Buffer
	if err := templates[name].Execute(&body, data); err != nil {
		slog.Error("page", "name", name, "err", err)
		http.Error(w, "this page could not be made", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src * data:; form-action *; frame-ancestors 'none'; base-uri 'none'")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = body.WriteTo(w)
}

// displayName is the best name the provider gave.
func displayName(s *session.Session) string {
	for _, name := range []string{s.Claims().Name(), s.Claims().PreferredUsername(), s.Claims().Email()} {
		if name != "" {
			return name
		}
	}
	return s.Subject
}

func (p *pages) home(w http.ResponseWriter, r *http.Request) {
	p.render(w, r, "home", page{Title: "Welcome"})
}

func (p *pages) private(w http.ResponseWriter, r *http.Request) {
	s := session.FromContext(r.Context())
	var claims bytes.Buffer
	if err := json.Indent(&claims, s.Claims().Raw(), "", "  "); err != nil {
		slog.Error("claims", "err", err)
	}
	p.render(w, r, "private", page{Title: "Your account", Claims: claims.String()})
}

func (p *pages) callAPI(w http.ResponseWriter, r *http.Request) {
	status, answer, err := callOrders(r.Context(), p.cfg.httpClient, p.cfg.ordersURL(), session.FromContext(r.Context()))
	if err != nil {
		slog.Error("orders", "err", err)
		status, answer = http.StatusBadGateway, "the orders service did not answer"
	}
	p.render(w, r, "api", page{Title: "Your orders", Status: status, Answer: answer})
}

func (p *pages) sensitive(w http.ResponseWriter, r *http.Request) {
	p.render(w, r, "sensitive", page{Title: "Change the locks", ACR: p.cfg.acr})
}
