package rptest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp/rptest"
)

const notificationToken = "0123456789abcdefghijkl"

// newPhone is a rig of one client by delivery, and the notifications that it gets.
func newPhone(t *testing.T, delivery string, opts rptest.Options) (r *rig, got *[]map[string]any) {
	t.Helper()
	opts.Clients = []rptest.Client{{ID: "till", Secret: "s", TokenDelivery: delivery, NotificationURI: "https://app.example/notified"}}
	r, got = newRig(t, opts), new([]map[string]any)
	r.p.HandleHost("app.example", http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var body map[string]any
		if err := json.NewDecoder(req.Body).Decode(&body); err != nil || req.Method != "POST" || req.Header.Get("Content-Type") != "application/json" ||
			req.Header.Get("Authorization") != "Bearer "+notificationToken {
			t.Errorf("%s %v: %v", req.Method, req.Header, err)
		}
		*got = append(*got, body)
		w.WriteHeader(http.StatusNoContent)
	}))
	return r, got
}

func (r *rig) backchannel(change ...string) (int, map[string]any) {
	r.t.Helper()
	form := url.Values{"scope": {"openid"}, "login_hint": {"alice"}, "client_notification_token": {notificationToken}}
	for i := 0; i < len(change); i += 2 {
		if form.Set(change[i], change[i+1]); change[i+1] == "" {
			form.Del(change[i])
		}
	}
	return r.post("/backchannel", form)
}

func (r *rig) pollBackchannel(id any) (int, map[string]any) {
	r.t.Helper()
	return r.post("/token", url.Values{"grant_type": {cibaGrant}, "auth_req_id": {fmt.Sprint(id)}})
}

func TestABackchannelRequestIsCheckedStrictly(t *testing.T) {
	r, _ := newPhone(t, "ping", rptest.Options{Users: []rptest.User{{Name: "alice"}, {Name: "bob", UserCode: "1234"}}})
	hint := r.p.Sign(map[string]any{"iss": r.p.Issuer(), "sub": "alice"})
	old := r.p.Sign(map[string]any{"iss": r.p.Issuer(), "sub": "alice", "exp": 1})
	for _, x := range []struct {
		name   string
		change []string
		code   string // empty: accepted
	}{
		{"as it should be", nil, ""},
		{"a user code", []string{"login_hint", "bob", "user_code", "1234"}, ""},
		{"no user code", []string{"login_hint", "bob"}, "missing_user_code"},
		{"another user code", []string{"login_hint", "bob", "user_code", "4321"}, "invalid_user_code"},
		{"an unknown user", []string{"login_hint", "carol"}, "unknown_user_id"},
		{"no hint", []string{"login_hint", ""}, "invalid_request"},
		{"two hints", []string{"id_token_hint", hint}, "invalid_request"},
		{"an ID token", []string{"login_hint", "", "id_token_hint", hint}, ""},
		{"an old ID token", []string{"login_hint", "", "id_token_hint", old}, ""},
		{"no ID token of ours", []string{"login_hint", "", "id_token_hint", "x"}, "invalid_request"},
		{"a hint token", []string{"login_hint", "", "login_hint_token", hint}, ""},
		{"an old hint token", []string{"login_hint", "", "login_hint_token", old}, "expired_login_hint_token"},
		{"no openid", []string{"scope", "openids profile"}, "invalid_scope"},
		{"a signed request", []string{"request", "x"}, "invalid_request"},
		{"a short message", []string{"binding_message", strings.Repeat("x", 64)}, ""},
		{"a long message", []string{"binding_message", strings.Repeat("x", 65)}, "invalid_binding_message"},
		{"a message of escapes", []string{"binding_message", "\x1b"}, "invalid_binding_message"},
		{"an expiry of its own", []string{"requested_expiry", "60"}, ""},
		{"expiry 0", []string{"requested_expiry", "0"}, "invalid_request"},
		{"expiry of words", []string{"requested_expiry", "soon"}, "invalid_request"},
		{"no notification token", []string{"client_notification_token", ""}, "invalid_request"},
		{"a guessable one", []string{"client_notification_token", notificationToken[1:]}, "invalid_request"},
		{"one with a space", []string{"client_notification_token", notificationToken + " "}, "invalid_request"},
		{"one of 1025 characters", []string{"client_notification_token", strings.Repeat("x", 1025)}, "invalid_request"},
		{"a relative resource", []string{"resource", "x"}, "invalid_target"},
	} {
		status, answer := r.backchannel(x.change...)
		if x.code != "" {
			if status != 400 || answer["error"] != x.code {
				t.Errorf("%s: %d %v, want %s", x.name, status, answer, x.code)
			}
			continue
		}
		if status != 200 || len(fmt.Sprint(answer["auth_req_id"])) < 40 || answer["interval"] != 5.0 {
			t.Errorf("%s: %d %v", x.name, status, answer)
		}
	}
	public := newRig(t, rptest.Options{Clients: []rptest.Client{{ID: "public"}}})
	public.basic = false
	status, answer := public.backchannel("client_id", "public")
	wantError(t, status, answer, 400, "unauthorized_client", "public")
}

func TestABackchannelLoginIsPolled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, got := newPhone(t, "poll", rptest.Options{})
		_, answer := r.backchannel("binding_message", "A1", "requested_expiry", "60", "client_notification_token", "", "acr_values", "high")
		if answer["expires_in"] != 60.0 || fmt.Sprint(r.p.BindingMessages("alice")) != "[A1]" || r.p.BindingMessages("bob") != nil {
			t.Errorf("%v", answer)
		}
		id := answer["auth_req_id"]
		status, answer := r.pollBackchannel(id)
		wantError(t, status, answer, 400, "authorization_pending", "")
		if r.p.ApproveBackchannel(t.Context(), "bob") == nil || r.p.DenyBackchannel(t.Context(), "nobody") == nil {
			t.Error("answered by somebody else")
		}
		if err := r.p.ApproveBackchannel(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		status, answer = r.pollBackchannel(id)
		if status != 200 {
			t.Fatalf("%d %v", status, answer)
		}
		_, claims := r.verified(answer["id_token"], "ES256")
		if claims["sub"] != "alice" || claims["acr"] != "high" || len(*got) != 0 {
			t.Errorf("%v, %d notifications", claims, len(*got))
		}
		if r.p.ApproveBackchannel(t.Context(), "alice") == nil {
			t.Error("approved a second time")
		}
		_, answer = r.backchannel("requested_expiry", "60")
		id = answer["auth_req_id"]
		time.Sleep(time.Minute)
		status, answer = r.pollBackchannel(id)
		wantError(t, status, answer, 400, "expired_token", "")
	})
}

func TestAPingNamesTheLoginAlone(t *testing.T) {
	r, got := newPhone(t, "ping", rptest.Options{})
	for _, yes := range []bool{true, false} {
		*got = nil
		_, answer := r.backchannel()
		id := answer["auth_req_id"]
		notify := r.p.DenyBackchannel
		if yes {
			notify = r.p.ApproveBackchannel
		}
		if err := notify(t.Context(), "alice"); err != nil || len(*got) != 1 || len((*got)[0]) != 1 || (*got)[0]["auth_req_id"] != id {
			t.Fatalf("%v, %v", err, *got)
		}
		status, answer := r.pollBackchannel(id)
		if yes && status != 200 || !yes && answer["error"] != "access_denied" {
			t.Errorf("%t: %d %v", yes, status, answer)
		}
	}
}

func TestAPushBringsTokensThatItsIDTokenBinds(t *testing.T) {
	r, got := newPhone(t, "push", rptest.Options{})
	_, answer := r.backchannel()
	id := answer["auth_req_id"]
	if answer["interval"] != nil {
		t.Errorf("%v", answer)
	}
	status, refused := r.pollBackchannel(id)
	wantError(t, status, refused, 400, "unauthorized_client", "push")
	if err := r.p.ApproveBackchannel(t.Context(), "alice"); err != nil || len(*got) != 1 {
		t.Fatal(err, *got)
	}
	push := (*got)[0]
	_, claims := r.verified(push["id_token"], "ES256")
	if push["auth_req_id"] != id || push["access_token"] == nil || push["token_type"] != "Bearer" || push["expires_in"] != 300.0 ||
		claims["urn:openid:params:jwt:claim:auth_req_id"] != id || claims["at_hash"] == nil || claims["urn:openid:params:jwt:claim:rt_hash"] == nil {
		t.Errorf("%v with %v", push, claims)
	}
	if status, answer := r.renew(push["refresh_token"]); status != 200 {
		t.Errorf("%d %v", status, answer)
	}
	*got = nil
	r.backchannel()
	if err := r.p.DenyBackchannel(t.Context(), "alice"); err != nil || len(*got) != 1 || (*got)[0]["error"] != "access_denied" || (*got)[0]["id_token"] != nil {
		t.Errorf("%v, %v", err, *got)
	}
	r.p.HandleHost("app.example", http.NotFoundHandler())
	r.backchannel()
	if err := r.p.ApproveBackchannel(t.Context(), "alice"); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a client that refuses: %v", err)
	}
}

func TestAClientByNotificationNeedsAnAddressForIt(t *testing.T) {
	for delivery, reason := range map[string]string{"ping": "NotificationURI", "push": "NotificationURI", "pigeon": "not poll, ping or push"} {
		_, err := rptest.New(rptest.Options{Issuer: "https://op.example", Clients: []rptest.Client{{ID: "a", TokenDelivery: delivery}}})
		if err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v", delivery, err)
		}
	}
	if _, err := rptest.New(rptest.Options{Issuer: "https://op.example", Clients: []rptest.Client{{ID: "a", TokenDelivery: "poll"}}}); err != nil {
		t.Error(err)
	}
}
