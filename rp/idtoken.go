package rp

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/latchkey-go/latchkey/discovery"
)

// maxIDTokenAge is how long ago an ID token may have been issued. Tokens are fetched fresh from the token endpoint, so an old one is
// a replay or a provider's cache, and Core 3.1.3.7 (10) leaves the bound to us.
const maxIDTokenAge = 24 * time.Hour

// expected is what an ID token must agree with: a login, or a former ID token and nothing more.
type expected struct {
	login       *Login   // nil on a refresh
	prev        *IDToken // of the refreshed session; may be nil
	code        string   // for c_hash
	iss         string   // the iss parameter, where Config.Issuer alone does not tell
	accessToken string   // for at_hash
	now         time.Time
	also        func(*verifiedJWT, *IDToken) error // what the grant adds; may be nil
}

func (e *expected) scope() []string {
	if e.login != nil {
		return slices.Clone(e.login.Scopes)
	}
	return nil
}

func (e *expected) more(t *verifiedJWT, id *IDToken) error {
	if e.also == nil {
		return nil
	}
	return e.also(t, id)
}

// verifyIDToken is OpenID Connect Core 3.1.3.7, 3.1.3.8 and 12.2. go-oidc has the last word on the claims it looks at;
// it reads them from what our own strict reader saw, so that two readers can't see two tokens.
func (c *Client) verifyIDToken(ctx context.Context, md *discovery.Metadata, raw string, want expected) (*IDToken, error) {
	algs, err := c.signingAlgs(c.cfg.SigningAlg, md.IDTokenSigningAlgValuesSupported)
	if err != nil {
		return nil, err
	}
	t, err := c.verifyJWT(ctx, raw, "ID token", algs)
	if err != nil {
		return nil, err
	}
	id, err := t.idToken()
	if err != nil {
		return nil, err
	}
	checks := []func() error{
		func() error { return t.checkKind() },
		func() error { return c.checkTokenIssuer(t, id, want.iss) },
		func() error { return c.checkAudience(t, id) },
		func() error { return c.checkTimes(t, id, want.now) },
		func() error { return c.checkNonce(t, id, &want) },
		func() error { return t.checkHash("at_hash", want.accessToken) },
		func() error { return t.checkHash("c_hash", want.code) },
		func() error { return t.checkStateHash(want.login) },
		func() error { return c.checkAuthentication(t, id, &want) },
		func() error { return c.checkSuccession(t, id, want.prev) },
		func() error { return want.more(t, id) },
		func() error { return c.secondOpinion(ctx, raw, t, id, algs, want.now) },
	}
	for _, check := range checks {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return id, nil
}

// checkKind keeps other kinds of JWT out (RFC 8725 section 3.12): by typ, and by the events of a logout token.
func (t *verifiedJWT) checkKind() error {
	if t.header.Typ != "" && !strings.EqualFold(t.header.Typ, "JWT") {
		return t.fail("typ", "JWT or none", strconv.Quote(printable(t.header.Typ, 32)))
	}
	if t.header.Cty != "" {
		return t.fail("cty", "none", "a nested token")
	}
	if _, ok := t.claims["events"]; ok {
		return t.fail("events", "none: an ID token is no event", "some")
	}
	return nil
}

func (c *Client) checkTokenIssuer(t *verifiedJWT, id *IDToken, parameter string) error {
	want := c.cfg.Issuer
	if strings.Contains(want, tenantPlaceholder) {
		tid, err := t.requiredString("tid")
		if err != nil {
			return err
		}
		if !c.tenantAllowed(tid) {
			return t.fail("tid", "a tenant of Quirks.Tenants", strconv.Quote(printable(tid, 64)))
		}
		want = strings.Replace(want, tenantPlaceholder, tid, 1)
	}
	if id.Issuer != want && !slices.Contains(c.cfg.Quirks.IssuerAliases, id.Issuer) {
		return t.fail("iss", strconv.Quote(want), strconv.Quote(printable(id.Issuer, 256)))
	}
	if parameter != "" && id.Issuer != parameter {
		return t.fail("iss", "the iss parameter's tenant", "another")
	}
	return nil
}

// checkAudience: the client is meant; whoever else is meant is trusted by configuration, or vouched for by an azp that names the client.
func (c *Client) checkAudience(t *verifiedJWT, id *IDToken) error {
	if !slices.Contains(id.Audience, c.cfg.ClientID) {
		return t.fail("aud", strconv.Quote(c.cfg.ClientID), printable(quoteAll(id.Audience), 256))
	}
	if _, present := t.claims["azp"]; present && id.AuthorizedParty != c.cfg.ClientID {
		return t.fail("azp", strconv.Quote(c.cfg.ClientID), strconv.Quote(printable(id.AuthorizedParty, 128)))
	}
	for _, a := range id.Audience {
		if a != c.cfg.ClientID && !slices.Contains(c.cfg.Quirks.TrustedAudiences, a) && id.AuthorizedParty != c.cfg.ClientID {
			return t.fail("aud", "no audience but the client, without azp (Quirks.TrustedAudiences accepts one)", printable(quoteAll(id.Audience), 256))
		}
	}
	return nil
}

func quoteAll(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = strconv.Quote(s)
	}
	return strings.Join(quoted, " ")
}

func (c *Client) checkTimes(t *verifiedJWT, id *IDToken, now time.Time) error {
	clock := func(at time.Time) string { return at.UTC().Format(time.RFC3339) }
	if !now.Before(id.Expiry.Add(c.leeway)) {
		return t.fail("exp", "after "+clock(now), clock(id.Expiry))
	}
	if id.IssuedAt.After(now.Add(c.leeway)) {
		return t.fail("iat", "not after "+clock(now), clock(id.IssuedAt))
	}
	if id.IssuedAt.Before(now.Add(-maxIDTokenAge - c.leeway)) {
		return t.fail("iat", "within "+maxIDTokenAge.String()+" before "+clock(now), clock(id.IssuedAt))
	}
	nbf, present, err := t.time("nbf")
	if err != nil {
		return err
	}
	if present && nbf.After(now.Add(c.leeway)) {
		return t.fail("nbf", "not after "+clock(now), clock(nbf))
	}
	return nil
}

// checkNonce: the token was issued for this login (Core 3.1.3.7 (11)), or, after a refresh, says nothing or still says so (12.2).
func (c *Client) checkNonce(t *verifiedJWT, id *IDToken, want *expected) error {
	_, present := t.claims["nonce"]
	var nonce string
	switch {
	case want.login != nil:
		if !present && c.cfg.Quirks.InsecureSkipNonce {
			return nil
		}
		nonce = want.login.Nonce
	case !present || want.prev == nil:
		return nil
	default:
		nonce = want.prev.Nonce
	}
	if !present || nonce == "" {
		return t.fail("nonce", "the login's", "none")
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(nonce)) != 1 {
		return t.fail("nonce", "the login's", "another")
	}
	return nil
}

// checkHash compares at_hash or c_hash, when present, with the left half of value's hash (Core 3.1.3.6, 3.3.2.11).
func (t *verifiedJWT) checkHash(claim, value string) error {
	if _, present := t.claims[claim]; !present {
		return nil
	}
	got, err := t.optionalString(claim)
	if err != nil {
		return err
	}
	if value == "" {
		return nil // c_hash of a code long redeemed, repeated on a refresh
	}
	if subtle.ConstantTimeCompare([]byte(got), []byte(leftHalf(t.header.Alg, value))) != 1 {
		return t.fail(claim, "the hash of what came beside the token", "another")
	}
	return nil
}

// checkStateHash is checkHash for s_hash (FAPI 1.0 part 2, section 5.1.1).
func (t *verifiedJWT) checkStateHash(login *Login) error {
	if login == nil {
		return nil
	}
	return t.checkHash("s_hash", login.State)
}

func leftHalf(alg, value string) string {
	var sum []byte
	switch {
	case strings.HasSuffix(alg, "256"):
		h := sha256.Sum256([]byte(value))
		sum = h[:]
	case strings.HasSuffix(alg, "384"):
		h := sha512.Sum384([]byte(value))
		sum = h[:]
	default: // 512, and EdDSA whose hash with Ed25519 is SHA-512
		h := sha512.Sum512([]byte(value))
		sum = h[:]
	}
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

// checkAuthentication: how recently and how well the user was authenticated, where the login demanded it (Core 3.1.3.7 (12), (13)).
func (c *Client) checkAuthentication(t *verifiedJWT, id *IDToken, want *expected) error {
	login := want.login
	if login == nil {
		return nil
	}
	if login.MaxAge != nil {
		if id.AuthTime.IsZero() {
			return t.fail("auth_time", "one, since max_age was sent", "none")
		}
		// Age is counted to the login's start: consent pages and slow networks after it make no old authentication of a fresh one.
		start := login.StartedAt
		if start.IsZero() || start.After(want.now) {
			start = want.now
		}
		oldest := start.Add(-time.Duration(*login.MaxAge)*time.Second - c.leeway)
		if id.AuthTime.Before(oldest) {
			return t.fail("auth_time", "not before "+oldest.UTC().Format(time.RFC3339), id.AuthTime.UTC().Format(time.RFC3339))
		}
		if id.AuthTime.After(want.now.Add(c.leeway)) {
			return t.fail("auth_time", "not after "+want.now.UTC().Format(time.RFC3339), id.AuthTime.UTC().Format(time.RFC3339))
		}
	}
	if len(login.ACRValues) > 0 && !slices.Contains(login.ACRValues, id.ACR) {
		return t.fail("acr", "one of "+quoteAll(login.ACRValues), strconv.Quote(printable(id.ACR, 64)))
	}
	return nil
}

// checkSuccession: a refreshed ID token is about the same login as the one before (Core 12.2).
func (c *Client) checkSuccession(t *verifiedJWT, id, prev *IDToken) error {
	if prev == nil {
		return nil
	}
	switch {
	case id.Issuer != prev.Issuer:
		return t.fail("iss", "that of the former ID token", "another")
	case id.Subject != prev.Subject:
		return t.fail("sub", "that of the former ID token", "another user")
	case prev.AuthorizedParty != "" && id.AuthorizedParty != prev.AuthorizedParty:
		return t.fail("azp", "that of the former ID token", "another")
	case !prev.AuthTime.IsZero() && !id.AuthTime.IsZero() && !id.AuthTime.Equal(prev.AuthTime):
		return t.fail("auth_time", "that of the former ID token", "another")
	case id.IssuedAt.Before(prev.IssuedAt.Add(-c.leeway)):
		return t.fail("iat", "not before the former ID token's", "earlier")
	}
	for _, a := range prev.Audience {
		if !slices.Contains(id.Audience, a) {
			return t.fail("aud", "those of the former ID token", "others")
		}
	}
	return nil
}

// secondOpinion asks go-oidc about issuer, audience and expiry. nbf stays out: its leeway there is fixed.
func (c *Client) secondOpinion(ctx context.Context, raw string, t *verifiedJWT, id *IDToken, algs []string, now time.Time) error {
	seen := map[string]json.RawMessage{}
	for _, name := range []string{"iss", "sub", "aud", "exp", "iat", "nonce"} {
		if v, ok := t.claims[name]; ok {
			seen[name] = v
		}
	}
	payload, err := json.Marshal(seen)
	if err != nil {
		return t.wrap("json", err)
	}
	v := oidc.NewVerifier(id.Issuer, verifiedPayload(payload), &oidc.Config{
		ClientID:             c.cfg.ClientID,
		SupportedSigningAlgs: algs,
		Now:                  func() time.Time { return now.Add(-c.leeway) },
	})
	if _, err := v.Verify(ctx, raw); err != nil {
		return t.wrap("claims", err)
	}
	return nil
}

// verifiedPayload is go-oidc's KeySet for a token whose signature has been checked already.
type verifiedPayload []byte

func (p verifiedPayload) VerifySignature(context.Context, string) ([]byte, error) { return p, nil }
