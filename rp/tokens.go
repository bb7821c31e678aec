package rp

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/internal/jws"
	"golang.org/x/oauth2"
)

// Tokens is what a login or a refresh yields. Printed, it shows no token; but fmt prints an unexported field of a struct of yours past this: keep a pointer there, and print no such struct with %s.
type Tokens struct {
	OAuth2     *oauth2.Token // access token, refresh token, expiry (zero: the provider stated none)
	IDToken    *IDToken      // nil: a refresh brought none
	RawIDToken string
	Scope      []string // as granted; as asked when the provider is silent
	// RefreshExpiry is when the refresh token, or the provider's session behind it, ends, as far as the provider says; zero: it says nothing, or that
	// there is no end. No RFC names a member for it; refresh_expires_in (Keycloak), refresh_token_expires_in (Microsoft) and session_expires_in are read, in seconds.
	// Of several the earliest counts, and one that is no positive number is ignored.
	RefreshExpiry time.Time
	// SessionState is the login state at the provider, as the authorization response brought it, for the provider's check_session_iframe (Session Management 1.0
	// section 2): "" from a refresh, from a provider that sends none, or when what came can't be one. The browser carried it unsigned, so it proves nothing.
	SessionState string
}

// refreshEnds are the members that tell the end of a refresh token.
var refreshEnds = []string{"refresh_expires_in", "refresh_token_expires_in", "session_expires_in"}

// refreshExpiry reads the end of tok's refresh token, counted from now. Zero is no end: Keycloak says so of offline tokens. These members are nobody's standard,
// so what can't be read says nothing instead of failing a login.
func refreshExpiry(tok *oauth2.Token, now time.Time) (end time.Time) {
	for _, name := range refreshEnds {
		var seconds float64
		switch v := tok.Extra(name).(type) {
		case float64:
			seconds = v
		case string:
			seconds, _ = strconv.ParseFloat(v, 64)
		}
		if !(seconds >= 1) { // NaN included
			continue
		}
		at := now.Add(time.Duration(min(seconds, math.MaxInt32)) * time.Second)
		if end.IsZero() || at.Before(end) {
			end = at
		}
	}
	return end
}

// String tells what is there, and shows no token.
func (t Tokens) String() string {
	var b strings.Builder
	b.WriteString("rp.Tokens{")
	if t.OAuth2 != nil {
		fmt.Fprintf(&b, "Access: %t, Refresh: %t, Expiry: %s, ", t.OAuth2.AccessToken != "", t.OAuth2.RefreshToken != "", t.OAuth2.Expiry.Format(time.RFC3339))
	}
	fmt.Fprintf(&b, "IDToken: %v, Scope: %q}", t.IDToken, t.Scope)
	return b.String()
}

// Format prints String for every verb.
func (t Tokens) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// LogValue is String.
func (t Tokens) LogValue() slog.Value { return slog.StringValue(t.String()) }

// IDToken is a verified ID token.
type IDToken struct {
	Issuer, Subject  string // together the user's identity (Core 5.7); no other claim is one
	Audience         []string
	AuthorizedParty  string
	Expiry, IssuedAt time.Time
	AuthTime         time.Time // zero: not stated
	Nonce, ACR       string
	AMR              []string
	SessionID        string // sid
	Claims           Claims
}

// String names who was verified by whom, and none of the other claims.
func (t IDToken) String() string {
	return fmt.Sprintf("rp.IDToken{Issuer: %q, Subject: %q, IssuedAt: %s}", t.Issuer, t.Subject, t.IssuedAt.Format(time.RFC3339))
}

// Format prints String for every verb.
func (t IDToken) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// LogValue is String.
func (t IDToken) LogValue() slog.Value { return slog.StringValue(t.String()) }

// ParseIDToken reads again an ID token that this process verified before and kept sealed (a session's record). It checks nothing
// but the form: never give it a token from outside.
func ParseIDToken(raw string) (*IDToken, error) {
	t, err := parseJWT(raw, "ID token")
	if err != nil {
		return nil, err
	}
	return t.idToken()
}

// idToken reads the claims into an IDToken. The required ones must have their types; the others read as absent when they have not.
func (t *verifiedJWT) idToken() (*IDToken, error) {
	id := &IDToken{}
	var err error
	if id.Issuer, err = t.requiredString("iss"); err != nil {
		return nil, err
	}
	if id.Subject, err = t.subject(); err != nil {
		return nil, err
	}
	if id.Audience, err = t.audience(); err != nil {
		return nil, err
	}
	for _, c := range []struct {
		name     string
		required bool
		to       *time.Time
	}{{"exp", true, &id.Expiry}, {"iat", true, &id.IssuedAt}, {"auth_time", false, &id.AuthTime}} {
		at, present, err := t.time(c.name)
		if err != nil {
			return nil, err
		}
		if !present && c.required {
			return nil, t.fail(c.name, "a number", "none")
		}
		*c.to = at
	}
	if id.AuthorizedParty, err = t.optionalString("azp"); err != nil {
		return nil, err
	}
	if id.Nonce, err = t.optionalString("nonce"); err != nil {
		return nil, err
	}
	json.Unmarshal(t.claims["acr"], &id.ACR)
	json.Unmarshal(t.claims["sid"], &id.SessionID)
	if json.Unmarshal(t.claims["amr"], &id.AMR) != nil {
		id.AMR = nil
	}
	if id.Claims, err = NewClaims(t.payload); err != nil {
		return nil, t.wrap("json", err)
	}
	return id, nil
}

// parseJWT reads a token's form, header and claims. It verifies nothing.
func parseJWT(raw, kind string) (*verifiedJWT, error) {
	if strings.Count(raw, ".") == 4 {
		return nil, &TokenError{Token: kind, Check: "compact", Want: "a signed token of 3 parts", Got: "5 parts: encrypted tokens are not supported yet; register the client without encryption"}
	}
	t, err := jws.Parse(raw)
	if err != nil {
		return nil, signatureError(kind, err)
	}
	v := &verifiedJWT{kind: kind, header: t.Header, payload: t.Payload}
	return v, v.readClaims()
}
