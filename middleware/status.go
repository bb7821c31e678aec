package middleware

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/session"
)

// Failure is what went wrong, for Guard.Failed and the log.
type Failure struct {
	Status     int
	Kind       string // short and stable: "login-required", "step-up-required", "refused", "no-login", "unavailable" ...
	Title      string
	Detail     string        // safe to show
	RetryURL   string        // where to try again, "" when that makes no sense
	RetryAfter time.Duration // sent as Retry-After when not zero
	Reference  string        // in the log too
	Err        error         // for the log and errors.Is; may describe hostile input: never show it
}

var (
	errForbidden     = errors.New("middleware: the user is not allowed to")
	errStepUp        = errors.New("middleware: a stronger or fresher login is needed")
	errForeignSocket = errors.New("middleware: a WebSocket handshake from another site")
	errCrossOrigin   = errors.New("middleware: a cross-origin request")
	errHalfOut       = errors.New("middleware: a logout that was not written down")
)

// refusal is the application's no.
type refusal struct{ reason string }

func (e *refusal) Error() string { return "middleware: refused: " + e.reason }

// Refuse makes an error for Guard.LoggedIn whose reason is shown to the user, escaped.
func Refuse(reason string) error { return &refusal{reason} }

const outage = 5 * time.Second

// failure is the only table from errors to statuses. Texts of a provider or of the query are in none of it.
func failure(err error) *Failure {
	f := &Failure{Err: err}
	set := func(status int, kind, title, detail string) *Failure {
		f.Status, f.Kind, f.Title, f.Detail = status, kind, title, detail
		return f
	}
	var no *refusal
	var login *session.LoginError
	var provider *rp.ProviderError
	var token *rp.TokenError
	switch {
	case errors.As(err, &no):
		return set(http.StatusForbidden, "refused", "You can't come in", no.reason)
	case errors.Is(err, errForbidden):
		return set(http.StatusForbidden, "forbidden", "This is not for you", "You are signed in, and this account may not see this page.")
	case errors.Is(err, errStepUp):
		return set(http.StatusUnauthorized, "step-up-required", "Please confirm that it's you", "This page asks for a fresh or stronger sign-in.")
	case errors.Is(err, errForeignSocket), errors.Is(err, errCrossOrigin):
		return set(http.StatusForbidden, "cross-origin", "That came from another site", "The request was not made by a page of this site, so nothing was done.")
	case errors.Is(err, errHalfOut):
		return set(http.StatusServiceUnavailable, "store-unavailable", "You are signed out in this browser", "It could not be written down, though: a copy of the session, if there is one, may work until it expires.")
	case errors.Is(err, session.ErrTooMany):
		return set(http.StatusForbidden, "too-many-sessions", "You are signed in elsewhere", "Your account has as many sessions as it may have. Sign out in another browser, then start again.")
	case errors.Is(err, session.ErrNone), errors.Is(err, session.ErrSignedOut):
		return set(http.StatusUnauthorized, "login-required", "Please sign in", "Nobody is signed in here, or the session has ended. Anything you just sent was not saved.")
	case errors.As(err, &login):
		return set(http.StatusBadRequest, "no-login", "This sign-in can't be finished", loginDetail(login.Reason))
	case errors.Is(err, rp.ErrMismatch):
		return set(http.StatusBadRequest, "mismatch", "This sign-in can't be finished", "The answer does not belong to the sign-in that was started here. Start again; if you followed a link from somebody else, don't use it.")
	case errors.Is(err, session.ErrStore):
		f.RetryAfter = outage
		return set(http.StatusServiceUnavailable, "store-unavailable", "One moment, please", "Your session can't be read right now. You are not signed out; try again shortly.")
	case errors.As(err, &provider) && provider.Endpoint == "authorization":
		return refused(f, provider.Code)
	case errors.Is(err, rp.ErrUnavailable):
		f.RetryAfter = retryAfter(err)
		return set(http.StatusServiceUnavailable, "unavailable", "The sign-in service does not answer", "It can't be reached right now. Try again shortly.")
	case errors.As(err, &token) && (token.Check == "acr" || token.Check == "auth_time"):
		return set(http.StatusForbidden, "step-up-failed", "That was not enough", "The sign-in service did not confirm you as strongly or as recently as this page asks.")
	case errors.Is(err, rp.ErrInvalidToken):
		return set(http.StatusBadGateway, "invalid-token", "The sign-in service's answer is not valid", "It was refused, and nobody was signed in. If this stays, tell the people who run this site.")
	case errors.As(err, &provider):
		return set(http.StatusBadGateway, "provider", "The sign-in service refused", "It did not accept the sign-in. Start again; if this stays, tell the people who run this site.")
	case errors.Is(err, session.ErrTooLarge):
		return set(http.StatusInternalServerError, "too-large", "Your account does not fit", "The session is larger than browsers take. The people who run this site must change how it is kept.")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		f.RetryAfter = outage
		return set(http.StatusServiceUnavailable, "timeout", "That took too long", "Try again.")
	}
	return set(http.StatusInternalServerError, "internal", "Something went wrong", "The fault is on our side, and it has been noted.")
}

func loginDetail(reason string) string {
	switch reason {
	case "expired":
		return "It took too long. Start again."
	case "replayed":
		return "It has been used already. If you came here by the Back button or by reloading, start again."
	case "loop":
		return "You signed in several times, and your browser did not keep the session. Are cookies allowed for this site? Is its address the same in all tabs?"
	case "no-cookie":
		return "This browser did not start it, or it has forgotten it: cookies may be blocked, another address of this site may have been used, or the page is old. Start again."
	case "unknown-key":
		return "It was started before this site was updated. Start again."
	}
	return "The address is not complete or was changed. Start again."
}

// refused maps the error codes of RFC 6749 section 4.1.2.1 and OpenID Connect Core 3.1.2.6 to our own words.
func refused(f *Failure, code string) *Failure {
	f.Status, f.Kind, f.Title = http.StatusForbidden, "provider-refused", "You were not signed in"
	switch code {
	case "access_denied":
		f.Detail = "The sign-in was cancelled or not allowed."
	case "login_required", "interaction_required", "consent_required", "account_selection_required":
		f.Detail = "The sign-in service wants you to sign in there first."
	case "unmet_authentication_requirements":
		f.Detail = "The sign-in service can't confirm you as strongly as this page asks."
	case "temporarily_unavailable":
		f.Status, f.RetryAfter, f.Title, f.Detail = http.StatusServiceUnavailable, outage, "The sign-in service is busy", "Try again shortly."
	case "server_error":
		f.Status, f.Title, f.Detail = http.StatusBadGateway, "The sign-in service has a fault", "Try again; if this stays, tell the people who run this site."
	default:
		f.Detail = "The sign-in service refused this application's request. If this stays, tell the people who run this site."
	}
	return f
}

func retryAfter(err error) time.Duration {
	var away *rp.UnavailableError
	if errors.As(err, &away) && away.RetryAfter > outage {
		return away.RetryAfter
	}
	return outage
}
