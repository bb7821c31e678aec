package rp

import "context"

// Revoke revokes a token (RFC 7009). hint: "refresh_token", "access_token" or "". ErrNoEndpoint when the provider has no revocation endpoint.
func (c *Client) Revoke(ctx context.Context, token, hint string) error { panic("todo") }
