package rptest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/rp/rptest"
)

func TestSessionStateIsTheHashThatTheCheckSessionIframeMakes(t *testing.T) {
	p, err := rptest.New(rptest.Options{Issuer: "https://op.example", SessionManagement: true})
	if err != nil {
		t.Fatal(err)
	}
	b := p.Browser()
	b.StopAt = func(u *url.URL) bool { return u.Hostname() == "app.example.com" }
	answer := func() (state, browser string) {
		t.Helper()
		sum := sha256.Sum256([]byte("v"))
		page, err := b.Get("https://op.example/authorize?" + url.Values{
			"response_type": {"code"}, "client_id": {"test-client"}, "redirect_uri": {"https://app.example.com:443/cb"}, "scope": {"openid"},
			"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
		}.Encode())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range b.Cookies("https://op.example/") {
			if strings.HasPrefix(c.Name, "rptest_state_") {
				browser = c.Value
			}
		}
		return page.Location.Query().Get("session_state"), browser
	}
	state, browser := answer()
	hash, salt, _ := strings.Cut(state, ".")
	sum := sha256.Sum256([]byte("test-client https://app.example.com " + browser + " " + salt))
	if browser == "" || salt == "" || hash != base64.RawURLEncoding.EncodeToString(sum[:]) {
		t.Errorf("session_state %q for the browser state %q", state, browser)
	}
	if again, same := answer(); again == state || same != browser {
		t.Errorf("a second answer has %q for %q: want another salt and the same browser state", again, same)
	}
	if _, err := b.Get("https://op.example/end_session"); err != nil {
		t.Fatal(err)
	}
	for _, c := range b.Cookies("https://op.example/") {
		if strings.HasPrefix(c.Name, "rptest_state_") {
			t.Errorf("after the logout the browser holds %s", c)
		}
	}
	if _, after := answer(); after == browser {
		t.Error("another login has the same browser state")
	}
}

func TestTheCheckSessionIframeIsThereOnRequestOnly(t *testing.T) {
	for _, on := range []bool{false, true} {
		p, err := rptest.New(rptest.Options{Issuer: "https://op.example", SessionManagement: on})
		if err != nil {
			t.Fatal(err)
		}
		b := p.Browser()
		metadata, err := b.Get("https://op.example/.well-known/openid-configuration")
		if err != nil {
			t.Fatal(err)
		}
		page, err := b.Get("https://op.example/check_session")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(metadata.Body, "check_session_iframe"); got != on || (page.Status == http.StatusOK) != on {
			t.Errorf("%v: announced %v, answered %d", on, got, page.Status)
		}
		if on && (page.Header.Get("X-Frame-Options") != "" || strings.Contains(page.Header.Get("Content-Security-Policy"), "frame-ancestors")) {
			t.Errorf("nobody may frame it: %v", page.Header)
		}
	}
}
