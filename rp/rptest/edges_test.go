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

func TestEndpointsRefuseOtherMethods(t *testing.T) {
	r := newRig(t, rptest.Options{})
	for _, path := range []string{"/authorize", "/token", "/userinfo", "/revoke", "/introspect", "/end_session", "/login"} {
		req, err := http.NewRequest(http.MethodPut, base(r.p)+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := r.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") == "" {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
}

func TestUserInfoTakesTheTokenByHeaderOrForm(t *testing.T) {
	r := newRig(t, rptest.Options{})
	token := fmt.Sprint(r.login()["access_token"])
	for name, test := range map[string]struct {
		authorization, form string
		status              int
		challenge           string
	}{
		"header":             {"bearer " + token, "", 200, ""},
		"form":               {"", "access_token=" + token, 200, ""},
		"nothing":            {"", "", 401, "Bearer realm="},
		"another scheme":     {"Basic " + token, "", 401, "Bearer realm="},
		"an unknown token":   {"Bearer x", "", 401, `error="invalid_token"`},
		"without the scheme": {token, "", 401, "Bearer realm="},
	} {
		req, err := http.NewRequest(http.MethodPost, base(r.p)+"/userinfo", strings.NewReader(test.form))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if test.authorization != "" {
			req.Header.Set("Authorization", test.authorization)
		}
		resp, err := r.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != test.status || !strings.Contains(resp.Header.Get("WWW-Authenticate"), test.challenge) {
			t.Errorf("%s: %s %v", name, resp.Status, resp.Header)
		}
	}
}

func TestWhatDependsOnTheRequestIsAFaultToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := float64(time.Now().Unix())
		for name, test := range map[string]struct {
			fault rptest.TokenFault
			bent  func(claims map[string]any) bool
		}{
			"c_hash":    {rptest.WrongCHash, func(c map[string]any) bool { return c["c_hash"] != nil }},
			"acr":       {rptest.WeakACR, func(c map[string]any) bool { return c["acr"] == "0" }},
			"auth_time": {rptest.OldAuthTime, func(c map[string]any) bool { return c["auth_time"] == now-30*24*3600 }},
		} {
			r := newRig(t, rptest.Options{})
			if _, claims := r.verified(r.login()["id_token"], "ES256"); test.bent(claims) {
				t.Errorf("%s: bent before: %v", name, claims)
			}
			r.p.TokenFault(test.fault)
			if _, claims := r.verified(r.login()["id_token"], "ES256"); !test.bent(claims) {
				t.Errorf("%s: not bent: %v", name, claims)
			}
		}
		r := newRig(t, rptest.Options{})
		r.p.TokenFault(rptest.NoKID)
		if token := fmt.Sprint(r.login()["id_token"]); strings.Contains(header(t, token), "kid") {
			t.Errorf("header %s", header(t, token))
		}
	})
}

func header(t *testing.T, token string) string {
	t.Helper()
	raw, _, _ := strings.Cut(token, ".")
	b, err := decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLastingAnswerFaultsEndWithClearFaults(t *testing.T) {
	r := newRig(t, rptest.Options{})
	r.p.AnswerFault(rptest.AnswerWithout("iss"), rptest.AnswerWith("state", "x"))
	for range 2 {
		if got := r.authorize(); got.Has("iss") || got.Get("state") != "x" {
			t.Errorf("%v", got)
		}
	}
	r.p.ClearFaults()
	if got := r.authorize(); !got.Has("iss") || got.Get("state") != "the-state" {
		t.Errorf("%v", got)
	}
}

// TestManyTokensPushNoLiveOneOut covers the sweep, which comes every 1024 tokens.
func TestManyTokensPushNoLiveOneOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rptest.Options{AccessTokenLifetime: time.Hour})
		tokens := r.login()
		time.Sleep(30 * time.Minute)
		for range 2100 {
			if status, answer := r.post("/token", url.Values{"grant_type": {"client_credentials"}}); status != 200 {
				t.Fatalf("%d %v", status, answer)
			}
		}
		if resp := r.get(base(r.p)+"/userinfo", fmt.Sprint(tokens["access_token"])); resp.StatusCode != 200 {
			t.Errorf("access token: %s", resp.Status)
		}
		if status, answer := r.renew(tokens["refresh_token"]); status != 200 {
			t.Errorf("refresh token: %d %v", status, answer)
		}
	})
}

// failedTB is a test whose Fatalf returns, to see what was said.
type failedTB struct{ said string }

func (f *failedTB) Helper()                        {}
func (f *failedTB) Cleanup(func())                 {}
func (f *failedTB) Fatalf(format string, a ...any) { f.said = fmt.Sprintf(format, a...) }

func TestStartFailsTheTestWithTheReason(t *testing.T) {
	tb := &failedTB{}
	if p := rptest.Start(tb, rptest.Options{SigningAlg: "XX"}); p != nil || !strings.Contains(tb.said, "SigningAlg") {
		t.Errorf("%v %q", p, tb.said)
	}
}

func TestBrowsersSayNothingOfTheirCookies(t *testing.T) {
	v := newVisit(t, rptest.Options{})
	v.signIn(v.open(nil), "alice", "alice")
	value := v.b.Cookies(v.p.Issuer())[0].Value
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if out := fmt.Sprintf(verb, v.b); strings.Contains(out, value) || out == "" {
			t.Errorf("%s: %s", verb, out)
		}
	}
}

func TestOneOfManyRefreshesWins(t *testing.T) {
	r := newRig(t, rptest.Options{})
	tokens := r.login()
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {fmt.Sprint(tokens["refresh_token"])}, "client_id": {r.p.ClientID()}, "client_secret": {r.p.ClientSecret()}}
	const callers = 20
	statuses := make(chan int, callers)
	for range callers {
		go func() {
			resp, err := r.http.PostForm(base(r.p)+"/token", form)
			if err != nil {
				statuses <- 0
				return
			}
			resp.Body.Close()
			r.p.RotateKeys(true)
			statuses <- resp.StatusCode
		}()
	}
	won := 0
	for range callers {
		if <-statuses == http.StatusOK {
			won++
		}
	}
	if won != 1 || r.p.RefreshReuses() != callers-1 || r.p.Hits(rptest.Token) != callers+1 {
		t.Errorf("%d won, %d reuses, %d hits", won, r.p.RefreshReuses(), r.p.Hits(rptest.Token))
	}
}
