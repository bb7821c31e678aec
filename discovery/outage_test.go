package discovery_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
)

const openid = "/.well-known/openid-configuration"

func TestNewMakesNoCall(t *testing.T) {
	p := newOP("k")
	p.provider(t).KeySet("RS256")
	if n := p.total(); n != 0 {
		t.Errorf("%d calls, want none", n)
	}
}

func TestAProviderThatIsDownAtBootIsSeenWithinFiveSecondsOfItsReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newOP("k")
		p.set(openid, down)
		provider := p.provider(t)
		keys := provider.KeySet()
		raw := sign(t, "RS256", "rsa", "k")
		start := time.Now()
		_, err := provider.Metadata(t.Context())
		e := wantUnavailable(t, err, "connection refused")
		if e.URL != issuer+openid || e.RetryAfter < time.Second {
			t.Errorf("%+v", e)
		}
		for time.Since(start) < time.Minute { // logins and tokens come all the time
			_, err := provider.Metadata(t.Context())
			if e := wantUnavailable(t, err, ""); e.RetryAfter <= 0 || e.RetryAfter > 5*time.Second {
				t.Fatalf("RetryAfter %s", e.RetryAfter)
			}
			_, err = keys.VerifySignature(t.Context(), raw)
			wantUnavailable(t, err, "")
			time.Sleep(50 * time.Millisecond)
		}
		if n := p.count(openid); n > 60 || n < 12 {
			t.Errorf("%d probes in a minute, want 12 to 60", n)
		}
		p.set(openid, always(200, "application/json", metadata(nil)))
		back := time.Now()
		for verify(t, keys, raw) != "" {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(back); took > 5*time.Second {
			t.Errorf("seen after %s", took)
		}
	})
}

func TestDocumentsAreRenewedInTheBackgroundBeforeTheirEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newOP("k")
		provider := p.provider(t)
		keys := provider.KeySet()
		raw := sign(t, "RS256", "rsa", "k")
		verify(t, keys, raw)
		time.Sleep(47 * time.Minute) // under 80 % of the hour
		verify(t, keys, raw)
		synctest.Wait()
		if n := p.count("/keys"); n != 1 {
			t.Errorf("%d fetches before 80 %% of the lifetime", n)
		}
		p.latency = 3 * time.Second
		time.Sleep(8 * time.Minute) // over 90 %
		start := time.Now()
		if got := crowd(t, 100, func(int) string { return verify(t, keys, raw) }); got[""] != 100 || time.Since(start) != 0 {
			t.Errorf("%v after %s, want nobody to wait", got, time.Since(start))
		}
		time.Sleep(10 * time.Second)
		if n := p.count("/keys"); n != 2 {
			t.Errorf("%d fetches, want one more", n)
		}
		time.Sleep(30 * time.Minute)
		verify(t, keys, raw)
		synctest.Wait()
		if n := p.count("/keys"); n != 2 {
			t.Errorf("%d fetches, want the renewed keys to live an hour of their own", n)
		}
	})
}

func TestPastTheLifetimeCallersWaitForOneRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newOP("k")
		provider := p.provider(t)
		if _, err := provider.Metadata(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.set(openid, always(200, "application/json", metadata(map[string]any{"token_endpoint": issuer + "/token2"})))
		p.latency = time.Second
		time.Sleep(61 * time.Minute)
		got := crowd(t, 50, func(int) string {
			m, err := provider.Metadata(t.Context())
			if err != nil {
				return err.Error()
			}
			return m.TokenEndpoint
		})
		if got[issuer+"/token2"] != 50 || p.count(openid) != 2 {
			t.Errorf("%v with %d fetches", got, p.count(openid))
		}
	})
}

func TestThroughAnOutageTheOldDocumentsServeUntilTheyAreStale(t *testing.T) {
	for name, broken := range map[string]func(*http.Request) (*http.Response, error){"down": down, "hanging": hang, "500": always(500, "", "")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newOP("k")
				provider := p.provider(t, func(c *discovery.Config) { c.MaxStale = 6 * time.Hour })
				keys := provider.KeySet()
				raw := sign(t, "RS256", "rsa", "k")
				verify(t, keys, raw)
				p.set(openid, broken)
				p.set("/keys", broken)
				before, start := p.total(), time.Now()
				slow := 0
				for time.Since(start) < 6*time.Hour {
					call := time.Now()
					if r := verify(t, keys, raw); r != "" {
						t.Fatalf("after %s: %s", time.Since(start), r)
					}
					if _, err := provider.Metadata(t.Context()); err != nil {
						t.Fatalf("after %s: %v", time.Since(start), err)
					}
					if time.Since(call) > 0 {
						slow++
					}
					time.Sleep(7 * time.Second)
				}
				if slow > 0 {
					t.Errorf("%d calls waited although an old document was there", slow)
				}
				if n := p.total() - before; n > 2*6*60 || n < 100 {
					t.Errorf("%d attempts in 6 h, want up to 1 a minute for each document", n)
				}
				time.Sleep(time.Hour + time.Minute)
				if r := verify(t, keys, raw); r != "unavailable" {
					t.Errorf("keys past MaxStale: %q", r)
				}
				if _, err := provider.Metadata(t.Context()); !errors.Is(err, discovery.ErrUnavailable) {
					t.Errorf("metadata past MaxStale: %v", err)
				}
				p.set(openid, always(200, "application/json", metadata(nil)))
				p.set("/keys", always(200, "application/json", jwks(jwk("rsa", "k"))))
				back := time.Now()
				for verify(t, keys, raw) != "" {
					time.Sleep(100 * time.Millisecond)
				}
				if took := time.Since(back); took > 15*time.Second {
					t.Errorf("back after %s", took)
				}
			})
		})
	}
}

// After a long silence the first callers meet the outage themselves: they wait once, and nobody after them.
func TestAfterALongSilenceAnErrorFallsBackToTheOldDocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newOP("k")
		keys := p.provider(t).KeySet()
		raw := sign(t, "RS256", "rsa", "k")
		verify(t, keys, raw)
		p.set("/keys", hang)
		time.Sleep(5 * time.Hour)
		start := time.Now()
		if got := crowd(t, 100, func(int) string { return verify(t, keys, raw) }); got[""] != 100 || time.Since(start) > 10*time.Second {
			t.Errorf("%v after %s", got, time.Since(start))
		}
		start = time.Now()
		time.Sleep(2 * time.Second)
		if r := verify(t, keys, raw); r != "" || time.Since(start) != 2*time.Second {
			t.Errorf("the next caller: %q after %s", r, time.Since(start)-2*time.Second)
		}
		time.Sleep(time.Minute) // the attempt in the background ends by itself
	})
}

func TestOneCallerThatLeavesTakesTheFetchFromNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newOP("k")
		p.latency = time.Second
		keys := p.provider(t).KeySet()
		raw := sign(t, "RS256", "rsa", "k")
		first, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := keys.VerifySignature(first, raw); !errors.Is(err, context.Canceled) || !errors.Is(err, discovery.ErrUnavailable) {
				t.Errorf("the one that left: %v", err)
			}
		})
		synctest.Wait() // it has begun the fetch
		for range 100 {
			wg.Go(func() {
				if _, err := keys.VerifySignature(t.Context(), raw); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		leave()
		wg.Wait()
		if p.count("/keys") != 1 || p.count(openid) != 1 {
			t.Errorf("calls %v", p.calls)
		}
	})
}

func TestACallerIsFreedAtItsDeadlineHoweverSlowTheProviderIs(t *testing.T) {
	for _, latency := range []time.Duration{100 * time.Millisecond, time.Second, 5 * time.Second, 30 * time.Second, 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			p := newOP("k")
			p.latency = latency
			provider := p.provider(t)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			start := time.Now()
			_, err := provider.Metadata(ctx)
			if took := time.Since(start); took > 2*time.Second || (err == nil) != (latency < 2*time.Second) {
				t.Errorf("latency %s: %v after %s", latency, err, took)
			}
			start = time.Now()
			_, err = provider.Metadata(t.Context())
			if took := time.Since(start); took > 10*time.Second || (err == nil) != (latency < 10*time.Second) {
				t.Errorf("latency %s, without a deadline: %v after %s", latency, err, took)
			}
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	for name, c := range map[string]struct {
		header    string
		wait      time.Duration
		tolerance time.Duration
	}{
		"seconds":     {"37", 37 * time.Second, 0},
		"a date":      {"Sat, 01 Jan 2000 00:00:41 GMT", 41 * time.Second, time.Second},
		"a whole day": {"86400", 5 * time.Minute, 0},
		"nonsense":    {"soon", time.Second, 200 * time.Millisecond},
		"the past":    {"Sat, 01 Jan 1999 00:00:00 GMT", time.Second, 200 * time.Millisecond},
	} {
		for _, status := range []int{429, 503} {
			synctest.Test(t, func(t *testing.T) { // its clock begins at 2000-01-01
				p := newOP("k")
				p.set(openid, always(status, "", "", "Retry-After", c.header))
				provider := p.provider(t)
				_, err := provider.Metadata(t.Context())
				e := wantUnavailable(t, err, http.StatusText(status))
				if e.RetryAfter < c.wait-c.tolerance || e.RetryAfter > c.wait+c.tolerance {
					t.Errorf("%s: RetryAfter %s, want %s", name, e.RetryAfter, c.wait)
				}
				time.Sleep(e.RetryAfter - time.Millisecond)
				if _, err := provider.Metadata(t.Context()); err == nil || p.count(openid) != 1 {
					t.Errorf("%s: %d calls before the time", name, p.count(openid))
				}
				p.set(openid, always(200, "application/json", metadata(nil)))
				time.Sleep(time.Millisecond)
				if _, err := provider.Metadata(t.Context()); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
	}
}

func TestHTTPLifetimesAreTakenWithinBounds(t *testing.T) {
	for name, c := range map[string]struct {
		header []string
		want   time.Duration
	}{
		"nothing":             {nil, time.Hour},
		"max-age":             {[]string{"Cache-Control", "public, max-age=7200"}, 2 * time.Hour},
		"max-age in quotes":   {[]string{"Cache-Control", `MAX-AGE="7200"`}, 2 * time.Hour},
		"two max-ages":        {[]string{"Cache-Control", "max-age=7200", "Cache-Control", "max-age=3600"}, time.Hour},
		"max-age less Age":    {[]string{"Cache-Control", "max-age=7200", "Age", "3600"}, time.Hour},
		"Age beyond":          {[]string{"Cache-Control", "max-age=7200", "Age", "9000"}, 5 * time.Minute},
		"short":               {[]string{"Cache-Control", "max-age=1"}, 5 * time.Minute},
		"zero":                {[]string{"Cache-Control", "max-age=0"}, 5 * time.Minute},
		"no-store":            {[]string{"Cache-Control", "no-store, max-age=7200"}, 5 * time.Minute},
		"no-cache":            {[]string{"Cache-Control", "max-age=7200, no-cache"}, 5 * time.Minute},
		"a year":              {[]string{"Cache-Control", "max-age=31536000"}, 24 * time.Hour},
		"overflow":            {[]string{"Cache-Control", "max-age=99999999999999999999999"}, 24 * time.Hour},
		"negative":            {[]string{"Cache-Control", "max-age=-1"}, 5 * time.Minute},
		"nonsense":            {[]string{"Cache-Control", "max-age=soon"}, 5 * time.Minute},
		"s-maxage only":       {[]string{"Cache-Control", "s-maxage=7200"}, time.Hour},
		"Expires":             {[]string{"Expires", "Sat, 01 Jan 2000 03:00:00 GMT"}, 3 * time.Hour},
		"Expires after Date":  {[]string{"Expires", "Sun, 02 Jan 2022 03:00:00 GMT", "Date", "Sun, 02 Jan 2022 01:00:00 GMT"}, 2 * time.Hour},
		"Expires 0":           {[]string{"Expires", "0"}, 5 * time.Minute},
		"max-age and Expires": {[]string{"Cache-Control", "max-age=7200", "Expires", "0"}, 2 * time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newOP("k")
			p.set(openid, always(200, "application/json", metadata(nil), c.header...))
			provider := p.provider(t)
			call := func(after time.Duration, want int) {
				time.Sleep(after)
				if _, err := provider.Metadata(t.Context()); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if n := p.count(openid); n != want {
					t.Errorf("%s: %d fetches after %s, want %d", name, n, after, want)
				}
			}
			call(0, 1)
			call(c.want*79/100, 1)
			call(c.want*12/100, 2)
		})
	}
}

func TestAWrongDocumentNeverReplacesAGoodOne(t *testing.T) {
	good := metadata(nil)
	for name, c := range map[string]struct {
		path   string
		bad    func(*http.Request) (*http.Response, error)
		reason string
	}{
		"another issuer":        {openid, always(200, "application/json", metadata(map[string]any{"issuer": "https://evil.example"})), "identical"},
		"HTML":                  {openid, always(200, "text/html", "<html>"), "HTML"},
		"truncated":             {openid, always(200, "application/json", good[:100]), "unexpected end"},
		"a redirect":            {openid, always(302, "", "", "Location", "https://evil.example/"), "redirects"},
		"404":                   {openid, always(404, "application/json", good), "404"},
		"500 with a good body":  {openid, always(500, "application/json", good), "500"},
		"204":                   {openid, always(204, "application/json", good), "204"},
		"an http endpoint":      {openid, always(200, "application/json", metadata(map[string]any{"token_endpoint": "http://op.example/token"})), "token_endpoint"},
		"no keys":               {"/keys", always(200, "application/json", `{"keys":[]}`), "no key"},
		"500 with an empty set": {"/keys", always(500, "application/json", `{"keys":[]}`), "500"},
		"keys 404":              {"/keys", always(404, "application/json", `{"keys":[]}`), "404"},
		"keys HTML":             {"/keys", always(200, "text/html; charset=utf-8", "<html>"), "HTML"},
		"keys truncated":        {"/keys", always(200, "application/json", jwks(jwk("rsa", "k"))[:50]), "unexpected end"},
		"only foreign keys":     {"/keys", always(200, "application/json", set(map[string]any{"kty": "oct", "k": "AAAA"})), "private or symmetric"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newOP("k")
				var log bytes.Buffer
				provider := p.provider(t, func(c *discovery.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
				keys := provider.KeySet()
				raw := sign(t, "RS256", "rsa", "k")
				verify(t, keys, raw)
				p.set(c.path, c.bad)
				time.Sleep(2 * time.Hour)
				for range 3 {
					m, err := provider.Metadata(t.Context())
					if err != nil || m.Issuer != issuer || m.TokenEndpoint != issuer+"/token" {
						t.Errorf("%+v, %v", m, err)
					}
					if r := verify(t, keys, raw); r != "" {
						t.Error(r)
					}
					time.Sleep(time.Minute)
				}
				synctest.Wait()
				if !strings.Contains(log.String(), c.reason) || !strings.Contains(log.String(), "old_copy_in_use=true") {
					t.Errorf("the log does not tell: %s", log.String())
				}
				p.set(openid, always(200, "application/json", good))
				p.set("/keys", always(200, "application/json", jwks(jwk("rsa", "k"))))
				time.Sleep(2 * time.Minute)
				if _, err := provider.Metadata(t.Context()); err != nil {
					t.Error(err)
				}
				verify(t, keys, raw)
				synctest.Wait()
				if !strings.Contains(log.String(), "available again") {
					t.Errorf("the log does not tell of the end: %s", log.String())
				}
			})
		})
	}
}

func TestAPanicOfTheHTTPClientIsAnOutageAndEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newOP("k")
		p.set(openid, func(*http.Request) (*http.Response, error) { panic("secret-marked") })
		var log bytes.Buffer
		provider := p.provider(t, func(c *discovery.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		_, err := provider.Metadata(t.Context())
		wantUnavailable(t, err, "panicked with a string")
		synctest.Wait() // until all is logged
		if text := log.String() + err.Error(); !strings.Contains(text, "outage_test.go") || strings.Contains(text, "secret-marked") {
			t.Errorf("logged: %s", text)
		}
		p.set(openid, always(200, "application/json", metadata(nil)))
		time.Sleep(5 * time.Second)
		if _, err := provider.Metadata(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute) // for the timers of a call that never came back
	})
}
