package bearer_test

import (
	"encoding/json"
	"maps"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/middleware/bearer"
)

func jsonOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// parts changes a token by its three parts.
func parts(change func(header, payload, signature string) string) func(*draft) {
	return after(func(token string) string {
		p := strings.Split(token, ".")
		return change(p[0], p[1], p[2])
	})
}

// loose sets the lowest of the unused bits of the last character, in a part that has such.
func loose(part string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	if len(part)%4 == 0 {
		panic("this part has no unused bits")
	}
	return part[:len(part)-1] + string(alphabet[strings.IndexByte(alphabet, part[len(part)-1])|1])
}

// filled makes a header or payload that leaves unused bits.
func filled(m map[string]any) {
	for m["x"] = "y"; len(jsonOf(m))%3 == 0; {
		m["x"] = m["x"].(string) + "y"
	}
}

// inLines writes the header on lines of its own, as RFC 7519 section 3.1 allows.
func inLines(d *draft) {
	filled(d.header)
	d.rawHeader = "{\r\n " + jsonOf(d.header)[1:]
	for len(d.rawHeader)%3 == 0 {
		d.rawHeader = d.rawHeader[:3] + " " + d.rawHeader[3:]
	}
}

// Every second spelling of a good token.
var corpusEncodings = []attack{
	{name: "json-flattened", bend: parts(func(h, p, s string) string {
		return jsonOf(map[string]string{"protected": h, "payload": p, "signature": s})
	}), check: "opaque"},
	{name: "json-flattened-with-dots", bend: parts(func(h, p, s string) string {
		return `{"a":"..",` + jsonOf(map[string]string{"protected": h, "payload": p, "signature": s})[1:]
	}), check: "base64"},
	{name: "json-general-two-sigs", bend: parts(func(h, p, s string) string {
		one := map[string]string{"protected": h, "signature": s}
		return jsonOf(map[string]any{"payload": p, "signatures": []any{one, one}})
	}), check: "opaque"},
	{name: "json-unprotected-alg", bend: parts(func(_, p, s string) string {
		return jsonOf(map[string]any{"header": map[string]string{"alg": "none"}, "payload": p, "signature": s})
	}), check: "opaque"},
	{name: "whitespace-inside", bend: after(func(s string) string { return s[:40] + " " + s[40:] }), check: "base64"},
	{name: "line-feed-inside", bend: after(func(s string) string { return s[:40] + "\n" + s[40:] }), check: "base64"},
	{name: "carriage-return-inside", bend: after(func(s string) string { return s[:40] + "\r" + s[40:] }), check: "base64"},
	{name: "crlf-before-a-dot", bend: after(func(s string) string { return strings.Replace(s, ".", "\r\n.", 1) }), check: "base64"},
	{name: "line-feed-at-the-end", bend: after(func(s string) string { return s + "\n" }), check: "base64"},
	{name: "tab-before", bend: after(func(s string) string { return "\t" + s }), check: "base64"},
	{name: "padded-b64", bend: after(func(s string) string { return s + "==" }), check: "base64"},
	{name: "padded-payload", bend: parts(func(h, p, s string) string { return h + "." + p + "=." + s }), check: "base64"},
	{name: "std-b64-alphabet", bend: parts(func(h, p, s string) string { return h + "." + p + ".+/" + s[2:] }), check: "base64"},
	{name: "trailing-bits", bend: parts(func(h, p, s string) string { return h + "." + p + "." + loose(s) }), check: "base64"},
	{name: "trailing-bits-of-the-header", bend: func(d *draft) {
		filled(d.header)
		parts(func(h, p, s string) string { return loose(h) + "." + p + "." + s })(d)
	}, check: "base64", near: func(d *draft) { filled(d.header) }},
	{name: "trailing-bits-of-a-header-in-lines", bend: func(d *draft) {
		inLines(d)
		parts(func(h, p, s string) string { return loose(h) + "." + p + "." + s })(d)
	}, check: "base64", near: inLines},
	{name: "trailing-bits-of-the-payload", bend: func(d *draft) {
		filled(d.claims)
		parts(func(h, p, s string) string { return h + "." + loose(p) + "." + s })(d)
	}, check: "base64", near: func(d *draft) { filled(d.claims) }},
	{name: "two-parts", bend: parts(func(h, p, _ string) string { return h + "." + p }), check: "opaque"},
	{name: "four-parts", bend: after(func(s string) string { return s + "." }), check: "opaque"},
	{name: "five-parts-on-jws", bend: after(func(s string) string { return s + ".a.b" }), check: "jwe"},
	{name: "dots", bend: after(func(string) string { return ".." }), check: "header"},
	{name: "detached-payload", bend: parts(func(h, _, s string) string { return h + ".." + s }), check: "compact"},
	{name: "million-dots", bend: after(func(string) string { return strings.Repeat(".", 1_000_000) }), check: "size"},
	{name: "dots-that-fit", bend: after(func(string) string { return "ey" + strings.Repeat(".", 16_000) }), check: "opaque"},
	{name: "empty", bend: after(func(string) string { return "" }), check: "compact"},
	{name: "nul-byte", bend: after(func(s string) string { return s[:40] + "\x00" + s[40:] }), check: "base64"},
	{name: "nul-at-the-end", bend: after(func(s string) string { return s + "\x00" }), check: "base64"},
	{name: "bom", bend: after(func(s string) string { return "\ufeff" + s }), check: "base64"},
	{name: "utf16", bend: after(func(s string) string { return "\xff\xfe" + strings.Join(strings.Split(s, ""), "\x00") }), check: "base64"},
	{name: "letters-beyond-ascii", bend: after(func(s string) string { return "е" + s[1:] }), check: "base64"},
	{name: "16kib-plus-1", bend: func(d *draft) { sized(d, 16<<10+1) }, check: "size", near: func(d *draft) { sized(d, 16<<10) }},
	{name: "8mib", bend: after(func(s string) string { return s + strings.Repeat("A", 8<<20-len(s)) }), check: "size"},
	{name: "percent-encoded", bend: after(func(s string) string { return strings.ReplaceAll(s, ".", "%2E") }), check: "opaque"},
	{name: "bearer-twice", bend: after(func(s string) string { return "Bearer " + s }), check: "base64"},
	{name: "two-tokens", bend: after(func(s string) string { return s + "," + s }), check: "jwe"},
	{name: "sig-stripped", bend: parts(func(h, p, _ string) string { return h + "." + p + "." }), check: "signature"},

	{name: "jwe-none-inside", bend: encrypted(map[string]any{"cty": "JWT"}, 300), check: "jwe"},
	{name: "jwe-jwe", bend: encrypted(map[string]any{"cty": "JWE"}, 300), check: "jwe"},
	{name: "jwe-claims", bend: encrypted(map[string]any{"typ": "at+jwt"}, 300), check: "jwe"},
	{name: "jwe-rsa1_5", bend: encrypted(map[string]any{"alg": "RSA1_5"}, 300), check: "jwe"},
	{name: "jwe-pbes2-p2c", bend: encrypted(map[string]any{"alg": "PBES2-HS512+A256KW", "p2c": 1<<31 - 1, "p2s": "AAAA"}, 300), check: "jwe"},
	{name: "jwe-zip-bomb", bend: encrypted(map[string]any{"zip": "DEF"}, 9000), check: "jwe"},
	{name: "jwe-empty-ek", bend: encrypted(map[string]any{"alg": "A128KW"}, 300), check: "jwe"},
	{name: "jwe-dir", bend: encrypted(map[string]any{"alg": "dir"}, 300), check: "jwe"},
	{name: "jwe-short-tag", bend: encrypted(map[string]any{"alg": "ECDH-ES", "epk": map[string]any{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}}, 0), check: "jwe"},
	{name: "jwe-header-on-three-parts", bend: func(d *draft) { maps.Copy(d.header, map[string]any{"enc": "A256GCM", "zip": "DEF"}) }, check: "header"},
}

// sized fills a token up to n bytes.
func sized(d *draft, n int) {
	signed := func() int { return len(d.token()) }
	// A part of bytes that 3 does not divide jumps over some lengths, so two parts share the work.
	for length := 1; length <= 3; length++ {
		d.header["x"] = strings.Repeat("x", length)
		d.claims["x"] = ""
		d.claims["x"] = strings.Repeat("x", (n-signed())*3/4-3)
		for signed() < n {
			d.claims["x"] = d.claims["x"].(string) + "x"
		}
		if signed() == n {
			return
		}
	}
	panic("no token has this length")
}

// encrypted is five parts with a JWE's header; nothing is ever decrypted, so the rest may be anything.
func encrypted(header map[string]any, length int) func(*draft) {
	return after(func(string) string {
		h := map[string]any{"alg": "RSA-OAEP-256", "enc": "A256GCM"}
		maps.Copy(h, header)
		return b64(jsonOf(h)) + ".." + b64("initialvalue") + "." + b64(strings.Repeat("c", length)) + "." + b64("tag")
	})
}

func TestTheCorpusOfEncodings(t *testing.T) { run(t, corpusEncodings, nil) }

// What a refusal may allocate, in bytes: a fixed sum for what is too long to be looked at, and a few times its length for the rest.
func TestRefusalsOfMonstersCostLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCorpus(t, "ES256", dialects[0])
		good := c.mint(nil)
		c.accepts(t, good)
		inside := func(claims string) string {
			return c.mint(func(d *draft) {
				if d.rawClaims = jsonOf(d.claims); claims != "" {
					d.rawClaims = claims
				}
			})
		}
		for name, x := range map[string]struct {
			raw  string
			most uint64
		}{
			"8mib":           {good + strings.Repeat("A", 8<<20), 1 << 10},
			"million-dots":   {strings.Repeat(".", 1_000_000), 1 << 10},
			"dots-that-fit":  {"ey" + strings.Repeat(".", 16_000), 1 << 10},
			"jwe-p2c":        {c.mint(encrypted(map[string]any{"alg": "PBES2-HS512+A256KW", "p2c": 1<<31 - 1}, 300)), 1 << 10},
			"jwe-zip-bomb":   {c.mint(encrypted(map[string]any{"zip": "DEF"}, 9000)), 1 << 10},
			"no base64":      {"ey" + strings.Repeat("*", 16_000) + "..", 64 << 10},
			"deep-5000":      {inside(strings.Repeat("[", 5000) + strings.Repeat("]", 5000)), 128 << 10},
			"deep objects":   {inside(strings.Repeat(`{"a":`, 1000) + "1" + strings.Repeat("}", 1000)), 128 << 10},
			"exp in digits":  {c.mint(func(d *draft) { d.claims["exp"] = json.Number("1" + strings.Repeat("0", 10_000)) }), 128 << 10},
			"exp exponent":   {c.mint(func(d *draft) { d.claims["exp"] = json.Number("1e999999999") }), 64 << 10},
			"many members":   {inside(`{` + strings.Repeat(`"a":1,`, 1500) + `"b":2}`), 256 << 10},
			"many claims":    {inside(manyClaims(1200)), 512 << 10},
			"many audiences": {c.mint(func(d *draft) { d.claims["aud"] = strings.Split(strings.Repeat("a,", 2500), ",") }), 512 << 10},
		} {
			if checkOf(verifyError(t, c.api, x.raw)) == "" {
				t.Errorf("%s passes", name)
			}
			const times = 20
			var before, now runtime.MemStats
			runtime.ReadMemStats(&before)
			for range times {
				_, _ = c.api.Verify(t.Context(), x.raw)
			}
			runtime.ReadMemStats(&now)
			if got := (now.TotalAlloc - before.TotalAlloc) / times; got > x.most {
				t.Errorf("%s: a refusal allocates %d bytes, more than %d", name, got, x.most)
			}
		}
	})
}

func verifyError(t testing.TB, api *bearer.Verifier, raw string) error {
	_, err := api.Verify(t.Context(), raw)
	return err
}

// manyClaims is an object of n names, and no good token.
func manyClaims(n int) string {
	m := map[string]int{}
	for i := range n {
		m[strings.Repeat("k", 1+i%7)+time.Unix(int64(i), 0).UTC().Format("150405")] = i
	}
	return jsonOf(m)
}

// A good token with one bit of one character flipped is no token. Most of these are other tokens, some are second spellings of this one.
func TestNoFlippedBitVerifies(t *testing.T) {
	for _, alg := range corpusAlgs {
		t.Run(alg, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCorpus(t, alg, dialects[0])
				// A flipped kid waits for keys to come, and this token shall not end meanwhile.
				good := []byte(c.mint(func(d *draft) { d.claims["exp"] = time.Now().AddDate(0, 1, 0).Unix() }))
				for i := range good {
					for bit := range 8 {
						good[i] ^= 1 << bit
						if _, err := c.api.Verify(t.Context(), string(good)); err == nil {
							t.Errorf("character %d with bit %d flipped passes", i, bit)
						}
						good[i] ^= 1 << bit
					}
				}
				c.accepts(t, string(good))
				if n := c.api.Stats().Entries; n != 1 {
					t.Errorf("%d tokens are remembered, want the good one", n)
				}
			})
		})
	}
}
