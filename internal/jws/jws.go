// Package jws is the gate every token passes before anything costly happens: compact serialization only (RFC 7515 section 7.1), and
// the signature check over the token's own bytes with the standard library's cryptography.
package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha256" // RS256, PS256, ES256
	_ "crypto/sha512" // the longer ones
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"

	"github.com/latchkey-go/latchkey/internal/strictjson"
)

// MaxToken is the longest token read, in bytes.
const MaxToken = 16 << 10

// Sizes of RSA moduli accepted, in bits: shorter ones are broken (RFC 8725 section 3.2), longer ones cost too much.
const (
	minRSA = 2048
	maxRSA = 16384
)

// Header holds the JOSE header parameters anybody here looks at. Keys in a header (jwk, jku, x5u, x5c) are never followed.
type Header struct {
	Alg, Kid, Typ, Cty string
	HasKid             bool
}

// Token is a compact JWS whose form has been checked and whose signature has not.
type Token struct {
	Header    Header
	Payload   []byte // decoded; not to be believed until Verify has returned nil
	Signature []byte
	input     string
}

// Error says which rule a token breaks. Check is short and stable: "size", "compact", "base64", "header", "crit", "jwk", "alg", "key", "signature".
type Error struct{ Check, Want, Got string }

func (e *Error) Error() string {
	text := "token refused by " + e.Check
	if e.Want != "" {
		text += ": wanted " + e.Want
	}
	if e.Got != "" {
		text += ", got " + e.Got
	}
	return text
}

var strict = base64.RawURLEncoding.Strict()

// Parse checks the form: at most MaxToken bytes, exactly two dots, canonical unpadded base64url, a header that is a strict JSON object
// with alg, without crit, b64, zip or an embedded key. Errors are *Error.
func Parse(raw string) (*Token, error) {
	if len(raw) > MaxToken {
		return nil, &Error{"size", fmt.Sprintf("at most %d bytes", MaxToken), fmt.Sprintf("%d", len(raw))}
	}
	first := strings.IndexByte(raw, '.')
	last := strings.LastIndexByte(raw, '.')
	if first < 0 || first == last || strings.IndexByte(raw[first+1:last], '.') >= 0 {
		return nil, &Error{"compact", "three parts", fmt.Sprintf("%d", strings.Count(raw, ".")+1)}
	}
	header, err := decode(raw[:first])
	if err != nil {
		return nil, err
	}
	t := &Token{input: raw[:last]}
	if t.Payload, err = decode(raw[first+1 : last]); err != nil {
		return nil, err
	}
	if t.Signature, err = decode(raw[last+1:]); err != nil {
		return nil, err
	}
	if err := t.Header.parse(header); err != nil {
		return nil, err
	}
	return t, nil
}

// decode refuses what Go's decoder lets pass even in strict mode: CR and LF. One token must have one spelling.
func decode(part string) ([]byte, error) {
	if strings.ContainsAny(part, "\r\n") {
		return nil, &Error{"base64", "canonical base64url", "a line break"}
	}
	b, err := strict.DecodeString(part)
	if err != nil {
		return nil, &Error{"base64", "canonical base64url", "something else"}
	}
	return b, nil
}

func (h *Header) parse(data []byte) error {
	var seen *Error
	err := strictjson.Each(data, func(name string, value []byte) error {
		switch name {
		case "alg":
			return text(&h.Alg, name, value)
		case "kid":
			h.HasKid = true
			return text(&h.Kid, name, value)
		case "typ":
			return text(&h.Typ, name, value)
		case "cty":
			return text(&h.Cty, name, value)
		case "crit":
			seen = &Error{Check: "crit", Want: "no critical header parameter"}
		case "b64", "zip", "enc", "epk":
			seen = &Error{Check: "header", Want: "no " + name}
		case "jwk":
			seen = &Error{Check: "jwk", Want: "no key in the header"}
		}
		return nil
	})
	switch {
	case err != nil:
		return &Error{Check: "header", Want: "a strict JSON object", Got: err.Error()}
	case seen != nil:
		return seen
	case h.Alg == "":
		return &Error{Check: "alg", Want: "a signature algorithm", Got: "none"}
	}
	return nil
}

func text(dst *string, name string, value []byte) error {
	if len(value) > 1 && value[0] == '"' && strings.IndexByte(string(value), '\\') < 0 {
		*dst = string(value[1 : len(value)-1])
		return nil
	}
	if len(value) == 0 || value[0] != '"' || json.Unmarshal(value, dst) != nil {
		return fmt.Errorf("%s is no string", name)
	}
	return nil
}

type algorithm struct {
	hash  crypto.Hash
	kind  byte // 'R' PKCS#1 v1.5, 'P' PSS, 'E' ECDSA, 'D' Ed25519
	bits  int  // of the curve
	bytes int  // of r and of s
}

func algorithmOf(name string) (algorithm, bool) {
	switch name {
	case "RS256":
		return algorithm{hash: crypto.SHA256, kind: 'R'}, true
	case "RS384":
		return algorithm{hash: crypto.SHA384, kind: 'R'}, true
	case "RS512":
		return algorithm{hash: crypto.SHA512, kind: 'R'}, true
	case "PS256":
		return algorithm{hash: crypto.SHA256, kind: 'P'}, true
	case "PS384":
		return algorithm{hash: crypto.SHA384, kind: 'P'}, true
	case "PS512":
		return algorithm{hash: crypto.SHA512, kind: 'P'}, true
	case "ES256":
		return algorithm{crypto.SHA256, 'E', 256, 32}, true
	case "ES384":
		return algorithm{crypto.SHA384, 'E', 384, 48}, true
	case "ES512":
		return algorithm{crypto.SHA512, 'E', 521, 66}, true
	case "EdDSA":
		return algorithm{kind: 'D'}, true
	}
	return algorithm{}, false
}

// Asymmetric reports whether alg is one of RS/PS/ES 256/384/512 or EdDSA (with Ed25519).
func Asymmetric(alg string) bool {
	_, ok := algorithmOf(alg)
	return ok
}

// Fits reports whether key is of the kind and size that alg needs.
func Fits(alg string, key crypto.PublicKey) bool {
	a, ok := algorithmOf(alg)
	if !ok {
		return false
	}
	switch k := key.(type) {
	case *rsa.PublicKey:
		return (a.kind == 'R' || a.kind == 'P') && Usable(k)
	case *ecdsa.PublicKey:
		return a.kind == 'E' && k.Curve != nil && k.Curve.Params().BitSize == a.bits
	case ed25519.PublicKey:
		return a.kind == 'D' && len(k) == ed25519.PublicKeySize
	}
	return false
}

// Usable reports whether some algorithm here can verify with key.
func Usable(key crypto.PublicKey) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return k.N != nil && k.N.BitLen() >= minRSA && k.N.BitLen() <= maxRSA && k.N.Bit(0) == 1 && k.E >= 3 && k.E&1 == 1
	case *ecdsa.PublicKey:
		return Fits("ES256", key) || Fits("ES384", key) || Fits("ES512", key)
	case ed25519.PublicKey:
		return len(k) == ed25519.PublicKeySize
	}
	return false
}

// Verify checks the signature with key: *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey, which must fit Header.Alg.
func (t *Token) Verify(key crypto.PublicKey) error {
	if !Fits(t.Header.Alg, key) {
		return &Error{"key", "a key for " + printable(t.Header.Alg), fmt.Sprintf("%T", key)}
	}
	a, _ := algorithmOf(t.Header.Alg)
	var digest []byte
	if a.hash != 0 {
		h := a.hash.New()
		h.Write([]byte(t.input))
		digest = h.Sum(nil)
	}
	good := false
	switch a.kind {
	case 'R':
		good = rsa.VerifyPKCS1v15(key.(*rsa.PublicKey), a.hash, digest, t.Signature) == nil
	case 'P':
		good = rsa.VerifyPSS(key.(*rsa.PublicKey), a.hash, digest, t.Signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	case 'E':
		good = verifyECDSA(key.(*ecdsa.PublicKey), digest, t.Signature, a.bytes)
	case 'D':
		good = ed25519.Verify(key.(ed25519.PublicKey), []byte(t.input), t.Signature)
	}
	if !good {
		return &Error{Check: "signature", Want: "a signature by the key named"}
	}
	return nil
}

// verifyECDSA takes r and s of exactly size bytes each (RFC 7518 section 3.4).
func verifyECDSA(key *ecdsa.PublicKey, digest, signature []byte, size int) bool {
	if len(signature) != 2*size {
		return false
	}
	r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
	return ecdsa.Verify(key, digest, r, s)
}

// printable keeps a hostile header out of error texts.
func printable(alg string) string {
	if Asymmetric(alg) {
		return alg
	}
	return fmt.Sprintf("%.20q", alg)
}
