package discovery_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
)

// FuzzMetadata: whatever is accepted is of this issuer, with https everywhere.
func FuzzMetadata(f *testing.F) {
	f.Add([]byte(metadata(nil)))
	f.Add([]byte(metadata(map[string]any{"issuer": issuer + "/", "scopes_supported": 1})))
	f.Add([]byte(metadata(map[string]any{"jwks_uri": "http://op.example/keys"})))
	f.Add([]byte(`{"issuer":"https://op.example","ISSUER":"https://evil.example","jwks_uri":"https://op.example/keys"}`))
	f.Add([]byte(`{"issuer":"https:\/\/op.example","jwks_uri":"https:\/\/op.example\/keys","request_uri_parameter_supported":true}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		p := newOP()
		p.set(openid, always(200, "application/json", string(document)))
		m, err := p.provider(t).Metadata(t.Context())
		if err != nil {
			if wantUnavailable(t, err, ""); m != nil {
				t.Fatal("metadata came with an error")
			}
			return
		}
		if m.Issuer != issuer || m.JWKSURI == "" {
			t.Fatalf("accepted: %+v", m)
		}
		for _, u := range []string{m.AuthorizationEndpoint, m.TokenEndpoint, m.UserinfoEndpoint, m.JWKSURI, m.RevocationEndpoint, m.EndSessionEndpoint} {
			if u != "" && !strings.HasPrefix(strings.ToLower(u), "https://") {
				t.Fatalf("accepted: %q", u)
			}
		}
		var all map[string]json.RawMessage
		if err := m.Decode(&all); err != nil || len(all) < 2 {
			t.Fatalf("an accepted document that can't be decoded: %v", err)
		}
	})
}

// FuzzJWKS: nothing panics, and no set makes a token verify whose key it does not hold: none of the seeds has the keys of the tokens.
func FuzzJWKS(f *testing.F) {
	f.Add([]byte(jwks(jwk("rsa2", "k"), jwk("p256", "k"), jwk("ed", ""))))
	f.Add([]byte(suiteKeys("", "rsa2")))
	f.Add([]byte(set(member(jwk("p256b", "k"), map[string]any{"crv": "P-384"}), member(jwk("rsa2", "k"), map[string]any{"e": "AA"}))))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"","e":""},{"kty":"EC","crv":"P-256","x":"","y":""},{"kty":"OKP","crv":"Ed25519","x":""},{},null,1]}`))
	var tokens []string
	for alg, key := range map[string]string{"RS256": "rsa", "PS256": "rsa", "ES384": "p384"} {
		tokens = append(tokens, sign(f, alg, key, "k"), sign(f, alg, key, ""))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		p := newOP()
		p.set("/keys", always(200, "application/json", string(document)))
		keys := p.provider(t, func(c *discovery.Config) { c.Cooldown = time.Nanosecond }).KeySet()
		for _, raw := range tokens {
			_, err := keys.VerifySignature(t.Context(), raw)
			if err == nil {
				t.Fatal("a token verifies whose key no seed holds")
			}
			if r := reason(err); r == "unavailable" {
				return // a set that is refused is refused for all
			}
		}
	})
}

// FuzzHTTPCacheHeaders: a document is used for at least the least and at most the longest time, whatever its header says.
func FuzzHTTPCacheHeaders(f *testing.F) {
	f.Add("max-age=3600", "", "", "")
	f.Add(`private, max-age="0", no-cache="Set-Cookie"`, "0", "60", "")
	f.Add("max-age=99999999999999999999", "Sat, 01 Jan 2000 03:00:00 GMT", "-1", "Fri, 31 Dec 1999 23:59:59 GMT")
	f.Add("max-age=, =,,;max-age=1=2", "Thu, 01 Jan 1970 00:00:00 GMT", "18446744073709551616", "Sat, 01 Jan 10000 00:00:00 GMT")
	f.Fuzz(func(t *testing.T, control, expires, age, date string) {
		synctest.Test(t, func(t *testing.T) {
			p := newOP()
			p.set(openid, always(200, "application/json", metadata(nil), "Cache-Control", control, "Expires", expires, "Age", age, "Date", date))
			provider := p.provider(t)
			for _, c := range []struct {
				after time.Duration
				low   int
				high  int
			}{{0, 1, 1}, {3 * time.Minute, 1, 1}, {24 * time.Hour, 2, 2}} {
				time.Sleep(c.after)
				if _, err := provider.Metadata(t.Context()); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if n := p.count(openid); n < c.low || n > c.high {
					t.Fatalf("%d fetches after %s", n, c.after)
				}
			}
		})
	})
}
