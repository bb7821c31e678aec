package rp_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/clientauth"
)

// A provider that quotes the request's proof in its error, wherever the proof comes from: no error may repeat it.
func TestAProofThatComesBackIsInNoError(t *testing.T) {
	const secret = "pr/oof+MARKED"
	forms := []string{secret, url.QueryEscape(secret)}
	for name, change := range map[string]func(*rp.Config){
		"basic":           func(c *rp.Config) { c.ClientSecret = secret },
		"basic by method": func(c *rp.Config) { c.ClientSecret, c.Auth = "", clientauth.Basic(secret) },
		"post by method":  func(c *rp.Config) { c.ClientSecret, c.Auth = "", clientauth.Post(secret) },
	} {
		var proof string
		echo := func(status int) func(*http.Request, url.Values) *http.Response {
			return func(r *http.Request, form url.Values) *http.Response {
				_, proof, _ = strings.Cut(r.Header.Get("Authorization"), " ")
				said := strings.Join([]string{r.Header.Get("Authorization"), form.Get("client_secret"), url.QueryEscape(form.Get("client_secret")), "ends"}, " ")
				return replyJSON(status, map[string]any{"error": "invalid_client", "error_description": said})
			}
		}
		for _, status := range []int{401, 200} {
			p := userInfoOP(nil)
			p.answer = echo(status)
			p.other = func(r *http.Request) *http.Response { return echo(max(status, 400))(r, p.sent[len(p.sent)-1].form) }
			c := p.client(t, change)
			_, errToken := c.Refresh(t.Context(), "0123456789", nil)
			errRevoke := c.Revoke(t.Context(), "0123456789", "")
			for _, err := range []error{errToken, errRevoke} {
				text := printed(err)
				if err == nil || !strings.Contains(text, "ends") {
					t.Fatalf("%s: nothing was quoted: %v", name, err)
				}
				for _, s := range append(forms, proof) {
					if s != "" && strings.Contains(text, s) {
						t.Errorf("%s, %d: %q is in %s", name, status, s, err)
					}
				}
			}
		}
	}
}

func TestAnAccessTokenThatComesBackInAChallengeIsInNoError(t *testing.T) {
	for _, header := range []string{`Bearer error="marked-token"`, `Bearer realm="x", error=bad-marked-token`} {
		_, err := userInfo(t, userInfoOP(func(*http.Request) *http.Response {
			r := reply(401, "", "")
			r.Header.Set("WWW-Authenticate", header)
			return r
		}))
		if !rp.IsUnauthorized(err) {
			t.Errorf("%s: %v", header, err)
		}
	}
}
