package discovery_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/latchkey-go/latchkey/discovery"
)

// secp256k1 is a key on a curve unknown here; the OpenID Foundation's suite publishes one without alg.
var secp256k1 = map[string]any{"kty": "EC", "crv": "secp256k1", "use": "sig", "kid": "k1",
	"x": "efCZpVCgA6-xJ9VJz1BSc5i6K3AEPeGzFNqd5HGsGVQ", "y": "rqjfRkmWxYpPD3DhnwXgP0iS1jX4vl6SWRnjvGJ6ul8"}

func TestOneBadKeyCostsNoOther(t *testing.T) {
	good := func(kid string, change map[string]any) map[string]any { return member(jwk("rsa", kid), change) }
	ec := func(change map[string]any) map[string]any { return member(jwk("p256", "bad"), change) }
	long := func(n int) string { return base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, n)) }
	for name, c := range map[string]struct {
		bad    any
		reason string
	}{
		"secp256k1 without alg":     {secp256k1, "secp256k1"},
		"P-224":                     {ec(map[string]any{"crv": "P-224"}), "P-224"},
		"Ed448":                     {map[string]any{"kty": "OKP", "crv": "Ed448", "x": "AAAA"}, "Ed448"},
		"X25519":                    {map[string]any{"kty": "OKP", "crv": "X25519", "x": long(32)}, "X25519"},
		"a type of the future":      {map[string]any{"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"}, "ML-DSA-44"},
		"an unknown type":           {map[string]any{"kty": "LATTICE"}, "LATTICE"},
		"no type":                   {map[string]any{"kid": "x"}, "unknown type"},
		"type in another case":      {good("bad", map[string]any{"kty": "rsa"}), `unknown type "rsa"`},
		"no object":                 {"key", "no proper JWK"},
		"null":                      {nil, "no proper JWK"},
		"kid as a number":           {good("bad", map[string]any{"kid": 1}), "no proper JWK"},
		"N beside n":                {good("bad", map[string]any{"N": "AAAA"}), "no proper JWK"},
		"key-use-enc":               {good("bad", map[string]any{"use": "enc"}), `use "enc"`},
		"key-ops-encrypt":           {good("bad", map[string]any{"key_ops": []string{"encrypt"}}), "key_ops"},
		"empty key_ops":             {good("bad", map[string]any{"key_ops": []string{}}), "key_ops"},
		"RSA-OAEP":                  {good("bad", map[string]any{"alg": "RSA-OAEP"}), "RSA-OAEP"},
		"HS256 on an RSA key":       {good("bad", map[string]any{"alg": "HS256"}), "HS256"},
		"ES256 on an RSA key":       {good("bad", map[string]any{"alg": "ES256"}), "does not fit"},
		"ES384 on a P-256 key":      {ec(map[string]any{"alg": "ES384"}), "does not fit"},
		"private RSA":               {good("bad", map[string]any{"d": "AAAA"}), "private or symmetric"},
		"private EC":                {ec(map[string]any{"d": "AAAA"}), "private or symmetric"},
		"symmetric":                 {map[string]any{"kty": "oct", "k": "c2VjcmV0", "kid": "bad"}, "private or symmetric"},
		"rsa-1024":                  {member(jwk("rsa1024", "bad"), nil), "1024 bits"},
		"rsa-16385":                 {good("bad", map[string]any{"n": long(2050)}), "16400 bits"},
		"rsa-e1":                    {good("bad", map[string]any{"e": "AQ"}), "bad exponent"},
		"rsa-even-n":                {good("bad", map[string]any{"n": long(255) + "AA"}), ""},
		"an exponent of 10^6 bytes": {good("bad", map[string]any{"e": long(100_000)}), "broken"},
		"an exponent of 33 bits":    {good("bad", map[string]any{"e": long(5)}), "broken"},
		"no n":                      {good("bad", map[string]any{"n": nil}), "broken"},
		"empty e":                   {good("bad", map[string]any{"e": ""}), "broken"},
		"n in the other base64":     {good("bad", map[string]any{"n": "+/+/"}), "broken"},
		"ec-off-curve":              {ec(map[string]any{"x": long(32)}), "no point"},
		"ec at infinity":            {ec(map[string]any{"x": strings.Repeat("A", 43), "y": strings.Repeat("A", 43)}), "no point"},
		"ec without y":              {ec(map[string]any{"y": nil}), "broken"},
		"ec half too short":         {ec(map[string]any{"x": long(31)}), "broken"},
		"okp-wrong-len":             {map[string]any{"kty": "OKP", "crv": "Ed25519", "x": long(31)}, "31 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				p := newOP()
				p.set("/keys", always(200, "application/json", set(c.bad, good("good", nil), c.bad)))
				keys := p.provider(t, func(cfg *discovery.Config) {
					cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
				}).KeySet()
				if r := verify(t, keys, sign(t, "RS256", "rsa", "good")); r != "" {
					t.Errorf("the good key: %s", r)
				}
				if text := strings.ReplaceAll(log.String(), `\"`, `"`); !strings.Contains(text, c.reason) || !strings.Contains(text, "passed_over=2") {
					t.Errorf("the log says %s, want %q", text, c.reason)
				}
				if r := verify(t, keys, sign(t, "RS256", "rsa", "bad")); r != "kid" {
					t.Errorf("the bad key: %s", r)
				}
			})
		})
	}
}

func TestKeysAsRealProvidersPublishThem(t *testing.T) {
	for name, change := range map[string]map[string]any{
		"plain":                          {},
		"use sig":                        {"use": "sig", "alg": "RS256"},
		"key_ops with verify":            {"key_ops": []string{"verify"}},
		"Entra: issuer and x5c":          {"issuer": "https://login.example/{tenantid}/v2.0", "x5c": []string{"not a certificate"}, "x5t": "AAAA"},
		"n with a leading zero":          {"n": base64.RawURLEncoding.EncodeToString(append([]byte{0}, mustDecode(member(jwk("rsa", ""), nil)["n"])...))},
		"n with padding":                 {"n": member(jwk("rsa", ""), nil)["n"].(string) + "=="},
		"exponent with leading zeros":    {"e": "AAEAAQ"},
		"members of tomorrow":            {"exp": 1, "rotated": map[string]any{"by": 1}},
		"null use, alg, private members": {"use": "null", "alg": "null", "d": "null", "key_ops": "null"},
	} {
		p := newOP()
		p.set("/keys", always(200, "application/jwk-set+json", strings.ReplaceAll(set(member(jwk("rsa", "k"), change)), `"null"`, "null")))
		if r := verify(t, p.provider(t).KeySet(), sign(t, "RS256", "rsa", "k")); r != "" {
			t.Errorf("%s: %s", name, r)
		}
	}
	// One RSA key for RS and PS, as it says no alg.
	p := newOP("k")
	if r := verify(t, p.provider(t).KeySet(), sign(t, "PS512", "rsa", "k")); r != "" {
		t.Error(r)
	}
}

func mustDecode(v any) []byte {
	b, err := base64.RawURLEncoding.DecodeString(v.(string))
	if err != nil {
		panic(err)
	}
	return b
}

func TestAKeySetThatMisleadsIsRefused(t *testing.T) {
	good := jwks(jwk("rsa", "k"))
	for name, c := range map[string]struct{ document, reason string }{
		"no keys member":       {`{}`, "no array"},
		"keys as an object":    {`{"keys":{}}`, "no array"},
		"keys null":            {`{"keys":null}`, "no key"},
		"KEYS":                 {strings.Replace(good, "keys", "KEYS", 1), "no array"},
		"keys twice":           {strings.Replace(good, "{", `{"keys":[],`, 1), "occurs twice"},
		"a list":               {"[" + good + "]", "not a JSON object"},
		"a member twice, deep": {strings.Replace(good, `"kid"`, `"e":"AQ","e":"AQAB","kid"`, 1), "occurs twice"},
		"empty":                {`{"keys":[]}`, "it is empty"},
		"1001 keys":            {`{"keys":[` + strings.Repeat("{},", 1000) + `{}]}`, "1001 keys"},
		"over a megabyte":      {good + strings.Repeat(" ", 1<<20), "too large"},
		"byte order mark":      {"\xef\xbb\xbf" + good, "byte order mark"},
		"trailing garbage":     {good + "}", "after top-level value"},
		"deep":                 {`{"keys":[` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `]}`, "32 levels"},
	} {
		p := newOP()
		p.set("/keys", always(200, "application/json", c.document))
		_, err := p.provider(t).KeySet().VerifySignature(t.Context(), sign(t, "RS256", "rsa", "k"))
		if e := wantUnavailable(t, err, c.reason); e.URL != issuer+"/keys" {
			t.Errorf("%s: the endpoint is not named: %v", name, err)
		}
	}
}

func TestTwoHundredKeysAreRead(t *testing.T) {
	p := newOP()
	for i := range 200 {
		p.keys = append(p.keys, jwk("rsa2", fmt.Sprint(i)))
	}
	p.keys = append(p.keys, jwk("rsa", "k"))
	if r := verify(t, p.provider(t).KeySet(), sign(t, "RS256", "rsa", "k")); r != "" {
		t.Error(r)
	}
}

// suiteKeys is what the OpenID Foundation's suite publishes: see each fact in its conformance modules.
func suiteKeys(suffix string, sig string) string {
	enc := func(name, kid, alg string) map[string]any {
		return member(jwk(name, kid+suffix), map[string]any{"use": "enc", "alg": alg})
	}
	use := func(name, kid string) map[string]any {
		return member(jwk(name, kid+suffix), map[string]any{"use": "sig"})
	}
	k1 := map[string]any{}
	for name, v := range secp256k1 {
		k1[name] = v
	}
	k1["kid"] = "k1" + suffix
	return set(enc("rsa3", "oaep", "RSA-OAEP"), k1, use(sig, "rsa"), use("rsa2", "rsa-other"), use("p256", "ec"), use("p256b", "ec-other"), use("ed", "ed"), enc("p256", "ecdh", "ECDH-ES"))
}

func TestOIDCCClientTest(t *testing.T) {
	p := newOP()
	p.set("/keys", always(200, "application/json", suiteKeys("", "rsa")))
	keys := p.provider(t).KeySet("RS256")
	if r := verify(t, keys, sign(t, "RS256", "rsa", "rsa")); r != "" {
		t.Error(r)
	}
	if r := verify(t, keys, sign(t, "RS256", "rsa3", "oaep")); r != "kid" {
		t.Errorf("an encryption key: %q", r)
	}
}

func TestOIDCCClientTestDiscoveryOpenIDConfig(t *testing.T) {
	const slashed = "https://op.example/test/a/latchkey/"
	p := newOP()
	p.set("/test/a/latchkey/.well-known/openid-configuration", always(200, "application/json", metadata(map[string]any{"issuer": slashed})))
	if m, err := p.provider(t, func(c *discovery.Config) { c.Issuer = slashed }).Metadata(t.Context()); err != nil || m.Issuer != slashed {
		t.Error(m, err)
	}
}

func TestOIDCCClientTestDiscoveryJWKSURIKeys(t *testing.T) {
	p := newOP("k")
	p.set(openid, always(200, "application/json", metadata(map[string]any{"jwks_uri": issuer + "/jwks8f3a"})))
	p.set("/jwks8f3a", always(200, "application/json", suiteKeys("", "rsa")))
	if r := verify(t, p.provider(t).KeySet(), sign(t, "RS256", "rsa", "rsa")); r != "" || p.count("/jwks8f3a") != 1 || p.count("/keys") != 0 {
		t.Errorf("%q, calls %v", r, p.calls)
	}
}

func TestOIDCCClientTestDiscoveryIssuerMismatch(t *testing.T) {
	p := newOP("k")
	p.set(openid, always(200, "application/json", metadata(map[string]any{"issuer": issuer + "INVALID"})))
	provider := p.provider(t)
	_, err := provider.Metadata(t.Context())
	wantUnavailable(t, err, "must be identical")
	if r := verify(t, provider.KeySet(), sign(t, "RS256", "rsa", "k")); r != "unavailable" || p.count("/keys") != 0 {
		t.Errorf("%q, calls %v", r, p.calls)
	}
}

func TestOIDCCClientTestKidAbsentSingleJWKS(t *testing.T) {
	p := newOP()
	k1 := map[string]any{}
	for name, v := range secp256k1 {
		if name != "kid" {
			k1[name] = v
		}
	}
	p.set("/keys", always(200, "application/json", set(member(jwk("rsa", ""), nil), member(jwk("p256", ""), nil), k1, member(jwk("ed", ""), nil))))
	if r := verify(t, p.provider(t).KeySet("RS256"), sign(t, "RS256", "rsa", "")); r != "" || p.count("/keys") != 1 {
		t.Errorf("%q, calls %v", r, p.calls)
	}
}

func TestOIDCCClientTestKidAbsentMultipleJWKS(t *testing.T) {
	p := newOP()
	p.set("/keys", always(200, "application/json", set(member(jwk("rsa2", ""), nil), member(jwk("p256b", ""), nil), member(jwk("rsa3", ""), nil), member(jwk("rsa", ""), nil), member(jwk("p256", ""), nil))))
	keys := p.provider(t).KeySet()
	if r := verify(t, keys, sign(t, "RS256", "rsa", "")); r != "" || p.count("/keys") != 1 {
		t.Errorf("%q, calls %v", r, p.calls)
	}
}

func TestOIDCCClientTestSigningKeyRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newOP()
		p.set("/keys", always(200, "application/json", suiteKeys("-1", "rsa")))
		keys := p.provider(t).KeySet("RS256")
		if r := verify(t, keys, sign(t, "RS256", "rsa", "rsa-1")); r != "" {
			t.Error(r)
		}
		p.set("/keys", always(200, "application/json", suiteKeys("-2", "rsa3")))
		start := time.Now()
		if r := verify(t, keys, sign(t, "RS256", "rsa3", "rsa-2")); r != "" || time.Since(start) != 0 || p.count("/keys") != 2 {
			t.Errorf("%q after %s, calls %v", r, time.Since(start), p.calls)
		}
	})
}

func TestOIDCCClientTestSigningKeyRotationJustBeforeSigning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newOP()
		keys := p.provider(t).KeySet("RS256")
		signers := []string{"rsa", "rsa2", "rsa3"}
		for i := range 6 { // a new set right before each signature, also right after a fetch
			name := signers[i%3]
			p.mu.Lock()
			p.keys = []jose.JSONWebKey{jwk(name, fmt.Sprint(i))}
			p.mu.Unlock()
			start := time.Now()
			if r := verify(t, keys, sign(t, "RS256", name, fmt.Sprint(i))); r != "" || time.Since(start) > 10*time.Second {
				t.Errorf("signature %d: %q after %s", i, r, time.Since(start))
			}
		}
		if n := p.count("/keys"); n != 6 {
			t.Errorf("%d fetches, want 6", n)
		}
	})
}
