// Package pkce makes the secret that ties an authorization code to the client that asked for it (RFC 7636).
//
// Only S256 exists here: the plain method shows the secret to whoever sees the request.
package pkce

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Method is the code_challenge_method of every challenge made here.
const Method = "S256"

// Verifier is a code_verifier: 43 to 128 characters of A-Z a-z 0-9 - . _ ~ (RFC 7636 section 4.1).
// It is a secret: fmt and log/slog print "[redacted]"; string(v) is the value.
type Verifier string

const redacted = "[redacted]"

// Format implements fmt.Formatter for every verb.
func (v Verifier) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue implements slog.LogValuer.
func (v Verifier) LogValue() slog.Value { return slog.StringValue(redacted) }

// New returns a fresh verifier of 32 random bytes, as base64url: 43 characters, 256 bits.
func New() Verifier {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return Verifier(base64.RawURLEncoding.EncodeToString(b[:]))
}

// ErrSyntax says that a string is no code_verifier.
var ErrSyntax = errors.New("pkce: a code_verifier has 43 to 128 characters of A-Z a-z 0-9 - . _ ~")

// Parse checks the syntax of RFC 7636 section 4.1. The error is ErrSyntax.
func Parse(s string) (Verifier, error) {
	if len(s) < 43 || len(s) > 128 {
		return "", ErrSyntax
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~':
		default:
			return "", ErrSyntax
		}
	}
	return Verifier(s), nil
}

// Challenge returns the S256 code_challenge (RFC 7636 section 4.2).
func (v Verifier) Challenge() string {
	sum := sha256.Sum256([]byte(v))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
