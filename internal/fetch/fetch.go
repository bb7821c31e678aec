// Package fetch makes outbound HTTP calls that end: every answer has a size limit and a time limit, and no redirect is followed.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// DefaultTimeout is used where no time-out is given.
const DefaultTimeout = 10 * time.Second

// maxHeader is how many bytes of header an answer may have. A transport has its own, larger bound (MaxResponseHeaderBytes).
const maxHeader = 256 << 10

// Client returns a copy of base (nil: a client over http.DefaultTransport) that follows no redirect (http.ErrUseLastResponse),
// keeps no cookies, and has a Timeout of at most timeout (zero or less: DefaultTimeout).
func Client(base *http.Client, timeout time.Duration) *http.Client {
	var c http.Client
	if base != nil {
		c = *base
	}
	c.Jar = nil
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	if c.Timeout <= 0 || c.Timeout > timeout {
		c.Timeout = timeout
	}
	return &c
}

// Response is an answer read to its end.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Do sends req and reads at most limit bytes of body, counted after decompression; a longer body is a *TooLargeError, never cut silently.
// Every error is a *Error: it names the URL without its query and quotes nothing of the body.
func Do(c *http.Client, req *http.Request, limit int64) (*Response, error) {
	fail := func(err error) (*Response, error) {
		return nil, &Error{Method: req.Method, URL: Name(req.URL), Err: err}
	}
	resp, err := c.Do(req)
	if err != nil {
		return fail(cause(err))
	}
	defer resp.Body.Close()
	if resp.ContentLength > limit || headerSize(resp.Header) > maxHeader {
		return fail(&TooLargeError{URL: Name(req.URL), Limit: limit})
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return fail(fmt.Errorf("reading the answer: %w", err))
	}
	if int64(len(body)) > limit {
		return fail(&TooLargeError{URL: Name(req.URL), Limit: limit})
	}
	return &Response{Status: resp.StatusCode, Header: resp.Header, Body: body}, nil
}

// cause drops *url.Error: it prints the whole URL, and a query may hold a secret.
func cause(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

func headerSize(h http.Header) (n int) {
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(v)
		}
	}
	return n
}

// Get is Do for a GET with an Accept header.
func Get(ctx context.Context, c *http.Client, target, accept string, limit int64) (*Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, &Error{Method: http.MethodGet, URL: "(not a URL)", Err: cause(err)}
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	return Do(c, req, limit)
}

// Error is why no answer was had.
type Error struct {
	Method string
	URL    string // without query, user info and fragment
	Err    error
}

func (e *Error) Error() string { return e.Method + " " + e.URL + ": " + e.Err.Error() }

// Unwrap returns the cause, such as a *TooLargeError, a context error or a TLS error.
func (e *Error) Unwrap() error { return e.Err }

// TooLargeError: the answer was longer than Limit bytes, or its header longer than any honest one.
type TooLargeError struct {
	URL   string
	Limit int64
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the answer of %s is too large (limit %d bytes)", e.URL, e.Limit)
}

// Name returns u as errors and logs may show it: without query, user info and fragment.
func Name(u *url.URL) string {
	if u == nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath, Opaque: u.Opaque}).String()
}
