package rp_test

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"maps"
	"math/big"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/rp"
)

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
