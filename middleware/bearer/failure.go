package bearer

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
)

// Failure is an error as a client shall see it.
type Failure struct {
	Status int
	// Code is the error code of RFC 6750 section 3.1 or RFC 9470 section 3; empty when there was no token, and in an outage.
	Code string
	// Kind is the problem's type, short and stable: "token-required", "malformed", "invalid-token", "insufficient-scope", "forbidden",
	// "step-up-required", "unavailable", "busy", "internal".
	Kind       string
	Title      string
	Detail     string        // safe to show
	Challenge  string        // for WWW-Authenticate, "" for none
	RetryAfter time.Duration // for Retry-After, zero for none
	Err        error         // for the log and errors.Is; may describe hostile input: never show it
}

const (
	outage = 5 * time.Second
	busy   = time.Second
)

// Failure says how an error of Verify, FromAuthorization or Authorize is answered. rules are those of the route: their scopes stand in the challenge of
// a request without token. It is what Handler does, for other transports than HTTP; nil means nil.
func (v *Verifier) Failure(err error, rules ...Rule) *Failure {
	if err == nil {
		return nil
	}
	f := failure(err)
	if f.Status < http.StatusInternalServerError {
		f.Challenge = v.challenge(f, rules)
	}
	return f
}

// failure is the only table from errors to statuses. Nothing in it comes from a token.
func failure(err error) *Failure {
	f := &Failure{Err: err}
	set := func(status int, code, kind, title, detail string) *Failure {
		f.Status, f.Code, f.Kind, f.Title, f.Detail = status, code, kind, title, detail
		return f
	}
	var token *TokenError
	var forbidden *ForbiddenError
	var stepUp *StepUpError
	var down *discovery.UnavailableError
	switch {
	case errors.Is(err, ErrNoToken):
		return set(http.StatusUnauthorized, "", "token-required", "A token is needed", "Send an access token as Authorization: Bearer TOKEN.")
	case errors.Is(err, ErrMalformed):
		return set(http.StatusBadRequest, "invalid_request", "malformed", "The request can't be read", reasonOf(err))
	case errors.As(err, &down):
		f.RetryAfter = max(down.RetryAfter, outage)
		return set(http.StatusServiceUnavailable, "", "unavailable", "Try again later", "The token can't be checked at the moment. Nothing is known against it.")
	case errors.Is(err, ErrBusy):
		f.RetryAfter = busy
		return set(http.StatusServiceUnavailable, "", "busy", "Try again in a moment", "Too many tokens are being checked at the moment. Nothing is known against yours.")
	case errors.As(err, &stepUp):
		return set(http.StatusUnauthorized, "insufficient_user_authentication", "step-up-required", "A stronger or fresher authentication is needed",
			"Have the user authenticate as the challenge says, and send the new token.")
	case errors.As(err, &forbidden) && len(forbidden.Scopes) > 0:
		return set(http.StatusForbidden, "insufficient_scope", "insufficient-scope", "The token is not enough", sentence(forbidden.Reason))
	case errors.As(err, &forbidden):
		return set(http.StatusForbidden, "insufficient_scope", "forbidden", "This is not allowed", sentence(forbidden.Reason))
	case errors.As(err, &token):
		return set(http.StatusUnauthorized, "invalid_token", "invalid-token", "The token is not accepted", describe(token.Check))
	}
	return set(http.StatusInternalServerError, "", "internal", "Something went wrong here", "")
}

func reasonOf(err error) string {
	return sentence(strings.TrimPrefix(err.Error(), ErrMalformed.Error()+": "))
}

func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// describe says what is wrong with a token to whoever sent it: enough to mend a client, and nothing of the token.
func describe(check string) string {
	switch check {
	case "exp":
		return "The token has expired."
	case "nbf", "iat":
		return "The token is not valid yet."
	case "aud":
		return "The token is for another audience."
	case "iss", "tid":
		return "The token's issuer is not accepted here."
	case "typ", "kind", "cty":
		return "This is not an access token."
	case "revoked", "inactive":
		return "The token has been revoked or has ended."
	case "signature", "kid", "key", "alg":
		return "The token's signature is not accepted."
	case "cnf":
		return "The token is bound to a key and can't be used as a bearer token here."
	case "opaque", "jwe", "compact", "base64", "header", "crit", "jwk", "json", "size":
		return "The token's form is not accepted."
	}
	return "A claim of the token is missing or not accepted."
}

// challenge is the value of WWW-Authenticate (RFC 6750 section 3, RFC 9470 section 3, RFC 9728 section 5.1).
func (v *Verifier) challenge(f *Failure, rules []Rule) string {
	b := new(strings.Builder)
	b.WriteString("Bearer realm=")
	b.WriteString(v.realm)
	add := func(name, value string) {
		if quoted, err := quotedString(value); err == nil && value != "" {
			b.WriteString(", " + name + "=" + quoted)
		}
	}
	add("error", f.Code)
	if f.Code != "" {
		add("error_description", f.Detail)
	}
	var scopes []string
	if forbidden, ok := errors.AsType[*ForbiddenError](f.Err); ok {
		scopes = forbidden.Scopes
	} else if f.Code == "" {
		for _, r := range rules {
			scopes = append(scopes, r.scopes...)
		}
	}
	add("scope", strings.Join(scopes, " "))
	if stepUp, ok := errors.AsType[*StepUpError](f.Err); ok {
		add("acr_values", strings.Join(stepUp.ACRValues, " "))
		if stepUp.MaxAge > 0 || len(stepUp.ACRValues) == 0 {
			add("max_age", strconv.FormatInt(int64(stepUp.MaxAge/time.Second), 10))
		}
	}
	if v.about != nil {
		add("resource_metadata", v.about.url)
	}
	return b.String()
}

// quotedString is RFC 9110 section 5.6.4's, of printable ASCII: no text can leave its quotes or the line.
func quotedString(s string) (string, error) {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c > '~':
			return "", fmt.Errorf("bearer: character %#x can't stand in a header", c)
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String(), nil
}
