package interop_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/latchkey-go/latchkey/internal/interop/panva"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/clientauth"
)

const (
	jwtBearerGrant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	exchangeGrant  = "urn:ietf:params:oauth:grant-type:token-exchange"
)

// es256 is a signer, and the JWK set with the public half of its key.
func es256(t *testing.T) (jose.Signer, jose.JSONWebKeySet) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k1"}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	return signer, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"}}}
}

// said are the claims of a JWT, without a word of the SDK.
func said(t *testing.T, raw string) map[string]any {
	t.Helper()
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		t.Fatalf("a token of %d parts", len(parts))
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(b, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func refusedWith(err error, code string) bool {
	var refused *rp.ProviderError
	return errors.As(err, &refused) && refused.Code == code && refused.Endpoint == "token"
}

func TestOIDCProvidersTokenExchange(t *testing.T) {
	p := panva.StartExchange(t)
	signer, keys := es256(t)
	p.Trust(t, "https://payroll.example", keys)
	grants := map[string]any{"grant_types": []string{"client_credentials", jwtBearerGrant, exchangeGrant}, "scope": "openid orders:read orders:write"}
	c := headless(t, p, "exchange", headlessSecret, grants)
	assertion := rp.Assertion{Issuer: "https://payroll.example", Subject: "alice", Audience: p.Issuer()}

	bearer := func(t *testing.T, scopes ...string) *rp.Tokens {
		t.Helper()
		raw, err := assertion.Sign(signer)
		if err != nil {
			t.Fatal(err)
		}
		tokens, err := c.JWTBearer(t.Context(), raw, rp.GrantRequest{Scopes: scopes})
		if err != nil {
			t.Fatal(err)
		}
		return tokens
	}

	t.Run("a JWT that is trusted becomes an access token", func(t *testing.T) {
		got := bearer(t, "orders:read")
		if got.OAuth2.AccessToken == "" || got.IDToken != nil || fmt.Sprint(got.Scope) != "[orders:read]" || time.Until(got.OAuth2.Expiry) < 4*time.Minute {
			t.Errorf("%v", got)
		}
		stranger, _ := es256(t)
		for name, sign := range map[string]func() (string, error){
			"another's key":    func() (string, error) { return assertion.Sign(stranger) },
			"another audience": func() (string, error) { a := assertion; a.Audience = "https://else.example"; return a.Sign(signer) },
			"another subject":  func() (string, error) { a := assertion; a.Subject = "mallory"; return a.Sign(signer) },
		} {
			raw, err := sign()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.JWTBearer(t.Context(), raw, rp.GrantRequest{}); !refusedWith(err, "invalid_grant") || !rp.IsInvalidGrant(err) || strings.Contains(err.Error(), raw) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})

	t.Run("a client's own token", func(t *testing.T) {
		token, err := c.ClientCredentials(t.Context(), "orders:read").Token()
		if err != nil || token.AccessToken == "" {
			t.Fatal(err)
		}
		g := rp.GrantRequest{Scopes: []string{"orders:write"}, Resources: []string{"https://stock.example"}}
		token, err = c.ClientCredentialsFor(t.Context(), g).Token()
		if err != nil {
			t.Fatal(err)
		}
		if claims := said(t, token.AccessToken); claims["aud"] != "https://stock.example" || claims["sub"] != "exchange" || claims["scope"] != "orders:write" {
			t.Errorf("%v", claims)
		}
		reader := headless(t, p, "reader", headlessSecret, map[string]any{"grant_types": []string{"client_credentials"}, "scope": "orders:read"})
		if _, err := reader.ClientCredentials(t.Context(), "orders:write").Token(); !refusedWith(err, "invalid_scope") {
			t.Errorf("a scope that is not the client's: %v", err)
		}
	})

	t.Run("impersonation, by audience and by resource", func(t *testing.T) {
		user := bearer(t, "orders:read", "orders:write")
		for name, req := range map[string]rp.ExchangeRequest{
			"audience": {Audiences: []string{"stock"}},
			"resource": {Resources: []string{"https://stock.example"}, RequestedTokenType: rp.TypeAccessToken},
		} {
			req.SubjectToken, req.Scopes = user.OAuth2.AccessToken, []string{"orders:read"}
			got, err := c.Exchange(t.Context(), req)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			claims := said(t, got.Tokens.OAuth2.AccessToken)
			if got.IssuedTokenType != rp.TypeAccessToken || claims["sub"] != "alice" || claims["aud"] != "https://stock.example" || claims["scope"] != "orders:read" || claims["act"] != nil {
				t.Errorf("%s: %v, %v", name, got, claims)
			}
		}
	})

	t.Run("delegation", func(t *testing.T) {
		own, err := c.ClientCredentials(t.Context(), "orders:read").Token()
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Exchange(t.Context(), rp.ExchangeRequest{SubjectToken: bearer(t, "orders:read").OAuth2.AccessToken, ActorToken: own.AccessToken, Audiences: []string{"stock"}})
		if err != nil {
			t.Fatal(err)
		}
		if claims := said(t, got.Tokens.OAuth2.AccessToken); claims["sub"] != "alice" || fmt.Sprint(claims["act"]) != "map[sub:exchange]" {
			t.Errorf("%v", claims)
		}
	})

	t.Run("an ID token beside is verified, one in its place is not", func(t *testing.T) {
		user := bearer(t, "openid", "orders:read").OAuth2.AccessToken
		got, err := c.Exchange(t.Context(), rp.ExchangeRequest{SubjectToken: user})
		if err != nil {
			t.Fatal(err)
		}
		if got.Tokens.IDToken == nil || got.Tokens.IDToken.Subject != "alice" || !has(t, got.Tokens.RawIDToken, "at_hash") {
			t.Errorf("%v", got)
		}
		got, err = c.Exchange(t.Context(), rp.ExchangeRequest{SubjectToken: user, RequestedTokenType: rp.TypeIDToken})
		if err != nil {
			t.Fatal(err)
		}
		if got.IssuedTokenType != rp.TypeIDToken || got.Tokens.OAuth2.TokenType != "N_A" || got.Tokens.IDToken != nil || said(t, got.Tokens.OAuth2.AccessToken)["aud"] != "exchange" {
			t.Errorf("%v", got)
		}
	})

	t.Run("what is wrong is told", func(t *testing.T) {
		user := bearer(t, "orders:read").OAuth2.AccessToken
		for code, req := range map[string]rp.ExchangeRequest{
			"invalid_target":  {SubjectToken: user, Audiences: []string{"bank"}},
			"invalid_scope":   {SubjectToken: user, Scopes: []string{"orders:write"}},
			"invalid_request": {SubjectToken: "not-an-active-token"},
		} {
			if _, err := c.Exchange(t.Context(), req); !refusedWith(err, code) {
				t.Errorf("%s: %v", code, err)
			}
		}
		lacking := headless(t, p, "no-exchange", headlessSecret, map[string]any{"grant_types": []string{"client_credentials"}})
		if _, err := lacking.Exchange(t.Context(), rp.ExchangeRequest{SubjectToken: user}); !refusedWith(err, "invalid_request") {
			t.Errorf("a client that may not: %v", err)
		}
		if _, err := c.Grant(t.Context(), rp.GrantRequest{Type: "urn:example:grant-type:ticket", Params: url.Values{"ticket": {"t"}}}); !refusedWith(err, "unsupported_grant_type") {
			t.Errorf("a grant nobody knows: %v", err)
		}
	})

	t.Run("silence about what was issued is refused, unless it is known", func(t *testing.T) {
		user := bearer(t, "orders:read").OAuth2.AccessToken
		p.Silent(t, true)
		defer p.Silent(t, false)
		if _, err := c.Exchange(t.Context(), rp.ExchangeRequest{SubjectToken: user}); err == nil || !strings.Contains(err.Error(), "no issued_token_type") {
			t.Errorf("error is %v", err)
		}
		known, err := rp.New(rp.Config{
			Issuer: p.Issuer(), ClientID: "exchange", ClientSecret: headlessSecret, InsecureLoopbackHTTP: true, Quirks: rp.Quirks{NoIssuedTokenType: true},
		})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := known.Exchange(t.Context(), rp.ExchangeRequest{SubjectToken: user}); err != nil || got.IssuedTokenType != "" {
			t.Errorf("%v, %v", got, err)
		}
	})

	t.Run("a client that has a key and no secret", func(t *testing.T) {
		signer, keys := es256(t)
		metadata := map[string]any{"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "ES256", "jwks": keys}
		for name, value := range grants {
			metadata[name] = value
		}
		headless(t, p, "keyed", "", metadata)
		own := rp.Assertion{Issuer: "keyed", Subject: "keyed", Audience: p.Issuer()}
		kept, err := own.Sign(signer)
		if err != nil {
			t.Fatal(err)
		}
		stranger, _ := es256(t)
		for name, x := range map[string]struct {
			source func(context.Context) (string, error)
			good   []bool
		}{
			"signed for each request": {func(context.Context) (string, error) { return own.Sign(signer) }, []bool{true, true}},
			"one for all":             {func(context.Context) (string, error) { return kept, nil }, []bool{true, false}},
			"signed by another key":   {func(context.Context) (string, error) { return own.Sign(stranger) }, []bool{false}},
		} {
			c, err := rp.New(rp.Config{Issuer: p.Issuer(), ClientID: "keyed", Auth: clientauth.Assertion(x.source), InsecureLoopbackHTTP: true})
			if err != nil {
				t.Fatal(err)
			}
			for n, good := range x.good {
				_, err := c.Grant(t.Context(), rp.GrantRequest{Type: "client_credentials", Scopes: []string{"orders:read"}})
				if good && err != nil || !good && !refusedWith(err, "invalid_client") {
					t.Errorf("%s, request %d: %v", name, n+1, err)
				}
			}
		}
	})
}
