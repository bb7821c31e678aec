package middleware

import (
	"errors"
	"log/slog"
	"mime"
	"net/http"
	"net/url"

	"github.com/latchkey-go/latchkey/internal/problem"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/session"
)

// maxLogoutForm bounds the form that brings a logout token, in bytes.
const maxLogoutForm = 64 << 10

// oauthError is how a refused logout is answered (Back-Channel Logout 1.0 section 2.8).
type oauthError struct {
	Code        string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

// backchannel takes logout tokens from the provider (Back-Channel Logout 1.0 section 2.5). No cookie and no page is part of it.
func (g *Guard) backchannel(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, code, why string, err error) {
		g.log().LogAttrs(r.Context(), slog.LevelWarn, "middleware: logout token refused", slog.Int("status", status), slog.String("error", problem.Quote(err.Error())))
		problem.WriteJSON(w, status, "application/json", oauthError{code, why})
	}
	raw, err := logoutToken(w, r)
	if err != nil {
		refuse(http.StatusBadRequest, "invalid_request", err.Error(), err)
		return
	}
	err = g.Sessions.BackchannelLogout(r.Context(), raw)
	var token *rp.TokenError
	switch {
	case err == nil:
		w.WriteHeader(http.StatusOK) // not 204, which some providers take for a failure
	case errors.Is(err, session.ErrNoLedger):
		refuse(http.StatusNotImplemented, "unsupported", "logout tokens are not accepted here", err)
	case errors.As(err, &token):
		refuse(http.StatusBadRequest, "invalid_request", "the logout token is refused by its "+token.Check, err)
	case errors.Is(err, session.ErrReplayed):
		refuse(http.StatusBadRequest, "invalid_request", "the logout token was used before", err)
	default:
		w.Header().Set("Retry-After", "5")
		refuse(http.StatusServiceUnavailable, "temporarily_unavailable", "the logout can't be done at the moment; send it again", err)
	}
}

var errNoLogoutForm = errors.New("the body must be a form with one logout_token")

func logoutToken(w http.ResponseWriter, r *http.Request) (string, error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		return "", errNoLogoutForm
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxLogoutForm)
	if err := r.ParseForm(); err != nil || len(r.PostForm["logout_token"]) != 1 {
		return "", errNoLogoutForm
	}
	return r.PostForm.Get("logout_token"), nil
}

// frontchannel is the page that the provider loads in a frame (Front-Channel Logout 1.0 section 2). It is empty, and says the same whether there was a session or not.
func (g *Guard) frontchannel(w http.ResponseWriter, r *http.Request) {
	issuer := g.Sessions.Client().Issuer()
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors "+originOf(issuer))
	h.Set("Referrer-Policy", "no-referrer")
	query := r.URL.Query()
	if len(query["iss"]) == 1 && len(query["sid"]) == 1 {
		ended, err := g.Sessions.FrontchannelLogout(w, r, query.Get("iss"), query.Get("sid"))
		if err != nil {
			g.fail(w, r, err, "")
			return
		}
		if ended {
			h.Set("Clear-Site-Data", `"cache"`)
		}
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte("<!doctype html><title>Signed out</title>\n"))
}

func originOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "'none'"
	}
	return u.Scheme + "://" + u.Host
}
