package rp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/latchkey-go/latchkey/discovery"
	"github.com/latchkey-go/latchkey/internal/jws"
	"github.com/latchkey-go/latchkey/internal/strictjson"
)

// verifiedJWT is a token whose form and signature have been checked; what its claims mean has not.
type verifiedJWT struct {
	kind    string // "ID token", "UserInfo": for errors
	header  jws.Header
	payload []byte
	claims  map[string]json.RawMessage // by exact name; null members are absent; payload has passed strictjson
}

// verifyJWT checks form, header (crit, algorithm list) and signature of raw and reads its claims strictly.
// kind names the token in errors: "ID token", "UserInfo". Errors: *TokenError or ErrUnavailable.
func (c *Client) verifyJWT(ctx context.Context, raw, kind string, algs []string) (*verifiedJWT, error) {
	t, err := parseJWT(raw, kind)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(algs, t.header.Alg) {
		return nil, t.fail("alg", strings.Join(algs, " or "), strconv.Quote(printable(t.header.Alg, 32)))
	}
	payload, err := c.verifySignature(ctx, raw, t.header.Alg, algs)
	if err != nil {
		return nil, signatureError(kind, err)
	}
	// What is read from here on is what was signed, whatever the gate thought it saw.
	v := &verifiedJWT{kind: kind, header: t.header, payload: payload}
	return v, v.readClaims()
}

// verifySignature returns the signed payload. The key of a symmetric algorithm is the client secret (Core 10.1), never a published key;
// such an algorithm is in algs only by configuration.
func (c *Client) verifySignature(ctx context.Context, raw, alg string, algs []string) ([]byte, error) {
	if hmacSecretSize[alg] == 0 {
		return c.provider.KeySet(algs...).VerifySignature(ctx, raw)
	}
	sig, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
	if err != nil {
		return nil, &discovery.SignatureError{Check: "compact", Want: "a compact JWS", Got: "something else"}
	}
	payload, err := sig.Verify([]byte(c.cfg.ClientSecret))
	if err != nil {
		return nil, &discovery.SignatureError{Check: "signature", Want: alg + " by the client secret", Got: "another"}
	}
	return payload, nil
}

// signingAlgs is the list of algorithms a token of the provider may be signed with: the registered one; else RS256 when
// listed says so or says nothing; else the asymmetric ones of listed. "none" in listed changes nothing (Discovery section 3).
func (c *Client) signingAlgs(registered string, listed []string) ([]string, error) {
	if registered != "" {
		return []string{registered}, nil
	}
	if len(listed) == 0 || slices.Contains(listed, "RS256") {
		return []string{"RS256"}, nil
	}
	var algs []string
	for _, a := range listed {
		if jws.Asymmetric(a) {
			algs = append(algs, a)
		}
	}
	if len(algs) == 0 {
		return nil, &UnsupportedError{"signing algorithm", fmt.Sprintf("the provider lists none of RS, PS, ES 256-512 and EdDSA (%q); set Config.SigningAlg to the one registered for the client", listed)}
	}
	return algs, nil
}

// signatureError makes a *TokenError of what the gate or the key set says; an unreachable provider stays what it is.
func signatureError(kind string, err error) error {
	if e, ok := errors.AsType[*discovery.SignatureError](err); ok {
		return &TokenError{Token: kind, Check: e.Check, Want: e.Want, Got: e.Got, Err: err}
	}
	if e, ok := errors.AsType[*jws.Error](err); ok {
		return &TokenError{Token: kind, Check: e.Check, Want: e.Want, Got: e.Got, Err: err}
	}
	return err
}

// registered are the claims whose meaning is decided here. A member that is one of them but for its case is an attack or an accident
// waiting: encoding/json, and with it many a claim check, takes "SUB" for "sub".
var registered = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "azp", "nonce", "auth_time", "acr", "amr", "at_hash", "c_hash", "s_hash", "sid", "tid", "events"}

func (t *verifiedJWT) readClaims() error {
	claims, err := strictjson.Object(t.payload)
	if err != nil {
		return t.wrap("json", err)
	}
	for name, v := range claims {
		for _, r := range registered {
			if name != r && strings.EqualFold(name, r) {
				return t.fail("json", r, strconv.Quote(printable(name, 32)))
			}
		}
		if string(v) == "null" {
			delete(claims, name)
		}
	}
	t.claims = claims
	return nil
}

func (t *verifiedJWT) fail(check, want, got string) *TokenError {
	return &TokenError{Token: t.kind, Check: check, Want: want, Got: got}
}

func (t *verifiedJWT) wrap(check string, err error) *TokenError {
	return &TokenError{Token: t.kind, Check: check, Err: err}
}

// optionalString is a claim's string, "" when absent.
func (t *verifiedJWT) optionalString(name string) (string, error) {
	v, present := t.claims[name]
	if !present {
		return "", nil
	}
	var s string
	if json.Unmarshal(v, &s) != nil {
		return "", t.fail(name, "a string", "another type")
	}
	return s, nil
}

func (t *verifiedJWT) requiredString(name string) (string, error) {
	s, err := t.optionalString(name)
	if err == nil && s == "" {
		return "", t.fail(name, "a string", "none")
	}
	return s, err
}

// subject is sub: 1 to 255 printable ASCII characters (Core section 2 and 8).
func (t *verifiedJWT) subject() (string, error) {
	sub, err := t.requiredString("sub")
	if err != nil {
		return "", err
	}
	if len(sub) > 255 {
		return "", t.fail("sub", "at most 255 characters", strconv.Itoa(len(sub)))
	}
	for i := range len(sub) {
		if sub[i] < ' ' || sub[i] > '~' {
			return "", t.fail("sub", "ASCII characters", "others")
		}
	}
	return sub, nil
}

// audience is aud: a string, or a list of strings with a member.
func (t *verifiedJWT) audience() ([]string, error) {
	v, present := t.claims["aud"]
	if !present {
		return nil, t.fail("aud", "a string or a list of them", "none")
	}
	var one string
	if json.Unmarshal(v, &one) == nil {
		return []string{one}, nil
	}
	var list []*string
	if json.Unmarshal(v, &list) != nil || len(list) == 0 || slices.Contains(list, nil) {
		return nil, t.fail("aud", "a string or a list of them", "something else")
	}
	var all []string
	for _, s := range list {
		all = append(all, *s)
	}
	return all, nil
}

// lastSecond is the end of the year 9999, past which no date of a token makes sense (milliseconds land there) and arithmetic begins to overflow.
const lastSecond = 253402300799

// time is a NumericDate (RFC 7519 section 2): a JSON number, fractions allowed, never a string.
func (t *verifiedJWT) time(name string) (at time.Time, present bool, err error) {
	v, present := t.claims[name]
	if !present {
		return time.Time{}, false, nil
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil || math.IsNaN(f) || f < 0 || f > lastSecond {
		return time.Time{}, false, t.fail(name, "a number of seconds since 1970, before the year 10000", "something else")
	}
	if name == "auth_time" && f == 0 {
		return time.Time{}, false, nil // glewlwyd says 0 for "unknown"
	}
	whole, frac := math.Modf(f)
	return time.Unix(int64(whole), int64(frac*1e9)), true, nil
}
