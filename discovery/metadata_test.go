package discovery_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/discovery"
)

func TestTheDocumentIsLookedForWhereTheIssuerPutsIt(t *testing.T) {
	const suffix, oauth = "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"
	for _, c := range []struct {
		name, issuer, path string
		calls              []string
	}{
		{"plain", "https://op.example", suffix, []string{suffix}},
		{"final slash", "https://op.example/", suffix, []string{suffix}},
		{"path", "https://op.example/realms/a", "/realms/a" + suffix, []string{"/realms/a" + suffix}},
		{"path and final slash", "https://op.example/test/a/ALIAS/", "/test/a/ALIAS" + suffix, []string{"/test/a/ALIAS" + suffix}},
		{"two final slashes", "https://op.example/a//", "/a/" + suffix, []string{"/a/" + suffix}},
		{"RFC 8414", "https://op.example", oauth, []string{suffix, oauth}},
		{"RFC 8414 with path", "https://op.example/tenant", oauth + "/tenant", []string{"/tenant" + suffix, oauth + "/tenant"}},
		{"RFC 8414 with path and slash", "https://op.example/tenant/", oauth + "/tenant", []string{"/tenant" + suffix, oauth + "/tenant"}},
		{"RFC 8414 with OpenID's name", "https://op.example/tenant", suffix + "/tenant", []string{"/tenant" + suffix, oauth + "/tenant", suffix + "/tenant"}},
		{"escaped path", "https://op.example/a%2Fb", suffix + "/a/b", []string{"/a%2Fb" + suffix, oauth + "/a%2Fb", suffix + "/a%2Fb"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newOP()
			delete(p.answer, openid)
			p.set(c.path, always(200, "application/json", metadata(map[string]any{"issuer": c.issuer})))
			provider := p.provider(t, func(cfg *discovery.Config) { cfg.Issuer = c.issuer })
			m, err := provider.Metadata(t.Context())
			if err != nil || m.Issuer != c.issuer {
				t.Fatalf("%+v, %v after %v", m, err, p.calls)
			}
			if p.total() != len(c.calls) {
				t.Errorf("calls %v, want %v", p.calls, c.calls)
			}
			for _, path := range c.calls {
				if p.count(path) != 1 {
					t.Errorf("calls %v, want %v", p.calls, c.calls)
				}
			}
		})
	}
}

func TestOnlyA404LetsTheNextPlaceBeAsked(t *testing.T) {
	for _, status := range []int{301, 302, 307, 308, 400, 401, 403, 410, 500, 503} {
		p := newOP()
		p.set(openid, always(status, "application/json", metadata(nil)))
		_, err := p.provider(t).Metadata(t.Context())
		wantUnavailable(t, err, fmt.Sprint(status))
		if p.total() != 1 {
			t.Errorf("%d: calls %v", status, p.calls)
		}
	}
	p := newOP()
	delete(p.answer, openid)
	_, err := p.provider(t).Metadata(t.Context())
	wantUnavailable(t, err, "404")
	wantUnavailable(t, err, "Config.DiscoveryURL")
	if p.total() != 2 {
		t.Errorf("calls %v", p.calls)
	}
}

func TestTheIssuerMustBeIdentical(t *testing.T) {
	for _, c := range []struct{ configured, published, hint string }{
		{"https://op.example", "https://op.example/", "final slash"},
		{"https://op.example/", "https://op.example", "final slash"},
		{"https://op.example", "https://OP.example", "DiscoveryURL"},
		{"https://op.example", "https://op.example:443", "DiscoveryURL"},
		{"https://op.example", "http://op.example", "DiscoveryURL"},
		{"https://op.example", "https://op.example.evil.example", "DiscoveryURL"},
		{"https://op.example", " https://op.example", "DiscoveryURL"},
		{"https://op.example", strings.Repeat("long", 10_000), "identical"},
	} {
		p := newOP()
		p.set(openid, always(200, "application/json", metadata(map[string]any{"issuer": c.published})))
		_, err := p.provider(t, func(cfg *discovery.Config) { cfg.Issuer = c.configured }).Metadata(t.Context())
		wantUnavailable(t, err, c.hint)
	}
	for _, missing := range []any{nil, ""} {
		p := newOP()
		p.set(openid, always(200, "application/json", metadata(map[string]any{"issuer": missing})))
		_, err := p.provider(t).Metadata(t.Context())
		wantUnavailable(t, err, "identical")
	}
}

func TestADocumentElsewhereIsReadWhenItsURLIsConfigured(t *testing.T) {
	for name, c := range map[string]struct{ issuer, url, path string }{
		"Entra":       {"https://login.example/{tenantid}/v2.0", "https://op.example/common/v2.0/.well-known/openid-configuration", "/common/v2.0/.well-known/openid-configuration"},
		"B2C":         {"https://tenant.b2c.example/1234/v2.0/", "https://op.example/v2.0/.well-known/openid-configuration?p=signin", "/v2.0/.well-known/openid-configuration"},
		"Oracle IDCS": {"https://identity.example/", "https://op.example/.well-known/openid-configuration", openid},
		"Kubernetes":  {"https://kubernetes.default.svc", "https://op.example/.well-known/openid-configuration", openid},
	} {
		p := newOP("k")
		p.set(c.path, always(200, "application/json", metadata(map[string]any{"issuer": c.issuer})))
		provider := p.provider(t, func(cfg *discovery.Config) { cfg.Issuer, cfg.DiscoveryURL = c.issuer, c.url })
		if m, err := provider.Metadata(t.Context()); err != nil || m.Issuer != c.issuer || provider.Issuer() != c.issuer {
			t.Errorf("%s: %v", name, err)
		}
		if r := verify(t, provider.KeySet(), sign(t, "RS256", "rsa", "k")); r != "" {
			t.Errorf("%s: %s", name, r)
		}
	}
	p := newOP()
	p.set("/d", down)
	_, err := p.provider(t, func(cfg *discovery.Config) { cfg.DiscoveryURL = issuer + "/d?p=secretpolicy" }).Metadata(t.Context())
	if wantUnavailable(t, err, "/d"); strings.Contains(err.Error(), "secretpolicy") {
		t.Errorf("the query is shown: %v", err)
	}
	_, err = p.provider(t, func(cfg *discovery.Config) { cfg.Issuer = issuer + "/{tenantid}" }).Metadata(t.Context())
	wantUnavailable(t, err, "set Config.DiscoveryURL")
}

func TestDeviationsOfRealProvidersAreTolerated(t *testing.T) {
	for name, c := range map[string]struct {
		change map[string]any
		check  func(*discovery.Metadata) bool
	}{
		"workload issuer without endpoints": {map[string]any{"authorization_endpoint": nil, "token_endpoint": nil, "response_types_supported": nil, "subject_types_supported": nil},
			func(m *discovery.Metadata) bool { return m.AuthorizationEndpoint == "" && m.JWKSURI == issuer+"/keys" }},
		"no code_challenge_methods_supported": {map[string]any{"code_challenge_methods_supported": nil}, func(m *discovery.Metadata) bool { return m.CodeChallengeMethodsSupported == nil }},
		"only plain, which is for package rp": {map[string]any{"code_challenge_methods_supported": []string{"plain"}}, func(m *discovery.Metadata) bool { return m.CodeChallengeMethodsSupported[0] == "plain" }},
		"grant types as response types": {map[string]any{"response_types_supported": []string{"password", "token id_token code"}},
			func(m *discovery.Metadata) bool { return slices.Contains(m.ResponseTypesSupported, "password") }},
		"members of no specification": {map[string]any{"id_token_signed_response_alg": []string{"RS256"}, "credentials_endpoint_draft_00": "x", "x": map[string]any{"y": []any{1, nil}}},
			func(m *discovery.Metadata) bool { return m.TokenEndpoint != "" }},
		"none among the algorithms":            {map[string]any{"id_token_signing_alg_values_supported": []string{"none", "RS256"}}, func(m *discovery.Metadata) bool { return len(m.IDTokenSigningAlgValuesSupported) == 2 }},
		"null members":                         {map[string]any{"userinfo_endpoint": "null", "scopes_supported": []string(nil)}, func(m *discovery.Metadata) bool { return m.ScopesSupported == nil && m.UserinfoEndpoint == "" }},
		"a list that is a string":              {map[string]any{"claims_supported": "sub"}, func(m *discovery.Metadata) bool { return m.ClaimsSupported == nil }},
		"a list that is an object":             {map[string]any{"ui_locales_supported": map[string]any{}}, func(m *discovery.Metadata) bool { return m.UILocalesSupported == nil }},
		"a list with a number":                 {map[string]any{"acr_values_supported": []any{"1", 2}}, func(m *discovery.Metadata) bool { return m.ACRValuesSupported == nil }},
		"a boolean that is a string":           {map[string]any{"backchannel_logout_supported": "true"}, func(m *discovery.Metadata) bool { return !m.BackchannelLogoutSupported }},
		"an empty endpoint":                    {map[string]any{"registration_endpoint": ""}, func(m *discovery.Metadata) bool { return m.RegistrationEndpoint == "" }},
		"endpoints on another host":            {map[string]any{"token_endpoint": "https://oauth2.other.example/token"}, func(m *discovery.Metadata) bool { return m.TokenEndpoint != "" }},
		"an endpoint with a query":             {map[string]any{"token_endpoint": issuer + "/token?p=b2c"}, func(m *discovery.Metadata) bool { return strings.HasSuffix(m.TokenEndpoint, "?p=b2c") }},
		"authorization_response_iss_parameter": {map[string]any{"authorization_response_iss_parameter_supported": true}, func(m *discovery.Metadata) bool { return m.AuthorizationResponseIssParameterSupported }},
	} {
		t.Run(name, func(t *testing.T) {
			p := newOP("k")
			p.set(openid, always(200, "application/json", strings.ReplaceAll(metadata(c.change), `"null"`, "null")))
			provider := p.provider(t)
			m, err := provider.Metadata(t.Context())
			if err != nil || !c.check(m) {
				t.Errorf("%+v, %v", m, err)
			}
			if r := verify(t, provider.KeySet(), sign(t, "RS256", "rsa", "k")); r != "" {
				t.Error(r)
			}
		})
	}
}

func TestOddMembersAreLogged(t *testing.T) {
	p := newOP()
	var log bytes.Buffer
	p.set(openid, always(200, "application/json", metadata(map[string]any{"claims_supported": "sub"})))
	if _, err := p.provider(t, func(c *discovery.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) }).Metadata(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "claims_supported") {
		t.Errorf("the log says %q", log.String())
	}
}

func TestADocumentThatMisleadsIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		document string
		reason   string
	}{
		"issuer as a list":           {metadata(map[string]any{"issuer": []string{issuer}}), "issuer is not a string"},
		"endpoint as a number":       {metadata(map[string]any{"token_endpoint": 1}), "token_endpoint is not a string"},
		"http endpoint":              {metadata(map[string]any{"authorization_endpoint": "http://op.example/authorize"}), "authorization_endpoint: \"http://op.example/authorize\" is not https"},
		"http loopback endpoint":     {metadata(map[string]any{"jwks_uri": "http://127.0.0.1/keys"}), "jwks_uri"},
		"relative endpoint":          {metadata(map[string]any{"jwks_uri": "/keys"}), "jwks_uri"},
		"script as endpoint":         {metadata(map[string]any{"end_session_endpoint": "javascript:alert(1)"}), "end_session_endpoint"},
		"file as endpoint":           {metadata(map[string]any{"jwks_uri": "file:///etc/passwd"}), "jwks_uri"},
		"gopher as endpoint":         {metadata(map[string]any{"jwks_uri": "gopher://op.example/"}), "jwks_uri"},
		"cloud metadata as endpoint": {metadata(map[string]any{"jwks_uri": "https://169.254.169.254/latest"}), "jwks_uri"},
		"user info in an endpoint":   {metadata(map[string]any{"token_endpoint": "https://a:b@op.example/"}), "user info"},
		"fragment in an endpoint":    {metadata(map[string]any{"token_endpoint": issuer + "/#x"}), "fragment"},
		"no jwks_uri":                {metadata(map[string]any{"jwks_uri": nil}), "no jwks_uri"},
		"a member twice":             {strings.Replace(metadata(nil), "{", `{"issuer":"https://evil.example",`, 1), "occurs twice"},
		"a member in two cases":      {strings.Replace(metadata(nil), "{", `{"ISSUER":"https://evil.example",`, 1), "case only"},
		"a member twice, deep":       {metadata(map[string]any{"x": 1})[:2] + `x":{"a":1,"a":2},"` + metadata(nil)[2:], "occurs twice"},
		"list":                       {"[" + metadata(nil) + "]", "not a JSON object"},
		"null":                       {"null", "not a JSON object"},
		"trailing garbage":           {metadata(nil) + "x", "after top-level value"},
		"byte order mark":            {"\xef\xbb\xbf" + metadata(nil), "byte order mark"},
		"script guard":               {")]}'\n" + metadata(nil), "script guard"},
		"HTML that says it is JSON":  {"<!doctype html><html>", "HTML"},
		"empty":                      {"", "empty"},
		"NaN":                        {strings.Replace(metadata(nil), "{", `{"x":NaN,`, 1), "invalid character"},
		"invalid UTF-8":              {strings.Replace(metadata(nil), "{", "{\"x\":\"\xff\",", 1), "UTF-8"},
		"10,000 levels":              {strings.Replace(metadata(nil), "{", `{"x":`+strings.Repeat("[", 10_000)+strings.Repeat("]", 10_000)+",", 1), "exceeded max depth"},
		"33 levels":                  {strings.Replace(metadata(nil), "{", `{"x":`+strings.Repeat("[", 33)+strings.Repeat("]", 33)+",", 1), "32 levels"},
		"over a megabyte":            {strings.Replace(metadata(nil), "{", "{"+strings.Repeat(" ", 1<<20), 1), "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newOP()
			p.set(openid, always(200, "application/json", c.document))
			_, err := p.provider(t).Metadata(t.Context())
			if e := wantUnavailable(t, err, c.reason); e.URL != issuer+openid {
				t.Errorf("the endpoint is not named: %v", err)
			}
		})
	}
	p := newOP()
	p.set(openid, always(200, "application/json", strings.Replace(metadata(nil), "{", `{"x":1e400,`, 1)))
	if _, err := p.provider(t).Metadata(t.Context()); err != nil {
		t.Errorf("a huge number in a member nobody needs: %v", err)
	}
}

func TestTheContentTypeIsHeldAgainstPages(t *testing.T) {
	for contentType, reason := range map[string]string{
		"application/json": "", "application/json; charset=utf-8": "", "application/JSON;charset=": "", "application/jwk-set+json": "", "": "", "text/plain": "", "application/octet-stream": "",
		"text/html; charset=utf-8": "HTML page", "application/xhtml+xml": "HTML page", "image/png": "image/png", "application/javascript": "application/javascript", ";;;": "can't be read",
	} {
		p := newOP()
		p.set(openid, always(200, contentType, metadata(nil)))
		_, err := p.provider(t).Metadata(t.Context())
		if reason == "" && err != nil {
			t.Errorf("%q: %v", contentType, err)
		} else if reason != "" {
			wantUnavailable(t, err, reason)
		}
	}
}

func TestLoopbackEndpointsAreAcceptedWhenAsked(t *testing.T) {
	p := newOP()
	p.set(openid, always(200, "application/json", metadata(map[string]any{"token_endpoint": "http://localhost:1/token"})))
	if _, err := p.provider(t, func(c *discovery.Config) { c.InsecureLoopbackHTTP = true }).Metadata(t.Context()); err != nil {
		t.Error(err)
	}
	_, err := p.provider(t).Metadata(t.Context())
	wantUnavailable(t, err, "for development")
}

func TestDecodeGivesMembersThatHaveNoField(t *testing.T) {
	p := newOP()
	p.set(openid, always(200, "application/json", metadata(map[string]any{"mtls_endpoint_aliases": map[string]any{"token_endpoint": "https://mtls.op.example/token"}})))
	m, err := p.provider(t).Metadata(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var more struct {
		Aliases struct {
			Token string `json:"token_endpoint"`
		} `json:"mtls_endpoint_aliases"`
	}
	if err := m.Decode(&more); err != nil || more.Aliases.Token != "https://mtls.op.example/token" {
		t.Errorf("%+v, %v", more, err)
	}
	var wrong struct {
		Issuer int `json:"issuer"`
	}
	if err := m.Decode(&wrong); err == nil {
		t.Error("a string was decoded into a number")
	}
}

func TestNoCookieIsKeptAndNoSecretSent(t *testing.T) {
	p := newOP("k")
	p.set(openid, func(r *http.Request) (*http.Response, error) {
		if len(r.Cookies()) > 0 || r.Header.Get("Authorization") != "" || r.Header.Get("Accept") == "" || r.Method != "GET" {
			t.Errorf("header %v", r.Header)
		}
		return reply(404, "", "", "Set-Cookie", "a=b"), nil
	})
	p.set("/.well-known/oauth-authorization-server", func(r *http.Request) (*http.Response, error) {
		if len(r.Cookies()) > 0 {
			t.Error("a cookie came back")
		}
		return reply(200, "", metadata(nil)), nil
	})
	if _, err := p.provider(t).Metadata(t.Context()); err != nil {
		t.Error(err)
	}
}
