package rp

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/internal/strictjson"
)

const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// LogoutToken is a verified logout token (OpenID Connect Back-Channel Logout 1.0 section 2.4): the provider's word that a login is over.
type LogoutToken struct {
	Issuer   string
	Subject  string // of whom; empty: SID says which session
	SID      string // which of the provider's sessions; empty: all of Subject
	ID       string // jti: a token of the same is a repetition
	IssuedAt time.Time
	Expiry   time.Time
}

// String names the issuer and the token.
func (t LogoutToken) String() string {
	return fmt.Sprintf("rp.LogoutToken{Issuer: %q, IssuedAt: %s}", t.Issuer, t.IssuedAt.Format(time.RFC3339))
}

// Format prints String for every verb.
func (t LogoutToken) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// LogValue is String.
func (t LogoutToken) LogValue() slog.Value { return slog.StringValue(t.String()) }

// VerifyLogoutToken checks a logout token as section 2.6 of Back-Channel Logout 1.0 says, all but its repetition, which is for whoever keeps the sessions to know
// (steps 7 to 10). Errors: *TokenError, ErrUnavailable.
func (c *Client) VerifyLogoutToken(ctx context.Context, raw string) (*LogoutToken, error) {
	md, err := c.provider.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	algs, err := c.signingAlgs(c.cfg.SigningAlg, md.IDTokenSigningAlgValuesSupported)
	if err != nil {
		return nil, err
	}
	t, err := c.verifyJWT(ctx, raw, "logout token", algs)
	if err != nil {
		return nil, err
	}
	out := &LogoutToken{}
	for _, check := range []func() error{
		func() error { return t.checkLogoutKind() },
		func() error { return c.readLogoutParties(t, out) },
		func() error { return c.readLogoutTimes(t, out, time.Now()) },
	} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// checkLogoutKind: a logout token and nothing else, least of all an ID token (steps 5 and 6; RFC 8725 section 3.12).
func (t *verifiedJWT) checkLogoutKind() error {
	switch strings.ToLower(strings.TrimPrefix(strings.ToLower(t.header.Typ), "application/")) {
	case "", "jwt", "logout+jwt":
	default:
		return t.fail("typ", "logout+jwt, JWT or none", strconv.Quote(printable(t.header.Typ, 32)))
	}
	if t.header.Cty != "" {
		return t.fail("cty", "none", "a nested token")
	}
	if _, ok := t.claims["nonce"]; ok {
		return t.fail("nonce", "none: a logout token must not look like an ID token", "some")
	}
	events, err := strictjson.Object(t.claims["events"])
	if err != nil {
		return t.fail("events", "an object", "none")
	}
	var event map[string]json.RawMessage
	if json.Unmarshal(events[logoutEvent], &event) != nil || event == nil {
		return t.fail("events", "the member "+logoutEvent+", an object", "none")
	}
	return nil
}

func (c *Client) readLogoutParties(t *verifiedJWT, out *LogoutToken) error {
	id := &IDToken{}
	var err error
	if id.Issuer, err = t.requiredString("iss"); err != nil {
		return err
	}
	if err := c.checkTokenIssuer(t, id, ""); err != nil {
		return err
	}
	if id.Audience, err = t.audience(); err != nil {
		return err
	}
	if id.AuthorizedParty, err = t.optionalString("azp"); err != nil {
		return err
	}
	if err := c.checkAudience(t, id); err != nil {
		return err
	}
	out.Issuer = id.Issuer
	if out.ID, err = t.requiredString("jti"); err != nil {
		return err
	}
	if out.SID, err = t.optionalString("sid"); err != nil {
		return err
	}
	if _, named := t.claims["sub"]; named {
		if out.Subject, err = t.subject(); err != nil {
			return err
		}
	}
	if out.Subject == "" && out.SID == "" {
		return t.fail("sub", "sub, sid or both", "neither")
	}
	return nil
}

func (c *Client) readLogoutTimes(t *verifiedJWT, out *LogoutToken, now time.Time) error {
	for name, to := range map[string]*time.Time{"iat": &out.IssuedAt, "exp": &out.Expiry} {
		at, present, err := t.time(name)
		switch {
		case err != nil:
			return err
		case present:
			*to = at
		case name == "exp" && c.cfg.Quirks.LogoutTokensWithoutExp:
		default:
			return t.fail(name, "a time", "none")
		}
	}
	if out.Expiry.IsZero() {
		out.Expiry = out.IssuedAt.Add(2 * time.Minute) // what the specification recommends
	}
	id := &IDToken{IssuedAt: out.IssuedAt, Expiry: out.Expiry}
	return c.checkTimes(t, id, now)
}
