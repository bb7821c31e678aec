package rp

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	jwtBearerGrant  = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	samlBearerGrant = "urn:ietf:params:oauth:grant-type:saml2-bearer"
)

// JWTBearer trades a JWT that somebody whom the provider trusts has signed for an access token (RFC 7523 section 2.1). g says for what; its Type stays empty.
// Assertion.Sign makes such a JWT. Microsoft Entra's on-behalf-of flow is this grant with requested_token_use=on_behalf_of in g.Params and a user's access token as the assertion.
//
// Errors: *ProviderError (Code "invalid_grant" when the provider does not like the assertion), ErrUnavailable, *TokenError (ErrInvalidToken), or a mistake in g.
func (c *Client) JWTBearer(ctx context.Context, assertion string, g GrantRequest) (*Tokens, error) {
	return c.bearer(ctx, jwtBearerGrant, assertion, g)
}

// SAMLBearer is JWTBearer for a SAML 2.0 assertion, given as its XML (RFC 7522 section 2.1): the signed Assertion element as the identity provider wrote it.
func (c *Client) SAMLBearer(ctx context.Context, assertion []byte, g GrantRequest) (*Tokens, error) {
	return c.bearer(ctx, samlBearerGrant, base64.RawURLEncoding.EncodeToString(assertion), g)
}

func (c *Client) bearer(ctx context.Context, grant, assertion string, g GrantRequest) (*Tokens, error) {
	switch {
	case assertion == "":
		return nil, errors.New("rp: the assertion is empty")
	case g.Type != "" && g.Type != grant:
		return nil, fmt.Errorf("rp: GrantRequest.Type is %q; leave it empty here", printable(g.Type, 64))
	case g.Params.Has("assertion"):
		return nil, errors.New("rp: GrantRequest.Params must not set assertion: it is an argument here")
	}
	g = g.clone()
	g.Type = grant
	g.Params.Set("assertion", assertion)
	t, err := c.grant(ctx, g)
	if err == nil && t.Scope == nil {
		t.Scope = g.Scopes
	}
	return t, err
}

// Assertion is what a JWT for JWTBearer says (RFC 7523 section 3). The zero Lifetime is good; the rest but Claims is required.
type Assertion struct {
	Issuer   string         // who signs, as the provider knows it
	Subject  string         // for whom a token is asked
	Audience string         // the provider: its issuer, or its token endpoint where it wants that
	Lifetime time.Duration  // from now on, whole seconds; zero: one minute, at most an hour
	Claims   map[string]any // further claims; one of iss, sub, aud, exp, nbf, iat and jti is an error
}

const (
	assertionLifetime    = time.Minute
	maxAssertionLifetime = time.Hour
)

// assertionOwned are the claims that Sign decides on.
var assertionOwned = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"}

// Sign makes a new JWT of a, good from now on and with a jti of its own. signer is go-jose's: jose.NewSigner with the key, or with an OpaqueSigner where the key stays in a KMS or HSM;
// the key's kid goes into its JSONWebKey. Each call signs anew.
func (a Assertion) Sign(signer jose.Signer) (string, error) {
	if signer == nil {
		return "", errors.New("rp: Assertion.Sign needs a signer")
	}
	life := a.Lifetime.Truncate(time.Second)
	if a.Lifetime == 0 {
		life = assertionLifetime
	}
	switch {
	case a.Issuer == "" || a.Subject == "" || a.Audience == "":
		return "", errors.New("rp: Assertion needs Issuer, Subject and Audience (RFC 7523 section 3)")
	case life <= 0 || life > maxAssertionLifetime:
		return "", fmt.Errorf("rp: Assertion.Lifetime is %v; it must be between a second and %v", a.Lifetime, maxAssertionLifetime)
	}
	claims := maps.Clone(a.Claims)
	if claims == nil {
		claims = map[string]any{}
	}
	for _, name := range assertionOwned {
		if _, taken := claims[name]; taken {
			return "", fmt.Errorf("rp: Assertion.Claims must not set %s", name)
		}
	}
	now := time.Now()
	maps.Copy(claims, map[string]any{
		"iss": a.Issuer, "sub": a.Subject, "aud": a.Audience, "iat": now.Unix(), "exp": now.Add(life).Unix(), "jti": rand.Text(),
	})
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("rp: Assertion.Claims are no JSON: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("rp: signing the assertion: %w", err)
	}
	return signed.CompactSerialize()
}
