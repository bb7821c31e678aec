package rp

import (
	"time"

	"golang.org/x/oauth2"
)

// Tokens is what a login or a refresh yields. Printed, it shows no token.
type Tokens struct {
	OAuth2     *oauth2.Token // access token, refresh token, expiry (zero: the provider stated none)
	IDToken    *IDToken      // nil: a refresh brought none
	RawIDToken string
	Scope      []string // as granted; as asked when the provider is silent
}

// IDToken is a verified ID token.
type IDToken struct {
	Issuer, Subject  string
	Audience         []string
	AuthorizedParty  string
	Expiry, IssuedAt time.Time
	AuthTime         time.Time // zero: not stated
	Nonce, ACR       string
	AMR              []string
	SessionID        string // sid
	Claims           Claims
}

// ParseIDToken reads again an ID token that this process verified before and kept sealed (a session's record). It checks nothing
// but the form: never give it a token from outside.
func ParseIDToken(raw string) (*IDToken, error) { panic("todo") }

