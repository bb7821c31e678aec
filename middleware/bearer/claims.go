package bearer

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/latchkey-go/latchkey/internal/jws"
	"github.com/latchkey-go/latchkey/internal/strictjson"
)

// claims are the members of a JWT's payload, read once and strictly. They are used before the signature is checked only to refuse.
type claims struct {
	payload []byte
	members []member
}

type member struct{ name, value []byte }

// readers keeps the lists of members: a token's are needed for as long as it takes to check it.
var readers = sync.Pool{New: func() any { return &claims{members: make([]member, 0, 32)} }}

func (c *claims) release() {
	clear(c.members)
	c.payload, c.members = nil, c.members[:0]
	readers.Put(c)
}

// registered are the claims whose meaning is decided here. A member that is one of them but for its case is an attack or an accident
// waiting: encoding/json takes "SUB" for "sub".
var registered = []string{
	"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "azp", "cid", "appid", "scope", "scp", "cnf", "acr", "amr", "auth_time", "sid", "tid",
	"events", "nonce", "at_hash", "c_hash", "s_hash", "token_use", "typ", "ver", "active",
}

// readClaims reads the object payload. Call release when nothing of the result is needed any more.
func readClaims(payload []byte) (*claims, error) {
	c := readers.Get().(*claims)
	c.payload = payload
	if err := strictjson.Each(payload, c.add); err != nil {
		c.release()
		return nil, &TokenError{Check: "json", Err: err}
	}
	return c, nil
}

func (c *claims) add(name, value []byte) error {
	if !plain(name) {
		for _, r := range registered {
			if strings.EqualFold(string(name), r) {
				return &strictjson.Error{Rule: "case", Name: string(name)}
			}
		}
	}
	if string(value) != "null" { // which is as good as absent
		c.members = append(c.members, member{name, value})
	}
	return nil
}

// plain reports whether no other spelling of name can hide in it.
func plain(name []byte) bool {
	for _, b := range name {
		if (b < 'a' || b > 'z') && b != '_' {
			return false
		}
	}
	return true
}

// get returns the value of a claim, nil when it is absent.
func (c *claims) get(name string) []byte {
	for i := range c.members {
		if string(c.members[i].name) == name {
			return c.members[i].value
		}
	}
	return nil
}

// text reads a JSON string; the usual one has no escapes.
func text(value []byte) (string, bool) {
	if len(value) < 2 || value[0] != '"' {
		return "", false
	}
	inner := value[1 : len(value)-1]
	for _, b := range inner {
		if b == '\\' {
			var s string
			err := json.Unmarshal(value, &s)
			return s, err == nil
		}
	}
	return string(inner), true
}

// text is a claim's string, "" when it is absent. A name with a control character in it is another name to whoever cuts it there.
func (c *claims) text(name string) (string, error) {
	value := c.get(name)
	if value == nil {
		return "", nil
	}
	s, ok := text(value)
	if !ok {
		return "", &TokenError{Check: name, Want: "a string", Got: "another type"}
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return "", &TokenError{Check: name, Want: "a string", Got: "one with control characters"}
	}
	return s, nil
}

// list is a claim that is a string or a list of strings.
func (c *claims) list(name string) ([]string, error) {
	value := c.get(name)
	if value == nil {
		return nil, nil
	}
	if s, ok := text(value); ok {
		return []string{s}, nil
	}
	all, ok := texts(value)
	if !ok {
		return nil, &TokenError{Check: name, Want: "a string or a list of strings", Got: "another type"}
	}
	return all, nil
}

// texts reads a JSON array of strings whose grammar has been checked.
func texts(value []byte) (all []string, ok bool) {
	if value[0] != '[' {
		return nil, false
	}
	for at := 1; at < len(value)-1; {
		switch value[at] {
		case ' ', '\t', '\r', '\n', ',':
			at++
			continue
		}
		end := at + 1
		for end < len(value) && value[end] != '"' {
			if value[end] == '\\' {
				end++
			}
			end++
		}
		if end >= len(value) {
			return nil, false
		}
		s, ok := text(value[at : end+1])
		if !ok {
			return nil, false
		}
		all = append(all, s)
		at = end + 1
	}
	return all, true
}

// scopes reads the first of names that is there: a string with blanks between (RFC 8693 section 4.2), or a list.
func (c *claims) scopes(names []string) ([]string, error) {
	for _, name := range names {
		value := c.get(name)
		if value == nil {
			continue
		}
		if s, ok := text(value); ok {
			// Any other white space may stand in the name of a scope that somebody could have registered: "a\u00a0admin" is not "admin".
			return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' }), nil
		}
		return c.list(name)
	}
	return nil, nil
}

// lastSecond is the end of the year 9999, past which no date of a token makes sense (milliseconds land there) and arithmetic begins to overflow.
const lastSecond = 253402300799

// time is a NumericDate (RFC 7519 section 2): a JSON number, fractions allowed, never a string. Zero when it is absent.
func (c *claims) time(name string) (time.Time, error) {
	value := c.get(name)
	if value == nil {
		return time.Time{}, nil
	}
	if seconds, ok := digits(value); ok {
		return time.Unix(seconds, 0), nil
	}
	f, err := strconv.ParseFloat(string(value), 64)
	if err != nil || !(f >= 0 && f <= lastSecond) {
		return time.Time{}, &TokenError{Check: name, Want: "a number of seconds since 1970, before the year 10000", Got: "something else"}
	}
	whole, frac := math.Modf(f)
	return time.Unix(int64(whole), int64(frac*1e9)), nil
}

// authTime is auth_time, which one provider writes as text.
func (c *claims) authTime(orText bool) (time.Time, error) {
	if s, ok := text(c.get("auth_time")); ok && orText {
		if at, err := time.Parse(time.RFC3339, s); err == nil {
			return at, nil
		}
	}
	return c.time("auth_time")
}

// digits reads what nearly every date is: up to eleven digits.
func digits(value []byte) (n int64, ok bool) {
	if len(value) == 0 || len(value) > 11 {
		return 0, false
	}
	for _, b := range value {
		if b < '0' || b > '9' {
			return 0, false
		}
		n = n*10 + int64(b-'0')
	}
	return n, true
}

// printable shows a piece of foreign text, short and quoted.
func printable(s string) string {
	const most = 64
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + "..."
	}
	return strconv.QuoteToASCII(s)
}

// checkKind keeps ID and logout tokens out (RFC 8725 section 3.12, RFC 9068 section 5), and whatever has no business here.
func (r *rules) checkKind(h *jws.Header, c *claims) error {
	if !r.accepts(h.Typ) {
		want := make([]string, len(r.Types))
		for i, typ := range r.Types {
			want[i] = strconv.Quote(typ)
		}
		return &TokenError{Check: "typ", Want: strings.Join(want, " or "), Got: printable(h.Typ)}
	}
	if h.Cty != "" {
		return &TokenError{Check: "cty", Want: "none", Got: "a nested token"}
	}
	return r.checkUse(c)
}

// checkUse is checkKind for what an introspection endpoint says too.
func (r *rules) checkUse(c *claims) error {
	for _, name := range []string{"events", "at_hash", "c_hash", "s_hash"} {
		if c.get(name) != nil {
			return &TokenError{Check: "kind", Want: "an access token", Got: "one with the claim " + name}
		}
	}
	if !r.Nonce && c.get("nonce") != nil {
		return &TokenError{Check: "kind", Want: "an access token", Got: "one with a nonce, as ID tokens have"}
	}
	for name, want := range r.Marks {
		value := c.get(name)
		if value == nil {
			return &TokenError{Check: name, Want: "the claim " + name + ", which the provider's access tokens have", Got: "none"}
		}
		if s, ok := text(value); want != "" && (!ok || s != want) {
			return &TokenError{Check: name, Want: strconv.Quote(want), Got: printable(s)}
		}
	}
	for _, name := range []string{"typ", "token_use"} { // Keycloak's and Cognito's word for what a token is
		value := c.get(name)
		s, ok := text(value)
		if value != nil && !ok {
			return &TokenError{Check: "kind", Want: "an access token", Got: "one whose claim " + name + " is no string"}
		}
		switch strings.ToLower(s) {
		case "id", "refresh", "offline", "logout":
			return &TokenError{Check: "kind", Want: "an access token", Got: "one whose claim " + name + " says " + strconv.Quote(s)}
		}
	}
	if c.get("cnf") != nil {
		// Taken for a bearer token it would be worth more to a thief than its issuer meant it to be (RFC 9449 section 7.2, RFC 8705 section 3).
		return &TokenError{Check: "cnf", Want: "a bearer token", Got: "one bound to a key (DPoP or mutual TLS), whose proof is not checked here"}
	}
	return nil
}
