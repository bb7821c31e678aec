package rp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/internal/strictjson"
)

// Claims is a JSON object of claims from a verified token or UserInfo answer; immutable, and safe for concurrent use. The zero value is empty. Typed getters
// never fail: an absent claim or one of the wrong type reads as zero, since providers send empty lists for objects and empty strings for nothing.
// Printed, it shows the names of its members and none of the values.
//
// Issuer and subject identify a user (OpenID Connect Core 5.7). An e-mail address does not.
type Claims struct {
	object         **claimsObject // nil: empty
	stringBooleans bool
}

// claimsObject is behind two pointers because fmt follows unexported fields of a caller's struct past any Formatter, and with %s one pointer to a struct as well.
type claimsObject struct {
	raw     json.RawMessage
	members map[string]json.RawMessage
}

func newClaims(raw json.RawMessage, members map[string]json.RawMessage) Claims {
	object := &claimsObject{raw, members}
	return Claims{object: &object}
}

func (c Claims) members() map[string]json.RawMessage {
	if c.object == nil {
		return nil
	}
	return (*c.object).members
}

// NewClaims wraps a JSON object; for tests and for stored claims. One with duplicate members or broken text is refused.
func NewClaims(raw []byte) (Claims, error) {
	members, err := strictjson.Object(raw)
	if err != nil {
		return Claims{}, fmt.Errorf("rp: claims: %w", err)
	}
	return newClaims(slices.Clone(raw), members), nil
}

// Tolerate returns claims as this client reads them: with Quirks.StringBooleans "true" counts as true.
func (c *Client) Tolerate(claims Claims) Claims {
	claims.stringBooleans = c.cfg.Quirks.StringBooleans
	return claims
}

// Raw returns the JSON object; "{}" when there is none.
func (c Claims) Raw() json.RawMessage {
	if c.object == nil || (*c.object).raw == nil {
		return json.RawMessage("{}")
	}
	return slices.Clone((*c.object).raw)
}

// Names returns the members' names, sorted.
func (c Claims) Names() []string { return slices.Sorted(maps.Keys(c.members())) }

// Has reports whether the member is there and not null.
func (c Claims) Has(name string) bool {
	v, ok := c.members()[name]
	return ok && string(v) != "null"
}

// Lookup follows a path of member names through nested objects: Lookup("realm_access", "roles").
func (c Claims) Lookup(path ...string) (json.RawMessage, bool) {
	if len(path) == 0 {
		return nil, false
	}
	value, ok := c.members()[path[0]]
	for _, name := range path[1:] {
		members, err := strictjson.Object(value)
		if !ok || err != nil {
			return nil, false
		}
		value, ok = members[name]
	}
	return slices.Clone(value), ok
}

// Decode decodes the whole object into v, as encoding/json does.
func (c Claims) Decode(v any) error {
	if err := json.Unmarshal(c.Raw(), v); err != nil {
		return fmt.Errorf("rp: claims: %w", typeError(err))
	}
	return nil
}

// DecodeClaim decodes one claim into v. A claim that is absent leaves v alone and is an error.
func (c Claims) DecodeClaim(name string, v any) error {
	value, ok := c.members()[name]
	if !ok {
		return fmt.Errorf("rp: there is no claim %q", name)
	}
	if err := json.Unmarshal(value, v); err != nil {
		return fmt.Errorf("rp: claim %q: %w", name, typeError(err))
	}
	return nil
}

// typeError keeps what a decoding error says of types and drops the values that it may quote.
func typeError(err error) error {
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) {
		kind, _, _ := strings.Cut(mismatch.Value, " ") // "number 1.5" quotes the number
		return fmt.Errorf("a JSON %s does not fit %s", kind, mismatch.Type)
	}
	return err
}

// Text returns a claim that is a string, "" otherwise.
func (c Claims) Text(name string) string {
	var s string
	if json.Unmarshal(c.members()[name], &s) != nil {
		return ""
	}
	return s
}

// Bool returns a claim that is the JSON value true; with Quirks.StringBooleans the string "true" too.
func (c Claims) Bool(name string) bool {
	switch string(c.members()[name]) {
	case "true":
		return true
	case `"true"`:
		return c.stringBooleans
	}
	return false
}

// Int64 returns a claim that is a whole number, as a JSON number.
func (c Claims) Int64(name string) (int64, bool) {
	n, err := strconv.ParseInt(string(c.members()[name]), 10, 64)
	return n, err == nil
}

// Time returns a claim that is a time: seconds since 1970 as a number or numeric string, or RFC 3339 text (Auth0's updated_at). Numbers too large for seconds are taken as
// milliseconds (WSO2). Zero when it is none of these.
func (c Claims) Time(name string) time.Time {
	text := string(c.members()[name])
	if s := c.Text(name); s != "" {
		if t, err := time.Parse(time.RFC3339, s); err == nil {
			return t
		}
		text = s
	}
	f, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil || !(f > 0):
		return time.Time{}
	case f <= lastSecond:
		whole, frac := math.Modf(f)
		return time.Unix(int64(whole), int64(frac*1e9))
	case f <= lastSecond*1000:
		return time.UnixMilli(int64(f))
	}
	return time.Time{}
}

// Strings returns a claim that is a list of strings, or one string: groups, roles, amr. The path leads through nested objects, as Lookup's does.
// Members of the list that are no strings are left out.
func (c Claims) Strings(path ...string) []string {
	value, ok := c.Lookup(path...)
	if !ok {
		return nil
	}
	var one string
	if json.Unmarshal(value, &one) == nil {
		if one == "" {
			return nil
		}
		return []string{one}
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

// Merge lays other over c: other's members win, but for those that say who and what was verified (iss, sub, aud, exp, iat, acr, amr and the like): these are
// c's alone, unless c is empty. An e-mail address or phone number and the claim that it is verified are taken together: what was said of one address says nothing of another.
func (c Claims) Merge(other Claims) Claims {
	merged := maps.Clone(c.members())
	if merged == nil {
		merged = make(map[string]json.RawMessage, len(other.members()))
	}
	for name, v := range other.members() {
		if len(c.members()) == 0 || !isRegistered(name) {
			merged[name] = v
		}
	}
	for _, address := range []string{"email", "phone_number"} {
		flag := address + "_verified"
		if _, said := other.members()[flag]; said && other.Has(address) || c.Text(address) == other.Text(address) {
			continue
		}
		// Each of the two has at most one half from other now: the flag goes back to c's, and counts for c's address only.
		delete(merged, flag)
		if v, said := c.members()[flag]; said && !other.Has(address) {
			merged[flag] = v
		}
	}
	raw, err := json.Marshal(merged)
	if err != nil {
		return c // cannot be: each member is valid JSON
	}
	all := newClaims(raw, merged)
	all.stringBooleans = c.stringBooleans || other.stringBooleans
	return all
}

// isRegistered reports whether name is one of registered, in whatever case: encoding/json would take it for that.
func isRegistered(name string) bool {
	return slices.ContainsFunc(registered, func(r string) bool { return strings.EqualFold(name, r) })
}

// MarshalJSON returns the object as it came.
func (c Claims) MarshalJSON() ([]byte, error) { return c.Raw(), nil }

// UnmarshalJSON reads an object as NewClaims does.
func (c *Claims) UnmarshalJSON(data []byte) error {
	read, err := NewClaims(data)
	if err == nil {
		*c = read
	}
	return err
}

// String lists the names of the members: the values are personal data.
func (c Claims) String() string { return fmt.Sprintf("rp.Claims%q", c.Names()) }

// Format prints String for every verb.
func (c Claims) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue is String.
func (c Claims) LogValue() slog.Value { return slog.StringValue(c.String()) }
