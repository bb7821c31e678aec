package interop_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
	"github.com/latchkey-go/latchkey/internal/interop/app"
	"github.com/latchkey-go/latchkey/internal/interop/panva"
	"github.com/latchkey-go/latchkey/internal/interop/visitor"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/session"
)

func panvaSubject(p *panva.Provider, extra map[string]any) subject {
	return subject{
		issuer: p.Issuer(),
		register: func(t *testing.T, id, secret, method string, a *app.App) {
			metadata := map[string]any{
				"client_id": id, "token_endpoint_auth_method": method,
				"redirect_uris": []string{a.Callback}, "post_logout_redirect_uris": []string{a.Goodbye},
				"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"},
			}
			if secret != "" {
				metadata["client_secret"] = secret
			}
			for name, value := range extra {
				metadata[name] = value
			}
			p.Register(t, metadata)
		},
		signIn:  func(t *testing.T, page *visitor.Page) *visitor.Page { return p.SignIn(t, page, "alice") },
		signOut: func(t *testing.T, page *visitor.Page) *visitor.Page { return p.SignOut(t, page) },
		rotate:  func(t *testing.T, drop bool) { p.Rotate(t, drop) },
		reuse:   "invalid_grant",
	}
}

func TestOIDCProvider(t *testing.T) {
	p := panva.Start(t)
	plain := panvaSubject(p, nil)
	common(t, plain)
	strict(t, plain)

	t.Run("sends iss with the authorization response and it is checked", func(t *testing.T) {
		a := plain.serve(t, "iss", "client_secret_basic", nil)
		v := visitor.New(t, nil)
		var answer url.Values
		v.Halt = func(next *url.URL) bool {
			if strings.HasPrefix(next.String(), a.Callback) {
				answer = next.Query()
				return true
			}
			return false
		}
		plain.signIn(t, v.Open(a.URL+"/account"))
		if answer.Get("iss") != p.Issuer() {
			t.Fatalf("iss is %q, want the issuer: this provider speaks RFC 9207", answer.Get("iss"))
		}
		v.Halt = nil
		for name, bend := range map[string]func(url.Values){
			"another":   func(q url.Values) { q.Set("iss", "https://attacker.example") },
			"missing":   func(q url.Values) { q.Del("iss") },
			"duplicate": func(q url.Values) { q.Add("iss", p.Issuer()) },
		} {
			a := plain.serve(t, "iss-"+name, "client_secret_basic", nil)
			v := visitor.New(t, nil)
			var callback *url.URL
			v.Halt = func(next *url.URL) bool {
				callback = next
				return strings.HasPrefix(next.String(), a.Callback)
			}
			plain.signIn(t, v.Open(a.URL+"/account"))
			q := callback.Query()
			bend(q)
			callback.RawQuery = q.Encode()
			v.Halt = nil
			page := v.Open(callback.String())
			if f := a.Failure(t); !errors.Is(f.Err, rp.ErrMismatch) || page.Status < 400 {
				t.Errorf("%s iss: the page answered %d with %v, want rp.ErrMismatch", name, page.Status, f.Err)
			}
			if n := len(a.Tape.Grants("authorization_code")); n != 0 {
				t.Errorf("%s iss: the code was sent to the provider", name)
			}
		}
	})

	t.Run("form_post over TLS", func(t *testing.T) {
		a := app.Listen(t, true)
		plain.register(t, "form", "0123456789abcdef0123456789abcdef", "client_secret_basic", a)
		a.Serve(t, app.Options{
			Issuer: p.Issuer(), ClientID: "form", Secret: "0123456789abcdef0123456789abcdef",
			RP: func(c *rp.Config) { c.ResponseMode = "form_post" }, Guard: a.KeepFailures,
		})
		v := visitor.New(t, a.Server.Client().Transport)
		page := plain.signIn(t, v.Open(a.URL+"/account"))
		if len(page.Forms) != 1 || page.Forms[0].Action.String() != a.Callback || !page.Forms[0].Values.Has("code") {
			t.Fatalf("want the self-submitting form, got %s", page)
		}
		page = page.Submit(map[string]string{})
		if got := account(t, page); got.Subject != "alice" || page.URL.String() != a.URL+"/account" {
			t.Errorf("%+v at %s", got, page.URL)
		}

		t.Run("with an error", func(t *testing.T) {
			a.Params(rp.AuthParams{Prompt: "none"})
			page := visitor.New(t, a.Server.Client().Transport).Open(a.URL + "/account").Submit(map[string]string{"error": "login_required"})
			var refused *rp.ProviderError
			if f := a.Failure(t); !errors.As(f.Err, &refused) || refused.Code != "login_required" {
				t.Errorf("the page answered %d with %v, want login_required", page.Status, f.Err)
			}
		})
	})

	t.Run("signed UserInfo is verified", func(t *testing.T) {
		signed := panvaSubject(p, map[string]any{"userinfo_signed_response_alg": "RS256"})
		a := signed.serve(t, "signed", "client_secret_basic", func(_ *app.App, o *app.Options) {
			before := o.RP
			o.RP = func(c *rp.Config) { before(c); c.UserInfoSigningAlg = "RS256" }
		})
		v := signed.login(t, a)
		if got := account(t, v.Open(a.URL+"/account")); got.Email != "alice@example.com" {
			t.Errorf("UserInfo brought %+v", got)
		}
		if calls := a.Tape.Calls("/me"); len(calls) != 1 || !strings.HasPrefix(calls[0].ContentType, "application/jwt") {
			t.Errorf("UserInfo was not a JWT: %d calls", len(calls))
		}
	})

	t.Run("plain UserInfo is refused where a signed one is registered", func(t *testing.T) {
		a := plain.serve(t, "unsigned", "client_secret_basic", func(_ *app.App, o *app.Options) {
			before := o.RP
			o.RP = func(c *rp.Config) { before(c); c.UserInfoSigningAlg = "RS256" }
		})
		plain.signIn(t, visitor.New(t, nil).Open(a.URL+"/account"))
		if f := a.Failure(t); !errors.Is(f.Err, rp.ErrInvalidToken) {
			t.Errorf("failure %v, want rp.ErrInvalidToken", f.Err)
		}
	})

	t.Run("signed UserInfo is tolerated where nothing is registered", func(t *testing.T) {
		signed := panvaSubject(p, map[string]any{"userinfo_signed_response_alg": "RS256"})
		a := signed.serve(t, "tolerated", "client_secret_basic", nil)
		if got := account(t, signed.login(t, a).Open(a.URL+"/account")); got.Email != "alice@example.com" {
			t.Errorf("UserInfo brought %+v", got)
		}
	})

	for _, alg := range []string{"PS256", "HS256"} {
		t.Run("ID tokens in "+alg+" are for a client registered so alone", func(t *testing.T) {
			other := panvaSubject(p, map[string]any{"id_token_signed_response_alg": alg})
			a := other.serve(t, "alg-"+alg, "client_secret_basic", func(_ *app.App, o *app.Options) {
				before := o.RP
				o.RP = func(c *rp.Config) { before(c); c.SigningAlg = alg }
			})
			other.login(t, a)
			a = other.serve(t, "not-"+alg, "client_secret_basic", nil)
			other.signIn(t, visitor.New(t, nil).Open(a.URL+"/account"))
			checkToken(t, a.Failure(t), "alg")
		})
	}

	t.Run("a key without alg verifies", func(t *testing.T) {
		res, err := http.Get(p.Issuer() + "/jwks")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var set bytes.Buffer
		set.ReadFrom(res.Body)
		if !strings.Contains(set.String(), `"RSA"`) || strings.Contains(set.String(), `"alg"`) {
			t.Fatalf("this provider's keys have an alg by now, and the test shows nothing: %s", &set)
		}
		if got := res.Header.Get("Content-Type"); !strings.HasPrefix(got, "application/jwk-set+json") {
			t.Errorf("key set of type %s, want application/jwk-set+json, which is this provider's deviation", got)
		}
		plain.login(t, plain.serve(t, "no-alg", "client_secret_basic", nil))
	})

	t.Run("the code flow's ID token has no at_hash and is accepted", func(t *testing.T) {
		a := plain.serve(t, "at-hash", "client_secret_basic", nil)
		plain.login(t, a)
		if has(t, a.Tape.Grants("authorization_code")[0].JSON("id_token"), "at_hash") {
			t.Error("this provider sends at_hash by now, and the test shows nothing")
		}
	})

	t.Run("offline_access without consent brings no refresh token at a provider's own rule and a session all the same", func(t *testing.T) {
		without := panvaSubject(p, map[string]any{"grant_types": []string{"authorization_code"}})
		a := without.serve(t, "no-refresh", "client_secret_basic", nil)
		if got := account(t, without.login(t, a).Open(a.URL+"/account")); got.CanRefresh {
			t.Error("a refresh token came for a client without that grant")
		}
	})

	t.Run("prompt=none with a session needs no page", func(t *testing.T) {
		a := plain.serve(t, "sso", "client_secret_basic", nil)
		b := plain.serve(t, "sso", "client_secret_basic", func(_ *app.App, o *app.Options) { o.Session = func(c *session.Config) { c.CookieName = "second" } })
		p.Register(t, map[string]any{
			"client_id": "sso", "client_secret": "a secret: of enough bytes+for/HS256 too", "token_endpoint_auth_method": "client_secret_basic",
			"redirect_uris": []string{a.Callback, b.Callback}, "grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"},
		})
		v := plain.login(t, a)
		b.Params(rp.AuthParams{Prompt: "none"})
		if got := account(t, v.Open(b.URL+"/account")); got.Subject != "alice" {
			t.Errorf("%+v", got)
		}
	})

	t.Run("prompt=login asks again", func(t *testing.T) {
		a := plain.serve(t, "again", "client_secret_basic", nil)
		v := plain.login(t, a)
		a.Params(rp.AuthParams{Prompt: "login"})
		page := v.Open(a.URL + "/auth/login?return_to=/account")
		if page.URL.Host == strings.TrimPrefix(a.URL, "http://") {
			t.Fatalf("no page of the provider, but %s", page)
		}
		account(t, plain.signIn(t, page))
	})

	t.Run("a user who cancels gets a page that offers another try", func(t *testing.T) {
		a := plain.serve(t, "cancel", "client_secret_basic", nil)
		v := visitor.New(t, nil)
		page := v.Open(a.URL + "/account")
		for _, link := range page.Links {
			if strings.HasSuffix(link, "/abort") {
				page = page.Follow(link)
			}
		}
		var refused *rp.ProviderError
		f := a.Failure(t)
		if !errors.As(f.Err, &refused) || refused.Code != "access_denied" {
			t.Fatalf("the page answered %d with %v, want access_denied", page.Status, f.Err)
		}
		if f.RetryURL == "" {
			t.Fatal("no way to try again is offered")
		}
		account(t, plain.signIn(t, v.Open(a.URL+f.RetryURL)))
	})

	t.Run("a wrong client secret is a provider error with its status", func(t *testing.T) {
		a := plain.serve(t, "wrong-secret", "client_secret_basic", nil)
		p.Register(t, map[string]any{
			"client_id": "wrong-secret", "client_secret": "another secret of enough bytes here", "token_endpoint_auth_method": "client_secret_basic",
			"redirect_uris": []string{a.Callback}, "grant_types": []string{"authorization_code"}, "response_types": []string{"code"},
		})
		plain.signIn(t, visitor.New(t, nil).Open(a.URL+"/account"))
		var refused *rp.ProviderError
		if f := a.Failure(t); !errors.As(f.Err, &refused) || refused.Code != "invalid_client" || refused.Status != http.StatusUnauthorized {
			t.Fatalf("failure %v, want invalid_client with 401", f.Err)
		}
	})

	t.Run("a bad access token at UserInfo is a provider error with 401", func(t *testing.T) {
		a := plain.serve(t, "bad-token", "client_secret_basic", nil)
		_, err := a.Client.UserInfo(t.Context(), "not-a-token", "alice")
		var refused *rp.ProviderError
		if !errors.As(err, &refused) || refused.Endpoint != "userinfo" || refused.Status != http.StatusUnauthorized {
			t.Fatalf("got %v, want 401 of UserInfo", err)
		}
	})

	t.Run("UserInfo of another subject is refused", func(t *testing.T) {
		a := plain.serve(t, "substituted", "client_secret_basic", nil)
		plain.login(t, a)
		token := a.Tape.Grants("authorization_code")[0].JSON("access_token")
		if _, err := a.Client.UserInfo(t.Context(), token, "alice"); err != nil {
			t.Fatal(err)
		}
		_, err := a.Client.UserInfo(t.Context(), token, "bob")
		var bad *rp.TokenError
		if !errors.As(err, &bad) || bad.Check != "sub" {
			t.Fatalf("got %v, want the sub check", err)
		}
	})

	t.Run("a revoked token is dead at the provider", func(t *testing.T) {
		a := plain.serve(t, "revoke", "client_secret_basic", nil)
		plain.login(t, a)
		refresh := a.Tape.Grants("authorization_code")[0].JSON("refresh_token")
		if err := a.Client.Revoke(t.Context(), refresh, "refresh_token"); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Client.Refresh(t.Context(), refresh, nil); !rp.IsInvalidGrant(err) {
			t.Fatalf("the revoked token earned %v, want invalid_grant", err)
		}
		// RFC 7009, section 2.2: an unknown token is revoked already.
		if err := a.Client.Revoke(t.Context(), refresh, "refresh_token"); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("an outage spares sessions and gives new logins 503", func(t *testing.T) {
		a := plain.serve(t, "outage", "client_secret_basic", nil)
		v := plain.login(t, a)
		cold := plain.serve(t, "outage-cold", "client_secret_basic", nil)
		p.Down(t, true)
		defer p.Down(t, false)
		account(t, v.Open(a.URL+"/account"))
		page := visitor.New(t, nil).Open(cold.URL + "/account")
		if f := cold.Failure(t); page.Status != http.StatusServiceUnavailable || !errors.Is(f.Err, discovery.ErrUnavailable) || f.RetryAfter <= 0 {
			t.Errorf("a new login answered %d with %v, to be tried again after %v", page.Status, f.Err, f.RetryAfter)
		}
		if page := v.Open(a.URL + "/refresh"); page.Status == http.StatusUnauthorized {
			t.Error("an outage at refresh ended the session")
		}
		account(t, v.Open(a.URL+"/account"))
	})

	t.Run("a session is refreshed ahead of its token's expiry", func(t *testing.T) {
		p.AccessTokenTTL(t, 3)
		defer p.AccessTokenTTL(t, 300)
		a := plain.serve(t, "ahead", "client_secret_basic", nil)
		v := plain.login(t, a)
		first := account(t, v.Open(a.URL+"/account"))
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(200 * time.Millisecond) {
			now := account(t, v.Open(a.URL+"/account"))
			if now.TokenHash != first.TokenHash {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the token never changed")
			}
		}
		for _, call := range a.Tape.Grants("refresh_token") {
			if call.Status != http.StatusOK {
				t.Errorf("a refresh answered %d", call.Status)
			}
		}
	})
}
