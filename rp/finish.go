package rp

import (
	"context"
	"net/url"
)

// Finish checks the answer to login (the callback's query or form values; every value, duplicates are refused), redeems the code once, and verifies the ID token.
// Errors: *ProviderError (the provider said no), ErrMismatch, *TokenError (ErrInvalidToken), ErrUnavailable.
func (c *Client) Finish(ctx context.Context, login *Login, answer url.Values) (*Tokens, error) {
	panic("todo")
}

