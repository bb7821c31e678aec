package bearer

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Rule is what a route asks of a good token. The functions of this package that return a Rule make them; the zero Rule refuses everybody.
type Rule struct {
	check  func(t *Token) error
	scopes []string // for the challenge of a request without token
}

// Scopes asks for all of scopes; none asks for nothing.
func Scopes(scopes ...string) Rule {
	return Rule{scopes: scopes, check: func(t *Token) error {
		for _, s := range scopes {
			if !t.HasScope(s) {
				return &ForbiddenError{Scopes: scopes, Reason: "the token lacks a scope that this needs"}
			}
		}
		return nil
	}}
}

// AnyScope asks for at least one of scopes.
func AnyScope(scopes ...string) Rule {
	return Rule{scopes: scopes[:min(1, len(scopes))], check: func(t *Token) error {
		if slices.ContainsFunc(scopes, t.HasScope) {
			return nil
		}
		return &ForbiddenError{Scopes: scopes[:min(1, len(scopes))], Reason: "the token has none of the scopes that allow this"}
	}}
}

// Role asks for one of roles in the claim that path leads to, a list of strings or one string:
// Role([]string{"realm_access", "roles"}, "editor", "admin").
func Role(path []string, roles ...string) Rule {
	return Rule{check: func(t *Token) error {
		if meets(t.Strings(path...), roles) {
			return nil
		}
		return &ForbiddenError{Reason: "the token's owner has no role that allows this"}
	}}
}

// Audience asks for one of audiences in the token's aud, beside the Verifier's own: for one route of an API that has several names.
func Audience(audiences ...string) Rule {
	return Rule{check: func(t *Token) error {
		if meets(t.Audience, audiences) {
			return nil
		}
		return &TokenError{Check: "aud", Want: printable(strings.Join(audiences, " or ")), Got: printable(strings.Join(t.Audience, " "))}
	}}
}

// ACR asks for a token whose acr is one of values; else the client is told to have the user authenticate anew with acr_values (RFC 9470).
func ACR(values ...string) Rule {
	return Rule{check: func(t *Token) error {
		if t.ACR != "" && slices.Contains(values, t.ACR) {
			return nil
		}
		if len(values) == 0 {
			return &ForbiddenError{Reason: "no authentication is strong enough"}
		}
		return &StepUpError{ACRValues: values}
	}}
}

// MaxAge asks for a user who authenticated at most age ago, by auth_time; else the client is told to have the user authenticate anew with max_age
// (RFC 9470). A token without auth_time, or with one that is more than five minutes ahead of our clock, counts as old.
func MaxAge(age time.Duration) Rule {
	return Rule{check: func(t *Token) error {
		// In whole seconds, as both auth_time and max_age are.
		if since := time.Since(t.AuthTime).Truncate(time.Second); !t.AuthTime.IsZero() && since <= age && since >= -maxLeeway {
			return nil
		}
		return &StepUpError{MaxAge: age}
	}}
}

// Allow asks a function of yours. False answers 403.
func Allow(allow func(t *Token) bool) Rule {
	return Rule{check: func(t *Token) error {
		if allow(t) {
			return nil
		}
		return &ForbiddenError{Reason: "the token's owner may not do this"}
	}}
}

// Authorize checks a good token against rules, all of them, in their order. Errors: *ForbiddenError, *StepUpError, and a *TokenError of Audience.
func Authorize(t *Token, rules ...Rule) error {
	if t == nil {
		return ErrNoToken
	}
	for i, r := range rules {
		if r.check == nil {
			return &ForbiddenError{Reason: fmt.Sprintf("rule %d is empty and allows nobody", i+1)}
		}
		if err := r.check(t); err != nil {
			return err
		}
	}
	return nil
}
