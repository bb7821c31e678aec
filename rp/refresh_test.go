package rp_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/rp"
)

// loggedIn is a client with the tokens of a finished login.
func loggedIn(t *testing.T, p *op, change ...func(*rp.Config)) (*rp.Client, *rp.Tokens) {
	t.Helper()
	c := p.client(t, change...)
	tokens, err := p.login(t, c, rp.AuthParams{})
	if err != nil {
		t.Fatal(err)
	}
	return c, tokens
}

func TestRefreshYieldsNewTokensAndKeepsThePromisesOfTheLogin(t *testing.T) {
	p := newOP()
	c, before := loggedIn(t, p)
	after, err := c.Refresh(t.Context(), before.OAuth2.RefreshToken, before.IDToken)
	if err != nil {
		t.Fatal(err)
	}
	if after.OAuth2.AccessToken != "access-2" || after.OAuth2.RefreshToken != "refresh-2" || after.IDToken.Subject != "user-1" || after.RawIDToken == "" {
		t.Errorf("tokens are %+v", *after.OAuth2)
	}
	form := p.last().form
	if form.Get("grant_type") != "refresh_token" || form.Get("refresh_token") != "refresh-1" || form.Has("scope") {
		t.Errorf("sent %v", form)
	}
	if p.last().header.Get("Authorization") == "" {
		t.Error("the client did not prove who it is")
	}
}

func TestTheOldRefreshTokenStaysWhenNoneComes(t *testing.T) {
	for _, v := range []any{nil, ""} {
		p := newOP()
		c, before := loggedIn(t, p)
		p.tokens = func(m map[string]any) { m["refresh_token"] = v; delete(m, "scope") }
		after, err := c.Refresh(t.Context(), "refresh-1", before.IDToken)
		if err != nil || after.OAuth2.RefreshToken != "refresh-1" || after.Scope != nil {
			t.Errorf("%v, %v", after, err)
		}
	}
}

func TestARefreshWithoutIDTokenIsFine(t *testing.T) {
	p := newOP()
	c, before := loggedIn(t, p)
	p.tokens = func(m map[string]any) { delete(m, "id_token"); m["scope"] = "openid admin" }
	after, err := c.Refresh(t.Context(), "refresh-1", before.IDToken)
	if err != nil || after.IDToken != nil || after.RawIDToken != "" || strings.Join(after.Scope, " ") != "openid admin" {
		t.Errorf("%v, %v", after, err)
	}
}

func TestARefreshedIDTokenMustBeOfTheSameLogin(t *testing.T) {
	start := now(-100)
	for name, x := range map[string]struct {
		first      func(c map[string]any) // the login's
		pass, fail func(c map[string]any)
		check      string
	}{
		"sub-changed-on-refresh": {fail: func(c map[string]any) { c["sub"] = "user-2" }, check: "sub"},
		"sub-in-other-case":      {fail: func(c map[string]any) { c["sub"] = "User-1" }, check: "sub"},
		"iss":                    {fail: func(c map[string]any) { c["iss"] = testIssuer + "1" }, check: "iss"},
		"aud less":               {first: func(c map[string]any) { c["aud"], c["azp"] = []string{testClient, "b"}, testClient }, pass: func(c map[string]any) { c["aud"], c["azp"] = []string{"b", testClient}, testClient }, fail: func(c map[string]any) { c["azp"] = testClient }, check: "aud"},
		"aud more":               {fail: func(c map[string]any) { c["aud"] = []string{testClient, "b"} }, check: "aud"},
		"azp gone":               {first: func(c map[string]any) { c["azp"] = testClient }, pass: func(c map[string]any) { c["azp"] = testClient }, fail: func(c map[string]any) {}, check: "azp"},
		"azp other":              {pass: func(c map[string]any) { c["azp"] = testClient }, fail: func(c map[string]any) { c["azp"] = "other" }, check: "azp"},
		"auth_time":              {first: func(c map[string]any) { c["auth_time"] = start }, pass: func(c map[string]any) { c["auth_time"] = start }, fail: func(c map[string]any) { c["auth_time"] = start - 1 }, check: "auth_time"},
		"auth_time later":        {first: func(c map[string]any) { c["auth_time"] = start }, pass: func(c map[string]any) {}, fail: func(c map[string]any) { c["auth_time"] = start + 1 }, check: "auth_time"},
		"iat before":             {pass: func(c map[string]any) { c["iat"] = now(-30) }, fail: func(c map[string]any) { c["iat"] = now(-120) }, check: "iat"},
		"nonce of another":       {pass: func(c map[string]any) { delete(c, "nonce") }, fail: func(c map[string]any) { c["nonce"] = "other" }, check: "nonce"},
		"nonce empty":            {fail: func(c map[string]any) { c["nonce"] = "" }, check: "nonce"},
		"at_hash":                {pass: func(c map[string]any) { delete(c, "at_hash") }, fail: func(c map[string]any) { c["at_hash"] = half("RS256", "access-1") }, check: "at_hash"},
		"exp":                    {fail: func(c map[string]any) { c["exp"] = now(-90) }, check: "exp"},
		"events":                 {fail: func(c map[string]any) { c["events"] = map[string]any{} }, check: "events"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newOP()
			p.edit = x.first
			c, before := loggedIn(t, p)
			p.edit = x.pass
			if _, err := c.Refresh(t.Context(), "refresh-1", before.IDToken); err != nil {
				t.Errorf("the neighbour that should pass: %v", err)
			}
			p.edit = x.fail
			tokens, err := c.Refresh(t.Context(), "refresh-2", before.IDToken)
			if e, ok := errors.AsType[*rp.TokenError](err); !ok || e.Check != x.check || tokens != nil {
				t.Errorf("error is %v, want a failed %s", err, x.check)
			}
		})
	}
}

func TestTheLoginsOwnNonceMayComeAgain(t *testing.T) {
	p := newOP()
	c, before := loggedIn(t, p)
	p.edit = func(c map[string]any) { c["nonce"] = before.IDToken.Nonce }
	if _, err := c.Refresh(t.Context(), "refresh-1", before.IDToken); err != nil {
		t.Error(err)
	}
}

// Both issuers are acceptable at a login; a session keeps to its own.
func TestARefreshDoesNotMoveToAnotherIssuer(t *testing.T) {
	p := newOP()
	alias := func(c *rp.Config) { c.Quirks.IssuerAliases = []string{"op.example"} }
	c, before := loggedIn(t, p, alias)
	p.edit = func(c map[string]any) { c["iss"] = "op.example" }
	_, err := c.Refresh(t.Context(), "refresh-1", before.IDToken)
	if e, ok := errors.AsType[*rp.TokenError](err); !ok || e.Check != "iss" {
		t.Errorf("error is %v", err)
	}
	if _, err := c.Refresh(t.Context(), "refresh-1", nil); err != nil {
		t.Errorf("without a former ID token: %v", err)
	}
}

func TestANonceOutOfNowhereIsRefused(t *testing.T) {
	p := newOP()
	c, before := loggedIn(t, p)
	before.IDToken.Nonce = ""
	for _, nonce := range []string{"", "x"} {
		p.edit = func(c map[string]any) { c["nonce"] = nonce }
		_, err := c.Refresh(t.Context(), "refresh-1", before.IDToken)
		if e, ok := errors.AsType[*rp.TokenError](err); !ok || e.Check != "nonce" {
			t.Errorf("%q: %v", nonce, err)
		}
	}
}

func TestAnUnsignedRefreshedIDTokenIsRefused(t *testing.T) {
	p := newOP()
	c, before := loggedIn(t, p)
	p.wrap = func(raw string) string { return raw[:strings.LastIndex(raw, ".")+1] }
	if _, err := c.Refresh(t.Context(), "refresh-1", before.IDToken); !errors.Is(err, rp.ErrInvalidToken) {
		t.Errorf("unsigned: %v", err)
	}
	p.wrap, p.alg = nil, "none"
	if _, err := c.Refresh(t.Context(), "refresh-1", before.IDToken); !errors.Is(err, rp.ErrInvalidToken) {
		t.Errorf("none: %v", err)
	}
}

func TestARefreshTokenIsSentOnceWhateverHappens(t *testing.T) {
	for name, answer := range map[string]func(*http.Request, url.Values) *http.Response{
		"401":        func(*http.Request, url.Values) *http.Response { return reply(401, "", "") },
		"400":        func(*http.Request, url.Values) *http.Response { return replyJSON(400, map[string]any{"error": "x"}) },
		"500":        func(*http.Request, url.Values) *http.Response { return reply(500, "", "") },
		"connection": func(*http.Request, url.Values) *http.Response { return nil },
		"garbage":    func(*http.Request, url.Values) *http.Response { return reply(200, "text/html", "<p>") },
		"EOF in the body": func(*http.Request, url.Values) *http.Response {
			r := reply(200, "application/json", "")
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"access_token":`), broken{}))
			return r
		},
	} {
		p := newOP()
		c, before := loggedIn(t, p)
		p.answer = answer
		sent := p.count()
		if _, err := c.Refresh(t.Context(), "refresh-1", before.IDToken); err == nil || p.count() != sent+1 {
			t.Errorf("%s: %v after %d requests", name, err, p.count()-sent)
		}
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// The provider rotates, the caller goes: the new refresh token must still arrive.
func TestTheCallersEndDoesNotLoseARotatedToken(t *testing.T) {
	p := newOP()
	c, before := loggedIn(t, p)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	p.answer = func(_ *http.Request, form url.Values) *http.Response {
		cancel()
		return p.token(form)
	}
	after, err := c.Refresh(ctx, "refresh-1", before.IDToken)
	if err != nil || after.OAuth2.RefreshToken != "refresh-2" {
		t.Errorf("%v, %v", after, err)
	}
	sent := p.count()
	if _, err := c.Refresh(ctx, "refresh-2", before.IDToken); !errors.Is(err, context.Canceled) || p.count() != sent {
		t.Errorf("one that ended before: %v", err)
	}
}

func TestARotatedTokenSurvivesKeysOutOfReach(t *testing.T) {
	p := newOP()
	down := false
	cut := &http.Client{Transport: tripper(func(r *http.Request) (*http.Response, error) {
		if down && r.URL.Path == "/jwks" {
			return nil, io.ErrUnexpectedEOF
		}
		return p.RoundTrip(r)
	})}
	c, before := loggedIn(t, p, func(c *rp.Config) { c.HTTPClient = cut })
	down = true
	p.header = map[string]any{"kid": "new"} // a key this process does not know yet
	after, err := c.Refresh(t.Context(), "refresh-1", before.IDToken)
	if !errors.Is(err, rp.ErrUnavailable) || after == nil || after.OAuth2.RefreshToken != "refresh-2" || after.OAuth2.AccessToken != "" || after.IDToken != nil {
		t.Errorf("%v, %v", after, err)
	}
}

func TestRefreshNeedsAToken(t *testing.T) {
	p := newOP()
	if _, err := p.client(t).Refresh(t.Context(), "", nil); err == nil || !strings.Contains(err.Error(), "no refresh token") || p.count() != 0 {
		t.Errorf("error is %v", err)
	}
}

func TestWhatEndsASessionAndWhatDoesNot(t *testing.T) {
	for name, x := range map[string]struct {
		status int
		body   string
		over   bool
	}{
		"invalid_grant":             {400, `{"error":"invalid_grant"}`, true},
		"invalid_grant 401":         {401, `{"error":"invalid_grant"}`, true},
		"invalid_grant 403":         {403, `{"error":"invalid_grant"}`, true},
		"dex":                       {400, `{"error":"invalid_request"}`, true},
		"glewlwyd":                  {400, ``, true},
		"unknown code":              {400, `{"error":"token_expired"}`, true},
		"invalid_client":            {401, `{"error":"invalid_client"}`, false},
		"invalid_client 400":        {400, `{"error":"invalid_client"}`, false},
		"unauthorized_client":       {400, `{"error":"unauthorized_client"}`, false},
		"unsupported_grant_type":    {400, `{"error":"unsupported_grant_type"}`, false},
		"temporarily_unavailable":   {400, `{"error":"temporarily_unavailable"}`, false},
		"glewlwyd wrong secret":     {403, ``, false},
		"too many":                  {429, `{"error":"slow_down"}`, false},
		"500":                       {500, `{"error":"invalid_grant"}`, false},
		"200 that is no answer":     {200, `{}`, false},
		"redirect":                  {302, ``, false},
		"503 of a proxy in between": {503, `<html>`, false},
	} {
		p := newOP()
		c, before := loggedIn(t, p)
		p.answer = func(*http.Request, url.Values) *http.Response { return reply(x.status, "application/json", x.body) }
		_, err := c.Refresh(t.Context(), "refresh-1", before.IDToken)
		if err == nil || rp.IsInvalidGrant(err) != x.over {
			t.Errorf("%s: %v, over: %v", name, err, rp.IsInvalidGrant(err))
		}
	}
	for name, err := range map[string]error{
		"nil": nil, "unavailable": rp.ErrUnavailable, "token": &rp.TokenError{}, "other endpoint": &rp.ProviderError{Endpoint: "userinfo", Status: 401},
	} {
		if rp.IsInvalidGrant(err) {
			t.Errorf("%s ends the session", name)
		}
	}
}

func TestParseIDTokenReadsBackWhatALoginVerified(t *testing.T) {
	p := newOP()
	p.edit = func(c map[string]any) {
		c["auth_time"], c["acr"], c["amr"], c["sid"], c["azp"] = now(-5), "gold", []string{"pwd", "otp"}, "s-1", testClient
	}
	_, tokens := loggedIn(t, p)
	id, err := rp.ParseIDToken(tokens.RawIDToken)
	if err != nil {
		t.Fatal(err)
	}
	if id.Issuer != testIssuer || id.Subject != "user-1" || id.Nonce != tokens.IDToken.Nonce || !id.AuthTime.Equal(tokens.IDToken.AuthTime) ||
		id.ACR != "gold" || strings.Join(id.AMR, " ") != "pwd otp" || id.SessionID != "s-1" || id.AuthorizedParty != testClient || !id.Expiry.Equal(tokens.IDToken.Expiry) {
		t.Errorf("read %#v", id)
	}
	for _, bad := range []string{"", "x", "a.b.c", "a.b.c.d.e", tokens.RawIDToken + "."} {
		if id, err := rp.ParseIDToken(bad); err == nil || id != nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestTheEndOfARefreshTokenIsReadWhereverItIsSaid(t *testing.T) {
	for name, c := range map[string]struct {
		members map[string]any
		want    time.Duration // zero: none
	}{
		"nothing":              {nil, 0},
		"Keycloak":             {map[string]any{"refresh_expires_in": 1800}, 30 * time.Minute},
		"Keycloak, offline":    {map[string]any{"refresh_expires_in": 0}, 0},
		"Microsoft":            {map[string]any{"refresh_token_expires_in": 86400}, 24 * time.Hour},
		"the session's":        {map[string]any{"session_expires_in": 60.9}, time.Minute},
		"a number in a string": {map[string]any{"refresh_token_expires_in": "600"}, 10 * time.Minute},
		"the earliest counts":  {map[string]any{"refresh_expires_in": 1800, "session_expires_in": 600}, 10 * time.Minute},
		"beside an offline 0":  {map[string]any{"refresh_expires_in": 0, "session_expires_in": 600}, 10 * time.Minute},
		"negative":             {map[string]any{"refresh_expires_in": -1}, 0},
		"not a number":         {map[string]any{"refresh_expires_in": "NaN"}, 0},
		"no scalar":            {map[string]any{"refresh_expires_in": []int{1}}, 0},
		"beyond any clock":     {map[string]any{"refresh_expires_in": 1e300}, (1<<31 - 1) * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			p := newOP()
			p.tokens = func(m map[string]any) {
				for member, v := range c.members {
					m[member] = v
				}
			}
			client, at := p.client(t), time.Now()
			login, err := p.login(t, client, rp.AuthParams{})
			if err != nil {
				t.Fatal(err)
			}
			after, err := client.Refresh(t.Context(), "refresh-1", login.IDToken)
			if err != nil {
				t.Fatal(err)
			}
			for which, tokens := range map[string]*rp.Tokens{"login": login, "refresh": after} {
				end := tokens.RefreshExpiry
				if c.want == 0 && !end.IsZero() || c.want > 0 && (end.Before(at.Add(c.want)) || end.After(time.Now().Add(c.want))) {
					t.Errorf("%s: the end is %v from now, want %v", which, time.Until(end), c.want)
				}
			}
		})
	}
}
