package bearer_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/middleware/bearer"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

func header(name string, value any) func(*draft) { return func(d *draft) { d.header[name] = value } }

func after(change func(token string) string) func(*draft) {
	return func(d *draft) { d.after = change }
}

// replaced changes the header's text, for what a map can't hold.
func replaced(old, new string) func(*draft) {
	return func(d *draft) {
		b, _ := json.Marshal(d.header)
		if d.rawHeader = strings.Replace(string(b), old, new, 1); d.rawHeader == string(b) {
			panic("nothing was replaced")
		}
	}
}

// Validly signed over a header that is not acceptable, but for those whose signature is what the header says.
var corpusHeaders = []attack{
	{name: "alg-none", bend: func(d *draft) { d.header["alg"] = "none" }, check: "alg"},
	{name: "alg-none-unsigned", bend: func(d *draft) { d.header["alg"], d.sign = "none", func(string) string { return "" } }, check: "alg"},
	{name: "alg-None", bend: header("alg", "None"), check: "alg"},
	{name: "alg-nOnE-unsigned", bend: func(d *draft) { d.header["alg"], d.sign = "nOnE", func(string) string { return "" } }, check: "alg"},
	{name: "alg-empty", bend: header("alg", ""), check: "alg"},
	{name: "alg-null", bend: header("alg", nil), check: "alg"},
	{name: "alg-missing", bend: func(d *draft) { delete(d.header, "alg") }, check: "alg"},
	{name: "alg-array", bend: func(d *draft) { d.header["alg"] = []string{d.alg} }, check: "alg"},
	{name: "alg-lower-case", bend: func(d *draft) { d.header["alg"] = strings.ToLower(d.alg) }, check: "alg"},
	{name: "alg-es256k", bend: header("alg", "ES256K"), check: "alg"},
	{name: "alg-rsa-oaep", bend: header("alg", "RSA-OAEP-256"), check: "alg"},
	{name: "kid-unknown", bend: header("kid", "nobody"), check: "kid"},
	{name: "kid-sqli", bend: header("kid", "' OR 1=1 --"), check: "kid"},
	{name: "kid-path-traversal", bend: header("kid", "../../../dev/null"), check: "kid"},
	{name: "kid-case", bend: func(d *draft) { d.header["kid"] = strings.ToLower(d.header["kid"].(string)) }, check: "kid"},
	{name: "kid-nul", bend: func(d *draft) { d.header["kid"] = d.header["kid"].(string) + "\x00" }, check: "kid"},
	{name: "kid-number", bend: header("kid", 1), check: "header"},
	{name: "kid-null", bend: header("kid", nil), check: "header", near: func(d *draft) { delete(d.header, "kid") }},
	{name: "kid-1mib", bend: header("kid", strings.Repeat("k", 1<<20)), check: "size"},
	{name: "jwk-embedded", bend: func(d *draft) {
		key := published("stranger-EC", "kid", nil)
		d.header["jwk"], d.header["alg"], d.alg, d.key = key, "ES256", "ES256", corpusKeys()["stranger-EC"]
	}, check: "jwk"},
	{name: "jwk-embedded-own-key", bend: func(d *draft) { d.header["jwk"] = published(d.alg) }, check: "jwk"},
	{name: "jwk-null", bend: header("jwk", nil), check: "jwk"},
	{name: "crit-unknown", bend: func(d *draft) { d.header["crit"], d.header["x"] = []string{"x"}, 1 }, check: "crit", near: header("x", 1)},
	{name: "crit-exp", bend: func(d *draft) { d.header["crit"], d.header["exp"] = []string{"exp"}, 1 }, check: "crit", near: header("exp", 1)},
	{name: "crit-b64-false", bend: func(d *draft) { d.header["crit"], d.header["b64"] = []string{"b64"}, false }, check: "crit"},
	{name: "crit-empty", bend: header("crit", []string{}), check: "crit"},
	{name: "crit-string", bend: header("crit", "exp"), check: "crit"},
	{name: "crit-null", bend: header("crit", nil), check: "crit"},
	{name: "b64-false-nocrit", bend: header("b64", false), check: "header"},
	{name: "zip-def", bend: header("zip", "DEF"), check: "header"},
	{name: "enc", bend: header("enc", "A256GCM"), check: "header"},
	{name: "typ-id-on-at", bend: header("typ", "JWT"), check: "typ", near: header("typ", "at+jwt"), in: map[string]string{"Keycloak": "", "Auth0": ""}},
	{name: "typ-missing", bend: func(d *draft) { delete(d.header, "typ") }, check: "typ", near: header("typ", "application/at+jwt")},
	{name: "typ-empty", bend: header("typ", ""), check: "typ", near: header("typ", "AT+JWT")},
	{name: "typ-logout", bend: header("typ", "logout+jwt"), check: "typ"},
	{name: "typ-dpop", bend: header("typ", "dpop+jwt"), check: "typ"},
	{name: "typ-introspection", bend: header("typ", "application/token-introspection+jwt"), check: "typ"},
	{name: "typ-twice-prefixed", bend: header("typ", "application/application/at+jwt"), check: "typ", near: header("typ", "Application/At+Jwt")},
	{name: "typ-prefix", bend: header("typ", "at+jwt2"), check: "typ"},
	{name: "typ-array", bend: header("typ", []string{"at+jwt"}), check: "header"},
	{name: "cty-jwt", bend: header("cty", "JWT"), check: "cty", near: header("cty", "")},
	{name: "dup-alg-header", bend: replaced("{", `{"alg":"none",`), check: "header", near: replaced("{", `{ "algo":"none",`)},
	{name: "dup-kid-by-escape", bend: replaced("{", `{"\u006bid":"x",`), check: "header"},
	{name: "case-ALG-header", bend: replaced("{", `{"ALG":"none",`), check: "header"},
	{name: "header-not-object", bend: func(d *draft) { d.rawHeader = `["` + d.alg + `"]` }, check: "header"},
	{name: "header-trailing", bend: func(d *draft) { header("x", "y")(d); replaced(`"y"`, `"y"}`)(d) }, check: "header"},
	{name: "header-bad-utf8", bend: replaced("{", "{\"x\":\"\xff\","), check: "header"},
	{name: "header-deep", bend: func(d *draft) { header("x", json.RawMessage(nested(33)))(d) }, check: "header", near: func(d *draft) { header("x", json.RawMessage(nested(31)))(d) }},
}

// nested is an array in an array, n deep.
func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestTheCorpusOfHeaders(t *testing.T) { run(t, corpusHeaders, nil) }

func TestHonestTokensOfTheProviderPassInEveryAlgorithm(t *testing.T) {
	for _, alg := range corpusAlgs {
		t.Run(alg, func(t *testing.T) {
			op, err := rptest.New(rptest.Options{Issuer: "https://op.example", SigningAlg: alg})
			if err != nil {
				t.Fatal(err)
			}
			c := newCorpus(t, alg, dialects[0])
			c.op = op
			c = c.with(func(*bearer.Config) {})
			c.accepts(t, c.fixture.token())
			c.accepts(t, op.SignBent(c.claims(), rptest.WithHeader("typ", "at+jwt"), rptest.NoKID))
			c.refuses(t, op.SignBent(c.claims("email", secret), rptest.WithHeader("typ", "at+jwt"), rptest.BadSignature), "signature")
		})
	}
}
