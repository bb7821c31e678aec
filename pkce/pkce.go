// Package pkce makes the secret that ties an authorization code to the client that asked for it (RFC 7636).
//
//	verifier := pkce.New()                     // one for each attempt, never used again
//	challenge := verifier.Challenge()          // code_challenge, with code_challenge_method=S256
//	form.Set("code_verifier", string(verifier)) // at the token endpoint
//
// Only the S256 method exists here: "plain" shows the secret to whoever sees the authorization request.
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

// Method is the code_challenge_method that goes with Challenge.
const Method = "S256"

// RFC 7636 section 4.1.
const minLength, maxLength = 43, 128

// Verifier is a code_verifier: 43 to 128 characters of A-Z a-z 0-9 - . _ ~ (RFC 7636 section 4.1).
//
// It is a secret: every fmt verb and slog print "[redacted]". string(v) is the value, and so is what encoding/json writes,
// because an attempt has to be stored whole: seal that JSON.
// The zero Verifier is none at all; Parse refuses it.
type Verifier string

// New returns a fresh verifier of 32 random bytes (256 bits), as 43 characters of base64url (RFC 7636 section 7.1).
func New() Verifier {
	var b [32]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the program rather than return less
	return Verifier(base64.RawURLEncoding.EncodeToString(b[:]))
}

// Parse checks the syntax of RFC 7636 section 4.1. Its errors do not quote s.
func Parse(s string) (Verifier, error) {
	if len(s) < minLength || len(s) > maxLength {
		return "", fmt.Errorf("pkce: a code_verifier has %d to %d characters (RFC 7636 section 4.1), not %d", minLength, maxLength, len(s))
	}
	for i := range len(s) {
		if !unreserved(s[i]) {
			return "", errors.New("pkce: a code_verifier has only the characters A-Z a-z 0-9 - . _ ~ (RFC 7636 section 4.1)")
		}
	}
	return Verifier(s), nil
}

func unreserved(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return c == '-' || c == '.' || c == '_' || c == '~'
}

// Challenge returns the S256 code_challenge: the base64url of the verifier's SHA-256 (RFC 7636 section 4.2).
func (v Verifier) Challenge() string {
	sum := sha256.Sum256([]byte(v))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

const redacted = "[redacted]"

// Format prints "[redacted]" for every verb.
func (v Verifier) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// String returns "[redacted]"; string(v) is the value.
func (v Verifier) String() string { return redacted }

// LogValue keeps the verifier out of slog.
func (v Verifier) LogValue() slog.Value { return slog.StringValue(redacted) }
