package rp_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

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
			p.header = map[string]any{"typ": "jwt"}
			if _, err := p.login(t, p.client(t), rp.AuthParams{}); err != nil {
				t.Errorf("with typ jwt: %v", err)
			}
		})
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
