package discovery_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
)

func TestNewRefusesWhatCannotWork(t *testing.T) {
	type change = func(*discovery.Config)
	key := func(id, alg, name string) discovery.Key {
		return discovery.Key{ID: id, Algorithm: alg, Public: signers[name].Public()}
	}
	for name, c := range map[string]struct {
		good, bad change
		reason    string
	}{
		"no issuer":      {func(*discovery.Config) {}, func(c *discovery.Config) { c.Issuer = "" }, "Issuer is missing"},
		"http":           {func(*discovery.Config) {}, func(c *discovery.Config) { c.Issuer = "http://op.example" }, "not https"},
		"loopback":       {func(c *discovery.Config) { c.Issuer, c.InsecureLoopbackHTTP = "http://127.0.0.1:9", true }, func(c *discovery.Config) { c.Issuer = "http://127.0.0.1:9" }, "for development"},
		"not loopback":   {func(c *discovery.Config) { c.InsecureLoopbackHTTP = true }, func(c *discovery.Config) { c.Issuer, c.InsecureLoopbackHTTP = "http://op.example", true }, "not https"},
		"no scheme":      {func(*discovery.Config) {}, func(c *discovery.Config) { c.Issuer = "op.example" }, "Issuer"},
		"query":          {func(c *discovery.Config) { c.DiscoveryURL = "https://op.example/d?p=b2c" }, func(c *discovery.Config) { c.Issuer = "https://op.example/?p=b2c" }, "query"},
		"fragment":       {func(*discovery.Config) {}, func(c *discovery.Config) { c.Issuer = "https://op.example#x" }, "fragment"},
		"user info":      {func(*discovery.Config) {}, func(c *discovery.Config) { c.Issuer = "https://hush@op.example" }, "user info"},
		"template":       {func(c *discovery.Config) { c.Issuer = "https://op.example/{tenantid}/v2.0" }, func(c *discovery.Config) { c.Issuer = "https://{tenantid}" + "\x00" }, "Issuer"},
		"discovery http": {func(c *discovery.Config) { c.DiscoveryURL = "https://op.example/d" }, func(c *discovery.Config) { c.DiscoveryURL = "http://op.example/d" }, "DiscoveryURL"},
		"two sources": {
			func(c *discovery.Config) { c.Metadata = &discovery.Metadata{JWKSURI: issuer + "/keys"} },
			func(c *discovery.Config) {
				c.Metadata, c.DiscoveryURL = &discovery.Metadata{JWKSURI: issuer + "/keys"}, "https://op.example/d"
			}, "exclude each other",
		},
		"metadata of another": {
			func(c *discovery.Config) { c.Metadata = &discovery.Metadata{Issuer: issuer, JWKSURI: issuer + "/keys"} },
			func(c *discovery.Config) {
				c.Metadata = &discovery.Metadata{Issuer: issuer + "/", JWKSURI: issuer + "/keys"}
			}, "identical",
		},
		"metadata without keys": {
			func(c *discovery.Config) {
				c.Metadata, c.Keys = &discovery.Metadata{}, []discovery.Key{key("", "", "rsa")}
			},
			func(c *discovery.Config) { c.Metadata = &discovery.Metadata{} }, "jwks_uri",
		},
		"metadata with http": {
			func(c *discovery.Config) { c.Metadata = &discovery.Metadata{JWKSURI: issuer + "/keys"} },
			func(c *discovery.Config) { c.Metadata = &discovery.Metadata{JWKSURI: "http://op.example/keys"} }, "not https",
		},
		"negative MinLifetime": {func(c *discovery.Config) { c.MinLifetime = time.Second }, func(c *discovery.Config) { c.MinLifetime = -1 }, "MinLifetime"},
		"negative MaxLifetime": {func(c *discovery.Config) { c.MaxLifetime = time.Hour }, func(c *discovery.Config) { c.MaxLifetime = -1 }, "MaxLifetime"},
		"negative MaxStale":    {func(c *discovery.Config) { c.MaxStale = time.Second }, func(c *discovery.Config) { c.MaxStale = -1 }, "MaxStale"},
		"negative Cooldown":    {func(c *discovery.Config) { c.Cooldown = time.Second }, func(c *discovery.Config) { c.Cooldown = -1 }, "Cooldown"},
		"bounds crossed":       {func(c *discovery.Config) { c.MaxLifetime = 5 * time.Minute }, func(c *discovery.Config) { c.MaxLifetime = 4 * time.Minute }, "MinLifetime"},
		"weak key":             {func(c *discovery.Config) { c.Keys = []discovery.Key{key("", "", "rsa")} }, func(c *discovery.Config) { c.Keys = []discovery.Key{key("", "", "rsa1024")} }, "1024 bits"},
		"private key":          {func(c *discovery.Config) { c.Keys = []discovery.Key{key("", "", "ed")} }, func(c *discovery.Config) { c.Keys = []discovery.Key{{Public: signers["ed"]}} }, "type"},
		"secret":               {func(c *discovery.Config) { c.Keys = []discovery.Key{key("", "", "p256")} }, func(c *discovery.Config) { c.Keys = []discovery.Key{{Public: []byte("hush")}} }, "type"},
		"no key":               {func(c *discovery.Config) { c.Keys = nil }, func(c *discovery.Config) { c.Keys = []discovery.Key{{}} }, "Keys[0]"},
		"key off its curve": {func(c *discovery.Config) { c.Keys = []discovery.Key{key("", "ES384", "p384")} }, func(c *discovery.Config) {
			c.Keys = []discovery.Key{{Public: &ecdsa.PublicKey{Curve: elliptic.P224()}}}
		}, "P-224"},
		"key of another alg": {func(c *discovery.Config) { c.Keys = []discovery.Key{key("a", "PS256", "rsa")} }, func(c *discovery.Config) { c.Keys = []discovery.Key{key("a", "ES256", "rsa")} }, "does not fit"},
		"symmetric alg":      {func(c *discovery.Config) { c.Keys = []discovery.Key{key("a", "RS256", "rsa")} }, func(c *discovery.Config) { c.Keys = []discovery.Key{key("a", "HS256", "rsa")} }, "does not fit"},
		"two keys without ID": {func(c *discovery.Config) { c.Keys = []discovery.Key{key("", "", "rsa"), key("a", "", "rsa")} }, func(c *discovery.Config) {
			c.Keys = []discovery.Key{key("", "", "rsa"), key("", "", "rsa2")}
		}, "more than one"},
	} {
		t.Run(name, func(t *testing.T) {
			good, bad := discovery.Config{Issuer: issuer}, discovery.Config{Issuer: issuer}
			c.good(&good)
			c.bad(&bad)
			if p, err := discovery.New(good); err != nil || p.Issuer() != good.Issuer {
				t.Errorf("the neighbour that should pass: %v", err)
			}
			_, err := discovery.New(bad)
			if err == nil || !strings.Contains(err.Error(), c.reason) || strings.Contains(err.Error(), "hush") {
				t.Errorf("error %v, want one with %q", err, c.reason)
			}
		})
	}
}

func TestStaticMetadataAndKeysAreUsedWithoutAnyCall(t *testing.T) {
	p := newOP()
	provider := p.provider(t, func(c *discovery.Config) {
		c.Metadata = &discovery.Metadata{AuthorizationEndpoint: issuer + "/authorize"}
		c.Keys = []discovery.Key{
			{ID: "a", Public: signers["rsa"].Public()}, {ID: "b", Algorithm: "PS256", Public: signers["rsa2"].Public()}, {Public: signers["p256"].Public()},
		}
	})
	m, err := provider.Metadata(t.Context())
	if err != nil || m.Issuer != issuer || m.AuthorizationEndpoint != issuer+"/authorize" {
		t.Fatalf("%+v, %v", m, err)
	}
	var decoded map[string]any
	if err := m.Decode(&decoded); err != nil || decoded["authorization_endpoint"] != issuer+"/authorize" {
		t.Errorf("%v, %v", decoded, err)
	}
	keys := provider.KeySet()
	for _, c := range []struct{ alg, key, kid, want string }{
		{"RS256", "rsa", "a", ""}, {"PS256", "rsa", "a", ""}, {"PS256", "rsa2", "b", ""}, {"RS256", "rsa2", "b", "key"}, {"ES256", "p256", "", ""},
		{"RS256", "rsa", "", ""}, {"RS256", "rsa2", "a", "signature"}, {"RS256", "rsa", "c", "kid"}, {"RS256", "rsa3", "", "signature"}, {"EdDSA", "ed", "", "key"},
	} {
		if r := verify(t, keys, sign(t, c.alg, c.key, c.kid)); r != c.want {
			t.Errorf("%+v: %q", c, r)
		}
	}
	if n := p.total(); n != 0 {
		t.Errorf("%d calls, want none", n)
	}
}

func TestStaticMetadataSaysWhereTheKeysAre(t *testing.T) {
	p := newOP("k")
	keys := p.provider(t, func(c *discovery.Config) { c.Metadata = &discovery.Metadata{JWKSURI: issuer + "/keys"} }).KeySet()
	if r := verify(t, keys, sign(t, "RS256", "rsa", "k")); r != "" {
		t.Error(r)
	}
	if p.count("/keys") != 1 || p.total() != 1 {
		t.Errorf("calls %v", p.calls)
	}
}

func TestStaticKeysLeaveTheMetadataToDiscovery(t *testing.T) {
	p := newOP()
	p.set(openid, always(200, "application/json", metadata(map[string]any{"jwks_uri": nil})))
	provider := p.provider(t, func(c *discovery.Config) { c.Keys = []discovery.Key{{ID: "k", Public: signers["rsa"].Public()}} })
	if r := verify(t, provider.KeySet(), sign(t, "RS256", "rsa", "k")); r != "" || p.total() != 0 {
		t.Errorf("%q after %d calls", r, p.total())
	}
	if m, err := provider.Metadata(t.Context()); err != nil || m.TokenEndpoint != issuer+"/token" || p.total() != 1 {
		t.Errorf("%v after %d calls", err, p.total())
	}
}

func TestAConfiguredProviderIsNotChangedThroughItsConfig(t *testing.T) {
	m := &discovery.Metadata{JWKSURI: issuer + "/keys"}
	keys := []discovery.Key{{ID: "k", Public: signers["rsa"].Public()}}
	provider, err := discovery.New(discovery.Config{Issuer: issuer, Metadata: m, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	m.JWKSURI, keys[0].Public = "http://evil.example", &rsa.PublicKey{}
	if got, _ := provider.Metadata(t.Context()); got.JWKSURI != issuer+"/keys" || m.Issuer != "" {
		t.Errorf("%+v, %+v", got, m)
	}
	if r := verify(t, provider.KeySet(), sign(t, "RS256", "rsa", "k")); r != "" {
		t.Error(r)
	}
}
