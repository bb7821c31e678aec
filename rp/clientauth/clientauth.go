// Package clientauth is how a client proves who it is at the endpoints that ask (OpenID Connect Core section 9, RFC 6749 section 2.3).
//
// A Method is chosen once, in rp.Config.Auth; Transport applies it to each request of the back channel:
//
//	client, err := rp.New(rp.Config{..., Auth: clientauth.Post(secret)})
package clientauth

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
)

// Method authenticates one request. A Method is called anew for each attempt, a retry included, so that an assertion is never sent twice.
// Implementations are safe for concurrent use. Private-key JWT, client_secret_jwt and mutual TLS fit this interface too
// (mutual TLS implements Transporter as well).
type Method interface {
	// Name is the registered token_endpoint_auth_method value, such as "client_secret_basic".
	Name() string
	// Authenticate adds the proof to the request's header or form.
	Authenticate(ctx context.Context, r *Request) error
}

// Transporter is implemented by methods which need a transport of their own, as mutual TLS does.
type Transporter interface {
	Transport(base http.RoundTripper) http.RoundTripper
}

// Request is what a Method works on. Printed, it shows neither form nor header.
type Request struct {
	Issuer   string // the provider's issuer, the audience of an assertion (RFC 7523bis)
	Endpoint string // the URL of the request
	ClientID string
	Form     url.Values // sent as application/x-www-form-urlencoded
	Header   http.Header
}

// String names the request without its form and header, which hold codes, tokens and proofs.
func (r Request) String() string {
	return fmt.Sprintf("clientauth.Request{ClientID: %q, Endpoint: %q}", r.ClientID, withoutQuery(r.Endpoint))
}

// Format prints String for every verb.
func (r Request) Format(f fmt.State, _ rune) { io.WriteString(f, r.String()) }

// LogValue is String.
func (r Request) LogValue() slog.Value { return slog.StringValue(r.String()) }

func withoutQuery(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "[no URL]"
	}
	u.RawQuery, u.Fragment, u.User = "", "", nil
	return u.String()
}
