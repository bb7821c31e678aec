package rp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

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
func (c *Client) tokenContext(ctx context.Context, md *discovery.Metadata) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
	stack := &tokenAnswers{base: c.authenticated("token", md), secret: c.cfg.ClientSecret}
	// No Timeout here: a client whose own time is up rewrites the error, and with it the chain that says what happened.
	return context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: stack, CheckRedirect: stay}), cancel
}

// stay keeps a client where it was sent: followed, a 307 re-sends code, verifier and secret to a stranger.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// authenticated is the stack without the reader of token answers. endpoint names it in errors.
func (c *Client) authenticated(endpoint string, md *discovery.Metadata) http.RoundTripper {
	return &clientauth.Transport{
		Method:   c.auth(md),
		Issuer:   c.cfg.Issuer,
		ClientID: c.cfg.ClientID,
		Base:     &limit{client: c.http, endpoint: endpoint},
	}
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
	resp, err := c.authenticated(endpoint, md).RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body) // in memory and bounded already
	if err != nil {
		return nil, err
	}
	answer := &fetch.Response{Status: resp.StatusCode, Header: resp.Header, Body: body}
	if answer.Status < 200 || answer.Status > 299 {
		return nil, providerError(endpoint, answer, append(secretsOf(form), c.cfg.ClientSecret)...)
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
			p.Status = e.Response.StatusCode
		}
		return p
	}
	// *url.Error prints the URL, query included.
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	return fmt.Errorf("rp: token request: %w", err)
}
