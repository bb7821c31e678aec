package rptest_test

import (
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp/rptest"
)

const (
	exchangeGrant   = "urn:ietf:params:oauth:grant-type:token-exchange"
	jwtBearerGrant  = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	samlBearerGrant = "urn:ietf:params:oauth:grant-type:saml2-bearer"
	jwtAssertion    = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	tokenType       = "urn:ietf:params:oauth:token-type:"
)

// corp is another provider, and how it is trusted.
func corp(t *testing.T) (*rptest.Provider, rptest.TrustedIssuer) {
	t.Helper()
	p, err := rptest.New(rptest.Options{Issuer: "https://corp.example", SigningAlg: "ES256"})
	if err != nil {
		t.Fatal(err)
	}
	return p, rptest.TrustedIssuer{Issuer: p.Issuer(), Keys: []crypto.PublicKey{p.PublicKey()}, Alias: "corp", Kept: map[string]string{"alice": "corps-own"}}
}

// says is a JWT of p for the rig's provider, good for a minute.
func says(p *rptest.Provider, change map[string]any) string {
	now := time.Now().Unix()
	claims := map[string]any{"iss": p.Issuer(), "sub": "alice", "aud": "https://op.example/tenant", "iat": now, "exp": now + 60, "jti": "1"}
	maps.Copy(claims, change)
	for name, value := range claims {
		if value == nil {
			delete(claims, name)
		}
	}
	return p.Sign(claims)
}

func TestExchangeRefusesWhatItMust(t *testing.T) {
	other, trusted := corp(t)
	r := newRig(t, rptest.Options{
		JWTAccessTokens: true, Audience: "orders", TrustedIssuers: []rptest.TrustedIssuer{trusted},
		Clients: []rptest.Client{{ID: "web", Secret: "s"}, {ID: "api", Secret: "s"}},
	})
	r.scope = "openid orders.read"
	tokens := r.login()
	good := func() url.Values {
		return url.Values{"grant_type": {exchangeGrant}, "subject_token": {fmt.Sprint(tokens["access_token"])}, "subject_token_type": {tokenType + "access_token"}}
	}
	for name, x := range map[string]struct {
		change       map[string]string // an empty value takes the parameter away
		code, reason string
	}{
		"as it is":                 {nil, "", ""},
		"a JWT":                    {map[string]string{"subject_token_type": tokenType + "jwt"}, "", ""},
		"a refresh token":          {map[string]string{"subject_token": fmt.Sprint(tokens["refresh_token"]), "subject_token_type": tokenType + "refresh_token"}, "", ""},
		"an ID token":              {map[string]string{"subject_token": fmt.Sprint(tokens["id_token"]), "subject_token_type": tokenType + "id_token"}, "", ""},
		"another issuer's":         {map[string]string{"subject_token": says(other, nil), "subject_token_type": tokenType + "jwt"}, "", ""},
		"another issuer's by name": {map[string]string{"subject_token": says(other, nil), "subject_token_type": tokenType + "jwt", "subject_issuer": "corp"}, "", ""},
		"for a client":             {map[string]string{"audience": "api"}, "", ""},
		"for the API":              {map[string]string{"audience": "orders"}, "", ""},
		"another issuer's own":     {map[string]string{"requested_issuer": "corp"}, "", ""},
		"no subject token":         {map[string]string{"subject_token": ""}, "invalid_request", "subject_token"},
		"no subject token type":    {map[string]string{"subject_token_type": ""}, "invalid_request", "subject_token"},
		"a type nobody knows":      {map[string]string{"subject_token_type": tokenType + "ticket"}, "invalid_request", "not taken"},
		"no URN":                   {map[string]string{"subject_token_type": "access_token"}, "invalid_request", "not taken"},
		"an unknown token":         {map[string]string{"subject_token": "x"}, "invalid_request", "not active"},
		"an opaque JWT":            {map[string]string{"subject_token": "x", "subject_token_type": tokenType + "jwt"}, "invalid_request", "no JWT"},
		"an access as an ID token": {map[string]string{"subject_token_type": tokenType + "id_token"}, "invalid_request", "no active ID token"},
		"an access as a refresh":   {map[string]string{"subject_token_type": tokenType + "refresh_token"}, "invalid_request", "not active"},
		"a refresh as an access":   {map[string]string{"subject_token": fmt.Sprint(tokens["refresh_token"])}, "invalid_request", "not active"},
		"a stranger's":             {map[string]string{"subject_token": says(other, map[string]any{"iss": "https://else.example"}), "subject_token_type": tokenType + "jwt"}, "invalid_request", "nobody who is trusted"},
		"a forgery":                {map[string]string{"subject_token": r.p.Sign(map[string]any{"iss": other.Issuer(), "sub": "alice", "aud": r.p.Issuer(), "exp": time.Now().Unix() + 60}), "subject_token_type": tokenType + "jwt"}, "invalid_request", "another key"},
		"for somebody else":        {map[string]string{"subject_token": says(other, map[string]any{"aud": "x"}), "subject_token_type": tokenType + "jwt"}, "invalid_request", "another audience"},
		"of another name":          {map[string]string{"subject_token": says(other, nil), "subject_token_type": tokenType + "jwt", "subject_issuer": "google"}, "invalid_request", "subject_issuer"},
		"an actor without type":    {map[string]string{"actor_token": "x"}, "invalid_request", "come together"},
		"a type without actor":     {map[string]string{"actor_token_type": tokenType + "jwt"}, "invalid_request", "come together"},
		"an unknown actor":         {map[string]string{"actor_token": "x", "actor_token_type": tokenType + "access_token"}, "invalid_request", "the actor_token is not active"},
		"more scope":               {map[string]string{"scope": "orders.read orders.write"}, "invalid_scope", "orders.write"},
		"an unknown audience":      {map[string]string{"audience": "bank"}, "invalid_target", "audience"},
		"no URL":                   {map[string]string{"resource": "bank"}, "invalid_target", "resource"},
		"a SAML assertion":         {map[string]string{"requested_token_type": tokenType + "saml2"}, "invalid_request", "not issued"},
		"an ID token for an API":   {map[string]string{"requested_token_type": tokenType + "id_token", "audience": "orders"}, "invalid_target", "one client"},
		"an issuer nobody knows":   {map[string]string{"requested_issuer": "google"}, "invalid_request", "requested_issuer"},
		"the issuer's ID token":    {map[string]string{"requested_issuer": "corp", "requested_token_type": tokenType + "id_token"}, "invalid_request", "only an access token"},
		"the issuer's of a client": {map[string]string{"requested_issuer": "corp", "subject_token": says(other, map[string]any{"sub": "bob"}), "subject_token_type": tokenType + "jwt"}, "not_linked", "kept"},
	} {
		form := good()
		for name, value := range x.change {
			form.Set(name, value)
			if value == "" {
				form.Del(name)
			}
		}
		status, answer := r.post("/token", form)
		if x.code == "" {
			if status != 200 || answer["issued_token_type"] != tokenType+"access_token" || answer["token_type"] != "Bearer" || answer["refresh_token"] != nil || answer["id_token"] != nil {
				t.Errorf("%s: %d %v", name, status, answer)
			}
			continue
		}
		t.Run(name, func(t *testing.T) { wantError(t, status, answer, 400, x.code, x.reason) })
	}

	// What is over is of no use, to anybody.
	r.post("/revoke", url.Values{"token": {fmt.Sprint(tokens["access_token"])}})
	status, answer := r.post("/token", good())
	wantError(t, status, answer, 400, "invalid_request", "not active")
}

func TestExchangeIssuesWhatWasAskedFor(t *testing.T) {
	other, trusted := corp(t)
	r := newRig(t, rptest.Options{TrustedIssuers: []rptest.TrustedIssuer{trusted}, Clients: []rptest.Client{{ID: "web", Secret: "s"}, {ID: "api", Secret: "s"}}})
	access := fmt.Sprint(r.login()["access_token"])
	ask := func(change url.Values) map[string]any {
		t.Helper()
		form := url.Values{"grant_type": {exchangeGrant}, "subject_token": {access}, "subject_token_type": {tokenType + "access_token"}}
		maps.Copy(form, change)
		status, answer := r.post("/token", form)
		if status != 200 {
			t.Fatalf("%d %v", status, answer)
		}
		return answer
	}
	if answer := ask(nil); strings.Contains(fmt.Sprint(answer["access_token"]), ".") || answer["scope"] != "openid profile email" {
		t.Errorf("opaque: %v", answer)
	}
	// A JWT although access tokens are opaque here, with the actor's issuer and whoever acted before.
	answer := ask(url.Values{
		"requested_token_type": {tokenType + "jwt"}, "scope": {"email"}, "audience": {"api", "web"}, "resource": {"https://api.example"},
		"actor_token": {says(other, map[string]any{"sub": "robot"})}, "actor_token_type": {tokenType + "jwt"},
	})
	header, claims := r.verified(answer["access_token"], "ES256")
	if header.ExtraHeaders["typ"] != "at+jwt" || answer["issued_token_type"] != tokenType+"jwt" || claims["sub"] != "alice" || fmt.Sprint(claims["aud"]) != "[api web https://api.example]" ||
		claims["scope"] != "email" || fmt.Sprint(claims["act"]) != "map[iss:https://corp.example sub:robot]" {
		t.Errorf("%v, %v, %v", header, claims, answer)
	}
	again := ask(url.Values{"subject_token": {fmt.Sprint(answer["access_token"])}, "requested_token_type": {tokenType + "id_token"}, "audience": {"api"}})
	_, claims = r.verified(again["access_token"], "ES256")
	if again["token_type"] != "N_A" || again["issued_token_type"] != tokenType+"id_token" || claims["aud"] != "api" || claims["sub"] != "alice" || claims["email"] == nil || fmt.Sprint(claims["act"]) != fmt.Sprint(map[string]any{"iss": "https://corp.example", "sub": "robot"}) {
		t.Errorf("%v, %v", claims, again)
	}
}

func TestExchangeIsForClientsThatProveWhoTheyAre(t *testing.T) {
	r := newRig(t, rptest.Options{Clients: []rptest.Client{{ID: "public"}}})
	r.basic = false
	status, answer := r.post("/token", url.Values{"grant_type": {exchangeGrant}, "client_id": {"public"}, "subject_token": {"x"}, "subject_token_type": {tokenType + "jwt"}})
	wantError(t, status, answer, 400, "unauthorized_client", "public")
}

func TestJWTBearerRefusesABadAssertion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other, trusted := corp(t)
		r := newRig(t, rptest.Options{TrustedIssuers: []rptest.TrustedIssuer{trusted}})
		post := func(assertion string, more ...string) (int, map[string]any) {
			form := url.Values{"grant_type": {jwtBearerGrant}, "assertion": {assertion}, "scope": {"openid offline_access orders"}}
			for i := 0; i+1 < len(more); i += 2 {
				form.Set(more[i], more[i+1])
			}
			return r.post("/token", form)
		}
		for name, change := range map[string]map[string]any{
			"for the issuer":         nil,
			"for the token endpoint": {"aud": []string{"x", "https://op.example/tenant/token"}},
			"for the client itself":  {"sub": r.p.ClientID()},
			"without iat and jti":    {"iat": nil, "jti": nil},
		} {
			if status, answer := post(says(other, change)); status != 200 || answer["scope"] != "orders" || answer["refresh_token"] != nil || answer["id_token"] != nil || answer["issued_token_type"] != nil {
				t.Errorf("%s: %d %v", name, status, answer)
			}
		}
		now := time.Now().Unix()
		for reason, assertion := range map[string]string{
			"has expired":       says(other, map[string]any{"exp": now}),
			"expired":           says(other, map[string]any{"exp": now - 1}),
			"no exp":            says(other, map[string]any{"exp": nil}),
			"has no exp":        says(other, map[string]any{"exp": "tomorrow"}),
			"the future":        says(other, map[string]any{"nbf": now + 1}),
			"of the future":     says(other, map[string]any{"iat": now + 1}),
			"no sub":            says(other, map[string]any{"sub": nil}),
			"no aud":            says(other, map[string]any{"aud": nil}),
			"another audience":  says(other, map[string]any{"aud": "https://op.example/tenant/"}),
			"nobody":            says(other, map[string]any{"iss": nil}),
			"who is trusted":    says(other, map[string]any{"iss": "corp"}), // the alias is no issuer
			"wrong type":        says(other, map[string]any{"sub": 7}),
			"subject is":        says(other, map[string]any{"sub": "mallory"}),
			"no JWT":            "opaque",
			"asymmetric":        other.Sign(map[string]any{"iss": other.Issuer()}, "alg", "HS256"),
			"by another key":    r.p.Sign(map[string]any{"iss": other.Issuer(), "sub": "alice", "aud": r.p.Issuer(), "exp": now + 60}),
			"signed by another": strings.Join(strings.Split(says(other, nil), ".")[:2], ".") + ".",
		} {
			status, answer := post(assertion)
			wantError(t, status, answer, 400, "invalid_grant", reason)
		}
		status, answer := post("")
		wantError(t, status, answer, 400, "invalid_request", "assertion is missing")
		status, answer = post(says(other, nil), "requested_token_use", "x")
		wantError(t, status, answer, 400, "invalid_request", "on_behalf_of")
		status, answer = post(says(other, nil), "resource", "x")
		wantError(t, status, answer, 400, "invalid_target", "resource")
	})
}

func TestOnBehalfOfTakesWhatWasSentToTheClient(t *testing.T) {
	for audience, good := range map[string]bool{"test-client": true, "another": false} {
		r := newRig(t, rptest.Options{Audience: audience})
		access := fmt.Sprint(r.login()["access_token"])
		form := url.Values{"grant_type": {jwtBearerGrant}, "assertion": {access}, "requested_token_use": {"on_behalf_of"}, "scope": {"graph"}}
		status, answer := r.post("/token", form)
		if !good {
			wantError(t, status, answer, 400, "invalid_grant", "another audience")
			continue
		}
		if status != 200 || answer["scope"] != "graph" {
			t.Errorf("%d %v", status, answer)
		}
		r.post("/revoke", url.Values{"token": {access}})
		status, answer = r.post("/token", form)
		wantError(t, status, answer, 400, "invalid_grant", "no active access token")
	}
}

func TestSAMLBearerIsOfferedWithSomebodyToReadIt(t *testing.T) {
	form := url.Values{"grant_type": {samlBearerGrant}, "assertion": {base64.RawURLEncoding.EncodeToString([]byte("<alice/>"))}}
	r := newRig(t, rptest.Options{})
	status, answer := r.post("/token", form)
	wantError(t, status, answer, 400, "unsupported_grant_type", "")
	var seen string
	r = newRig(t, rptest.Options{SAMLAssertion: func(xml []byte) (string, error) {
		if seen = string(xml); seen != "<alice/>" {
			return "", errors.New("not signed")
		}
		return "alice", nil
	}})
	if status, answer := r.post("/token", form); status != 200 || seen != "<alice/>" {
		t.Errorf("%d %v", status, answer)
	}
	for assertion, want := range map[string][2]string{"": {"invalid_request", "missing"}, "PGE=": {"invalid_request", "base64url"}, "PGI-": {"invalid_grant", "not signed"}} {
		form.Set("assertion", assertion)
		status, answer := r.post("/token", form)
		wantError(t, status, answer, 400, want[0], want[1])
	}
}

func TestThePasswordGrantIsOfferedWhenAsked(t *testing.T) {
	form := url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"alice"}, "scope": {"openid"}}
	r := newRig(t, rptest.Options{})
	status, answer := r.post("/token", form)
	wantError(t, status, answer, 400, "unsupported_grant_type", "")
	r = newRig(t, rptest.Options{AllowPassword: true})
	status, answer = r.post("/token", form)
	if _, claims := r.verified(answer["id_token"], "ES256"); status != 200 || claims["sub"] != "alice" || claims["nonce"] != nil || answer["refresh_token"] == nil {
		t.Errorf("%d %v", status, answer)
	}
	for name, want := range map[string][3]string{
		"username": {"mallory", "invalid_grant", "wrong"}, "password": {"bob", "invalid_grant", "wrong"}, "resource": {"x", "invalid_target", "resource"},
	} {
		bent := maps.Clone(form)
		bent.Set(name, want[0])
		status, answer := r.post("/token", bent)
		wantError(t, status, answer, 400, want[1], want[2])
		if name != "resource" {
			bent.Del(name)
			status, answer = r.post("/token", bent)
			wantError(t, status, answer, 400, "invalid_request", "missing")
		}
	}
}

func TestGrantTypesAreListedAsOffered(t *testing.T) {
	for _, x := range []struct {
		opts  rptest.Options
		extra bool
	}{{rptest.Options{}, false}, {rptest.Options{AllowPassword: true, SAMLAssertion: func([]byte) (string, error) { return "", nil }}, true}} {
		r := newRig(t, x.opts)
		listed := fmt.Sprint(r.json(base(r.p)+"/.well-known/openid-configuration", "")["grant_types_supported"])
		if !strings.Contains(listed, exchangeGrant) || !strings.Contains(listed, jwtBearerGrant) || strings.Contains(listed, "password") != x.extra || strings.Contains(listed, samlBearerGrant) != x.extra {
			t.Errorf("%s", listed)
		}
	}
}
