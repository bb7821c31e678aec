package middleware

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/session"
)

// Guard answers the routes of login and logout and guards handlers. Only Sessions is required; set the fields before first use and don't change them after.
// Safe for concurrent use.
type Guard struct {
	Sessions *session.Manager

	LoginPath   string // zero: "/auth/login"  (GET; ?return_to=/local/path)
	LogoutPath  string // zero: "/auth/logout" (POST; form everywhere=1 ends all the user's sessions, local=1 leaves the provider's alone)
	SessionPath string // zero: "/auth/session" (GET, JSON: who, until when, never a token; POST refreshes)
	// BackchannelPath takes logout tokens from the provider by POST, where session.Config.BackchannelLogout is set; zero: "/auth/backchannel-logout".
	BackchannelPath string
	// FrontchannelPath is loaded in the provider's frames with iss and sid; zero: "/auth/frontchannel-logout". Register it with frontchannel_logout_session_required.
	FrontchannelPath string
	// SessionFramePath is a page for a hidden frame on pages of the application's own, for those who are signed in (OpenID Connect Session Management 1.0); zero: there is none.
	// It asks the provider's check_session_iframe every 5 seconds whether the provider's session has changed, which costs no request. When it has, a login without pages (prompt=none) in the frame
	// finds out: the same user gets a new session in place of the old one; when nobody is there, or somebody else, the session ends. The page around is told by a message that it must check the origin of:
	//
	//	addEventListener("message", e => {
	//		if (e.origin === location.origin && e.data?.latchkey === "session" && e.data.status === "signed-out") location.reload();
	//	});
	//
	// The status is "signed-out"; "unknown", when the provider can't be asked in a frame, an ordinary login would tell; or "unsupported", when the provider has no such page or sent no session_state.
	// A browser that keeps third-party cookies from frames, as Safari and Firefox do and Chromium may be set to, makes the provider's frame say "changed" or "error" from the start. So "changed" is believed only
	// where this browser has seen "unchanged" for the same login before, and is "unknown" otherwise, which is less than section 3.1 asks for and keeps people signed in. Rely on BackchannelPath; this is an addition to it.
	// The page's origin must be that of the client's RedirectURL. With response mode form_post no silent login is tried.
	SessionFramePath string
	AfterLogin       string // zero: "/"; where a login goes that has no way back
	AfterLogout      string // zero: "/"

	// Params are the parameters of an ordinary login; nil: none. Take them from your own code: the query of the request never decides them.
	Params func(r *http.Request) rp.AuthParams
	// LoggedIn is asked before a session is made: accept, map (the returned value is kept, see session.Session.App) or refuse (Refuse).
	LoggedIn func(ctx context.Context, s *session.Session) (app any, err error)
	// Failed answers in place of the default error pages and problem documents. Cache-Control, Referrer-Policy and Retry-After are set already.
	Failed func(w http.ResponseWriter, r *http.Request, f *Failure)
	// Logger gets each failure with the reference its page shows; nil: slog.Default().
	Logger *slog.Logger
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func (g *Guard) loginPath() string   { return orElse(g.LoginPath, "/auth/login") }
func (g *Guard) logoutPath() string  { return orElse(g.LogoutPath, "/auth/logout") }
func (g *Guard) sessionPath() string { return orElse(g.SessionPath, "/auth/session") }
func (g *Guard) backchannelPath() string {
	return orElse(g.BackchannelPath, "/auth/backchannel-logout")
}
func (g *Guard) frontchannelPath() string {
	return orElse(g.FrontchannelPath, "/auth/frontchannel-logout")
}
func (g *Guard) afterLogin() string  { return orElse(g.AfterLogin, "/") }
func (g *Guard) afterLogout() string { return orElse(g.AfterLogout, "/") }

func (g *Guard) log() *slog.Logger {
	if g.Logger == nil {
		return slog.Default()
	}
	return g.Logger
}

func (g *Guard) params(r *http.Request) rp.AuthParams {
	if g.Params == nil {
		return rp.AuthParams{}
	}
	return g.Params(r)
}

// redirectURL is where the application is for browsers; session.New has checked it.
func (g *Guard) redirectURL() *url.URL {
	u, err := url.Parse(g.Sessions.Client().RedirectURL())
	if err != nil {
		return &url.URL{}
	}
	return u
}

// origin is written as browsers write it (RFC 6454 section 6.1), however the redirect URL is.
func (g *Guard) origin() string {
	u := g.redirectURL()
	host := strings.ToLower(u.Host)
	if p := u.Port(); p == "" || u.Scheme == "https" && p == "443" || u.Scheme == "http" && p == "80" {
		host = strings.TrimSuffix(host, ":"+p)
	}
	return u.Scheme + "://" + host
}

// goodbyePath is the route of the return from the provider's logout; "" for none, and where that return is to the page after logout itself:
// a route that only redirects there would never get anywhere.
func (g *Guard) goodbyePath() string {
	back := pathOf(g.Sessions.Client().PostLogoutRedirectURL())
	if after := g.afterLogout(); strings.HasPrefix(after, "/") && pathOf(after) == back {
		return ""
	}
	return back
}

// pathOf is the path of a URL of ours, "" for none.
func pathOf(raw string) string {
	u, err := url.Parse(raw)
	if raw == "" || err != nil {
		return ""
	}
	return orElse(u.Path, "/")
}
