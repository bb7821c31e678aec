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

// wantError fails unless an endpoint refused with that error, for that reason.
func wantError(t *testing.T, status int, answer map[string]any, wantStatus int, code, reason string) {
	t.Helper()
	if status != wantStatus || answer["error"] != code || !strings.Contains(fmt.Sprint(answer["error_description"]), reason) {
		t.Errorf("status %d: %v; want %d %s because of %q", status, answer, wantStatus, code, reason)
	}
}

func TestTokenEndpointRefusesABadRedemption(t *testing.T) {
	good := func(r *rig) url.Values {
		return url.Values{"grant_type": {"authorization_code"}, "code": {r.code()}, "redirect_uri": {callback}, "code_verifier": {r.verifier}}
	}
	r := newRig(t, rptest.Options{})
	if status, answer := r.post("/token", good(r)); status != 200 {
		t.Fatalf("the good one: %d %v", status, answer)
	}
	for name, test := range map[string]struct {
		change       func(url.Values)
		code, reason string
	}{
		"no verifier":        {func(v url.Values) { v.Del("code_verifier") }, "invalid_grant", "code_verifier"},
		"another verifier":   {func(v url.Values) { v.Set("code_verifier", strings.Repeat("v", 43)) }, "invalid_grant", "code_verifier"},
		"another redirect":   {func(v url.Values) { v.Set("redirect_uri", callback+"/") }, "invalid_grant", "redirect_uri"},
		"no redirect":        {func(v url.Values) { v.Del("redirect_uri") }, "invalid_grant", "redirect_uri"},
		"an unknown code":    {func(v url.Values) { v.Set("code", "x") }, "invalid_grant", "unknown"},
		"no code":            {func(v url.Values) { v.Del("code") }, "invalid_request", "code"},
		"no grant type":      {func(v url.Values) { v.Del("grant_type") }, "invalid_request", "grant_type"},
		"another grant type": {func(v url.Values) { v.Set("grant_type", "password") }, "unsupported_grant_type", ""},
		"two codes":          {func(v url.Values) { v.Add("code", "x") }, "invalid_request", "twice"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rptest.Options{})
			form := good(r)
			test.change(form)
			status, answer := r.post("/token", form)
			wantError(t, status, answer, 400, test.code, test.reason)
		})
	}
}

func TestACodeUsedTwiceRevokesItsGrant(t *testing.T) {
	r := newRig(t, rptest.Options{})
	code := r.code()
	_, tokens := r.redeem(code)
	access := fmt.Sprint(tokens["access_token"])
	if resp := r.get(base(r.p)+"/userinfo", access); resp.StatusCode != 200 || r.p.Grants() != 1 {
		t.Fatalf("before: %s, %d grants", resp.Status, r.p.Grants())
	}
	status, answer := r.redeem(code)
	wantError(t, status, answer, 400, "invalid_grant", "used before")
	if resp := r.get(base(r.p)+"/userinfo", access); resp.StatusCode != 401 || r.p.Grants() != 0 {
		t.Errorf("after: %s, %d grants", resp.Status, r.p.Grants())
	}
	status, answer = r.renew(tokens["refresh_token"])
	wantError(t, status, answer, 400, "invalid_grant", "revoked")
}

func TestACodeExpires(t *testing.T) {
	for after, want := range map[time.Duration]int{time.Minute: 200, time.Minute + time.Second: 400} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, rptest.Options{})
			code := r.code()
			time.Sleep(after)
			if status, answer := r.redeem(code); status != want {
				t.Errorf("after %v: %d %v", after, status, answer)
			}
		})
	}
}

func TestRefreshTokensRotateAndReuseRevokesTheFamily(t *testing.T) {
	r := newRig(t, rptest.Options{})
	first := r.login()
	status, second := r.renew(first["refresh_token"])
	if status != 200 || second["refresh_token"] == first["refresh_token"] || second["access_token"] == first["access_token"] || r.p.Refreshes() != 1 {
		t.Fatalf("refresh: %d %v", status, second)
	}
	if r.p.RefreshReuses() != 0 {
		t.Fatal("a reuse was counted too early")
	}
	status, answer := r.renew(first["refresh_token"])
	wantError(t, status, answer, 400, "invalid_grant", "used before")
	if r.p.RefreshReuses() != 1 {
		t.Errorf("%d reuses", r.p.RefreshReuses())
	}
	status, answer = r.renew(second["refresh_token"])
	wantError(t, status, answer, 400, "invalid_grant", "revoked")
	if resp := r.get(base(r.p)+"/userinfo", fmt.Sprint(second["access_token"])); resp.StatusCode != 401 {
		t.Errorf("access token of a revoked family: %s", resp.Status)
	}
}

func TestGraceForgivesAReuse(t *testing.T) {
	for after, want := range map[time.Duration]int{5 * time.Second: 200, 6 * time.Second: 400} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, rptest.Options{RefreshGrace: 5 * time.Second})
			first := r.login()
			r.renew(first["refresh_token"])
			time.Sleep(after)
			if status, answer := r.renew(first["refresh_token"]); status != want {
				t.Errorf("after %v: %d %v", after, status, answer)
			}
		})
	}
}

func TestRefreshKeepsTheIdentityAndNarrowsTheScope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rptest.Options{})
		first := r.login()
		_, before := r.verified(first["id_token"], "ES256")
		time.Sleep(time.Minute)
		status, second := r.post("/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {fmt.Sprint(first["refresh_token"])}, "scope": {"openid email"}})
		if status != 200 || second["scope"] != "openid email" {
			t.Fatalf("status %d: %v", status, second)
		}
		_, after := r.verified(second["id_token"], "ES256")
		for _, name := range []string{"iss", "sub", "aud", "auth_time", "sid"} {
			if before[name] != after[name] {
				t.Errorf("%s changed from %v to %v", name, before[name], after[name])
			}
		}
		if after["nonce"] != nil || after["iat"] == before["iat"] {
			t.Errorf("nonce %v, iat %v", after["nonce"], after["iat"])
		}
		if user := r.json(base(r.p)+"/userinfo", fmt.Sprint(second["access_token"])); user["name"] != nil || user["email"] == nil {
			t.Errorf("narrowed userinfo: %v", user)
		}
		status, answer := r.post("/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {fmt.Sprint(second["refresh_token"])}, "scope": {"openid phone"}})
		wantError(t, status, answer, 400, "invalid_scope", "phone")
	})
}

func TestRefreshTokensAreIssuedAsTheOptionsSay(t *testing.T) {
	for name, test := range map[string]struct {
		opts  rptest.Options
		scope string
		want  bool
	}{
		"by default":             {rptest.Options{}, "openid", true},
		"never":                  {rptest.Options{NoRefreshTokens: true}, "openid offline_access", false},
		"offline, not asked for": {rptest.Options{OfflineAccessOnly: true}, "openid", false},
		"offline, asked for":     {rptest.Options{OfflineAccessOnly: true}, "openid offline_access", true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, test.opts)
			r.scope = test.scope
			if got := r.login()["refresh_token"] != nil; got != test.want {
				t.Errorf("refresh token: %v", got)
			}
		})
	}
	r := newRig(t, rptest.Options{KeepRefreshTokens: true})
	tokens := r.login()
	for range 2 {
		if _, again := r.renew(tokens["refresh_token"]); again["refresh_token"] != tokens["refresh_token"] {
			t.Errorf("rotated to %v", again["refresh_token"])
		}
	}
}

func TestClientsAuthenticateAsRegistered(t *testing.T) {
	// The secret needs the form encoding of RFC 6749 section 2.3.1.
	const secret = `p:%+ "s`
	for _, registered := range []string{"", "basic", "post", "none"} {
		for _, used := range []string{"basic", "post", "none", "wrong basic", "wrong post", "both"} {
			t.Run(registered+" by "+used, func(t *testing.T) {
				r := newRig(t, rptest.Options{Clients: []rptest.Client{{ID: "a client", Secret: secret, AuthMethod: registered}}})
				form := url.Values{"grant_type": {"authorization_code"}, "code": {r.code()}, "redirect_uri": {callback}, "code_verifier": {r.verifier}}
				r.basic = used == "basic" || used == "both"
				if !r.basic {
					form.Set("client_id", "a client")
				}
				if used == "post" || used == "both" {
					form.Set("client_secret", secret)
				}
				if used == "wrong post" {
					form.Set("client_secret", "wrong")
				}
				status, answer := r.post("/token", form)
				switch good := used == registered || registered == "" && (used == "basic" || used == "post"); {
				case good && status != 200:
					t.Errorf("refused: %v", answer)
				case used == "both":
					wantError(t, status, answer, 400, "invalid_request", "two client authentications")
				case !good && used != "wrong basic" && status != 401:
					t.Errorf("status %d: %v", status, answer)
				}
			})
		}
	}
	r := newRig(t, rptest.Options{Clients: []rptest.Client{{ID: "public"}}})
	if status, _ := r.post("/token", url.Values{"grant_type": {"authorization_code"}, "code": {r.code()}, "redirect_uri": {callback}, "code_verifier": {r.verifier}}); status != 401 {
		t.Errorf("a public client with Basic: %d", status)
	}
	r.basic = false
	if status, answer := r.post("/token", url.Values{"client_id": {"public"}, "grant_type": {"authorization_code"}, "code": {r.code()}, "redirect_uri": {callback}, "code_verifier": {r.verifier}}); status != 200 {
		t.Errorf("a public client: %d %v", status, answer)
	}
}

func TestClientCredentialsGiveNoIdentity(t *testing.T) {
	r := newRig(t, rptest.Options{JWTAccessTokens: true})
	status, tokens := r.post("/token", url.Values{"grant_type": {"client_credentials"}, "scope": {"reports.write openid"}, "resource": {"https://api.example"}})
	if status != 200 || tokens["id_token"] != nil || tokens["refresh_token"] != nil || tokens["scope"] != "reports.write" {
		t.Fatalf("status %d: %v", status, tokens)
	}
	header, claims := r.verified(tokens["access_token"], "ES256")
	if claims["sub"] != r.p.ClientID() || claims["aud"] != "https://api.example" || claims["sid"] != nil || header.ExtraHeaders["typ"] != "at+jwt" {
		t.Errorf("%v %v", header, claims)
	}
	if resp := r.get(base(r.p)+"/userinfo", fmt.Sprint(tokens["access_token"])); resp.StatusCode != 403 {
		t.Errorf("userinfo: %s", resp.Status)
	}
}

func TestJWTAccessTokensAreForTheirAudience(t *testing.T) {
	r := newRig(t, rptest.Options{JWTAccessTokens: true, Audience: "https://api.example"})
	r.p.SetClaim("alice", "roles", []string{"admin"})
	header, claims := r.verified(r.login()["access_token"], "ES256")
	for name, want := range map[string]any{"aud": "https://api.example", "sub": "alice", "scope": r.scope, "client_id": r.p.ClientID(), "iss": r.p.Issuer()} {
		if claims[name] != want {
			t.Errorf("%s is %v, want %v", name, claims[name], want)
		}
	}
	if header.ExtraHeaders["typ"] != "at+jwt" || claims["jti"] == nil || claims["exp"] == nil || fmt.Sprint(claims["roles"]) != "[admin]" || claims["email"] != nil {
		t.Errorf("%v %v", header, claims)
	}
	r.extra = url.Values{"resource": {"https://one.example", "https://two.example"}}
	tokens := r.login()
	if _, claims := r.verified(tokens["access_token"], "ES256"); fmt.Sprint(claims["aud"]) != "[https://one.example https://two.example]" {
		t.Errorf("aud %v", claims["aud"])
	}
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {fmt.Sprint(tokens["refresh_token"])}, "resource": {"https://two.example"}}
	_, again := r.post("/token", form)
	if _, claims := r.verified(again["access_token"], "ES256"); claims["aud"] != "https://two.example" {
		t.Errorf("aud %v", claims["aud"])
	}
	form.Set("refresh_token", fmt.Sprint(again["refresh_token"]))
	form.Set("resource", "https://three.example")
	status, answer := r.post("/token", form)
	wantError(t, status, answer, 400, "invalid_target", "granted")

	r.p.AccessTokenFault(rptest.WrongIssuer)
	if _, claims := r.verified(r.login()["access_token"], "ES256"); claims["iss"] == r.p.Issuer() {
		t.Error("the access token is not bent")
	}
}

func TestATokenRequestChoosesAmongTheResources(t *testing.T) {
	r := newRig(t, rptest.Options{JWTAccessTokens: true})
	r.extra = url.Values{"resource": {"https://one.example", "https://two.example"}}
	form := url.Values{"grant_type": {"authorization_code"}, "code": {r.code()}, "redirect_uri": {callback}, "code_verifier": {r.verifier}, "resource": {"https://one.example"}}
	status, tokens := r.post("/token", form)
	if status != 200 {
		t.Fatalf("%d %v", status, tokens)
	}
	if _, claims := r.verified(tokens["access_token"], "ES256"); claims["aud"] != "https://one.example" {
		t.Errorf("aud %v", claims["aud"])
	}
	form.Set("code", r.code())
	form.Set("resource", "https://three.example")
	status, answer := r.post("/token", form)
	wantError(t, status, answer, 400, "invalid_target", "granted")
}

func TestRevocationAndIntrospectionAgree(t *testing.T) {
	r := newRig(t, rptest.Options{})
	active := func(token any) bool {
		t.Helper()
		status, answer := r.post("/introspect", url.Values{"token": {fmt.Sprint(token)}})
		if status != http.StatusOK {
			t.Fatalf("introspection: %d %v", status, answer)
		}
		return answer["active"] == true
	}
	revoke := func(token any) {
		t.Helper()
		if status, answer := r.post("/revoke", url.Values{"token": {fmt.Sprint(token)}}); status != http.StatusOK {
			t.Fatalf("revocation: %d %v", status, answer)
		}
	}
	tokens := r.login()
	if !active(tokens["access_token"]) || !active(tokens["refresh_token"]) || active("unknown") {
		t.Fatal("wrong before revocation")
	}
	revoke(tokens["access_token"])
	if active(tokens["access_token"]) || !active(tokens["refresh_token"]) {
		t.Error("an access token does not go alone")
	}
	second := r.login()
	revoke(second["refresh_token"])
	if active(second["access_token"]) || active(second["refresh_token"]) {
		t.Error("a refresh token does not take its grant along")
	}
	revoke("unknown") // RFC 7009 section 2.2: no error
	if r.p.Hits(rptest.Revocation) != 3 || r.p.Hits(rptest.Introspection) == 0 {
		t.Errorf("%d revocations, %d introspections", r.p.Hits(rptest.Revocation), r.p.Hits(rptest.Introspection))
	}
}
