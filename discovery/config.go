package discovery

import (
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/internal/fetch"
	"github.com/latchkey-go/latchkey/internal/jws"
)

// Config configures New. Only Issuer is required.
type Config struct {
	// Issuer is the exact issuer identifier. It may hold the literal {tenantid}, as Microsoft Entra's multi-tenant documents do:
	// the document's issuer must then equal it literally (package rp compares tokens), and DiscoveryURL must say where that document is.
	Issuer string
	// DiscoveryURL is where the document is, when it is not at a well-known place under Issuer (Azure AD B2C, Oracle IDCS, Entra,
	// Kubernetes). Empty: OpenID's form (issuer less one trailing slash + /.well-known/openid-configuration), and on 404
	// RFC 8414's (well-known inserted before the path).
	DiscoveryURL string
	// Metadata is used in place of discovery; its Issuer may be empty.
	Metadata *Metadata
	// Keys are used in place of the JWKS.
	Keys []Key
	// HTTPClient makes every outbound call; nil means http.DefaultTransport. Redirects are never followed, cookies are not kept,
	// and the time-out is 10 s, or the client's own if shorter.
	HTTPClient *http.Client
	// MinLifetime and MaxLifetime bound how long a document or key set is used without asking again, whatever the HTTP headers say.
	// Zeros: 5 minutes, 24 hours; a document without caching headers lives 1 hour.
	MinLifetime, MaxLifetime time.Duration
	// MaxStale is how long metadata and keys are used past their lifetime while the provider is down. Zero: 24 hours.
	MaxStale time.Duration
	// Cooldown is the least time between two fetches of the key set caused by unknown keys, after a burst of 2. Zero: 10 seconds.
	// A provider that publishes a new key for less time than that before it signs with it needs a smaller one.
	Cooldown time.Duration
	// InsecureLoopbackHTTP accepts http URLs whose host is a loopback address, for development.
	InsecureLoopbackHTTP bool
	// Logger gets outages and odd documents; nil: discarded.
	Logger *slog.Logger
}

// Key is a static verification key.
type Key struct {
	ID        string           // kid; empty (once) matches tokens without kid
	Algorithm string           // empty: any that fits the key
	Public    crypto.PublicKey // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

const (
	timeout         = fetch.DefaultTimeout
	defaultLifetime = time.Hour
	defaultMin      = 5 * time.Minute
	defaultMax      = 24 * time.Hour
	defaultStale    = 24 * time.Hour
	defaultCooldown = 10 * time.Second
)

// withDefaults returns cfg checked and with its zeros filled in.
func (cfg Config) withDefaults() (Config, error) {
	if cfg.Issuer == "" {
		return cfg, errors.New("discovery: Config.Issuer is missing; it is the exact iss of the provider's tokens")
	}
	if err := fetch.CheckURL(cfg.Issuer, cfg.InsecureLoopbackHTTP); err != nil {
		return cfg, fmt.Errorf("discovery: Config.Issuer: %w", err)
	}
	if strings.Contains(cfg.Issuer, "?") {
		return cfg, errors.New("discovery: Config.Issuer has a query; an issuer has none (RFC 8414 section 2): did you mean Config.DiscoveryURL?")
	}
	if err := cfg.checkPlace(); err != nil {
		return cfg, err
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		zero  time.Duration
	}{
		{"MinLifetime", &cfg.MinLifetime, defaultMin},
		{"MaxLifetime", &cfg.MaxLifetime, defaultMax},
		{"MaxStale", &cfg.MaxStale, defaultStale},
		{"Cooldown", &cfg.Cooldown, defaultCooldown},
	} {
		if *d.value < 0 {
			return cfg, fmt.Errorf("discovery: Config.%s is negative", d.name)
		}
		if *d.value == 0 {
			*d.value = d.zero
		}
	}
	if cfg.MinLifetime > cfg.MaxLifetime {
		return cfg, fmt.Errorf("discovery: Config.MinLifetime (%s) is over Config.MaxLifetime (%s); set both", cfg.MinLifetime, cfg.MaxLifetime)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg, nil
}

// checkPlace checks where the metadata comes from.
func (cfg Config) checkPlace() error {
	if cfg.Metadata != nil {
		if cfg.DiscoveryURL != "" {
			return errors.New("discovery: Config.Metadata and Config.DiscoveryURL exclude each other")
		}
		return cfg.checkMetadata()
	}
	if cfg.DiscoveryURL != "" {
		if err := fetch.CheckURL(cfg.DiscoveryURL, cfg.InsecureLoopbackHTTP); err != nil {
			return fmt.Errorf("discovery: Config.DiscoveryURL: %w", err)
		}
	}
	return nil
}

func (cfg Config) checkMetadata() error {
	m := *cfg.Metadata
	if m.Issuer == "" {
		m.Issuer = cfg.Issuer
	}
	if err := m.check(cfg.Issuer, len(cfg.Keys) == 0, cfg.InsecureLoopbackHTTP); err != nil {
		return fmt.Errorf("discovery: Config.Metadata: %w", err)
	}
	return nil
}

// staticKeys checks Config.Keys; nil means that the keys are fetched.
func (cfg Config) staticKeys() (*keys, error) {
	if len(cfg.Keys) == 0 {
		return nil, nil
	}
	set := &keys{byID: map[string][]*PublishedKey{}}
	for i, k := range cfg.Keys {
		if err := jws.CheckKey(k.Public); err != nil {
			return nil, fmt.Errorf("discovery: Config.Keys[%d] is %w", i, err)
		}
		if k.Algorithm != "" && !jws.Fits(k.Algorithm, k.Public) {
			return nil, fmt.Errorf("discovery: Config.Keys[%d] does not fit its Algorithm %q", i, k.Algorithm)
		}
		if k.ID == "" && len(set.byID[""]) > 0 {
			return nil, errors.New("discovery: Config.Keys has more than one key without ID")
		}
		static := &PublishedKey{id: k.ID, alg: k.Algorithm, public: k.Public}
		static.until.Store(math.MaxInt64)
		set.add(static)
	}
	return set, nil
}
