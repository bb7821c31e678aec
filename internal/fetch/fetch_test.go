package fetch_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/internal/fetch"
)

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

const limit = 1 << 20

func TestRedirectsAreNotFollowed(t *testing.T) {
	var stranger atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stranger.Add(1) }))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		server := httptest.NewServer(http.RedirectHandler(other.URL, status))
		resp, err := fetch.Get(t.Context(), fetch.Client(nil, time.Second), server.URL, "", limit)
		if err != nil || resp.Status != status {
			t.Errorf("%d: %+v, %v", status, resp, err)
		}
		server.Close()
	}
	if n := stranger.Load(); n != 0 {
		t.Errorf("the stranger was called %d times", n)
	}
}

func TestClientKeepsNoCookiesAndChangesNothingOfItsBase(t *testing.T) {
	jar, _ := cookiejar.New(nil)
	base := &http.Client{Jar: jar, Timeout: time.Minute}
	c := fetch.Client(base, 3*time.Second)
	if c.Jar != nil || c.Timeout != 3*time.Second || base.Jar == nil || base.Timeout != time.Minute || base.CheckRedirect != nil {
		t.Errorf("client %+v of base %+v", c, base)
	}
	for _, c := range []struct{ base, given, want time.Duration }{
		{0, 3 * time.Second, 3 * time.Second},
		{time.Second, 3 * time.Second, time.Second},
		{time.Second, 0, time.Second},
		{0, 0, fetch.DefaultTimeout},
	} {
		if got := fetch.Client(&http.Client{Timeout: c.base}, c.given).Timeout; got != c.want {
			t.Errorf("time-out %s of base %s and %s, want %s", got, c.base, c.given, c.want)
		}
	}
}

func TestDoReadsUpToItsLimitAndNoFurther(t *testing.T) {
	body := func(n int, length int64) *http.Client {
		return &http.Client{Transport: tripper(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(strings.Repeat("x", n))), ContentLength: length, Request: r}, nil
		})}
	}
	if resp, err := fetch.Get(t.Context(), body(100, -1), "https://op.example/", "", 100); err != nil || len(resp.Body) != 100 {
		t.Errorf("exactly the limit: %v", err)
	}
	for name, c := range map[string]*http.Client{"unannounced": body(101, -1), "announced": body(0, 101)} {
		_, err := fetch.Get(t.Context(), c, "https://op.example/x?secret", "", 100)
		tooLarge, ok := errors.AsType[*fetch.TooLargeError](err)
		if !ok || tooLarge.Limit != 100 || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want a TooLargeError of 100", name, err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestEndlessAnswersCostNoMemory(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	if _, err := io.CopyN(z, zeros{}, 50<<20); err != nil {
		t.Fatal(err)
	}
	z.Close()
	for name, handler := range map[string]http.HandlerFunc{
		"endless chunks": func(w http.ResponseWriter, _ *http.Request) { io.Copy(w, zeros{}) },
		"one gigabyte announced": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(1<<30))
			io.CopyN(w, zeros{}, 1<<30)
		},
		"gzip bomb": func(w http.ResponseWriter, r *http.Request) {
			if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
				t.Error("gzip was not asked for: the test proves nothing")
			}
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(bomb.Bytes())
		},
		"a megabyte of header": func(w http.ResponseWriter, _ *http.Request) {
			for i := range 16 {
				w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("x", 64<<10))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(handler)
			defer server.Close()
			c := fetch.Client(server.Client(), 30*time.Second)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := fetch.Get(t.Context(), c, server.URL, "", limit)
			runtime.ReadMemStats(&after)
			if _, ok := errors.AsType[*fetch.TooLargeError](err); !ok {
				t.Errorf("error %v, want a TooLargeError", err)
			}
			// All that was ever allocated, in the server of this process too: far more than the heap's peak, far less than the body.
			if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
				t.Errorf("%d bytes were allocated", used)
			}
		})
	}
}

func TestErrorsNameTheURLWithoutItsSecrets(t *testing.T) {
	down := &http.Client{Transport: tripper(func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF })}
	broken := &http.Client{Transport: tripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, ContentLength: -1, Request: r,
			Body: io.NopCloser(io.MultiReader(strings.NewReader("hush"), &failing{}))}, nil
	})}
	for name, c := range map[string]*http.Client{"no answer": down, "broken off": broken} {
		_, err := fetch.Get(t.Context(), c, "https://me:hush@op.example/a%2Fb?code=hush#hush", "", limit)
		e, ok := errors.AsType[*fetch.Error](err)
		if !ok || e.URL != "https://op.example/a%2Fb" || !errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := fetch.Get(t.Context(), down, "https://hush\x00", "", limit); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("a broken URL: %v", err)
	}
	if got := fetch.Name(nil); got != "" {
		t.Errorf("no URL is named %q", got)
	}
}

type failing struct{}

func (*failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestCallsEnd(t *testing.T) {
	stuck := tripper(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := fetch.Get(t.Context(), fetch.Client(&http.Client{Transport: stuck}, 10*time.Second), "https://op.example/", "", limit)
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != 10*time.Second {
			t.Errorf("after %s: %v", took, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		_, err = fetch.Get(ctx, fetch.Client(&http.Client{Transport: stuck}, 10*time.Second), "https://op.example/", "", limit)
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != time.Second {
			t.Errorf("after %s: %v", took, err)
		}
	})
}

func TestGetSaysWhatItAccepts(t *testing.T) {
	c := &http.Client{Transport: tripper(func(r *http.Request) (*http.Response, error) {
		if r.Method != "GET" || r.Header.Get("Accept") != "application/json" {
			t.Errorf("%s with Accept %q", r.Method, r.Header.Get("Accept"))
		}
		return &http.Response{StatusCode: 404, Body: http.NoBody, Request: r}, nil
	})}
	if resp, err := fetch.Get(t.Context(), c, "https://op.example/", "application/json", limit); err != nil || resp.Status != 404 {
		t.Error(resp, err)
	}
}

func TestCheckURLRefusesWhatNoEndpointIs(t *testing.T) {
	for _, c := range []struct{ name, good, bad, reason string }{
		{"http", "https://op.example/", "http://op.example/", "not https"},
		{"scheme in capitals", "HTTPS://op.example/", "HTTP://op.example/", "not https"},
		{"another scheme", "https://op.example", "gopher://op.example", "not https"},
		{"a file", "https://op.example", "file:///etc/passwd", "no host"},
		{"no scheme", "https://op.example", "//op.example", "not an absolute URL"},
		{"a path", "https://op.example", "/keys", "not an absolute URL"},
		{"empty", "https://op.example", "", "empty"},
		{"no host", "https://op.example", "https:///keys", "no host"},
		{"a port alone", "https://op.example:443", "https://:443", "no host"},
		{"opaque", "https://op.example", "https:op.example", "no host"},
		{"port zero", "https://op.example:1", "https://op.example:0", "port"},
		{"port too large", "https://op.example:65535", "https://op.example:65536", "port"},
		{"user info", "https://op.example", "https://hush@op.example", "user info"},
		{"password", "https://op.example", "https://u:hush@op.example", "user info"},
		{"fragment", "https://op.example/?a=b", "https://op.example/?a=b#c", "fragment"},
		{"empty fragment", "https://op.example/", "https://op.example/#", "fragment"},
		{"blank", "https://op.example/a%20b", "https://op.example/a b", "character"},
		{"backslash", "https://op.example/a/b", `https://op.example/a\b`, "character"},
		{"control character", "https://op.example/a", "https://op.example/\n", "not a URL"},
		{"broken host", "https://op.example", "https://op.exa mple", "not a URL"},
		{"cloud metadata", "https://169.253.169.254/", "https://169.254.169.254/", "address no provider has"},
		{"cloud metadata in IPv6 dress", "https://[::ffff:10.0.0.1]/", "https://[::ffff:169.254.169.254]/", "address no provider has"},
		{"link-local IPv6", "https://[fd00::1]/", "https://[fe80::1]/", "address no provider has"},
		{"unspecified", "https://10.0.0.1/", "https://0.0.0.0/", "address no provider has"},
		{"multicast", "https://223.0.0.1/", "https://224.0.0.1/", "address no provider has"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := fetch.CheckURL(c.good, false); err != nil {
				t.Errorf("the neighbour that should pass: %v", err)
			}
			for _, loopback := range []bool{false, true} {
				err := fetch.CheckURL(c.bad, loopback)
				if err == nil || !strings.Contains(err.Error(), c.reason) || strings.Contains(err.Error(), "hush") {
					t.Errorf("error %v, want one with %q", err, c.reason)
				}
			}
		})
	}
}

func TestCheckURLAcceptsHTTPForLoopbackWhenAsked(t *testing.T) {
	for _, u := range []string{"http://localhost:8080/x", "http://LOCALHOST", "http://127.0.0.1", "http://127.8.9.10:1", "http://[::1]:9"} {
		if err := fetch.CheckURL(u, true); err != nil {
			t.Error(err)
		}
		if err := fetch.CheckURL(u, false); err == nil || !strings.Contains(err.Error(), "for development") {
			t.Errorf("%s unasked: %v", u, err)
		}
	}
	for _, u := range []string{"http://localhost.example", "http://127.0.0.1.example", "http://10.0.0.1", "http://[::2]", "ftp://localhost", "http://localhost.", "http://127.1"} {
		if err := fetch.CheckURL(u, true); err == nil {
			t.Errorf("%s is accepted", u)
		}
	}
}
