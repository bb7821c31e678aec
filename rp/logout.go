package rp

import "context"

// EndSessionURL is where the browser goes to log out at the provider (RP-Initiated Logout 1.0), "" when the provider has no such endpoint.
// state may be empty. Uses cached metadata; an unreachable provider is ErrUnavailable.
func (c *Client) EndSessionURL(ctx context.Context, rawIDToken, state string) (string, error) {
	panic("todo")
}
