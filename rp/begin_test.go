package rp_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/clientauth"
)

// noSecret is clientauth.None by another name.
type noSecret struct{}

func (noSecret) Name() string { return "none" }
func (noSecret) Authenticate(_ context.Context, r *clientauth.Request) error {
	r.Form.Set("client_id", r.ClientID)
	return nil
}

func query(t *testing.T, login *rp.Login) url.Values {
	t.Helper()
	u, err := url.Parse(login.URL)
	if err != nil {
		t.Fatal(err)
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestBeginSendsTheParametersOfACodeFlow(t *testing.T) {
	p := newOP()
	login, err := p.client(t).Begin(t.Context(), rp.AuthParams{})
	if err != nil {
		t.Fatal(err)
	}
	q := query(t, login)
	want := map[string]string{
		"response_type": "code", "client_id": testClient, "redirect_uri": testCallback, "scope": "openid profile email",
		"state": login.State, "nonce": login.Nonce, "code_challenge": login.Verifier.Challenge(), "code_challenge_method": "S256",
	}
	for name, v := range want {
		if q.Get(name) != v || len(q[name]) != 1 {
			t.Errorf("%s is %q, want %q once", name, q[name], v)
		}
	}
	if len(q) != len(want) {
		t.Errorf("more was sent: %v", q)
	}
	if !strings.HasPrefix(login.URL, "https://op.example/authorize?") {
		t.Errorf("sent to %s", login.URL)
	}
	if login.Issuer != testIssuer || login.ClientID != testClient || login.RedirectURL != testCallback {
		t.Error("the login does not remember where it went")
	}
}

func TestStateNonceAndVerifierAreFreshAnd256Bits(t *testing.T) {
	c := newOP().client(t)
	form := regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
	seen := map[string]bool{}
	const rounds = 2000
	for range rounds {
		login, err := c.Begin(t.Context(), rp.AuthParams{})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{login.State, login.Nonce, string(login.Verifier)} {
			if !form.MatchString(s) {
				t.Fatalf("%q is not 43 characters of base64url", s)
			}
			seen[s] = true
		}
	}
	if len(seen) != 3*rounds {
		t.Errorf("%d different values of %d", len(seen), 3*rounds)
	}
}

func TestBeginAsksForWhatTheParametersSay(t *testing.T) {
	p := newOP()
	c := p.client(t, func(c *rp.Config) { c.ResponseMode, c.Scopes = "form_post", []string{"email", "openid"} })
	login, err := c.Begin(t.Context(), rp.AuthParams{
		Prompt: " login  consent ", MaxAge: 90 * time.Second, ACRValues: []string{"a", "b"}, LoginHint: "alice@example.com",
		IDTokenHint: "x.y.z", UILocales: []string{"de", "en"}, Claims: json.RawMessage(`{"id_token":{"email":null}}`),
		Resource: []string{"https://api.example/", "urn:api:2"}, Scopes: []string{"offline_access", "email"},
		Extra: url.Values{"access_type": {"offline"}, "audience": {"https://api.example"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	q := query(t, login)
	for name, v := range map[string]string{
		"response_mode": "form_post", "prompt": "login consent", "max_age": "90", "acr_values": "a b", "login_hint": "alice@example.com",
		"id_token_hint": "x.y.z", "ui_locales": "de en", "claims": `{"id_token":{"email":null}}`, "scope": "openid email offline_access",
		"resource": "https://api.example/", "access_type": "offline", "audience": "https://api.example",
	} {
		if q.Get(name) != v {
			t.Errorf("%s is %q, want %q", name, q.Get(name), v)
		}
	}
	if len(q["resource"]) != 2 {
		t.Errorf("resources are %q", q["resource"])
	}
	if *login.MaxAge != 90 || strings.Join(login.ACRValues, " ") != "a b" || strings.Join(login.Scopes, " ") != "openid email offline_access" {
		t.Errorf("the login forgot what it demands: %v %v %v", *login.MaxAge, login.ACRValues, login.Scopes)
	}
}

func TestMaxAgeBelowZeroAsksForANewLogin(t *testing.T) {
	login, err := newOP().client(t).Begin(t.Context(), rp.AuthParams{MaxAge: -1})
	if err != nil {
		t.Fatal(err)
	}
	if got := query(t, login).Get("max_age"); got != "0" || *login.MaxAge != 0 {
		t.Errorf("max_age is %q", got)
	}
}

func TestBeginRefusesParametersThatContradict(t *testing.T) {
	c := newOP().client(t)
	for name, x := range map[string]struct {
		pass, fail rp.AuthParams
		reason     string
	}{
		"prompt":   {rp.AuthParams{Prompt: "none"}, rp.AuthParams{Prompt: "none login"}, "none goes with no other"},
		"claims":   {rp.AuthParams{Claims: []byte(`{}`)}, rp.AuthParams{Claims: []byte(`[]`)}, "Claims"},
		"claims 2": {rp.AuthParams{Claims: []byte(`{"a":1}`)}, rp.AuthParams{Claims: []byte(`{"a":1,"a":2}`)}, "Claims"},
		"acr":      {rp.AuthParams{ACRValues: []string{"a", "b"}}, rp.AuthParams{ACRValues: []string{"a b"}}, "acr_values"},
		"locale":   {rp.AuthParams{UILocales: []string{"de"}}, rp.AuthParams{UILocales: []string{""}}, "ui_locales"},
		"scope":    {rp.AuthParams{Scopes: []string{"a"}}, rp.AuthParams{Scopes: []string{"a b"}}, "no scope"},
		"resource": {rp.AuthParams{Resource: []string{"https://a.example"}}, rp.AuthParams{Resource: []string{"a.example"}}, "absolute URI"},
		"fragment": {rp.AuthParams{Resource: []string{"https://a.example?b"}}, rp.AuthParams{Resource: []string{"https://a.example#b"}}, "absolute URI"},
		"extra":    {rp.AuthParams{Extra: url.Values{"display": {"page"}}}, rp.AuthParams{Extra: url.Values{"": {"page"}}}, "Extra"},
	} {
		if _, err := c.Begin(t.Context(), x.pass); err != nil {
			t.Errorf("%s: the neighbour that should pass: %v", name, err)
		}
		if _, err := c.Begin(t.Context(), x.fail); err == nil || !strings.Contains(err.Error(), x.reason) {
			t.Errorf("%s: error %v, want one about %q", name, err, x.reason)
		}
	}
	for _, owned := range []string{"state", "nonce", "redirect_uri", "response_type", "response_mode", "client_id", "scope", "code_challenge", "code_challenge_method", "request", "request_uri", "max_age", "prompt"} {
		if _, err := c.Begin(t.Context(), rp.AuthParams{Extra: url.Values{owned: {"x"}}}); err == nil || !strings.Contains(err.Error(), owned) {
			t.Errorf("Extra set %s: %v", owned, err)
		}
	}
}

func TestBeginKeepsTheEndpointsOwnQuery(t *testing.T) {
	p := newOP()
	p.metadata["authorization_endpoint"] = "https://op.example/authorize?p=B2C_1_signin&x=a%20b"
	login, err := p.client(t).Begin(t.Context(), rp.AuthParams{})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(login.URL, "https://op.example/authorize?p=B2C_1_signin&x=a%20b&") || query(t, login).Get("state") != login.State {
		t.Errorf("URL is %s", login.URL)
	}
	p = newOP()
	p.metadata["authorization_endpoint"] = "https://op.example/authorize?client_id=other"
	if _, err := p.client(t).Begin(t.Context(), rp.AuthParams{}); err == nil || !strings.Contains(err.Error(), `"client_id" already`) {
		t.Errorf("a second client_id: %v", err)
	}
}

func TestBeginInsistsOnS256(t *testing.T) {
	for name, x := range map[string]struct {
		listed any
		ok     bool
	}{
		"absent":    {nil, true}, // Entra: silent, and takes it
		"both":      {[]string{"plain", "S256"}, true},
		"plain":     {[]string{"plain"}, false},
		"none":      {[]string{}, false},
		"lowercase": {[]string{"s256"}, false},
	} {
		p := newOP()
		if x.listed != nil {
			p.metadata["code_challenge_methods_supported"] = x.listed
		}
		_, err := p.client(t).Begin(t.Context(), rp.AuthParams{})
		if (err == nil) != x.ok {
			t.Errorf("%s: %v", name, err)
		}
		if e, _ := errors.AsType[*rp.UnsupportedError](err); !x.ok && (e == nil || e.Feature != "PKCE S256") {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}

func TestBeginSaysWhatTheProviderLacks(t *testing.T) {
	p := newOP()
	p.metadata["require_pushed_authorization_requests"] = true
	_, err := p.client(t).Begin(t.Context(), rp.AuthParams{})
	if e, ok := errors.AsType[*rp.UnsupportedError](err); !ok || e.Feature != "pushed authorization requests" {
		t.Errorf("PAR demanded: %v", err)
	}
	p = newOP()
	delete(p.metadata, "authorization_endpoint")
	if _, err := p.client(t).Begin(t.Context(), rp.AuthParams{}); !errors.Is(err, rp.ErrNoEndpoint) || !strings.Contains(err.Error(), "authorization_endpoint") {
		t.Errorf("a workload issuer without login: %v", err)
	}
	if _, err := newOP().client(t, func(c *rp.Config) { c.RedirectURL = "" }).Begin(t.Context(), rp.AuthParams{}); err == nil || !strings.Contains(err.Error(), "RedirectURL") {
		t.Errorf("no redirect URL: %v", err)
	}
	down := &http.Client{Transport: tripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("no route") })}
	if _, err := newOP().client(t, func(c *rp.Config) { c.HTTPClient = down }).Begin(t.Context(), rp.AuthParams{}); !errors.Is(err, rp.ErrUnavailable) {
		t.Errorf("provider down: %v", err)
	}
}

func TestBeginSendsNoChallengeOnlyWhenToldSo(t *testing.T) {
	p := newOP()
	c := p.client(t, func(c *rp.Config) { c.Quirks.InsecureSkipPKCE = true })
	login, err := c.Begin(t.Context(), rp.AuthParams{})
	if err != nil {
		t.Fatal(err)
	}
	if q := query(t, login); q.Has("code_challenge") || q.Has("code_challenge_method") || login.Verifier != "" {
		t.Errorf("a challenge was sent: %v", q)
	}
	if _, err := c.Finish(t.Context(), login, p.authorize(t, login)); err != nil {
		t.Fatal(err)
	}
	if p.last().form.Has("code_verifier") {
		t.Error("a verifier was sent, which makes LinkedIn refuse")
	}
}

func TestALoginSurvivesSealing(t *testing.T) {
	p := newOP()
	c := p.client(t)
	login, err := c.Begin(t.Context(), rp.AuthParams{MaxAge: time.Hour, ACRValues: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	p.edit = func(c map[string]any) { c["acr"], c["auth_time"] = "a", time.Now().Unix() }
	sealed := remarshal(t, login)
	if sealed.State != login.State || sealed.Verifier != login.Verifier || *sealed.MaxAge != 3600 || !sealed.StartedAt.Equal(login.StartedAt) {
		t.Errorf("%v came back other than it went", sealed)
	}
	if sealed.URL != "" {
		t.Error("the URL was sealed, which only makes cookies long")
	}
	if _, err := c.Finish(t.Context(), sealed, p.authorize(t, login)); err != nil {
		t.Error(err)
	}
}
