package rptest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp/rptest"
)

func TestAuthorizationRefusesABadRequestByRedirect(t *testing.T) {
	for name, test := range map[string]struct {
		extra        url.Values
		code, reason string
	}{
		"no PKCE":               {url.Values{"code_challenge": nil}, "invalid_request", "PKCE"},
		"plain PKCE":            {url.Values{"code_challenge_method": {"plain"}}, "invalid_request", "S256"},
		"PKCE method forgotten": {url.Values{"code_challenge_method": nil}, "invalid_request", "S256"},
		"a short challenge":     {url.Values{"code_challenge": {"abc"}}, "invalid_request", "code_challenge"},
		"another response type": {url.Values{"response_type": {"token"}}, "unsupported_response_type", ""},
		"a fragment mode":       {url.Values{"response_mode": {"fragment"}}, "invalid_request", "response_mode"},
		"none and login":        {url.Values{"prompt": {"none login"}}, "invalid_request", "prompt"},
		"max_age":               {url.Values{"max_age": {"-1"}}, "invalid_request", "max_age"},
		"claims":                {url.Values{"claims": {"[]"}}, "invalid_request", "claims"},
		"a foreign hint":        {url.Values{"id_token_hint": {"a.b.c"}}, "invalid_request", "id_token_hint"},
		"a relative resource":   {url.Values{"resource": {"/api"}}, "invalid_target", "absolute"},
		"a request object":      {url.Values{"request": {"x"}}, "request_not_supported", ""},
		"a request uri":         {url.Values{"request_uri": {"x"}}, "request_uri_not_supported", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rptest.Options{})
			r.extra = test.extra
			got := r.authorize()
			if got.Get("error") != test.code || !strings.Contains(got.Get("error_description"), test.reason) || got.Has("code") {
				t.Errorf("answer %v", got)
			}
			if got.Get("state") != "the-state" || got.Get("iss") != r.p.Issuer() {
				t.Errorf("state or iss is missing: %v", got)
			}
		})
	}
}

func TestAuthorizationSendsNobodyToAnUnknownPlace(t *testing.T) {
	for name, extra := range map[string]url.Values{
		"an unknown client":    {"client_id": {"x"}},
		"no client":            {"client_id": nil},
		"a foreign redirect":   {"redirect_uri": {"https://evil.com/"}},
		"a redirect fragment":  {"redirect_uri": {callback + "#x"}},
		"a script":             {"redirect_uri": {"javascript:alert(1)"}},
		"no redirect":          {"redirect_uri": nil},
		"a state twice":        {"state": {"a", "b"}},
		"a lookalike redirect": {"redirect_uri": {"https://app.example.evil.com/"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rptest.Options{})
			r.extra = extra
			resp := r.get(r.authURL(), "")
			if body := read(t, resp); resp.StatusCode != 400 || resp.Header.Get("Location") != "" || !strings.Contains(body, `id="error"`) {
				t.Errorf("%s %v", resp.Status, resp.Header)
			}
		})
	}
}

func TestRegisteredRedirectsAreComparedCharByChar(t *testing.T) {
	r := newRig(t, rptest.Options{Clients: []rptest.Client{{ID: "c", RedirectURIs: []string{callback}}}})
	if r.code() == "" {
		t.Fatal("no code")
	}
	r.extra = url.Values{"redirect_uri": {callback + "?x=y"}}
	if resp := r.get(r.authURL(), ""); resp.StatusCode != 400 {
		t.Errorf("%s", resp.Status)
	}
}

func TestOptionsSwitchChecksOff(t *testing.T) {
	r := newRig(t, rptest.Options{NoIssParameter: true, LeanIDTokens: true, Clients: []rptest.Client{{ID: "c", Secret: "s", AllowNoPKCE: true}}})
	r.extra = url.Values{"code_challenge": nil, "code_challenge_method": nil}
	back := r.authorize()
	if back.Has("iss") || back.Get("code") == "" {
		t.Fatalf("answer %v", back)
	}
	status, answer := r.redeem(back.Get("code"))
	wantError(t, status, answer, 400, "invalid_grant", "no code_challenge")
	r.verifier = ""
	status, tokens := r.post("/token", url.Values{"grant_type": {"authorization_code"}, "code": {r.code()}, "redirect_uri": {callback}})
	if status != 200 {
		t.Fatalf("%d %v", status, tokens)
	}
	if _, claims := r.verified(tokens["id_token"], "ES256"); claims["name"] != nil || claims["sub"] != "alice" {
		t.Errorf("a lean token: %v", claims)
	}
	if m := r.json(base(r.p)+"/.well-known/openid-configuration", ""); m["authorization_response_iss_parameter_supported"] != nil {
		t.Error("iss is promised")
	}
}

func TestUserIsChosenByHintThenBySignInAs(t *testing.T) {
	r := newRig(t, rptest.Options{})
	who := func() any {
		_, claims := r.verified(r.login()["id_token"], "ES256")
		return claims["sub"]
	}
	if got := who(); got != "alice" {
		t.Errorf("first: %v", got)
	}
	r.p.SignInAs("bob")
	if got := who(); got != "bob" {
		t.Errorf("after SignInAs: %v", got)
	}
	bobs := fmt.Sprint(r.login()["id_token"])
	r.extra = url.Values{"login_hint": {"alice@example.com"}}
	if got := who(); got != "alice" {
		t.Errorf("with login_hint: %v", got)
	}
	r.p.SignInAs("alice")
	r.p.RotateKeys() // a hint is good for as long as the provider lives
	r.extra = url.Values{"id_token_hint": {bobs}, "prompt": {"none"}}
	if got := who(); got != "bob" {
		t.Errorf("with id_token_hint: %v", got)
	}
	r.p.SignInAs("")
	if got := r.authorize(); got.Get("error") != "login_required" {
		t.Errorf("prompt=none with nobody: %v", got)
	}
	r.extra = nil
	if got := r.authorize(); got.Get("error") != "access_denied" {
		t.Errorf("nobody: %v", got)
	}
	r.p.SetUser(rptest.User{Name: "carol", Subject: "c-1", Claims: map[string]any{"groups": []string{"staff"}, "email": "c@example.org"}})
	r.p.SignInAs("carol")
	r.p.SetClaim("carol", "email_verified", "true")
	r.p.DeleteClaim("carol", "email")
	_, claims := r.verified(r.login()["id_token"], "ES256")
	if claims["sub"] != "c-1" || fmt.Sprint(claims["groups"]) != "[staff]" || claims["email_verified"] != "true" || claims["email"] != nil {
		t.Errorf("carol: %v", claims)
	}
}

func TestClaimsParameterAddsToScopes(t *testing.T) {
	r := newRig(t, rptest.Options{LeanIDTokens: true})
	r.scope = "openid"
	r.extra = url.Values{"claims": {`{"id_token":{"email":null,"acr":{"essential":true,"values":["urn:strong"]}},"userinfo":{"phone_number":{"essential":true}}}`}}
	tokens := r.login()
	_, claims := r.verified(tokens["id_token"], "ES256")
	if claims["email"] != "alice@example.com" || claims["acr"] != "urn:strong" || claims["phone_number"] != nil {
		t.Errorf("ID token: %v", claims)
	}
	if user := r.json(base(r.p)+"/userinfo", fmt.Sprint(tokens["access_token"])); user["phone_number"] == nil || user["email"] != nil {
		t.Errorf("userinfo: %v", user)
	}
}

func TestAcrIsGrantedUnlessToldOtherwise(t *testing.T) {
	for _, test := range []struct {
		opts rptest.Options
		want any
	}{{rptest.Options{}, "urn:strong"}, {rptest.Options{NoStepUp: true}, "urn:plain"}} {
		test.opts.Users = []rptest.User{{Name: "dora", ACR: "urn:plain"}}
		r := newRig(t, test.opts)
		r.extra = url.Values{"acr_values": {"urn:strong urn:other"}}
		if _, claims := r.verified(r.login()["id_token"], "ES256"); claims["acr"] != test.want {
			t.Errorf("acr %v, want %v", claims["acr"], test.want)
		}
		r.extra = url.Values{"claims": {`{"id_token":{"acr":{"essential":true,"value":"urn:strong"}}}`}}
		if got := r.authorize(); (got.Get("error") == "unmet_authentication_requirements") != test.opts.NoStepUp {
			t.Errorf("a demanded acr: %v", got)
		}
	}
}

func TestSessionsHaveTheirTimeOfLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rptest.Options{})
		b := r.p.Browser()
		b.StopAt = func(u *url.URL) bool { return u.Host == "app.example" }
		authTime := func(extra url.Values) (string, any) {
			t.Helper()
			r.extra = extra
			page, err := b.Get(r.authURL())
			if err != nil {
				t.Fatal(err)
			}
			if page.Location == nil {
				t.Fatalf("no answer: %d %s", page.Status, page.Body)
			}
			v := page.Location.Query()
			if v.Has("error") {
				return v.Get("error"), nil
			}
			_, tokens := r.redeem(v.Get("code"))
			_, claims := r.verified(tokens["id_token"], "ES256")
			return fmt.Sprint(claims["sid"]), claims["auth_time"]
		}
		at := func() any { return float64(time.Now().Unix()) }
		sid, first := authTime(nil)
		if first != at() {
			t.Fatalf("auth_time %v", first)
		}
		time.Sleep(time.Minute)
		if s, got := authTime(url.Values{"prompt": {"none"}, "max_age": {"60"}}); got != first || s != sid {
			t.Errorf("within max_age: %v %v", s, got)
		}
		time.Sleep(time.Second)
		if s, _ := authTime(url.Values{"prompt": {"none"}, "max_age": {"60"}}); s != "login_required" {
			t.Errorf("prompt=none past max_age: %v", s)
		}
		if s, got := authTime(url.Values{"max_age": {"60"}}); got != at() || s != sid {
			t.Errorf("past max_age: %v %v", s, got)
		}
		time.Sleep(time.Second)
		if _, got := authTime(url.Values{"prompt": {"login"}}); got != at() {
			t.Errorf("prompt=login: %v", got)
		}
		time.Sleep(time.Second)
		if _, got := authTime(url.Values{"max_age": {"0"}}); got != at() {
			t.Errorf("max_age=0: %v", got)
		}
		r.p.EndUserSessions("alice")
		if s, got := authTime(nil); got != at() || s == sid {
			t.Errorf("after EndUserSessions: %v %v", s, got)
		}
	})
}

func TestMetadataIsWhereIssuersPublishIt(t *testing.T) {
	for issuer, places := range map[string][]string{
		"https://op.example":        {"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"},
		"https://op.example/":       {"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"},
		"https://op.example/realm":  {"/realm/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/realm"},
		"https://op.example/realm/": {"/realm/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/realm"},
	} {
		r := newRig(t, rptest.Options{Issuer: issuer})
		for _, place := range places {
			m := r.json("https://op.example"+place, "")
			if m["issuer"] != issuer || m["token_endpoint"] != strings.TrimSuffix(issuer, "/")+"/token" {
				t.Errorf("%s: %v", place, m)
			}
		}
		if resp := r.get("https://op.example/elsewhere", ""); resp.StatusCode != http.StatusNotFound {
			t.Errorf("elsewhere: %s", resp.Status)
		}
		if _, claims := r.verified(r.login()["id_token"], "ES256"); claims["iss"] != issuer {
			t.Errorf("iss %v", claims["iss"])
		}
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	for reason, opts := range map[string]rptest.Options{
		"Issuer":     {},
		"query":      {Issuer: "https://op.example?x"},
		"SigningAlg": {Issuer: "https://op.example", SigningAlg: "HS256"},
		"negative":   {Issuer: "https://op.example", CodeLifetime: -1},
		"twice":      {Issuer: "https://op.example", Clients: []rptest.Client{{ID: "a"}, {ID: "a"}}},
		"AuthMethod": {Issuer: "https://op.example", Clients: []rptest.Client{{ID: "a", AuthMethod: "magic"}}},
		"algorithm":  {Issuer: "https://op.example", Clients: []rptest.Client{{ID: "a", SigningAlg: "none"}}},
		"Name":       {Issuer: "https://op.example", Users: []rptest.User{{}}},
		"Clients":    {Issuer: "https://op.example", Clients: []rptest.Client{}},
	} {
		if _, err := rptest.New(opts); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v", reason, err)
		}
	}
}
