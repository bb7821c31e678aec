// Package fetch makes outbound HTTP calls that end: every answer has a size limit and a time limit, and no redirect is followed.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Client returns a copy of base (nil: a client over http.DefaultTransport) that follows no redirect,
// keeps no cookies, and gives up after timeout at the latest.
func Client(base *http.Client, timeout time.Duration) *http.Client {
	c := http.Client{}
	if base != nil {
		c = *base
	}
	c.Jar = nil
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
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

// TooLargeError says that an answer was longer than Limit bytes.
type TooLargeError struct {
	URL   string
	Limit int64
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the answer of %s is longer than %d bytes", e.URL, e.Limit)
}

// Do sends req and reads at most limit bytes of body, counted after decompression; a longer body is a *TooLargeError, never cut silently.
// Errors name the URL without its query, and keep the cause for errors.Is and errors.As.
func Do(c *http.Client, req *http.Request, limit int64) (*Response, error) {
	where := Bare(req.URL)
	resp, err := c.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", req.Method, where, cause(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s %s: reading the answer: %w", req.Method, where, cause(err))
	}
	if int64(len(body)) > limit {
		return nil, &TooLargeError{URL: where, Limit: limit}
	}
	return &Response{Status: resp.StatusCode, Header: resp.Header, Body: body}, nil
}

// cause drops *url.Error, whose text repeats the URL with its query.
func cause(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		if wrapped.Timeout() && wrapped.Err == nil {
			return context.DeadlineExceeded
		}
		return wrapped.Err
	}
	return err
}

// Get is Do for a GET with an Accept header.
func Get(ctx context.Context, c *http.Client, rawURL, accept string, limit int64) (*Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, rawURL, nil)
	if err != nil {
		return nil, cause(err)
	}
	req.Header.Set("Accept", accept)
	return Do(c, req, limit)
}

// Bare is u without user info, query and fragment: what errors and logs may show.
func Bare(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

// CheckURL reports why raw is no acceptable endpoint: it must be absolute and https, with a host, without user info or fragment.
// http is accepted for loopback hosts when loopbackHTTP is set.
func CheckURL(raw string, loopbackHTTP bool) error {
	u, err := url.Parse(raw)
	if err != nil {
		return errors.New("is no URL")
	}
	switch {
	case u.Host == "" || u.Hostname() == "":
		return errors.New("is no absolute URL with a host")
	case u.User != nil:
		return errors.New("must not hold user info")
	case u.Fragment != "" || strings.HasSuffix(raw, "#"):
		return errors.New("must not have a fragment")
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http":
		return fmt.Errorf("has scheme %q; https is needed", u.Scheme)
	case !Loopback(u.Hostname()):
		return errors.New("is http; https is needed for every host but loopback ones")
	case !loopbackHTTP:
		return errors.New("is http; https is needed unless loopback http is allowed by InsecureLoopbackHTTP")
	}
	return nil
}

// Loopback reports whether host names this machine only: localhost, 127.0.0.0/8 or ::1.
func Loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.IsLoopback() && net.ParseIP(host) != nil
}
