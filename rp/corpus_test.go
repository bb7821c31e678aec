package rp_test

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp"
)

// refused logs in and asserts that the ID token fails one of the named checks.
func refused(t *testing.T, p *op, c *rp.Client, params rp.AuthParams, checks ...string) {
	t.Helper()
	tokens, err := p.login(t, c, params)
	e, ok := errors.AsType[*rp.TokenError](err)
	if !ok || tokens != nil || !errors.Is(err, rp.ErrInvalidToken) {
		t.Fatalf("error is %v, want a token error (%v)", err, checks)
	}
	for _, want := range checks {
		if e.Check == want {
			if strings.Contains(err.Error(), "eyJ") {
				t.Errorf("the error quotes the token: %v", err)
			}
			return
		}
	}
	t.Errorf("failed %q (%v), want %q", e.Check, err, checks)
}

var honestAlgs = []string{"RS256", "PS256", "ES256", "ES384", "EdDSA"}

func TestHonestTokensOfEveryAlgorithmPass(t *testing.T) {
	for _, alg := range honestAlgs {
		t.Run(alg, func(t *testing.T) {
			p := newOP()
			p.use(alg)
			if _, err := p.login(t, p.client(t), rp.AuthParams{}); err != nil {
				t.Error(err)
			}
			p.header = nil // one key fits without a kid
			if _, err := p.login(t, p.client(t), rp.AuthParams{}); err != nil {
				t.Errorf("without kid: %v", err)
			}
			p.header = map[string]any{"typ": "jwt", "kid": nil}
			delete(p.header, "kid")
			if _, err := p.login(t, p.client(t), rp.AuthParams{}); err != nil {
				t.Errorf("with typ jwt: %v", err)
			}
		})
	}
}

// corpusClaims are changes of the claims: the nearest passing neighbour and the nearest failing one.
var corpusClaims = []struct {
	name       string
	pass, fail func(c map[string]any)
	check      string
	params     rp.AuthParams
}{
	{name: "iss-missing", fail: func(c map[string]any) { delete(c, "iss") }, check: "iss"},
	{name: "iss-slash", fail: func(c map[string]any) { c["iss"] = strings.TrimSuffix(testIssuer, "/") }, check: "iss"},
	{name: "iss-case", fail: func(c map[string]any) { c["iss"] = "https://OP.example/" }, check: "iss"},
	{name: "iss-prefix", fail: func(c map[string]any) { c["iss"] = testIssuer + "evil" }, check: "iss"},
	{name: "iss-http", fail: func(c map[string]any) { c["iss"] = "http://op.example/" }, check: "iss"},
	{name: "iss-array", fail: func(c map[string]any) { c["iss"] = []string{testIssuer} }, check: "iss"},
	{name: "iss-null", fail: func(c map[string]any) { c["iss"] = nil }, check: "iss"},
	{name: "iss-noscheme", fail: func(c map[string]any) { c["iss"] = "op.example/" }, check: "iss"},
	{name: "self-issued", fail: func(c map[string]any) { c["iss"], c["sub_jwk"] = "https://self-issued.me", map[string]any{} }, check: "iss"},

	{name: "aud-missing", fail: func(c map[string]any) { delete(c, "aud") }, check: "aud"},
	{name: "aud-null", fail: func(c map[string]any) { c["aud"] = nil }, check: "aud"},
	{name: "aud-empty-array", pass: func(c map[string]any) { c["aud"] = []string{testClient} }, fail: func(c map[string]any) { c["aud"] = []string{} }, check: "aud"},
	{name: "aud-null-member", pass: func(c map[string]any) { c["aud"] = []string{testClient, testClient} }, fail: func(c map[string]any) { c["aud"] = []any{testClient, nil} }, check: "aud"},
	{name: "aud-other", fail: func(c map[string]any) { c["aud"] = "other" }, check: "aud"},
	{name: "aud-substring", fail: func(c map[string]any) { c["aud"] = testClient + "1" }, check: "aud"},
	{name: "aud-case", fail: func(c map[string]any) { c["aud"] = strings.ToUpper(testClient) }, check: "aud"},
	{name: "aud-object", fail: func(c map[string]any) { c["aud"] = map[string]any{testClient: true} }, check: "aud"},
	{name: "aud-multi-no-azp", pass: func(c map[string]any) { c["aud"], c["azp"] = []string{"x", testClient}, testClient }, fail: func(c map[string]any) { c["aud"] = []string{"x", testClient} }, check: "aud"},
	{name: "azp-other", pass: func(c map[string]any) { c["azp"] = testClient }, fail: func(c map[string]any) { c["azp"] = "other" }, check: "azp"},
	{name: "azp-empty", fail: func(c map[string]any) { c["azp"] = "" }, check: "azp"},
	{name: "azp-array", fail: func(c map[string]any) { c["azp"] = []string{testClient} }, check: "azp"},
	{name: "azp-ours-aud-not", fail: func(c map[string]any) { c["aud"], c["azp"] = "x", testClient }, check: "aud"},

	{name: "sub-missing", fail: func(c map[string]any) { delete(c, "sub") }, check: "sub"},
	{name: "sub-empty", fail: func(c map[string]any) { c["sub"] = "" }, check: "sub"},
	{name: "sub-null", fail: func(c map[string]any) { c["sub"] = nil }, check: "sub"},
	{name: "sub-number", pass: func(c map[string]any) { c["sub"] = "1" }, fail: func(c map[string]any) { c["sub"] = 1 }, check: "sub"},
	{name: "sub-256", pass: func(c map[string]any) { c["sub"] = strings.Repeat("s", 255) }, fail: func(c map[string]any) { c["sub"] = strings.Repeat("s", 256) }, check: "sub"},
	{name: "sub-not-ascii", pass: func(c map[string]any) { c["sub"] = "a b|~" }, fail: func(c map[string]any) { c["sub"] = "аlice" }, check: "sub"},
	{name: "u0000", fail: func(c map[string]any) { c["sub"] = "user-1\x00" }, check: "sub"},

	{name: "exp-missing", fail: func(c map[string]any) { delete(c, "exp") }, check: "exp"},
	{name: "exp-null", fail: func(c map[string]any) { c["exp"] = nil }, check: "exp"},
	{name: "exp-past", pass: func(c map[string]any) { c["exp"] = now(-30) }, fail: func(c map[string]any) { c["exp"] = now(-61) }, check: "exp"},
	{name: "exp-6-minutes-ago", fail: func(c map[string]any) { c["exp"] = now(-360) }, check: "exp"},
	{name: "exp-string", fail: func(c map[string]any) { c["exp"] = "9999999999" }, check: "exp"},
	{name: "exp-float", pass: func(c map[string]any) { c["exp"] = float64(now(60)) + 0.5 }, fail: func(c map[string]any) { c["exp"] = float64(now(-120)) + 0.5 }, check: "exp"},
	{name: "exp-1e300", pass: func(c map[string]any) { c["exp"] = json.Number("2.5e9") }, fail: func(c map[string]any) { c["exp"] = json.Number("1e300") }, check: "exp"},
	{name: "number-huge", fail: func(c map[string]any) { c["exp"] = json.Number("1e400") }, check: "exp"},
	{name: "exp-digits", fail: func(c map[string]any) { c["exp"] = json.Number(strings.Repeat("9", 400)) }, check: "exp"},
	{name: "exp-negative", fail: func(c map[string]any) { c["exp"] = -1 }, check: "exp"},
	{name: "exp-zero", fail: func(c map[string]any) { c["exp"] = 0 }, check: "exp"},
	{name: "exp-ms", fail: func(c map[string]any) { c["exp"] = now(300) * 1000 }, check: "exp"},
	{name: "exp-bool", fail: func(c map[string]any) { c["exp"] = true }, check: "exp"},

	{name: "iat-missing", fail: func(c map[string]any) { delete(c, "iat") }, check: "iat"},
	{name: "iat-future", pass: func(c map[string]any) { c["iat"] = now(30) }, fail: func(c map[string]any) { c["iat"] = now(90) }, check: "iat"},
	{name: "iat-is-week-in-past", pass: func(c map[string]any) { c["iat"] = now(-86400) }, fail: func(c map[string]any) { c["iat"] = now(-7 * 86400) }, check: "iat"},
	{name: "iat-day-and-leeway", fail: func(c map[string]any) { c["iat"] = now(-86400 - 90) }, check: "iat"},
	{name: "iat-string", fail: func(c map[string]any) { c["iat"] = "1" }, check: "iat"},
	{name: "nbf-future", pass: func(c map[string]any) { c["nbf"] = now(30) }, fail: func(c map[string]any) { c["nbf"] = now(90) }, check: "nbf"},
	{name: "nbf-negative", pass: func(c map[string]any) { c["nbf"] = 0 }, fail: func(c map[string]any) { c["nbf"] = -1 }, check: "nbf"},
	{name: "nbf-string", pass: func(c map[string]any) { c["nbf"] = nil }, fail: func(c map[string]any) { c["nbf"] = "1" }, check: "nbf"},

	{name: "nonce-missing", fail: func(c map[string]any) { delete(c, "nonce") }, check: "nonce"},
	{name: "nonce-empty", fail: func(c map[string]any) { c["nonce"] = "" }, check: "nonce"},
	{name: "nonce-null", fail: func(c map[string]any) { c["nonce"] = nil }, check: "nonce"},
	{name: "nonce-other", fail: func(c map[string]any) { c["nonce"] = c["nonce"].(string) + "1" }, check: "nonce"},
	{name: "nonce-case", fail: func(c map[string]any) { c["nonce"] = swapCase(c["nonce"].(string)) }, check: "nonce"},
	{name: "nonce-array", fail: func(c map[string]any) { c["nonce"] = []any{c["nonce"]} }, check: "nonce"},
	{name: "nonce-optout-claim", pass: func(c map[string]any) { c["nonce_supported"] = true }, fail: func(c map[string]any) { delete(c, "nonce"); c["nonce_supported"] = false }, check: "nonce"},

	{name: "at_hash-wrong", pass: func(c map[string]any) { delete(c, "at_hash") }, fail: func(c map[string]any) { c["at_hash"] = c["at_hash"].(string) + "1" }, check: "at_hash"},
	{name: "at_hash-empty", pass: func(c map[string]any) { c["at_hash"] = nil }, fail: func(c map[string]any) { c["at_hash"] = "" }, check: "at_hash"},
	{name: "at_hash-number", fail: func(c map[string]any) { c["at_hash"] = 1 }, check: "at_hash"},
	{name: "at_hash-other-token", fail: func(c map[string]any) { c["at_hash"] = half("RS256", "access-2") }, check: "at_hash"},
	{name: "c_hash-wrong", pass: func(c map[string]any) { delete(c, "c_hash") }, fail: func(c map[string]any) { c["c_hash"] = half("RS256", "other") }, check: "c_hash"},
	{name: "s_hash-wrong", fail: func(c map[string]any) { c["s_hash"] = half("RS256", "other") }, check: "s_hash"},

	{name: "auth_time-old", pass: func(c map[string]any) { c["auth_time"] = now(-3600) }, fail: func(c map[string]any) { c["auth_time"] = now(-3600 - 90) }, check: "auth_time", params: rp.AuthParams{MaxAge: time.Hour}},
	{name: "auth_time-missing-max_age", pass: func(c map[string]any) { c["auth_time"] = now(0) }, fail: func(c map[string]any) {}, check: "auth_time", params: rp.AuthParams{MaxAge: time.Hour}},
	{name: "auth_time-zero", fail: func(c map[string]any) { c["auth_time"] = 0 }, check: "auth_time", params: rp.AuthParams{MaxAge: time.Hour}},
	{name: "auth_time-string", fail: func(c map[string]any) { c["auth_time"] = "1" }, check: "auth_time"},
	{name: "auth_time-future", pass: func(c map[string]any) { c["auth_time"] = now(30) }, fail: func(c map[string]any) { c["auth_time"] = now(90) }, check: "auth_time", params: rp.AuthParams{MaxAge: time.Hour}},
	{name: "auth_time-login-anew", pass: func(c map[string]any) { c["auth_time"] = now(0) }, fail: func(c map[string]any) { c["auth_time"] = now(-90) }, check: "auth_time", params: rp.AuthParams{MaxAge: -1}},
	{name: "acr-weak", pass: func(c map[string]any) { c["acr"] = "gold" }, fail: func(c map[string]any) { c["acr"] = "bronze" }, check: "acr", params: rp.AuthParams{ACRValues: []string{"silver", "gold"}}},
	{name: "acr-missing", pass: func(c map[string]any) { c["acr"] = "silver" }, fail: func(c map[string]any) {}, check: "acr", params: rp.AuthParams{ACRValues: []string{"silver", "gold"}}},
	{name: "acr-array", pass: func(c map[string]any) { c["acr"] = "silver" }, fail: func(c map[string]any) { c["acr"] = []string{"silver"} }, check: "acr", params: rp.AuthParams{ACRValues: []string{"silver"}}},

	{name: "case-SUB", fail: func(c map[string]any) { c["SUB"] = "admin" }, check: "json"},
	{name: "case-ISS", fail: func(c map[string]any) { c["ISS"] = testIssuer; delete(c, "iss") }, check: "json"},
	{name: "case-EXP", fail: func(c map[string]any) { c["EXP"] = 1 }, check: "json"},
	{name: "case-Aud", fail: func(c map[string]any) { c["Aud"] = testClient; delete(c, "aud") }, check: "json"},
	{name: "case-long-s", fail: func(c map[string]any) { c["i\u017f\u017f"] = testIssuer }, check: "json"},
	{name: "case-of-unregistered", pass: func(c map[string]any) { c["Email"] = "a" }, fail: func(c map[string]any) { c["Email"], c["email"] = "a", "b" }, check: "json"},
	{name: "logout-as-id", fail: func(c map[string]any) {
		c["events"] = map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}
	}, check: "events"},

	{name: "acr-voluntary", pass: func(c map[string]any) { c["acr"] = "bronze" }, params: rp.AuthParams{ACRValues: []string{"gold"}, ACRVoluntary: true}},
	{name: "auth_time-zero-unasked", pass: func(c map[string]any) { c["auth_time"] = 0 }},
	{name: "odd-optional-claims", pass: func(c map[string]any) {
		c["amr"], c["sid"], c["acr"], c["address"], c["groups"] = "pwd", 7, 1, []string{}, []string{}
	}},
	{name: "claim-sources", pass: func(c map[string]any) {
		c["_claim_names"], c["_claim_sources"] = map[string]any{"groups": "src1"}, map[string]any{}
	}},
	{name: "cnf-unasked", pass: func(c map[string]any) { c["cnf"] = map[string]any{"jkt": "x"} }},
}

func now(seconds int64) int64 { return time.Now().Unix() + seconds }

func TestTheCorpusOfClaims(t *testing.T) {
	for _, x := range corpusClaims {
		t.Run(x.name, func(t *testing.T) {
			p := newOP()
			p.edit = x.pass
			if x.pass == nil && x.params.MaxAge != 0 {
				p.edit = func(c map[string]any) { c["auth_time"] = now(0) }
			}
			c := p.client(t)
			if _, err := p.login(t, c, x.params); err != nil {
				t.Errorf("the neighbour that should pass: %v", err)
			}
			if x.fail != nil {
				p.edit = x.fail
				refused(t, p, c, x.params, x.check)
			}
		})
	}
}

// corpusPayload are payloads which are not the JSON of a map.
var corpusPayload = []struct {
	name   string
	change func(honest string) string
	check  string
}{
	{"dup-sub", func(s string) string { return strings.Replace(s, `{`, `{"sub":"admin",`, 1) }, "json"},
	{"dup-aud", func(s string) string { return strings.TrimSuffix(s, "}") + `,"aud":"other"}` }, "json"},
	{"dup-escaped", func(s string) string { return strings.Replace(s, `{`, `{"s\u0075b":"admin",`, 1) }, "json"},
	{"dup-nested", func(s string) string { return strings.Replace(s, `{`, `{"x":{"a":1,"a":2},`, 1) }, "json"},
	{"bad-utf8", func(s string) string { return strings.Replace(s, "user-1", "user-\xff", 1) }, "json"},
	{"lone-surrogate", func(s string) string { return strings.Replace(s, "user-1", `user-\ud800`, 1) }, "json"},
	{"deep-9000", func(s string) string {
		return strings.Replace(s, `{`, `{"x":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+`,`, 1)
	}, "json"},
	{"payload-array", func(s string) string { return "[" + s + "]" }, "json"},
	{"payload-not-json", func(string) string { return "hello" }, "json"},
	{"payload-empty", func(string) string { return "" }, "json"},
	{"payload-null", func(string) string { return "null" }, "json"},
	{"payload-trailing", func(s string) string { return s + "{}" }, "json"},
	{"bom", func(s string) string { return "\ufeff" + s }, "json"},
	{"utf16", func(s string) string {
		var b strings.Builder
		for i := range len(s) {
			b.WriteByte(0)
			b.WriteByte(s[i])
		}
		return b.String()
	}, "json"},
	{"nan", func(s string) string { return strings.Replace(s, `{`, `{"x":NaN,`, 1) }, "json"},
}

func TestTheCorpusOfPayloads(t *testing.T) {
	for _, alg := range honestAlgs {
		for _, x := range corpusPayload {
			t.Run(alg+"/"+x.name, func(t *testing.T) {
				p := newOP()
				p.use(alg)
				p.wrap = func(raw string) string { return p.resign(raw, nil, x.change) }
				refused(t, p, p.client(t), rp.AuthParams{}, x.check, "compact", "payload")
			})
		}
	}
}

// resign signs an honest token again with a changed header or payload.
func (p *op) resign(raw string, header func(map[string]any) string, payload func(string) string) string {
	parts := strings.Split(raw, ".")
	h, _ := base64.RawURLEncoding.DecodeString(parts[0])
	b, _ := base64.RawURLEncoding.DecodeString(parts[1])
	if payload != nil {
		b = []byte(payload(string(b)))
	}
	if header != nil {
		var m map[string]any
		json.Unmarshal(h, &m)
		h = []byte(header(m))
	}
	return sign(p.alg, p.key, h, b)
}

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func set(name string, v any) func(map[string]any) string {
	return func(h map[string]any) string {
		h[name] = v
		return jsonText(h)
	}
}

// corpusHeader are tokens validly signed over a header that is not acceptable.
var corpusHeader = []struct {
	name   string
	header func(map[string]any) string
	checks []string
}{
	{"alg-None", set("alg", "None"), []string{"alg"}},
	{"alg-nOnE", set("alg", "nOnE"), []string{"alg"}},
	{"alg-none-signed", set("alg", "none"), []string{"alg"}},
	{"alg-empty", set("alg", ""), []string{"alg", "header"}},
	{"alg-missing", func(h map[string]any) string { delete(h, "alg"); return jsonText(h) }, []string{"alg", "header"}},
	{"alg-array", set("alg", []string{"RS256"}), []string{"alg", "header"}},
	{"alg-not-allowed", set("alg", "RS512"), []string{"alg"}},
	{"alg-es256k", set("alg", "ES256K"), []string{"alg"}},
	{"kid-unknown", set("kid", "nobody"), []string{"kid", "key"}},
	{"kid-sqli", set("kid", "' OR 1=1 --"), []string{"kid", "key"}},
	{"kid-path-traversal", set("kid", "../../dev/null"), []string{"kid", "key"}},
	{"kid-number", set("kid", 1), []string{"kid", "header"}},
	{"kid-16kib", set("kid", strings.Repeat("k", 16<<10)), []string{"size"}},
	{"jwk-embedded", set("jwk", map[string]any{"kty": "oct", "k": "AAAA"}), []string{"jwk", "header"}},
	{"crit-unknown", set("crit", []string{"x"}), []string{"crit", "header"}},
	{"crit-exp", set("crit", []string{"exp"}), []string{"crit", "header"}},
	{"crit-b64-false", func(h map[string]any) string { h["crit"], h["b64"] = []string{"b64"}, false; return jsonText(h) }, []string{"crit", "b64", "header"}},
	{"crit-empty", set("crit", []string{}), []string{"crit", "header"}},
	{"crit-string", set("crit", "exp"), []string{"crit", "header"}},
	{"b64-false-nocrit", set("b64", false), []string{"b64", "header"}},
	{"zip-def", set("zip", "DEF"), []string{"zip", "header"}},
	{"typ-at-on-id", set("typ", "at+jwt"), []string{"typ"}},
	{"typ-logout-on-id", set("typ", "logout+jwt"), []string{"typ"}},
	{"typ-dpop", set("typ", "dpop+jwt"), []string{"typ"}},
	{"typ-application-at", set("typ", "application/at+jwt"), []string{"typ"}},
	{"cty-jwt", set("cty", "JWT"), []string{"cty"}},
	{"dup-alg-header", func(h map[string]any) string { return strings.Replace(jsonText(h), "{", `{"alg":"none",`, 1) }, []string{"header", "json"}},
	{"header-not-object", func(map[string]any) string { return `["RS256"]` }, []string{"header", "json"}},
	{"header-bom", func(h map[string]any) string { return "\ufeff" + jsonText(h) }, []string{"header", "json"}},
}

func TestTheCorpusOfHeaders(t *testing.T) {
	for _, alg := range honestAlgs {
		for _, x := range corpusHeader {
			t.Run(alg+"/"+x.name, func(t *testing.T) {
				p := newOP()
				p.use(alg)
				p.wrap = func(raw string) string { return p.resign(raw, x.header, nil) }
				refused(t, p, p.client(t), rp.AuthParams{}, x.checks...)
			})
		}
	}
}

func TestKeysNamedByATokenAreNeitherFetchedNorUsed(t *testing.T) {
	p := newOP()
	p.key = keys()["rsa2"] // not published
	for _, member := range []map[string]any{
		{"jku": "https://evil.example/jwks"}, {"x5u": "https://evil.example/cert"}, {"x5c": []string{"MIIB"}},
	} {
		maps.Copy(member, map[string]any{"kid": "rsa"})
		p.header = member
		refused(t, p, p.client(t), rp.AuthParams{}, "signature", "header")
	}
	if len(p.sent) == 0 {
		t.Fatal("no input")
	}
	for _, r := range p.sent {
		if strings.Contains(r.path, "evil") {
			t.Errorf("%s was fetched", r.path)
		}
	}
}

// Every spelling of an RSA key as an HMAC secret (RS to HS confusion).
func TestAPublicKeyIsNoHMACSecret(t *testing.T) {
	pub := &keys()["rsa"].(*rsa.PrivateKey).PublicKey
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	for name, secret := range map[string][]byte{
		"alg-hs256-pem":       []byte(strings.TrimSpace(string(block))),
		"alg-hs256-pem-nl":    block,
		"alg-hs256-der":       der,
		"alg-hs256-pkcs1":     x509.MarshalPKCS1PublicKey(pub),
		"alg-hs256-jwk":       []byte(jsonText(jwk("rsa", "", keys()["rsa"]))),
		"alg-hs256-modulus":   pub.N.Bytes(),
		"alg-hs256-empty-key": {},
		"alg-hs256-secret":    []byte(testSecret),
	} {
		t.Run(name, func(t *testing.T) {
			p := newOP()
			p.alg, p.key = "HS256", secret
			refused(t, p, p.client(t), rp.AuthParams{}, "alg")
			p.secret = strings.Repeat("s", 32)
			if name != "alg-hs256-secret" {
				refused(t, p, p.client(t, func(c *rp.Config) { c.SigningAlg = "HS256" }), rp.AuthParams{}, "signature")
			}
		})
	}
}

func TestHMACTokensPassOnlyWhereConfigured(t *testing.T) {
	p := newOP()
	p.secret = strings.Repeat("s", 32)
	p.alg, p.key, p.header = "HS256", []byte(p.secret), nil
	p.metadata["id_token_signing_alg_values_supported"] = []string{"ES256"} // LINE says so and signs HS256
	refused(t, p, p.client(t), rp.AuthParams{}, "alg")
	hs := func(c *rp.Config) { c.SigningAlg = "HS256" }
	if _, err := p.login(t, p.client(t, hs), rp.AuthParams{}); err != nil {
		t.Error(err)
	}
	if p.jwksGets != 0 {
		t.Error("the key set was asked for a symmetric key")
	}
	p.wrap = func(raw string) string { return raw[:len(raw)-2] + "AA" }
	refused(t, p, p.client(t, hs), rp.AuthParams{}, "signature", "base64", "compact")
	p.wrap = nil
	p.use("RS256")
	refused(t, p, p.client(t, hs), rp.AuthParams{}, "alg")
}

func TestTheCorpusOfEncodings(t *testing.T) {
	gate := []string{"compact", "size", "base64", "header", "json"}
	for name, wrap := range map[string]func(string) string{
		"json-flattened": func(s string) string {
			x := strings.Split(s, ".")
			return jsonText(map[string]string{"protected": x[0], "payload": x[1], "signature": x[2]})
		},
		"json-general-two-sigs": func(s string) string {
			x := strings.Split(s, ".")
			sig := map[string]string{"protected": x[0], "signature": x[2]}
			return jsonText(map[string]any{"payload": x[1], "signatures": []any{sig, sig}})
		},
		"json-unprotected-alg": func(s string) string {
			x := strings.Split(s, ".")
			return jsonText(map[string]any{"header": map[string]string{"alg": "RS256"}, "payload": x[1], "signature": x[2]})
		},
		"whitespace-inside":  func(s string) string { return s[:40] + "\n" + s[40:] },
		"whitespace-around":  func(s string) string { return " " + s },
		"newline-at-the-end": func(s string) string { return s + "\n" },
		"padded-b64":         func(s string) string { x := strings.Split(s, "."); return x[0] + "." + x[1] + "==." + x[2] },
		"std-b64-alphabet":   func(s string) string { x := strings.Split(s, "."); return x[0] + "." + x[1] + "." + "+/" + x[2][2:] },
		"two-parts":          func(s string) string { return s[:strings.LastIndex(s, ".")] },
		"four-parts":         func(s string) string { return s + "." },
		"five-parts-on-jws":  func(s string) string { return s + ".a.b" },
		"jwe-five-parts": func(string) string {
			return b64([]byte(`{"alg":"RSA-OAEP-256","enc":"A256GCM"}`)) + ".a.b.c.d"
		},
		"million-dots":    func(string) string { return strings.Repeat(".", 400_000) },
		"dots":            func(string) string { return ".." },
		"nul-byte":        func(s string) string { return s[:40] + "\x00" + s[40:] },
		"bom":             func(s string) string { return "\ufeff" + s },
		"16kib-plus-1":    func(s string) string { return s + strings.Repeat("A", 16<<10+1-len(s)) },
		"percent-encoded": func(s string) string { return strings.ReplaceAll(s, ".", "%2E") },
		"bearer":          func(s string) string { return "Bearer " + s },
		"sig-stripped":    func(s string) string { return s[:strings.LastIndex(s, ".")] + "" },
	} {
		t.Run(name, func(t *testing.T) {
			p := newOP()
			p.wrap = wrap
			refused(t, p, p.client(t), rp.AuthParams{}, gate...)
		})
	}
}

func TestAnEncryptedTokenIsRefusedWithAWordOnWhy(t *testing.T) {
	p := newOP()
	p.wrap = func(string) string { return "a.b.c.d.e" }
	_, err := p.login(t, p.client(t), rp.AuthParams{})
	if err == nil || !strings.Contains(err.Error(), "encrypted tokens are not supported yet") {
		t.Errorf("error is %v", err)
	}
}

// The last character of a signature has unused bits in base64: flipped, the bytes are the same, and a cache or a deny list is fooled.
func TestTrailingBitsOfTheSignatureAreRefused(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	p := newOP()
	p.wrap = func(s string) string {
		last := strings.IndexByte(alphabet, s[len(s)-1])
		return s[:len(s)-1] + string(alphabet[last|1])
	}
	if 256%3 != 1 {
		t.Fatal("a 2048-bit signature should leave unused bits")
	}
	refused(t, p, p.client(t), rp.AuthParams{}, "base64", "compact")
}

func TestTheCorpusOfSignatures(t *testing.T) {
	part := func(change func(sig []byte) []byte) func(string) string {
		return func(s string) string {
			i := strings.LastIndex(s, ".")
			sig, _ := base64.RawURLEncoding.DecodeString(s[i+1:])
			return s[:i+1] + b64(change(sig))
		}
	}
	other := func(alg string) any {
		if alg == "RS256" || alg == "PS256" {
			return keys()["rsa2"]
		}
		return nil
	}
	changes := map[string]func(string) string{
		"sig-empty":     part(func([]byte) []byte { return nil }),
		"sig-zero-rs":   part(func(s []byte) []byte { return make([]byte, len(s)) }),
		"sig-truncated": part(func(s []byte) []byte { return s[:len(s)-1] }),
		"sig-r-only":    part(func(s []byte) []byte { return s[:len(s)/2] }),
		"sig-extended":  part(func(s []byte) []byte { return append(s, 0) }),
		"sig-xored": part(func(s []byte) []byte {
			for i := range s {
				s[i] ^= 0x5a
			}
			return s
		}),
		"sig-last-bit": part(func(s []byte) []byte { s[len(s)-1] ^= 1; return s }),
		"payload-changed": func(s string) string {
			x := strings.Split(s, ".")
			b, _ := base64.RawURLEncoding.DecodeString(x[1])
			return x[0] + "." + b64([]byte(strings.Replace(string(b), "user-1", "user-2", 1))) + "." + x[2]
		},
	}
	for _, alg := range honestAlgs {
		for name, wrap := range changes {
			t.Run(alg+"/"+name, func(t *testing.T) {
				p := newOP()
				p.use(alg)
				p.wrap = wrap
				refused(t, p, p.client(t), rp.AuthParams{}, "signature", "compact", "base64")
			})
		}
		t.Run(alg+"/sig-other-token", func(t *testing.T) {
			p := newOP()
			p.use(alg)
			stolen := p.seal(map[string]any{"iss": testIssuer})
			p.wrap = func(s string) string { return s[:strings.LastIndex(s, ".")] + stolen[strings.LastIndex(stolen, "."):] }
			refused(t, p, p.client(t), rp.AuthParams{}, "signature")
		})
		if k := other(alg); k != nil {
			t.Run(alg+"/sig-other-key", func(t *testing.T) {
				p := newOP()
				p.use(alg)
				p.key = k
				refused(t, p, p.client(t), rp.AuthParams{}, "signature")
			})
		}
		t.Run(alg+"/alg-none", func(t *testing.T) {
			p := newOP()
			p.use(alg)
			p.alg = "none"
			refused(t, p, p.client(t), rp.AuthParams{}, "alg", "signature")
		})
	}
}

func TestCorpusECDSADerAndReducedForms(t *testing.T) {
	p := newOP()
	p.use("ES256")
	n := p.key.(*ecdsa.PrivateKey).Params().N
	for name, change := range map[string]func(r, s *big.Int) []byte{
		"sig-der-ecdsa": func(r, s *big.Int) []byte {
			body := append(der(r), der(s)...)
			return append([]byte{0x30, byte(len(body))}, body...)
		},
		"sig-n-plus-r": func(r, s *big.Int) []byte {
			return append(new(big.Int).Add(r, n).Bytes(), s.FillBytes(make([]byte, 32))...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p.wrap = func(raw string) string {
				i := strings.LastIndex(raw, ".")
				sig, _ := base64.RawURLEncoding.DecodeString(raw[i+1:])
				return raw[:i+1] + b64(change(new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])))
			}
			refused(t, p, p.client(t), rp.AuthParams{}, "signature")
		})
	}
}

func der(n *big.Int) []byte {
	b := n.Bytes()
	if b[0] >= 0x80 {
		b = append([]byte{0}, b...)
	}
	return append([]byte{2, byte(len(b))}, b...)
}

// A key of one kind under an algorithm of another.
func TestCorpusAlgorithmAndKeyMustFit(t *testing.T) {
	for name, x := range map[string]struct {
		claimed, signed, kid string
		jwk                  func(map[string]any)
	}{
		"alg-rs256-on-ps256-key": {"RS256", "RS256", "rsa", func(k map[string]any) { k["alg"] = "PS256" }},
		"alg-es256-on-p384":      {"ES256", "ES384", "ec384", nil},
		"alg-eddsa-as-es256":     {"ES256", "EdDSA", "ed", nil},
		"key-use-enc":            {"RS256", "RS256", "rsa", func(k map[string]any) { k["use"] = "enc" }},
		"key-ops-encrypt":        {"RS256", "RS256", "rsa", func(k map[string]any) { delete(k, "use"); k["key_ops"] = []string{"encrypt"} }},
		"removed-key":            {"RS256", "RS256", "rsa", func(k map[string]any) { k["kid"] = "other" }},
	} {
		t.Run(name, func(t *testing.T) {
			p := newOP()
			p.use(x.signed)
			p.metadata["id_token_signing_alg_values_supported"] = []string{x.claimed}
			if x.jwk != nil {
				for _, k := range p.jwks {
					if k["kid"] == x.kid {
						x.jwk(k)
					}
				}
			}
			p.wrap = func(raw string) string { return p.resign(raw, set("alg", x.claimed), nil) }
			refused(t, p, p.client(t), rp.AuthParams{}, "key", "kid", "alg", "signature")
		})
	}
}

func TestTheHashOfAHashClaimFollowsTheAlgorithm(t *testing.T) {
	for _, alg := range honestAlgs {
		p := newOP()
		p.use(alg)
		sum := sha256.Sum256([]byte("access-1"))
		p.edit = func(c map[string]any) { c["at_hash"] = b64(sum[:]) } // the whole hash, not its half
		refused(t, p, p.client(t), rp.AuthParams{}, "at_hash")
	}
}

// The edges to the second, on a clock that stands still.
func TestTheLeewayIsExact(t *testing.T) {
	keys()
	for name, x := range map[string]struct {
		claim      string
		pass, fail time.Duration // from now
	}{
		"exp":      {"exp", -59 * time.Second, -60 * time.Second},
		"iat":      {"iat", 60 * time.Second, 61 * time.Second},
		"iat past": {"iat", -24*time.Hour - 60*time.Second, -24*time.Hour - 61*time.Second},
		"nbf":      {"nbf", 60 * time.Second, 61 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newOP()
				c := p.client(t)
				at := x.pass
				p.edit = func(m map[string]any) { m[x.claim] = time.Now().Add(at).Unix() }
				if _, err := p.login(t, c, rp.AuthParams{}); err != nil {
					t.Errorf("the neighbour that should pass: %v", err)
				}
				at = x.fail
				refused(t, p, c, rp.AuthParams{}, x.claim)
			})
		})
	}
}

func TestALoginWithoutAStartIsJudgedByTheClock(t *testing.T) {
	p := newOP()
	c := p.client(t)
	for _, start := range []time.Time{{}, time.Now().Add(48 * time.Hour)} {
		for _, x := range []struct {
			age int64
			ok  bool
		}{{-3000, true}, {-7200, false}} {
			login, err := c.Begin(t.Context(), rp.AuthParams{MaxAge: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			login.StartedAt = start
			p.edit = func(m map[string]any) { m["auth_time"] = now(x.age) }
			if _, err := c.Finish(t.Context(), login, p.authorize(t, login)); (err == nil) != x.ok {
				t.Errorf("authenticated %d seconds ago, start %v: %v", -x.age, start, err)
			}
		}
	}
}

// A minute at a consent page makes no old authentication of a fresh one.
func TestMaxAgeIsCountedToTheStartOfTheLogin(t *testing.T) {
	keys()
	synctest.Test(t, func(t *testing.T) {
		p := newOP()
		c := p.client(t)
		login, err := c.Begin(t.Context(), rp.AuthParams{MaxAge: -1})
		if err != nil {
			t.Fatal(err)
		}
		at := time.Now().Unix()
		p.edit = func(m map[string]any) { m["auth_time"] = at }
		time.Sleep(5 * time.Minute)
		if _, err := c.Finish(t.Context(), login, p.authorize(t, login)); err != nil {
			t.Error(err)
		}
	})
}

func TestAStateHashThatIsRightPasses(t *testing.T) {
	p := newOP()
	c := p.client(t)
	login, err := c.Begin(t.Context(), rp.AuthParams{})
	if err != nil {
		t.Fatal(err)
	}
	p.edit = func(c map[string]any) { c["s_hash"] = half("RS256", login.State) }
	if _, err := c.Finish(t.Context(), login, p.authorize(t, login)); err != nil {
		t.Error(err)
	}
}
