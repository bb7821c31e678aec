package discovery

import (
	"errors"
	"fmt"
	"time"
)

// ErrUnavailable is matched (errors.Is) by every error that means: no usable answer could be had from the provider; try again later.
var ErrUnavailable = errors.New("discovery: provider unavailable")

// UnavailableError is the error behind ErrUnavailable. Its causes are matched too: a caller whose context ended finds
// context.Canceled or context.DeadlineExceeded.
type UnavailableError struct {
	URL        string        // what was asked, without its query
	RetryAfter time.Duration // when the next attempt will be made at the earliest; zero: at once
	Err        error
}

func (e *UnavailableError) Error() string {
	text := "discovery: " + e.URL + " gave no usable answer"
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	if e.RetryAfter > 0 {
		text += fmt.Sprintf(" (next attempt in %s)", e.RetryAfter.Round(time.Millisecond))
	}
	return text
}

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Err }

// Is makes every UnavailableError match ErrUnavailable.
func (e *UnavailableError) Is(target error) bool { return target == ErrUnavailable }

// SignatureError says why a token's signature is not accepted. Check is short and stable: of the token's form "size", "compact",
// "base64", "header", "crit" and "jwk"; then "alg" (not an accepted algorithm), "kid" (the provider publishes no such key),
// "key" (the keys named don't fit the algorithm) and "signature" (a key fits, the signature does not).
// Want and Got hold no more of the token than a short quoted header parameter.
type SignatureError struct{ Check, Want, Got string }

func (e *SignatureError) Error() string {
	text := "discovery: signature refused by its " + e.Check
	if e.Want != "" {
		text += ": want " + e.Want
	}
	if e.Got != "" {
		text += ", got " + e.Got
	}
	return text
}
