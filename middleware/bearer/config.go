package bearer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"time"
)

// Config configures New. Issuer and Audience are enough for a provider that follows RFC 9068.
type Config struct {
	// Issuer is the exact iss of the tokens.
	Issuer string
	// Audience is the name of this API in the aud of its tokens; Audiences are further names, any of which will do.
	Audience  string
	Audiences []string
	// Profile says where Issuer's tokens differ from RFC 9068. Zero: nowhere.
	Profile Profile
	// Introspection asks Issuer about tokens that are no JWTs (RFC 7662). Nil: they are refused.
	Introspection *Introspection

	// Issuers are further issuers, each with its profile.
	Issuers []Issuer
	// IssuerFor is asked about an iss that is none of the above, before anything is fetched for it: nil, nil refuses it. It is asked for every token
	// that the cache does not have, forged ones too, so answer from memory. An error means that nobody knows (503).
	// Of what it returns keys are kept for as long as it returns the same.
	IssuerFor func(ctx context.Context, iss string) (*Issuer, error)

	// Revoked is asked about every good token, whether it was verified now or is in the cache: does it count no more? It is for deny lists by Token.ID,
	// Token.SessionID or Token.Subject. An error means that nobody knows (503). Nil: none is revoked.
	Revoked func(ctx context.Context, t *Token) (bool, error)
	// Leeway is the clock skew accepted. Zero: 60 seconds; at most 5 minutes.
	Leeway time.Duration
	// Cache bounds the memory of verified tokens.
	Cache Cache
	// MaxVerifying bounds the signatures checked at once, so that a flood of forged tokens takes no more than its share of the processors. Half of them
	// are kept for parties whose tokens have been good before. Zero: twice GOMAXPROCS; at least 2.
	MaxVerifying int

	// Realm is the realm of challenges. Empty: Audience.
	Realm string
	// Resource describes this API to clients (RFC 9728): challenges then say where MetadataHandler serves it. Nil: they don't.
	Resource *Resource
	// FormBody also accepts a token as access_token in an application/x-www-form-urlencoded body of at most 1 MiB (RFC 6750 section 2.2). The query never counts.
	FormBody bool
	// Preflight lets CORS preflights through, OPTIONS requests that browsers send without credentials; a CORS handler behind answers them.
	Preflight bool
	// Failed answers in place of the problem documents. The challenge, Cache-Control and Retry-After are set already.
	Failed func(w http.ResponseWriter, r *http.Request, f *Failure)

	// HTTPClient makes every outbound call; see discovery.Config.HTTPClient. Nil: http.DefaultTransport.
	HTTPClient *http.Client
	// InsecureLoopbackHTTP accepts http URLs whose host is a loopback address, for development.
	InsecureLoopbackHTTP bool
	// Logger gets outages, and at debug level why each request was refused. Nil: slog.Default().
	Logger *slog.Logger
}

// Cache bounds the memory of verified tokens: a token seen before costs one hash. An entry ends with its token, with the key that signed it, and with
// MaxAge, whichever is first. Only tokens that passed every check are kept, under the hash of their whole text. What belongs to one request (rules, scopes,
// Config.Revoked) is decided every time.
type Cache struct {
	// Off verifies every token every time.
	Off bool
	// MaxEntries is how many tokens are kept. Zero: 16,384.
	MaxEntries int
	// MaxBytes is how much memory their claims may take, roughly. Zero: 32 MiB.
	MaxBytes int64
	// MaxAge is how long a token is taken as verified. Zero: 5 minutes. Keys are renewed when tokens are verified, not when they are found here, so it is also how long
	// after the end of the key set's lifetime a withdrawn key may be noticed at the latest.
	MaxAge time.Duration
}

const (
	defaultLeeway     = time.Minute
	maxLeeway         = 5 * time.Minute
	defaultMaxEntries = 16 << 10
	defaultMaxBytes   = 32 << 20
	defaultMaxAge     = 5 * time.Minute
)

func (cfg *Config) audiences() []string {
	if cfg.Audience == "" {
		return cfg.Audiences
	}
	return append([]string{cfg.Audience}, cfg.Audiences...)
}

// fill replaces zeros by their defaults and refuses what makes no sense.
func (cfg *Config) fill() error {
	if cfg.Leeway < 0 || cfg.Leeway > maxLeeway {
		return fmt.Errorf("bearer: Config.Leeway is %s; 0 to %s are possible", cfg.Leeway, maxLeeway)
	}
	if cfg.Leeway == 0 {
		cfg.Leeway = defaultLeeway
	}
	c := &cfg.Cache
	if c.Off && (c.MaxEntries != 0 || c.MaxBytes != 0 || c.MaxAge != 0) {
		return errors.New("bearer: Config.Cache is off and has bounds; decide for one")
	}
	if c.MaxEntries < 0 || c.MaxBytes < 0 || c.MaxAge < 0 {
		return errors.New("bearer: a bound of Config.Cache is negative; Off turns the cache off")
	}
	if c.MaxEntries == 0 {
		c.MaxEntries = defaultMaxEntries
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = defaultMaxBytes
	}
	if c.MaxAge == 0 {
		c.MaxAge = defaultMaxAge
	}
	if cfg.MaxVerifying < 0 || cfg.MaxVerifying == 1 {
		return errors.New("bearer: Config.MaxVerifying is under 2")
	}
	if cfg.MaxVerifying == 0 {
		cfg.MaxVerifying = max(2, 2*runtime.GOMAXPROCS(0))
	}
	if cfg.Realm == "" {
		cfg.Realm = cfg.Audience
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return nil
}
