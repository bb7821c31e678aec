package bearer

import (
	"errors"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
)

// Errors that a caller branches on, with errors.Is. Verifier.Failure turns any of them into a status and a challenge.
var (
	// ErrNoToken: the request carries no bearer token.
	ErrNoToken = errors.New("bearer: no token; send it as Authorization: Bearer TOKEN")
	// ErrMalformed: the request's credentials can't be read: a bad header, or more than one token (RFC 6750 section 3.1, invalid_request).
	ErrMalformed = errors.New("bearer: malformed request")
	// ErrInvalidToken is matched by every *TokenError.
	ErrInvalidToken = errors.New("bearer: invalid token")
	// ErrRevoked: the token is genuine, and Config.Revoked said that it counts no more. It matches ErrInvalidToken too.
	ErrRevoked error = &TokenError{Check: "revoked", Want: "a token that still counts", Got: "one that was revoked"}
	// ErrUnavailable is matched by every error which means that nobody knows whether the token is good: the provider's keys or its
	// introspection endpoint can't be reached. It is discovery.ErrUnavailable; *discovery.UnavailableError says when to try again.
	ErrUnavailable = discovery.ErrUnavailable
	// ErrBusy: so many signatures are being checked that this one was not begun (Config.MaxVerifying), or so many tokens asked about (Introspection).
	ErrBusy = errors.New("bearer: too many tokens are being verified; try again")
	// ErrForbidden is matched by every *ForbiddenError.
	ErrForbidden = errors.New("bearer: the token does not allow this")
)

// TokenError says which check refused a token. Check is short and stable: those of discovery.SignatureError ("compact", "alg", "kid",
// "signature" ...), "size", "json", "typ", "cty", "kind" (an ID or logout token), "jwe", a claim's name ("iss", "aud", "exp" ...), "cnf",
// "revoked", "inactive" (introspection), "opaque" (no JWT, and no introspection is configured).
// Want and Got never hold the token, and of its claims only short, quoted pieces: they are for logs, not for answers.
type TokenError struct {
	Check, Want, Got string
	Err              error
}

func (e *TokenError) Error() string {
	text := "bearer: token refused by its " + e.Check
	if e.Want != "" {
		text += ": want " + e.Want
	}
	if e.Got != "" {
		text += ", got " + e.Got
	}
	if e.Want == "" && e.Got == "" && e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause, such as a *discovery.SignatureError.
func (e *TokenError) Unwrap() error { return e.Err }

// Is makes every TokenError match ErrInvalidToken.
func (e *TokenError) Is(target error) bool { return target == ErrInvalidToken }

// ForbiddenError is a Rule's no to a good token.
type ForbiddenError struct {
	// Scopes would be enough, all of them together (RFC 6750 section 3, insufficient_scope); nil when no scope would help.
	Scopes []string
	// Reason is safe to show.
	Reason string
}

func (e *ForbiddenError) Error() string { return "bearer: " + e.Reason }

// Is makes every ForbiddenError match ErrForbidden.
func (e *ForbiddenError) Is(target error) bool { return target == ErrForbidden }

// StepUpError asks for a stronger or more recent authentication of the user (RFC 9470 section 3, insufficient_user_authentication).
type StepUpError struct {
	ACRValues []string      // any of them would do; nil: any
	MaxAge    time.Duration // since the user authenticated; zero: any
}

func (e *StepUpError) Error() string {
	return "bearer: the user must authenticate more strongly or more recently"
}
