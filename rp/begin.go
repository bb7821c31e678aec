package rp

import (
	"context"
	"encoding/json"
	"net/url"
	"time"

	"github.com/latchkey-go/latchkey/pkce"
)

// AuthParams are the parameters of one login (OpenID Connect Core 3.1.2.1). The zero value is a plain login.
type AuthParams struct {
	Prompt       string        // "none", "login", "consent", "select_account" or several, separated by spaces
	MaxAge       time.Duration // zero: not sent; negative: max_age=0, log in anew. The ID token's auth_time is checked against it
	ACRValues    []string      // acr_values; the ID token's acr must be one of them (unless ACRVoluntary)
	ACRVoluntary bool          // a wish only: acr is not checked
	LoginHint    string
	IDTokenHint  string // raw ID token
	UILocales    []string
	Claims       json.RawMessage // the claims parameter, a JSON object (Core 5.5)
	Resource     []string        // RFC 8707
	Scopes       []string        // in addition to Config.Scopes
	Extra        url.Values      // further parameters (access_type, audience, ...); a parameter the protocol owns is an error
}

// Login is one attempt to log in: where to send the browser, and what to remember until it returns.
// It marshals to JSON WITH its secrets, for sealing; printed, it redacts them.
type Login struct {
	URL         string        `json:"-"`
	State       string        `json:"s"`
	Nonce       string        `json:"n"`
	Verifier    pkce.Verifier `json:"v,omitempty"`
	Issuer      string        `json:"i"`
	ClientID    string        `json:"c"`
	RedirectURL string        `json:"r"`
	Scopes      []string      `json:"sc,omitempty"`
	MaxAge      *int64        `json:"m,omitempty"` // seconds as sent
	ACRValues   []string      `json:"a,omitempty"` // demanded
	StartedAt   time.Time     `json:"t"`
}

// Begin prepares a login: fresh state, nonce and PKCE verifier. Errors: discovery.ErrUnavailable when the metadata can't be had.
func (c *Client) Begin(ctx context.Context, p AuthParams) (*Login, error) { panic("todo") }

