package middleware

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey-go/latchkey/internal/problem"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/session"
)

//go:embed checksession.js
var sessionFrameScript string

// The script is the same for every status, so that its hash is.
var sessionFrameTemplate = template.Must(template.New("session frame").Parse(`<!doctype html>
<html lang="en" data-status="{{.Status}}" data-client="{{.Client}}" data-state="{{.State}}" data-silent="{{.Silent}}">
<meta charset="utf-8">
<title>Session</title>
{{if .Provider}}<iframe id="provider" title="Session at the provider" sandbox="allow-scripts allow-same-origin" src="{{.Provider}}"></iframe>{{end}}
<script>{{.Script}}</script>
`))

var sessionFramePolicy = func() string {
	sum := sha256.Sum256([]byte(sessionFrameScript))
	return "default-src 'none'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
}()

// What the script of a session frame is told. All but the first two it tells the page around it; see Guard.SessionFramePath.
const (
	frameWatch       = "watch"
	frameBounce      = "bounce"
	frameSignedIn    = "signed-in"
	frameSignedOut   = "signed-out"
	frameUnknown     = "unknown"
	frameUnsupported = "unsupported"
)

// sessionFrame is what the template shows.
type sessionFrame struct {
	Status        string
	Client, State string
	Silent        string // not empty: "changed" is looked into without a page of the provider's
	Provider      string // its check_session_iframe
	Script        template.JS
	frames        string // further frame-src
}

// showFrame answers with the page; only pages of our own may frame it.
func showFrame(w http.ResponseWriter, f sessionFrame) {
	f.Script = template.JS(sessionFrameScript)
	var body bytes.Buffer
	if err := sessionFrameTemplate.Execute(&body, f); err != nil {
		http.Error(w, "this page can't be shown", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	policy := sessionFramePolicy
	if f.Provider != "" {
		policy += "; frame-src 'self' " + f.frames
	}
	h.Set("Content-Security-Policy", policy)
	h.Set("Content-Type", "text/html; charset=utf-8")
	// Opened in a window by another site's page, it must not let that page count its frames: only who is signed in has one.
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	_, _ = body.WriteTo(w)
}

// sessionFrame holds the provider's check_session_iframe (Session Management 1.0 section 3.1) and, asked by its own script, starts the silent login
// that a change demands.
func (g *Guard) sessionFrame(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("silent") {
		g.checkSilently(w, r)
		return
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		g.fail(w, r, errCrossOrigin, "") // before it is known who is signed in
		return
	}
	s, err := g.Sessions.Load(w, r)
	switch {
	case errors.Is(err, session.ErrNone):
		showFrame(w, sessionFrame{Status: frameSignedOut})
		return
	case err != nil:
		g.fail(w, r, err, "")
		return
	}
	showFrame(w, g.watched(r.Context(), s))
}

// watched is the page for s.
func (g *Guard) watched(ctx context.Context, s *session.Session) sessionFrame {
	client := g.Sessions.Client()
	iframe, err := client.CheckSessionIframe(ctx)
	if err != nil && !errors.Is(err, rp.ErrNoEndpoint) {
		g.log().LogAttrs(ctx, slog.LevelWarn, "middleware: the provider's session can't be watched", slog.String("error", problem.Quote(err.Error())))
		return sessionFrame{Status: frameUnknown}
	}
	f := sessionFrame{Status: frameWatch, Client: client.ClientID(), State: s.SessionState(), Provider: iframe, frames: source(iframe)}
	if f.State == "" || f.frames == "" {
		return sessionFrame{Status: frameUnsupported}
	}
	// A form_post answer in a frame is a page of the provider's, which it rightly lets nobody frame.
	if login, err := client.AuthorizationEndpoint(ctx); err == nil && source(login) != "" && client.ResponseMode() != "form_post" {
		f.Silent = "1"
		if other := source(login); other != f.frames {
			f.frames += " " + other
		}
	}
	return f
}

// checkSilently starts a login without pages. It can end the session, so only our own page in a frame of our own may ask for it, and the browser must say so.
func (g *Guard) checkSilently(w http.ResponseWriter, r *http.Request) {
	if classify(r) != frame || r.Header.Get("Sec-Fetch-Site") != "same-origin" {
		g.fail(w, r, errCrossOrigin, "")
		return
	}
	to, err := g.Sessions.BeginCheck(w, r, g.SessionFramePath, g.params(r))
	if err != nil {
		if errors.Is(err, session.ErrNone) {
			err = session.ErrSignedOut
		}
		g.checked(w, r, err)
		return
	}
	redirect(w, to)
}

// bounce reports whether a callback in a frame must be asked for once more by a page of ours. It came by a redirect of the provider's, and where
// that counts against SameSite cookies (drafts of RFC 6265bis) the browser sends none with the request and takes none from its answer.
func (g *Guard) bounce(r *http.Request) bool {
	return g.SessionFramePath != "" && r.Method == http.MethodGet && classify(r) == frame && !r.URL.Query().Has("framed")
}

// checks reports whether a callback ended a silent login: no link can choose back so, see ours.
func (g *Guard) checks(r *http.Request, back string, err error) bool {
	if g.SessionFramePath == "" {
		return false
	}
	return back == g.SessionFramePath || errors.Is(err, session.ErrNoLogin) && classify(r) == frame
}

// checked tells the page around what came of a silent login.
func (g *Guard) checked(w http.ResponseWriter, r *http.Request, err error) {
	status := frameUnknown
	var login *session.LoginError
	switch {
	case err == nil, errors.As(err, &login) && login.Reason == "superseded": // another tab was here first; its session is looked at
		status = frameSignedIn
	case errors.Is(err, session.ErrSignedOut):
		status = frameSignedOut
	default:
		g.log().LogAttrs(r.Context(), slog.LevelWarn, "middleware: the provider's session can't be checked", slog.String("error", problem.Quote(err.Error())))
	}
	showFrame(w, sessionFrame{Status: status})
}

// source is the origin of raw as a policy names it, "" where the policy could be made to say more by it.
func source(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	for _, c := range u.Host {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]", c) {
			return ""
		}
	}
	return u.Scheme + "://" + u.Host
}
