package rp

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
	"github.com/latchkey-go/latchkey/rp/clientauth"
)

// Config configures New. Issuer and ClientID are required. It redacts its secrets when printed.
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
	Logger               *slog.Logger
}

// Quirks are deviations of a provider, each named by the user and never inferred from a token.
type Quirks struct {
	StringBooleans     bool     // email_verified: "true" counts (Cognito, PayPal, Apple, JumpCloud)
	IssuerAliases      []string // further iss values of ID tokens (Google: "accounts.google.com")
	Tenants            []string // with {tenantid} in Issuer: the tid values allowed; nil: any
	TrustedAudiences   []string // further members of aud accepted beside the client id (ZITADEL's project id)
	EndSessionURL      string   // logout endpoint for providers which publish none (Auth0, Cognito); its query is kept
	LogoutReturnParam  string   // in place of post_logout_redirect_uri (Cognito: "logout_uri", Auth0: "returnTo")
	LogoutWithoutHint  bool     // client_id only, no id_token_hint (login.gov)
	InsecureSkipNonce  bool     // the ID token carries no nonce (LinkedIn); one that is present must still match
	InsecureSkipPKCE   bool     // no code_challenge is sent (LinkedIn)
	IgnoreIssParameter bool     // RFC 9207 iss is not compared (glewlwyd form_post double encoding)
}

