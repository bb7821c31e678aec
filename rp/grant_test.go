package rp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

const ticketGrant = "urn:example:grant-type:ticket"

// granting is a provider whose token endpoint gives every grant this answer.
func granting(status int, answer any) *op {
	p := newOP()
	p.answer = func(*http.Request, url.Values) *http.Response { return replyJSON(status, answer) }
	return p
}

var plainTokens = map[string]any{"access_token": "a", "token_type": "Bearer"}

func TestGrantSendsAnExtensionGrantOnce(t *testing.T) {
	p := granting(200, map[string]any{"access_token": "a", "token_type": "bearer", "expires_in": 60, "scope": "x", "odd": "kept"})
	g := rp.GrantRequest{
		Type: ticketGrant, Scopes: []string{"x", "y"}, Audiences: []string{"one", "two"}, Resources: []string{"https://api.example", "urn:b"},
		Params: url.Values{"ticket": {"t"}, "many": {"1", "2"}},
	}
	got, err := p.client(t).Grant(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	want := url.Values{
		"grant_type": {ticketGrant}, "scope": {"x y"}, "audience": {"one", "two"}, "resource": {"https://api.example", "urn:b"}, "ticket": {"t"}, "many": {"1", "2"},
	}
	sent := p.last()
	if sent.form.Encode() != want.Encode() || !strings.HasPrefix(sent.header.Get("Authorization"), "Basic ") || p.count() != 1 {
		t.Errorf("%d requests, the last one %s", p.count(), sent.form.Encode())
	}
	if fmt.Sprint(got.Scope) != "[x]" || got.OAuth2.Extra("odd") != "kept" || time.Until(got.OAuth2.Expiry) > time.Minute || got.IDToken != nil {
		t.Errorf("%v", got)
	}
	if len(g.Params) != 2 {
		t.Errorf("the caller's parameters are now %v", g.Params)
	}
}

func TestGrantParamsCannotTakeOverWhatTheClientOwns(t *testing.T) {
	p := granting(200, plainTokens)
	c := p.client(t)
	for _, name := range []string{"grant_type", "scope", "audience", "resource", "client_id", "client_secret", "client_assertion", "client_assertion_type"} {
		for _, values := range [][]string{{marked}, {""}, {}} {
			_, err := c.Grant(t.Context(), rp.GrantRequest{Type: ticketGrant, Params: url.Values{name: values}})
			if err == nil || !strings.Contains(err.Error(), "must not set "+name) || strings.Contains(err.Error(), marked) {
				t.Errorf("%s %q: %v", name, values, err)
			}
		}
	}
	if _, err := c.Grant(t.Context(), rp.GrantRequest{Params: url.Values{"ticket": {"t"}}}); err == nil || !strings.Contains(err.Error(), "Type is missing") {
		t.Errorf("no type: %v", err)
	}
	if n := p.count(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

// Nobody here knows which parameter of an extension grant is a secret: what the provider quotes is taken out whatever it is called.
func TestGrantErrorsRepeatNoParameter(t *testing.T) {
	for _, secret := range []string{marked, "p w+%&=" + marked, "Zoë-" + marked} {
		for _, name := range []string{"ticket", "otp", "password", "username", "assertion", "subject_token", "actor_token", "mfa_token", "x"} {
			for _, status := range []int{200, 400, 401, 429, 500} {
				p := newOP()
				p.answer = func(_ *http.Request, form url.Values) *http.Response {
					said := form.Get(name)
					return replyJSON(status, map[string]any{
						"error": said, "error_description": "begins " + said + " " + url.QueryEscape(said) + " ends", "error_uri": "https://op.example/?" + url.QueryEscape(said),
					})
				}
				_, err := p.client(t).Grant(t.Context(), rp.GrantRequest{Type: ticketGrant, Scopes: []string{"reports"}, Params: url.Values{name: {secret}}})
				text := printed(err)
				for e := err; e != nil; e = errors.Unwrap(e) {
					text += printed(e)
				}
				if err == nil || strings.Contains(text, marked) || !strings.Contains(text, "ends") {
					t.Errorf("%s, %d: %s", name, status, text)
				}
			}
		}
	}
}

func TestGrantErrorsKeepWhatHelps(t *testing.T) {
	p := newOP()
	p.answer = func(_ *http.Request, form url.Values) *http.Response {
		return replyJSON(400, map[string]any{"error": "invalid_scope", "error_description": "no " + form.Get("scope") + " for " + form.Get("audience") + " by " + form.Get("grant_type") + ", verbose is " + form.Get("verbose")})
	}
	_, err := p.client(t).Grant(t.Context(), rp.GrantRequest{Type: ticketGrant, Scopes: []string{"reports.write"}, Audiences: []string{"billing"}, Params: url.Values{"verbose": {"true"}}})
	var refused *rp.ProviderError
	if !errors.As(err, &refused) || refused.Description != "no reports.write for billing by "+ticketGrant+", verbose is true" {
		t.Errorf("error is %v", err)
	}
	// A password that is a part of the code must not make it another code, which would tell it besides.
	for _, password := range []string{"a", "grant", "invalid_grant"} {
		_, err := granting(400, map[string]any{"error": "invalid_grant"}).client(t).DeprecatedPassword(t.Context(), "u", password)
		if !rp.IsInvalidGrant(err) || !errors.As(err, &refused) || refused.Code != "invalid_grant" {
			t.Errorf("password %q: %v", password, err)
		}
	}
}

// Of two secrets one may begin with the other: neither leaves an end behind.
func TestGrantErrorsLeaveNoEndOfASecret(t *testing.T) {
	p := newOP()
	p.answer = func(_ *http.Request, form url.Values) *http.Response {
		return replyJSON(400, map[string]any{"error": "invalid_grant", "error_description": "no " + form.Get("assertion") + ", ends"})
	}
	for _, short := range []string{"code", "refresh_token", "device_code", "x"} { // known before assertion, and after
		_, err := p.client(t).JWTBearer(t.Context(), "ticket-"+marked, rp.GrantRequest{Params: url.Values{short: {"ticket-"}}})
		if err == nil || strings.Contains(printed(err), marked) || !strings.Contains(err.Error(), "ends") {
			t.Errorf("%s: %v", short, err)
		}
	}
}

func TestGrantMapsWhatTheProviderSays(t *testing.T) {
	for name, x := range map[string]struct {
		answer      func() *http.Response
		code        string
		status      int
		retry       time.Duration
		unavailable bool
		says        string
	}{
		"refused":         {func() *http.Response { return replyJSON(400, map[string]any{"error": "invalid_grant"}) }, "invalid_grant", 400, 0, false, "invalid_grant"},
		"client refused":  {func() *http.Response { return replyJSON(401, map[string]any{"error": "invalid_client"}) }, "invalid_client", 401, 0, false, "401"},
		"of its own":      {func() *http.Response { return replyJSON(400, map[string]any{"error": "interaction_required"}) }, "interaction_required", 400, 0, false, "interaction_required"},
		"a page":          {func() *http.Response { return reply(403, "text/html", "<p>"+marked) }, "", 403, 0, false, "without an OAuth error"},
		"an error as 200": {func() *http.Response { return replyJSON(200, map[string]any{"error": "invalid_grant"}) }, "invalid_grant", 200, 0, false, "invalid_grant"},
		"no token":        {func() *http.Response { return replyJSON(200, map[string]any{"token_type": "Bearer"}) }, "", 200, 0, false, "no access_token"},
		"no JSON":         {func() *http.Response { return reply(200, "text/html", marked) }, "", 200, 0, false, "application/json"},
		"broken JSON":     {func() *http.Response { return reply(200, "application/json", `{"access_token":"`+marked) }, "", 200, 0, false, "JSON"},
		"elsewhere": {func() *http.Response {
			r := reply(307, "", "")
			r.Header.Set("Location", "https://else.example/"+marked)
			return r
		}, "", 307, 0, false, "307"},
		"down": {func() *http.Response {
			r := reply(503, "text/html", marked)
			r.Header.Set("Retry-After", "30")
			return r
		}, "", 503, 30 * time.Second, true, "503"},
		"overrun": {func() *http.Response {
			r := replyJSON(429, map[string]any{"error": "slow_down"})
			r.Header.Set("Retry-After", time.Now().Add(2*time.Minute).UTC().Format(http.TimeFormat))
			return r
		}, "slow_down", 429, 2 * time.Minute, true, "slow_down"},
		"overrun, at nonsense": {func() *http.Response {
			r := replyJSON(429, map[string]any{"error": "slow_down"})
			r.Header.Set("Retry-After", "soon")
			return r
		}, "slow_down", 429, 0, true, "slow_down"},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newOP()
			p.answer = func(*http.Request, url.Values) *http.Response { return x.answer() }
			got, err := p.client(t).Grant(t.Context(), rp.GrantRequest{Type: ticketGrant})
			var refused *rp.ProviderError
			if got != nil || !errors.As(err, &refused) {
				t.Fatalf("%s: %v, %v", name, got, err)
			}
			if refused.Endpoint != "token" || refused.Code != x.code || refused.Status != x.status || refused.RetryAfter != x.retry || errors.Is(err, rp.ErrUnavailable) != x.unavailable {
				t.Errorf("%s: %+v, retry after %v", name, err, refused.RetryAfter)
			}
			if text := printed(err); !strings.Contains(text, x.says) || strings.Contains(text, marked) {
				t.Errorf("%s: says %v, want %q", name, err, x.says)
			}
			if n := p.count(); n != 1 {
				t.Errorf("%s: %d requests", name, n)
			}
		})
	}
	p := newOP()
	p.answer = func(*http.Request, url.Values) *http.Response { return nil }
	if _, err := p.client(t).Grant(t.Context(), rp.GrantRequest{Type: ticketGrant}); !errors.Is(err, rp.ErrUnavailable) || p.count() != 1 {
		t.Errorf("no answer: %v after %d requests", err, p.count())
	}
}

func TestGrantSendsNothingAfterItsContextAndIsNotCutShort(t *testing.T) {
	p := granting(200, plainTokens)
	c := p.client(t)
	if _, err := c.Metadata(t.Context()); err != nil { // or it would end there
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Grant(ended, rp.GrantRequest{Type: ticketGrant}); !errors.Is(err, context.Canceled) || p.count() != 0 {
		t.Errorf("%v after %d requests", err, p.count())
	}
	// Once it is under way, its answer may be the only copy of what was traded in.
	ctx, cancel := context.WithCancel(t.Context())
	p.answer = func(*http.Request, url.Values) *http.Response {
		cancel()
		return replyJSON(200, plainTokens)
	}
	if got, err := c.Grant(ctx, rp.GrantRequest{Type: ticketGrant}); err != nil || got.OAuth2.AccessToken != "a" {
		t.Errorf("cut short: %v", err)
	}
}

func TestGrantEndsAfterItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		op, err := rptest.New(rptest.Options{Issuer: "https://op.example", SigningAlg: "ES256"})
		if err != nil {
			t.Fatal(err)
		}
		op.Fault(rptest.Token, rptest.Slow(time.Hour))
		c, err := rp.New(rp.Config{Issuer: op.Issuer(), ClientID: op.ClientID(), ClientSecret: op.ClientSecret(), HTTPClient: op.Client(), Timeout: 3 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if _, err := c.Grant(t.Context(), rp.GrantRequest{Type: "client_credentials"}); !errors.Is(err, rp.ErrUnavailable) || time.Since(begun) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}

func TestGrantVerifiesAnIDTokenThatComes(t *testing.T) {
	for check, bend := range map[string]func(p *op){
		"":          func(*op) {},
		"aud":       func(p *op) { p.edit = func(c map[string]any) { c["aud"] = "another" } },
		"iss":       func(p *op) { p.edit = func(c map[string]any) { c["iss"] = "https://else.example" } },
		"exp":       func(p *op) { p.edit = func(c map[string]any) { c["exp"] = time.Now().Add(-time.Hour).Unix() } },
		"at_hash":   func(p *op) { p.edit = func(c map[string]any) { c["at_hash"] = half("RS256", "another") } },
		"signature": func(p *op) { p.key = keys()["rsa2"] },
		"compact":   func(p *op) { p.wrap = func(string) string { return "opaque" } },
	} {
		p := newOP()
		bend(p)
		p.answer = func(*http.Request, url.Values) *http.Response {
			return replyJSON(200, map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": p.idToken("", "a", "")})
		}
		got, err := p.client(t).Grant(t.Context(), rp.GrantRequest{Type: ticketGrant})
		var bad *rp.TokenError
		if check == "" && (err != nil || got.IDToken.Subject != "user-1" || got.RawIDToken == "") {
			t.Errorf("a good one: %v, %v", got, err)
		}
		if check != "" && (got != nil || !errors.As(err, &bad) || bad.Check != check || !errors.Is(err, rp.ErrInvalidToken)) {
			t.Errorf("%s: %v, %v", check, got, err)
		}
	}
}

// N_A is for what a token exchange issued, and for nothing else.
func TestGrantTakesBearerTokensOnly(t *testing.T) {
	for kind, good := range map[string]bool{"Bearer": true, "bearer": true, "BEARER": true, "N_A": false, "n_a": false, "mac": false, "DPoP": false, "": false} {
		p := granting(200, map[string]any{"access_token": marked, "token_type": kind})
		c := p.client(t)
		for name, f := range map[string]func() (*rp.Tokens, error){
			"extension": func() (*rp.Tokens, error) { return c.Grant(t.Context(), rp.GrantRequest{Type: ticketGrant}) },
			"exchange, but by hand": func() (*rp.Tokens, error) {
				return c.Grant(t.Context(), rp.GrantRequest{Type: "urn:ietf:params:oauth:grant-type:token-exchange", Params: url.Values{"subject_token": {"s"}}})
			},
			"JWT bearer": func() (*rp.Tokens, error) { return c.JWTBearer(t.Context(), "assertion", rp.GrantRequest{}) },
			"password":   func() (*rp.Tokens, error) { return c.DeprecatedPassword(t.Context(), "u", "password") },
			"refresh":    func() (*rp.Tokens, error) { return c.Refresh(t.Context(), "refresh", nil) },
		} {
			_, err := f()
			if (err == nil) != good || err != nil && (!strings.Contains(err.Error(), "token_type is") || strings.Contains(printed(err), marked)) {
				t.Errorf("%s, %q: %v", name, kind, err)
			}
		}
	}
}

func TestAGrantRequestPrintsNoParameter(t *testing.T) {
	g := rp.GrantRequest{Type: ticketGrant, Scopes: []string{"x"}, Params: url.Values{"ticket": {marked}}}
	for _, v := range []any{g, &g, []any{g}} {
		text := printed(v)
		if i := strings.Index(text, `{"time"`); i >= 0 && fmt.Sprintf("%T", v) == "[]interface {}" {
			text = text[:i] // a list is JSON to slog, with exported fields
		}
		if strings.Contains(text, marked) || !strings.Contains(text, ticketGrant) {
			t.Errorf("%T prints %s", v, text)
		}
	}
}

// An extension grant without a method of its own.
func ExampleClient_Grant() {
	op, err := rptest.New(rptest.Options{Issuer: "https://op.example"})
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := rp.New(rp.Config{Issuer: op.Issuer(), ClientID: op.ClientID(), ClientSecret: op.ClientSecret(), HTTPClient: op.Client()})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = client.Grant(context.Background(), rp.GrantRequest{Type: "urn:example:grant-type:ticket", Scopes: []string{"orders"}, Params: url.Values{"ticket": {"0815"}}})
	var refused *rp.ProviderError
	if errors.As(err, &refused) {
		fmt.Println(refused.Code)
	}
	// Output: unsupported_grant_type
}
