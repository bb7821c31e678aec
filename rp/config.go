package rp

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
	"github.com/latchkey-go/latchkey/internal/fetch"
	"github.com/latchkey-go/latchkey/internal/jws"
	"github.com/latchkey-go/latchkey/rp/clientauth"
)

const (
	defaultTimeout = 10 * time.Second
	defaultLeeway  = time.Minute
	maxLeeway      = 5 * time.Minute

	// tenantPlaceholder is the literal Microsoft Entra puts into the issuer of its multi-tenant documents.
	tenantPlaceholder = "{tenantid}"
)

// Config configures New. Issuer and ClientID are required. It redacts its secrets when printed; but not as an unexported field of a struct of yours, which fmt prints past this:
// keep the Client there instead.
type Config struct {
	Issuer       string // exact; may hold {tenantid} (Entra): then each token's tid claim takes its place before iss is compared
	ClientID     string
	ClientSecret string
	// RedirectURL is the absolute callback URL: https, or http on a loopback host. Needed for login only.
	RedirectURL string
	// PostLogoutRedirectURL is where the provider sends the browser after logout; empty: none is asked for.
	PostLogoutRedirectURL string
	// Scopes asked for; "openid" is always added. Nil: openid profile email.
	Scopes []string
	// Auth is the client authentication; nil: with a ClientSecret client_secret_basic, or client_secret_post when the metadata lists that and not basic; without one none.
	Auth clientauth.Method
	// SigningAlg is the client's registered id_token_signed_response_alg. Empty: RS256 when the metadata lists it or lists nothing, else the asymmetric ones it lists.
	// HS256/384/512 are used only when named here, with ClientSecret (>= 32/48/64 bytes) as the key.
	SigningAlg string
	// UserInfoSigningAlg is the registered userinfo_signed_response_alg; empty: JSON is expected and a JWT tolerated with the rules of SigningAlg. When set a plain JSON answer is refused.
	UserInfoSigningAlg string
	// ResponseMode: "" (query) or "form_post".
	ResponseMode string
	// DiscoveryURL as discovery.Config's; ignored with Provider.
	DiscoveryURL string
	// Provider replaces the one made from Issuer, DiscoveryURL, HTTPClient: static metadata and keys, other bounds.
	Provider *discovery.Provider
	// HTTPClient makes every call to the provider. nil: http.DefaultTransport. Redirects are never followed; time-out Timeout.
	HTTPClient *http.Client
	// Timeout of one call. Zero: 10 seconds.
	Timeout time.Duration
	// Leeway is the clock skew accepted. Zero: 60 seconds; at most 5 minutes.
	Leeway time.Duration
	// Quirks lists what this provider is allowed to do against the specifications. Zero: nothing.
	Quirks Quirks
	// InsecureLoopbackHTTP accepts a provider at an http URL whose host is loopback, for development.
	InsecureLoopbackHTTP bool
	// Logger gets outages and odd answers, never a token; nil: discarded.
	Logger *slog.Logger
}

// Quirks are deviations of a provider, each named by the user and never inferred from a token.
type Quirks struct {
	StringBooleans    bool     // email_verified: "true" counts (Cognito, PayPal, Apple, JumpCloud)
	IssuerAliases     []string // further iss values of ID tokens (Google: "accounts.google.com")
	Tenants           []string // with {tenantid} in Issuer: the tid values allowed; nil: any
	TrustedAudiences  []string // further members of aud accepted beside the client id (ZITADEL's project id)
	EndSessionURL     string   // logout endpoint for providers which publish none (Auth0, Cognito); its query is kept
	LogoutReturnParam string   // in place of post_logout_redirect_uri (Cognito: "logout_uri", Auth0: "returnTo")
	LogoutWithoutHint bool     // client_id only, no id_token_hint (login.gov)
	InsecureSkipNonce bool     // the ID token carries no nonce (LinkedIn); one that is present must still match
	InsecureSkipPKCE  bool     // no code_challenge is sent (LinkedIn)
	// LogoutTokensWithoutExp accepts logout tokens that state no end, for two minutes: the final text of Back-Channel Logout 1.0 requires one.
	LogoutTokensWithoutExp bool
	IgnoreIssParameter     bool // RFC 9207 iss is not compared (glewlwyd form_post double encoding)
	NoIssuedTokenType      bool // answers to a token exchange may lack issued_token_type (RFC 8693 requires it); one that is present must still be what was asked for
}

// String shows the identifying fields, and no secret.
func (c Config) String() string {
	secret := "none"
	if c.ClientSecret != "" {
		secret = "[redacted]"
	}
	return fmt.Sprintf("rp.Config{Issuer: %q, ClientID: %q, ClientSecret: %s, RedirectURL: %q}", c.Issuer, c.ClientID, secret, c.RedirectURL)
}

// Format prints String for every verb.
func (c Config) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue is String.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// check reports what is wrong with the configuration, all of it at once.
func (c *Config) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("rp: Config."+format, args...)) }
	if c.Issuer == "" {
		bad("Issuer is missing: the provider's exact issuer identifier")
	}
	if strings.Count(c.Issuer, tenantPlaceholder) > 1 {
		bad("Issuer holds %s more than once", tenantPlaceholder)
	}
	if c.Provider != nil && c.Provider.Issuer() != c.Issuer {
		bad("Issuer is %q, but Provider's is %q", c.Issuer, c.Provider.Issuer())
	}
	if c.ClientID == "" {
		bad("ClientID is missing")
	}
	for name, raw := range map[string]string{"RedirectURL": c.RedirectURL, "PostLogoutRedirectURL": c.PostLogoutRedirectURL} {
		if raw == "" {
			continue
		}
		if err := fetch.CheckURL(raw, true); err != nil {
			bad("%s: %w", name, err)
		}
	}
	if c.Quirks.EndSessionURL != "" {
		if err := fetch.CheckURL(c.Quirks.EndSessionURL, c.InsecureLoopbackHTTP); err != nil {
			bad("Quirks.EndSessionURL: %w", err)
		}
	}
	for _, s := range c.Scopes {
		if !validScope(s) {
			bad("Scopes: %q is no scope (RFC 6749 section 3.3); list each in a string of its own", s)
		}
	}
	for name, alg := range map[string]string{"SigningAlg": c.SigningAlg, "UserInfoSigningAlg": c.UserInfoSigningAlg} {
		if alg == "" || jws.Asymmetric(alg) {
			continue
		}
		need, ok := hmacSecretSize[alg]
		switch {
		case !ok:
			bad("%s: %q is not supported; use RS256, PS256, ES256 (or their 384, 512), EdDSA, or HS256/384/512 with a secret", name, alg)
		case len(c.ClientSecret) < need:
			bad("%s: %s needs a ClientSecret of at least %d bytes, as long as its hash (RFC 7518 section 3.2)", name, alg, need)
		}
	}
	if c.ResponseMode != "" && c.ResponseMode != "form_post" {
		bad("ResponseMode: %q is not supported; leave it empty (query) or use form_post", c.ResponseMode)
	}
	if c.Timeout < 0 {
		bad("Timeout is negative")
	}
	if c.Leeway < 0 || c.Leeway > maxLeeway {
		bad("Leeway is %v; it must be between 0 (meaning %v) and %v", c.Leeway, defaultLeeway, maxLeeway)
	}
	if len(c.Quirks.Tenants) > 0 && !strings.Contains(c.Issuer, tenantPlaceholder) {
		bad("Quirks.Tenants has no effect without %s in Issuer", tenantPlaceholder)
	}
	if slices.Contains(c.Quirks.IssuerAliases, "") || slices.Contains(c.Quirks.TrustedAudiences, "") || slices.Contains(c.Quirks.Tenants, "") {
		bad("Quirks: an empty string is no issuer, audience or tenant")
	}
	return errors.Join(errs...)
}

// hmacSecretSize is the least length of the key of each symmetric algorithm (RFC 7518 section 3.2).
var hmacSecretSize = map[string]int{"HS256": 32, "HS384": 48, "HS512": 64}

// validScope reports whether s is one scope-token of RFC 6749 section 3.3.
func validScope(s string) bool {
	for i := range len(s) {
		if b := s[i]; b <= ' ' || b > '~' || b == '"' || b == '\\' {
			return false
		}
	}
	return s != ""
}

// scopeList is the scopes to ask for: openid first, each once.
func scopeList(lists ...[]string) []string {
	all := []string{"openid"}
	for _, l := range lists {
		for _, s := range l {
			if !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return all
}
