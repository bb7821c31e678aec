package rp

import "context"

// Refresh uses tokens' refresh token once. prev is the ID token of the login (or its last refresh); a new ID token must agree with it (Core 12.2).
// When no refresh token comes back the old one is kept in the result. It never sends the token twice. Errors as Finish;
// *ProviderError with Code "invalid_grant" (any 400/401 of the token endpoint counts, see IsInvalidGrant): the session is over.
func (c *Client) Refresh(ctx context.Context, refreshToken string, prev *IDToken) (*Tokens, error) {
	panic("todo")
}

