package rptest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/rp/rptest"
)

const afterLogout = "https://app.example/bye"

func TestEndSessionSendsBackOnlyToARegisteredPlace(t *testing.T) {
	opts := rptest.Options{Clients: []rptest.Client{{ID: "c", Secret: "s", PostLogoutRedirectURIs: []string{afterLogout}}, {ID: "other", Secret: "s"}}}
	for name, test := range map[string]struct {
		query  url.Values
		status int
		want   string
	}{
		"with hint and state": {url.Values{"id_token_hint": {"good"}, "post_logout_redirect_uri": {afterLogout}, "state": {"a b"}}, 303, afterLogout + "?state=a+b"},
		"with client id":      {url.Values{"client_id": {"c"}, "post_logout_redirect_uri": {afterLogout}}, 303, afterLogout},
		"without a place":     {url.Values{"id_token_hint": {"good"}}, 200, ""},
		"a foreign place":     {url.Values{"client_id": {"c"}, "post_logout_redirect_uri": {afterLogout + "/x"}}, 400, ""},
		"a place of nobody":   {url.Values{"post_logout_redirect_uri": {afterLogout}}, 400, ""},
		"a foreign hint":      {url.Values{"id_token_hint": {"a.b.c"}}, 400, ""},
		"another client":      {url.Values{"id_token_hint": {"good"}, "client_id": {"other"}}, 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, opts)
			tokens := r.login()
			if test.query.Get("id_token_hint") == "good" {
				test.query.Set("id_token_hint", fmt.Sprint(tokens["id_token"]))
			}
			resp := r.get(base(r.p)+"/end_session?"+test.query.Encode(), "")
			if resp.StatusCode != test.status || resp.Header.Get("Location") != test.want {
				t.Errorf("%s %q", resp.Status, resp.Header.Get("Location"))
			}
			ended := test.query.Has("id_token_hint") && test.status < 400
			if status, _ := r.renew(tokens["refresh_token"]); (status != 200) != ended {
				t.Errorf("refresh afterwards: %d", status)
			}
		})
	}
}

func TestEndSessionWithoutAHintAsksTheUser(t *testing.T) {
	v := newVisit(t, rptest.Options{})
	v.signIn(v.open(nil), "alice", "alice")
	end := base(v.p) + "/end_session?" + url.Values{"client_id": {v.p.ClientID()}, "post_logout_redirect_uri": {afterLogout}, "state": {"s"}}.Encode()
	ask := func() *rptest.Page {
		t.Helper()
		page, err := v.b.Get(end)
		if err != nil {
			t.Fatal(err)
		}
		wantPage(t, page, "/end_session", "Sign out?", "Alice Archer")
		return page
	}
	wantPage(t, v.submit(ask(), "deny", nil), "/end_session", "still signed in")
	v.claims(v.open(url.Values{"prompt": {"none"}}))
	page := ask()
	// A form of another site has not seen the page.
	if got, err := v.b.PostForm(base(v.p)+"/end_session", url.Values{"action": {"sign-out"}}); err != nil || !strings.Contains(got.Body, "Sign out?") {
		t.Errorf("without the page: %v %v", got, err)
	}
	if got := v.back(v.submit(page, "confirm", nil)); got.Get("state") != "s" {
		t.Errorf("%v", got)
	}
	if got := v.back(v.open(url.Values{"prompt": {"none"}})); got.Get("error") != "login_required" {
		t.Errorf("after sign-out: %v", got)
	}
}

func TestEndSessionTellsTheClients(t *testing.T) {
	r := newRig(t, rptest.Options{Clients: []rptest.Client{{ID: "c", Secret: "s", BackchannelLogoutURI: "https://app.example/backchannel", FrontchannelLogoutURI: "https://app.example/front"}}})
	var token string
	r.p.HandleHost("app.example", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token = r.PostFormValue("logout_token")
	}))
	tokens := r.login()
	_, id := r.verified(tokens["id_token"], "ES256")
	resp := r.get(base(r.p)+"/end_session?"+url.Values{"id_token_hint": {fmt.Sprint(tokens["id_token"])}, "post_logout_redirect_uri": {afterLogout}}.Encode(), "")
	body := read(t, resp)
	frame := "https://app.example/front?" + strings.ReplaceAll(url.Values{"iss": {r.p.Issuer()}, "sid": {fmt.Sprint(id["sid"])}}.Encode(), "&", "&amp;")
	if !strings.Contains(body, frame) || !strings.Contains(body, afterLogout) || !strings.Contains(resp.Header.Get("Content-Security-Policy"), "frame-src https://app.example") {
		t.Errorf("no %s in\n%s", frame, body)
	}
	header, claims := r.verified(token, "ES256")
	if header.ExtraHeaders["typ"] != "logout+jwt" || claims["sid"] != id["sid"] || claims["sub"] != "alice" || claims["aud"] != "c" || claims["nonce"] != nil || claims["jti"] == nil {
		t.Errorf("%v %v", header, claims)
	}
}

func TestBackchannelLogoutReportsARefusal(t *testing.T) {
	r := newRig(t, rptest.Options{Clients: []rptest.Client{{ID: "c", Secret: "s", BackchannelLogoutURI: "https://app.example/backchannel"}}})
	status := http.StatusOK
	r.p.HandleHost("app.example", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, "no")
	}))
	for _, want := range []int{200, 400} {
		status = want
		tokens := r.login()
		if err := r.p.BackchannelLogout(t.Context(), "alice"); (err == nil) != (want == 200) {
			t.Errorf("status %d: %v", want, err)
		}
		if status, _ := r.renew(tokens["refresh_token"]); status != 400 {
			t.Errorf("refresh afterwards: %d", status)
		}
	}
}

func TestLogoutTokensMayBeBent(t *testing.T) {
	r := newRig(t, rptest.Options{})
	_, claims := r.verified(r.p.LogoutToken("alice", ""), "ES256")
	if claims["sub"] != "alice" || claims["sid"] != nil || claims["events"] == nil {
		t.Errorf("%v", claims)
	}
	_, claims = r.verified(r.p.LogoutToken("", "s1", rptest.WithClaim("nonce", "n"), rptest.WithoutClaim("events")), "ES256")
	if claims["sub"] != nil || claims["sid"] != "s1" || claims["nonce"] != "n" || claims["events"] != nil {
		t.Errorf("%v", claims)
	}
}
