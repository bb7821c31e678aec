package session

import "errors"

// Errors that callers branch on; use errors.Is.
var (
	// ErrNone: nobody is signed in. ErrExpired and ErrRevoked are ErrNone too.
	ErrNone    = errors.New("session: nobody is signed in")
	ErrExpired = error(none{"session: expired; log in again"})
	ErrRevoked = error(none{"session: revoked; log in again"})
	// ErrNoLogin: the callback, or the return from logout, belongs to no attempt of this browser. See *LoginError.
	ErrNoLogin = errors.New("session: the callback belongs to no login of this browser")
	// ErrStore: the session store can't be reached or doesn't work; nobody is logged out by it.
	ErrStore = errors.New("session: the store is unavailable; try again later")
	// ErrNoRefreshToken: Refresh was asked for, and the session has nothing to refresh with.
	ErrNoRefreshToken = errors.New("session: there is no refresh token; log in again to renew the session")
	// ErrTooLarge: the session, or a login attempt, does not fit into the cookies browsers and proxies take.
	ErrTooLarge = errors.New("session: too large for a cookie")
)

// none is a reason for ErrNone.
type none struct{ text string }

func (e none) Error() string        { return e.text }
func (e none) Is(target error) bool { return target == ErrNone }

// LoginError is ErrNoLogin with its reason.
type LoginError struct {
	// Reason is one of "malformed", "no-state", "no-cookie", "unknown-key" (the cookie was sealed under a key this process has not), "altered",
	// "expired", "replayed", "foreign-state", "superseded" (BeginCheck's, and another session is carried by now) and "loop" (three logins in a minute and no session could be read back: cookies refused, or cut by a proxy).
	// "malformed" is also an answer that comes another way than it was asked for: it uses nothing up.
	Reason string
	// ReturnTo is where the attempt was to lead, "" when that is not known.
	ReturnTo string
}

func (e *LoginError) Error() string {
	text := ErrNoLogin.Error() + " (" + e.Reason + ")"
	switch e.Reason { // for who runs the program: what a change of its set-up can end
	case "loop":
		text += ": three logins in a minute left no session that could be read back: the browser refuses cookies, a proxy cuts them, " +
			"the store loses what it is given, or a clock is wrong"
	case "unknown-key":
		text += ": it was sealed under a key this process has not: give every replica the same Config.Keys or Keyring, and drop an old one last"
	}
	return text
}

// Is makes errors.Is(err, ErrNoLogin) true.
func (e *LoginError) Is(target error) bool { return target == ErrNoLogin }
