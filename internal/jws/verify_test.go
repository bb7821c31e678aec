package jws_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/internal/jws"
)

// Verify spells r and s anew for crypto/ecdsa; ecdsa.Verify, which takes them as numbers, is what it must agree with.
func TestECDSASignaturesCountAsTheirNumbersDo(t *testing.T) {
	for alg, key := range map[string]string{"ES256": "p256", "ES384": "p384", "ES512": "p521"} {
		public := public(key).(*ecdsa.PublicKey)
		order, size := public.Params().N, (public.Params().BitSize+7)/8
		input := b64(`{"alg":"`+alg+`"}`) + "." + b64(payload)
		h := hashes[alg[2:]].New()
		h.Write([]byte(input))
		digest := h.Sum(nil)
		judge := func(r, s *big.Int) bool {
			t.Helper()
			sig := append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
			got := check(verify(input+"."+b64(string(sig)), public))
			if ecdsa.Verify(public, digest, r, s) != (got == "<nil>") || got != "<nil>" && got != "signature" {
				t.Fatalf("%s: r %x, s %x: %s", alg, r, s, got)
			}
			return got == "<nil>"
		}
		seen := map[string]bool{}
		for n := 0; n < 5000 && (len(seen) < 4 || n < 20); n++ {
			sig := sign(t, alg, key, input)
			r, s := new(big.Int).SetBytes(sig[:size]), new(big.Int).SetBytes(sig[size:])
			if !judge(r, s) {
				t.Fatalf("%s: %x is refused", alg, sig)
			}
			for name, half := range map[string][]byte{"r": bytes.TrimLeft(sig[:size], "\x00"), "s": bytes.TrimLeft(sig[size:], "\x00")} {
				if half[0] >= 0x80 {
					seen["high bit in "+name] = true
				}
				if len(half) < size {
					seen["leading zero in "+name] = true
				}
			}
		}
		if len(seen) != 4 {
			t.Errorf("%s: seen %v only", alg, seen)
		}
		sig := sign(t, alg, key, input)
		r, s := new(big.Int).SetBytes(sig[:size]), new(big.Int).SetBytes(sig[size:])
		one := big.NewInt(1)
		most := new(big.Int).Sub(new(big.Int).Lsh(one, uint(8*size)), one)
		odd := []*big.Int{new(big.Int), one, big.NewInt(0x80), new(big.Int).Sub(order, one), order, new(big.Int).Add(order, one), most}
		for _, a := range odd {
			if judge(a, s) || judge(r, a) {
				t.Errorf("%s: %x passed", alg, a)
			}
			for _, b := range odd {
				if judge(a, b) {
					t.Errorf("%s: %x and %x passed", alg, a, b)
				}
			}
		}
		if judge(s, r) {
			t.Errorf("%s: r and s passed in each other's place", alg)
		}
	}
}

func TestParseKeepsUnusualHeaderValues(t *testing.T) {
	for _, value := range []string{"RS256", "ES512", "Ed25519", "JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "logout+jwt", "", "é", "x"} {
		tok, err := jws.Parse(b64(fmt.Sprintf(`{"alg":"RS256","kid":%q,"typ":%q,"cty":%q}`, value, value, value)) + "." + b64(payload) + ".AAAA")
		if err != nil {
			t.Fatal(err)
		}
		if want := (jws.Header{Alg: "RS256", Kid: value, Typ: value, Cty: value, HasKid: true}); tok.Header != want {
			t.Errorf("header %+v, want %+v", tok.Header, want)
		}
	}
}

func TestPartsOfATokenDoNotReachIntoEachOther(t *testing.T) {
	raw := token(t, `{"alg":"ES256","kid":"k"}`, "ES256", "p256")
	before := strings.Clone(raw)
	tok, err := jws.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	sig := bytes.Clone(tok.Signature)
	_ = append(tok.Payload, "overwritten"...)
	if !bytes.Equal(sig, tok.Signature) {
		t.Error("appending to the payload changed the signature")
	}
	clear(tok.Payload)
	if raw != before || tok.Header.Kid != "k" || tok.Verify(public("p256")) != nil {
		t.Error("changing the payload changed the token")
	}
}

func TestParseAllocatesThreeTimes(t *testing.T) {
	raw := token(t, `{"alg":"RS256","typ":"at+jwt","kid":"2026-11-key-1"}`, "RS256", "rsa")
	if n := testing.AllocsPerRun(100, func() {
		if _, err := jws.Parse(raw); err != nil {
			t.Fatal(err)
		}
	}); n > 3 {
		t.Errorf("%v allocations; the token, its parts and its kid need one each", n)
	}
}

func BenchmarkParse(b *testing.B) {
	raw := token(b, `{"alg":"RS256","typ":"at+jwt","kid":"2026-11-key-1"}`, "RS256", "rsa")
	long := strings.Replace(raw, ".", "."+b64(strings.Repeat("x", 900)), 1)
	for name, raw := range map[string]string{"short": raw, "900-bytes-of-claims": long} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := jws.Parse(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkVerify stands beside the same call of the standard library with the digest made beforehand.
func BenchmarkVerify(b *testing.B) {
	for _, c := range []struct{ alg, key string }{{"RS256", "rsa"}, {"PS256", "rsa"}, {"ES256", "p256"}, {"EdDSA", "ed"}} {
		raw := token(b, `{"alg":"`+c.alg+`","typ":"JWT","kid":"2026-11-key-1"}`, c.alg, c.key)
		tok, err := jws.Parse(raw)
		if err != nil {
			b.Fatal(err)
		}
		key := public(c.key)
		b.Run(c.alg+"/token", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := tok.Verify(key); err != nil {
					b.Fatal(err)
				}
			}
		})
		input := []byte(raw[:strings.LastIndexByte(raw, '.')])
		sum := sha256.Sum256(input)
		b.Run(c.alg+"/bare", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !bare(c.alg, key, input, sum[:], tok.Signature) {
					b.Fatal("refused")
				}
			}
		})
	}
}

func bare(alg string, key crypto.PublicKey, input, digest, sig []byte) bool {
	switch alg {
	case "RS256":
		return rsa.VerifyPKCS1v15(key.(*rsa.PublicKey), crypto.SHA256, digest, sig) == nil
	case "PS256":
		return rsa.VerifyPSS(key.(*rsa.PublicKey), crypto.SHA256, digest, sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	case "ES256":
		return ecdsa.Verify(key.(*ecdsa.PublicKey), digest, new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
	}
	return ed25519.Verify(key.(ed25519.PublicKey), input, sig)
}
