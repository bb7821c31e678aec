package rp

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
	"github.com/latchkey-go/latchkey/internal/fetch"
	"github.com/latchkey-go/latchkey/rp/clientauth"
)

// Client is one client at one provider; safe for concurrent use. Printed, it shows what Config shows.
type Client struct {
	cfg      *Config // not by value: fmt follows a pointer to this struct past its Formatter when it is in an unexported field, and with %s
	provider *discovery.Provider
	http     *http.Client // every call: no redirects, no cookies, a time-out
	timeout  time.Duration
	leeway   time.Duration
	log      *slog.Logger

	credentials *credentials // an access token for each scope, audience and resource
	respite     *respite     // of the token endpoint
}

// New checks cfg and does no I/O.
func New(cfg Config) (*Client, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Scopes == nil {
		cfg.Scopes = []string{"profile", "email"}
	}
	cfg.Scopes = scopeList(cfg.Scopes)
	// The caller's slices stay the caller's: changing one later changes no running client.
	cfg.Quirks.IssuerAliases = slices.Clone(cfg.Quirks.IssuerAliases)
	cfg.Quirks.Tenants = slices.Clone(cfg.Quirks.Tenants)
	cfg.Quirks.TrustedAudiences = slices.Clone(cfg.Quirks.TrustedAudiences)
	c := &Client{
		cfg:      &cfg,
		provider: cfg.Provider,
		timeout:  cmp.Or(cfg.Timeout, defaultTimeout),
		leeway:   cmp.Or(cfg.Leeway, defaultLeeway),
		log:      cfg.Logger,

		credentials: &credentials{mints: map[string]*mint{}},
		respite:     &respite{},
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.provider == nil {
		p, err := discovery.New(discovery.Config{
			Issuer:               cfg.Issuer,
			DiscoveryURL:         cfg.DiscoveryURL,
			HTTPClient:           cfg.HTTPClient,
			InsecureLoopbackHTTP: cfg.InsecureLoopbackHTTP,
			Logger:               cfg.Logger,
		})
		if err != nil {
			return nil, fmt.Errorf("rp: %w", err)
		}
		c.provider = p
	}
	c.http = fetch.Client(cfg.HTTPClient, c.timeout)
	if t, ok := cfg.Auth.(clientauth.Transporter); ok {
		base := c.http.Transport
		if base == nil {
			base = http.DefaultTransport
		}
		c.http.Transport = t.Transport(base)
	}
	return c, nil
}

// Issuer returns Config.Issuer.
func (c *Client) Issuer() string { return c.cfg.Issuer }

// ClientID returns Config.ClientID.
func (c *Client) ClientID() string { return c.cfg.ClientID }

// RedirectURL returns Config.RedirectURL.
func (c *Client) RedirectURL() string { return c.cfg.RedirectURL }

// PostLogoutRedirectURL returns Config.PostLogoutRedirectURL.
func (c *Client) PostLogoutRedirectURL() string { return c.cfg.PostLogoutRedirectURL }

// Leeway returns Config.Leeway, or its default.
func (c *Client) Leeway() time.Duration { return c.leeway }

// ResponseMode returns Config.ResponseMode: "" (the answer comes in the query) or "form_post" (in a POST's form).
func (c *Client) ResponseMode() string { return c.cfg.ResponseMode }

// Scopes returns the scopes every login asks for, "openid" first.
func (c *Client) Scopes() []string { return slices.Clone(c.cfg.Scopes) }

// Metadata returns the provider's metadata; main may call it to fail early. ErrUnavailable when it can't be had.
func (c *Client) Metadata(ctx context.Context) (*discovery.Metadata, error) {
	return c.provider.Metadata(ctx)
}

// auth is the client authentication for the provider md describes. Configuration wins over metadata: some providers
// list only "none", or nothing, although secrets are what they take.
func (c *Client) auth(md *discovery.Metadata) clientauth.Method {
	listed := md.TokenEndpointAuthMethodsSupported
	switch {
	case c.cfg.Auth != nil:
		return c.cfg.Auth
	case c.cfg.ClientSecret == "":
		return clientauth.None()
	case slices.Contains(listed, "client_secret_post") && !slices.Contains(listed, "client_secret_basic"):
		return clientauth.Post(c.cfg.ClientSecret)
	default:
		return clientauth.Basic(c.cfg.ClientSecret)
	}
}

// endpoint checks the URL of an endpoint from the metadata, named as RFC 8414 names it, before anything is sent to it.
func (c *Client) endpoint(name, raw string) (string, error) {
	if raw == "" {
		return "", fmt.Errorf("%w: its metadata has no %s", ErrNoEndpoint, name)
	}
	if err := fetch.CheckURL(raw, c.cfg.InsecureLoopbackHTTP); err != nil {
		return "", fmt.Errorf("rp: the provider's %s: %w", name, err)
	}
	return raw, nil
}

// String shows what Config shows.
func (c *Client) String() string { return "rp.Client of " + c.cfg.String() }

// Format prints String for every verb.
func (c *Client) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue is String.
func (c *Client) LogValue() slog.Value { return slog.StringValue(c.String()) }
