package rp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/pkce"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/clientauth"
	"golang.org/x/oauth2"
)

func withHTTPClient(ctx context.Context, c *http.Client) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, c)
}

// marked is in every secret below, and must be in nothing printed.
const marked = "MARKED-c0ffee"

func printed(v any) string {
	var log bytes.Buffer
	l := slog.New(slog.NewJSONHandler(&log, nil))
	l.Info("json", "v", v)
	slog.New(slog.NewTextHandler(&log, nil)).Info("text", "v", v)
	return fmt.Sprintf("%v %+v %#v %s %q %d %x %X", v, v, v, v, v, v, v, v) + log.String()
}

func TestNothingExportedPrintsASecret(t *testing.T) {
	cfg := rp.Config{
		Issuer: testIssuer, ClientID: "c", ClientSecret: marked, RedirectURL: testCallback, Auth: clientauth.Post(marked),
	}
	c, err := rp.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	login := &rp.Login{URL: "https://op.example/authorize?state=" + marked, State: marked, Nonce: marked, Verifier: pkce.Verifier(marked), StartedAt: time.Now()}
	tokens := &rp.Tokens{
		OAuth2:     (&oauth2.Token{AccessToken: marked, RefreshToken: marked, TokenType: "Bearer"}).WithExtra(map[string]any{"id_token": marked}),
		RawIDToken: marked,
		IDToken:    &rp.IDToken{Subject: "user-1", Nonce: marked},
	}
	params := &rp.AuthParams{IDTokenHint: marked, LoginHint: marked}
	hex := fmt.Sprintf("%x", marked)
	for _, v := range []any{
		cfg, &cfg, c, login, *login, tokens, *tokens, tokens.IDToken, *tokens.IDToken, params, *params,
		[]any{cfg, login, tokens}, map[string]any{"a": *tokens, "b": *login}, struct {
			C *rp.Client
			T rp.Tokens
			L rp.Login
		}{c, *tokens, *login},
	} {
		text := printed(v)
		// A struct or a list around a Login is JSON to slog, and a Login's JSON holds its secrets: only the fmt part counts there.
		if fmt.Sprintf("%T", v) != fmt.Sprintf("%T", login) && strings.Contains(text, `"msg":"json"`) && nested(v) {
			text = text[:strings.Index(text, `{"time"`)]
		}
		if strings.Contains(text, marked) || strings.Contains(strings.ToLower(text), hex) {
			t.Errorf("%T prints %s", v, text)
		}
		if len(text) < 20 {
			t.Errorf("%T prints nothing", v)
		}
	}
}

func nested(v any) bool {
	switch v.(type) {
	case rp.Config, *rp.Config, *rp.Client, rp.Login, *rp.Login, rp.Tokens, *rp.Tokens, rp.IDToken, *rp.IDToken, rp.AuthParams, *rp.AuthParams:
		return false
	}
	return true
}

// Every way a login or a refresh may fail, against a provider which puts secrets into all it says: no error may repeat one.
func TestNoErrorTellsASecret(t *testing.T) {
	bodies := []func(form url.Values) *http.Response{
		func(url.Values) *http.Response { return reply(400, "text/html", "<p>"+marked) },
		func(url.Values) *http.Response { return reply(200, "text/html", "<p>"+marked) },
		func(url.Values) *http.Response {
			return reply(200, "application/json", `{"access_token":"`+marked+`"`)
		},
		func(url.Values) *http.Response {
			return reply(200, "application/json", `{"access_token":"`+marked+`","access_token":"`+marked+`"}`)
		},
		func(url.Values) *http.Response {
			return replyJSON(200, map[string]any{"access_token": marked, "token_type": "mac"})
		},
		func(url.Values) *http.Response {
			return replyJSON(200, map[string]any{"access_token": marked, "token_type": "Bearer", "id_token": marked})
		},
		func(url.Values) *http.Response {
			return replyJSON(200, map[string]any{"access_token": marked, "token_type": "Bearer", "id_token": "a." + marked + ".c", "refresh_token": marked})
		},
		func(url.Values) *http.Response {
			return replyJSON(200, map[string]any{"access_token": marked, "token_type": "Bearer", "expires_in": marked})
		},
		func(f url.Values) *http.Response {
			return replyJSON(400, map[string]any{"error": "x", "error_description": f.Get("refresh_token") + f.Get("code") + f.Get("code_verifier")})
		},
		func(url.Values) *http.Response {
			r := reply(307, "", "")
			r.Header.Set("Location", "https://evil.example/?"+marked)
			return r
		},
		func(url.Values) *http.Response { return nil },
	}
	for i, body := range bodies {
		p := newOP()
		c, before := loggedIn(t, p)
		p.answer = func(_ *http.Request, form url.Values) *http.Response { return body(form) }
		login, err := c.Begin(t.Context(), rp.AuthParams{})
		if err != nil {
			t.Fatal(err)
		}
		answer := p.authorize(t, login)
		p.logins[marked] = p.logins[answer.Get("code")]
		answer.Set("code", marked)
		_, errFinish := c.Finish(t.Context(), login, answer)
		_, errRefresh := c.Refresh(t.Context(), marked, before.IDToken)
		if errFinish == nil || errRefresh == nil && i != 5 {
			t.Fatalf("%d: %v, %v", i, errFinish, errRefresh)
		}
		for _, err := range []error{errFinish, errRefresh} {
			text := printed(err)
			for err := err; err != nil; err = errors.Unwrap(err) {
				text += printed(err)
			}
			for _, secret := range []string{marked, testSecret, string(login.Verifier), login.State, login.Nonce} {
				if strings.Contains(text, secret) {
					t.Errorf("%d: %q is in %s", i, secret, text)
				}
			}
		}
	}
}

func TestALoginsJSONHoldsWhatFinishNeeds(t *testing.T) {
	login := rp.Login{State: "s", Nonce: "n", Verifier: pkce.Verifier(strings.Repeat("v", 43)), Issuer: "i", ClientID: "c", RedirectURL: "r"}
	b, err := json.Marshal(login)
	if err != nil {
		t.Fatal(err)
	}
	var back rp.Login
	if err := json.Unmarshal(b, &back); err != nil || back.Verifier != login.Verifier || back.State != "s" {
		t.Errorf("%s came back as %#v: %v", b, back, err)
	}
	if err := json.Unmarshal([]byte(`{"s":1}`), &back); err == nil {
		t.Error("a broken record was read")
	}
}

// fmt follows the unexported fields of a caller's struct past every Formatter, and with %s a pointer in them as well. What New makes and claims are safe there with every verb;
// of the types whose fields are the secrets themselves, pointers are with the usual ones, as their comments say.
func TestACallersStructPrintsNoSecret(t *testing.T) {
	cfg := rp.Config{Issuer: testIssuer, ClientID: "c", ClientSecret: marked, RedirectURL: testCallback, Auth: clientauth.Basic(marked)}
	c, err := rp.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	someone := claims(t, `{"name":"`+marked+`"}`)
	type made struct {
		auth   clientauth.Method
		client *rp.Client
		claims rp.Claims
		merged rp.Claims
	}
	type fields struct {
		config *rp.Config
		login  *rp.Login
		tokens *rp.Tokens
	}
	m := made{cfg.Auth, c, someone, someone.Merge(claims(t, `{"email":"`+marked+`"}`))}
	f := fields{&cfg, &rp.Login{State: marked, Verifier: marked}, &rp.Tokens{RawIDToken: marked, OAuth2: &oauth2.Token{AccessToken: marked}}}
	if m.claims.Name() != marked || m.merged.Email() != marked || m.auth == nil || m.client == nil || f.config == nil || f.login == nil || f.tokens == nil {
		t.Fatal("no input")
	}
	number := strings.Trim(fmt.Sprint([]byte(marked)), "[]")
	usual := []string{"%v", "%+v", "%#v", "%d", "%x"}
	all := append([]string{"%s", "%q", "%t", "%e"}, usual...)
	for _, c := range []struct {
		v     any
		verbs []string
	}{{m, all}, {&m, all}, {[]made{m}, all}, {map[string]made{"a": m}, all}, {f, usual}, {&f, usual}, {[]fields{f}, usual}} {
		for _, verb := range c.verbs {
			text := fmt.Sprintf(verb, c.v)
			if strings.Contains(text, marked) || strings.Contains(text, number) || strings.Contains(strings.ToLower(text), fmt.Sprintf("%x", marked)) {
				t.Errorf("%s of %T prints %s", verb, c.v, text)
			}
		}
	}
}
