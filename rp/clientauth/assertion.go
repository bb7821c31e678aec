package clientauth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
)

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

	// maxAssertion is the longest assertion sent or read, in bytes; 16 KiB is more than a provider takes.
	maxAssertion = 16 << 10
)

// Assertion authenticates the client with a JWT that source has, instead of a secret (RFC 7523 section 2.2): one that the platform it runs on has signed, and that the
// provider was told to trust for this client (workload identity, federated credentials). source is called for each request, by many at a time, and keeps the JWT as long as it is good;
// AssertionFile and GitHubActions do. What it returns is sent as it is, and checked for its form only.
//
// Such a JWT is sent more than once in its life. A provider that takes each jti once needs assertions that are signed for each request, which source may do too.
func Assertion(source func(context.Context) (string, error)) Method { return &assertion{source} }

type assertion struct {
	source func(context.Context) (string, error)
}

// Name is the method whose parameters these are, whoever has signed.
func (*assertion) Name() string { return "private_key_jwt" }

func (m *assertion) Authenticate(ctx context.Context, r *Request) error {
	if m.source == nil {
		return errors.New("clientauth: Assertion was made without a source")
	}
	token, err := m.source(ctx)
	if err != nil {
		return err
	}
	if _, err := expiry(token); err != nil {
		return err
	}
	// One method per request (RFC 6749 section 2.3). client_id stays: the JWT's subject is the platform's name for us, not the provider's.
	r.Header.Del("Authorization")
	r.Form.Del("client_secret")
	r.Form.Set("client_id", r.ClientID)
	r.Form.Set("client_assertion_type", assertionType)
	r.Form.Set("client_assertion", token)
	return nil
}

func (m *assertion) Format(f fmt.State, _ rune) { io.WriteString(f, m.Name()+"([redacted])") }
func (m *assertion) LogValue() slog.Value       { return slog.StringValue(fmt.Sprint(m)) }

// expiry checks the form of a signed JWT and returns its exp. It verifies nothing: that is the provider's part.
func expiry(token string) (time.Time, error) {
	fail := func(what string) (time.Time, error) {
		return time.Time{}, errors.New("the assertion " + what)
	}
	switch {
	case token == "":
		return fail("is empty")
	case len(token) > maxAssertion:
		return fail(fmt.Sprintf("is longer than %d bytes", maxAssertion))
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return fail(fmt.Sprintf("is no signed JWT: it has %d parts, not 3", len(parts)))
	}
	var raw [3][]byte
	for i, part := range parts {
		var err error
		// The decoder passes over line ends, which a form must not hold.
		if raw[i], err = base64.RawURLEncoding.DecodeString(part); err != nil || strings.ContainsAny(part, "\r\n") {
			return fail(fmt.Sprintf("is no signed JWT: part %d is not base64url", i+1))
		}
	}
	var header struct {
		Alg string `json:"alg"`
	}
	var claims struct {
		Exp *float64 `json:"exp"`
	}
	if json.Unmarshal(raw[0], &header) != nil || header.Alg == "" || json.Unmarshal(raw[1], &claims) != nil {
		return fail("is no signed JWT: its header or its claims are no JSON")
	}
	if !plausible(header.Alg, len(raw[2])) {
		return fail("is no signed JWT: its signature is cut short, or missing")
	}
	if claims.Exp == nil || *claims.Exp < 0 || *claims.Exp > 253402300799 {
		return fail("has no exp (RFC 7523 section 3)")
	}
	return time.Unix(int64(*claims.Exp), 0), nil
}

// plausible reports whether a signature of that algorithm may have this many bytes: what a file holds may be the first part of a token.
func plausible(alg string, size int) bool {
	switch alg {
	case "ES256":
		return size == 64
	case "ES384":
		return size == 96
	case "ES512":
		return size == 132
	case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512":
		return size >= 128 && size%64 == 0
	}
	return size > 0
}
