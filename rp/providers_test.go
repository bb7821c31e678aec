package rp_test

// Deviations of real providers, as far as they are about the authorization answer, the token endpoint or the ID token: what is
// tolerated, what only by a quirk of its name, and what never.

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/rp"
)

func TestProviderGoogleIssuerWithoutScheme(t *testing.T) {
	p := newOP()
	p.issuer = "https://accounts.google.com"
	p.metadata["issuer"] = p.issuer
	p.edit = func(c map[string]any) { c["iss"] = "accounts.google.com" }
	refused(t, p, p.client(t), rp.AuthParams{}, "iss")
	alias := func(c *rp.Config) { c.Quirks.IssuerAliases = []string{"accounts.google.com"} }
	tokens, err := p.login(t, p.client(t, alias), rp.AuthParams{})
	if err != nil || tokens.IDToken.Issuer != "accounts.google.com" {
		t.Errorf("%v, %v", tokens, err)
	}
	p.edit = func(c map[string]any) { c["iss"] = "accounts.google.com.evil.example" }
	refused(t, p, p.client(t, alias), rp.AuthParams{}, "iss")
}

func TestProviderGoogleAudienceOfAnotherClient(t *testing.T) {
	p := newOP()
	p.edit = func(c map[string]any) { c["aud"], c["azp"] = "another-client", testClient }
	refused(t, p, p.client(t), rp.AuthParams{}, "aud")
}

func TestProviderGoogleNoRefreshToken(t *testing.T) {
	p := newOP()
	p.tokens = func(m map[string]any) { delete(m, "refresh_token") }
	tokens, err := p.login(t, p.client(t), rp.AuthParams{Extra: url.Values{"access_type": {"offline"}}})
	if err != nil || tokens.OAuth2.RefreshToken != "" {
		t.Errorf("%v, %v", tokens, err)
	}
}

// entra is a multi-tenant issuer.
func entra() *op {
	p := newOP()
	p.issuer = "https://login.microsoftonline.example/{tenantid}/v2.0"
	base := "https://login.microsoftonline.example/common"
	p.metadata["issuer"] = p.issuer
	p.metadata["authorization_endpoint"] = base + "/authorize"
	p.metadata["token_endpoint"] = base + "/token"
	p.metadata["jwks_uri"] = base + "/jwks"
	p.edit = tenant("11111111-aaaa", "11111111-aaaa")
	return p
}

func tenant(iss, tid any) func(map[string]any) {
	return func(c map[string]any) {
		c["iss"], c["tid"] = "https://login.microsoftonline.example/"+iss.(string)+"/v2.0", tid
	}
}

func TestProviderEntraTenantInTheIssuer(t *testing.T) {
	discover := func(c *rp.Config) {
		c.DiscoveryURL = "https://login.microsoftonline.example/common/v2.0/.well-known/openid-configuration"
	}
	p := entra()
	tokens, err := p.login(t, p.client(t, discover), rp.AuthParams{})
	if err != nil || tokens.IDToken.Issuer != "https://login.microsoftonline.example/11111111-aaaa/v2.0" {
		t.Fatalf("%v, %v", tokens, err)
	}
	for name, x := range map[string]struct {
		iss   string
		tid   any
		check string
	}{
		"other tenant":   {"11111111-aaaa", "22222222-bbbb", "iss"},
		"no tid":         {"11111111-aaaa", nil, "tid"},
		"tid empty":      {"", "", "tid"},
		"tid number":     {"1", 1, "tid"},
		"tid with slash": {"a/../b", "a/../b", "tid"},
		"placeholder":    {"{tenantid}", "{tenantid}", "tid"},
	} {
		p.edit = tenant(x.iss, x.tid)
		t.Run(name, func(t *testing.T) { refused(t, p, p.client(t, discover), rp.AuthParams{}, x.check) })
	}
	p.edit = tenant("22222222-bbbb", "22222222-bbbb")
	allow := func(list ...string) func(*rp.Config) { return func(c *rp.Config) { c.Quirks.Tenants = list } }
	refused(t, p, p.client(t, discover, allow("11111111-aaaa")), rp.AuthParams{}, "tid")
	if _, err := p.login(t, p.client(t, discover, allow("11111111-aaaa", "22222222-bbbb")), rp.AuthParams{}); err != nil {
		t.Error(err)
	}
}

func TestProviderEntraIssParameterNamesTheTenant(t *testing.T) {
	for name, x := range map[string]struct{ iss, fails string }{
		"same tenant":   {"https://login.microsoftonline.example/11111111-aaaa/v2.0", ""},
		"other tenant":  {"https://login.microsoftonline.example/22222222-bbbb/v2.0", "token"},
		"literal":       {"https://login.microsoftonline.example/{tenantid}/v2.0", "parameter"},
		"other path":    {"https://login.microsoftonline.example/a/b/v2.0", "parameter"},
		"other host":    {"https://evil.example/11111111-aaaa/v2.0", "parameter"},
		"too short":     {"https://login.microsoftonline.example/v2.0", "parameter"},
		"no tenant":     {"https://login.microsoftonline.example//v2.0", "parameter"},
		"other version": {"https://login.microsoftonline.example/11111111-aaaa/v1.0", "parameter"},
	} {
		t.Run(name, func(t *testing.T) {
			p := entra()
			c := p.client(t, func(c *rp.Config) {
				c.DiscoveryURL = "https://login.microsoftonline.example/common/.well-known/openid-configuration"
			})
			login, err := c.Begin(t.Context(), rp.AuthParams{})
			if err != nil {
				t.Fatal(err)
			}
			answer := p.authorize(t, login)
			answer.Set("iss", x.iss)
			_, err = c.Finish(t.Context(), login, answer)
			switch e, ok := errors.AsType[*rp.TokenError](err); {
			case x.fails == "" && err != nil, x.fails == "token" && (!ok || e.Check != "iss"):
				t.Errorf("error is %v", err)
			case x.fails == "parameter":
				mismatch(t, err, "iss")
			}
		})
	}
}

func TestProviderEntraMetadataWithoutPKCEAndTokensWithoutHashes(t *testing.T) {
	p := newOP()
	p.edit = func(c map[string]any) { delete(c, "at_hash"); delete(c, "c_hash") }
	tokens, err := p.login(t, p.client(t), rp.AuthParams{})
	if err != nil || !p.last().form.Has("code_verifier") {
		t.Errorf("%v, %v", tokens, err)
	}
}

func TestProviderZitadelAudienceListsTheProject(t *testing.T) {
	p := newOP()
	p.edit = func(c map[string]any) {
		c["aud"], c["azp"], c["client_id"] = []string{testClient, "project"}, testClient, testClient
	}
	if _, err := p.login(t, p.client(t), rp.AuthParams{}); err != nil {
		t.Error(err)
	}
	p.edit = func(c map[string]any) { c["aud"] = []string{testClient, "project"} }
	refused(t, p, p.client(t), rp.AuthParams{}, "aud")
	trusted := func(c *rp.Config) { c.Quirks.TrustedAudiences = []string{"project"} }
	if _, err := p.login(t, p.client(t, trusted), rp.AuthParams{}); err != nil {
		t.Error(err)
	}
	p.edit = func(c map[string]any) { c["aud"] = []string{testClient, "project", "stranger"} }
	refused(t, p, p.client(t, trusted), rp.AuthParams{}, "aud")
	p.edit = func(c map[string]any) { c["aud"], c["azp"] = []string{testClient, "project"}, "project" }
	refused(t, p, p.client(t, trusted), rp.AuthParams{}, "azp")
}

func TestProviderZitadelIssuerWithSlashAndNoIssParameter(t *testing.T) {
	p := newOP() // testIssuer ends in a slash
	if _, err := p.login(t, p.client(t), rp.AuthParams{}); err != nil {
		t.Error(err)
	}
}

func TestProviderZitadelRefreshedIDTokenWithoutNonce(t *testing.T) {
	p := newOP()
	c, before := loggedIn(t, p)
	if after, err := c.Refresh(t.Context(), "refresh-1", before.IDToken); err != nil || after.IDToken.Nonce != "" {
		t.Errorf("%v, %v", after, err)
	}
}

func TestProviderDexIssuerWithAPath(t *testing.T) {
	p := newOP()
	p.issuer = "https://op.example/dex"
	p.metadata["issuer"] = p.issuer
	p.header = map[string]any{"kid": "rsa"} // no typ
	p.tokens = func(m map[string]any) { m["token_type"] = "bearer"; delete(m, "scope"); m["expires_in"] = 299 }
	tokens, err := p.login(t, p.client(t), rp.AuthParams{})
	if err != nil || tokens.OAuth2.Expiry.IsZero() || strings.Join(tokens.Scope, " ") != "openid profile email" {
		t.Errorf("%v, %v", tokens, err)
	}
	if p.sent[0].path != "op.example/dex/.well-known/openid-configuration" {
		t.Errorf("discovery went to %s", p.sent[0].path)
	}
}

func TestProviderCasdoorAccessTokenIsTheIDToken(t *testing.T) {
	p := newOP()
	p.edit = func(c map[string]any) {
		delete(c, "at_hash")
		c["tokenType"], c["address"], c["groups"], c["passwordSalt"] = "access-token", []string{}, []string{}, ""
		for _, name := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
			c["claim_"+name] = ""
		}
	}
	p.tokens = func(m map[string]any) { m["access_token"] = m["id_token"] }
	if _, err := p.login(t, p.client(t), rp.AuthParams{}); err != nil {
		t.Error(err)
	}
}

func TestProviderGlewlwydErrors(t *testing.T) {
	p := newOP()
	p.answer = func(*http.Request, url.Values) *http.Response {
		return replyJSON(403, map[string]any{"error": "invalid_code"})
	}
	_, err := p.login(t, p.client(t), rp.AuthParams{})
	provider(t, err, 403, "invalid_code")
	p.answer = func(*http.Request, url.Values) *http.Response { return reply(403, "", "") }
	_, err = p.login(t, p.client(t), rp.AuthParams{})
	if provider(t, err, 403, ""); rp.IsInvalidGrant(err) {
		t.Error("a wrong client secret ends sessions")
	}
}

func TestProviderGlewlwydAuthTimeZero(t *testing.T) {
	p := newOP()
	p.edit = func(c map[string]any) { c["auth_time"] = 0 }
	tokens, err := p.login(t, p.client(t), rp.AuthParams{})
	if err != nil || !tokens.IDToken.AuthTime.IsZero() {
		t.Errorf("%v, %v", tokens, err)
	}
	refused(t, p, p.client(t), rp.AuthParams{MaxAge: -1}, "auth_time")
}

func TestProviderGlewlwydFormPostEscapesTwice(t *testing.T) {
	p := newOP()
	run := func(quirk bool) error {
		c := p.client(t, formPost, func(c *rp.Config) { c.Quirks.IgnoreIssParameter = quirk })
		login, err := c.Begin(t.Context(), rp.AuthParams{})
		if err != nil {
			t.Fatal(err)
		}
		answer := p.authorize(t, login)
		answer.Set("iss", url.QueryEscape(testIssuer))
		answer.Set("session_state", "a%3D")
		_, err = c.Finish(t.Context(), login, answer)
		return err
	}
	err := run(false)
	mismatch(t, err, "iss")
	if !strings.Contains(err.Error(), "twice") {
		t.Errorf("the error does not tell why: %v", err)
	}
	if err := run(true); err != nil {
		t.Error(err)
	}
}

func TestProviderLinkedInNoNonceNoPKCE(t *testing.T) {
	p := newOP()
	quirks := func(c *rp.Config) { c.Quirks.InsecureSkipNonce, c.Quirks.InsecureSkipPKCE = true, true }
	p.edit = func(c map[string]any) { delete(c, "nonce") }
	refused(t, p, p.client(t), rp.AuthParams{}, "nonce")
	if _, err := p.login(t, p.client(t, quirks), rp.AuthParams{}); err != nil {
		t.Error(err)
	}
	for _, nonce := range []any{"other", "", []string{}} { // one that is there must still be right
		p.edit = func(c map[string]any) { c["nonce"] = nonce }
		refused(t, p, p.client(t, quirks), rp.AuthParams{}, "nonce")
	}
}

func TestProviderPayPalExpiresInAsText(t *testing.T) {
	p := newOP()
	p.tokens = func(m map[string]any) { m["expires_in"] = "28800" }
	tokens, err := p.login(t, p.client(t), rp.AuthParams{})
	if err != nil || tokens.OAuth2.Expiry.IsZero() {
		t.Errorf("%v, %v", tokens, err)
	}
}

func TestProviderBetterAuthSignsOtherThanItSays(t *testing.T) {
	p := newOP()
	p.alg, p.key = "HS256", []byte(testSecret)
	refused(t, p, p.client(t), rp.AuthParams{}, "alg")
}

func TestProviderListsItsOwnAlgorithmsOnly(t *testing.T) {
	p := newOP()
	p.use("ES256")
	p.metadata["id_token_signing_alg_values_supported"] = []string{"ES256", "HS256", "none", "ES256K"}
	if _, err := p.login(t, p.client(t), rp.AuthParams{}); err != nil {
		t.Error(err)
	}
	// RS256 when it is listed at all, unless configuration says otherwise.
	p.metadata["id_token_signing_alg_values_supported"] = []string{"ES256", "RS256"}
	refused(t, p, p.client(t), rp.AuthParams{}, "alg")
	if _, err := p.login(t, p.client(t, func(c *rp.Config) { c.SigningAlg = "ES256" }), rp.AuthParams{}); err != nil {
		t.Error(err)
	}
}

func TestProviderOldOAuthServersFormEncodedAnswer(t *testing.T) {
	p := newOP()
	p.answer = func(*http.Request, url.Values) *http.Response {
		return reply(200, "text/plain", "access_token=marked&token_type=bearer&refresh_token=marked")
	}
	_, err := p.login(t, p.client(t), rp.AuthParams{})
	if provider(t, err, 200, ""); strings.Contains(err.Error(), "marked") || !strings.Contains(err.Error(), "application/json") {
		t.Errorf("error is %v", err)
	}
}

func TestProviderAnsweringDPoPUnaskedIsRefused(t *testing.T) {
	p := newOP()
	p.tokens = func(m map[string]any) { m["token_type"] = "DPoP" }
	_, err := p.login(t, p.client(t), rp.AuthParams{})
	provider(t, err, 200, "")
}

func TestProviderOracleIssuerAtAnotherPlace(t *testing.T) {
	p := newOP()
	p.issuer = "https://identity.oraclecloud.example/"
	p.metadata["issuer"] = p.issuer
	c := p.client(t, func(c *rp.Config) {
		c.DiscoveryURL = "https://idcs-1.identity.oraclecloud.example/.well-known/openid-configuration"
	})
	if _, err := p.login(t, c, rp.AuthParams{}); err != nil {
		t.Error(err)
	}
}

func TestProviderRequiredCodesOfPromptNone(t *testing.T) {
	for _, code := range []string{"login_required", "interaction_required", "consent_required", "account_selection_required"} {
		p := newOP()
		c := p.client(t)
		login, err := c.Begin(t.Context(), rp.AuthParams{Prompt: "none"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Finish(t.Context(), login, url.Values{"state": {login.State}, "error": {code}})
		if e, ok := errors.AsType[*rp.ProviderError](err); !ok || e.Code != code {
			t.Errorf("%s: %v", code, err)
		}
	}
}
