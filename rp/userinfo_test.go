package rp_test

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/rp"
)

// userInfoOP is a provider whose UserInfo, revocation and logout endpoints answer as told.
func userInfoOP(answer func(r *http.Request) *http.Response) *op {
	p := newOP()
	base := strings.TrimSuffix(p.issuer, "/")
	p.metadata["userinfo_endpoint"] = base + "/userinfo"
	p.metadata["revocation_endpoint"] = base + "/revoke"
	p.metadata["end_session_endpoint"] = base + "/logout"
	p.other = answer
	return p
}

func userInfo(t *testing.T, p *op, change ...func(*rp.Config)) (rp.Claims, error) {
	t.Helper()
	c, err := p.client(t, change...).UserInfo(t.Context(), "marked-token", "alice")
	if err != nil && strings.Contains(err.Error(), "marked-token") {
		t.Errorf("the token is in %v", err)
	}
	return c, err
}

func jsonAnswer(status int, body string) func(*http.Request) *http.Response {
	return func(*http.Request) *http.Response { return reply(status, "application/json", body) }
}

func TestOIDCCClientTestScopeUserInfoClaims(t *testing.T) {
	for media, body := range map[string]string{
		"application/json": `{"sub":"alice","name":"Alice"}`, "application/json; charset=utf-8": `{"sub":"alice","name":"Alice"}`,
		"application/json;charset=UTF-8": `{"sub":"alice","name":"Alice","iss":"x","aud":"y","exp":1,"nonce":"n","at_hash":"h","acr":"0","rat":7}`, // dex and hydra say more than asked
	} {
		p := userInfoOP(func(*http.Request) *http.Response { return reply(200, media, body) })
		c, err := userInfo(t, p)
		if err != nil || c.Name() != "Alice" {
			t.Errorf("%s: %v %v", media, c, err)
		}
	}
}

func TestOIDCCClientTestUserInfoBearerHeader(t *testing.T) {
	p := userInfoOP(jsonAnswer(200, `{"sub":"alice"}`))
	if _, err := userInfo(t, p); err != nil {
		t.Fatal(err)
	}
	last := p.sent[len(p.sent)-1]
	if last.header.Get("Authorization") != "Bearer marked-token" || len(last.form) != 0 || strings.Contains(last.path, "marked") {
		t.Errorf("%+v", last)
	}
}

func TestOIDCCClientTestUserInfoInvalidSub(t *testing.T) {
	for _, body := range []string{`{"sub":"aliceinvalid"}`, `{"sub":"Alice"}`, `{"sub":""}`, `{"sub":7}`, `{"name":"Alice"}`, `{"sub":null}`, `{"sub":"alice","SUB":"bob"}`, `{"SUB":"alice"}`, `{"sub":"bob","sub":"alice"}`, `{"status":"error","msg":"x"}`} {
		c, err := userInfo(t, userInfoOP(jsonAnswer(200, body)))
		var bad *rp.TokenError
		if !errors.As(err, &bad) || bad.Check != "sub" && bad.Check != "json" || c.Has("name") {
			t.Errorf("%s: %v %v", body, c, err)
		}
	}
}

// signed is a signed UserInfo answer of the provider's key.
func signed(p *op, change map[string]any, header map[string]any) func(*http.Request) *http.Response {
	claims := map[string]any{"iss": p.issuer, "aud": testClient, "sub": "alice", "name": "Alice"}
	for name, v := range change {
		if v == nil {
			delete(claims, name)
		} else {
			claims[name] = v
		}
	}
	for name, v := range header {
		p.header[name] = v
	}
	return func(*http.Request) *http.Response { return reply(200, "application/jwt", p.seal(claims)) }
}

func TestOIDCCClientTestUserInfoSigned(t *testing.T) {
	strict := func(c *rp.Config) { c.UserInfoSigningAlg = "RS256" }
	for name, c := range map[string]struct {
		change, header map[string]any
		strict         bool
		check          string // "" is good
	}{
		"good":                                {check: ""},
		"good and registered":                 {strict: true},
		"BankID: not registered, still a JWT": {change: map[string]any{"aud": nil, "iss": nil}},
		"no aud though registered":            {change: map[string]any{"aud": nil}, strict: true, check: "aud"},
		"no iss though registered":            {change: map[string]any{"iss": nil}, strict: true, check: "iss"},
		"another aud":                         {change: map[string]any{"aud": "other"}, check: "aud"},
		"a list of aud":                       {change: map[string]any{"aud": []string{"other", testClient}}},
		"another iss":                         {change: map[string]any{"iss": "https://evil.example"}, check: "iss"},
		"another sub":                         {change: map[string]any{"sub": "bob"}, check: "sub"},
		"an access token":                     {header: map[string]any{"typ": "at+jwt"}, check: "typ"},
		"a logout token":                      {change: map[string]any{"events": map[string]any{}}, check: "events"},
		"an unknown key":                      {header: map[string]any{"kid": "nobody"}, check: "kid"},
	} {
		p := userInfoOP(nil)
		p.other = signed(p, c.change, c.header)
		var changes []func(*rp.Config)
		if c.strict {
			changes = append(changes, strict)
		}
		got, err := userInfo(t, p, changes...)
		var bad *rp.TokenError
		switch {
		case c.check == "" && (err != nil || got.Name() != "Alice"):
			t.Errorf("%s: %v", name, err)
		case c.check != "" && (!errors.As(err, &bad) || bad.Check != c.check):
			t.Errorf("%s: %v, want %s", name, err, c.check)
		}
	}
}

func TestASignedUserInfoIsVerified(t *testing.T) {
	p := userInfoOP(nil)
	honest := signed(p, nil, nil)
	p.other = func(r *http.Request) *http.Response {
		resp := honest(r)
		body, _ := io.ReadAll(resp.Body)
		return reply(200, "application/jwt", string(body[:len(body)-8])+"AAAAAAAA")
	}
	var bad *rp.TokenError
	if _, err := userInfo(t, p); !errors.As(err, &bad) || bad.Check != "signature" && bad.Check != "base64" {
		t.Errorf("a bad signature: %v", err)
	}
	p = userInfoOP(jsonAnswer(200, `{"sub":"alice"}`))
	if _, err := userInfo(t, p, func(c *rp.Config) { c.UserInfoSigningAlg = "RS256" }); !errors.As(err, &bad) || bad.Check != "signature" {
		t.Errorf("plain JSON where a signature is registered: %v", err)
	}
	p = userInfoOP(func(*http.Request) *http.Response {
		return reply(200, "application/jwt", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.")
	})
	if _, err := userInfo(t, p); !errors.As(err, &bad) || bad.Check != "alg" {
		t.Errorf("unsigned: %v", err)
	}
}

func TestProvidersRefuseATokenAtUserInfoInManyWays(t *testing.T) {
	with := func(status int, media, body, challenge string) func(*http.Request) *http.Response {
		return func(*http.Request) *http.Response {
			r := reply(status, media, body)
			if challenge != "" {
				r.Header.Set("WWW-Authenticate", challenge)
			}
			return r
		}
	}
	for name, c := range map[string]struct {
		answer func(*http.Request) *http.Response
		code   string
	}{
		"panva":           {with(401, "application/json", `{"error":"invalid_token","error_description":"marked-token"}`, `Bearer realm="x", error="invalid_token"`), "invalid_token"},
		"a challenge":     {with(401, "", "", `Bearer error="invalid_token", error_description="x"`), "invalid_token"},
		"hydra, authelia": {with(401, "application/json", `{"error":"request_unauthorized"}`, ""), "request_unauthorized"},
		"zitadel":         {with(401, "text/plain", "access token invalid", ""), ""},
		"glewlwyd":        {with(401, "", "", ""), ""},
		"dex":             {with(403, "application/json", `{"error":"access_denied"}`, ""), "access_denied"},
	} {
		_, err := userInfo(t, userInfoOP(c.answer))
		var no *rp.ProviderError
		if !errors.As(err, &no) || no.Code != c.code || !rp.IsUnauthorized(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for status, want := range map[int]bool{404: false, 400: false, 500: false} {
		if _, err := userInfo(t, userInfoOP(with(status, "text/html", "<p>", ""))); rp.IsUnauthorized(err) != want || err == nil {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestUserInfoTakesNothingElse(t *testing.T) {
	for name, answer := range map[string]func(*http.Request) *http.Response{
		"a page":          func(*http.Request) *http.Response { return reply(200, "text/html", `{"sub":"alice"}`) },
		"no content type": func(*http.Request) *http.Response { return reply(200, "", `{"sub":"alice"}`) },
		"plain text":      func(*http.Request) *http.Response { return reply(200, "text/plain", `{"sub":"alice"}`) },
		"an endless answer": func(*http.Request) *http.Response {
			return reply(200, "application/json", `{"sub":"alice","x":"`+strings.Repeat("x", 1<<20)+`"}`)
		},
		"204":              func(*http.Request) *http.Response { return reply(204, "", "") },
		"a truncated one":  jsonAnswer(200, `{"sub":"alice"`),
		"trailing garbage": jsonAnswer(200, `{"sub":"alice"}x`),
		"a list":           jsonAnswer(200, `[{"sub":"alice"}]`),
	} {
		if c, err := userInfo(t, userInfoOP(answer)); err == nil {
			t.Errorf("%s: %v", name, c)
		}
	}
}

func TestUserInfoFollowsNoRedirect(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		stranger := 0
		p := userInfoOP(func(r *http.Request) *http.Response {
			if r.URL.Host == "evil.example" {
				stranger++
			}
			resp := reply(status, "", "")
			resp.Header.Set("Location", "https://evil.example/userinfo")
			return resp
		})
		var no *rp.ProviderError
		if _, err := userInfo(t, p); !errors.As(err, &no) || no.Status != status || stranger != 0 {
			t.Errorf("%d: %v, %d requests to the stranger", status, err, stranger)
		}
	}
}

func TestUserInfoOfAProviderThatIsAwayOrHasNone(t *testing.T) {
	if _, err := userInfo(t, userInfoOP(func(*http.Request) *http.Response { return nil })); !errors.Is(err, rp.ErrUnavailable) {
		t.Errorf("down: %v", err)
	}
	if _, err := userInfo(t, userInfoOP(jsonAnswer(503, ""))); !errors.Is(err, rp.ErrUnavailable) {
		t.Errorf("503: %v", err)
	}
	if _, err := userInfo(t, newOP()); !errors.Is(err, rp.ErrNoEndpoint) {
		t.Errorf("none: %v", err)
	}
	// Entra's is on another host, and that is fine.
	p := userInfoOP(jsonAnswer(200, `{"sub":"alice"}`))
	p.metadata["userinfo_endpoint"] = "https://graph.example/oidc/userinfo"
	if _, err := userInfo(t, p); err != nil {
		t.Errorf("another host: %v", err)
	}
	p.metadata["userinfo_endpoint"] = "http://graph.example/oidc/userinfo"
	if _, err := userInfo(t, p); err == nil {
		t.Error("http was used")
	}
}

func FuzzUserInfo(f *testing.F) {
	f.Add("application/json", `{"sub":"alice","name":"x"}`)
	f.Add("application/jwt", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.")
	f.Add("text/html", "<html>")
	f.Fuzz(func(t *testing.T, media, body string) {
		p := userInfoOP(func(*http.Request) *http.Response { return reply(200, media, body) })
		c, err := p.client(t).UserInfo(t.Context(), "token", "alice")
		if err == nil && c.Subject() != "alice" {
			t.Errorf("%q %q: %s", media, body, c.Raw())
		}
	})
}

func logoutURL(t *testing.T, p *op, raw, state string, change ...func(*rp.Config)) *url.URL {
	t.Helper()
	to, err := p.client(t, change...).EndSessionURL(t.Context(), raw, state)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestTheLogoutURLNamesClientHintAndWayBack(t *testing.T) {
	back := func(c *rp.Config) { c.PostLogoutRedirectURL = "https://rp.example/bye" }
	q := logoutURL(t, userInfoOP(nil), "raw.id.token", "s1", back).Query()
	if q.Get("id_token_hint") != "raw.id.token" || q.Get("client_id") != testClient || q.Get("post_logout_redirect_uri") != "https://rp.example/bye" || q.Get("state") != "s1" {
		t.Errorf("%v", q)
	}
	if q := logoutURL(t, userInfoOP(nil), "raw.id.token", "s1").Query(); q.Has("state") || q.Has("post_logout_redirect_uri") {
		t.Errorf("without a way back: %v", q)
	}
	if q := logoutURL(t, userInfoOP(nil), strings.Repeat("x", 7000), "s1", back).Query(); q.Has("id_token_hint") || q.Get("client_id") != testClient {
		t.Error("a hint of 7,000 bytes was put into a URL")
	}
	if q := logoutURL(t, userInfoOP(nil), "", "s1", back).Query(); q.Has("id_token_hint") {
		t.Error("an empty hint was sent")
	}
	p := userInfoOP(nil)
	p.metadata["end_session_endpoint"] = "https://op.example/logout?policy=b2c_1"
	if u := logoutURL(t, p, "x", "s"); !strings.HasPrefix(u.RawQuery, "policy=b2c_1&") {
		t.Errorf("the endpoint's own query: %s", u)
	}
}

func TestProvidersLogOutInTheirOwnWays(t *testing.T) {
	if to, err := newOP().client(t).EndSessionURL(t.Context(), "x", "s"); err != nil || to != "" {
		t.Errorf("Authelia has no such endpoint: %q %v", to, err)
	}
	cognito := logoutURL(t, newOP(), "x", "s", func(c *rp.Config) {
		c.PostLogoutRedirectURL = "https://rp.example/bye"
		c.Quirks = rp.Quirks{EndSessionURL: "https://x.auth.example/logout", LogoutReturnParam: "logout_uri"}
	})
	if cognito.Host != "x.auth.example" || cognito.Query().Get("logout_uri") != "https://rp.example/bye" || cognito.Query().Has("post_logout_redirect_uri") {
		t.Errorf("Cognito: %s", cognito)
	}
	loginGov := logoutURL(t, userInfoOP(nil), "x", "s", func(c *rp.Config) { c.Quirks.LogoutWithoutHint = true }).Query()
	if loginGov.Has("id_token_hint") || loginGov.Get("client_id") == "" {
		t.Errorf("login.gov: %v", loginGov)
	}
	p := userInfoOP(nil)
	p.metadata["end_session_endpoint"] = "http://op.example/logout"
	if to, err := p.client(t).EndSessionURL(t.Context(), "x", "s"); err == nil {
		t.Errorf("http: %s", to)
	}
}

func TestRevocationSendsTheTokenAuthenticated(t *testing.T) {
	p := userInfoOP(func(*http.Request) *http.Response { return reply(200, "", "") })
	if err := p.client(t).Revoke(t.Context(), "marked", "refresh_token"); err != nil {
		t.Fatal(err)
	}
	last := p.sent[len(p.sent)-1]
	if last.form.Get("token") != "marked" || last.form.Get("token_type_hint") != "refresh_token" || !strings.HasPrefix(last.header.Get("Authorization"), "Basic ") || last.form.Has("client_id") {
		t.Errorf("%+v", last)
	}
	for name, c := range map[string]struct {
		answer func(*http.Request) *http.Response
		check  func(error) bool
	}{
		"unsupported": {jsonAnswer(400, `{"error":"unsupported_token_type","error_description":"marked"}`), func(err error) bool {
			var no *rp.ProviderError
			return errors.As(err, &no) && no.Code == "unsupported_token_type" && no.Endpoint == "revocation"
		}},
		"busy":       {jsonAnswer(503, ``), func(err error) bool { return errors.Is(err, rp.ErrUnavailable) }},
		"down":       {func(*http.Request) *http.Response { return nil }, func(err error) bool { return errors.Is(err, rp.ErrUnavailable) }},
		"redirected": {func(*http.Request) *http.Response { return reply(307, "", "") }, func(err error) bool { var no *rp.ProviderError; return errors.As(err, &no) && no.Status == 307 }},
	} {
		err := userInfoOP(c.answer).client(t).Revoke(t.Context(), "marked", "")
		if err == nil || !c.check(err) || strings.Contains(err.Error(), "marked") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := newOP().client(t).Revoke(t.Context(), "x", ""); !errors.Is(err, rp.ErrNoEndpoint) {
		t.Errorf("no endpoint: %v", err)
	}
	if err := userInfoOP(nil).client(t).Revoke(t.Context(), "", ""); err == nil {
		t.Error("nothing was revoked")
	}
}
