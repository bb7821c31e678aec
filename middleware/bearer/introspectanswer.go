package bearer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/internal/jws"
	"github.com/latchkey-go/latchkey/internal/strictjson"
)

// maxSignedAge is how old a signed answer may be: it answers a question of now.
const maxSignedAge = 10 * time.Minute

// read judges an answer. verified: the token is a JWT whose own claims have been checked. Errors: *TokenError, or any other, which says that the answer
// can't be used.
func (i *introspector) read(ctx context.Context, media string, body []byte, now time.Time, verified bool) (*Token, error) {
	want := plainAnswer
	if i.cfg.Signed {
		want = signedAnswer
	}
	if media != want {
		// JSON in place of a signed answer is what somebody on the way would make of it.
		return nil, fmt.Errorf("its answer is %s, not %s", printable(media), want)
	}
	if i.cfg.Signed {
		var err error
		if body, err = i.open(ctx, body, now); err != nil {
			return nil, err
		}
	}
	c, err := readClaims(body)
	if err != nil {
		return nil, broken(err)
	}
	defer c.release()
	switch string(c.get("active")) {
	case "true":
	case "false":
		return nil, &TokenError{Check: "inactive", Want: "a token that the issuer calls active", Got: "one that it does not"}
	default:
		return nil, errors.New("its answer has no active that is true or false")
	}
	t, err := i.token(c, now, verified)
	if err != nil {
		return nil, err
	}
	t.Introspected, t.claims = true, bytes.Clone(body)
	return t, nil
}

// broken makes of an error about a token one about an answer.
func broken(err error) error {
	if e, ok := errors.AsType[*TokenError](err); ok {
		text := "its answer is refused by its " + e.Check
		if e.Want != "" {
			text += ": want " + e.Want + ", got " + e.Got
		} else if e.Err != nil {
			text += ": " + e.Err.Error()
		}
		return errors.New(text)
	}
	return err
}

// token reads what an active answer says, with the checks that a JWT's claims undergo. What it may leave out (RFC 7662 section 2.2) is not asked for.
func (i *introspector) token(c *claims, now time.Time, verified bool) (*Token, error) {
	is, t := i.issuer, &Token{Issuer: i.issuer.Issuer.Issuer}
	if err := checkKindStated(c); err != nil {
		return nil, err
	}
	if err := is.rules.checkUse(c); err != nil {
		return nil, err
	}
	if c.get("iss") != nil {
		if err := is.readIssuer(c, t, now); err != nil {
			return nil, err
		}
	}
	if c.get(is.rules.Audience) != nil || !i.cfg.NoAudience && !verified {
		if err := is.readAudience(c, t, now); err != nil {
			return nil, err
		}
	}
	for _, check := range [...]func(*issuer, *claims, *Token, time.Time) error{(*issuer).readTimes, (*issuer).readParties, (*issuer).readAuthentication} {
		if err := check(is, c, t, now); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// checkKindStated refuses what calls itself something else than a bearer token for access. An endpoint may be asked about refresh tokens and ID tokens too,
// and calls them active.
func checkKindStated(c *claims) error {
	if value := c.get("token_type"); value != nil {
		if s, ok := text(value); !ok || !strings.EqualFold(s, "Bearer") {
			return &TokenError{Check: "token_type", Want: "Bearer", Got: printable(s)}
		}
	}
	for _, name := range []string{"token_use", "token_usage", "typ"} {
		value := c.get(name)
		if value == nil {
			continue
		}
		s, _ := text(value)
		switch strings.ToLower(mediaType(s)) {
		case "access_token", "access", "bearer", "at+jwt":
		default:
			return &TokenError{Check: "kind", Want: "an access token", Got: "one whose " + name + " is " + printable(s)}
		}
	}
	return nil
}

// open checks a signed answer (RFC 9701 section 5) and returns its token_introspection. It is not the token that fails here, so no error is a *TokenError.
func (i *introspector) open(ctx context.Context, body []byte, now time.Time) ([]byte, error) {
	j, err := jws.Parse(string(bytes.TrimSpace(body)))
	if err != nil {
		return nil, broken(signatureError(err))
	}
	if !strings.EqualFold(mediaType(j.Header.Typ), mediaType(signedAnswer)) {
		return nil, fmt.Errorf("its answer has typ %s, not %s", printable(j.Header.Typ), mediaType(signedAnswer))
	}
	if _, err := i.issuer.keys.Check(ctx, j, nil); err != nil {
		return nil, broken(signatureError(err))
	}
	c, err := readClaims(j.Payload)
	if err != nil {
		return nil, broken(err)
	}
	defer c.release()
	if err := i.checkEnvelope(c, now); err != nil {
		return nil, broken(err)
	}
	return c.get("token_introspection"), nil // what it holds is read as strictly as a plain answer
}

// checkEnvelope checks whose answer it is, to whom, and when. now is before the call.
func (i *introspector) checkEnvelope(c *claims, now time.Time) error {
	iss, err := c.text("iss")
	if err != nil {
		return err
	}
	if want := i.issuer.Issuer.Issuer; iss != want {
		return &TokenError{Check: "iss", Want: strconv.Quote(want), Got: printable(iss)}
	}
	audience, err := c.list("aud")
	if err != nil {
		return err
	}
	if !slices.Contains(audience, i.cfg.ClientID) {
		return &TokenError{Check: "aud", Want: printable(i.cfg.ClientID), Got: printable(strings.Join(audience, " "))}
	}
	made, err := c.time("iat")
	if err != nil {
		return err
	}
	if age := time.Since(made); made.IsZero() || age > maxSignedAge || age < -i.issuer.leeway {
		return &TokenError{Check: "iat", Want: "a time not long ago", Got: made.UTC().Format(time.RFC3339)}
	}
	expiry, err := c.time("exp")
	if err != nil {
		return err
	}
	if !expiry.IsZero() && !now.Before(expiry.Add(i.issuer.leeway)) {
		return &TokenError{Check: "exp", Want: "a time to come", Got: expiry.UTC().Format(time.RFC3339)}
	}
	if c.get("token_introspection") == nil {
		return &TokenError{Check: "token_introspection", Want: "an object", Got: "none"}
	}
	return nil
}

// confirmed is a verified JWT that the issuer calls active: what the answer says is newer and counts, what it leaves out stays. An answer about somebody else
// is an answer about another token.
func (is *issuer) confirmed(t, answer *Token, now time.Time) (*Token, error) {
	id := answer.ID
	if t.ID == "" {
		id = "" // the issuer's name for a JWT that has none
	}
	for _, same := range [...]struct{ check, jwt, answer string }{{"sub", t.Subject, answer.Subject}, {"client_id", t.ClientID, answer.ClientID}, {"jti", t.ID, id}} {
		if same.answer != "" && same.answer != same.jwt {
			return nil, &TokenError{Check: same.check, Want: "the one that introspection gives", Got: "another"}
		}
	}
	payload, err := overlay(t.claims, answer.claims)
	if err != nil {
		return nil, &TokenError{Check: "json", Err: err}
	}
	c, err := readClaims(payload)
	if err != nil {
		return nil, err
	}
	defer c.release()
	both, err := is.token(c, now)
	if err != nil {
		return nil, err
	}
	if err := is.checkComplete(both); err != nil {
		return nil, err
	}
	if answer.Scopes != nil { // under a name that the profile may not know
		both.Scopes = answer.Scopes
	}
	both.Expiry = earlier(t.Expiry, both.Expiry)
	both.Introspected, both.claims = true, payload
	return both, nil
}

// overlay is the members of two objects; newer's count, unless they are null: that says nothing.
func overlay(older, newer []byte) ([]byte, error) {
	members, err := strictjson.Object(older)
	if err != nil {
		return nil, err
	}
	over, err := strictjson.Object(newer)
	if err != nil {
		return nil, err
	}
	for name, value := range over {
		if string(bytes.TrimSpace(value)) != "null" {
			members[name] = value
		}
	}
	return json.Marshal(members)
}
