package interop_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/interop/visitor"
	"github.com/latchkey-go/latchkey/internal/interop/zitadel"
	"github.com/latchkey-go/latchkey/rp"
)

// damage changes what came from the wire.
type damage func(*http.Response, error) (*http.Response, error)

// brokenWire damages the answers to calls whose path ends with at.
type brokenWire struct {
	at    string
	spoil damage
	calls atomic.Int64
}

func (b *brokenWire) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := http.DefaultTransport.RoundTrip(req)
	if !strings.HasSuffix(req.URL.Path, b.at) {
		return res, err
	}
	b.calls.Add(1)
	return b.spoil(res, err)
}

// replaced answers with body in place of what came.
func replaced(status int, contentType string, body io.Reader) damage {
	return func(res *http.Response, err error) (*http.Response, error) {
		if err != nil {
			return nil, err
		}
		res.Body.Close()
		res.StatusCode, res.Status = status, http.StatusText(status)
		res.Header = http.Header{"Content-Type": {contentType}}
		res.ContentLength = -1
		res.Body = io.NopCloser(body)
		return res, nil
	}
}

// endless is a body without end.
type endless struct{ read *atomic.Int64 }

func (e endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	e.read.Add(int64(len(p)))
	return len(p), nil
}

// TestAnswersDamagedOnTheWireAreErrorsWhichNeverLeaveTheProvider puts each damage on each call of a login at a real provider.
func TestAnswersDamagedOnTheWireAreErrorsWhichNeverLeaveTheProvider(t *testing.T) {
	p := zitadel.Start(t)
	p.Register(zitadel.Client{ID: "wire", Secret: "0123456789abcdef", AuthMethod: "client_secret_basic", RedirectURI: "http://127.0.0.1/callback"})
	var stranger atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stranger.Add(1) }))
	t.Cleanup(elsewhere.Close)

	finish := func(t *testing.T, wire http.RoundTripper) error {
		t.Helper()
		client, err := rp.New(rp.Config{
			Issuer: p.Issuer(), ClientID: "wire", ClientSecret: "0123456789abcdef", RedirectURL: "http://127.0.0.1/callback",
			InsecureLoopbackHTTP: true, HTTPClient: &http.Client{Transport: wire}, Timeout: 3 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		started, err := client.Begin(t.Context(), rp.AuthParams{})
		if err != nil {
			return err
		}
		v := visitor.New(t, nil)
		var answer url.Values
		v.Halt = func(next *url.URL) bool {
			answer = next.Query()
			return strings.HasPrefix(next.String(), client.RedirectURL())
		}
		p.SignIn(t, v.Open(started.URL))
		_, err = client.Finish(t.Context(), started, answer)
		return err
	}
	if err := finish(t, http.DefaultTransport); err != nil {
		t.Fatal(err)
	}

	var swallowed atomic.Int64
	damages := map[string]func() damage{
		"page with status 200": func() damage {
			return replaced(200, "text/html", strings.NewReader("<!doctype html><title>Portal</title>"))
		},
		"nothing":                  func() damage { return replaced(200, "application/json", strings.NewReader("")) },
		"truncated object":         func() damage { return replaced(200, "application/json", strings.NewReader(`{"issuer":"`)) },
		"object and more":          func() damage { return replaced(200, "application/json", strings.NewReader(`{"keys":[]}{"keys":[]}`)) },
		"prefix against hijacking": func() damage { return replaced(200, "application/json", strings.NewReader(")]}'\n{}")) },
		"nesting without end": func() damage {
			return replaced(200, "application/json", strings.NewReader(strings.Repeat(`{"a":`, 100_000)))
		},
		"body without end": func() damage { return replaced(200, "application/json", endless{&swallowed}) },
		"status 500":       func() damage { return replaced(500, "text/plain", strings.NewReader("oops")) },
		"status 503":       func() damage { return replaced(503, "text/plain", strings.NewReader("later")) },
		"status 429":       func() damage { return replaced(429, "text/plain", strings.NewReader("slow down")) },
		"status 204":       func() damage { return replaced(204, "", bytes.NewReader(nil)) },
		"reset connection": func() damage {
			return func(res *http.Response, err error) (*http.Response, error) {
				if err == nil {
					res.Body.Close()
				}
				return nil, errors.New("connection reset by peer")
			}
		},
		"connection cut in the body": func() damage {
			return replaced(200, "application/json", io.MultiReader(strings.NewReader(`{"access_token":"x","keys":[`), cut{}))
		},
	}
	for _, status := range []int{301, 302, 303, 307, 308} {
		damages["redirect "+http.StatusText(status)] = func() damage {
			return func(res *http.Response, err error) (*http.Response, error) {
				res, err = replaced(status, "text/html", strings.NewReader("moved"))(res, err)
				if err == nil {
					res.Header.Set("Location", elsewhere.URL+"/collect")
				}
				return res, err
			}
		}
	}
	for _, at := range []string{"/.well-known/openid-configuration", "/keys", "/oauth/token"} {
		for name, spoil := range damages {
			t.Run(strings.TrimPrefix(at, "/")+" "+name, func(t *testing.T) {
				wire := &brokenWire{at: at, spoil: spoil()}
				begun := time.Now()
				err := finish(t, wire)
				if err == nil {
					t.Fatal("the login went on")
				}
				if wire.calls.Load() == 0 {
					t.Fatal("the damaged call was never made, and the test shows nothing")
				}
				if at == "/oauth/token" && wire.calls.Load() != 1 {
					t.Errorf("the code was sent %d times", wire.calls.Load())
				}
				if time.Since(begun) > 10*time.Second {
					t.Errorf("it took %v", time.Since(begun))
				}
				var refused *rp.ProviderError
				var bad *rp.TokenError
				if !errors.Is(err, rp.ErrUnavailable) && !errors.As(err, &refused) && !errors.As(err, &bad) {
					t.Errorf("an error that no caller can tell apart: %T %v", err, err)
				}
				if len(err.Error()) > 1000 {
					t.Errorf("an error of %d bytes: %.200s", len(err.Error()), err)
				}
			})
		}
	}
	if stranger.Load() != 0 {
		t.Errorf("a redirect was followed to a stranger %d times", stranger.Load())
	}
	if got := swallowed.Load(); got > 64<<20 {
		t.Errorf("%d bytes were read of bodies without end", got)
	}
}

// cut is a connection that ends too early.
type cut struct{}

func (cut) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
