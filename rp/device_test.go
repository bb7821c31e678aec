package rp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

// station is a client without a browser at a provider in memory.
type station struct {
	*rptest.Provider
	client *rp.Client

	mu    sync.Mutex
	polls []time.Time
}

func newStation(t *testing.T, opts rptest.Options, change ...func(*rp.Config)) *station {
	t.Helper()
	opts.Issuer = "https://op.example"
	p, err := rptest.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	s := &station{Provider: p}
	cfg := rp.Config{Issuer: p.Issuer(), ClientID: p.ClientID(), ClientSecret: p.ClientSecret(), HTTPClient: &http.Client{Transport: s}}
	for _, f := range change {
		f(&cfg)
	}
	if s.client, err = rp.New(cfg); err != nil {
		t.Fatal(err)
	}
	return s
}

// RoundTrip notes when the token endpoint is asked.
func (s *station) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == "/token" {
		s.mu.Lock()
		s.polls = append(s.polls, time.Now())
		s.mu.Unlock()
	}
	return s.Transport().RoundTrip(r)
}

// waits are the times between polls, from start on.
func (s *station) waits(start time.Time) (between []time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range s.polls {
		between = append(between, at.Sub(start))
		start = at
	}
	return between
}

func (s *station) device(t *testing.T) *rp.DeviceLogin {
	t.Helper()
	d, err := s.client.Device(t.Context(), rp.DeviceRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// later calls f at a time in the test's own clock.
func later(d time.Duration, f func()) { time.AfterFunc(d, f) }

func TestADeviceLoginYieldsTokensOnceTheUserHasAllowedIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t, rptest.Options{})
		d := s.device(t)
		if d.VerificationURI != "https://op.example/device" || !strings.Contains(d.VerificationURIComplete, d.UserCode) || d.Interval != 5*time.Second || time.Until(d.Expires) != 5*time.Minute {
			t.Fatalf("%+v", *d)
		}
		start := time.Now()
		later(12*time.Second, func() {
			if err := s.ApproveDevice(strings.ToLower(d.UserCode), "bob"); err != nil {
				t.Error(err)
			}
		})
		tokens, err := s.client.FinishDevice(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if tokens.IDToken.Subject != "bob" || tokens.OAuth2.AccessToken == "" || tokens.OAuth2.RefreshToken == "" || strings.Join(tokens.Scope, " ") != "openid profile email" {
			t.Errorf("%v", tokens)
		}
		if got := fmt.Sprint(s.waits(start)); got != "[5s 5s 5s]" {
			t.Errorf("polled after %s", got)
		}
		if _, err := s.client.Refresh(t.Context(), tokens.OAuth2.RefreshToken, tokens.IDToken); err != nil {
			t.Errorf("the refresh: %v", err)
		}
		if _, err := s.client.FinishDevice(t.Context(), d); !rp.IsInvalidGrant(err) {
			t.Errorf("the code a second time: %v", err)
		}
	})
}

func TestADeviceLoginEndsWithTheUsersNo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t, rptest.Options{})
		d := s.device(t)
		later(time.Second, func() { s.DenyDevice(d.UserCode) })
		_, err := s.client.FinishDevice(t.Context(), d)
		var refused *rp.ProviderError
		if !errors.Is(err, rp.ErrDenied) || errors.Is(err, rp.ErrExpired) || !errors.As(err, &refused) || refused.Code != "access_denied" {
			t.Errorf("error is %v", err)
		}
		if s.Hits(rptest.Token) != 1 {
			t.Errorf("%d polls", s.Hits(rptest.Token))
		}
	})
}

func TestADeviceLoginIsNeverPolledPastItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t, rptest.Options{PendingLifetime: 21 * time.Second})
		d := s.device(t)
		start := time.Now()
		_, err := s.client.FinishDevice(t.Context(), d)
		if !errors.Is(err, rp.ErrExpired) || errors.Is(err, rp.ErrUnavailable) {
			t.Errorf("error is %v", err)
		}
		if got := fmt.Sprint(s.waits(start)); got != "[5s 5s 5s 5s]" || time.Since(start) > 21*time.Second {
			t.Errorf("polled after %s, given up after %s", got, time.Since(start))
		}
		time.Sleep(time.Minute)
		if _, err := s.client.FinishDevice(t.Context(), d); !errors.Is(err, rp.ErrExpired) || s.Hits(rptest.Token) != 4 {
			t.Errorf("begun after the end: %v, %d polls", err, s.Hits(rptest.Token))
		}
	})
}

func TestTheProvidersOwnWordThatADeviceCodeExpiredIsTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t, rptest.Options{PendingLifetime: 21 * time.Second})
		d := s.device(t)
		d.Expires = d.Expires.Add(time.Hour)
		_, err := s.client.FinishDevice(t.Context(), d)
		var refused *rp.ProviderError
		if !errors.Is(err, rp.ErrExpired) || !errors.As(err, &refused) || refused.Code != "expired_token" {
			t.Errorf("error is %v", err)
		}
		if s.Hits(rptest.Token) != 5 {
			t.Errorf("%d polls", s.Hits(rptest.Token))
		}
	})
}

func TestSlowDownIsForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t, rptest.Options{})
		d := s.device(t)
		s.FaultTimes(rptest.Token, rptest.Status(400, `{"error":"slow_down"}`), 1)
		start := time.Now()
		later(31*time.Second, func() { s.ApproveDevice(d.UserCode, "alice") })
		if _, err := s.client.FinishDevice(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(s.waits(start)); got != "[5s 10s 10s 10s]" {
			t.Errorf("polled after %s", got)
		}
		if d.Interval != 10*time.Second {
			t.Errorf("the interval is %s: another call would be told again", d.Interval)
		}
	})
}

func TestALoginOutOfStorageIsNotPolledWithoutPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t, rptest.Options{})
		for _, interval := range []time.Duration{0, -time.Hour, time.Millisecond} {
			d := s.device(t)
			d.Interval = interval
			s.ApproveDevice(d.UserCode, "alice")
			start := time.Now()
			if _, err := s.client.FinishDevice(t.Context(), d); err != nil || time.Since(start) != 5*time.Second {
				t.Errorf("%s: %v after %s", interval, err, time.Since(start))
			}
		}
	})
}

func TestAnOutageSlowsPollingDownAndDoesNotEndIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, fault := range map[string]rptest.Fault{
			"500":                 rptest.Status(500, "<p>"),
			"502 with text":       rptest.Status(502, "bad gateway"),
			"cut":                 rptest.Down,
			"busy without status": rptest.Status(400, `{"error":"temporarily_unavailable"}`),
			"a fault of its own":  rptest.Status(400, `{"error":"server_error"}`),
		} {
			s := newStation(t, rptest.Options{})
			d := s.device(t)
			s.FaultTimes(rptest.Token, fault, 3)
			start := time.Now()
			later(time.Second, func() { s.ApproveDevice(d.UserCode, "alice") })
			if _, err := s.client.FinishDevice(t.Context(), d); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if got := fmt.Sprint(s.waits(start)); got != "[5s 10s 20s 40s]" {
				t.Errorf("%s: polled after %s", name, got)
			}
		}
	})
}

func TestAPollThatTimesOutIsFollowedByASlowerOneAndThenByTheOldPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t, rptest.Options{})
		d := s.device(t)
		s.FaultTimes(rptest.Token, rptest.Hang, 2)
		start := time.Now()
		later(67*time.Second, func() { s.ApproveDevice(d.UserCode, "alice") })
		if _, err := s.client.FinishDevice(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		// 10 seconds of each are Config.Timeout.
		if got := fmt.Sprint(s.waits(start)); got != "[5s 20s 30s 5s 5s 5s]" {
			t.Errorf("polled after %s", got)
		}
	})
}

func TestRetryAfterIsHonouredWhilePolling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t, rptest.Options{})
		d := s.device(t)
		s.FaultTimes(rptest.Token, rptest.RetryAfter(90*time.Second), 1)
		start := time.Now()
		s.ApproveDevice(d.UserCode, "alice")
		if _, err := s.client.FinishDevice(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(s.waits(start)); got != "[5s 1m30s]" {
			t.Errorf("polled after %s", got)
		}
		d = s.device(t)
		s.FaultTimes(rptest.Token, rptest.RetryAfter(time.Hour), 1)
		start = time.Now()
		_, err := s.client.FinishDevice(t.Context(), d)
		if !errors.Is(err, rp.ErrExpired) || !errors.Is(err, rp.ErrUnavailable) || time.Since(start) > time.Minute {
			t.Errorf("told to come after the end: %v after %s", err, time.Since(start))
		}
	})
}

func TestTheEndOfTheContextEndsThePollingAndTheLoginGoesOnElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t, rptest.Options{})
		d := s.device(t)
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		start := time.Now()
		if _, err := s.client.FinishDevice(ctx, d); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 12*time.Second {
			t.Fatalf("%v after %s", err, time.Since(start))
		}
		saved := remarshal(t, d) // by another process
		s.ApproveDevice(d.UserCode, "alice")
		if _, err := s.client.FinishDevice(t.Context(), saved); err != nil {
			t.Error(err)
		}
	})
}

func TestTheAnswerOfAPollUnderWayIsNotThrownAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t, rptest.Options{})
		d := s.device(t)
		s.ApproveDevice(d.UserCode, "alice")
		s.FaultTimes(rptest.Token, rptest.Late(3*time.Second), 1)
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		defer cancel()
		if tokens, err := s.client.FinishDevice(ctx, d); err != nil || tokens.IDToken.Subject != "alice" {
			t.Error(err)
		}
	})
}

func TestTokensAreNotLostToKeysOutOfReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t, rptest.Options{})
		d := s.device(t)
		s.ApproveDevice(d.UserCode, "alice")
		s.FaultTimes(rptest.JWKS, rptest.Status(503, ""), 2)
		if tokens, err := s.client.FinishDevice(t.Context(), d); err != nil || tokens.IDToken.Subject != "alice" {
			t.Error(err)
		}
		s = newStation(t, rptest.Options{})
		d = s.device(t)
		s.ApproveDevice(d.UserCode, "alice")
		s.Fault(rptest.JWKS, rptest.Status(503, ""))
		start := time.Now()
		if _, err := s.client.FinishDevice(t.Context(), d); !errors.Is(err, rp.ErrUnavailable) || time.Since(start) > 2*time.Minute {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

func TestAnotherErrorEndsADeviceLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, code := range []string{"invalid_grant", "invalid_client", "unauthorized_client", "Authorization_Pending", "unsupported_grant_type"} {
			s := newStation(t, rptest.Options{})
			d := s.device(t)
			s.Fault(rptest.Token, rptest.Status(400, `{"error":"`+code+`"}`))
			_, err := s.client.FinishDevice(t.Context(), d)
			var refused *rp.ProviderError
			if !errors.As(err, &refused) || refused.Code != code || errors.Is(err, rp.ErrExpired) || s.Hits(rptest.Token) != 1 {
				t.Errorf("%s: %v after %d polls", code, err, s.Hits(rptest.Token))
			}
		}
	})
}

func TestADeviceLoginsIDTokenIsVerifiedAndRequiredWhereOpenIDWasAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		finish := func(s *station, scopes []string) (*rp.Tokens, error) {
			d, err := s.client.Device(t.Context(), rp.DeviceRequest{Scopes: scopes})
			if err != nil {
				t.Fatal(err)
			}
			s.ApproveDevice(d.UserCode, "alice")
			return s.client.FinishDevice(t.Context(), d)
		}
		s := newStation(t, rptest.Options{})
		s.TokenFaultTimes(1, func(j *rptest.JWT) { j.Claims["aud"] = "another" })
		_, err := finish(s, nil)
		if e, ok := errors.AsType[*rp.TokenError](err); !ok || e.Check != "aud" {
			t.Errorf("another's ID token: %v", err)
		}
		drop := rptest.ModifyBody(func(b []byte) []byte {
			var m map[string]any
			json.Unmarshal(b, &m)
			delete(m, "id_token")
			b, _ = json.Marshal(m)
			return b
		})
		s.Fault(rptest.Token, drop)
		_, err = finish(s, nil)
		if e, ok := errors.AsType[*rp.TokenError](err); !ok || e.Check != "missing" {
			t.Errorf("no ID token: %v", err)
		}
		tokens, err := finish(s, []string{"reports.read"})
		if err != nil || tokens.IDToken != nil || tokens.Scope[0] != "reports.read" {
			t.Errorf("without openid: %v, %v", tokens, err)
		}
	})
}

// The answers a device authorization endpoint may give, each beside its nearest neighbour.
func TestDeviceAuthorizationAnswersAreReadStrictly(t *testing.T) {
	good := map[string]any{
		"device_code": "d-1", "user_code": "WDJB-MJHT", "verification_uri": "https://op.example/device", "expires_in": 900,
		"verification_uri_complete": "https://op.example/device?user_code=WDJB-MJHT", "interval": 7,
	}
	for _, x := range []struct {
		name   string
		change map[string]any // nil: absent
		refuse string
		check  func(d *rp.DeviceLogin) bool
	}{
		{name: "as the RFC has it", check: func(d *rp.DeviceLogin) bool {
			return d.Interval == 7*time.Second && d.UserCode == "WDJB-MJHT" && strings.HasSuffix(d.VerificationURIComplete, "=WDJB-MJHT")
		}},
		{name: "no interval", change: map[string]any{"interval": nil}, check: func(d *rp.DeviceLogin) bool { return d.Interval == 5*time.Second }},
		{name: "interval 0", change: map[string]any{"interval": 0}, check: func(d *rp.DeviceLogin) bool { return d.Interval == 5*time.Second }},
		{name: "interval -1", change: map[string]any{"interval": -1}, check: func(d *rp.DeviceLogin) bool { return d.Interval == 5*time.Second }},
		{name: "interval of text", change: map[string]any{"interval": "9"}, check: func(d *rp.DeviceLogin) bool { return d.Interval == 9*time.Second }},
		{name: "interval of an age", change: map[string]any{"interval": 1e300}, check: func(d *rp.DeviceLogin) bool { return d.Interval > 24*time.Hour }},
		{name: "no expires_in", change: map[string]any{"expires_in": nil}, refuse: "expires_in"},
		{name: "expires_in 0", change: map[string]any{"expires_in": 0}, refuse: "expires_in"},
		{name: "expires_in of text", change: map[string]any{"expires_in": "900"}, check: func(d *rp.DeviceLogin) bool { return time.Until(d.Expires) > 14*time.Minute }},
		{name: "expires_in of words", change: map[string]any{"expires_in": "soon"}, refuse: "expires_in"},
		{name: "no device_code", change: map[string]any{"device_code": nil}, refuse: "device_code"},
		{name: "device_code a number", change: map[string]any{"device_code": 7}, refuse: "JSON"},
		{name: "no user_code", change: map[string]any{"user_code": nil}, refuse: "user_code"},
		{name: "user_code of escapes", change: map[string]any{"user_code": "\x1b[2J\x07WD\u202eJB\r\n"}, check: func(d *rp.DeviceLogin) bool { return d.UserCode == "[2JWDJB" }},
		{name: "user_code of escapes alone", change: map[string]any{"user_code": "\x1b\x1b\n"}, refuse: "user_code"},
		{name: "mixed case", change: map[string]any{"user_code": "j3M9Xqm9"}, check: func(d *rp.DeviceLogin) bool { return d.UserCode == "j3M9Xqm9" }},
		{name: "Google's spelling", change: map[string]any{"verification_uri": nil, "verification_url": "https://op.example/g"}, check: func(d *rp.DeviceLogin) bool { return d.VerificationURI == "https://op.example/g" }},
		{name: "no page", change: map[string]any{"verification_uri": nil}, refuse: "verification_uri"},
		{name: "page in the clear", change: map[string]any{"verification_uri": "http://op.example/device"}, refuse: "https"},
		{name: "page with a fragment", change: map[string]any{"verification_uri": "https://op.example/#/device"}, check: func(d *rp.DeviceLogin) bool { return d.VerificationURI == "https://op.example/#/device" }},
		{name: "script", change: map[string]any{"verification_uri": "javascript:alert(1)"}, refuse: "verification_uri"},
		{name: "page with an escape", change: map[string]any{"verification_uri": "https://op.example/\x1b]8;;x"}, refuse: "character"},
		{name: "escape in the fragment", change: map[string]any{"verification_uri": "https://op.example/#\x1b[2J"}, refuse: "character"},
		{name: "page turned round", change: map[string]any{"verification_uri": "https://op.example/\u202ex"}, refuse: "character"},
		{name: "page without end", change: map[string]any{"verification_uri": "https://op.example/" + strings.Repeat("x", 2048)}, refuse: "longer"},
		{name: "complete page with an escape", change: map[string]any{"verification_uri_complete": "https://op.example/\x1b"}, check: func(d *rp.DeviceLogin) bool { return d.VerificationURIComplete == "" && d.VerificationURI != "" }},
		{name: "complete page of another kind", change: map[string]any{"verification_uri_complete": 7}, check: func(d *rp.DeviceLogin) bool { return d.VerificationURIComplete == "" }},
		{name: "other letters", change: map[string]any{"device_code": nil, "Device_Code": "d-1"}, refuse: ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			answer := map[string]any{}
			for name, v := range good {
				answer[name] = v
			}
			for name, v := range x.change {
				if answer[name] = v; v == nil {
					delete(answer, name)
				}
			}
			body, _ := json.Marshal(answer)
			s := newStation(t, rptest.Options{})
			s.Fault(rptest.DeviceAuthorization, rptest.Status(200, string(body)))
			d, err := s.client.Device(t.Context(), rp.DeviceRequest{})
			if x.check != nil {
				if err != nil || !x.check(d) {
					t.Errorf("%v, %v", d, err)
				}
				return
			}
			e, ok := errors.AsType[*rp.ProviderError](err)
			if !ok || e.Endpoint != "device authorization" || !strings.Contains(err.Error(), x.refuse) || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("error is %q, want one of %q", err, x.refuse)
			}
		})
	}
}

func TestADeviceRequestIsSentAsAsked(t *testing.T) {
	s := newStation(t, rptest.Options{})
	var form url.Values
	s.Fault(rptest.DeviceAuthorization, func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.ParseForm()
			form = r.PostForm
			honest.ServeHTTP(w, r)
		})
	})
	_, err := s.client.Device(t.Context(), rp.DeviceRequest{
		Scopes: []string{"a", "b"}, Audiences: []string{"api"}, Resources: []string{"https://a.example", "https://b.example"}, Extra: url.Values{"tenant": {"7"}},
	})
	if err != nil || form.Encode() != "audience=api&resource=https%3A%2F%2Fa.example&resource=https%3A%2F%2Fb.example&scope=a+b&tenant=7" {
		t.Errorf("%v, sent %v", err, form)
	}
	for _, name := range []string{"scope", "client_id", "client_secret", "client_assertion", "resource", ""} {
		if _, err := s.client.Device(t.Context(), rp.DeviceRequest{Extra: url.Values{name: {"x"}}}); err == nil || !strings.Contains(err.Error(), "Extra") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.client.Device(t.Context(), rp.DeviceRequest{Scopes: []string{"a b"}}); err == nil || !strings.Contains(err.Error(), "no scope") {
		t.Errorf("two scopes in one: %v", err)
	}
}

func TestAPublicClientSaysWhoItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t, rptest.Options{Clients: []rptest.Client{{ID: "cli"}}})
		d := s.device(t)
		s.ApproveDevice(d.UserCode, "alice")
		if tokens, err := s.client.FinishDevice(t.Context(), d); err != nil || tokens.IDToken.Audience[0] != "cli" {
			t.Error(err)
		}
	})
}

func TestAProviderWithoutDeviceLoginsIsToldApart(t *testing.T) {
	p := newOP()
	if _, err := p.client(t).Device(t.Context(), rp.DeviceRequest{}); !errors.Is(err, rp.ErrNoEndpoint) {
		t.Errorf("no endpoint: %v", err)
	}
	s := newStation(t, rptest.Options{})
	s.Fault(rptest.DeviceAuthorization, rptest.Status(400, `{"error":"unauthorized_client"}`))
	_, err := s.client.Device(t.Context(), rp.DeviceRequest{})
	if e, ok := errors.AsType[*rp.ProviderError](err); !ok || e.Code != "unauthorized_client" {
		t.Errorf("a client without the grant: %v", err)
	}
	s.Fault(rptest.DeviceAuthorization, rptest.Down)
	if _, err := s.client.Device(t.Context(), rp.DeviceRequest{}); !errors.Is(err, rp.ErrUnavailable) {
		t.Errorf("an outage: %v", err)
	}
}

func TestADeviceLoginOfAnotherClientIsRefused(t *testing.T) {
	s := newStation(t, rptest.Options{})
	d := s.device(t)
	for name, bend := range map[string]func(*rp.DeviceLogin){
		"issuer": func(d *rp.DeviceLogin) { d.Issuer += "/" },
		"client": func(d *rp.DeviceLogin) { d.ClientID = "other" },
		"empty":  func(d *rp.DeviceLogin) { *d = rp.DeviceLogin{} },
	} {
		bent := *d
		bend(&bent)
		if _, err := s.client.FinishDevice(t.Context(), &bent); !errors.Is(err, rp.ErrMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.client.FinishDevice(t.Context(), nil); !errors.Is(err, rp.ErrMismatch) {
		t.Errorf("none: %v", err)
	}
	if s.Hits(rptest.Token) != 0 {
		t.Error("something was sent")
	}
}

func TestADeviceLoginPrintsNoCode(t *testing.T) {
	d := rp.DeviceLogin{UserCode: marked, DeviceCode: marked, VerificationURI: "https://op.example/" + marked, VerificationURIComplete: "https://op.example/?" + marked, Issuer: testIssuer, ClientID: testClient}
	for _, v := range []any{d, &d} {
		if text := printed(v); strings.Contains(text, marked) || !strings.Contains(text, testClient) {
			t.Errorf("prints %s", text)
		}
	}
}

func TestAnErrorThatQuotesTheDeviceCodeLosesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t, rptest.Options{})
		d := s.device(t)
		s.Fault(rptest.Token, rptest.Status(400, `{"error":"invalid_grant","error_description":"no `+d.DeviceCode+`"}`))
		if _, err := s.client.FinishDevice(t.Context(), d); err == nil || strings.Contains(printed(err), d.DeviceCode) || !strings.Contains(err.Error(), "[redacted]") {
			t.Errorf("%v", err)
		}
	})
}
