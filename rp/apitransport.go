package rp

import (
	"context"
	"errors"
	"fmt"
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
// A request that is answered by 401 is sent once more with a new token, if its WWW-Authenticate has a Bearer or DPoP challenge with the error
// invalid_token, or with none and no other error beside it, or is missing; if the source knows Invalidate and brings another token, and if the body can be sent again (there is none, or http.Request.GetBody makes it anew).
//
// The token goes to where the request was first sent, and to no other origin that it is redirected to, nor to the first one again from there. http.Client follows redirects through its transport, where every request looks
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

// RoundTrip implements http.RoundTripper. It leaves req as it is.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.roundTrip(req)
	if resp != nil {
		resp.Request = req // the way back to where redirects began, which not every Base sets; and it holds no token
	}
	return resp, err
}

func (t *Transport) roundTrip(req *http.Request) (*http.Response, error) {
	if req.URL == nil {
		closeBody(req)
		return nil, errors.New("rp: a request without a URL")
	}
	base := t.Base
	if base == nil {
		base = http.DefaultTransport
	}
	if !atHome(req) {
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
	if token == nil || token.AccessToken == "" {
		closeBody(req)
		return nil, errors.New("rp: Transport.Source brought no access token")
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
	if err != nil || fresh == nil || fresh.AccessToken == "" || fresh.AccessToken == token.AccessToken {
		closeBody(again)
		return resp, nil // the answer says more than this error
	}
	resp.Body.Close() // unread: a server that never ends its answer would keep us here
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

// atHome reports whether req, and each request that was redirected to it, go to one origin. A stranger who sends it back has chosen what is asked for there: that gets no token, as net/http
// gives back no header it has taken away.
func atHome(req *http.Request) bool {
	for at := req; at.Response != nil; at = at.Response.Request {
		if at.Response.Request == nil || at.Response.Request.URL == nil || !sameOrigin(at.Response.Request, req) {
			return false
		}
	}
	return true
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

// aboutTheToken reports whether a 401 may be the token's fault: a Bearer or DPoP challenge says invalid_token (RFC 6750 section 3.1, RFC 9449 section 7.1), or has no error where
// none has another, or there is no challenge at all; many servers leave out the one or the other. A server that challenges for other schemes alone wants no token.
func aboutTheToken(h http.Header) bool {
	maybe := strings.Join(h.Values("WWW-Authenticate"), "") == "" // an empty header is none
	other := false
	for _, c := range challenges(h) {
		if c.scheme != "bearer" && c.scheme != "dpop" {
			continue
		}
		switch code, ok := c.params["error"]; {
		case code == "invalid_token":
			return true
		case ok:
			other = true
		default:
			maybe = true
		}
	}
	return maybe && !other
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
