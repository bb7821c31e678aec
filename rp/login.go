package rp

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/latchkey-go/latchkey/pkce"
)

// Login is one attempt to log in: where to send the browser, and what to remember until it returns.
// It marshals to JSON WITH its secrets, for sealing; printed, it redacts them, with the exception that Tokens tells of.
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

// String names the login and shows none of its secrets.
func (l Login) String() string {
	return fmt.Sprintf("rp.Login{Issuer: %q, ClientID: %q, StartedAt: %s}", l.Issuer, l.ClientID, l.StartedAt.Format(time.RFC3339))
}

// Format prints String for every verb.
func (l Login) Format(f fmt.State, _ rune) { io.WriteString(f, l.String()) }

// LogValue is String.
func (l Login) LogValue() slog.Value { return slog.StringValue(l.String()) }

// String names the parameters without the ID token hint and without who is hinted at.
func (p AuthParams) String() string {
	return fmt.Sprintf("rp.AuthParams{Prompt: %q, MaxAge: %v, ACRValues: %q}", p.Prompt, p.MaxAge, p.ACRValues)
}

// Format prints String for every verb.
func (p AuthParams) Format(f fmt.State, _ rune) { io.WriteString(f, p.String()) }

// LogValue is String.
func (p AuthParams) LogValue() slog.Value { return slog.StringValue(p.String()) }
