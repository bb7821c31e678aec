package rp_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
	"github.com/latchkey-go/latchkey/rp"
)

func TestNewDoesNoInputOutput(t *testing.T) {
	p := newOP()
	p.client(t)
	if len(p.sent) != 0 {
		t.Errorf("New sent %d requests", len(p.sent))
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	good := func() rp.Config {
		return rp.Config{Issuer: testIssuer, ClientID: "c", ClientSecret: strings.Repeat("s", 32), RedirectURL: testCallback}
	}
	other, err := discovery.New(discovery.Config{Issuer: "https://other.example"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		pass, fail func(*rp.Config)
		reason     string
	}{
		"issuer":         {nil, func(c *rp.Config) { c.Issuer = "" }, "Issuer is missing"},
		"issuer http":    {nil, func(c *rp.Config) { c.Issuer = "http://op.example" }, "http"},
		"two tenants":    {func(c *rp.Config) { c.Issuer = "https://op.example/{tenantid}/v2.0" }, func(c *rp.Config) { c.Issuer = "https://op.example/{tenantid}/{tenantid}" }, "more than once"},
		"provider":       {nil, func(c *rp.Config) { c.Provider = other }, "Provider's is"},
		"client id":      {nil, func(c *rp.Config) { c.ClientID = "" }, "ClientID is missing"},
		"redirect":       {func(c *rp.Config) { c.RedirectURL = "http://127.0.0.1:8080/cb" }, func(c *rp.Config) { c.RedirectURL = "http://shop.example/cb" }, "RedirectURL"},
		"relative":       {func(c *rp.Config) { c.RedirectURL = "" }, func(c *rp.Config) { c.RedirectURL = "/cb" }, "RedirectURL"},
		"fragment":       {func(c *rp.Config) { c.RedirectURL = testCallback + "?a=b" }, func(c *rp.Config) { c.RedirectURL = testCallback + "#a" }, "RedirectURL"},
		"after logout":   {func(c *rp.Config) { c.PostLogoutRedirectURL = "https://shop.example/" }, func(c *rp.Config) { c.PostLogoutRedirectURL = "shop.example" }, "PostLogoutRedirectURL"},
		"end session":    {func(c *rp.Config) { c.Quirks.EndSessionURL = "https://op.example/logout?x=y" }, func(c *rp.Config) { c.Quirks.EndSessionURL = "http://op.example/logout" }, "EndSessionURL"},
		"scope":          {func(c *rp.Config) { c.Scopes = []string{"a", "https://api.example/read"} }, func(c *rp.Config) { c.Scopes = []string{"a b"} }, "no scope"},
		"empty scope":    {func(c *rp.Config) { c.Scopes = []string{} }, func(c *rp.Config) { c.Scopes = []string{""} }, "no scope"},
		"algorithm":      {func(c *rp.Config) { c.SigningAlg = "ES256" }, func(c *rp.Config) { c.SigningAlg = "ES256K" }, "not supported"},
		"no signature":   {nil, func(c *rp.Config) { c.SigningAlg = "none" }, "not supported"},
		"userinfo none":  {func(c *rp.Config) { c.UserInfoSigningAlg = "PS256" }, func(c *rp.Config) { c.UserInfoSigningAlg = "none" }, "not supported"},
		"hmac":           {func(c *rp.Config) { c.SigningAlg = "HS256" }, func(c *rp.Config) { c.SigningAlg, c.ClientSecret = "HS256", strings.Repeat("s", 31) }, "at least 32"},
		"hmac empty":     {nil, func(c *rp.Config) { c.SigningAlg, c.ClientSecret = "HS256", "" }, "at least 32"},
		"hmac 384":       {func(c *rp.Config) { c.SigningAlg, c.ClientSecret = "HS384", strings.Repeat("s", 48) }, func(c *rp.Config) { c.SigningAlg = "HS384" }, "at least 48"},
		"hmac 512":       {func(c *rp.Config) { c.SigningAlg, c.ClientSecret = "HS512", strings.Repeat("s", 64) }, func(c *rp.Config) { c.SigningAlg = "HS512" }, "at least 64"},
		"response mode":  {func(c *rp.Config) { c.ResponseMode = "form_post" }, func(c *rp.Config) { c.ResponseMode = "fragment" }, "ResponseMode"},
		"timeout":        {func(c *rp.Config) { c.Timeout = time.Second }, func(c *rp.Config) { c.Timeout = -1 }, "Timeout"},
		"leeway":         {func(c *rp.Config) { c.Leeway = 5 * time.Minute }, func(c *rp.Config) { c.Leeway = 5*time.Minute + 1 }, "Leeway"},
		"leeway before":  {nil, func(c *rp.Config) { c.Leeway = -1 }, "Leeway"},
		"tenants":        {func(c *rp.Config) { c.Issuer, c.Quirks.Tenants = "https://op.example/{tenantid}", []string{"a"} }, func(c *rp.Config) { c.Quirks.Tenants = []string{"a"} }, "Tenants"},
		"empty alias":    {func(c *rp.Config) { c.Quirks.IssuerAliases = []string{"op.example"} }, func(c *rp.Config) { c.Quirks.IssuerAliases = []string{""} }, "empty string"},
		"empty audience": {func(c *rp.Config) { c.Quirks.TrustedAudiences = []string{"x"} }, func(c *rp.Config) { c.Quirks.TrustedAudiences = []string{""} }, "empty string"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good()
			if c.pass != nil {
				c.pass(&cfg)
			}
			if _, err := rp.New(cfg); err != nil {
				t.Errorf("the neighbour that should pass: %v", err)
			}
			cfg = good()
			c.fail(&cfg)
			if _, err := rp.New(cfg); err == nil || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("error %v, want one about %q", err, c.reason)
			}
		})
	}
}

func TestNewTellsAllThatIsWrongAtOnce(t *testing.T) {
	_, err := rp.New(rp.Config{})
	for _, want := range []string{"Issuer", "ClientID"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s in it", err, want)
		}
	}
}

func TestTheClientKeepsItsOwnCopyOfTheConfiguration(t *testing.T) {
	scopes, trusted := []string{"email"}, []string{"other"}
	p := newOP()
	p.edit = func(c map[string]any) { c["aud"] = []string{testClient, "other"} }
	c := p.client(t, func(c *rp.Config) { c.Scopes, c.Quirks.TrustedAudiences = scopes, trusted })
	scopes[0], trusted[0] = "admin", "changed"
	c.Scopes()[0] = "changed"
	if got := strings.Join(c.Scopes(), " "); got != "openid email" {
		t.Errorf("scopes are %q", got)
	}
	if _, err := p.login(t, c, rp.AuthParams{}); err != nil {
		t.Error(err)
	}
	if c.Issuer() != testIssuer || c.ClientID() != testClient || c.RedirectURL() != testCallback || c.PostLogoutRedirectURL() != "" || c.ResponseMode() != "" {
		t.Error("an accessor is wrong")
	}
}

func TestClientAuthenticationFollowsConfigurationThenMetadata(t *testing.T) {
	for name, c := range map[string]struct {
		listed []string
		secret string
		want   string
	}{
		"secret, nothing listed":    {nil, testSecret, "basic"},
		"secret, both listed":       {[]string{"client_secret_post", "client_secret_basic"}, testSecret, "basic"},
		"secret, post only":         {[]string{"client_secret_post"}, testSecret, "post"},
		"secret, only none listed":  {[]string{"none"}, testSecret, "basic"},
		"no secret":                 {[]string{"client_secret_post"}, "", "none"},
		"no secret, nothing listed": {nil, "", "none"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newOP()
			p.secret = c.secret
			if c.listed != nil {
				p.metadata["token_endpoint_auth_methods_supported"] = c.listed
			}
			if _, err := p.login(t, p.client(t), rp.AuthParams{}); err != nil {
				t.Fatal(err)
			}
			last, got := p.last(), "none"
			switch {
			case last.header.Get("Authorization") != "":
				got = "basic"
			case last.form.Has("client_secret"):
				got = "post"
			}
			if got != c.want {
				t.Errorf("authenticated by %s, want %s", got, c.want)
			}
		})
	}
}

// own is a method with a transport of its own, as mutual TLS is.
type own struct {
	noSecret
	calls *int
}

func (o own) Transport(base http.RoundTripper) http.RoundTripper {
	return tripper(func(r *http.Request) (*http.Response, error) {
		*o.calls++
		return base.RoundTrip(r)
	})
}

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAMethodMayBringItsOwnTransport(t *testing.T) {
	p, calls := newOP(), 0
	c := p.client(t, func(c *rp.Config) { c.Auth = own{calls: &calls} })
	if _, err := p.login(t, c, rp.AuthParams{}); err != nil {
		t.Fatal(err)
	}
	if calls != 1 {
		t.Errorf("its transport carried %d requests, want the token request", calls)
	}
}
