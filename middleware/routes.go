package middleware

import (
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/internal/problem"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/session"
)

// maxForm bounds the form of a logout, in bytes.
const maxForm = 16 << 10

// Handler answers the callback (its path is the client's RedirectURL's), login, logout, the return from the provider's logout (PostLogoutRedirectURL's path), and the session route;
// everything else goes to next, untouched. Put it outside of other middleware that judges POSTs: a form_post callback is a cross-site one.
func (g *Guard) Handler(next http.Handler) http.Handler {
	client := g.Sessions.Client()
	protection := http.NewCrossOriginProtection()
	if err := protection.AddTrustedOrigin(g.origin()); err != nil {
		g.log().Error("middleware: the redirect URL has no origin", slog.Any("error", err)) // cannot be: session.New has checked it
	}
	routes := map[string]http.HandlerFunc{}
	switch back := pathOf(client.PostLogoutRedirectURL()); {
	case g.goodbyePath() != "":
		routes[back] = g.only(g.loggedOut, http.MethodGet)
	case back != "":
		routes[back] = g.loggedOutOr(next)
	}
	callback := []string{http.MethodGet}
	if client.ResponseMode() == "form_post" {
		callback = append(callback, http.MethodPost)
	}
	routes[g.backchannelPath()] = g.only(g.backchannel, http.MethodPost)
	routes[g.frontchannelPath()] = g.only(g.frontchannel, http.MethodGet)
	routes[g.sessionPath()] = g.only(g.protected(protection, g.session), http.MethodGet, http.MethodPost)
	routes[g.loginPath()] = g.only(g.login, http.MethodGet, http.MethodHead)
	routes[g.logoutPath()] = g.only(g.protected(protection, g.logout), http.MethodGet, http.MethodPost)
	routes[pathOf(client.RedirectURL())] = g.only(g.callback, callback...)
	if g.SessionFramePath != "" {
		routes[g.SessionFramePath] = g.only(g.sessionFrame, http.MethodGet)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if route, ok := routes[r.URL.Path]; ok {
			route(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// only answers other methods with 405.
func (g *Guard) only(h http.HandlerFunc, methods ...string) http.HandlerFunc {
	allow := strings.Join(methods, ", ")
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		for _, m := range methods {
			if r.Method == m {
				h(w, r)
				return
			}
		}
		w.Header().Set("Allow", allow)
		http.Error(w, "method not allowed; use "+allow, http.StatusMethodNotAllowed)
	}
}

// protected refuses what another site's page sends.
func (g *Guard) protected(protection *http.CrossOriginProtection, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := protection.Check(r); err != nil {
			g.fail(w, r, errors.Join(errCrossOrigin, err), "")
			return
		}
		h(w, r)
	}
}

// login starts one. What a link may choose is the way back and nothing else.
func (g *Guard) login(w http.ResponseWriter, r *http.Request) {
	kind := classify(r)
	back := g.back(r.URL.Query().Get("return_to"))
	w.Header().Add("Vary", read)
	switch {
	case r.Method == http.MethodHead, kind == prefetch:
		w.WriteHeader(http.StatusNoContent)
		return
	case kind == frame, kind == websocket, kind == script && r.Header.Get("Sec-Fetch-Mode") != "":
		g.fail(w, r, session.ErrNone, back)
		return
	}
	to, err := g.Sessions.Begin(w, r, back, g.params(r))
	if err != nil {
		g.fail(w, r, err, back)
		return
	}
	redirect(w, to)
}

// callback ends a login.
func (g *Guard) callback(w http.ResponseWriter, r *http.Request) {
	if classify(r) == prefetch {
		w.WriteHeader(http.StatusNoContent) // the code is for the visit itself
		return
	}
	if g.bounce(r) {
		showFrame(w, sessionFrame{Status: frameBounce})
		return
	}
	_, back, err := g.Sessions.Finish(w, r, session.Accept(g.LoggedIn))
	if g.checks(r, back, err) {
		g.checked(w, r, err)
		return
	}
	if back != "" {
		back = g.back(back)
	}
	if err == nil {
		g.arrive(w, r, orElse(back, g.afterLogin()))
		return
	}
	var login *session.LoginError
	if errors.As(err, &login) && login.Reason != "loop" {
		// The Back button, a reload, a link twice: whoever is signed in wants to go on, not to read about it.
		if _, none := g.Sessions.Load(w, r); none == nil {
			redirect(w, orElse(back, g.afterLogin()))
			return
		}
	}
	var provider *rp.ProviderError
	if errors.As(err, &provider) && provider.Description != "" {
		g.log().LogAttrs(r.Context(), slog.LevelInfo, "middleware: the provider says", slog.String("code", problem.Quote(provider.Code)), slog.String("description", problem.Quote(provider.Description)))
	}
	g.fail(w, r, err, back)
}

// arrive ends a callback. A redirect would still count as the provider's, and a Strict cookie would stay behind; the refresh of a page of ours does not.
func (g *Guard) arrive(w http.ResponseWriter, r *http.Request, to string) {
	if !g.Sessions.NeedsPage() {
		redirect(w, to)
		return
	}
	w.Header().Set("Refresh", "0; url="+to)
	render(w, r, http.StatusOK, pageData{Title: "You are signed in", Detail: "The page you came for follows.", RetryURL: to, Button: "Go on"})
}

// logout ends the session here and, unless told otherwise, at the provider.
func (g *Guard) logout(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		g.confirmLogout(w, r)
		return
	}
	if !readForm(w, r) {
		http.Error(w, "the form can't be read", http.StatusBadRequest)
		return
	}
	if r.PostForm.Get("everywhere") != "" {
		err := g.Sessions.RevokeAll(r)
		if errors.Is(err, session.ErrExpired) || err != nil && !errors.Is(err, session.ErrNone) {
			// Nothing was ended, and no redirect may look as if it was. The session stays: without it another try would know nobody whose others to end.
			g.fail(w, r, err, "")
			return
		}
	}
	to, err := g.Sessions.End(w, r, g.afterLogout())
	if errors.Is(err, session.ErrStore) {
		g.fail(w, r, errors.Join(errHalfOut, err), "")
		return
	}
	if err != nil {
		// The session is gone; only the way to the provider is not known.
		g.log().LogAttrs(r.Context(), slog.LevelWarn, "middleware: logged out here only", slog.String("error", problem.Quote(err.Error())))
	}
	w.Header().Set("Clear-Site-Data", `"cache"`)
	if kind := classify(r); !kind.html() && r.Header.Get("Sec-Fetch-Mode") != "" {
		problem.WriteJSON(w, http.StatusOK, "application/json", map[string]bool{"authenticated": false})
		return
	}
	if to == "" || r.PostForm.Get("local") != "" {
		to = g.afterLogout()
	}
	redirect(w, to)
}

// readForm reads a logout's form in either encoding: what a script sends with FormData must not be taken for a form that asks for less.
func readForm(w http.ResponseWriter, r *http.Request) bool {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	kind := r.Header.Get("Content-Type")
	switch media, _, err := mime.ParseMediaType(kind); {
	case kind != "" && err != nil:
		return false
	case media == "multipart/form-data":
		defer func() {
			if r.MultipartForm != nil {
				_ = r.MultipartForm.RemoveAll()
			}
		}()
		return r.ParseMultipartForm(maxForm) == nil
	case media != "application/x-www-form-urlencoded" && r.ContentLength != 0:
		_, err := io.ReadFull(r.Body, make([]byte, 1))
		return err == io.EOF && r.ParseForm() == nil // nothing was said after all
	}
	return r.ParseForm() == nil
}

// loggedOut is where the provider sends the browser after its logout. A foreign or missing state changes nothing and says nothing.
func (g *Guard) loggedOut(w http.ResponseWriter, r *http.Request) {
	to, err := g.Sessions.FinishLogout(w, r)
	if err != nil {
		g.log().LogAttrs(r.Context(), slog.LevelInfo, "middleware: a return from a logout that is not known", slog.String("error", problem.Quote(err.Error())))
		to = g.afterLogout()
	}
	redirect(w, orElse(to, g.afterLogout()))
}

// loggedOutOr is loggedOut at a page of the application's: a return is sent on to the page without the provider's parameters, and all else is the page itself.
func (g *Guard) loggedOutOr(next http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && r.URL.Query().Has("state") {
			if to, err := g.Sessions.FinishLogout(w, r); err == nil {
				redirect(w, orElse(to, g.afterLogout()))
				return
			}
		}
		next.ServeHTTP(w, r)
	}
}

// status is what scripts may know of a session.
type status struct {
	Authenticated bool       `json:"authenticated"`
	Issuer        string     `json:"issuer,omitempty"`
	Subject       string     `json:"subject,omitempty"`
	Name          string     `json:"name,omitempty"`
	Email         string     `json:"email,omitempty"`
	Picture       string     `json:"picture,omitempty"`
	LoginAt       *time.Time `json:"login_at,omitempty"`
	AuthTime      *time.Time `json:"auth_time,omitempty"`
	ExpiresAt     *time.Time `json:"expires_at,omitempty"`
	IdleUntil     *time.Time `json:"idle_until,omitempty"`
	TokenExpiry   *time.Time `json:"token_expires_at,omitempty"`
	RefreshAt     *time.Time `json:"refresh_at,omitempty"`
	ACR           string     `json:"acr,omitempty"`
	LoginURL      string     `json:"login_url"`
	LogoutURL     string     `json:"logout_url,omitempty"`
}

// session tells who is signed in and until when, and answers 401 with the login URL when nobody is; a POST refreshes first, unless that was done in the last 10 seconds. It is a use of the session like any other: polling it keeps the session from idling out.
func (g *Guard) session(w http.ResponseWriter, r *http.Request) {
	load := g.Sessions.Load
	if r.Method == http.MethodPost {
		load = g.Sessions.Refresh
	}
	s, err := load(w, r)
	switch {
	case errors.Is(err, session.ErrNoRefreshToken):
		// Nothing to refresh is no fault of the one who asks.
		if s, err = g.Sessions.Load(w, r); err != nil {
			g.fail(w, r, err, "")
			return
		}
	case err != nil:
		g.fail(w, r, err, g.referer(r))
		return
	}
	if classify(r) == submit {
		redirect(w, g.referer(r))
		return
	}
	claims := s.Claims()
	problem.WriteJSON(w, http.StatusOK, "application/json", status{
		Authenticated: true, Issuer: s.Issuer, Subject: s.Subject,
		Name: claims.Name(), Email: claims.Email(), Picture: webURL(claims.Picture()),
		LoginAt: stated(s.LoginAt), AuthTime: stated(s.AuthTime), ExpiresAt: stated(s.ExpiresAt), IdleUntil: stated(s.IdleUntil),
		TokenExpiry: stated(s.TokenExpiry), RefreshAt: stated(s.RefreshAt), ACR: s.ACR,
		LoginURL: g.loginPath(), LogoutURL: g.logoutPath(),
	})
}

// stated leaves out a time that is not known.
func stated(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// webURL lets through what a page may link to.
func webURL(raw string) string {
	if u, err := url.Parse(raw); err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	return raw
}
