// Package rptest is an OpenID Provider for tests and examples: to a relying party what net/http/httptest is to an HTTP client.
//
//	provider := rptest.Start(t, rptest.Options{})
//	// give your program provider.Issuer(), provider.ClientID() and provider.ClientSecret()
//	page, err := provider.Browser().Get(appURL) // logs in as alice, without a page
//
// It signs with real keys and follows the specifications, until it is told to misbehave: Fault bends an endpoint's answers,
// TokenFault its ID tokens, AnswerFault what the browser brings back. Hits counts what was asked of it.
//
// New makes a Provider that listens nowhere. Its Client reaches it in memory, without a socket, so that testing/synctest works
// and the clock is the test's.
//
// It shares no code with the packages it judges. It is not for production: passwords are compared as they are, and nothing outlives the process.
package rptest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Endpoint names a part of the provider, for Hits and Fault.
type Endpoint string

// The endpoints that are counted and can be made to fail.
const (
	Discovery     Endpoint = "discovery"
	JWKS          Endpoint = "jwks"
	Authorization Endpoint = "authorization"
	Token         Endpoint = "token"
	UserInfo      Endpoint = "userinfo"
	Revocation    Endpoint = "revocation"
	EndSession    Endpoint = "end_session"
	Introspection Endpoint = "introspection"

	DeviceAuthorization       Endpoint = "device_authorization"
	BackchannelAuthentication Endpoint = "backchannel_authentication"

	CheckSession Endpoint = "check_session" // the check_session_iframe
)

// Provider is an OpenID Provider, and an http.Handler that answers for everything under its issuer. It is safe for concurrent use.
type Provider struct {
	opts   Options
	base   string // issuer without a trailing slash
	path   string // path of base
	cookie string // suffix of cookie names: cookies do not tell ports apart
	keys   keyring
	hosts  hosts
	faults faults

	mu           sync.Mutex
	users        []User
	signedIn     string // SignInAs: a name; "-": nobody
	sessions     map[string]*opSession
	interactions map[string]*interaction
	consents     map[string]bool
	codes        map[string]*code
	access       map[string]*accessToken
	refresh      map[string]*refreshToken
	waiting      map[string]*pending // by id
	assertions   map[string]int64    // end of what a client has signed for itself, by client and jti
	hits         map[Endpoint]int
	refreshes    int
	reuses       int
	issued       int
}

// New makes a provider which listens nowhere: serve it as an http.Handler under its issuer, or reach it through Client.
// It does no I/O; keys are made when the first is needed.
func New(opts Options) (*Provider, error) {
	if err := opts.fill(); err != nil {
		return nil, err
	}
	p := &Provider{
		opts: opts, base: strings.TrimSuffix(opts.Issuer, "/"),
		sessions: map[string]*opSession{}, interactions: map[string]*interaction{}, consents: map[string]bool{},
		codes: map[string]*code{}, access: map[string]*accessToken{}, refresh: map[string]*refreshToken{}, waiting: map[string]*pending{}, assertions: map[string]int64{}, hits: map[Endpoint]int{},
	}
	issuer, err := url.Parse(p.base)
	if err != nil {
		return nil, err
	}
	p.path = issuer.Path
	sum := sha256.Sum256([]byte(opts.Issuer))
	p.cookie = hex.EncodeToString(sum[:4])
	p.keys = keyring{alg: opts.SigningAlg, current: map[string]*signingKey{}}
	for _, u := range opts.Users {
		p.users = append(p.users, u.filled())
	}
	p.hosts.add(hostOf(issuer.Scheme, issuer.Host), p)
	return p, nil
}

// Start makes a provider which listens on a loopback port until the test ends.
func Start(tb TB, opts Options) *Provider {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("rptest: no loopback port: %v", err)
		return nil
	}
	if opts.Issuer == "" {
		opts.Issuer = "http://" + listener.Addr().String()
	}
	p, err := New(opts)
	if err != nil {
		listener.Close()
		tb.Fatalf("%v", err)
		return nil
	}
	server := &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener) // ends with Close
	tb.Cleanup(func() { server.Close() })
	return p
}

// String names the issuer, and no secret.
func (p *Provider) String() string { return fmt.Sprintf("rptest.Provider{Issuer: %q}", p.opts.Issuer) }

// Format prints String for every verb.
func (p *Provider) Format(f fmt.State, _ rune) { io.WriteString(f, p.String()) }

// Issuer is the exact issuer identifier.
func (p *Provider) Issuer() string { return p.opts.Issuer }

// ClientID is the ID of the first client.
func (p *Provider) ClientID() string { return p.opts.Clients[0].ID }

// ClientSecret is the secret of the first client.
func (p *Provider) ClientSecret() string { return p.opts.Clients[0].Secret }

// Hits is how many requests an endpoint got, those answered with a fault included.
func (p *Provider) Hits(e Endpoint) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hits[e]
}

// ResetHits sets every counter of Hits to zero.
func (p *Provider) ResetHits() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.hits)
}

// ServeHTTP answers for the issuer's paths, and for the well-known paths that RFC 8414 inserts before the issuer's own.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	endpoint, handler := p.route(r.URL.Path)
	if handler == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if endpoint == "" {
		handler(w, r)
		return
	}
	p.mu.Lock()
	p.hits[endpoint]++
	p.mu.Unlock()
	p.faults.wrap(endpoint, handler).ServeHTTP(w, r)
}

func (p *Provider) route(path string) (Endpoint, http.HandlerFunc) {
	if path == "/.well-known/oauth-authorization-server"+p.path {
		return Discovery, p.serveMetadata
	}
	local, ok := strings.CutPrefix(path, p.path)
	if !ok {
		return "", nil
	}
	switch local {
	case "/.well-known/openid-configuration":
		return Discovery, p.serveMetadata
	case "/jwks":
		return JWKS, p.serveJWKS
	case "/authorize":
		return Authorization, p.serveAuthorize
	case "/token":
		return Token, p.serveToken
	case "/userinfo":
		return UserInfo, p.serveUserInfo
	case "/revoke":
		return Revocation, p.serveRevoke
	case "/introspect":
		return Introspection, p.serveIntrospect
	case "/device_authorization":
		return DeviceAuthorization, p.serveDeviceAuthorization
	case "/device":
		return "", p.serveDevice
	case "/backchannel":
		return BackchannelAuthentication, p.serveBackchannel
	case "/end_session":
		return EndSession, p.serveEndSession
	case "/check_session":
		if p.opts.SessionManagement {
			return CheckSession, p.serveCheckSession
		}
	case "/login":
		return "", p.serveLogin
	case "/confirm":
		return "", p.serveConfirm
	case "/consent":
		return "", p.serveConsent
	}
	if strings.HasPrefix(local, "/picture/") {
		return "", p.servePicture
	}
	return "", nil
}

func (p *Provider) serveMetadata(w http.ResponseWriter, _ *http.Request) {
	o := &p.opts
	algs := []string{o.SigningAlg}
	modes := []string{"client_secret_basic", "client_secret_post", "none"}
	for _, c := range o.Clients {
		if c.SigningAlg != "" && c.SigningAlg != o.SigningAlg {
			algs = append(algs, c.SigningAlg)
		}
		if len(c.Federated) > 0 && !slices.Contains(modes, "private_key_jwt") {
			modes = append(modes, "private_key_jwt")
		}
	}
	m := map[string]any{
		"issuer":                                        o.Issuer,
		"authorization_endpoint":                        p.base + "/authorize",
		"token_endpoint":                                p.base + "/token",
		"userinfo_endpoint":                             p.base + "/userinfo",
		"jwks_uri":                                      p.base + "/jwks",
		"revocation_endpoint":                           p.base + "/revoke",
		"introspection_endpoint":                        p.base + "/introspect",
		"end_session_endpoint":                          p.base + "/end_session",
		"device_authorization_endpoint":                 p.base + "/device_authorization",
		"backchannel_authentication_endpoint":           p.base + "/backchannel",
		"backchannel_token_delivery_modes_supported":    []string{"poll", "ping", "push"},
		"backchannel_user_code_parameter_supported":     true,
		"scopes_supported":                              []string{"openid", "profile", "email", "address", "phone", "offline_access"},
		"response_types_supported":                      []string{"code"},
		"response_modes_supported":                      []string{"query", "form_post"},
		"grant_types_supported":                         p.grantTypes(),
		"subject_types_supported":                       []string{"public"},
		"id_token_signing_alg_values_supported":         algs,
		"userinfo_signing_alg_values_supported":         algs,
		"introspection_signing_alg_values_supported":    []string{o.SigningAlg},
		"token_endpoint_auth_methods_supported":         modes,
		"revocation_endpoint_auth_methods_supported":    modes,
		"introspection_endpoint_auth_methods_supported": modes,
		"code_challenge_methods_supported":              []string{"S256"},
		"prompt_values_supported":                       []string{"none", "login", "consent", "select_account"},
		"claims_supported":                              []string{"sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "name", "given_name", "family_name", "preferred_username", "picture", "email", "email_verified", "address", "phone_number", "phone_number_verified", "locale", "zoneinfo", "updated_at"},
		"ui_locales_supported":                          []string{"en"},
		"claims_parameter_supported":                    true,
		"request_parameter_supported":                   false,
		"request_uri_parameter_supported":               false,
		"backchannel_logout_supported":                  true,
		"backchannel_logout_session_supported":          true,
		"frontchannel_logout_supported":                 true,
		"frontchannel_logout_session_supported":         true,
	}
	if !o.NoIssParameter {
		m["authorization_response_iss_parameter_supported"] = true
	}
	if slices.Contains(modes, "private_key_jwt") {
		m["token_endpoint_auth_signing_alg_values_supported"] = asymmetricAlgs
	}
	if o.SessionManagement {
		m["check_session_iframe"] = p.base + "/check_session"
	}
	w.Header().Set("Access-Control-Allow-Origin", "*")
	writeJSON(w, http.StatusOK, m)
}

// writeJSON answers with v; its types always marshal.
func writeJSON(w http.ResponseWriter, status int, v any) {
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "rptest: a claim is no JSON: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(status)
	w.Write(body)
}

// random is an identifier of 130 bits.
func random() string { return rand.Text() }

// sweepLocked drops what has ended, now and then, so that a benchmark does not grow without bound.
func (p *Provider) sweepLocked(now time.Time) {
	if p.issued++; p.issued%1024 != 0 {
		return
	}
	for k, v := range p.codes {
		if now.After(v.expires.Add(time.Hour)) {
			delete(p.codes, k)
		}
	}
	for k, v := range p.access {
		if now.After(v.expires) {
			delete(p.access, k)
		}
	}
	for k, v := range p.refresh {
		if now.After(v.expires) {
			delete(p.refresh, k)
		}
	}
	for k, v := range p.interactions {
		if now.After(v.created.Add(interactionLifetime)) {
			delete(p.interactions, k)
		}
	}
}
