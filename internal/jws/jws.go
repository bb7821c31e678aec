// Package jws is the gate every token passes before anything costly happens: compact serialization only (RFC 7515 section 7.1), and
// the signature check over the token's own bytes with the standard library's cryptography.
package jws

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"unsafe"

	"github.com/latchkey-go/latchkey/internal/strictjson"
)

// MaxToken is the longest token read, in bytes.
const MaxToken = 16 << 10

// Header holds the JOSE header parameters anybody here looks at. jku, x5u, jwk and x5c are never followed.
type Header struct {
	Alg, Kid, Typ, Cty string
	HasKid             bool
}

// Token is a compact JWS whose form has been checked and whose signature has NOT.
type Token struct {
	Header    Header
	Payload   []byte // decoded, unverified until Verify has returned nil
	Signature []byte
	input     []byte // what was signed: header and payload as they came
}

// Error says which rule a token breaks. Check is short and stable: "size", "compact", "base64", "header", "crit", "jwk", "alg",
// "key" (it can't be used with the algorithm) or "signature". Want and Got never hold more of the token than a printable piece of
// a header parameter.
type Error struct{ Check, Want, Got string }

func (e *Error) Error() string {
	text := "token refused by its " + e.Check
	if e.Want != "" {
		text += ": want " + e.Want
	}
	if e.Got != "" {
		text += ", got " + e.Got
	}
	return text
}

// encoding refuses the loose bits of a last character. It skips CR and LF even so, which is why Parse looks for them.
var encoding = base64.RawURLEncoding.Strict()

// Parse checks the form: at most MaxToken bytes, exactly two dots, canonical unpadded base64url (no CR, LF, blanks, loose bits), so
// that one token has one spelling; a header that is a strict JSON object (see strictjson) with a string alg other than none, kid,
// typ and cty strings if present, no crit, b64, zip, enc or embedded key; a payload that is not detached. Errors are *Error.
//
// A signature may be empty here; Verify refuses it.
func Parse(raw string) (*Token, error) {
	if len(raw) > MaxToken {
		return nil, &Error{"size", "at most " + strconv.Itoa(MaxToken) + " bytes", strconv.Itoa(len(raw))}
	}
	first := strings.IndexByte(raw, '.')
	last := first + 1 + strings.IndexByte(raw[first+1:], '.')
	if first < 0 || last == first || strings.IndexByte(raw[last+1:], '.') >= 0 {
		return nil, &Error{"compact", "3 parts with dots between", strconv.Itoa(strings.Count(raw, ".") + 1)}
	}
	if strings.IndexByte(raw, '\n') >= 0 || strings.IndexByte(raw, '\r') >= 0 {
		return nil, &Error{"base64", "base64url without padding", "a line break"}
	}
	// The string's own bytes and no copy: they are only read, by the decoder here, and by the hash or ed25519.Verify in Verify, which
	// promise as much. They stay in this package.
	text := unsafe.Slice(unsafe.StringData(raw), len(raw))
	// One buffer for the three parts: a gate on the hot path should not feed the collector.
	buf := make([]byte, encoding.DecodedLen(len(text)))
	var parts [3][]byte
	for i, part := range [3][]byte{text[:first], text[first+1 : last], text[last+1:]} {
		n, err := encoding.Decode(buf, part)
		if err != nil {
			return nil, &Error{"base64", "base64url without padding", "something else in part " + strconv.Itoa(i+1)}
		}
		parts[i], buf = buf[:n:n], buf[n:]
	}
	t := &Token{Payload: parts[1], Signature: parts[2], input: text[:last]}
	if err := t.Header.parse(parts[0]); err != nil {
		return nil, err
	}
	if len(t.Payload) == 0 {
		return nil, &Error{"compact", "a payload", "none"}
	}
	return t, nil
}

func (h *Header) parse(data []byte) error {
	var refused *Error
	err := strictjson.Each(data, func(name, value []byte) error {
		switch string(name) {
		case "alg":
			if !text(&h.Alg, value) {
				refused = &Error{"alg", "a string", "something else"}
			}
		case "kid":
			h.HasKid = true
			if !text(&h.Kid, value) {
				refused = &Error{"header", "kid as a string", "something else"}
			}
		case "typ", "cty":
			dst := &h.Typ
			if name[0] == 'c' {
				dst = &h.Cty
			}
			if !text(dst, value) {
				refused = &Error{"header", "typ and cty as strings", "something else"}
			}
		case "crit":
			refused = &Error{"crit", "no critical parameters", "some"}
		case "b64", "zip", "enc", "epk":
			refused = &Error{"header", "a plain signed token", "the parameter " + string(name)}
		case "jwk":
			refused = &Error{"jwk", "no key in the header", "one"}
		}
		return nil
	})
	switch {
	case err != nil:
		return &Error{"header", "strict JSON", err.Error()}
	case refused != nil:
		return refused
	case h.Alg == "" || strings.EqualFold(h.Alg, "none"):
		return &Error{"alg", "a signature algorithm", strconv.Quote(h.Alg)}
	}
	return nil
}

// text reads a JSON string; the usual one has no escapes.
func text(dst *string, value []byte) bool {
	if len(value) < 2 || value[0] != '"' {
		return false
	}
	inner := value[1 : len(value)-1]
	if bytes.IndexByte(inner, '\\') >= 0 {
		return json.Unmarshal(value, dst) == nil
	}
	*dst = interned(inner)
	return true
}

// interned saves the copies of the usual values of alg, typ and cty.
func interned(value []byte) string {
	switch string(value) {
	case "RS256":
		return "RS256"
	case "RS384":
		return "RS384"
	case "RS512":
		return "RS512"
	case "PS256":
		return "PS256"
	case "PS384":
		return "PS384"
	case "PS512":
		return "PS512"
	case "ES256":
		return "ES256"
	case "ES384":
		return "ES384"
	case "ES512":
		return "ES512"
	case "EdDSA":
		return "EdDSA"
	case "Ed25519":
		return "Ed25519"
	case "JWT":
		return "JWT"
	case "at+jwt":
		return "at+jwt"
	case "application/at+jwt":
		return "application/at+jwt"
	case "logout+jwt":
		return "logout+jwt"
	}
	return string(value)
}
