package rp_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/rp"
)

// mismatch asserts that err is ErrMismatch about param.
func mismatch(t *testing.T, err error, param string) {
	t.Helper()
	e, ok := errors.AsType[*rp.MismatchError](err)
	if !ok || !errors.Is(err, rp.ErrMismatch) || e.Param != param {
		t.Errorf("error is %v, want a mismatch of %q", err, param)
	}
}

func TestFinishYieldsTheTokens(t *testing.T) {
	p := newOP()
	tokens, err := p.login(t, p.client(t), rp.AuthParams{})
	if err != nil {
		t.Fatal(err)
	}
	if tokens.OAuth2.AccessToken != "access-1" || tokens.OAuth2.RefreshToken != "refresh-1" || tokens.RawIDToken == "" {
		t.Errorf("tokens are %+v", *tokens.OAuth2)
	}
	id := tokens.IDToken
	if id.Issuer != testIssuer || id.Subject != "user-1" || len(id.Audience) != 1 || id.Audience[0] != testClient || id.Expiry.IsZero() || id.IssuedAt.IsZero() || id.Nonce == "" {
		t.Errorf("ID token is %#v", id)
	}
	if strings.Join(tokens.Scope, " ") != "openid profile email" {
		t.Errorf("scope is %q", tokens.Scope)
	}
	form := p.last().form
	for name, want := range map[string]string{"grant_type": "authorization_code", "redirect_uri": testCallback, "code": "code-1"} {
		if form.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, form.Get(name), want)
		}
	}
}

func TestTheScopeIsWhatWasAskedForWhenTheProviderIsSilent(t *testing.T) {
	p := newOP()
	p.tokens = func(m map[string]any) { delete(m, "scope") }
	tokens, err := p.login(t, p.client(t), rp.AuthParams{Scopes: []string{"reports"}})
	if err != nil || strings.Join(tokens.Scope, " ") != "openid profile email reports" {
		t.Errorf("%v, %v", tokens, err)
	}
	p.tokens = func(m map[string]any) { m["scope"] = "openid  reports" }
	tokens, err = p.login(t, p.client(t), rp.AuthParams{Scopes: []string{"reports"}})
	if err != nil || strings.Join(tokens.Scope, " ") != "openid reports" {
		t.Errorf("%v, %v", tokens, err)
	}
}

// Each row changes an honest answer or login; the token endpoint must never hear of it.
func TestFinishRefusesAnAnswerThatIsNotThisLogins(t *testing.T) {
	for name, x := range map[string]struct {
		change func(login *rp.Login, answer url.Values)
		param  string
	}{
		"state missing":             {func(_ *rp.Login, a url.Values) { a.Del("state") }, "state"},
		"state empty":               {func(_ *rp.Login, a url.Values) { a.Set("state", "") }, "state"},
		"state empty on both sides": {func(l *rp.Login, a url.Values) { l.State = ""; a.Set("state", "") }, "state"},
		"state of another login":    {func(_ *rp.Login, a url.Values) { a.Set("state", strings.Repeat("x", 43)) }, "state"},
		"state longer":              {func(_ *rp.Login, a url.Values) { a.Set("state", a.Get("state")+"x") }, "state"},
		"state in other case":       {func(_ *rp.Login, a url.Values) { a.Set("state", swapCase(a.Get("state"))) }, "state"},
		"other issuer":              {func(l *rp.Login, _ url.Values) { l.Issuer = "https://other.example" }, "login"},
		"other client":              {func(l *rp.Login, _ url.Values) { l.ClientID = "other" }, "login"},
		"other redirect URL":        {func(l *rp.Login, _ url.Values) { l.RedirectURL = "https://shop.example/other" }, "login"},
		"login without nonce":       {func(l *rp.Login, _ url.Values) { l.Nonce = "" }, "login"},
		"login without verifier":    {func(l *rp.Login, _ url.Values) { l.Verifier = "" }, "login"},
		"no code":                   {func(_ *rp.Login, a url.Values) { a.Del("code") }, "code"},
		"empty code":                {func(_ *rp.Login, a url.Values) { a.Set("code", "") }, "code"},
		"front-channel ID token":    {func(_ *rp.Login, a url.Values) { a.Set("id_token", "x.y.z") }, "response_type"},
		"access token only":         {func(_ *rp.Login, a url.Values) { a.Del("code"); a.Set("access_token", "x") }, "response_type"},
		"wrong iss unannounced":     {func(_ *rp.Login, a url.Values) { a.Set("iss", "https://other.example") }, "iss"},
		"iss without its slash":     {func(_ *rp.Login, a url.Values) { a.Set("iss", strings.TrimSuffix(testIssuer, "/")) }, "iss"},
		"iss empty":                 {func(_ *rp.Login, a url.Values) { a.Set("iss", "") }, "iss"},
		"error with wrong iss": {func(_ *rp.Login, a url.Values) {
			a.Del("code")
			a.Set("error", "access_denied")
			a.Set("iss", "https://other.example")
		}, "iss"},
		"error with wrong state": {func(_ *rp.Login, a url.Values) {
			a.Del("code")
			a.Set("error", "access_denied")
			a.Set("state", "x")
		}, "state"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newOP()
			c := p.client(t)
			login, err := c.Begin(t.Context(), rp.AuthParams{})
			if err != nil {
				t.Fatal(err)
			}
			answer := p.authorize(t, login)
			x.change(login, answer)
			tokens, err := c.Finish(t.Context(), login, answer)
			mismatch(t, err, x.param)
			if tokens != nil || p.count() != 0 {
				t.Errorf("the token endpoint was asked %d times", p.count())
			}
		})
	}
}

func swapCase(s string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		if 'A' <= r && r <= 'Z' {
			return r - 'A' + 'a'
		}
		return r
	}, s)
}

func TestFinishRefusesEveryDoubledParameter(t *testing.T) {
	for _, name := range []string{"state", "code", "iss", "error", "error_description", "error_uri", "id_token", "access_token", "session_state"} {
		p := newOP()
		c := p.client(t)
		login, err := c.Begin(t.Context(), rp.AuthParams{})
		if err != nil {
			t.Fatal(err)
		}
		answer := p.authorize(t, login)
		v := answer.Get(name)
		if v == "" {
			v = "x"
		}
		answer[name] = []string{v, v}
		_, err = c.Finish(t.Context(), login, answer)
		mismatch(t, err, "duplicate")
		if p.count() != 0 {
			t.Errorf("%s: the token endpoint was asked", name)
		}
	}
}

func TestFinishToleratesParametersOfNoConcern(t *testing.T) {
	p := newOP()
	c := p.client(t)
	login, err := c.Begin(t.Context(), rp.AuthParams{})
	if err != nil {
		t.Fatal(err)
	}
	answer := p.authorize(t, login)
	answer["scope"] = []string{"openid", "openid"}
	answer.Set("session_state", "abc=")
	answer.Set("unknown", "x")
	answer.Set("iss", testIssuer)
	if _, err := c.Finish(t.Context(), login, answer); err != nil {
		t.Error(err)
	}
}

func TestFinishNeedsALoginOfThisBrowser(t *testing.T) {
	_, err := newOP().client(t).Finish(t.Context(), nil, url.Values{"code": {"c"}, "state": {"s"}})
	mismatch(t, err, "login")
}

func TestFinishDemandsIssWhereTheProviderAnnouncesIt(t *testing.T) {
	for name, x := range map[string]struct {
		iss    []string
		quirk  bool
		passes bool
	}{
		"right":              {[]string{testIssuer}, false, true},
		"missing":            {nil, false, false},
		"wrong":              {[]string{testIssuer + "x"}, false, false},
		"missing, ignored":   {nil, true, true},
		"wrong, ignored":     {[]string{testIssuer + "x"}, true, true},
		"twice even ignored": {[]string{testIssuer, testIssuer}, true, false},
	} {
		p := newOP()
		p.metadata["authorization_response_iss_parameter_supported"] = true
		c := p.client(t, func(c *rp.Config) { c.Quirks.IgnoreIssParameter = x.quirk })
		login, err := c.Begin(t.Context(), rp.AuthParams{})
		if err != nil {
			t.Fatal(err)
		}
		answer := p.authorize(t, login)
		if x.iss != nil {
			answer["iss"] = x.iss
		}
		_, err = c.Finish(t.Context(), login, answer)
		if x.passes != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
		if !x.passes && (!errors.Is(err, rp.ErrMismatch) || p.count() != 0) {
			t.Errorf("%s: %v after %d token requests", name, err, p.count())
		}
	}
}

func TestAnErrorAnswerIsAProviderError(t *testing.T) {
	p := newOP()
	c := p.client(t)
	login, err := c.Begin(t.Context(), rp.AuthParams{})
	if err != nil {
		t.Fatal(err)
	}
	answer := p.authorize(t, login)
	answer.Set("error", "login_required")
	answer.Set("error_description", "log\r\nin\x00 <script>"+strings.Repeat("ä", 400))
	answer.Set("error_uri", "https://op.example/err")
	_, err = c.Finish(t.Context(), login, answer) // an honest-looking code is beside it
	e, ok := errors.AsType[*rp.ProviderError](err)
	if !ok || e.Endpoint != "authorization" || e.Code != "login_required" || e.Status != 0 || e.URI != "https://op.example/err" {
		t.Fatalf("error is %#v", err)
	}
	if len(e.Description) > 256 || strings.ContainsAny(e.Description, "\r\n\x00") || !strings.HasPrefix(e.Description, "login <script>ä") {
		t.Errorf("description is %q", e.Description)
	}
	if p.count() != 0 {
		t.Error("the code beside the error was redeemed")
	}
}

func TestACodeIsSentOnce(t *testing.T) {
	p := newOP()
	p.answer = func(*http.Request, url.Values) *http.Response {
		return replyJSON(401, map[string]any{"error": "invalid_client"})
	}
	if _, err := p.login(t, p.client(t), rp.AuthParams{}); err == nil || p.count() != 1 {
		t.Errorf("%v after %d requests", err, p.count())
	}
	p.answer = func(*http.Request, url.Values) *http.Response { return nil } // the connection breaks
	if _, err := p.login(t, p.client(t), rp.AuthParams{}); !errors.Is(err, rp.ErrUnavailable) || p.count() != 2 {
		t.Errorf("%v after %d requests", err, p.count())
	}
}

func TestFinishWithoutAnIDTokenIsNoLogin(t *testing.T) {
	for _, v := range []any{nil, ""} {
		p := newOP()
		p.tokens = func(m map[string]any) { m["id_token"] = v }
		_, err := p.login(t, p.client(t), rp.AuthParams{})
		if e, ok := errors.AsType[*rp.TokenError](err); !ok || e.Check != "missing" || !errors.Is(err, rp.ErrInvalidToken) {
			t.Errorf("%v: %v", v, err)
		}
	}
}

func TestFinishWithKeysOutOfReachIsUnavailable(t *testing.T) {
	p := newOP()
	cut := &http.Client{Transport: tripper(func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/jwks") {
			return nil, io.ErrUnexpectedEOF
		}
		return p.RoundTrip(r)
	})}
	_, err := p.login(t, p.client(t, func(c *rp.Config) { c.HTTPClient = cut }), rp.AuthParams{})
	if !errors.Is(err, rp.ErrUnavailable) || errors.Is(err, rp.ErrInvalidToken) {
		t.Errorf("error is %v", err)
	}
}

func TestTheCallersEndDoesNotCutTheCodeExchange(t *testing.T) {
	p := newOP()
	c := p.client(t)
	login, err := c.Begin(t.Context(), rp.AuthParams{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p.answer = func(_ *http.Request, form url.Values) *http.Response {
		cancel() // the browser's tab is closed while the provider works
		return p.token(form)
	}
	if _, err := c.Finish(ctx, login, p.authorize(t, login)); err != nil {
		t.Errorf("error is %v", err)
	}
	if _, err := c.Finish(ctx, login, url.Values{"code": {"c"}, "state": {login.State}}); !errors.Is(err, context.Canceled) || p.count() != 1 {
		t.Errorf("one that ended before: %v after %d requests", err, p.count())
	}
}
