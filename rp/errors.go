package rp

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
	"golang.org/x/oauth2"
)

// Errors a caller branches on with errors.Is.
var (
	// ErrUnavailable: the metadata, the keys or an endpoint could not be had; try again later.
	ErrUnavailable = discovery.ErrUnavailable
	// ErrMismatch: the answer does not belong to this login (state, iss, client ...); offer to log in again. Every *MismatchError is one.
	ErrMismatch = errors.New("rp: the answer does not belong to this login")
	// ErrInvalidToken: a token failed a check. Every *TokenError is one.
	ErrInvalidToken = errors.New("rp: invalid token")
	// ErrNoEndpoint: the provider publishes no such endpoint; do without it.
	ErrNoEndpoint = errors.New("rp: the provider has no such endpoint")
)

// MismatchError is ErrMismatch with its reason: Param is "login", "state", "iss", "code", "duplicate", "response_type" ...
// It holds no value of the answer.
type MismatchError struct{ Param, Reason string }

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%v: %s: %s", ErrMismatch, e.Param, e.Reason)
}

// Is makes errors.Is(err, ErrMismatch) true.
func (e *MismatchError) Is(target error) bool { return target == ErrMismatch }

// TokenError names the check a token failed: what was expected and what came, never the token.
type TokenError struct {
	Token string // "ID token", "UserInfo", ...
	Check string // "missing", "size", "compact", "header", "typ", "cty", "crit", "alg", "key", "kid", "signature", "json", "iss", "tid", "aud", "azp", "sub", "exp", "iat", "nbf", "nonce", "at_hash", "c_hash", "auth_time", "acr", "events" ...
	Want  string
	Got   string
	Err   error
}

func (e *TokenError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "rp: invalid %s: %s", e.Token, e.Check)
	if e.Want != "" {
		fmt.Fprintf(&b, ": want %s", e.Want)
	}
	if e.Got != "" {
		fmt.Fprintf(&b, ", got %s", e.Got)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

// Is makes errors.Is(err, ErrInvalidToken) true.
func (e *TokenError) Is(target error) bool { return target == ErrInvalidToken }

// Unwrap returns Err.
func (e *TokenError) Unwrap() error { return e.Err }

// ProviderError: an endpoint answered with an OAuth error (RFC 6749 4.1.2.1, 5.2) or something that is no answer.
// It is ErrUnavailable too when the status says the provider is in trouble (5xx) or wants to be left alone (429).
type ProviderError struct {
	Endpoint    string        // "authorization", "token", "userinfo", "revocation"
	Status      int           // HTTP status; 0 for the authorization endpoint
	Code        string        // error; "" when the body was not an OAuth error
	Description string        // at most 256 bytes, printable; hostile input: never shown to users as it is
	URI         string        // error_uri; hostile input too
	RetryAfter  time.Duration // as the answer asks for (RFC 9110 section 10.2.3); zero: it does not
	Err         error         // *oauth2.RetrieveError (redacted body) where there is one, or what is wrong with the answer
}

func (e *ProviderError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "rp: the provider's %s endpoint answered", e.Endpoint)
	if e.Status != 0 {
		fmt.Fprintf(&b, " %d", e.Status)
	}
	if e.Code != "" {
		fmt.Fprintf(&b, " error %q", e.Code)
	}
	if e.Description != "" {
		fmt.Fprintf(&b, " (%q)", e.Description)
	}
	if _, plain := errors.AsType[*oauth2.RetrieveError](e.Err); e.Code == "" && e.Err != nil {
		if plain {
			b.WriteString(" without an OAuth error")
		} else {
			fmt.Fprintf(&b, ": %v", e.Err)
		}
	}
	return b.String()
}

// Is makes a 5xx or 429 match ErrUnavailable.
func (e *ProviderError) Is(target error) bool {
	return target == ErrUnavailable && (e.Status >= 500 || e.Status == http.StatusTooManyRequests)
}

// Unwrap returns Err.
func (e *ProviderError) Unwrap() error { return e.Err }

// UnavailableError is the error behind ErrUnavailable when a provider can't be reached: what was asked, and when to ask again.
type UnavailableError = discovery.UnavailableError
