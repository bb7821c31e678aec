package bearer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/internal/strictjson"
)

// Token is what a verified access token says. All requests with the same token share one Token, so it must not be changed; reading it is
// safe for concurrent use. It does not hold the token's own text, and prints neither its subject nor its claims.
type Token struct {
	Issuer    string
	Subject   string   // sub: with Issuer, who this is; of a client without a user often the client itself
	Audience  []string // aud
	ClientID  string   // the party the token was issued to
	Scopes    []string // scope, or scp
	ID        string   // jti
	SessionID string   // sid
	IssuedAt  time.Time
	Expiry    time.Time // zero only for an introspected token whose provider says none
	AuthTime  time.Time // when the user authenticated; zero: not stated
	ACR       string    // authentication context class
	AMR       []string  // authentication methods
	// Introspected is true for a token that the provider was asked about, false for one whose signature was verified.
	Introspected bool

	claims []byte // the JSON object; never changed
}

// HasScope reports whether scope is among Scopes.
func (t *Token) HasScope(scope string) bool { return slices.Contains(t.Scopes, scope) }

// Decode decodes all claims into v, a pointer to a struct or a map. The claims' names match exactly, those inside their objects as
// encoding/json matches them.
func (t *Token) Decode(v any) error {
	if err := strictjson.Unmarshal(t.claims, v); err != nil {
		return fmt.Errorf("bearer: claims: %w", typeError(err))
	}
	return nil
}

// Claim decodes the claim that path leads to, through nested objects, into v. A claim that is not there is an error.
func (t *Token) Claim(v any, path ...string) error {
	value, ok := t.lookup(path)
	if !ok {
		return fmt.Errorf("bearer: there is no claim %q", strings.Join(path, " "))
	}
	if err := json.Unmarshal(value, v); err != nil {
		return fmt.Errorf("bearer: claim %q: %w", strings.Join(path, " "), typeError(err))
	}
	return nil
}

// Text returns a claim that is a string, "" otherwise: Text("kubernetes.io", "namespace").
func (t *Token) Text(path ...string) string {
	value, _ := t.lookup(path)
	s, _ := text(value)
	return s
}

// Strings returns a claim that is a list of strings, or one string: Strings("realm_access", "roles"). Members of the list that are no
// strings are left out.
func (t *Token) Strings(path ...string) []string {
	value, _ := t.lookup(path)
	if s, ok := text(value); ok {
		return []string{s}
	}
	var list []any
	if json.Unmarshal(value, &list) != nil {
		return nil
	}
	var all []string
	for _, v := range list {
		if s, ok := v.(string); ok {
			all = append(all, s)
		}
	}
	return all
}

func (t *Token) lookup(path []string) (value json.RawMessage, ok bool) {
	value = t.claims
	for _, name := range path {
		members, err := strictjson.Object(value)
		if err != nil {
			return nil, false
		}
		if value, ok = members[name]; !ok {
			return nil, false
		}
	}
	return value, ok
}

// typeError keeps what a decoding error says of types and drops the values that it may quote.
func typeError(err error) error {
	if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		kind, _, _ := strings.Cut(mismatch.Value, " ") // "number 1.5" quotes the number
		return fmt.Errorf("a JSON %s does not fit %s", kind, mismatch.Type)
	}
	return err
}

// String names issuer, client and end; the rest is personal.
func (t Token) String() string {
	return fmt.Sprintf("bearer.Token{Issuer: %q, ClientID: %q, Expiry: %s}", t.Issuer, t.ClientID, t.Expiry.UTC().Format(time.RFC3339))
}

// Format prints String for every verb.
func (t Token) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// LogValue is String.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }
