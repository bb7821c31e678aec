// Package clientauth is how a client proves who it is at the endpoints that ask (OpenID Connect Core section 9, RFC 6749 section 2.3).
package clientauth

import (
	"context"
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

// Request is what a Method works on.
type Request struct {
	Issuer   string // the provider's issuer, the audience of an assertion (RFC 7523bis)
	Endpoint string // the URL of the request
	ClientID string
	Form     url.Values // sent as application/x-www-form-urlencoded
	Header   http.Header
}

// Basic is client_secret_basic: id and secret are form-urlencoded first, as RFC 6749 section 2.3.1 says.
func Basic(secret string) Method { panic("todo") }

// Post is client_secret_post.
func Post(secret string) Method { panic("todo") }

// None is for public clients: client_id alone.
func None() Method { panic("todo") }
