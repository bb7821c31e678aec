package jws_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-go/latchkey/internal/jws"
)

// The keys are made once: a modulus of 2048 bits takes its time.
var keys = sync.OnceValue(func() map[string]crypto.Signer {
	m := map[string]crypto.Signer{}
	must := func(k crypto.Signer, err error) crypto.Signer {
		if err != nil {
			panic(err)
		}
		return k
	}
	m["rsa"] = must(rsa.GenerateKey(rand.Reader, 2048))
	m["rsa2"] = must(rsa.GenerateKey(rand.Reader, 2048))
	m["p256"] = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	m["p384"] = must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	m["p521"] = must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	m["ed"] = must(ed, err)
	return m
})

var hashes = map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

const payload = `{"sub":"1"}`

// sign makes the signature by hand, so that the gate is not judged by a library it might share faults with.
func sign(t testing.TB, alg, key, input string) []byte {
	t.Helper()
	k := keys()[key]
	if alg == "EdDSA" || alg == "Ed25519" {
		return ed25519.Sign(k.(ed25519.PrivateKey), []byte(input))
	}
	hash := hashes[alg[2:]]
	h := hash.New()
	h.Write([]byte(input))
	digest := h.Sum(nil)
	var sig []byte
	var err error
	switch alg[:2] {
	case "RS":
		sig, err = rsa.SignPKCS1v15(nil, k.(*rsa.PrivateKey), hash, digest)
	case "PS":
		sig, err = rsa.SignPSS(rand.Reader, k.(*rsa.PrivateKey), hash, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	case "ES":
		var r, s *big.Int
		if r, s, err = ecdsa.Sign(rand.Reader, k.(*ecdsa.PrivateKey), digest); err == nil {
			size := (k.(*ecdsa.PrivateKey).Params().BitSize + 7) / 8
			sig = append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func token(t testing.TB, header, alg, key string) string {
	t.Helper()
	input := b64(header) + "." + b64(payload)
	return input + "." + b64(string(sign(t, alg, key, input)))
}

func check(err error) string {
	if e, ok := errors.AsType[*jws.Error](err); ok {
		return e.Check
	}
	return fmt.Sprint(err)
}

func verify(raw string, key crypto.PublicKey) error {
	tok, err := jws.Parse(raw)
	if err != nil {
		return err
	}
	return tok.Verify(key)
}

func public(name string) crypto.PublicKey { return keys()[name].Public() }

func TestEveryAlgorithmVerifiesWithItsKeyAndWithNoOther(t *testing.T) {
	for alg, key := range map[string]string{
		"RS256": "rsa", "RS384": "rsa", "RS512": "rsa", "PS256": "rsa", "PS384": "rsa", "PS512": "rsa",
		"ES256": "p256", "ES384": "p384", "ES512": "p521", "EdDSA": "ed", "Ed25519": "ed",
	} {
		if !jws.Asymmetric(alg) {
			t.Errorf("%s is not known", alg)
		}
		raw := token(t, `{"alg":"`+alg+`","kid":"k","typ":"JWT"}`, alg, key)
		tok, err := jws.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if want := (jws.Header{Alg: alg, Kid: "k", Typ: "JWT", HasKid: true}); tok.Header != want || string(tok.Payload) != payload {
			t.Errorf("%s: header %+v, payload %s", alg, tok.Header, tok.Payload)
		}
		for name := range keys() {
			want := "key"
			switch {
			case name == key:
				want = "<nil>"
			case name == "rsa2" && key == "rsa":
				want = "signature"
			}
			if got := check(tok.Verify(public(name))); got != want {
				t.Errorf("%s with key %s: %s, want %s", alg, name, got, want)
			}
		}
	}
	for _, alg := range []string{"", "none", "HS256", "ES256K", "RS1", "rs256", "Ed448", "ED25519", "ed25519", "eddsa", "ESP256", "RSA-OAEP"} {
		if jws.Asymmetric(alg) {
			t.Errorf("%q is taken for a signature algorithm known here", alg)
		}
	}
}

func TestParseRefusesHeadersThatMisleadOthers(t *testing.T) {
	rsaKey := public("rsa").(*rsa.PublicKey)
	n := base64.RawURLEncoding.EncodeToString(rsaKey.N.Bytes())
	for _, c := range []struct{ name, good, bad, check string }{
		{"alg-none", `{"alg":"RS256"}`, `{"alg":"none"}`, "alg"},
		{"alg-None", `{"alg":"RS256"}`, `{"alg":"nOnE"}`, "alg"},
		{"alg-empty", `{"alg":"RS256"}`, `{"alg":""}`, "alg"},
		{"alg-missing", `{"alg":"RS256"}`, `{}`, "alg"},
		{"alg-array", `{"alg":"RS256"}`, `{"alg":["RS256"]}`, "alg"},
		{"alg-null", `{"alg":"RS256"}`, `{"alg":null}`, "alg"},
		{"alg by escape", `{"alg":"RS\u0032\u00356"}`, `{"alg":"n\u006fne"}`, "alg"},
		{"kid-number", `{"alg":"RS256","kid":"1"}`, `{"alg":"RS256","kid":1}`, "header"},
		{"kid-null", `{"alg":"RS256","kid":""}`, `{"alg":"RS256","kid":null}`, "header"},
		{"typ-number", `{"alg":"RS256","typ":"JWT"}`, `{"alg":"RS256","typ":1}`, "header"},
		{"cty-array", `{"alg":"RS256","cty":"JWT"}`, `{"alg":"RS256","cty":["JWT"]}`, "header"},
		{"jwk-embedded", `{"alg":"RS256"}`, `{"alg":"RS256","jwk":{"kty":"RSA","n":"` + n + `","e":"AQAB"}}`, "jwk"},
		{"crit-unknown", `{"alg":"RS256","exp":1}`, `{"alg":"RS256","crit":["exp"],"exp":1}`, "crit"},
		{"crit-b64-false", `{"alg":"RS256"}`, `{"alg":"RS256","b64":false,"crit":["b64"]}`, "crit"},
		{"crit-empty", `{"alg":"RS256"}`, `{"alg":"RS256","crit":[]}`, "crit"},
		{"crit-string", `{"alg":"RS256"}`, `{"alg":"RS256","crit":"exp"}`, "crit"},
		{"b64-false-nocrit", `{"alg":"RS256"}`, `{"alg":"RS256","b64":false}`, "header"},
		{"zip-def", `{"alg":"RS256"}`, `{"alg":"RS256","zip":"DEF"}`, "header"},
		{"enc", `{"alg":"RS256"}`, `{"alg":"RSA-OAEP","enc":"A256GCM"}`, "header"},
		{"dup-alg-header", `{"alg":"RS256","b":1}`, `{"alg":"RS256","alg":"none"}`, "header"},
		{"dup-alg by escape", `{"alg":"RS256"}`, `{"alg":"RS256","\u0061lg":"none"}`, "header"},
		{"alg in two cases", `{"alg":"RS256"}`, `{"alg":"RS256","ALG":"none"}`, "header"},
		{"alg in capitals only", `{"alg":"RS256"}`, `{"ALG":"RS256"}`, "alg"},
		{"header-not-object", `{"alg":"RS256"}`, `["alg"]`, "header"},
		{"header-empty", `{"alg":"RS256"}`, ``, "header"},
		{"header-bom", `{"alg":"RS256"}`, "\xef\xbb\xbf{\"alg\":\"RS256\"}", "header"},
		{"header-utf16", `{"alg":"RS256"}`, "{\x00\"\x00", "header"},
		{"header-bad-utf8", `{"alg":"RS256","x":"é"}`, "{\"alg\":\"RS256\",\"x\":\"\xe9\"}", "header"},
		{"header-deep", `{"alg":"RS256","x":[]}`, `{"alg":"RS256","x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`, "header"},
		{"header-trailing", `{"alg":"RS256"} `, `{"alg":"RS256"}x`, "header"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := jws.Parse(token(t, c.good, "RS256", "rsa")); err != nil {
				t.Errorf("the neighbour that should pass: %v", err)
			}
			if err := verify(token(t, c.bad, "RS256", "rsa"), public("rsa")); check(err) != c.check {
				t.Errorf("%v, want check %s", err, c.check)
			}
		})
	}
}

// What follows is signed properly, so that only the header parameter decides: it is ignored, not followed.
func TestKeyAddressesInTheHeaderChangeNothing(t *testing.T) {
	for _, header := range []string{
		`{"alg":"RS256","jku":"https://stranger.example/keys"}`, `{"alg":"RS256","x5u":"https://stranger.example/cert"}`,
		`{"alg":"RS256","x5c":["AAAA"],"x5t":"AAAA"}`, `{"alg":"RS256","kid":"' OR 1=1 --"}`, `{"alg":"RS256","kid":"../../../dev/null"}`, `{"alg":"RS256","kid":"\u0000\"\\"}`,
	} {
		raw := token(t, header, "RS256", "rsa")
		if err := verify(raw, public("rsa")); err != nil {
			t.Errorf("%s: %v", header, err)
		}
		if err := verify(raw, public("rsa2")); check(err) != "signature" {
			t.Errorf("%s with another key: %v", header, err)
		}
	}
}

func TestParseRefusesEverySecondSpelling(t *testing.T) {
	good := token(t, `{"alg":"RS256"}`, "RS256", "rsa")
	parts := strings.Split(good, ".")
	// 256 bytes leave 4 loose bits in the last character.
	loose := good[:len(good)-1] + string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", good[len(good)-1])|1])
	flattened := fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, parts[0], parts[1], parts[2])
	big := func(n int) string { // a token of exactly n bytes
		head := b64(`{"alg":"RS256"}`) + "."
		return head + strings.Repeat("A", n-len(head)-5) + ".AAAA"
	}
	for _, c := range []struct{ name, bad, check string }{
		{"json-flattened", flattened, "compact"},
		{"json-flattened with dots", strings.Replace(flattened, "{", `{"a":"..",`, 1), "base64"},
		{"json-general-two-sigs", fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q},{}]}`, parts[1], parts[0], parts[2]), "compact"},
		{"json-unprotected-alg", fmt.Sprintf(`{"payload":%q,"header":{"alg":"RS256"},"signature":%q}`, parts[1], parts[2]), "compact"},
		{"line feed inside", good[:20] + "\n" + good[20:], "base64"},
		{"carriage return inside", good[:20] + "\r" + good[20:], "base64"},
		{"line feed at the end", good + "\n", "base64"},
		{"blank inside", good[:20] + " " + good[20:], "base64"},
		{"tab at the beginning", "\t" + good, "base64"},
		{"padded-b64", good + "==", "base64"},
		{"padded header", parts[0] + "=." + parts[1] + "." + parts[2], "base64"},
		{"std-b64-alphabet", parts[0] + "." + parts[1] + ".+/" + parts[2][2:], "base64"},
		{"trailing-bits", loose, "base64"},
		{"a lone last character", good[:len(good)-1], "base64"},
		{"two-parts", parts[0] + "." + parts[1], "compact"},
		{"four-parts", good + ".AAAA", "compact"},
		{"five-parts-on-jws", good + ".AAAA.AAAA", "compact"},
		{"million-dots", strings.Repeat(".", 1_000_000), "size"},
		{"dots", strings.Repeat(".", 10_000), "compact"},
		{"empty", "", "compact"},
		{"only dots", "..", "header"},
		{"no header", "." + parts[1] + "." + parts[2], "header"},
		{"detached payload", parts[0] + ".." + parts[2], "compact"},
		{"nul-byte", good[:20] + "\x00" + good[20:], "base64"},
		{"bom", "\xef\xbb\xbf" + good, "base64"},
		{"utf16", "\xff\xfe" + strings.Join(strings.Split(good, ""), "\x00"), "base64"},
		{"letters beyond ASCII", "е" + good[1:], "base64"},
		{"16kib-plus-1", big(jws.MaxToken + 1), "size"},
		{"8mib", big(8 << 20), "size"},
		{"percent-encoded", strings.ReplaceAll(good, ".", "%2E"), "compact"},
		{"bearer-twice", "Bearer " + good, "base64"},
		{"kid-1mib", token(t, `{"alg":"RS256","kid":"`+strings.Repeat("k", 1<<20)+`"}`, "RS256", "rsa"), "size"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := verify(c.bad, public("rsa")); check(err) != c.check {
				t.Errorf("%v, want check %s", err, c.check)
			} else if len(err.Error()) > 200 || strings.Contains(err.Error(), parts[2][:40]) {
				t.Errorf("the error shows too much: %v", err)
			}
		})
	}
	if err := verify(good, public("rsa")); err != nil {
		t.Errorf("the token itself: %v", err)
	}
	if _, err := jws.Parse(big(jws.MaxToken)); err != nil {
		t.Errorf("a token of %d bytes: %v", jws.MaxToken, err)
	}
}

func TestVerifyRefusesSignaturesThatAreNotTheKeys(t *testing.T) {
	rs := token(t, `{"alg":"RS256"}`, "RS256", "rsa")
	es := token(t, `{"alg":"ES256"}`, "ES256", "p256")
	ed := token(t, `{"alg":"EdDSA"}`, "EdDSA", "ed")
	with := func(raw string, change func([]byte) []byte) string {
		i := strings.LastIndexByte(raw, '.') + 1
		sig, err := base64.RawURLEncoding.DecodeString(raw[i:])
		if err != nil {
			t.Fatal(err)
		}
		return raw[:i] + b64(string(change(sig)))
	}
	half := func(sig []byte, i int) *big.Int { return new(big.Int).SetBytes(sig[32*i : 32*i+32]) }
	order := elliptic.P256().Params().N
	other := b64(`{"alg":"RS256"}`) + "." + b64(`{"sub":"2"}`) + rs[strings.LastIndexByte(rs, '.'):]
	for _, c := range []struct {
		name, raw string
		key       string
		check     string
	}{
		{"sig-empty", with(rs, func([]byte) []byte { return nil }), "rsa", "signature"},
		{"sig-stripped", with(es, func([]byte) []byte { return nil }), "p256", "signature"},
		{"sig-zero-rs", with(es, func([]byte) []byte { return make([]byte, 64) }), "p256", "signature"},
		{"sig-r-only", with(es, func(s []byte) []byte { return s[:32] }), "p256", "signature"},
		{"sig-s-zero", with(es, func(s []byte) []byte { return append(s[:32:32], make([]byte, 32)...) }), "p256", "signature"},
		{"sig-der-ecdsa", with(es, func(s []byte) []byte {
			der, _ := asn1.Marshal(struct{ R, S *big.Int }{half(s, 0), half(s, 1)})
			return der
		}), "p256", "signature"},
		{"sig-n-plus-s", with(es, func(s []byte) []byte {
			sum := new(big.Int).Add(half(s, 1), order)
			return append(s[:32:32], sum.FillBytes(make([]byte, 33))...)
		}), "p256", "signature"},
		{"sig-order-as-s", with(es, func(s []byte) []byte { return append(s[:32:32], order.Bytes()...) }), "p256", "signature"},
		{"sig-truncated", with(rs, func(s []byte) []byte { return s[:255] }), "rsa", "signature"},
		{"sig-truncated ed", with(ed, func(s []byte) []byte { return s[:63] }), "ed", "signature"},
		{"sig-extended", with(rs, func(s []byte) []byte { return append(s, 0) }), "rsa", "signature"},
		{"sig-extended in front", with(rs, func(s []byte) []byte { return append([]byte{0}, s...) }), "rsa", "signature"},
		{"sig-extended es", with(es, func(s []byte) []byte { return append(s, 0) }), "p256", "signature"},
		{"sig-extended ed", with(ed, func(s []byte) []byte { return append(s, 0) }), "ed", "signature"},
		{"sig-flipped ed", with(ed, func(s []byte) []byte { s[5] ^= 1; return s }), "ed", "signature"},
		{"sig-other-key", rs, "rsa2", "signature"},
		{"sig-other-token", other, "rsa", "signature"},
		{"alg-rs256-on-ps256 signature", token(t, `{"alg":"RS256"}`, "PS256", "rsa"), "rsa", "signature"},
		{"alg-ps256-on-rs256 signature", token(t, `{"alg":"PS256"}`, "RS256", "rsa"), "rsa", "signature"},
		{"alg-es256-on-p384", token(t, `{"alg":"ES256"}`, "ES256", "p384"), "p384", "key"},
		{"alg-es256k", token(t, `{"alg":"ES256K"}`, "ES256", "p256"), "p256", "alg"},
		{"alg-ed25519-with-rsa", token(t, `{"alg":"Ed25519"}`, "RS256", "rsa"), "rsa", "key"},
		{"alg-ed25519-other-input", with(token(t, `{"alg":"Ed25519"}`, "EdDSA", "ed"), func([]byte) []byte { return sign(t, "EdDSA", "ed", "other") }), "ed", "signature"},
		{"alg-ed448", token(t, `{"alg":"Ed448"}`, "EdDSA", "ed"), "ed", "alg"},
		{"alg-eddsa-as-es256", token(t, `{"alg":"ES256"}`, "EdDSA", "ed"), "ed", "key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := verify(c.raw, public(c.key)); check(err) != c.check {
				t.Errorf("%v, want check %s", err, c.check)
			}
		})
	}
	for raw, key := range map[string]string{rs: "rsa", es: "p256", ed: "ed"} {
		if err := verify(raw, public(key)); err != nil {
			t.Errorf("the unchanged token: %v", err)
		}
	}
	// sig-high-s: RFC 7518 does not ask for the lower of the two, so both are the key's.
	high := with(es, func(s []byte) []byte {
		other := new(big.Int).Sub(order, half(s, 1))
		return append(s[:32:32], other.FillBytes(make([]byte, 32))...)
	})
	if err := verify(high, public("p256")); err != nil {
		t.Errorf("sig-high-s: %v", err)
	}
}

func TestPSSSaltIsAsLongAsTheHash(t *testing.T) {
	input := b64(`{"alg":"PS256"}`) + "." + b64(payload)
	digest := sha256.Sum256([]byte(input))
	for salt, want := range map[int]string{32: "<nil>", 20: "signature", 222: "signature"} {
		sig, err := rsa.SignPSS(rand.Reader, keys()["rsa"].(*rsa.PrivateKey), crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: salt})
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(input+"."+b64(string(sig)), public("rsa")); check(err) != want {
			t.Errorf("salt of %d bytes: %v, want %s", salt, err, want)
		}
	}
}

// A public key is no secret: whoever takes it for an HMAC key accepts anybody's token (RFC 8725 section 2.1).
func TestNoPublicKeyServesAsHMACKey(t *testing.T) {
	der, err := x509.MarshalPKIXPublicKey(public("rsa"))
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	n := public("rsa").(*rsa.PublicKey).N
	for name, secret := range map[string][]byte{
		"alg-hs256-pem-nl": block, "alg-hs256-pem": block[:len(block)-1], "alg-hs256-der": der, "alg-hs256-modulus": n.Bytes(), "alg-hs256-empty-key": nil,
		"alg-hs256-jwk": []byte(`{"kty":"RSA","n":"` + base64.RawURLEncoding.EncodeToString(n.Bytes()) + `","e":"AQAB"}`),
	} {
		input := b64(`{"alg":"HS256"}`) + "." + b64(payload)
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(input))
		raw := input + "." + b64(string(mac.Sum(nil)))
		for _, key := range []crypto.PublicKey{public("rsa"), secret, string(secret)} {
			if err := verify(raw, key); check(err) != "alg" {
				t.Errorf("%s with %T: %v, want check alg", name, key, err)
			}
		}
	}
}

func TestKeysThatProveNothingAreRefused(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	good := public("rsa").(*rsa.PublicKey)
	one := big.NewInt(1)
	offCurve := *public("p256").(*ecdsa.PublicKey)
	offCurve.Curve = elliptic.P384()
	modulus := func(bits int) *big.Int { return new(big.Int).Add(new(big.Int).Lsh(one, uint(bits-1)), one) }
	for name, c := range map[string]struct {
		alg    string
		key    crypto.PublicKey
		reason string
	}{
		"rsa-1024":             {"RS256", &small.PublicKey, "1024 bits"},
		"rsa-2047":             {"RS256", &rsa.PublicKey{N: modulus(2047), E: 65537}, "2047 bits"},
		"rsa-16385":            {"RS256", &rsa.PublicKey{N: modulus(16385), E: 65537}, "16385 bits"},
		"rsa-e1":               {"RS256", &rsa.PublicKey{N: good.N, E: 1}, "bad exponent"},
		"rsa-e-even":           {"RS256", &rsa.PublicKey{N: good.N, E: 65536}, "bad exponent"},
		"rsa-e-negative":       {"PS256", &rsa.PublicKey{N: good.N, E: -3}, "bad exponent"},
		"rsa-even-n":           {"RS256", &rsa.PublicKey{N: new(big.Int).Add(good.N, one), E: 65537}, "even modulus"},
		"rsa-no-n":             {"RS256", &rsa.PublicKey{E: 65537}, "without modulus"},
		"rsa-negative-n":       {"RS256", &rsa.PublicKey{N: new(big.Int).Neg(good.N), E: 65537}, "without modulus"},
		"rsa-nil":              {"RS256", (*rsa.PublicKey)(nil), "without modulus"},
		"ec-nil":               {"ES256", (*ecdsa.PublicKey)(nil), "without curve"},
		"ec-no-curve":          {"ES256", &ecdsa.PublicKey{}, "without curve"},
		"ec-p224":              {"ES256", &ecdsa.PublicKey{Curve: elliptic.P224()}, "P-224"},
		"ec-off-curve":         {"ES384", &offCurve, "no point"},
		"okp-wrong-len":        {"EdDSA", ed25519.PublicKey(make([]byte, 31)), "31 bytes"},
		"okp-empty":            {"EdDSA", ed25519.PublicKey(nil), "0 bytes"},
		"private key":          {"RS256", keys()["rsa"], "*rsa.PrivateKey"},
		"bytes":                {"RS256", []byte("secret"), "[]uint8"},
		"nothing":              {"RS256", nil, "<nil>"},
		"value, not a pointer": {"RS256", *good, "rsa.PublicKey"},
	} {
		if err := jws.CheckKey(c.key); err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: CheckKey says %v, want %q", name, err, c.reason)
		}
		raw := b64(`{"alg":"`+c.alg+`"}`) + "." + b64(payload) + "." + b64(strings.Repeat("x", 64))
		if got := check(verify(raw, c.key)); got != "key" && name != "ec-off-curve" {
			t.Errorf("%s: Verify says %s, want key", name, got)
		} else if got == "<nil>" {
			t.Errorf("%s verifies", name)
		}
	}
	for name := range keys() {
		if err := jws.CheckKey(public(name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzCompactGate: a token has one spelling, and no changed token is accepted.
func FuzzCompactGate(f *testing.F) {
	good := token(f, `{"alg":"EdDSA","kid":"k"}`, "EdDSA", "ed")
	for _, seed := range []string{
		good, good + "\n", good[:len(good)-1], "..", strings.ReplaceAll(good, ".", ".."), `{"payload":"","signatures":[]}`,
		b64(`{"alg":"none"}`) + "." + b64(payload) + ".", b64(`{"alg":"EdDSA","alg":"none"}`) + "." + b64(payload) + ".AAAA", "eyJhbGciOiJFZERTQSJ9=.e30.AA",
	} {
		f.Add(seed)
	}
	key := public("ed")
	f.Fuzz(func(t *testing.T, raw string) {
		tok, err := jws.Parse(raw)
		if err != nil {
			if check(err) == "" {
				t.Fatal("an error without a check")
			}
			return
		}
		parts := strings.Split(raw, ".")
		if len(parts) != 3 || parts[1] != b64(string(tok.Payload)) || parts[2] != b64(string(tok.Signature)) {
			t.Fatalf("%q has a second spelling", raw)
		}
		if tok.Header.Alg == "" || strings.EqualFold(tok.Header.Alg, "none") {
			t.Fatalf("%q passed", tok.Header.Alg)
		}
		if err := tok.Verify(key); err == nil && raw != good {
			t.Fatalf("a token nobody signed verifies: %q", raw)
		}
	})
}
