package bearer_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
	"github.com/latchkey-go/latchkey/middleware/bearer"
)

func TestNewRefusesWhatMakesNoSense(t *testing.T) {
	for name, c := range map[string]struct {
		bad, good func(*bearer.Config)
		want      string
	}{
		"no issuer":    {func(c *bearer.Config) { c.Issuer = "" }, func(*bearer.Config) {}, "Config.Issuer is missing"},
		"no audience":  {func(c *bearer.Config) { c.Audience = "" }, func(c *bearer.Config) { c.Audience, c.Audiences = "", []string{"x"} }, "audience"},
		"an empty one": {func(c *bearer.Config) { c.Audiences = []string{""} }, func(c *bearer.Config) { c.Audiences = []string{"y"} }, "audience"},
		"http":         {func(c *bearer.Config) { c.Issuer = "http://127.0.0.1:1" }, func(c *bearer.Config) { c.Issuer, c.InsecureLoopbackHTTP = "http://127.0.0.1:1", true }, "https"},
		"http beyond loopback": {func(c *bearer.Config) { c.Issuer, c.InsecureLoopbackHTTP = "http://login.example", true },
			func(c *bearer.Config) { c.InsecureLoopbackHTTP = true }, "https"},
		"leeway":          {func(c *bearer.Config) { c.Leeway = 6 * time.Minute }, func(c *bearer.Config) { c.Leeway = 5 * time.Minute }, "Leeway"},
		"negative leeway": {func(c *bearer.Config) { c.Leeway = -1 }, func(c *bearer.Config) { c.Leeway = 1 }, "Leeway"},
		"cache off with bounds": {func(c *bearer.Config) { c.Cache = bearer.Cache{Off: true, MaxEntries: 1} },
			func(c *bearer.Config) { c.Cache = bearer.Cache{MaxEntries: 1, MaxBytes: 1, MaxAge: 1} }, "off"},
		"negative bound": {func(c *bearer.Config) { c.Cache.MaxBytes = -1 }, func(c *bearer.Config) { c.Cache.Off = true }, "negative"},
		"one turn":       {func(c *bearer.Config) { c.MaxVerifying = 1 }, func(c *bearer.Config) { c.MaxVerifying = 2 }, "MaxVerifying"},
		"realm":          {func(c *bearer.Config) { c.Realm = "a\r\nb" }, func(c *bearer.Config) { c.Realm = `a "b" \c` }, "Realm"},
		"resource": {func(c *bearer.Config) { c.Resource = &bearer.Resource{} },
			func(c *bearer.Config) { c.Resource = &bearer.Resource{Resource: "https://api.example"} }, "Resource"},
		"resource with a query": {func(c *bearer.Config) { c.Resource = &bearer.Resource{Resource: "https://api.example?x"} },
			func(c *bearer.Config) { c.Resource = &bearer.Resource{Resource: "https://api.example/x"} }, "query"},
		"profile without issuer": {func(c *bearer.Config) {
			c.Issuer, c.Issuers, c.Profile = "", []bearer.Issuer{{Issuer: "https://x.example"}}, bearer.Okta()
		},
			func(c *bearer.Config) {
				c.Issuer, c.Issuers = "", []bearer.Issuer{{Issuer: "https://x.example", Profile: bearer.Okta()}}
			}, "Config.Profile"},
		"the same issuer twice": {func(c *bearer.Config) { c.Issuers = []bearer.Issuer{{Issuer: c.Issuer}} },
			func(c *bearer.Config) { c.Issuers = []bearer.Issuer{{Issuer: c.Issuer + "/"}} }, "twice"},
		"an issuer without name": {func(c *bearer.Config) { c.Issuers = []bearer.Issuer{{}} },
			func(c *bearer.Config) {
				c.Issuer, c.IssuerFor = "", func(context.Context, string) (*bearer.Issuer, error) { return nil, nil }
			}, "missing"},
		"an issuer without audience": {func(c *bearer.Config) {
			c.Issuer, c.Audience, c.Issuers = "", "", []bearer.Issuer{{Issuer: "https://x.example"}}
		},
			func(c *bearer.Config) {
				c.Issuer, c.Audience, c.Issuers = "", "", []bearer.Issuer{{Issuer: "https://x.example", Audiences: []string{"x"}}}
			}, "audience"},
		"HS256": {func(c *bearer.Config) {
			c.Issuers = []bearer.Issuer{{Issuer: "https://x.example", Algorithms: []string{"HS256"}}}
		},
			func(c *bearer.Config) {
				c.Issuers = []bearer.Issuer{{Issuer: "https://x.example", Algorithms: []string{"PS256"}}}
			}, "HS256"},
		"none": {func(c *bearer.Config) {
			c.Issuers = []bearer.Issuer{{Issuer: "https://x.example", Algorithms: []string{"none"}}}
		},
			func(c *bearer.Config) {
				c.Issuers = []bearer.Issuer{{Issuer: "https://x.example", Algorithms: []string{"EdDSA"}}}
			}, "none"},
		"all tenants by accident": {func(c *bearer.Config) { c.Issuers = []bearer.Issuer{{Issuer: "https://x.example/{tenantid}"}} },
			func(c *bearer.Config) {
				c.Issuers = []bearer.Issuer{{Issuer: "https://x.example/{tenantid}", AnyTenant: true}}
			}, "Tenants"},
		"tenants of none": {func(c *bearer.Config) {
			c.Issuers = []bearer.Issuer{{Issuer: "https://x.example", Tenants: []string{"a"}}}
		},
			func(c *bearer.Config) {
				c.Issuers = []bearer.Issuer{{Issuer: "https://x.example/{tenantid}", Tenants: []string{"a"}}}
			}, "Tenants"},
		"an empty tenant": {func(c *bearer.Config) {
			c.Issuers = []bearer.Issuer{{Issuer: "https://x.example/{tenantid}", Tenants: []string{""}}}
		},
			func(c *bearer.Config) {
				c.Issuers = []bearer.Issuer{{Issuer: "https://x.example/{tenantid}", Tenants: []string{"a"}}}
			}, "Tenants"},
		"discovery": {func(c *bearer.Config) {
			c.Issuers = []bearer.Issuer{{Issuer: "https://x.example", Discovery: discovery.Config{Cooldown: -1}}}
		},
			func(c *bearer.Config) {
				c.Issuers = []bearer.Issuer{{Issuer: "https://x.example", Discovery: discovery.Config{Cooldown: 1}}}
			}, "Cooldown"},
		"optional exp": {func(c *bearer.Config) { c.Profile.Optional = []string{"exp"} }, func(c *bearer.Config) { c.Profile.Optional = []string{"jti", "iat", "sub", "client_id"} }, "exp"},
		"no types":     {func(c *bearer.Config) { c.Profile.Types = []string{} }, func(c *bearer.Config) { c.Profile.Types = []string{""} }, "Types"},
		"logout tokens": {func(c *bearer.Config) { c.Profile.Types = []string{"JWT", "application/LOGOUT+jwt"} },
			func(c *bearer.Config) { c.Profile.Types = []string{"application/jwt"} }, "another kind"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := bearer.Config{Issuer: "https://login.example", Audience: "x"}
			c.good(&cfg)
			if _, err := bearer.New(cfg); err != nil {
				t.Errorf("the neighbour that should pass: %v", err)
			}
			cfg = bearer.Config{Issuer: "https://login.example", Audience: "x"}
			c.bad(&cfg)
			if _, err := bearer.New(cfg); err == nil || !strings.HasPrefix(err.Error(), "bearer: ") && !strings.HasPrefix(err.Error(), "discovery: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want one with %q", err, c.want)
			}
		})
	}
}
