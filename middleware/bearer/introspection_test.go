package bearer_test

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

	"github.com/latchkey-go/latchkey/middleware/bearer"
	"github.com/latchkey-go/latchkey/rp/clientauth"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

// asking is an API before a provider whose tokens are opaque, over loopback.
func asking(t testing.TB, in bearer.Introspection, change ...func(*bearer.Config)) *fixture {
	t.Helper()
	return asker(t, rptest.Start(t, rptest.Options{SigningAlg: "ES256", Audience: audience}), in, change...)
}

// askingInMemory is asking without a socket, for testing/synctest.
func askingInMemory(t testing.TB, in bearer.Introspection, change ...func(*bearer.Config)) *fixture {
	t.Helper()
	op, err := rptest.New(rptest.Options{Issuer: "https://op.example", SigningAlg: "ES256", Audience: audience})
	if err != nil {
		t.Fatal(err)
	}
	return asker(t, op, in, change...)
}

func asker(t testing.TB, op *rptest.Provider, in bearer.Introspection, change ...func(*bearer.Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, op: op}
	if in.Auth == nil && in.ClientID == "" {
		in.ClientID, in.ClientSecret = op.ClientID(), op.ClientSecret()
	}
	f.api = f.verifier(append([]func(*bearer.Config){func(c *bearer.Config) {
		c.Introspection, c.Logger = &in, slog.New(slog.DiscardHandler)
		if strings.HasPrefix(op.Issuer(), "https:") {
			c.HTTPClient = op.Client()
		}
	}}, change...)...)
	return f
}

// post sends a form to the provider as its client and returns the answer.
func (f *fixture) post(path string, form url.Values) map[string]any {
	f.t.Helper()
	req, err := http.NewRequest(http.MethodPost, f.op.Issuer()+path, strings.NewReader(form.Encode()))
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(f.op.ClientID(), f.op.ClientSecret())
	resp, err := f.op.Client().Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer map[string]any
	if path != "/revoke" {
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			f.t.Fatal(err)
		}
	}
	if resp.StatusCode != http.StatusOK {
		f.t.Fatalf("%s: %d %v", path, resp.StatusCode, answer)
	}
	return answer
}

// issued is an access token of the provider's.
func (f *fixture) issued() string {
	f.t.Helper()
	token, _ := f.post("/token", url.Values{"grant_type": {"client_credentials"}, "scope": {"orders:read"}})["access_token"].(string)
	return token
}

func (f *fixture) revoke(token string) { f.post("/revoke", url.Values{"token": {token}}) }

func (f *fixture) answers(body string) {
	f.op.Fault(rptest.Introspection, rptest.Status(http.StatusOK, body))
}

func (f *fixture) calls() int { return f.op.Hits(rptest.Introspection) }

func (f *fixture) verify(token string) (*bearer.Token, error) {
	return f.api.Verify(context.Background(), token)
}

func bearerOf(token string) string { return "Bearer " + token }

func TestOpaqueTokensOpenTheAPIAsLongAsTheirIssuerCallsThemActive(t *testing.T) {
	f := asking(t, bearer.Introspection{MaxAge: -1, MaxNegativeAge: -1})
	h := f.api.Handler(reached, "orders:read")
	token := f.issued()
	if w := get(h, "Authorization", bearerOf(token)); w.Code != http.StatusOK || w.Body.String() != "reached by "+f.op.ClientID() {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w := get(f.api.Handler(reached, "orders:write"), "Authorization", bearerOf(token)); w.Code != http.StatusForbidden {
		t.Errorf("a scope that it lacks: %d", w.Code)
	}
	tok, err := f.verify(token)
	if err != nil {
		t.Fatal(err)
	}
	if !tok.Introspected || tok.Issuer != f.op.Issuer() || tok.ClientID != f.op.ClientID() || tok.Audience[0] != audience || !tok.HasScope("orders:read") ||
		tok.Text("token_type") != "Bearer" || time.Until(tok.Expiry) < time.Minute || tok.IssuedAt.IsZero() {
		t.Errorf("read as %v: %+q %+q", tok, tok.Audience, tok.Scopes)
	}
	f.revoke(token)
	w := get(h, "Authorization", bearerOf(token))
	if w.Code != http.StatusUnauthorized || !strings.Contains(w.Header().Get("WWW-Authenticate"), `error="invalid_token"`) {
		t.Errorf("revoked: %d %q", w.Code, w.Header())
	}
	if _, err := f.verify(token); checkOf(err) != "inactive" {
		t.Errorf("revoked: %v", err)
	}
}

func TestTextThatNoBearerTokenCanBeIsNotAskedAbout(t *testing.T) {
	f := asking(t, bearer.Introspection{})
	for _, raw := range []string{"", "two words", "line\nbreak", "quote\"", "=", "ü"} {
		if _, err := f.verify(raw); checkOf(err) != "compact" {
			t.Errorf("%q: %v", raw, err)
		}
	}
	if f.calls() != 0 {
		t.Errorf("%d calls", f.calls())
	}
	if _, err := f.verify("a.b.c.d.e~"); checkOf(err) != "inactive" || f.calls() != 1 {
		t.Errorf("a token of five parts: %v", err)
	}
}

func TestOneVerifierTakesJWTsAndOpaqueTokens(t *testing.T) {
	f := asking(t, bearer.Introspection{})
	opaque, jwt := f.issued(), f.token()
	for _, token := range []string{opaque, jwt, opaque, jwt} {
		tok, err := f.verify(token)
		if err != nil || tok.Introspected != (token == opaque) {
			t.Errorf("introspected %v: %v", token == opaque, err)
		}
	}
	if f.calls() != 1 {
		t.Errorf("%d calls", f.calls())
	}
}

// introspectedJWTs is an API that asks about JWTs too.
func introspectedJWTs(t testing.TB, in bearer.Introspection) *fixture {
	in.JWTs = true
	return asker(t, rptest.Start(t, rptest.Options{SigningAlg: "ES256", JWTAccessTokens: true, Audience: audience}), in)
}

func TestJWTsSeesTheRevocationOfAJWT(t *testing.T) {
	f := introspectedJWTs(t, bearer.Introspection{MaxAge: -1, MaxNegativeAge: -1})
	token := f.issued()
	tok, err := f.verify(token)
	if err != nil || !tok.Introspected || tok.ID == "" || tok.Text("jti") != tok.ID {
		t.Fatalf("%v, %v", tok, err)
	}
	f.revoke(token)
	if _, err := f.verify(token); checkOf(err) != "inactive" {
		t.Errorf("revoked: %v", err)
	}
	calls := f.calls()
	if _, err := f.verify(f.op.SignBent(f.claims(), rptest.WrongType("at+jwt"), rptest.BadSignature)); checkOf(err) != "signature" || f.calls() != calls {
		t.Errorf("a forged one: %v, %d calls", err, f.calls()-calls)
	}
	f.op.Fault(rptest.Introspection, rptest.Down)
	if _, err := f.verify(f.token()); !errors.Is(err, bearer.ErrUnavailable) {
		t.Errorf("an outage: %v", err)
	}
}

func TestAnAnswerAboutAJWTCountsOverItAndMustBeAboutTheSameParty(t *testing.T) {
	f := introspectedJWTs(t, bearer.Introspection{MaxAge: -1, MaxNegativeAge: -1})
	token := f.token("roles", []string{"admin"}, "acr", "gold")
	now := time.Now().Unix()
	for _, c := range []struct{ name, answer, check string }{
		{"active alone", `{"active":true}`, ""},
		{"the same parties", `{"active":true,"sub":"alice","client_id":"shop"}`, ""},
		{"nulls", `{"active":true,"exp":null,"sub":null,"client_id":null,"scope":null,"acr":null,"roles":null}`, ""},
		{"an empty subject", `{"active":true,"sub":""}`, "sub"},
		{"another token of the same parties", `{"active":true,"sub":"alice","jti":"another"}`, "jti"},
		{"another subject", `{"active":true,"sub":"mallory"}`, "sub"},
		{"another client", `{"active":true,"client_id":"other"}`, "client_id"},
		{"another issuer", `{"active":true,"iss":"https://other.example"}`, "iss"},
		{"another audience", `{"active":true,"aud":"https://other.example"}`, "aud"},
		{"bound to a key", `{"active":true,"cnf":{"jkt":"x"}}`, "cnf"},
		{"ended", fmt.Sprintf(`{"active":true,"exp":%d}`, now-70), "exp"},
	} {
		f.answers(c.answer)
		tok, err := f.verify(token)
		if checkOf(err) != c.check {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil && (tok.Subject != "alice" || tok.ACR != "gold" || !tok.HasScope("orders:list") || tok.Strings("roles")[0] != "admin" || tok.Expiry.Unix() < now+299) {
			t.Errorf("%s: what the answer leaves out is lost: %v", c.name, tok)
		}
	}
	f.answers(fmt.Sprintf(`{"active":true,"scope":"orders:read","roles":["reader"],"exp":%d}`, now+3000))
	tok, err := f.verify(token)
	if err != nil || tok.HasScope("orders:list") || tok.Strings("roles")[0] != "reader" || tok.Expiry.Unix() > now+310 {
		t.Errorf("read as %v, %q, %v", tok, tok.Scopes, err)
	}
}

func TestNewRefusesIntrospectionThatCanNotWork(t *testing.T) {
	secret := func(in bearer.Introspection) bearer.Introspection {
		in.ClientID, in.ClientSecret = "api", "secret"
		return in
	}
	for name, c := range map[string]struct {
		in     bearer.Introspection
		change func(*bearer.Config)
		says   string
	}{
		"good":                       {in: secret(bearer.Introspection{Endpoint: "https://op.example/introspect", Signed: true})},
		"another authentication":     {in: bearer.Introspection{Auth: clientauth.None()}},
		"nothing":                    {says: "ClientSecret is missing"},
		"no client id":               {in: bearer.Introspection{ClientSecret: "secret"}, says: "ClientID is missing"},
		"no client id for Auth":      {in: bearer.Introspection{Auth: clientauth.Post("secret")}, says: "ClientID is missing"},
		"no client id, and Signed":   {in: bearer.Introspection{Auth: clientauth.None(), Signed: true}, says: "audience of signed answers"},
		"both":                       {in: bearer.Introspection{ClientID: "api", ClientSecret: "secret", Auth: clientauth.None()}, says: "decide for one"},
		"plain http":                 {in: secret(bearer.Introspection{Endpoint: "http://op.example/introspect"}), says: "not https"},
		"loopback http":              {in: secret(bearer.Introspection{Endpoint: "http://127.0.0.1/introspect"}), says: "loopback"},
		"loopback http, allowed":     {in: secret(bearer.Introspection{Endpoint: "http://127.0.0.1/introspect"}), change: func(c *bearer.Config) { c.InsecureLoopbackHTTP = true }},
		"a password in the endpoint": {in: secret(bearer.Introspection{Endpoint: "https://a:secret@op.example/introspect"}), says: "user info"},
		"many tenants": {in: secret(bearer.Introspection{}), says: "{tenantid}", change: func(c *bearer.Config) {
			c.Issuers = []bearer.Issuer{{Issuer: "https://op.example/{tenantid}", AnyTenant: true, Introspection: c.Introspection}}
			c.Issuer, c.Introspection = "", nil
		}},
	} {
		cfg := bearer.Config{Issuer: "https://op.example", Audience: audience, Introspection: &c.in}
		if c.change != nil {
			c.change(&cfg)
		}
		_, err := bearer.New(cfg)
		if (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "secret@")) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

func TestIntrospectionPrintsNoSecret(t *testing.T) {
	in := bearer.Introspection{ClientID: "api", ClientSecret: "marked", Auth: clientauth.Basic("marked")}
	cfg := bearer.Config{Introspection: &in, Issuers: []bearer.Issuer{{Introspection: &in}}}
	var log bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	text := ""
	for _, v := range []any{in, &in, cfg.Issuers[0], cfg} {
		text += fmt.Sprintf("%v %+v %#v %q %x", v, v, v, v, v)
	}
	logger.Info("x", "v", in, "p", &in)
	logger.Info("x", slog.Group("g", slog.Any("v", in)))
	text += log.String()
	if strings.Contains(text, "marked") || strings.Contains(text, fmt.Sprintf("%x", "marked")) || !strings.Contains(text, `ClientID: "api"`) {
		t.Error(text)
	}
}

func ExampleIntrospection() {
	op, err := rptest.New(rptest.Options{Issuer: "https://login.example", Audience: "https://api.example"})
	if err != nil {
		fmt.Println(err)
		return
	}
	api, err := bearer.New(bearer.Config{
		Issuer:     op.Issuer(),
		Audience:   "https://api.example",
		HTTPClient: op.Client(), // a real provider needs none
		Introspection: &bearer.Introspection{
			ClientID: op.ClientID(), ClientSecret: op.ClientSecret(), // this API's own
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = api.Verify(context.Background(), "a-token-that-has-ended")
	fmt.Println(err)
	fmt.Println(api.Failure(err).Status)
	// Output:
	// bearer: token refused by its inactive: want a token that the issuer calls active, got one that it does not
	// 401
}
