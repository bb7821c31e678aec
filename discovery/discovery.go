// Package discovery is what one issuer publishes about itself, its metadata and its keys: fetched on first use, checked, cached,
// bounded, and kept through outages.
//
//	provider, err := discovery.New(discovery.Config{Issuer: "https://login.example"}) // no I/O
//	metadata, err := provider.Metadata(ctx)                                            // fetched once, renewed in time
//	payload, err := provider.KeySet("RS256").VerifySignature(ctx, token)               // keys fetched once, renewed in time
//
// A document is used for its HTTP lifetime, within bounds. From 80 % of it on, use renews it in the background; when it is over,
// callers wait for the one renewal, and if that fails they get the old document until Config.MaxStale has passed. Between failed
// attempts lie 1 s, then twice as long each time up to 1 min (4 s as long as there is nothing to serve), or what Retry-After says.
// A document that is wrong, too long, not JSON or of another issuer never replaces a good one.
//
// Fetches belong to no caller: each ends by its own time-out, and a caller that waits leaves when its context ends. There is
// nothing to close: no goroutine outlives a fetch, and no timer a cool-down.
package discovery

import (
	"context"
	"errors"
	"net/http"

	"github.com/latchkey-go/latchkey/internal/fetch"
)

// Provider is one issuer's metadata and keys. It is safe for concurrent use. The zero Provider answers with errors; use New.
type Provider struct {
	cfg    Config
	http   *http.Client
	places []string  // of the metadata
	fixed  *Metadata // Config.Metadata
	static *keys     // Config.Keys

	metadata *document[*Metadata]
	keys     *document[*keys]
}

// New checks cfg and does no I/O, so that a provider that is down never stops a program from starting.
func New(cfg Config) (*Provider, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &Provider{cfg: cfg, http: fetch.Client(cfg.HTTPClient, timeout), places: wellKnown(cfg.Issuer)}
	if cfg.DiscoveryURL != "" {
		p.places = []string{cfg.DiscoveryURL}
	}
	if cfg.Metadata != nil {
		fixed := *cfg.Metadata
		fixed.Issuer = cfg.Issuer
		p.fixed = &fixed
	}
	if p.static, err = cfg.staticKeys(); err != nil {
		return nil, err
	}
	p.metadata = &document[*Metadata]{
		name: "metadata", where: func() string { return name(p.places[0]) }, fetch: p.fetchMetadata,
		timeout: timeout, maxStale: cfg.MaxStale, cooldown: cfg.Cooldown, log: cfg.Logger,
	}
	p.keys = &document[*keys]{
		name: "keys", where: p.keysURL, fetch: p.fetchKeys, succeed: succeedKeys,
		timeout:  2 * timeout, // the metadata may have to be fetched first
		maxStale: cfg.MaxStale, cooldown: cfg.Cooldown, log: cfg.Logger,
	}
	return p, nil
}

// Issuer returns the configured issuer.
func (p *Provider) Issuer() string { return p.cfg.Issuer }

// Metadata returns the provider's metadata, fetching it on first use and refreshing it in time. The result is shared and must not
// be changed. Errors match ErrUnavailable.
func (p *Provider) Metadata(ctx context.Context) (*Metadata, error) {
	if p.fixed != nil {
		return p.fixed, nil
	}
	if p.metadata == nil {
		return nil, &UnavailableError{Err: errors.New("a Provider is made by New")}
	}
	s, err := p.metadata.get(ctx)
	if err != nil {
		return nil, err
	}
	return s.value, nil
}

// keysURL is where the keys come from, as far as is known without asking.
func (p *Provider) keysURL() string {
	if p.fixed != nil {
		return name(p.fixed.JWKSURI)
	}
	if s := p.metadata.current.Load(); s != nil {
		return name(s.value.JWKSURI)
	}
	return "jwks_uri of " + p.cfg.Issuer
}
