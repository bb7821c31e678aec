package rp

import "context"

// UserInfo fetches the UserInfo claims (Core 5.3); sub must equal subject. ErrNoEndpoint when the provider has none.
func (c *Client) UserInfo(ctx context.Context, accessToken, subject string) (Claims, error) {
	panic("todo")
}
