package rp

import (
	"context"
	"net/url"

	"github.com/latchkey-go/latchkey/internal/fetch"
)

// maxAnswer is the longest answer of an endpoint that is read, in bytes.
const maxAnswer = 512 << 10

// call POSTs form to an endpoint of the provider, authenticated as this client. endpoint names it in errors ("revocation").
// Any 2xx is an answer; anything else is a *ProviderError; a provider that can't be reached is ErrUnavailable.
func (c *Client) call(ctx context.Context, endpoint, target string, form url.Values) (*fetch.Response, error) {
	panic("todo")
}

// providerError reads a failure's body: an OAuth error object, or nothing that can be used.
func providerError(endpoint string, r *fetch.Response) *ProviderError { panic("todo") }
