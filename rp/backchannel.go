package rp

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
	"github.com/latchkey-go/latchkey/internal/fetch"
	"github.com/latchkey-go/latchkey/rp/clientauth"
	"golang.org/x/oauth2"
)

// maxAnswer is the longest answer of an endpoint that is read, in bytes.
const maxAnswer = 512 << 10

// The back channel is one stack of RoundTrippers under stock x/oauth2:
//
//	tokenAnswers          reads the answer strictly and hands x/oauth2 a clean copy (tokenanswer.go)
//	clientauth.Transport  proves who we are, anew for each request
//	limit                 bounds size and time, follows no redirect
//	Config.HTTPClient
//
// Features which change the wire (DPoP) become one more layer above clientauth, so that a retry signs a fresh assertion too.

// tokenContext carries the stack to x/oauth2, and is detached from ctx's end: once a code or a refresh token is on its way its
// answer is the only copy of what it was traded for, so nobody's closed browser tab may throw it away. The time-out is our own.
// types are the token types taken besides Bearer.
func (c *Client) tokenContext(ctx context.Context, md *discovery.Metadata, types ...string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
	base, sent := c.authenticated("token", md)
	stack := &tokenAnswers{base: base, sent: sent, types: types}
	// No Timeout here: a client whose own time is up rewrites the error, and with it the chain that says what happened.
	return context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: stack, CheckRedirect: stay}), cancel
}

// stay keeps a client where it was sent: followed, a 307 re-sends code, verifier and secret to a stranger.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// authenticated is the stack without the reader of token answers, for one call: sent gathers what must not come back in an error. endpoint names it in errors.
func (c *Client) authenticated(endpoint string, md *discovery.Metadata) (stack http.RoundTripper, sent *proofs) {
	sent = &proofs{Method: c.auth(md), secrets: []string{c.cfg.ClientSecret}}
	return &clientauth.Transport{
		Method:   sent,
		Issuer:   c.cfg.Issuer,
		ClientID: c.cfg.ClientID,
		Base:     &limit{client: c.http, endpoint: endpoint},
	}, sent
}

// proofs is a method that remembers what it and the caller put into the requests of one call: whatever proves who we are, a server may quote it.
type proofs struct {
	clientauth.Method
	secrets []string
}

func (p *proofs) Authenticate(ctx context.Context, r *clientauth.Request) error {
	err := p.Method.Authenticate(ctx, r)
	p.secrets = append(p.secrets, secretsOf(r.Form)...)
	if _, proof, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok {
		p.secrets = append(p.secrets, proof)
		if pair, err := base64.StdEncoding.DecodeString(proof); err == nil {
			_, secret, _ := strings.Cut(string(pair), ":")
			p.secrets = append(p.secrets, secret)
		}
	}
	return err
}

// oauth2Config is x/oauth2's view of this client. It holds no secret, and names the style: found out by trial, a failed
// request is posted twice, which spends a code and makes a rotated refresh token look stolen.
func (c *Client) oauth2Config(md *discovery.Metadata) (*oauth2.Config, error) {
	target, err := c.endpoint("token_endpoint", md.TokenEndpoint)
	if err != nil {
		return nil, err
	}
	return &oauth2.Config{
		ClientID:    c.cfg.ClientID,
		RedirectURL: c.cfg.RedirectURL,
		Endpoint:    oauth2.Endpoint{TokenURL: target, AuthStyle: oauth2.AuthStyleInParams},
	}, nil
}

// call POSTs form to an endpoint of the provider, authenticated as this client. endpoint names it in errors ("revocation").
// Any 2xx is an answer; anything else is a *ProviderError; a provider that can't be reached is ErrUnavailable.
func (c *Client) call(ctx context.Context, endpoint, target string, form url.Values) (*fetch.Response, error) {
	md, err := c.provider.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	if err := fetch.CheckURL(target, c.cfg.InsecureLoopbackHTTP); err != nil {
		return nil, fmt.Errorf("rp: the provider's %s endpoint: %w", endpoint, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("rp: the provider's %s endpoint is no URL", endpoint)
	}
	req.Header.Set("Accept", "application/json")
	stack, sent := c.authenticated(endpoint, md)
	resp, err := stack.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body) // in memory and bounded already
	if err != nil {
		return nil, err
	}
	answer := &fetch.Response{Status: resp.StatusCode, Header: resp.Header, Body: body}
	if answer.Status < 200 || answer.Status > 299 {
		return nil, providerError(endpoint, answer, sent.secrets...)
	}
	return answer, nil
}

// limit is the lowest layer: it reads each answer whole, to a limit, and turns a failed exchange into ErrUnavailable.
type limit struct {
	client   *http.Client
	endpoint string
}

func (l *limit) RoundTrip(req *http.Request) (*http.Response, error) {
	r, err := fetch.Do(l.client, req, maxAnswer)
	if err != nil {
		if tooLarge, ok := errors.AsType[*fetch.TooLargeError](err); ok {
			return nil, &ProviderError{Endpoint: l.endpoint, Err: tooLarge}
		}
		where := *req.URL
		where.User, where.RawQuery, where.Fragment = nil, "", ""
		return nil, &discovery.UnavailableError{URL: where.String(), Err: err}
	}
	return answer(r.Status, r.Header, r.Body), nil
}

// answer makes a response of what was read. It does not point at the request, whose header and form hold credentials.
func answer(status int, header http.Header, body []byte) *http.Response {
	return &http.Response{
		Status:        fmt.Sprintf("%d %s", status, http.StatusText(status)),
		StatusCode:    status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        header,
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
	}
}

// tokenError turns what x/oauth2 made of a failed token request into an error of ours.
func tokenError(err error) error {
	if e, ok := errors.AsType[*ProviderError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*discovery.UnavailableError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		p := &ProviderError{Endpoint: "token", Code: e.ErrorCode, Description: e.ErrorDescription, URI: e.ErrorURI, Err: e}
		if e.Response != nil {
			p.Status, p.RetryAfter = e.Response.StatusCode, fetch.RetryAfter(e.Response.Header, time.Now())
		}
		return p
	}
	// *url.Error prints the URL, query included.
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	return fmt.Errorf("rp: token request: %w", err)
}
