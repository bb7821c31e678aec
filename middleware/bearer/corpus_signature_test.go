package bearer_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// bytesOf changes the signature's bytes.
func bytesOf(change func(signature []byte) []byte) func(*draft) {
	return parts(func(h, p, s string) string { return h + "." + p + "." + b64(string(change([]byte(unb64(s))))) })
}

// strangerTo names a key of the same kind that is published nowhere.
func strangerTo(alg string) string {
	if alg == "EdDSA" {
		return "stranger-OKP"
	}
	return map[byte]string{'R': "stranger-RSA", 'P': "stranger-RSA", 'E': "stranger-EC"}[alg[0]]
}

func stranger(d *draft) { d.key = corpusKeys()[strangerTo(d.alg)] }

// under signs by alg with the key kid, and says says in the header.
func under(kid, alg, says string) func(*draft) {
	return func(d *draft) {
		d.key, d.alg = corpusKeys()[kid], alg
		d.header["kid"], d.header["alg"] = kid, says
	}
}

var corpusSignatures = []attack{
	{name: "sig-empty", bend: bytesOf(func([]byte) []byte { return nil }), check: "signature"},
	{name: "sig-zero-rs", bend: bytesOf(func(s []byte) []byte { return make([]byte, len(s)) }), check: "signature"},
	{name: "sig-one-byte-zero", bend: bytesOf(func([]byte) []byte { return []byte{0} }), check: "signature"},
	{name: "sig-one-rs", bend: bytesOf(func(s []byte) []byte { clear(s); s[len(s)/2-1], s[len(s)-1] = 1, 1; return s }), check: "signature"},
	{name: "sig-r-only", bend: bytesOf(func(s []byte) []byte { clear(s[len(s)/2:]); return s }), check: "signature"},
	{name: "sig-half", bend: bytesOf(func(s []byte) []byte { return s[:len(s)/2] }), check: "signature"},
	{name: "sig-truncated", bend: bytesOf(func(s []byte) []byte { return s[:len(s)-1] }), check: "signature"},
	{name: "sig-truncated-in-front", bend: bytesOf(func(s []byte) []byte { return s[1:] }), check: "signature"},
	{name: "sig-extended", bend: bytesOf(func(s []byte) []byte { return append(s, 0) }), check: "signature"},
	{name: "sig-extended-in-front", bend: bytesOf(func(s []byte) []byte { return append([]byte{0}, s...) }), check: "signature"},
	{name: "sig-twice", bend: bytesOf(func(s []byte) []byte { return append(s, s...) }), check: "signature"},
	{name: "sig-der-ecdsa", bend: bytesOf(func(s []byte) []byte {
		der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(s[:len(s)/2]), new(big.Int).SetBytes(s[len(s)/2:])})
		if err != nil {
			panic(err)
		}
		return der
	}), check: "signature"},
	{name: "sig-other-key", bend: stranger, check: "signature"},
	{name: "sig-other-key-without-kid", bend: func(d *draft) { stranger(d); delete(d.header, "kid") }, check: "signature", near: func(d *draft) { delete(d.header, "kid") }},
	{name: "sig-other-token", bend: func(d *draft) {
		stolen := d.token()
		d.claims["sub"] = "mallory"
		d.sign = func(string) string { return unb64(stolen[strings.LastIndexByte(stolen, '.')+1:]) }
	}, check: "signature"},
	{name: "sig-of-the-payload-alone", bend: func(d *draft) {
		alg, key := d.alg, d.key
		d.sign = func(input string) string { return signature(alg, key, input[strings.IndexByte(input, '.')+1:]) }
	}, check: "signature"},
	{name: "x5c-self-signed", bend: func(d *draft) { stranger(d); withCertificate(d) }, check: "signature", near: withCertificate},

	{name: "alg-rs256-on-ps256-key", bend: under("only-ps256", "RS256", "RS256"), check: "key", near: under("only-ps256", "PS256", "PS256")},
	{name: "alg-ps256-says-rs256", bend: under("any-rsa", "PS256", "RS256"), check: "signature", near: under("any-rsa", "RS256", "RS256")},
	{name: "alg-es256-on-p384", bend: under("ES384", "ES384", "ES256"), check: "key", near: under("ES384", "ES384", "ES384")},
	{name: "alg-eddsa-as-es256", bend: under("other-okp", "EdDSA", "ES256"), check: "key", near: under("other-okp", "EdDSA", "EdDSA")},
	{name: "key-use-enc", bend: under("for-encryption", "ES384", "ES384"), check: "kid"},
	{name: "key-ops-encrypt", bend: under("ops-encrypt", "ES384", "ES384"), check: "kid", near: under("ops-verify", "ES384", "ES384")},
	{name: "key-private", bend: under("private", "ES384", "ES384"), check: "kid"},
	{name: "rsa-1024", bend: under("small", "RS256", "RS256"), check: "kid"},
	{name: "rsa-e1", bend: forgedRSA("exponent-1", "", func(*rsa.PrivateKey, *big.Int) *big.Int { return nil }), check: "kid"},
	{name: "rsa-even-n", bend: forgedRSA("even", "\x00", evenRoot), check: "kid"},
	{name: "ec-off-curve", bend: under("off-curve", "ES256", "ES256"), check: "kid"},
	{name: "okp-wrong-len", bend: under("short", "EdDSA", "EdDSA"), check: "kid"},
}

func TestTheCorpusOfSignatures(t *testing.T) {
	run(t, corpusSignatures, func(alg string) []map[string]any { return oddKeys(alg) })
}

// Every spelling of each public key as an HMAC secret, with and without a line feed at its end.
func TestAPublicKeyIsNoHMACSecret(t *testing.T) {
	var attacks []attack
	for name, secret := range map[string]func(d *draft) []byte{
		"alg-hs256-pem":  func(d *draft) []byte { return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix1(d)}) },
		"alg-hs256-der":  pkix1,
		"alg-hs256-jwk":  func(d *draft) []byte { return []byte(jsonOf(published(d.alg))) },
		"alg-hs256-jwks": func(d *draft) []byte { return keySet(published(d.alg)).Raw },
		"alg-hs256-modulus": func(d *draft) []byte {
			switch public := d.key.Public().(type) {
			case *rsa.PublicKey:
				return public.N.Bytes()
			case *ecdsa.PublicKey:
				point, _ := public.Bytes()
				return point
			case ed25519.PublicKey:
				return public
			}
			return nil
		},
		"alg-hs256-kid":       func(d *draft) []byte { return []byte(d.alg) },
		"alg-hs256-empty-key": func(*draft) []byte { return nil },
	} {
		for _, alg := range []string{"HS256", "hs256"} {
			for end, trim := range map[string]func([]byte) []byte{
				"":    func(b []byte) []byte { return bytes.TrimRight(b, "\n") },
				"-nl": func(b []byte) []byte { return append(bytes.TrimRight(b, "\n"), '\n') },
			} {
				attacks = append(attacks, attack{name: name + end + "-" + alg, check: "alg", bend: func(d *draft) {
					d.header["alg"] = alg
					key := trim(secret(d))
					d.sign = func(input string) string { return mac(key, input) }
				}})
			}
		}
	}
	run(t, attacks, nil)
}

func pkix1(d *draft) []byte {
	der, err := x509.MarshalPKIXPublicKey(d.key.Public())
	if err != nil {
		panic(err)
	}
	return der
}

// What is added to a number of a signature is the same number to whoever forgets the range.
func TestNumbersOfASignatureAreInTheirRange(t *testing.T) {
	half := func(s []byte, i int) *big.Int { return new(big.Int).SetBytes(s[i*len(s)/2 : (i+1)*len(s)/2]) }
	order := elliptic.P256().Params().N
	// The order of Ed25519's base point (RFC 8032 section 5.1).
	edwards, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	reversed := func(b []byte) []byte { b = slices.Clone(b); slices.Reverse(b); return b }
	for name, x := range map[string]struct {
		alg    string
		change func(s []byte) []byte
	}{
		"r plus the order, 33 bytes": {"ES256", func(s []byte) []byte {
			return append(new(big.Int).Add(half(s, 0), order).FillBytes(make([]byte, 33)), s[32:]...)
		}},
		"s plus the order, 33 bytes": {"ES256", func(s []byte) []byte {
			return append(s[:32:32], new(big.Int).Add(half(s, 1), order).FillBytes(make([]byte, 33))...)
		}},
		"both the order":         {"ES256", func([]byte) []byte { return rawECDSA(order, order, 32) }},
		"r and s changed places": {"ES256", func(s []byte) []byte { return append(s[32:64:64], s[:32]...) }},
		"S plus the order": {"EdDSA", func(s []byte) []byte {
			more := new(big.Int).Add(new(big.Int).SetBytes(reversed(s[32:])), edwards)
			return append(s[:32:32], reversed(more.FillBytes(make([]byte, 32)))...)
		}},
		"the modulus added": {"RS256", func(s []byte) []byte {
			more := new(big.Int).Add(new(big.Int).SetBytes(s), corpusKeys()["RS256"].Public().(*rsa.PublicKey).N)
			return more.Bytes()
		}},
		"the modulus less it": {"PS256", func(s []byte) []byte {
			return new(big.Int).Sub(corpusKeys()["PS256"].Public().(*rsa.PublicKey).N, new(big.Int).SetBytes(s)).FillBytes(make([]byte, 256))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				newCorpus(t, x.alg, dialects[0]).try(t, attack{bend: bytesOf(x.change), check: "signature"})
			})
		})
	}
}

// A second signature can be made of any ECDSA signature without its key, and every verifier takes it: JOSE has no rule against. So a token's
// text names no token; its jti does, and a deny list by it holds.
func TestTheOtherECDSASignatureIsTheSameToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCorpus(t, "ES256", dialects[0])
		good := c.mint(nil)
		p := strings.Split(good, ".")
		s := []byte(unb64(p[2]))
		other := new(big.Int).Sub(elliptic.P256().Params().N, new(big.Int).SetBytes(s[32:]))
		high := p[0] + "." + p[1] + "." + b64(string(rawECDSA(new(big.Int).SetBytes(s[:32]), other, 32)))
		first, second := c.accepts(t, good), c.accepts(t, high)
		if first.ID != second.ID || high == good {
			t.Errorf("%v and %v", first, second)
		}
	})
}
