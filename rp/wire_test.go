package rp_test

import (
	"compress/gzip"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-go/latchkey/rp"
)

// wired is a client whose token requests go over a real loopback connection, with TLS, to handler.
func wired(t *testing.T, p *op, trusted bool, handler http.HandlerFunc) *rp.Client {
	t.Helper()
	srv := httptest.NewUnstartedServer(handler)
	srv.Config.ErrorLog = nil
	srv.StartTLS()
	t.Cleanup(srv.Close)
	wire := http.DefaultTransport.(*http.Transport).Clone()
	if trusted {
		wire = srv.Client().Transport.(*http.Transport)
	}
	t.Cleanup(wire.CloseIdleConnections)
	p.metadata["token_endpoint"] = srv.URL + "/token"
	return p.client(t, func(c *rp.Config) {
		c.HTTPClient = &http.Client{Transport: tripper(func(r *http.Request) (*http.Response, error) {
			if r.URL.Path == "/token" || r.URL.Host != "op.example" {
				return wire.RoundTrip(r)
			}
			return p.RoundTrip(r)
		})}
	})
}

func TestAGzipBombAtTheTokenEndpointEndsAtTheLimit(t *testing.T) {
	p := newOP()
	c := wired(t, p, true, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		blank := []byte(strings.Repeat(" ", 1<<20))
		for range 300 {
			if _, err := z.Write(blank); err != nil {
				return
			}
		}
		z.Close()
	})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := p.login(t, c, rp.AuthParams{})
	runtime.ReadMemStats(&after)
	if e, ok := errors.AsType[*rp.ProviderError](err); !ok || e.Endpoint != "token" {
		t.Errorf("error is %v", err)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 16<<20 {
		t.Errorf("%d MiB were allocated", grown>>20)
	}
}

func TestAnUntrustedCertificateIsUnavailableAndSaysSo(t *testing.T) {
	p, hits := newOP(), 0
	c := wired(t, p, false, func(http.ResponseWriter, *http.Request) { hits++ })
	_, err := p.login(t, c, rp.AuthParams{})
	if !errors.Is(err, rp.ErrUnavailable) || !strings.Contains(err.Error(), "certificate") || hits != 0 {
		t.Errorf("error is %v after %d requests", err, hits)
	}
}

func TestARealRedirectCarriesNothingAway(t *testing.T) {
	p, stranger := newOP(), 0
	var where string
	other := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stranger++ }))
	defer other.Close()
	c := wired(t, p, true, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, map[string]int{"307": 307, "308": 308, "302": 302}[where])
	})
	for _, where = range []string{"302", "307", "308"} {
		_, err := p.login(t, c, rp.AuthParams{})
		if e, ok := errors.AsType[*rp.ProviderError](err); !ok || e.Status < 300 || e.Status > 399 || stranger != 0 {
			t.Errorf("%s: %v, and the stranger saw %d requests", where, err, stranger)
		}
	}
}

func TestAnAnswerCutOffIsUnavailable(t *testing.T) {
	p, posts := newOP(), 0
	c := wired(t, p, true, func(w http.ResponseWriter, r *http.Request) {
		posts++
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "1000")
		w.Write([]byte(`{"access_token":`))
		panic(http.ErrAbortHandler)
	})
	if _, err := p.login(t, c, rp.AuthParams{}); !errors.Is(err, rp.ErrUnavailable) || posts != 1 {
		t.Errorf("%v after %d requests", err, posts)
	}
}

func TestManyLoginsAtOnceGetTheirOwnTokens(t *testing.T) {
	p := newOP()
	p.use("EdDSA")
	c := p.client(t)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			login, err := c.Begin(context.Background(), rp.AuthParams{})
			if err != nil {
				t.Error(err)
				return
			}
			answer := p.authorize(t, login)
			tokens, err := c.Finish(context.Background(), login, answer)
			if err != nil || tokens.IDToken.Nonce != login.Nonce {
				t.Errorf("%v, %v", tokens, err)
				return
			}
			if _, err := c.Finish(context.Background(), login, url.Values{"state": {login.State}, "code": answer["code"]}); err == nil {
				t.Error("a code was good twice")
			}
		})
	}
	wg.Wait()
	if p.jwksGets > 3 {
		t.Errorf("keys were fetched %d times", p.jwksGets)
	}
}
