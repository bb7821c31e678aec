package rptest

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// TB is the part of *testing.T and *testing.B that Start needs; naming it keeps package testing out of programs which embed a Provider.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// Options configures New and Start. The zero value, given to Start, is a provider with one client and two users which signs
// everybody in at once.
type Options struct {
	// Issuer is the exact issuer identifier; a path and a trailing slash are fine. Start fills in its own URL, New needs it.
	Issuer string
	// Clients are the registered clients. Nil: one with ID "test-client" and Secret "test-secret".
	Clients []Client
	// Users are the accounts. Nil: alice and bob, whose subject and password are their name, with every standard claim.
	Users []User

	// Interactive shows a login page. False: the browser is sent straight back, signed in as the user of login_hint or
	// id_token_hint, of SignInAs, or the first one.
	Interactive bool
	// Consent, with Interactive, shows a consent page after the login, once for a user, client and scope.
	Consent bool
	// ShowHints prints names and passwords on the login page: for demonstrations.
	ShowHints bool
	// NoStepUp leaves acr_values unanswered: the acr stays the user's own, and one demanded by the claims parameter is an error.
	// False: it is granted, in interactive mode after the password was asked for once more.
	NoStepUp bool

	// AccessTokenLifetime and IDTokenLifetime: zero is 5 minutes. RefreshTokenLifetime: 24 hours. CodeLifetime: 1 minute.
	AccessTokenLifetime, IDTokenLifetime, RefreshTokenLifetime, CodeLifetime time.Duration

	// PendingLifetime is how long a device code or a backchannel login waits for its user. Zero: 5 minutes. PollInterval is how far apart its polls must be, in whole
	// seconds. Zero: 5 seconds.
	PendingLifetime, PollInterval time.Duration

	// SigningAlg signs every token: RS, PS or ES 256, 384 or 512, or EdDSA. Empty: RS256.
	SigningAlg string
	// JWTAccessTokens makes access tokens JWTs (RFC 9068) instead of opaque strings.
	JWTAccessTokens bool
	// Audience is the aud of JWT access tokens when no resource parameter was sent. Empty: the issuer.
	Audience string
	// LeanIDTokens keeps name, email and the like out of ID tokens, so that they come from UserInfo alone, as OpenID Connect
	// Core 5.4 has it for the code flow. False: they are in both, which most providers do.
	LeanIDTokens bool

	// NoRefreshTokens issues none; OfflineAccessOnly issues them only with scope offline_access. False: with every code.
	NoRefreshTokens, OfflineAccessOnly bool
	// KeepRefreshTokens hands out the same refresh token until it ends, without rotation.
	KeepRefreshTokens bool
	// RefreshGrace is how long a rotated refresh token is taken once more without being counted as reused. Zero: never.
	RefreshGrace time.Duration

	// NoIssParameter leaves iss out of authorization answers, and its promise out of the metadata (RFC 9207).
	NoIssParameter bool

	// TrustedIssuers are others whose JWTs are taken by the JWT bearer grant (RFC 7523) and by token exchange (RFC 8693).
	TrustedIssuers []TrustedIssuer
	// SAMLAssertion reads an assertion of the SAML bearer grant (RFC 7522), its XML, and returns its subject: verifying XML signatures takes more than is here.
	// Nil: the grant is not offered.
	SAMLAssertion func(xml []byte) (subject string, err error)
	// AllowPassword offers the password grant (RFC 6749 section 4.3), for tests of moving away from it.
	AllowPassword bool

	// SessionManagement offers a check_session_iframe and sends session_state with each code (OpenID Connect Session Management 1.0). Over https the cookies are
	// SameSite=None then, or no frame of an application's would see them.
	SessionManagement bool

	// HTTPClient delivers back-channel logout tokens. Nil: hosts of HandleHost in memory, any other by http.DefaultTransport.
	HTTPClient *http.Client
}

// Client is a registered client.
type Client struct {
	ID string
	// Secret is empty for a public client.
	Secret string
	// Name is shown on pages. Empty: the ID.
	Name string
	// RedirectURIs are compared character by character. Nil: any on a host which nobody can own: loopback, a name reserved
	// by RFC 2606 (example.com, *.example, *.test, ...), or one of HandleHost.
	RedirectURIs []string
	// PostLogoutRedirectURIs: as RedirectURIs.
	PostLogoutRedirectURIs []string
	// Federated are JWTs that are taken instead of the Secret (private_key_jwt, workload identity).
	Federated []FederatedCredential
	// AuthMethod is the only client authentication accepted: "basic", "post", "none", "private_key_jwt" or the registered names
	// ("client_secret_basic", ...). Empty: any; for a client without Secret private_key_jwt if it has Federated credentials, else none.
	AuthMethod string
	// AllowNoPKCE takes authorization requests without code_challenge.
	AllowNoPKCE bool
	// SigningAlg is id_token_signed_response_alg; HS256, HS384 and HS512 use Secret as the key. Empty: Options.SigningAlg.
	SigningAlg string
	// UserInfoSignedAlg makes UserInfo answer with a JWT. Empty: JSON.
	UserInfoSignedAlg string
	// BackchannelLogoutURI gets a logout token when a session of this client ends.
	BackchannelLogoutURI string
	// FrontchannelLogoutURI is loaded in a frame when a session of this client ends, with iss and sid.
	FrontchannelLogoutURI string
	// TokenDelivery is backchannel_token_delivery_mode: "poll", "ping" or "push". Empty: poll.
	TokenDelivery string
	// NotificationURI is backchannel_client_notification_endpoint, which ping and push need.
	NotificationURI string
}

// User is an account.
type User struct {
	Subject  string // empty: Name
	Name     string // what is typed in at login
	Password string // empty: Name
	// Claims are what is known of the user, by claim name. The standard ones are released by scope (OpenID Connect Core 5.4)
	// or by the claims parameter; any other, such as groups, always.
	Claims map[string]any
	ACR    string   // acr of a plain login; empty: no acr claim
	AMR    []string // empty: pwd
	// UserCode must come with a backchannel authentication request. Empty: none is wanted.
	UserCode string
}

// String names the client without its secret.
func (c Client) String() string { return fmt.Sprintf("rptest.Client{ID: %q}", c.ID) }

// Format prints String for every verb.
func (c Client) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue is String.
func (c Client) LogValue() slog.Value { return slog.StringValue(c.String()) }

// String names the user without the password.
func (u User) String() string { return fmt.Sprintf("rptest.User{Subject: %q}", u.Subject) }

// Format prints String for every verb.
func (u User) Format(f fmt.State, _ rune) { io.WriteString(f, u.String()) }

// LogValue is String.
func (u User) LogValue() slog.Value { return slog.StringValue(u.String()) }

func (u User) filled() User {
	if u.Subject == "" {
		u.Subject = u.Name
	}
	if u.Password == "" {
		u.Password = u.Name
	}
	if len(u.AMR) == 0 {
		u.AMR = []string{"pwd"}
	}
	u.Claims = maps.Clone(u.Claims)
	if u.Claims == nil {
		u.Claims = map[string]any{}
	}
	return u
}

// fill replaces zeros by their defaults and reports every mistake at once.
func (o *Options) fill() error {
	var errs []error
	issuer, err := url.Parse(o.Issuer)
	if err != nil || issuer.Host == "" || (issuer.Scheme != "https" && issuer.Scheme != "http") || issuer.RawQuery != "" || issuer.Fragment != "" {
		errs = append(errs, fmt.Errorf("rptest: Options.Issuer %q must be an http or https URL without query and fragment, such as https://op.example", o.Issuer))
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		std   time.Duration
	}{
		{"AccessTokenLifetime", &o.AccessTokenLifetime, 5 * time.Minute},
		{"IDTokenLifetime", &o.IDTokenLifetime, 5 * time.Minute},
		{"RefreshTokenLifetime", &o.RefreshTokenLifetime, 24 * time.Hour},
		{"CodeLifetime", &o.CodeLifetime, time.Minute},
		{"PendingLifetime", &o.PendingLifetime, 5 * time.Minute},
		{"PollInterval", &o.PollInterval, 5 * time.Second},
		{"RefreshGrace", &o.RefreshGrace, 0},
	} {
		if *d.value < 0 {
			errs = append(errs, fmt.Errorf("rptest: Options.%s is negative", d.name))
		}
		if *d.value == 0 {
			*d.value = d.std
		}
	}
	if o.SigningAlg == "" {
		o.SigningAlg = "RS256"
	}
	if !asymmetric(o.SigningAlg) {
		errs = append(errs, fmt.Errorf("rptest: Options.SigningAlg %q: use RS256, PS256, ES256 (or their 384, 512) or EdDSA; HS256 is a Client's SigningAlg", o.SigningAlg))
	}
	if o.Clients == nil {
		o.Clients = []Client{{ID: "test-client", Secret: "test-secret", Name: "Test application"}}
	}
	if o.Users == nil {
		o.Users = defaultUsers(strings.TrimSuffix(o.Issuer, "/"))
	}
	seen := map[string]bool{}
	for i := range o.Clients {
		errs = append(errs, o.Clients[i].fill(seen))
	}
	errs = append(errs, o.checkTrust())
	for _, u := range o.Users {
		if u.Name == "" {
			errs = append(errs, errors.New("rptest: a User has no Name"))
		}
	}
	if len(o.Clients) == 0 || len(o.Users) == 0 {
		errs = append(errs, errors.New("rptest: Clients and Users must be nil, for the defaults, or hold something"))
	}
	return errors.Join(errs...)
}

func (c *Client) fill(seen map[string]bool) error {
	if c.ID == "" || seen[c.ID] {
		return fmt.Errorf("rptest: the client id %q is empty or used twice", c.ID)
	}
	seen[c.ID] = true
	if c.Name == "" {
		c.Name = c.ID
	}
	switch c.AuthMethod {
	case "basic", "post":
		c.AuthMethod = "client_secret_" + c.AuthMethod
	case "", "none", "client_secret_basic", "client_secret_post", "private_key_jwt":
	default:
		return fmt.Errorf("rptest: client %s: AuthMethod %q is not basic, post, none or private_key_jwt", c.ID, c.AuthMethod)
	}
	if c.AuthMethod == "" && c.Secret == "" {
		c.AuthMethod = "none"
		if len(c.Federated) > 0 {
			c.AuthMethod = "private_key_jwt"
		}
	}
	switch c.TokenDelivery {
	case "", "poll":
	case "ping", "push":
		if c.NotificationURI == "" {
			return fmt.Errorf("rptest: client %s: TokenDelivery %q needs a NotificationURI", c.ID, c.TokenDelivery)
		}
	default:
		return fmt.Errorf("rptest: client %s: TokenDelivery %q is not poll, ping or push", c.ID, c.TokenDelivery)
	}
	for _, alg := range []string{c.SigningAlg, c.UserInfoSignedAlg} {
		if alg != "" && !asymmetric(alg) && !symmetric(alg) {
			return fmt.Errorf("rptest: client %s: signing algorithm %q is not supported", c.ID, alg)
		}
	}
	return nil
}

// allows reports whether uri is registered, or needs no registration.
func (p *Provider) allows(registered []string, uri string) bool {
	if registered != nil {
		return slices.Contains(registered, uri)
	}
	u, err := url.Parse(uri)
	if err != nil || u.Fragment != "" || (u.Scheme != "http" && u.Scheme != "https") {
		return false
	}
	if p.hosts.handler(u.Host) != nil {
		return true
	}
	host := strings.ToLower(u.Hostname())
	for _, reserved := range []string{"localhost", "example", "test", "invalid", "example.com", "example.net", "example.org"} {
		if host == reserved || strings.HasSuffix(host, "."+reserved) {
			return true
		}
	}
	return loopback(host)
}

// loopback reports whether host, without port, is this machine.
func loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// hostOf is the host of a URL as HandleHost knows it: in lower case, without the scheme's own port.
func hostOf(scheme, host string) string {
	host = strings.ToLower(host)
	if name, port, err := net.SplitHostPort(host); err == nil && ((scheme == "https" && port == "443") || (scheme == "http" && port == "80")) {
		return name
	}
	return host
}

func defaultUsers(base string) []User {
	person := func(name, given, family, locale, zone, phone, street, town, country string) User {
		return User{Name: name, Claims: map[string]any{
			"name": given + " " + family, "given_name": given, "family_name": family, "preferred_username": name,
			"picture": base + "/picture/" + name + ".svg", "locale": locale, "zoneinfo": zone, "updated_at": 1767225600,
			"email": name + "@example.com", "email_verified": true,
			"phone_number": phone, "phone_number_verified": true,
			"address": map[string]any{"formatted": street + "\n" + town + "\n" + country, "street_address": street, "locality": town, "country": country},
		}}
	}
	return []User{
		person("alice", "Alice", "Archer", "en-GB", "Europe/London", "+44 20 7946 0018", "1 Latch Lane", "London", "United Kingdom"),
		person("bob", "Bob", "Baker", "de-CH", "Europe/Zurich", "+41 44 555 01 99", "Schlüsselgasse 2", "Zürich", "Schweiz"),
	}
}
