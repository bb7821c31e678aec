package rp

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"slices"

	"github.com/latchkey-go/latchkey/discovery"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// GrantRequest is a token request of any grant type. The grants with methods of their own fill it in; with Client.Grant it serves an extension grant
// (RFC 6749 section 4.5).
type GrantRequest struct {
	Type      string     // grant_type
	Scopes    []string   // scope; nil: not sent
	Audiences []string   // audience, as RFC 8693 section 2.1 and some providers have it
	Resources []string   // resource (RFC 8707)
	Params    url.Values // the grant's own parameters; one that has a field above, or that authenticates the client, is an error
}

// String names the grant. It shows no parameter, which may be a secret.
func (g GrantRequest) String() string {
	return fmt.Sprintf("rp.GrantRequest{Type: %q, Scopes: %q, Audiences: %q, Resources: %q}", g.Type, g.Scopes, g.Audiences, g.Resources)
}

// Format prints String for every verb.
func (g GrantRequest) Format(f fmt.State, _ rune) { io.WriteString(f, g.String()) }

// LogValue is String.
func (g GrantRequest) LogValue() slog.Value { return slog.StringValue(g.String()) }

// clone copies what g points to: the caller's stays the caller's.
func (g GrantRequest) clone() GrantRequest {
	g.Scopes, g.Audiences, g.Resources = slices.Clone(g.Scopes), slices.Clone(g.Audiences), slices.Clone(g.Resources)
	params := url.Values{}
	for name, values := range g.Params {
		params[name] = slices.Clone(values)
	}
	g.Params = params
	return g
}

// notParams are what GrantRequest.Params can't set.
var notParams = []string{"grant_type", "scope", "audience", "resource", "client_id", "client_secret", "client_assertion", "client_assertion_type"}

// Grant sends one token request, authenticated as this client, and verifies the ID token of the answer, if there is one. It sends nothing twice, and the end of ctx does
// not cut the request short, as with Refresh. Tokens.Scope is nil when the provider is silent: as asked.
// Errors: *ProviderError, ErrUnavailable, *TokenError (ErrInvalidToken), or a mistake in g.
func (c *Client) Grant(ctx context.Context, g GrantRequest) (*Tokens, error) {
	return c.grant(ctx, g)
}

// grant is Grant; types are the token types taken besides Bearer.
func (c *Client) grant(ctx context.Context, g GrantRequest, types ...string) (*Tokens, error) {
	tok, md, err := c.ask(ctx, g, types...)
	if err != nil {
		return nil, err
	}
	return c.finishTokens(ctx, md, tok, expected{})
}

// ask is grant without the verification of what came.
func (c *Client) ask(ctx context.Context, g GrantRequest, types ...string) (*oauth2.Token, *discovery.Metadata, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if g.Type == "" {
		return nil, nil, fmt.Errorf("rp: GrantRequest.Type is missing")
	}
	for _, name := range notParams {
		if g.Params.Has(name) {
			return nil, nil, fmt.Errorf("rp: GrantRequest.Params must not set %s", name)
		}
	}
	md, err := c.provider.Metadata(ctx)
	if err != nil {
		return nil, nil, err
	}
	target, err := c.oauth2Config(md)
	if err != nil {
		return nil, nil, err
	}
	g = g.clone()
	g.Params.Set("grant_type", g.Type)
	for name, values := range map[string][]string{"audience": g.Audiences, "resource": g.Resources} {
		if len(values) > 0 {
			g.Params[name] = values
		}
	}
	// x/oauth2 lets this one carry any grant.
	conf := clientcredentials.Config{
		ClientID: target.ClientID, TokenURL: target.Endpoint.TokenURL, AuthStyle: target.Endpoint.AuthStyle,
		Scopes: g.Scopes, EndpointParams: g.Params,
	}
	tctx, cancel := c.tokenContext(ctx, md, types...)
	defer cancel()
	tok, err := conf.Token(tctx)
	if err != nil {
		return nil, nil, tokenError(err)
	}
	return tok, md, nil
}
