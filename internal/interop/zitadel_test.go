package interop_test

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/internal/interop/app"
	"github.com/latchkey-go/latchkey/internal/interop/visitor"
	"github.com/latchkey-go/latchkey/internal/interop/zitadel"
	"github.com/latchkey-go/latchkey/rp"
)

func zitadelSubject(p *zitadel.Provider) subject {
	return subject{
		issuer: p.Issuer(),
		register: func(_ *testing.T, id, secret, method string, a *app.App) {
			p.Register(zitadel.Client{ID: id, Secret: secret, AuthMethod: method, RedirectURI: a.Callback, AfterLogoutURI: a.Goodbye})
		},
		signIn: func(t *testing.T, page *visitor.Page) *visitor.Page { return p.SignIn(t, page) },
		rotate: func(t *testing.T, drop bool) { p.Rotate(t, drop) },
		scopes: []string{"openid", "profile", "email", "offline_access"},
		reuse:  "invalid_grant",
	}
}

func TestZITADEL(t *testing.T) {
	p := zitadel.Start(t)
	s := zitadelSubject(p)
	common(t, s)
	strict(t, s)

	// One login whose exchanges show the deviations.
	a := s.serve(t, "deviations", "client_secret_basic", nil)
	v := visitor.New(t, nil)
	var answer url.Values
	v.Halt = func(next *url.URL) bool {
		if strings.HasPrefix(next.String(), a.Callback) {
			answer = next.Query()
		}
		return false
	}
	account(t, s.signIn(t, v.Open(a.URL+"/account")))
	account(t, v.Open(a.URL+"/refresh"))
	grant := a.Tape.Grants("authorization_code")[0]
	id, err := rp.ParseIDToken(grant.JSON("id_token"))
	if err != nil {
		t.Fatal(err)
	}

	t.Run("the issuer ends with a slash and is compared with it", func(t *testing.T) {
		if !strings.HasSuffix(p.Issuer(), "/") || id.Issuer != p.Issuer() {
			t.Fatalf("issuer %q, iss %q", p.Issuer(), id.Issuer)
		}
		if n := len(a.Tape.Calls("//.well-known")); n != 0 {
			t.Error("the slash was doubled")
		}
		bare := s
		bare.issuer = strings.TrimSuffix(p.Issuer(), "/")
		without := bare.serve(t, "no-slash", "client_secret_basic", nil)
		page := visitor.New(t, nil).Open(without.URL + "/account")
		if page.Status < 500 {
			t.Errorf("an issuer less its slash answered %d, want an error: the document says another issuer", page.Status)
		}
	})

	t.Run("aud is an array of one", func(t *testing.T) {
		if !slices.Equal(id.Audience, []string{"deviations"}) {
			t.Errorf("audience %q", id.Audience)
		}
	})

	t.Run("no iss comes with the authorization response and none is demanded", func(t *testing.T) {
		if answer.Get("code") == "" || answer.Has("iss") {
			t.Errorf("the answer has %v", answer)
		}
	})

	t.Run("a right iss comes to no harm and a wrong one is refused", func(t *testing.T) {
		for iss, want := range map[string]bool{p.Issuer(): true, "https://attacker.example": false} {
			a := s.serve(t, "iss", "client_secret_basic", nil)
			v := visitor.New(t, nil)
			var callback *url.URL
			v.Halt = func(next *url.URL) bool {
				callback = next
				return strings.HasPrefix(next.String(), a.Callback)
			}
			s.signIn(t, v.Open(a.URL+"/account"))
			q := callback.Query()
			q.Set("iss", iss)
			callback.RawQuery = q.Encode()
			v.Halt = nil
			page := v.Open(callback.String())
			if got := page.Status == http.StatusOK; got != want {
				t.Errorf("iss %s answered %d", iss, page.Status)
			}
		}
	})

	t.Run("at_hash of the token endpoint's ID token is verified", func(t *testing.T) {
		if !has(t, grant.JSON("id_token"), "at_hash") {
			t.Fatal("this provider sends no at_hash any more, and the test shows nothing")
		}
		a := s.serve(t, "at-hash", "client_secret_basic", nil)
		a.Tape.BendAnswer(func(answer map[string]any) {
			if token, ok := answer["access_token"].(string); ok {
				answer["access_token"] = token + "x"
			}
		})
		s.signIn(t, visitor.New(t, nil).Open(a.URL+"/account"))
		checkToken(t, a.Failure(t), "at_hash")
	})

	t.Run("the refreshed ID token has no nonce and is accepted", func(t *testing.T) {
		refreshed, err := rp.ParseIDToken(a.Tape.Grants("refresh_token")[0].JSON("id_token"))
		if err != nil {
			t.Fatal(err)
		}
		if refreshed.Nonce != "" || id.Nonce == "" {
			t.Errorf("nonce %q after %q", refreshed.Nonce, id.Nonce)
		}
	})

	t.Run("claims of no specification come to no harm", func(t *testing.T) {
		if !has(t, grant.JSON("id_token"), "client_id") {
			t.Error("this provider sends no client_id claim any more, and the test shows nothing")
		}
	})

	t.Run("a bad access token at UserInfo is an error with 401 though the body is text", func(t *testing.T) {
		_, err := a.Client.UserInfo(t.Context(), "not-a-token", "id2")
		var refused *rp.ProviderError
		if !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized {
			t.Fatalf("got %v, want 401", err)
		}
	})

	t.Run("no refresh token comes without offline_access", func(t *testing.T) {
		online := s
		online.scopes = []string{"openid"}
		a := online.serve(t, "online", "client_secret_basic", nil)
		if got := account(t, online.login(t, a).Open(a.URL+"/account")); got.CanRefresh {
			t.Error("a refresh token came")
		}
	})
}
