package rp

import (
	"context"
	"errors"
	"net/url"
	"slices"
)

// DeprecatedPassword trades a user's name and password for tokens (RFC 6749 section 4.3). Scopes are sent as they are: none, no scope; with "openid" an ID token may come.
// Errors: *ProviderError (IsInvalidGrant is true when name or password are wrong), ErrUnavailable, *TokenError (ErrInvalidToken).
//
// Deprecated: RFC 9700 section 2.4 forbids this grant: the application sees the password, nothing but a password can be asked for, and users learn to type it in anywhere. It is here
// for moving an application away from it, a client at a time: to Begin and Finish, to Device where there is no browser, to ClientCredentials where there is no user.
func (c *Client) DeprecatedPassword(ctx context.Context, username, password string, scopes ...string) (*Tokens, error) {
	if username == "" || password == "" {
		return nil, errors.New("rp: DeprecatedPassword needs a name and a password")
	}
	t, err := c.grant(ctx, GrantRequest{Type: "password", Scopes: scopes, Params: url.Values{"username": {username}, "password": {password}}})
	if err == nil && t.Scope == nil {
		t.Scope = slices.Clone(scopes)
	}
	return t, err
}
