package rp

import (
	"context"
	"errors"
	"net/url"
)

// Revoke revokes a token (RFC 7009 section 2.1). hint: "refresh_token", "access_token" or "". A token the provider does not know counts as revoked.
// Errors: ErrNoEndpoint when the provider has no revocation endpoint; *ProviderError, with Code "unsupported_token_type" when it can't revoke this kind; ErrUnavailable.
func (c *Client) Revoke(ctx context.Context, token, hint string) error {
	if token == "" {
		return errors.New("rp: Revoke needs a token")
	}
	md, err := c.provider.Metadata(ctx)
	if err != nil {
		return err
	}
	target, err := c.endpoint("revocation_endpoint", md.RevocationEndpoint)
	if err != nil {
		return err
	}
	form := url.Values{"token": {token}}
	if hint != "" {
		form.Set("token_type_hint", hint)
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	_, err = c.call(ctx, "revocation", target, form)
	return err
}
