package rp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"strings"
)

const exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange"

// TokenType says what kind of token a token is (RFC 8693 section 3). A provider may have others than these; any absolute URI is one.
type TokenType string

const (
	TypeAccessToken  TokenType = "urn:ietf:params:oauth:token-type:access_token"
	TypeRefreshToken TokenType = "urn:ietf:params:oauth:token-type:refresh_token"
	TypeIDToken      TokenType = "urn:ietf:params:oauth:token-type:id_token"
	TypeSAML1        TokenType = "urn:ietf:params:oauth:token-type:saml1" // base64url-encoded
	TypeSAML2        TokenType = "urn:ietf:params:oauth:token-type:saml2" // base64url-encoded
	TypeJWT          TokenType = "urn:ietf:params:oauth:token-type:jwt"   // a JWT of any kind
)

// ExchangeRequest is a token exchange (RFC 8693 section 2.1). Only SubjectToken is required. Printed, it shows no token.
//
// Without ActorToken the new token is the subject's (impersonation: whoever gets it can't tell it from the subject's own). With ActorToken it says that the actor acts for the
// subject (delegation, the act claim of section 4.1).
type ExchangeRequest struct {
	SubjectToken     string    // of whom the new token speaks
	SubjectTokenType TokenType // empty: TypeAccessToken
	ActorToken       string    // of who acts for the subject; empty: nobody
	ActorTokenType   TokenType // empty, with ActorToken: TypeAccessToken

	RequestedTokenType TokenType // what the answer must be; empty: the provider decides
	Scopes             []string  // scope; nil: not sent
	Audiences          []string  // audience: the services that will take the token, by the names the provider has for them
	Resources          []string  // resource (RFC 8707): the same by their URLs

	// SubjectIssuer is Keycloak's subject_issuer: the alias of the identity provider whose token SubjectToken is, where that is not Keycloak itself (external to internal). Its
	// SubjectTokenType is TypeJWT or TypeAccessToken.
	SubjectIssuer string
	// RequestedIssuer is Keycloak's requested_issuer: the alias of the identity provider whose token of the user is wanted (internal to external).
	RequestedIssuer string

	Extra url.Values // further parameters; one that has a field above, or that the protocol owns, is an error
}

// String names what is asked for, and shows no token.
func (r ExchangeRequest) String() string {
	return fmt.Sprintf("rp.ExchangeRequest{SubjectTokenType: %q, Actor: %t, RequestedTokenType: %q, Scopes: %q, Audiences: %q, Resources: %q}",
		r.SubjectTokenType, r.ActorToken != "", r.RequestedTokenType, r.Scopes, r.Audiences, r.Resources)
}

// Format prints String for every verb.
func (r ExchangeRequest) Format(f fmt.State, _ rune) { io.WriteString(f, r.String()) }

// LogValue is String.
func (r ExchangeRequest) LogValue() slog.Value { return slog.StringValue(r.String()) }

// Exchanged is what a token exchange yields. Printed, it shows no token.
type Exchanged struct {
	// Tokens has the token in OAuth2.AccessToken whatever it is: RFC 8693 section 2.2.1 keeps the name for reasons of history. Only one whose OAuth2.TokenType is Bearer can be
	// sent to an API; "N_A" is for others. It is for its audience to verify; an ID token beside it is for this client, and has been verified.
	Tokens *Tokens
	// IssuedTokenType is what the token is. Empty only with Quirks.NoIssuedTokenType.
	IssuedTokenType TokenType
}

// String tells what is there, and shows no token.
func (e Exchanged) String() string {
	return fmt.Sprintf("rp.Exchanged{IssuedTokenType: %q, Tokens: %v}", e.IssuedTokenType, e.Tokens)
}

// Format prints String for every verb.
func (e Exchanged) Format(f fmt.State, _ rune) { io.WriteString(f, e.String()) }

// LogValue is String.
func (e Exchanged) LogValue() slog.Value { return slog.StringValue(e.String()) }

// exchangeOwned are the parameters that ExchangeRequest.Extra can't set, besides notParams.
var exchangeOwned = []string{"subject_token", "subject_token_type", "actor_token", "actor_token_type", "requested_token_type", "subject_issuer", "requested_issuer", ""}

// grant checks r and makes the token request of it.
func (r *ExchangeRequest) grant() (GrantRequest, error) {
	bad := func(format string, args ...any) (GrantRequest, error) {
		return GrantRequest{}, fmt.Errorf("rp: ExchangeRequest."+format, args...)
	}
	params := url.Values{}
	for name, values := range r.Extra {
		if slices.Contains(notParams, name) || slices.Contains(exchangeOwned, name) {
			return bad("Extra must not set %q: it belongs to the protocol or has a field of its own", printable(name, 64))
		}
		params[name] = values
	}
	switch {
	case r.SubjectToken == "":
		return bad("SubjectToken is missing")
	case r.ActorToken == "" && r.ActorTokenType != "":
		return bad("ActorTokenType is set, but ActorToken is not (RFC 8693 section 2.1)")
	}
	for _, s := range r.Scopes {
		if !validScope(s) {
			return bad("Scopes: %q is no scope (RFC 6749 section 3.3)", printable(s, 64))
		}
	}
	for _, target := range r.Resources {
		if u, err := url.Parse(target); err != nil || !u.IsAbs() || strings.Contains(target, "#") {
			return bad("Resources: each must be an absolute URI without fragment (RFC 8693 section 2.1); a name goes to Audiences")
		}
	}
	kinds := map[string]TokenType{"subject_token_type": r.SubjectTokenType, "requested_token_type": r.RequestedTokenType}
	if r.SubjectTokenType == "" {
		kinds["subject_token_type"] = TypeAccessToken
	}
	if r.ActorToken != "" {
		params.Set("actor_token", r.ActorToken)
		kinds["actor_token_type"] = r.ActorTokenType
		if r.ActorTokenType == "" {
			kinds["actor_token_type"] = TypeAccessToken
		}
	}
	for name, kind := range kinds {
		if kind == "" {
			continue
		}
		if u, err := url.Parse(string(kind)); err != nil || !u.IsAbs() {
			return bad("%s is %q, which is no token type identifier; see TypeAccessToken (RFC 8693 section 3)", name, printable(string(kind), 64))
		}
		params.Set(name, string(kind))
	}
	params.Set("subject_token", r.SubjectToken)
	for name, value := range map[string]string{"subject_issuer": r.SubjectIssuer, "requested_issuer": r.RequestedIssuer} {
		if value != "" {
			params.Set(name, value)
		}
	}
	return GrantRequest{Type: exchangeGrant, Scopes: r.Scopes, Audiences: r.Audiences, Resources: r.Resources, Params: params}, nil
}

// Exchange trades a token for another one: of fewer rights, for another service, of another kind, of another provider (RFC 8693).
// It sends nothing twice, and the end of ctx does not cut the request short. Tokens.Scope is as asked when the provider is silent.
//
// An answer that does not say what it issued, or issued something else than RequestedTokenType, is a *ProviderError: whoever can't say what a token is can't say where it may be sent.
// Errors: *ProviderError (Code "invalid_target" when the provider will not issue for these Audiences or Resources, "invalid_request" also when it does not like one of the tokens),
// ErrUnavailable, *TokenError (ErrInvalidToken), or a mistake in req.
func (c *Client) Exchange(ctx context.Context, req ExchangeRequest) (*Exchanged, error) {
	g, err := req.grant()
	if err != nil {
		return nil, err
	}
	tok, md, err := c.ask(ctx, g, "N_A")
	if err != nil {
		return nil, err
	}
	said, _ := tok.Extra("issued_token_type").(string)
	issued := TokenType(said)
	if err := c.checkIssued(issued, req.RequestedTokenType, tok.TokenType); err != nil {
		return nil, &ProviderError{Endpoint: "token", Status: 200, Err: err}
	}
	t, err := c.finishTokens(ctx, md, tok, expected{})
	if err != nil {
		return nil, err
	}
	if t.Scope == nil {
		t.Scope = slices.Clone(req.Scopes)
	}
	return &Exchanged{Tokens: t, IssuedTokenType: issued}, nil
}

// checkIssued compares what was issued with what was asked for and with token_type (RFC 8693 section 2.2.1).
func (c *Client) checkIssued(issued, asked TokenType, use string) error {
	switch {
	case issued == "" && !c.cfg.Quirks.NoIssuedTokenType:
		return errors.New("the answer has no issued_token_type (RFC 8693 section 2.2.1); Quirks.NoIssuedTokenType accepts that")
	case issued != "" && asked != "" && issued != asked:
		return fmt.Errorf("issued_token_type is %q, but %q was asked for", printable(string(issued), 128), asked)
	case strings.EqualFold(use, "N_A") && (issued == TypeAccessToken || issued == "" && (asked == "" || asked == TypeAccessToken)):
		return errors.New("token_type is N_A, which no access token is (RFC 8693 section 2.2.1)")
	}
	return nil
}
