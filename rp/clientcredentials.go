package rp

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
)

// maxCredentials bounds how many different client credentials tokens a Client keeps: whoever makes scopes out of requests would fill the memory.
const maxCredentials = 1000

// CredentialsSource is an access token of the client itself, kept fresh in memory: an oauth2.TokenSource. It is safe for concurrent use, and all sources of one Client for the
// same scope, audience and resource share one token: making one for each call costs nothing.
type CredentialsSource struct {
	ctx    context.Context
	scopes []string
	mint   *mint
	err    error // of GrantRequest
}

// credentials are a Client's mints.
type credentials struct {
	mu    sync.Mutex
	mints map[string]*mint
}

// ClientCredentials returns an access token of the client itself with these scopes (RFC 6749 section 4.4). It is fetched when it is first asked for, once however many ask, and
// ahead of its end from then on. ctx is what Token waits under.
func (c *Client) ClientCredentials(ctx context.Context, scopes ...string) *CredentialsSource {
	return c.ClientCredentialsFor(ctx, GrantRequest{Scopes: scopes})
}

// ClientCredentialsFor is ClientCredentials for an audience, a resource (RFC 8707) or with a provider's own parameters. Type must be empty, or client_credentials.
func (c *Client) ClientCredentialsFor(ctx context.Context, g GrantRequest) *CredentialsSource {
	s := &CredentialsSource{ctx: ctx, scopes: slices.Clone(g.Scopes)}
	if g.Type != "" && g.Type != "client_credentials" {
		s.err = fmt.Errorf("rp: ClientCredentialsFor got a GrantRequest of type %q", printable(g.Type, 64))
		return s
	}
	g.Type = "client_credentials"
	key := g.key()
	c.credentials.mu.Lock()
	defer c.credentials.mu.Unlock()
	if s.mint = c.credentials.mints[key]; s.mint != nil {
		return s
	}
	if len(c.credentials.mints) >= maxCredentials {
		for k, m := range c.credentials.mints { // those nobody uses any more go first
			if cur := m.current.Load(); cur == nil || !cur.usable(time.Now()) {
				delete(c.credentials.mints, k)
			}
		}
		if len(c.credentials.mints) >= maxCredentials {
			s.err = fmt.Errorf("rp: this client keeps %d different client credentials tokens already; scopes and audiences come from a list, not from requests", maxCredentials)
			return s
		}
	}
	g = g.clone() // the caller's slices stay the caller's
	s.mint = &mint{log: c.log, fetch: func(ctx context.Context, _ *minted, _ *minting) (*minted, error) {
		leave, err := c.respite.enter()
		if err != nil {
			return nil, err
		}
		var tokens *Tokens
		defer func() { leave(err) }()
		tokens, err = c.grant(ctx, g)
		if err != nil {
			c.log.LogAttrs(ctx, slog.LevelWarn, "rp: no client credentials token", slog.String("scope", strings.Join(g.Scopes, " ")), slog.Any("error", err))
			return nil, err
		}
		// A refresh token should not come (RFC 6749 section 4.4.3), and is of no use.
		return newMinted(&oauth2.Token{AccessToken: tokens.OAuth2.AccessToken, TokenType: tokens.OAuth2.TokenType, Expiry: tokens.OAuth2.Expiry}, time.Now()), nil
	}}
	c.credentials.mints[key] = s.mint
	return s
}

// key tells requests for different tokens apart. The order of scopes, audiences and resources means nothing.
func (g GrantRequest) key() string {
	var b strings.Builder
	for _, list := range [][]string{g.Scopes, g.Audiences, g.Resources} {
		sorted := slices.Compact(slices.Sorted(slices.Values(list)))
		fmt.Fprintf(&b, "%q;", sorted)
	}
	b.WriteString(g.Params.Encode()) // sorted by name
	return b.String()
}

// Token implements oauth2.TokenSource: TokenContext under the context that the source was made with.
func (s *CredentialsSource) Token() (*oauth2.Token, error) {
	if s == nil {
		return nil, errNoSource
	}
	return s.TokenContext(s.ctx)
}

// TokenContext returns an access token that can be used now; it waits only when there is none, and no longer than ctx. After a failure nobody asks the provider for a second, later for
// up to a minute, or as long as Retry-After says: until then every caller gets that error. Errors: as Client.Grant.
func (s *CredentialsSource) TokenContext(ctx context.Context) (*oauth2.Token, error) {
	switch {
	case s == nil || s.mint == nil && s.err == nil:
		return nil, errNoSource
	case s.err != nil:
		return nil, s.err
	}
	return s.mint.get(ctx)
}

// Invalidate says that a resource server has refused this access token: the next TokenContext gets another, unless this one came less than ten seconds ago.
func (s *CredentialsSource) Invalidate(accessToken string) {
	if s != nil && s.mint != nil {
		s.mint.invalidate(accessToken)
	}
}

// String names the scopes.
func (s *CredentialsSource) String() string { return fmt.Sprintf("rp.CredentialsSource(%q)", s.scopes) }

// Format prints String for every verb.
func (s *CredentialsSource) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue is String.
func (s *CredentialsSource) LogValue() slog.Value { return slog.StringValue(s.String()) }
