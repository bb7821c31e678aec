package rp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/latchkey-go/latchkey/internal/fetch"
	"golang.org/x/oauth2"
)

// ContextTokenSource is an oauth2.TokenSource whose wait ends with a context: *TokenSource and *CredentialsSource are. One that has a method Invalidate(accessToken string) hears of
// tokens that a resource server refuses.
type ContextTokenSource interface {
	TokenContext(ctx context.Context) (*oauth2.Token, error)
}

// Transport is an http.RoundTripper that sends requests with an access token (RFC 6750 section 2.1), for calls to APIs:
//
//	api := &http.Client{Transport: &rp.Transport{Source: client.TokenSource(ctx, tokens, "tenant-42")}}
//
// A request that is answered by 401 is sent once more with a new token, if the answer does not say that something else than the token is wrong (a Bearer challenge with an error other
// than invalid_token), if the source knows Invalidate and brings another token, and if the body can be sent again (there is none, or http.Request.GetBody makes it anew).
//
// The token goes to where the request was first sent, and to no other origin that it is redirected to. http.Client follows redirects through its transport, where every request looks
// like a first one to x/oauth2's Transport. It goes over https, and over http to a loopback host.
//
// It is safe for concurrent use.
type Transport struct {
	// Source brings the tokens. Its errors come out of http.Client.Do, for errors.Is. Required.
	Source ContextTokenSource
	// Base sends the requests; nil: http.DefaultTransport.
	Base http.RoundTripper
	// InsecureHTTP sends tokens over plain http to any host.
	InsecureHTTP bool
}

// maxDrained is how much of an answer is read so that its connection can be used again, in bytes.
const maxDrained = 64 << 10

// RoundTrip implements http.RoundTripper. It leaves req as it is.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	base := t.Base
	if base == nil {
		base = http.DefaultTransport
	}
	if !sameOrigin(first(req), req) {
		if req.Header.Get("Authorization") == "" {
			return base.RoundTrip(req)
		}
		stripped := req.Clone(req.Context())
		stripped.Header.Del("Authorization")
		return base.RoundTrip(stripped)
	}
	if err := t.allowed(req); err != nil {
		closeBody(req)
		return nil, err
	}
	token, err := t.Source.TokenContext(req.Context())
	if err != nil {
		closeBody(req)
		return nil, err
	}
	resp, err := base.RoundTrip(authorized(req, token))
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !aboutTheToken(resp.Header) {
		return resp, err
	}
	source, ok := t.Source.(interface{ Invalidate(accessToken string) })
	if !ok {
		return resp, nil
	}
	source.Invalidate(token.AccessToken)
	again, ok := replay(req)
	if !ok {
		return resp, nil
	}
	fresh, err := t.Source.TokenContext(req.Context())
	if err != nil || fresh.AccessToken == token.AccessToken {
		closeBody(again)
		return resp, nil // the answer says more than this error
	}
	_, _ = io.CopyN(io.Discard, resp.Body, maxDrained)
	resp.Body.Close()
	return base.RoundTrip(authorized(again, fresh))
}

// allowed refuses to send a token where others can read it.
func (t *Transport) allowed(req *http.Request) error {
	if t.Source == nil {
		return errors.New("rp: Transport.Source is missing")
	}
	if t.InsecureHTTP && req.URL.Scheme == "http" {
		return nil
	}
	if err := fetch.CheckURL(req.URL.Scheme+"://"+req.URL.Host, true); err != nil {
		return fmt.Errorf("rp: no token is sent to %s://%s: %w", req.URL.Scheme, req.URL.Host, err)
	}
	return nil
}

// first is the request that the redirects before req began with.
func first(req *http.Request) *http.Request {
	for req.Response != nil && req.Response.Request != nil {
		req = req.Response.Request
	}
	return req
}

func sameOrigin(a, b *http.Request) bool {
	return a == b || a.URL.Scheme == b.URL.Scheme && strings.EqualFold(a.URL.Hostname(), b.URL.Hostname()) && portOf(a) == portOf(b)
}

func portOf(r *http.Request) string {
	if port := r.URL.Port(); port != "" {
		return port
	}
	if r.URL.Scheme == "https" {
		return "443"
	}
	return "80"
}

func authorized(req *http.Request, token *oauth2.Token) *http.Request {
	out := req.Clone(req.Context())
	if out.Header == nil {
		out.Header = http.Header{}
	}
	token.SetAuthHeader(out)
	return out
}

// aboutTheToken reports whether a 401 may be the token's fault: no challenge says, or a Bearer challenge has no error or invalid_token (RFC 6750 section 3.1).
func aboutTheToken(h http.Header) bool {
	for _, challenge := range h.Values("WWW-Authenticate") {
		lower := strings.ToLower(challenge)
		if strings.Contains(lower, "error=") && !strings.Contains(lower, "invalid_token") {
			return false
		}
	}
	return true
}

// replay is req once more. false: its body is spent.
func replay(req *http.Request) (*http.Request, bool) {
	out := req.Clone(req.Context())
	switch {
	case req.Body == nil || req.Body == http.NoBody:
	case req.GetBody == nil:
		return nil, false
	default:
		body, err := req.GetBody()
		if err != nil {
			return nil, false
		}
		out.Body = body
	}
	return out, true
}

// closeBody is what a RoundTripper owes, errors included.
func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}
