package rp

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"golang.org/x/oauth2"
)

// Refresh uses a refresh token once. prev is the ID token of the login (or its last refresh); a new ID token must agree with it (Core 12.2);
// nil leaves that comparison out, for a caller that never had one. An answer without ID token is fine: Tokens.IDToken is nil then.
// Tokens.Scope is nil when the provider is silent: unchanged. When no refresh token comes back the old one is kept in the result.
//
// It never sends the token twice, and the end of ctx does not cut the request short: a provider that rotates has thrown the old token away
// by then, and its answer holds the only new one. Config.Timeout bounds it.
//
// Errors as Finish. After an error for which IsInvalidGrant is true the session is over; after ErrUnavailable it may go on.
// When the answer came but its ID token could not be checked because the keys are out of reach, the error is ErrUnavailable and
// Tokens is not nil: it holds the new refresh token with its end, and nothing else. Save it in place of the old one.
func (c *Client) Refresh(ctx context.Context, refreshToken string, prev *IDToken) (*Tokens, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if refreshToken == "" {
		return nil, errors.New("rp: no refresh token; ask for one with the provider's own means, mostly the scope offline_access")
	}
	md, err := c.provider.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	conf, err := c.oauth2Config(md)
	if err != nil {
		return nil, err
	}
	tctx, cancel := c.tokenContext(ctx, md)
	defer cancel()
	tok, err := conf.TokenSource(tctx, &oauth2.Token{RefreshToken: refreshToken}).Token()
	if err != nil {
		return nil, tokenError(err)
	}
	answered := time.Now()
	tokens, err := c.finishTokens(ctx, md, tok, expected{prev: prev})
	if errors.Is(err, ErrUnavailable) {
		return &Tokens{OAuth2: &oauth2.Token{RefreshToken: tok.RefreshToken}, RefreshExpiry: refreshExpiry(tok, answered)}, err
	}
	return tokens, err
}

// notTheGrant are the token endpoint's codes which blame the client, the request or the moment, not the refresh token.
var notTheGrant = []string{"invalid_client", "unauthorized_client", "unsupported_grant_type", "temporarily_unavailable", "server_error", "slow_down", "use_dpop_nonce", "invalid_dpop_proof"}

// IsInvalidGrant reports whether err, from Refresh, means that the refresh token is spent, revoked or expired: the session is over, and
// trying again is no use. Providers say so in many ways (invalid_grant, dex's invalid_request, glewlwyd's empty 400), so every 400 and 401
// counts except those that blame the client (invalid_client after a botched change of secret must not end all sessions) or the moment.
func IsInvalidGrant(err error) bool {
	e, ok := errors.AsType[*ProviderError](err)
	if !ok || e.Endpoint != "token" {
		return false
	}
	if e.Code == "invalid_grant" {
		return e.Status < 500
	}
	return (e.Status == http.StatusBadRequest || e.Status == http.StatusUnauthorized) && !slices.Contains(notTheGrant, e.Code)
}
