package rptest

import (
	"crypto"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	jwtBearerGrant  = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	samlBearerGrant = "urn:ietf:params:oauth:grant-type:saml2-bearer"

	clientAssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// TrustedIssuer is somebody else whose JWTs are believed: as assertions (RFC 7523), and as subject and actor tokens of an exchange (RFC 8693). Another Provider's are
// its Issuer and PublicKey.
type TrustedIssuer struct {
	Issuer string // iss, exactly
	Keys   []crypto.PublicKey
	// Alias is what subject_issuer and requested_issuer call it, as Keycloak has it. Empty: the Issuer.
	Alias string
	// Kept are the issuer's own access tokens of users, by subject: what an exchange with requested_issuer hands out.
	Kept map[string]string
}

// FederatedCredential is a JWT that authenticates a Client instead of a secret (RFC 7523 section 2.2), signed by its platform, or by itself where Issuer and Subject are its ID.
type FederatedCredential struct {
	Issuer, Subject string // iss and sub, exactly
	// Audience is aud, which must have no other member. Empty: the provider's issuer.
	Audience string
	Keys     []crypto.PublicKey
}

// String names the issuer, and no token.
func (t TrustedIssuer) String() string {
	return fmt.Sprintf("rptest.TrustedIssuer{Issuer: %q}", t.Issuer)
}

// Format prints String for every verb.
func (t TrustedIssuer) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// LogValue is String.
func (t TrustedIssuer) LogValue() slog.Value { return slog.StringValue(t.String()) }

// PublicKey is the public half of the key that signs now.
func (p *Provider) PublicKey() crypto.PublicKey {
	return p.keys.key(p.opts.SigningAlg).private.Public()
}

// assertion is a JWT whose signature, iss, exp, nbf and iat are good.
type assertion struct {
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
	JTI     string `json:"jti"`
	Scope   string `json:"scope"`
	Expires int64  `json:"exp"`
	Actor   map[string]any
	aud     []string
}

// readAssertion verifies raw against the keys of whoever it says it is from; what says what is wrong.
func readAssertion(raw string, keysOf func(issuer, subject string) []crypto.PublicKey, now time.Time) (a *assertion, what string) {
	var algs []jose.SignatureAlgorithm
	for _, alg := range asymmetricAlgs {
		algs = append(algs, jose.SignatureAlgorithm(alg))
	}
	jws, err := jose.ParseSignedCompact(raw, algs)
	if err != nil {
		return nil, "is no JWT signed by an asymmetric key"
	}
	a = &assertion{}
	var claims struct {
		*assertion
		Aud any             `json:"aud"`
		Iat float64         `json:"iat"`
		Nbf float64         `json:"nbf"`
		Exp json.RawMessage `json:"exp"`
		Act map[string]any  `json:"act"`
	}
	claims.assertion = a
	if json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &claims) != nil {
		return nil, "has claims of a wrong type"
	}
	a.Actor = claims.Act
	var exp float64
	if json.Unmarshal(claims.Exp, &exp) != nil {
		return nil, "has no exp"
	}
	a.Expires = int64(exp)
	switch aud := claims.Aud.(type) {
	case string:
		a.aud = []string{aud}
	case []any:
		for _, one := range aud {
			s, _ := one.(string)
			a.aud = append(a.aud, s)
		}
	}
	keys := keysOf(a.Issuer, a.Subject)
	if len(keys) == 0 {
		return nil, "is of nobody who is trusted"
	}
	at := float64(now.Unix())
	switch {
	case !slices.ContainsFunc(keys, func(k crypto.PublicKey) bool { _, err := jws.Verify(k); return err == nil }):
		return nil, "is signed by another key"
	case a.Subject == "":
		return nil, "has no sub"
	case len(a.aud) == 0:
		return nil, "has no aud"
	case exp <= at:
		return nil, "has expired"
	case claims.Nbf > at || claims.Iat > at:
		return nil, "is of the future"
	}
	return a, ""
}

// trusted finds an issuer by its iss, or by the name it goes by.
func (p *Provider) trusted(issuer string) *TrustedIssuer {
	for i := range p.opts.TrustedIssuers {
		if t := &p.opts.TrustedIssuers[i]; t.Issuer == issuer || t.Alias == issuer && issuer != "" {
			return &p.opts.TrustedIssuers[i]
		}
	}
	return nil
}

func (p *Provider) trustedKeys(issuer, _ string) []crypto.PublicKey {
	if t := p.trusted(issuer); t != nil && t.Issuer == issuer {
		return t.Keys
	}
	return nil
}

// jwtBearer is RFC 7523 section 2.1, and Microsoft Entra's on-behalf-of.
func (p *Provider) jwtBearer(client *Client, form url.Values) (map[string]any, *protocolError) {
	raw := form.Get("assertion")
	switch use := form.Get("requested_token_use"); {
	case raw == "":
		return nil, refuse(400, "invalid_request", "assertion is missing")
	case use == "on_behalf_of":
		return p.onBehalfOf(client, raw, form)
	case use != "":
		return nil, refuse(400, "invalid_request", "requested_token_use is not on_behalf_of")
	}
	a, what := readAssertion(raw, p.trustedKeys, time.Now())
	if a == nil {
		return nil, refuse(400, "invalid_grant", "the assertion "+what)
	}
	if !slices.Contains(a.aud, p.opts.Issuer) && !slices.Contains(a.aud, p.base+"/token") {
		return nil, refuse(400, "invalid_grant", "the assertion is for another audience")
	}
	return p.issueFor(client, a.Subject, form)
}

// onBehalfOf takes an access token that a user's client has sent to this one.
func (p *Provider) onBehalfOf(client *Client, raw string, form url.Values) (map[string]any, *protocolError) {
	p.mu.Lock()
	t := p.access[raw]
	live := t != nil && t.live(time.Now())
	p.mu.Unlock()
	switch {
	case !live:
		return nil, refuse(400, "invalid_grant", "the assertion is no active access token")
	case !slices.Contains(t.audience, client.ID):
		return nil, refuse(400, "invalid_grant", "the assertion is for another audience")
	}
	return p.issueFor(client, t.grant.sub, form)
}

// samlBearer is RFC 7522 section 2.1, as far as Options.SAMLAssertion reads the assertion.
func (p *Provider) samlBearer(client *Client, form url.Values) (map[string]any, *protocolError) {
	if p.opts.SAMLAssertion == nil {
		return nil, refuse(400, "unsupported_grant_type", "")
	}
	xml, err := base64.RawURLEncoding.Strict().DecodeString(form.Get("assertion"))
	if err != nil || len(xml) == 0 {
		return nil, refuse(400, "invalid_request", "assertion is missing, or not base64url")
	}
	sub, err := p.opts.SAMLAssertion(xml)
	if err != nil {
		return nil, refuse(400, "invalid_grant", "the assertion: "+err.Error())
	}
	return p.issueFor(client, sub, form)
}

// issueFor issues an access token, and nothing else, for a user or for a client itself.
func (p *Provider) issueFor(client *Client, sub string, form url.Values) (map[string]any, *protocolError) {
	p.mu.Lock()
	user := p.userBySubject(sub)
	p.mu.Unlock()
	if user == nil && sub != client.ID {
		return nil, refuse(400, "invalid_grant", "the subject is unknown")
	}
	scopes, perr := pendingScopes(form)
	if perr != nil {
		return nil, perr
	}
	scopes = slices.DeleteFunc(scopes, func(s string) bool { return s == "openid" || s == "offline_access" })
	return p.issue(&grant{client: client, sub: sub, scopes: scopes, resources: form["resource"]}, scopes, issuance{}), nil
}

// password is the grant of RFC 6749 section 4.3.
func (p *Provider) password(client *Client, form url.Values) (map[string]any, *protocolError) {
	if !p.opts.AllowPassword {
		return nil, refuse(400, "unsupported_grant_type", "")
	}
	if form.Get("username") == "" || form.Get("password") == "" {
		return nil, refuse(400, "invalid_request", "username or password is missing")
	}
	scopes, perr := pendingScopes(form)
	if perr != nil {
		return nil, perr
	}
	p.mu.Lock()
	i := slices.IndexFunc(p.users, func(u User) bool { return u.Name == form.Get("username") })
	var user User
	if i >= 0 {
		user = p.users[i]
	}
	p.mu.Unlock()
	if i < 0 || subtle.ConstantTimeCompare([]byte(user.Password), []byte(form.Get("password"))) != 1 {
		return nil, refuse(400, "invalid_grant", "the name or the password is wrong")
	}
	g := &grant{client: client, sub: user.Subject, sid: random(), scopes: scopes, resources: form["resource"], authTime: time.Now(), acr: user.ACR, amr: user.AMR}
	return p.issue(g, scopes, issuance{}), nil
}

// asserted authenticates a client by RFC 7523 section 2.2. The client is the one that client_id names, or the one whose credential it is.
func (p *Provider) asserted(w http.ResponseWriter, r *http.Request) (*Client, *protocolError) {
	form := r.PostForm
	if form.Has("client_secret") || r.Header.Get("Authorization") != "" {
		return nil, refuse(400, "invalid_request", "two client authentications at once")
	}
	if form.Get("client_assertion_type") != clientAssertionType || form.Get("client_assertion") == "" {
		return nil, refuse(400, "invalid_request", "client_assertion comes with client_assertion_type "+clientAssertionType)
	}
	var client *Client
	var credential *FederatedCredential
	now := time.Now()
	a, what := readAssertion(form.Get("client_assertion"), func(issuer, subject string) []crypto.PublicKey {
		client, credential = p.federated(form.Get("client_id"), issuer, subject)
		if client == nil {
			return nil
		}
		return credential.Keys
	}, now)
	if a == nil {
		return nil, p.invalidClient(w, "the client assertion "+what)
	}
	audience := credential.Audience
	if audience == "" {
		audience = p.opts.Issuer
	}
	if client.AuthMethod != "" && client.AuthMethod != "private_key_jwt" {
		return nil, p.invalidClient(w, "the client is registered for "+client.AuthMethod+", but used private_key_jwt")
	}
	if len(a.aud) != 1 || a.aud[0] != audience {
		return nil, p.invalidClient(w, "the client assertion must be for this provider alone")
	}
	if a.Issuer == client.ID {
		// Signed by the client itself: for one request (OpenID Connect Core section 9).
		p.mu.Lock()
		defer p.mu.Unlock()
		for jti, end := range p.assertions {
			if end <= now.Unix() {
				delete(p.assertions, jti)
			}
		}
		jti := client.ID + " " + a.JTI
		if _, used := p.assertions[jti]; a.JTI == "" || used {
			return nil, p.invalidClient(w, "the client assertion has no jti, or one that was used before")
		}
		p.assertions[jti] = a.Expires
	}
	return client, nil
}

// federated finds the credential, of the client with that id if there is one.
func (p *Provider) federated(id, issuer, subject string) (*Client, *FederatedCredential) {
	for i := range p.opts.Clients {
		c := &p.opts.Clients[i]
		for j := range c.Federated {
			f := &c.Federated[j]
			if (id == "" || id == c.ID) && f.Issuer == issuer && f.Subject == subject {
				return c, f
			}
		}
	}
	return nil, nil
}

// confidential reports whether c can prove who it is.
func (c *Client) confidential() bool { return c.Secret != "" || len(c.Federated) > 0 }

// grantTypes are those offered.
func (p *Provider) grantTypes() []string {
	types := []string{"authorization_code", "refresh_token", "client_credentials", deviceGrant, cibaGrant, exchangeGrant, jwtBearerGrant}
	if p.opts.SAMLAssertion != nil {
		types = append(types, samlBearerGrant)
	}
	if p.opts.AllowPassword {
		types = append(types, "password")
	}
	return types
}

// checkTrust reports what is wrong with the issuers and credentials of o.
func (o *Options) checkTrust() error {
	var errs []error
	for _, t := range o.TrustedIssuers {
		if t.Issuer == "" || t.Issuer == o.Issuer || len(t.Keys) == 0 {
			errs = append(errs, errors.New("rptest: a TrustedIssuer needs Keys, and an Issuer other than the provider itself"))
		}
	}
	for _, c := range o.Clients {
		for _, f := range c.Federated {
			if f.Issuer == "" || f.Subject == "" || len(f.Keys) == 0 {
				errs = append(errs, fmt.Errorf("rptest: client %s: a FederatedCredential needs Issuer, Subject and Keys", c.ID))
			}
		}
		if c.AuthMethod == "private_key_jwt" && len(c.Federated) == 0 {
			errs = append(errs, fmt.Errorf("rptest: client %s: AuthMethod private_key_jwt needs a FederatedCredential", c.ID))
		}
	}
	return errors.Join(errs...)
}
