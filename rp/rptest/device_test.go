package rptest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp/rptest"
)

const (
	deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"
	cibaGrant   = "urn:openid:params:grant-type:ciba"
)

// device begins a login of one.
func (r *rig) device() (deviceCode, userCode string) {
	r.t.Helper()
	status, answer := r.post("/device_authorization", url.Values{"scope": {r.scope}})
	if status != 200 {
		r.t.Fatalf("%d %v", status, answer)
	}
	return fmt.Sprint(answer["device_code"]), fmt.Sprint(answer["user_code"])
}

func (r *rig) pollDevice(code string) (int, map[string]any) {
	r.t.Helper()
	return r.post("/token", url.Values{"grant_type": {deviceGrant}, "device_code": {code}})
}

func TestDeviceAuthorizationAnswersAsTheRFCHasIt(t *testing.T) {
	r := newRig(t, rptest.Options{PollInterval: 7 * time.Second, PendingLifetime: time.Minute})
	synctest.Test(t, func(t *testing.T) {
		status, answer := r.post("/device_authorization", url.Values{"scope": {"openid"}})
		code := fmt.Sprint(answer["user_code"])
		if status != 200 || !regexp.MustCompile(`^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$`).MatchString(code) {
			t.Fatalf("%d %v", status, answer)
		}
		if answer["verification_uri"] != base(r.p)+"/device" || answer["verification_uri_complete"] != base(r.p)+"/device?user_code="+code ||
			answer["interval"] != 7.0 || answer["expires_in"] != 60.0 || len(fmt.Sprint(answer["device_code"])) < 40 {
			t.Errorf("%v", answer)
		}
	})
	r.basic = false
	status, answer := r.post("/device_authorization", url.Values{"scope": {"openid"}})
	wantError(t, status, answer, 401, "invalid_client", "")
	metadata := r.json(base(r.p)+"/.well-known/openid-configuration", "")
	if metadata["device_authorization_endpoint"] != base(r.p)+"/device_authorization" || !strings.Contains(fmt.Sprint(metadata["grant_types_supported"]), deviceGrant) ||
		metadata["backchannel_authentication_endpoint"] == nil || fmt.Sprint(metadata["backchannel_token_delivery_modes_supported"]) != "[poll ping push]" {
		t.Errorf("%v", metadata)
	}
	if r.p.Hits(rptest.DeviceAuthorization) != 2 {
		t.Errorf("%d hits", r.p.Hits(rptest.DeviceAuthorization))
	}
}

func TestADeviceIsToldWhatItsUserSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rptest.Options{})
		code, user := r.device()
		status, answer := r.pollDevice(code)
		wantError(t, status, answer, 400, "authorization_pending", "")
		time.Sleep(5 * time.Second)
		if err := r.p.ApproveDevice(" "+strings.ToLower(strings.ReplaceAll(user, "-", " ")), "bob"); err != nil {
			t.Fatal(err)
		}
		status, answer = r.pollDevice(code)
		if status != 200 || answer["refresh_token"] == nil {
			t.Fatalf("%d %v", status, answer)
		}
		_, claims := r.verified(answer["id_token"], "ES256")
		if claims["sub"] != "bob" || claims["nonce"] != nil || claims["at_hash"] == nil || claims["urn:openid:params:jwt:claim:auth_req_id"] != nil {
			t.Errorf("%v", claims)
		}
		time.Sleep(5 * time.Second)
		status, answer = r.pollDevice(code)
		wantError(t, status, answer, 400, "invalid_grant", "used before")
		if err := r.p.ApproveDevice(user, "bob"); err == nil {
			t.Error("approved a second time")
		}

		code, user = r.device()
		if err := r.p.DenyDevice(user); err != nil {
			t.Fatal(err)
		}
		status, answer = r.pollDevice(code)
		wantError(t, status, answer, 400, "access_denied", "")

		code, user = r.device()
		time.Sleep(5 * time.Minute)
		status, answer = r.pollDevice(code)
		wantError(t, status, answer, 400, "expired_token", "")
		if r.p.ApproveDevice(user, "bob") == nil || r.p.DenyDevice(user) == nil || r.p.ApproveDevice("x", "bob") == nil {
			t.Error("a code that has ended, or never was, is taken")
		}
		_, user = r.device()
		if r.p.ApproveDevice(user, "nobody") == nil {
			t.Error("nobody approved")
		}
	})
}

func TestAPollThatComesTooSoonIsToldToSlowDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rptest.Options{})
		code, user := r.device()
		for _, x := range []struct {
			wait time.Duration
			want string
		}{
			{0, "authorization_pending"}, // the first is never too soon
			{4999 * time.Millisecond, "slow_down"},
			{9999 * time.Millisecond, "slow_down"}, // 5 and 5 by now
			{15 * time.Second, "authorization_pending"},
			{14 * time.Second, "slow_down"}, // for good
		} {
			time.Sleep(x.wait)
			status, answer := r.pollDevice(code)
			wantError(t, status, answer, 400, x.want, "")
		}
		r.p.ApproveDevice(user, "alice")
		status, answer := r.pollDevice(code)
		wantError(t, status, answer, 400, "slow_down", "") // whatever the user has said meanwhile
		time.Sleep(30 * time.Second)
		if status, answer := r.pollDevice(code); status != 200 {
			t.Errorf("%d %v", status, answer)
		}
	})
}

func TestADeviceCodeIsOfItsClientAndItsGrant(t *testing.T) {
	r := newRig(t, rptest.Options{Clients: []rptest.Client{{ID: "one", Secret: "s1"}, {ID: "two"}}})
	code, user := r.device()
	r.p.ApproveDevice(user, "alice")
	status, answer := r.post("/token", url.Values{"grant_type": {cibaGrant}, "auth_req_id": {code}})
	wantError(t, status, answer, 400, "invalid_grant", "unknown")
	status, answer = r.post("/token", url.Values{"grant_type": {deviceGrant}})
	wantError(t, status, answer, 400, "invalid_request", "device_code")
	status, answer = r.post("/token", url.Values{"grant_type": {deviceGrant}, "device_code": {"x"}})
	wantError(t, status, answer, 400, "invalid_grant", "unknown")
	r.basic = false
	status, answer = r.post("/token", url.Values{"grant_type": {deviceGrant}, "device_code": {code}, "client_id": {"two"}})
	wantError(t, status, answer, 400, "invalid_grant", "another client")
	status, answer = r.post("/device_authorization", url.Values{"client_id": {"two"}, "resource": {"x"}})
	wantError(t, status, answer, 400, "invalid_target", "")
	if status, answer := r.post("/device_authorization", url.Values{"client_id": {"two"}}); status != 200 {
		t.Errorf("a public client: %d %v", status, answer)
	}
}

func TestTheDevicePageAsksForTheCodeAndThenForTheUser(t *testing.T) {
	v := newVisit(t, rptest.Options{ShowHints: true})
	get := func(query string) *rptest.Page {
		page, err := v.b.Get(base(v.p) + "/device" + query)
		if err != nil {
			t.Fatal(err)
		}
		return page
	}
	code, user := v.device()
	page := get("")
	wantPage(t, page, "/device", "code that your device shows")
	page = v.submit(page, "continue", url.Values{"user_code": {"BBBB-BBBB"}})
	wantPage(t, page, "/device", `id="mistake"`)
	page = v.submit(page, "continue", url.Values{"user_code": {strings.ToLower(user)}})
	wantPage(t, page, "/device", user, "Test application", "<code>alice</code>", `name="password"`)
	page = v.submit(page, "allow", url.Values{"username": {"bob"}, "password": {"wrong"}})
	if wantPage(t, page, "/device", `id="mistake"`, `value="bob"`); page.Status != http.StatusUnauthorized {
		t.Errorf("status %d", page.Status)
	}
	page = v.submit(page, "allow", url.Values{"username": {"bob"}, "password": {"bob"}})
	wantPage(t, page, "/device", "Connected")
	status, answer := v.pollDevice(code)
	if _, claims := v.verified(answer["id_token"], "ES256"); status != 200 || claims["sub"] != "bob" {
		t.Errorf("%d %v", status, answer)
	}

	code, user = v.device()
	page = get("?user_code=" + user)
	wantPage(t, page, "/device", user)
	wantPage(t, v.submit(page, "deny", nil), "/device", "refused")
	status, answer = v.pollDevice(code)
	wantError(t, status, answer, 400, "access_denied", "")
}

func TestNoStrangersFormConnectsADevice(t *testing.T) {
	r := newRig(t, rptest.Options{})
	code, user := r.device()
	page, err := r.p.Browser().Get(base(r.p) + "/device?user_code=" + user)
	if err != nil {
		t.Fatal(err)
	}
	victim := r.p.Browser()
	if page, err = victim.Submit(page, "allow", nil); err != nil || strings.Contains(page.Body, "Connected") {
		t.Errorf("a form of another browser: %v\n%s", err, page.Body)
	}
	status, answer := r.pollDevice(code)
	wantError(t, status, answer, 400, "authorization_pending", "")
	if page, err = victim.Submit(page, "allow", nil); err != nil || !strings.Contains(page.Body, "Connected") {
		t.Errorf("its own: %v\n%s", err, page.Body)
	}
	r.p.SignInAs("")
	_, user = r.device()
	page, _ = victim.Get(base(r.p) + "/device?user_code=" + user)
	if page, err = victim.Submit(page, "allow", nil); err != nil || page.Status != 400 {
		t.Errorf("nobody signed in: %v\n%s", err, page.Body)
	}
	resp, err := r.http.Head(base(r.p) + "/device")
	if err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("HEAD: %v %v", resp, err)
	}
}
