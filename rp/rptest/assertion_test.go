package rptest_test

import (
	"crypto"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp/rptest"
)

// vouched is a provider with a client by its platform, one by its own key, and one by either that or a secret.
func vouched(t *testing.T) (r *rig, platform *rptest.Provider) {
	t.Helper()
	platform, trusted := corp(t)
	own := rptest.FederatedCredential{Issuer: "self", Subject: "self", Keys: trusted.Keys}
	r = newRig(t, rptest.Options{Clients: []rptest.Client{
		{ID: "pod", Federated: []rptest.FederatedCredential{{Issuer: trusted.Issuer, Subject: "account", Keys: trusted.Keys}, {Issuer: trusted.Issuer, Subject: "other", Audience: "api://op", Keys: trusted.Keys}}},
		{ID: "self", Federated: []rptest.FederatedCredential{own}},
		{ID: "both", Secret: "s", Federated: []rptest.FederatedCredential{{Issuer: trusted.Issuer, Subject: "both", Keys: trusted.Keys}}},
		{ID: "secret", Secret: "s", AuthMethod: "basic", Federated: []rptest.FederatedCredential{{Issuer: trusted.Issuer, Subject: "secret", Keys: trusted.Keys}}},
	}})
	r.basic = false
	return r, platform
}

func (r *rig) assert(assertion string, change ...string) (int, map[string]any) {
	r.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_assertion": {assertion}, "client_assertion_type": {jwtAssertion}}
	for i := 0; i+1 < len(change); i += 2 {
		form.Set(change[i], change[i+1])
		if change[i+1] == "" {
			form.Del(change[i])
		}
	}
	return r.post("/token", form)
}

func TestAClientIsWhoItsAssertionSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, platform := vouched(t)
		pod := map[string]any{"sub": "account"}
		for name, try := range map[string]func() (int, map[string]any){
			"with its id":    func() (int, map[string]any) { return r.assert(says(platform, pod), "client_id", "pod") },
			"without":        func() (int, map[string]any) { return r.assert(says(platform, pod)) },
			"the same again": func() (int, map[string]any) { return r.assert(says(platform, pod)) },
			"its other one": func() (int, map[string]any) {
				return r.assert(says(platform, map[string]any{"sub": "other", "aud": "api://op"}))
			},
			"in place of": func() (int, map[string]any) {
				return r.assert(says(platform, map[string]any{"sub": "both"}), "client_id", "both")
			},
			"or with a secret": func() (int, map[string]any) {
				return r.post("/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"both"}, "client_secret": {"s"}})
			},
			"in a list of one": func() (int, map[string]any) {
				return r.assert(says(platform, map[string]any{"sub": "account", "aud": []string{r.p.Issuer()}}))
			},
			"at another of its": func() (int, map[string]any) {
				return r.post("/introspect", url.Values{"token": {"x"}, "client_assertion": {says(platform, pod)}, "client_assertion_type": {jwtAssertion}})
			},
		} {
			if status, answer := try(); status != 200 {
				t.Errorf("%s: %d %v", name, status, answer)
			}
		}
		for name, x := range map[string]struct {
			change []string
			claims map[string]any
			status int
			code   string
			reason string
		}{
			"another client":       {[]string{"client_id", "both"}, pod, 401, "invalid_client", "nobody who is trusted"},
			"an unknown client":    {[]string{"client_id", "x"}, pod, 401, "invalid_client", "nobody who is trusted"},
			"another subject":      {nil, map[string]any{"sub": "x"}, 401, "invalid_client", "nobody who is trusted"},
			"another issuer":       {nil, map[string]any{"sub": "account", "iss": "x"}, 401, "invalid_client", "nobody who is trusted"},
			"the token endpoint":   {nil, map[string]any{"sub": "account", "aud": "https://op.example/tenant/token"}, 401, "invalid_client", "for this provider alone"},
			"somebody else too":    {nil, map[string]any{"sub": "account", "aud": []string{"https://op.example/tenant", "x"}}, 401, "invalid_client", "for this provider alone"},
			"the other's audience": {nil, map[string]any{"sub": "other"}, 401, "invalid_client", "for this provider alone"},
			"expired":              {nil, map[string]any{"sub": "account", "exp": time.Now().Unix()}, 401, "invalid_client", "expired"},
			"registered for basic": {nil, map[string]any{"sub": "secret"}, 401, "invalid_client", "registered for client_secret_basic"},
			"no type":              {[]string{"client_assertion_type", ""}, pod, 400, "invalid_request", "client_assertion_type"},
			"another type":         {[]string{"client_assertion_type", "x"}, pod, 400, "invalid_request", "client_assertion_type"},
			"no assertion":         {[]string{"client_assertion", ""}, pod, 400, "invalid_request", "client_assertion"},
			"a secret as well":     {[]string{"client_secret", "s", "client_id", "both"}, map[string]any{"sub": "both"}, 400, "invalid_request", "two client authentications"},
		} {
			status, answer := r.assert(says(platform, x.claims), x.change...)
			wantError(t, status, answer, x.status, x.code, x.reason)
			if answer["access_token"] != nil {
				t.Errorf("%s: it was given a token", name)
			}
		}
		// No other way in for a client that has no secret.
		status, answer := r.post("/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"pod"}})
		wantError(t, status, answer, 401, "invalid_client", "registered for private_key_jwt")
		status, answer = r.post("/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"pod"}, "client_secret": {""}})
		wantError(t, status, answer, 401, "invalid_client", "registered for private_key_jwt")

		// What a client signs for itself is for one request.
		self := func(jti any) string { return says(platform, map[string]any{"iss": "self", "sub": "self", "jti": jti}) }
		for n, want := range []int{200, 401} {
			if status, answer := r.assert(self("a")); status != want {
				t.Errorf("request %d: %d %v", n+1, status, answer)
			}
		}
		status, answer = r.assert(self(nil))
		wantError(t, status, answer, 401, "invalid_client", "no jti")
		time.Sleep(time.Minute)
		if status, answer := r.assert(self("a")); status != 200 {
			t.Errorf("a jti after its end: %d %v", status, answer)
		}
	})
}

func TestTwoProofsAtOnceAreRefused(t *testing.T) {
	r, platform := vouched(t)
	form := url.Values{"grant_type": {"client_credentials"}, "client_assertion": {says(platform, map[string]any{"sub": "both"})}, "client_assertion_type": {jwtAssertion}}
	req, err := http.NewRequest(http.MethodPost, base(r.p)+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("both", "s")
	resp, err := r.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if body := read(t, resp); resp.StatusCode != 400 || !strings.Contains(body, "two client authentications") {
		t.Errorf("%s: %s", resp.Status, body)
	}
}

func TestClientsByAssertionAreAnnounced(t *testing.T) {
	r, _ := vouched(t)
	m := r.json(base(r.p)+"/.well-known/openid-configuration", "")
	plain := newRig(t, rptest.Options{})
	if listed := fmt.Sprint(m["token_endpoint_auth_methods_supported"]); !strings.Contains(listed, "private_key_jwt") || m["token_endpoint_auth_signing_alg_values_supported"] == nil {
		t.Errorf("%v", m)
	}
	m = plain.json(base(plain.p)+"/.well-known/openid-configuration", "")
	if listed := fmt.Sprint(m["token_endpoint_auth_methods_supported"]); strings.Contains(listed, "private_key_jwt") || m["token_endpoint_auth_signing_alg_values_supported"] != nil {
		t.Errorf("%v", m)
	}
}

func TestOptionsRefuseTrustInNothing(t *testing.T) {
	platform, trusted := corp(t)
	keys := []crypto.PublicKey{platform.PublicKey()}
	for reason, o := range map[string]rptest.Options{
		"":                             {TrustedIssuers: []rptest.TrustedIssuer{trusted}},
		"a TrustedIssuer needs Keys":   {TrustedIssuers: []rptest.TrustedIssuer{{Issuer: "https://corp.example"}}},
		"TrustedIssuer needs":          {TrustedIssuers: []rptest.TrustedIssuer{{Keys: keys}}},
		"other than the provider":      {TrustedIssuers: []rptest.TrustedIssuer{{Issuer: "https://op.example", Keys: keys}}},
		"Issuer, Subject and Keys":     {Clients: []rptest.Client{{ID: "a", Federated: []rptest.FederatedCredential{{Issuer: "i", Subject: "s"}}}}},
		"client a: a Federated":        {Clients: []rptest.Client{{ID: "a", Federated: []rptest.FederatedCredential{{Issuer: "i", Keys: keys}}}}},
		"needs Issuer":                 {Clients: []rptest.Client{{ID: "a", Federated: []rptest.FederatedCredential{{Subject: "s", Keys: keys}}}}},
		"needs a FederatedCredential":  {Clients: []rptest.Client{{ID: "a", AuthMethod: "private_key_jwt"}}},
		"is not basic, post, none or ": {Clients: []rptest.Client{{ID: "a", AuthMethod: "tls_client_auth"}}},
	} {
		o.Issuer = "https://op.example"
		_, err := rptest.New(o)
		if reason == "" && err != nil || reason != "" && (err == nil || !strings.Contains(err.Error(), reason)) {
			t.Errorf("%v, want %q", err, reason)
		}
	}
	if text := fmt.Sprintf("%v %+v %#v", trusted, trusted, trusted); strings.Contains(text, "corps-own") || !strings.Contains(text, "https://corp.example") {
		t.Errorf("it prints %s", text)
	}
}
