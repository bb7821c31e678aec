package rp_test

// The OpenID Foundation's client test modules of the basic, config, form post and refresh plans, as far as they reach this package,
// each under its own name. The suite sees requests only; here the error is asserted as well.

import (
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/rp"
)

// The suite's dynamic clients end in punctuation out of all printable ASCII.
const (
	oddClient = `client_hQYfTBz "%:+`
	oddSecret = `secret_KpWcV&=?/\ü`
)

// certified is the suite's provider: what a client must survive in the happy path already.
func certified() *op {
	p := newOP()
	k := keys()
	p.issuer = "https://suite.example/test/a/latchkey/" // a trailing slash
	p.secret = oddSecret
	base := strings.TrimSuffix(p.issuer, "/")
	for name, path := range map[string]string{"issuer": "/", "authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/jwks", "userinfo_endpoint": "/userinfo"} {
		p.metadata[name] = base + path
	}
	p.metadata["response_types_supported"] = []string{"code", "id_token", "token id_token", "token code id_token"}
	enc := jwk("rsa-enc", "RSA-OAEP", k["rsa2"])
	enc["use"] = "enc"
	ecEnc := jwk("ec-enc", "ECDH-ES", k["ec384"])
	ecEnc["use"] = "enc"
	p.jwks = []map[string]any{
		{"kty": "EC", "crv": "secp256k1", "use": "sig", "kid": "k1", "x": b64(make([]byte, 32)), "y": b64(make([]byte, 32))}, // no alg
		enc, jwk("rsa2", "", k["rsa2"]), jwk("rsa", "", k["rsa"]), jwk("ec", "", k["ec"]), jwk("ed", "", k["ed"]), ecEnc,
	}
	p.edit = func(c map[string]any) { c["aud"] = oddClient; c["sub"] = "user-subject-1234531" }
	return p
}

func (p *op) registered(t *testing.T, change ...func(*rp.Config)) *rp.Client {
	return p.client(t, append([]func(*rp.Config){func(c *rp.Config) { c.ClientID = oddClient }}, change...)...)
}

func formPost(c *rp.Config) { c.ResponseMode = "form_post" }

// modes runs a module in the basic and in the form post plan.
func modes(t *testing.T, run func(t *testing.T, mode func(*rp.Config))) {
	t.Run("basic", func(t *testing.T) { run(t, func(*rp.Config) {}) })
	t.Run("form_post", func(t *testing.T) { run(t, formPost) })
}

// module runs a negative module: edit changes the ID token of the happy path.
func module(t *testing.T, check string, edit func(c map[string]any)) {
	t.Helper()
	modes(t, func(t *testing.T, mode func(*rp.Config)) {
		p := certified()
		happy := p.edit
		p.edit = func(c map[string]any) { happy(c); edit(c) }
		refused(t, p, p.registered(t, mode), rp.AuthParams{}, check)
	})
}

func TestOIDCCClientTest(t *testing.T) {
	modes(t, func(t *testing.T, mode func(*rp.Config)) {
		p := certified()
		c := p.registered(t, mode)
		login, err := c.Begin(t.Context(), rp.AuthParams{})
		if err != nil {
			t.Fatal(err)
		}
		if len(login.Nonce) > 43 || len(login.State) > 128 || url.QueryEscape(login.Nonce) != login.Nonce || url.QueryEscape(login.State) != login.State {
			t.Errorf("nonce %q or state %q earns a warning", login.Nonce, login.State)
		}
		tokens, err := c.Finish(t.Context(), login, p.authorize(t, login))
		if err != nil {
			t.Fatal(err)
		}
		if !tokens.OAuth2.Expiry.IsZero() {
			t.Errorf("an expiry was made up: %v", tokens.OAuth2.Expiry)
		}
		if tokens.IDToken.Subject != "user-subject-1234531" || tokens.IDToken.Issuer != "https://suite.example/test/a/latchkey/" {
			t.Errorf("ID token is %#v", tokens.IDToken)
		}
		if got := p.sent[0].path; got != "suite.example/test/a/latchkey/.well-known/openid-configuration" {
			t.Errorf("discovery went to %s", got)
		}
	})
}

func TestOIDCCClientTestClientSecretBasic(t *testing.T) {
	p := certified()
	if _, err := p.login(t, p.registered(t), rp.AuthParams{}); err != nil {
		t.Fatal(err)
	}
	last := p.last()
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(last.header.Get("Authorization"), "Basic "))
	if err != nil {
		t.Fatal(err)
	}
	id, secret, _ := strings.Cut(string(raw), ":")
	id, _ = url.QueryUnescape(id)
	secret, _ = url.QueryUnescape(secret)
	if id != oddClient || secret != oddSecret {
		t.Errorf("came as %q and %q", id, secret)
	}
	if last.form.Has("client_id") || last.form.Has("client_secret") {
		t.Error("the client authenticated twice")
	}
}

func TestOIDCCClientTestScopeUserinfoClaims(t *testing.T) {
	p := certified()
	login, err := p.registered(t, func(c *rp.Config) { c.Scopes = []string{"profile", "email", "phone", "address"} }).Begin(t.Context(), rp.AuthParams{})
	if err != nil {
		t.Fatal(err)
	}
	if got := query(t, login).Get("scope"); got != "openid profile email phone address" {
		t.Errorf("scope is %q", got)
	}
}

func TestOIDCCClientTestIDTokenSigRS256(t *testing.T) {
	p := certified()
	p.metadata["id_token_signing_alg_values_supported"] = []string{"RS256"}
	if _, err := p.login(t, p.registered(t), rp.AuthParams{}); err != nil {
		t.Error(err)
	}
}

func TestOIDCCClientTestIDTokenSigNone(t *testing.T) {
	p := certified()
	p.alg, p.header = "none", nil
	p.metadata["id_token_signing_alg_values_supported"] = []string{"none"}
	login, err := p.registered(t).Begin(t.Context(), rp.AuthParams{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.registered(t).Finish(t.Context(), login, p.authorize(t, login))
	if _, ok := errors.AsType[*rp.UnsupportedError](err); !ok {
		t.Errorf("a provider that lists none alone: %v", err)
	}
	p.metadata["id_token_signing_alg_values_supported"] = []string{"RS256", "none"}
	refused(t, p, p.registered(t), rp.AuthParams{}, "alg")
}

func TestOIDCCClientTestInvalidSigRS256(t *testing.T) { xored(t, "RS256") }
func TestOIDCCClientTestInvalidSigES256(t *testing.T) { xored(t, "ES256") }

func TestOIDCCClientTestInvalidSigHS256(t *testing.T) {
	p := certified()
	p.secret = strings.Repeat("s", 40)
	p.alg, p.key, p.header = "HS256", []byte(p.secret), nil
	hs := func(c *rp.Config) { c.SigningAlg = "HS256" }
	if _, err := p.login(t, p.registered(t, hs), rp.AuthParams{}); err != nil {
		t.Fatal(err)
	}
	p.wrap = xorSignature
	refused(t, p, p.registered(t, hs), rp.AuthParams{}, "signature")
}

func xored(t *testing.T, alg string) {
	modes(t, func(t *testing.T, mode func(*rp.Config)) {
		p := certified()
		p.use(alg)
		if _, err := p.login(t, p.registered(t, mode), rp.AuthParams{}); err != nil {
			t.Fatal(err)
		}
		p.wrap = xorSignature
		refused(t, p, p.registered(t, mode), rp.AuthParams{}, "signature")
	})
}

func xorSignature(raw string) string {
	i := strings.LastIndex(raw, ".")
	sig, _ := base64.RawURLEncoding.DecodeString(raw[i+1:])
	for j := range sig {
		sig[j] ^= 0xff
	}
	return raw[:i+1] + b64(sig)
}

func TestOIDCCClientTestInvalidIss(t *testing.T) {
	module(t, "iss", func(c map[string]any) { c["iss"] = c["iss"].(string) + "1" })
}

func TestOIDCCClientTestInvalidAud(t *testing.T) {
	module(t, "aud", func(c map[string]any) { c["aud"] = oddClient + "1" })
}

func TestOIDCCClientTestMissingAud(t *testing.T) {
	module(t, "aud", func(c map[string]any) { delete(c, "aud") })
}

func TestOIDCCClientTestMissingSub(t *testing.T) {
	module(t, "sub", func(c map[string]any) { delete(c, "sub") })
}

func TestOIDCCClientTestMissingIat(t *testing.T) {
	module(t, "iat", func(c map[string]any) { delete(c, "iat") })
}

func TestOIDCCClientTestNonceInvalid(t *testing.T) {
	module(t, "nonce", func(c map[string]any) { c["nonce"] = c["nonce"].(string) + "1" })
}

func TestOIDCCClientTestInvalidAthash(t *testing.T) {
	module(t, "at_hash", func(c map[string]any) { c["at_hash"] = c["at_hash"].(string) + "1" })
}

func TestOIDCCClientTestKidAbsentSingleJwks(t *testing.T) {
	p := certified()
	p.header = nil
	p.jwks = []map[string]any{
		{"kty": "EC", "crv": "secp256k1", "use": "sig", "x": b64(make([]byte, 32)), "y": b64(make([]byte, 32))},
		jwk("", "", keys()["rsa"]), jwk("", "", keys()["ec"]), jwk("", "", keys()["ed"]),
	}
	if _, err := p.login(t, p.registered(t), rp.AuthParams{}); err != nil {
		t.Error(err)
	}
}

// Trying the keys and refusing both pass the module.
func TestOIDCCClientTestKidAbsentMultipleJwks(t *testing.T) {
	p := certified()
	p.header = nil
	p.jwks = []map[string]any{jwk("", "", keys()["rsa2"]), jwk("", "", keys()["rsa"]), jwk("", "", keys()["ec"]), jwk("", "", keys()["ec384"])}
	if _, err := p.login(t, p.registered(t), rp.AuthParams{}); err != nil && !errors.Is(err, rp.ErrInvalidToken) {
		t.Error(err)
	}
}

func TestOIDCCClientTestNonceUnlessCodeFlow(t *testing.T) {
	login, err := certified().registered(t).Begin(t.Context(), rp.AuthParams{})
	if err != nil || !query(t, login).Has("nonce") {
		t.Errorf("no nonce: %v", err)
	}
}

func TestOIDCCClientTestFormPostError(t *testing.T) {
	p := certified()
	c := p.registered(t, formPost)
	login, err := c.Begin(t.Context(), rp.AuthParams{Prompt: "none", MaxAge: -1})
	if err != nil {
		t.Fatal(err)
	}
	q := query(t, login)
	if q.Get("response_mode") != "form_post" || q.Get("max_age") != "0" || q.Get("prompt") != "none" {
		t.Errorf("sent %v", q)
	}
	_, err = c.Finish(t.Context(), login, url.Values{"state": {login.State}, "error": {"login_required"}, "error_description": {"nobody is here"}})
	if e, ok := errors.AsType[*rp.ProviderError](err); !ok || e.Code != "login_required" || e.Endpoint != "authorization" || p.count() != 0 {
		t.Errorf("error is %v", err)
	}
}

func TestOIDCCClientTestDiscoveryOpenIDConfig(t *testing.T) {
	p := certified()
	md, err := p.registered(t).Metadata(t.Context())
	if err != nil || md.Issuer != p.issuer {
		t.Errorf("%v, %v", md, err)
	}
}

func TestOIDCCClientTestDiscoveryJwksURIKeys(t *testing.T) {
	p := certified()
	p.metadata["jwks_uri"] = "https://suite.example/test/a/latchkey/x81hf/jwks"
	if _, err := p.login(t, p.registered(t), rp.AuthParams{}); err != nil {
		t.Fatal(err)
	}
	if p.jwksGets != 1 {
		t.Errorf("keys were fetched %d times", p.jwksGets)
	}
}

func TestOIDCCClientTestDiscoveryIssuerMismatch(t *testing.T) {
	p := certified()
	p.metadata["issuer"] = p.issuer + "INVALID"
	if login, err := p.registered(t).Begin(t.Context(), rp.AuthParams{}); err == nil || login != nil {
		t.Error("a foreign document was believed")
	}
}

// rotate publishes and uses a new key.
func (p *op) rotate(kid string, key any) {
	p.key, p.header = key, map[string]any{"kid": kid}
	p.jwks = []map[string]any{jwk(kid, "", key)}
}

func TestOIDCCClientTestSigningKeyRotation(t *testing.T) {
	p := certified()
	c := p.registered(t)
	if _, err := p.login(t, c, rp.AuthParams{}); err != nil {
		t.Fatal(err)
	}
	p.rotate("next", keys()["rsa2"])
	if _, err := p.login(t, c, rp.AuthParams{}); err != nil {
		t.Error(err)
	}
	if p.jwksGets != 2 {
		t.Errorf("keys were fetched %d times", p.jwksGets)
	}
}

func TestOIDCCClientTestSigningKeyRotationJustBeforeSigning(t *testing.T) {
	p := certified()
	c := p.registered(t)
	if _, err := p.login(t, c, rp.AuthParams{}); err != nil {
		t.Fatal(err)
	}
	login, err := c.Begin(t.Context(), rp.AuthParams{})
	if err != nil {
		t.Fatal(err)
	}
	answer := p.authorize(t, login)
	p.rotate("just-now", keys()["rsa2"])
	if _, err := c.Finish(t.Context(), login, answer); err != nil {
		t.Error(err)
	}
}

// refreshed logs in and refreshes with a changed ID token.
func refreshed(t *testing.T, edit func(c map[string]any)) (*op, *rp.Tokens, error) {
	t.Helper()
	p := certified()
	c := p.registered(t)
	tokens, err := p.login(t, c, rp.AuthParams{})
	if err != nil {
		t.Fatal(err)
	}
	happy := p.edit
	p.edit = func(m map[string]any) { happy(m); m["nonce"] = tokens.IDToken.Nonce; edit(m) }
	tokens, err = c.Refresh(t.Context(), tokens.OAuth2.RefreshToken, tokens.IDToken)
	return p, tokens, err
}

func TestOIDCCClientTestRefreshToken(t *testing.T) {
	p, tokens, err := refreshed(t, func(map[string]any) {})
	if err != nil || tokens.OAuth2.RefreshToken != "refresh-2" || p.last().form.Has("scope") {
		t.Errorf("%v, %v", tokens, err)
	}
}

func TestOIDCCClientTestRefreshTokenInvalidIssuer(t *testing.T) {
	_, tokens, err := refreshed(t, func(c map[string]any) { c["iss"] = c["iss"].(string) + "1" })
	if e, ok := errors.AsType[*rp.TokenError](err); !ok || e.Check != "iss" || tokens != nil {
		t.Errorf("%v, %v", tokens, err)
	}
}

func TestOIDCCClientTestRefreshTokenInvalidSub(t *testing.T) {
	_, tokens, err := refreshed(t, func(c map[string]any) { c["sub"] = c["sub"].(string) + "1" })
	if e, ok := errors.AsType[*rp.TokenError](err); !ok || e.Check != "sub" || tokens != nil {
		t.Errorf("%v, %v", tokens, err)
	}
}

// Those of the FAPI modules which are about an ID token or a token response.
func TestFAPIClientTestInvalidSecondaryAud(t *testing.T) {
	module(t, "aud", func(c map[string]any) { c["aud"] = []string{oddClient, oddClient + "1"} })
}

func TestFAPIClientTestValidAudAsArray(t *testing.T) {
	p := certified()
	p.edit = func(c map[string]any) { c["aud"] = []string{oddClient} }
	if _, err := p.login(t, p.registered(t), rp.AuthParams{}); err != nil {
		t.Error(err)
	}
}

func TestFAPIClientTestInvalidAlternateAlg(t *testing.T) {
	p := certified()
	refused(t, p, p.registered(t, func(c *rp.Config) { c.SigningAlg = "PS256" }), rp.AuthParams{}, "alg")
}

func TestFAPIClientTestInvalidExpiredExp(t *testing.T) {
	module(t, "exp", func(c map[string]any) { c["exp"] = now(-360) })
	// The widest leeway a configuration may ask for is still too narrow for it.
	p := certified()
	happy := p.edit
	p.edit = func(c map[string]any) { happy(c); c["exp"] = now(-360) }
	refused(t, p, p.registered(t, func(c *rp.Config) { c.Leeway = 5 * time.Minute }), rp.AuthParams{}, "exp")
}

func TestFAPIClientTestInvalidMissingExp(t *testing.T) {
	module(t, "exp", func(c map[string]any) { delete(c, "exp") })
}

func TestFAPIClientTestIatIsWeekInPast(t *testing.T) {
	module(t, "iat", func(c map[string]any) { c["iat"] = now(-7 * 86400) })
}

func TestFAPIClientTestInvalidMissingNonce(t *testing.T) {
	module(t, "nonce", func(c map[string]any) { delete(c, "nonce") })
}

func TestFAPIClientTestNoScopeInTokenEndpointResponse(t *testing.T) {
	p := certified()
	p.tokens = func(m map[string]any) { delete(m, "scope") }
	tokens, err := p.login(t, p.registered(t), rp.AuthParams{})
	if err != nil || strings.Join(tokens.Scope, " ") != "openid profile email" {
		t.Errorf("%v, %v", tokens, err)
	}
}

func TestFAPIClientTestMissingAthash(t *testing.T) {
	p := certified()
	happy := p.edit
	p.edit = func(c map[string]any) { happy(c); delete(c, "at_hash") }
	if _, err := p.login(t, p.registered(t), rp.AuthParams{}); err != nil {
		t.Error(err)
	}
}

func TestFAPIClientTestTokenTypeCaseInsensitivity(t *testing.T) {
	p := certified()
	p.tokens = func(m map[string]any) { m["token_type"] = "bEARER" }
	if _, err := p.login(t, p.registered(t), rp.AuthParams{}); err != nil {
		t.Error(err)
	}
}

// Three keys under one kid: the right one is chosen by kind as well.
func TestFAPIClientTestDecoysUnderOneKid(t *testing.T) {
	p := certified()
	p.use("PS256")
	p.header = map[string]any{"kid": "same"}
	p.jwks = []map[string]any{jwk("same", "EdDSA", keys()["ed"]), jwk("same", "PS256", keys()["rsa"]), jwk("same", "ES256", keys()["ec"])}
	if _, err := p.login(t, p.registered(t), rp.AuthParams{}); err != nil {
		t.Error(err)
	}
}
