package rp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"golang.org/x/oauth2"
)

// provider asserts that err is a *ProviderError of the token endpoint.
func provider(t *testing.T, err error, status int, code string) *rp.ProviderError {
	t.Helper()
	e, ok := errors.AsType[*rp.ProviderError](err)
	if !ok || e.Endpoint != "token" || e.Status != status || e.Code != code {
		t.Fatalf("error is %v (%#v), want the token endpoint's %d %q", err, e, status, code)
	}
	return e
}

// honest is the text of an honest token response, to be changed by a case.
func (p *op) honest(form url.Values) string {
	b, err := io.ReadAll(p.token(form).Body)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestTheTokenResponseIsReadStrictly(t *testing.T) {
	swap := func(old, new string) func(string) string {
		return func(s string) string {
			if !strings.Contains(s, old) {
				panic("nothing to change: " + old)
			}
			return strings.Replace(s, old, new, 1)
		}
	}
	add := func(member string) func(string) string { return swap(`{`, `{`+member+`,`) }
	same := func(s string) string { return s }
	for name, x := range map[string]struct {
		pass, fail   func(string) string
		ctPass, ct   string
		reason       string
		expiryOnPass time.Duration
	}{
		"access token":     {fail: swap(`"access_token":"access-1",`, ``), reason: "no access_token"},
		"access null":      {fail: swap(`"access-1"`, `null`), reason: "no access_token"},
		"access empty":     {fail: swap(`"access-1"`, `""`), reason: "no access_token"},
		"access number":    {fail: swap(`"access-1"`, `1`), reason: "access_token is not a string"},
		"ACCESS_TOKEN":     {fail: add(`"ACCESS_TOKEN":"evil"`), reason: "JSON"},
		"only in capitals": {fail: swap(`"access_token"`, `"Access_Token"`), reason: "JSON"},
		"twice":            {fail: add(`"access_token":"evil"`), reason: "JSON"},
		"REFRESH_TOKEN":    {fail: swap(`"refresh_token"`, `"REFRESH_TOKEN"`), reason: "JSON"},
		"Error":            {pass: add(`"error":null`), fail: add(`"Error":"x"`), reason: "JSON"},
		"refresh null":     {pass: swap(`"refresh-1"`, `null`), fail: swap(`"refresh-1"`, `{}`), reason: "refresh_token is not a string"},
		"id token list":    {fail: swap(`"id_token":`, `"id_token":[],"x":`), reason: "id_token is not a string"},

		"type":       {pass: swap(`"Bearer"`, `"bEARER"`), fail: swap(`"Bearer"`, `"DPoP"`), reason: "not Bearer"},
		"type mac":   {pass: swap(`"Bearer"`, `"bearer"`), fail: swap(`"Bearer"`, `"mac"`), reason: "not Bearer"},
		"no type":    {fail: swap(`,"token_type":"Bearer"`, ``), reason: "not Bearer"},
		"null type":  {fail: swap(`"Bearer"`, `null`), reason: "not Bearer"},
		"empty type": {fail: swap(`"Bearer"`, `""`), reason: "not Bearer"},

		"expires":        {pass: add(`"expires_in":300`), fail: add(`"expires_in":0`), reason: "over already", expiryOnPass: 300 * time.Second},
		"expires text":   {pass: add(`"expires_in":"300"`), fail: add(`"expires_in":"soon"`), reason: "not a number", expiryOnPass: 300 * time.Second},
		"expires before": {pass: add(`"expires_in":1`), fail: add(`"expires_in":-1`), reason: "over already", expiryOnPass: time.Second},
		"expires parts":  {pass: add(`"expires_in":299.9`), fail: add(`"expires_in":0.5`), reason: "over already", expiryOnPass: 299 * time.Second},
		"expires huge":   {pass: add(`"expires_in":9223372036854775807`), fail: add(`"expires_in":1e400`), reason: "not a number", expiryOnPass: 2147483647 * time.Second},
		"expires null":   {pass: add(`"expires_in":null`), fail: add(`"expires_in":true`), reason: "not a number"},
		"expires empty":  {fail: add(`"expires_in":""`), reason: "not a number"},
		"Expires_In":     {fail: add(`"Expires_In":300`), reason: "JSON"},

		"scope":      {pass: swap(`"openid profile email"`, `["openid","profile"]`), fail: swap(`"openid profile email"`, `{}`), reason: "scope is not"},
		"unknown":    {pass: add(`"unknown":{"a":[1]}`), fail: add(`"unknown":{"a":1,"a":2}`), reason: "JSON"},
		"not object": {fail: func(s string) string { return "[" + s + "]" }, reason: "JSON"},
		"trailing":   {pass: func(s string) string { return s + "\n" }, fail: func(s string) string { return s + "x" }, reason: "JSON"},
		"truncated":  {fail: func(s string) string { return s[:len(s)-1] }, reason: "JSON"},
		"BOM":        {fail: func(s string) string { return "\ufeff" + s }, reason: "JSON"},
		"XSSI":       {fail: func(s string) string { return ")]}'\n" + s }, reason: "JSON"},
		"HTML":       {fail: func(string) string { return "<html>" }, ct: "text/html", reason: "application/json"},
		"text":       {fail: same, ct: "text/plain; charset=utf-8", reason: "application/json"},
		"form":       {fail: func(string) string { return "access_token=a&token_type=Bearer" }, ct: "application/x-www-form-urlencoded", reason: "application/json"},
		"no type h":  {fail: same, ct: "-", reason: "application/json"},
		"media type": {pass: same, ctPass: "application/json;charset=UTF-8", fail: same, ct: "application/json5", reason: "application/json"},
		"plus json":  {pass: same, ctPass: "application/vnd.op+json", fail: same, ct: "text/json", reason: "application/json"},
		"deep":       {fail: add(`"x":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000)), reason: "JSON"},
		"empty body": {fail: func(string) string { return "" }, reason: "JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newOP()
			c := p.client(t)
			change, ct := x.pass, x.ctPass
			p.answer = func(_ *http.Request, form url.Values) *http.Response {
				body := p.honest(form)
				if change != nil {
					body = change(body)
				}
				switch ct {
				case "":
					return reply(200, "application/json", body)
				case "-":
					return reply(200, "", body)
				}
				return reply(200, ct, body)
			}
			before := time.Now()
			tokens, err := p.login(t, c, rp.AuthParams{})
			if err != nil {
				t.Fatalf("the neighbour that should pass: %v", err)
			}
			left := tokens.OAuth2.Expiry.Sub(before)
			if (x.expiryOnPass == 0) != tokens.OAuth2.Expiry.IsZero() || x.expiryOnPass != 0 && (left < x.expiryOnPass-time.Second || left > x.expiryOnPass+10*time.Second) {
				t.Errorf("expiry is %v, want %v from now", tokens.OAuth2.Expiry, x.expiryOnPass)
			}
			change, ct = x.fail, x.ct
			tokens, err = p.login(t, c, rp.AuthParams{})
			if e := provider(t, err, 200, ""); tokens != nil || !strings.Contains(e.Error(), x.reason) {
				t.Errorf("error is %v, want one about %q", err, x.reason)
			}
			if len(err.Error()) > 600 {
				t.Errorf("the error is %d bytes long", len(err.Error()))
			}
		})
	}
}

func TestTheTokenResponseHasASizeLimitThatIsAnError(t *testing.T) {
	p := newOP()
	pad := 0
	p.tokens = func(m map[string]any) { m["pad"] = strings.Repeat("x", pad) }
	pad = 400 << 10
	if _, err := p.login(t, p.client(t), rp.AuthParams{}); err != nil {
		t.Errorf("400 KiB: %v", err)
	}
	pad = 512 << 10
	_, err := p.login(t, p.client(t), rp.AuthParams{})
	if e, ok := errors.AsType[*rp.ProviderError](err); !ok || e.Endpoint != "token" || p.count() != 2 {
		t.Errorf("over 512 KiB: %v", err)
	}
	// x/oauth2 would cut a form-encoded answer silently at 1 MiB and lose the refresh token behind the cut.
	endless := &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(zeros{})}
	p.answer = func(*http.Request, url.Values) *http.Response { return endless }
	if _, err = p.login(t, p.client(t), rp.AuthParams{}); err == nil {
		t.Error("an endless body was taken")
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestErrorAnswersAreTypedWhateverTheirForm(t *testing.T) {
	for name, x := range map[string]struct {
		status   int
		ct, body string
		code     string
	}{
		"RFC 6749":          {400, "application/json", `{"error":"invalid_grant","error_description":"used"}`, "invalid_grant"},
		"401":               {401, "application/json", `{"error":"invalid_client"}`, "invalid_client"},
		"403 other code":    {403, "application/json", `{"error":"invalid_code"}`, "invalid_code"},
		"no content type":   {400, "", `{"error":"invalid_grant"}`, "invalid_grant"},
		"text":              {400, "text/plain", `{"error":"invalid_grant"}`, "invalid_grant"},
		"empty 400":         {400, "", ``, ""},
		"empty 401":         {401, "application/json", ``, ""},
		"empty 403":         {403, "", ``, ""},
		"HTML":              {400, "text/html", `<html>marked</html>`, ""},
		"broken":            {400, "application/json", `{"error":"inv`, ""},
		"array":             {400, "application/json", `["marked"]`, ""},
		"number":            {400, "application/json", `{"error":7}`, ""},
		"twice":             {400, "application/json", `{"error":"a","error":"b"}`, ""},
		"form":              {400, "application/x-www-form-urlencoded", `error=marked&access_token=marked`, ""},
		"tokens in it":      {400, "application/json", `{"error":"x","access_token":"marked","refresh_token":"marked"}`, "x"},
		"200 with an error": {200, "application/json", `{"error":"bad_verification_code","access_token":"marked"}`, "bad_verification_code"},
		"200 with a number": {200, "application/json", `{"error":1}`, ""},
		"500":               {500, "text/plain", `marked`, ""},
		"502 HTML":          {502, "text/html", `<html>`, ""},
		"429":               {429, "", ``, ""},
		"302":               {302, "", ``, ""},
		"304":               {304, "", ``, ""},
		"204":               {204, "", ``, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := newOP()
			p.answer = func(*http.Request, url.Values) *http.Response {
				r := reply(x.status, x.ct, x.body)
				r.Header.Set("Set-Cookie", "a=marked")
				r.Header.Set("Retry-After", "7")
				return r
			}
			_, err := p.login(t, p.client(t), rp.AuthParams{})
			provider(t, err, x.status, x.code)
			if got := errors.Is(err, rp.ErrUnavailable); got != (x.status >= 500 || x.status == 429) {
				t.Errorf("unavailable: %v", got)
			}
			if p.count() != 1 {
				t.Errorf("%d requests", p.count())
			}
			re, ok := errors.AsType[*oauth2.RetrieveError](err)
			if x.status >= 300 && (!ok || re.ErrorCode != x.code || re.Response.StatusCode != x.status) {
				t.Errorf("x/oauth2's error is %v", re)
			}
			all := err.Error()
			if ok {
				if re.Response.Request != nil {
					t.Error("the error holds the request, and with it the credentials")
				}
				all += fmt.Sprintf("%s %s %v", re, re.Body, re.Response.Header)
				if re.Response.Header.Get("Retry-After") != "7" {
					t.Error("Retry-After got lost")
				}
			}
			if strings.Contains(all, "marked") {
				t.Errorf("the error tells the body: %s", all)
			}
		})
	}
}

func TestAnErrorThatQuotesOurSecretsLosesThem(t *testing.T) {
	p := newOP()
	p.answer = func(_ *http.Request, form url.Values) *http.Response {
		return replyJSON(400, map[string]any{
			"error":             "invalid_grant",
			"error_description": "code " + form.Get("code") + " verifier " + form.Get("code_verifier") + " secret " + testSecret + "\r\nset: " + strings.Repeat("x", 300),
			"error_uri":         "https://op.example/?" + form.Get("code"),
		})
	}
	_, err := p.login(t, p.client(t), rp.AuthParams{})
	e := provider(t, err, 400, "invalid_grant")
	for _, secret := range []string{"code-1", p.last().form.Get("code_verifier"), testSecret} {
		if strings.Contains(e.Error()+e.URI, secret) {
			t.Errorf("%q is in %v", secret, e)
		}
	}
	if len(e.Description) > 256 || strings.ContainsAny(e.Description, "\r\n") {
		t.Errorf("description is %q", e.Description)
	}
}

func TestRedirectsOfTheTokenEndpointAreNotFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, to := range []string{"https://evil.example/token", "https://op.example/other"} {
			p := newOP()
			p.answer = func(r *http.Request, _ url.Values) *http.Response {
				if r.URL.Path != "/token" || r.URL.Host != "op.example" {
					return replyJSON(200, map[string]any{"access_token": "stranger", "token_type": "Bearer"})
				}
				resp := reply(status, "", "")
				resp.Header.Set("Location", to)
				return resp
			}
			_, err := p.login(t, p.client(t), rp.AuthParams{})
			provider(t, err, status, "")
			for _, r := range p.sent {
				if strings.HasPrefix(r.path, "evil") || r.path == "op.example/other" {
					t.Errorf("%d to %s was followed", status, to)
				}
			}
		}
	}
}

func TestTransportErrorsDoNotTellTheURLsQueryOrTheBody(t *testing.T) {
	p := newOP()
	p.metadata["token_endpoint"] = "https://op.example/token?key=marked"
	p.answer = func(*http.Request, url.Values) *http.Response { return nil }
	_, err := p.login(t, p.client(t), rp.AuthParams{})
	if !errors.Is(err, rp.ErrUnavailable) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("error is %v", err)
	}
	text := fmt.Sprintf("%v %+v", err, err)
	for _, secret := range []string{"marked", "code-1", testSecret, p.last().form.Get("code_verifier")} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in %s", secret, text)
		}
	}
	if !strings.Contains(text, "https://op.example/token") {
		t.Errorf("nothing tells where: %s", text)
	}
}

func TestATokenEndpointInTheClearIsRefused(t *testing.T) {
	for _, endpoint := range []any{"http://op.example/token", nil} {
		p := newOP()
		p.metadata["token_endpoint"] = endpoint
		c := p.client(t)
		login, err := c.Begin(t.Context(), rp.AuthParams{})
		if err == nil {
			_, err = c.Finish(t.Context(), login, p.authorize(t, login))
		}
		if err == nil || p.count() != 0 {
			t.Errorf("%v: %v after %d requests", endpoint, err, p.count())
		}
	}
}

func TestAProviderThatHangsIsLeftAtTheTimeout(t *testing.T) {
	keys() // made outside: the bubble's clock stands still while they are
	for name, slow := range map[string]func(r *http.Request) (*http.Response, error){
		"no answer": func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		},
		"one byte a second": func(r *http.Request) (*http.Response, error) {
			resp := reply(200, "application/json", "")
			resp.Body = io.NopCloser(drip{r.Context()})
			return resp, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newOP()
				hang := &http.Client{Transport: tripper(func(r *http.Request) (*http.Response, error) {
					if r.URL.Path == "/token" {
						return slow(r)
					}
					return p.RoundTrip(r)
				})}
				c := p.client(t, func(c *rp.Config) { c.HTTPClient, c.Timeout = hang, 3*time.Second })
				start := time.Now()
				_, err := p.login(t, c, rp.AuthParams{})
				if !errors.Is(err, rp.ErrUnavailable) || time.Since(start) > 4*time.Second {
					t.Errorf("after %v: %v", time.Since(start), err)
				}
			})
		})
	}
}

type drip struct{ ctx context.Context }

func (d drip) Read(p []byte) (int, error) {
	select {
	case <-d.ctx.Done():
		return 0, d.ctx.Err()
	case <-time.After(time.Second):
		p[0] = ' '
		return 1, nil
	}
}
