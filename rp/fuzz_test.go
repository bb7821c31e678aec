package rp_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/latchkey-go/latchkey/pkce"
	"github.com/latchkey-go/latchkey/rp"
)

// fixed is a login whose secrets are known, so that a corpus can hold its answers.
func fixed() (*rp.Login, url.Values) {
	verifier := pkce.Verifier(strings.Repeat("v", 43))
	login := &rp.Login{
		State: "the-state", Nonce: "the-nonce", Verifier: verifier,
		Issuer: testIssuer, ClientID: testClient, RedirectURL: testCallback, StartedAt: time.Now(),
	}
	return login, url.Values{
		"state": {"the-state"}, "nonce": {"the-nonce"}, "redirect_uri": {testCallback}, "code_challenge": {verifier.Challenge()},
	}
}

// FuzzCallback: an answer has one outcome, and yields tokens only with the login's own state, once, and a code of the provider's.
func FuzzCallback(f *testing.F) {
	for _, s := range []string{
		"code=good&state=the-state", "code=good&state=the-state&iss=https%3A%2F%2Fop.example%2F", "error=access_denied&state=the-state",
		"code=good", "state=the-state", "code=good&state=", "code=good&state=the-state&state=the-state", "code=good&code=good&state=the-state",
		"code=good&state=the-state&error=x", "code=good&state=the-state&id_token=x.y.z", "code=good&state=the-state&iss=https://evil.example",
		"code=bad&state=the-state", "STATE=the-state&code=good", "code=good&state=the-state%00", "", "&", "%zz", "code=good;state=the-state",
		"access_token=x&state=the-state", "code=good&state=the-state&response=x.y.z", "code=good&state=the-state&session_state=a%3D&scope=openid",
	} {
		f.Add(s)
	}
	p := newOP()
	p.use("EdDSA")
	c := p.client(f)
	f.Fuzz(func(t *testing.T, raw string) {
		answer, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		login, asked := fixed()
		p.logins = map[string]url.Values{"good": asked}
		p.used, p.sent = map[string]bool{}, nil
		tokens, err := c.Finish(t.Context(), login, answer)
		if (tokens == nil) == (err == nil) {
			t.Fatalf("two outcomes: %v and %v", tokens, err)
		}
		own := len(answer["state"]) == 1 && answer.Get("state") == "the-state"
		if !own && p.count() > 0 {
			t.Fatal("a code was sent for an answer with another state")
		}
		if p.count() > 1 {
			t.Fatal("a code was sent twice")
		}
		if tokens == nil {
			return
		}
		iss := answer["iss"]
		if !own || len(answer["code"]) != 1 || answer.Get("code") != "good" || answer.Has("error") && answer.Get("error") != "" || len(iss) > 1 || len(iss) == 1 && iss[0] != testIssuer {
			t.Fatalf("%q was taken", raw)
		}
	})
}

// FuzzTokenResponse: whatever the token endpoint says, the outcome is a typed error or tokens that follow the rules.
func FuzzTokenResponse(f *testing.F) {
	p := newOP()
	p.use("EdDSA")
	c := p.client(f)
	login, asked := fixed()
	good := jsonText(map[string]any{"access_token": "a", "token_type": "Bearer", "expires_in": 300, "refresh_token": "r", "scope": "openid", "id_token": "ID"})
	for _, body := range []string{
		good, "", "{}", "[]", "null", good + "x", "\ufeff" + good, strings.Replace(good, "access_token", "ACCESS_TOKEN", 1),
		strings.Replace(good, "300", `"300"`, 1), strings.Replace(good, "300", "0", 1), strings.Replace(good, "300", "1e999", 1), strings.Replace(good, "300", "-1", 1),
		strings.Replace(good, "Bearer", "dpop", 1), strings.Replace(good, `"openid"`, `["openid"]`, 1), strings.Replace(good, "{", `{"error":"x",`, 1),
		strings.Replace(good, "{", `{"access_token":"b",`, 1), `{"error":"invalid_grant","error_description":"\u0000\r\n"}`, "access_token=a&token_type=bearer", "<html>",
		strings.Repeat("[", 10000), `{"access_token":"\ud800","token_type":"Bearer"}`,
	} {
		f.Add(200, "application/json", body)
	}
	f.Add(400, "application/json", `{"error":"invalid_grant"}`)
	f.Add(200, "text/plain", "access_token=a&token_type=bearer")
	f.Add(200, "application/json; charset=latin1", good)
	f.Fuzz(func(t *testing.T, status int, ct, body string) {
		if status < 200 || status > 599 {
			return
		}
		p.answer = func(*http.Request, url.Values) *http.Response {
			id := p.seal(map[string]any{"iss": testIssuer, "sub": "user-1", "aud": testClient, "iat": time.Now().Unix(), "exp": time.Now().Unix() + 300, "nonce": "the-nonce"})
			return reply(status, ct, strings.ReplaceAll(body, "ID", id))
		}
		p.logins, p.sent = map[string]url.Values{"good": asked}, nil
		tokens, err := c.Finish(t.Context(), login, url.Values{"state": {"the-state"}, "code": {"good"}})
		if err != nil {
			if tokens != nil || !typed(err) {
				t.Fatalf("%v and %v (%T)", tokens, err, err)
			}
			return
		}
		var seen map[string]any
		reader := json.NewDecoder(strings.NewReader(body))
		reader.UseNumber() // a member that nobody reads may be 1e400
		if status > 299 || reader.Decode(&seen) != nil || seen["access_token"] != tokens.OAuth2.AccessToken && !strings.Contains(body, "ID") || tokens.OAuth2.AccessToken == "" {
			t.Fatalf("%d %q was taken", status, body)
		}
		if kind, _ := seen["token_type"].(string); !strings.EqualFold(kind, "Bearer") || tokens.IDToken == nil || tokens.IDToken.Subject != "user-1" {
			t.Fatalf("%q was taken", body)
		}
		if !tokens.OAuth2.Expiry.IsZero() && !tokens.OAuth2.Expiry.After(time.Now().Add(-time.Minute)) {
			t.Fatalf("expiry is %v", tokens.OAuth2.Expiry)
		}
	})
}

func typed(err error) bool {
	_, provider := errors.AsType[*rp.ProviderError](err)
	return provider || errors.Is(err, rp.ErrInvalidToken) || errors.Is(err, rp.ErrUnavailable)
}

// FuzzErrorResponse: a failure is a *ProviderError whose texts are short and printable, and tells none of the secrets sent.
func FuzzErrorResponse(f *testing.F) {
	p := newOP()
	p.use("EdDSA")
	c := p.client(f)
	for _, x := range []struct {
		status   int
		ct, body string
	}{
		{400, "application/json", `{"error":"invalid_grant","error_description":"spent","error_uri":"https://op.example"}`},
		{400, "", ""}, {401, "text/html", "<html>"}, {403, "text/plain", "no"}, {400, "application/json", `{"error":7}`}, {500, "", "oops"},
		{400, "application/json", `{"error":"x","error_description":"SECRET \u0000\u202e"}`}, {302, "", ""}, {400, "application/json", `{"Error":"x"}`},
		{400, "application/x-www-form-urlencoded", "error=invalid_grant"}, {429, "application/problem+json", `{"title":"slow"}`},
		{400, "application/json", `{"error":"` + strings.Repeat("é", 300) + `"}`},
	} {
		f.Add(x.status, x.ct, x.body)
	}
	const secret = "refresh-secret-0123456789"
	f.Fuzz(func(t *testing.T, status int, ct, body string) {
		if status < 300 || status > 599 {
			return
		}
		p.sent = nil
		p.answer = func(*http.Request, url.Values) *http.Response {
			return reply(status, ct, strings.ReplaceAll(body, "SECRET", secret))
		}
		tokens, err := c.Refresh(t.Context(), secret, nil)
		e, ok := errors.AsType[*rp.ProviderError](err)
		if tokens != nil || !ok || e.Status != status || e.Endpoint != "token" {
			t.Fatalf("%v and %v", tokens, err)
		}
		for _, s := range []string{e.Code, e.Description, e.URI} {
			if len(s) > 256 || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Fatalf("%q was let through", s)
			}
		}
		if strings.Contains(e.Error()+e.Description+e.Code+e.URI, secret) {
			t.Fatalf("the error tells the token: %v", e)
		}
		if rp.IsInvalidGrant(err) && status >= 500 {
			t.Fatal("a broken provider ends sessions")
		}
	})
}

// FuzzIDTokenClaims: no change of a token is accepted, and of the payloads that are signed only those which encoding/json
// reads as an ID token for this login.
func FuzzIDTokenClaims(f *testing.F) {
	p := newOP()
	p.use("EdDSA")
	c := p.client(f)
	login, asked := fixed()
	honest := map[string]any{"iss": testIssuer, "sub": "user-1", "aud": testClient, "iat": 1, "exp": 2, "nonce": "the-nonce"}
	payload := strings.NewReplacer(`"iat":1`, `"iat":NOW`, `"exp":2`, `"exp":LATER`).Replace(jsonText(honest))
	for _, s := range []string{
		payload, "{}", "", "[]", payload + payload, strings.Replace(payload, "{", `{"SUB":"admin",`, 1), strings.Replace(payload, "{", `{"sub":"admin",`, 1),
		strings.Replace(payload, `"`+testClient+`"`, `["x","`+testClient+`"]`, 1), strings.Replace(payload, "LATER", "1e300", 1), strings.Replace(payload, "NOW", `"NOW"`, 1),
		strings.Replace(payload, "the-nonce", "other", 1), strings.Replace(payload, "user-1", "", 1), strings.Replace(payload, "{", `{"events":{},`, 1),
		strings.Replace(payload, "{", `{"azp":"x",`, 1), strings.Replace(payload, "{", "{\"\u017fub\":\"x\",", 1), "\ufeff" + payload,
	} {
		f.Add(s, 0, byte(0))
	}
	f.Add(payload, 10, byte(1))
	f.Add(payload, 60, byte('.'))
	f.Add(payload, 300, byte('='))
	f.Fuzz(func(t *testing.T, text string, at int, flip byte) {
		now := time.Now().Unix()
		text = strings.NewReplacer("NOW", jsonText(now), "LATER", jsonText(now+300)).Replace(text)
		raw := sign("EdDSA", p.key, []byte(`{"alg":"EdDSA","kid":"ed"}`), []byte(text))
		sent := []byte(raw)
		if at >= 0 && at < len(sent) {
			sent[at] ^= flip
		}
		p.answer = func(*http.Request, url.Values) *http.Response {
			return replyJSON(200, map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": string(sent)})
		}
		p.logins, p.sent = map[string]url.Values{"good": asked}, nil
		tokens, err := c.Finish(t.Context(), login, url.Values{"state": {"the-state"}, "code": {"good"}})
		if err != nil {
			if tokens != nil || !typed(err) {
				t.Fatalf("%v and %v", tokens, err)
			}
			return
		}
		if string(sent) != raw {
			t.Fatalf("a changed token was taken: %q for %q", sent, raw)
		}
		var seen struct {
			Iss, Sub, Nonce string
			Exp, Iat        float64
		}
		if err := json.Unmarshal([]byte(text), &seen); err != nil || seen.Iss != testIssuer || seen.Sub != tokens.IDToken.Subject || seen.Sub == "" || seen.Nonce != "the-nonce" || seen.Exp < float64(now-60) || seen.Iat > float64(now+61) {
			t.Fatalf("%q was taken as %#v (%v)", text, tokens.IDToken, err)
		}
	})
}
