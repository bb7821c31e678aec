package rp_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/clientauth"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

// rptest shares no code with this package, so where the two agree both have read the specifications alike.
func TestLoginAndRefreshAgainstAnIndependentProvider(t *testing.T) {
	secret := strings.Repeat("s3cret :%+/", 8)
	for name, x := range map[string]struct {
		alg    string // of the provider
		client rptest.Client
		change func(*rp.Config)
	}{
		"RS256": {alg: "RS256"}, "RS384": {alg: "RS384"}, "RS512": {alg: "RS512"},
		"PS256": {alg: "PS256"}, "PS384": {alg: "PS384"}, "PS512": {alg: "PS512"},
		"ES256": {alg: "ES256"}, "ES384": {alg: "ES384"}, "ES512": {alg: "ES512"}, "EdDSA": {alg: "EdDSA"},
		"HS256":     {client: rptest.Client{SigningAlg: "HS256"}, change: func(c *rp.Config) { c.SigningAlg = "HS256" }},
		"HS512":     {client: rptest.Client{SigningAlg: "HS512"}, change: func(c *rp.Config) { c.SigningAlg = "HS512" }},
		"basic":     {client: rptest.Client{AuthMethod: "client_secret_basic"}},
		"post":      {client: rptest.Client{AuthMethod: "client_secret_post"}, change: func(c *rp.Config) { c.Auth = clientauth.Post(c.ClientSecret) }},
		"form_post": {change: formPost},
	} {
		t.Run(name, func(t *testing.T) {
			x.client.ID, x.client.Secret = "odd client:%+", secret
			op, err := rptest.New(rptest.Options{Issuer: "https://op.example/with/path/", SigningAlg: x.alg, Clients: []rptest.Client{x.client}})
			if err != nil {
				t.Fatal(err)
			}
			cfg := rp.Config{Issuer: op.Issuer(), ClientID: x.client.ID, ClientSecret: secret, RedirectURL: testCallback, HTTPClient: op.Client()}
			if x.change != nil {
				x.change(&cfg)
			}
			c, err := rp.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			login, err := c.Begin(t.Context(), rp.AuthParams{MaxAge: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			answer := visit(op, strings.Replace(login.URL, "response_mode=form_post", "response_mode=query", 1))
			if cfg.ResponseMode != "" {
				u, _ := url.Parse(login.URL)
				if u.Query().Get("response_mode") != "form_post" {
					t.Error("form_post was not asked for")
				}
			}
			tokens, err := c.Finish(t.Context(), login, answer)
			if err != nil {
				t.Fatal(err)
			}
			if tokens.IDToken.Subject != "alice" || tokens.IDToken.AuthTime.IsZero() || tokens.OAuth2.Expiry.IsZero() {
				t.Errorf("tokens are %v", tokens)
			}
			renewed, err := c.Refresh(t.Context(), tokens.OAuth2.RefreshToken, tokens.IDToken)
			if err != nil || renewed.OAuth2.RefreshToken == tokens.OAuth2.RefreshToken {
				t.Fatalf("%v, %v", renewed, err)
			}
			if _, err := c.Refresh(t.Context(), tokens.OAuth2.RefreshToken, tokens.IDToken); !rp.IsInvalidGrant(err) {
				t.Errorf("a spent refresh token: %v", err)
			}
		})
	}
}
