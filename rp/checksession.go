package rp

import "context"

// maxSessionState bounds a session_state, in bytes: it is kept with the session, perhaps in a cookie. A hash and a salt take a hundred.
const maxSessionState = 512

// CheckSessionIframe is the provider's page that tells whether a session_state still holds, for a frame (Session Management 1.0 section 3.3).
// ErrNoEndpoint: the provider has none. discovery.ErrUnavailable when the metadata can't be had.
func (c *Client) CheckSessionIframe(ctx context.Context) (string, error) {
	md, err := c.provider.Metadata(ctx)
	if err != nil {
		return "", err
	}
	return c.endpoint("check_session_iframe", md.CheckSessionIframe)
}

// AuthorizationEndpoint is where logins lead to. Errors as of CheckSessionIframe.
func (c *Client) AuthorizationEndpoint(ctx context.Context) (string, error) {
	md, err := c.provider.Metadata(ctx)
	if err != nil {
		return "", err
	}
	return c.endpoint("authorization_endpoint", md.AuthorizationEndpoint)
}

// sessionState lets through what can be one: visible ASCII without a space, which separates it from the client id in the message to the provider's frame.
func sessionState(s string) string {
	if len(s) > maxSessionState {
		return ""
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return ""
		}
	}
	return s
}
