package interop_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/interop/app"
	"github.com/latchkey-go/latchkey/internal/interop/visitor"
	"github.com/latchkey-go/latchkey/middleware"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/clientauth"
)

// subject is a provider seen by the tests which every provider must pass.
type subject struct {
	issuer string
	// register makes a client known which redirects to a.
	register func(t *testing.T, id, secret, method string, a *app.App)
	// signIn goes from the provider's first page to the application.
	signIn func(t *testing.T, page *visitor.Page) *visitor.Page
	// signOut goes from the provider's logout page to the application; nil: the provider asks nothing.
	signOut func(t *testing.T, page *visitor.Page) *visitor.Page
	// rotate signs with a new key; drop takes the old ones from the published set.
	rotate func(t *testing.T, drop bool)
	scopes []string
	prompt string // which brings a refresh token, with scopes
	// reuse is the error code that an old refresh token earns; empty: the provider takes it again.
	reuse string
	// repeats: two access tokens of one second are the same JWT.
	repeats bool
	// noAuthTime: the provider's ID tokens have none.
	noAuthTime bool
}

func (s subject) serve(t *testing.T, id, method string, change func(*app.App, *app.Options)) *app.App {
	t.Helper()
	a := app.Listen(t, false)
	o := app.Options{Issuer: s.issuer, ClientID: id}
	if method != "none" {
		// A colon and a space: the form encoding under Basic must be right.
		o.Secret = "a secret: of enough bytes+for/HS256 too"
	}
	var auth clientauth.Method
	switch method {
	case "client_secret_basic":
		auth = clientauth.Basic(o.Secret)
	case "client_secret_post":
		auth = clientauth.Post(o.Secret)
	case "none":
		auth = clientauth.None()
	}
	o.RP = func(c *rp.Config) {
		c.Auth = auth
		if s.scopes != nil {
			c.Scopes = s.scopes
		}
	}
	o.Guard = a.KeepFailures
	if change != nil {
		change(a, &o)
	}
	s.register(t, id, o.Secret, method, a)
	a.Serve(t, o)
	a.Params(rp.AuthParams{Prompt: s.prompt})
	return a
}

// login signs a new visitor in.
func (s subject) login(t *testing.T, a *app.App) *visitor.Visitor {
	t.Helper()
	v := visitor.New(t, a.Server.Client().Transport)
	account(t, s.signIn(t, v.Open(a.URL+"/account")))
	return v
}

func account(t *testing.T, page *visitor.Page) app.Account {
	t.Helper()
	return app.ReadAccount(t, page.Status, page.Body)
}

func common(t *testing.T, s subject) {
	for _, method := range []string{"client_secret_basic", "client_secret_post", "none"} {
		t.Run("logs in and reads UserInfo with "+method, func(t *testing.T) {
			a := s.serve(t, "web-"+method, method, nil)
			v := visitor.New(t, nil)
			page := s.signIn(t, v.Open(a.URL+"/account?tab=2"))
			got := account(t, page)
			if got.Subject == "" || !strings.HasSuffix(page.URL.String(), "/account?tab=2") {
				t.Errorf("subject %q at %s: want somebody back at the page that was asked for", got.Subject, page.URL)
			}
			grants := a.Tape.Grants("authorization_code")
			if len(grants) != 1 {
				t.Fatalf("%d token requests, want one", len(grants))
			}
			checkAuthentication(t, grants[0], method)
			if len(grants[0].Form.Get("code_verifier")) != 43 {
				t.Error("no PKCE verifier of 43 characters was sent")
			}
			info := a.Tape.Calls("userinfo")
			info = append(info, a.Tape.Calls("/me")...)
			if len(info) != 1 || !strings.HasPrefix(info[0].Authorization, "Bearer ") {
				t.Errorf("%d UserInfo requests with a bearer token, want one", len(info))
			}
			if page := v.Open(a.URL + "/account"); page.Status != http.StatusOK || len(v.Hops) != 1 {
				t.Errorf("the second request went to %v", v.Hops)
			}
		})
	}

	t.Run("refuses a replayed callback", func(t *testing.T) {
		a := s.serve(t, "replay", "client_secret_basic", nil)
		v := visitor.New(t, nil)
		var callback string
		v.Halt = func(next *url.URL) bool {
			if strings.HasPrefix(next.String(), a.Callback) {
				callback = next.String()
			}
			return false
		}
		account(t, s.signIn(t, v.Open(a.URL+"/account")))
		before := len(a.Tape.Grants("authorization_code"))
		page := v.Open(callback)
		if page.Status == http.StatusOK && strings.Contains(page.URL.Path, "callback") {
			t.Errorf("the replay answered 200: %s", page)
		}
		if got := len(a.Tape.Grants("authorization_code")); got != before {
			t.Error("the replayed code was sent to the provider")
		}
		stranger := visitor.New(t, nil)
		if page := stranger.Open(callback); page.Status < 400 {
			t.Errorf("another browser's replay answered %d", page.Status)
		}
	})

	t.Run("is refused with a bent verifier", func(t *testing.T) {
		a := s.serve(t, "bent", "client_secret_basic", nil)
		a.Tape.Bend(func(form url.Values) {
			if form.Has("code_verifier") {
				form.Set("code_verifier", strings.Repeat("x", 43))
			}
		})
		page := s.signIn(t, visitor.New(t, nil).Open(a.URL+"/account"))
		var refused *rp.ProviderError
		if f := a.Failure(t); !errors.As(f.Err, &refused) || refused.Endpoint != "token" || refused.Status != 400 {
			t.Fatalf("the page answered %d with %v, want a *rp.ProviderError of the token endpoint", page.Status, f.Err)
		}
		a.Tape.Bend(nil)
		s.login(t, a)
	})

	t.Run("refreshes with rotation and ends on a token that was used", func(t *testing.T) {
		a := s.serve(t, "refresh", "client_secret_basic", nil)
		v := s.login(t, a)
		before := account(t, v.Open(a.URL+"/account"))
		if !before.CanRefresh {
			t.Fatal("no refresh token was kept")
		}
		var used []string
		for range 3 {
			after := account(t, v.Open(a.URL+"/refresh"))
			if (after.TokenHash == before.TokenHash && !s.repeats) || after.Subject != before.Subject {
				t.Fatalf("the refresh brought %+v after %+v", after, before)
			}
			if now := account(t, v.Open(a.URL+"/account")); now.TokenHash != after.TokenHash {
				t.Error("the refreshed token was not kept")
			}
			before = after
		}
		for _, call := range a.Tape.Grants("refresh_token") {
			used = append(used, call.Form.Get("refresh_token"))
		}
		if slices.Sort(used); len(slices.Compact(used)) != 3 {
			t.Fatalf("the refresh tokens did not rotate in %d refreshes", len(used))
		}

		old := a.Tape.Grants("refresh_token")[0].Form.Get("refresh_token")
		_, err := a.Client.Refresh(t.Context(), old, nil)
		if s.reuse == "" {
			if err != nil {
				t.Fatalf("the provider is said to take an old token, but: %v", err)
			}
			return
		}
		var refused *rp.ProviderError
		if !errors.As(err, &refused) || refused.Code != s.reuse || !rp.IsInvalidGrant(err) {
			t.Fatalf("the old token earned %v, want %s, which ends a session", err, s.reuse)
		}
		// The browser holds a good token still; bent into the old one, its session is over.
		a.Tape.Bend(func(form url.Values) {
			if form.Has("refresh_token") {
				form.Set("refresh_token", old)
			}
		})
		if page := v.Open(a.URL + "/refresh"); page.Status != http.StatusUnauthorized {
			t.Errorf("the refresh answered %d, want the session's end", page.Status)
		}
		a.Tape.Bend(nil)
		if page := v.Open(a.URL + "/maybe"); page.Body != "nobody" {
			t.Errorf("the session lives on: %s", page)
		}
	})

	t.Run("refuses an ID token whose signature was bent", func(t *testing.T) {
		a := s.serve(t, "forged", "client_secret_basic", nil)
		a.Tape.BendAnswer(func(answer map[string]any) {
			if raw, ok := answer["id_token"].(string); ok {
				header, rest, _ := strings.Cut(raw, ".")
				payload, signature, _ := strings.Cut(rest, ".")
				bent := []byte(signature)
				bent[9] = map[bool]byte{true: 'B', false: 'A'}[bent[9] == 'A']
				answer["id_token"] = header + "." + payload + "." + string(bent)
			}
		})
		s.signIn(t, visitor.New(t, nil).Open(a.URL+"/account"))
		checkToken(t, a.Failure(t), "signature")
		a.Tape.BendAnswer(nil)
		s.login(t, a)
	})

	t.Run("revokes at logout and comes back", func(t *testing.T) {
		a := s.serve(t, "logout", "client_secret_basic", nil)
		v := s.login(t, a)
		page := v.Open(a.URL+"/").Post("/auth/logout", url.Values{})
		if s.signOut != nil && !strings.HasPrefix(page.URL.String(), a.URL) {
			page = s.signOut(t, page)
		}
		if page.Status != http.StatusOK || page.URL.String() != a.URL+"/" {
			t.Errorf("logout ended at %s", page)
		}
		revoked := a.Tape.Calls("revo")
		if len(revoked) == 0 || revoked[0].Status != http.StatusOK {
			t.Errorf("no successful revocation: %d calls", len(revoked))
		}
		if page := v.Open(a.URL + "/maybe"); page.Body != "nobody" {
			t.Errorf("still signed in: %s", page)
		}
	})

	t.Run("checks auth_time when max_age is asked for", func(t *testing.T) {
		a := s.serve(t, "max-age", "client_secret_basic", nil)
		a.Params(rp.AuthParams{MaxAge: time.Hour, Prompt: s.prompt})
		page := s.signIn(t, visitor.New(t, nil).Open(a.URL+"/account"))
		if s.noAuthTime {
			checkToken(t, a.Failure(t), "auth_time")
			return
		}
		if got := account(t, page); time.Since(got.AuthTime) > time.Minute {
			t.Errorf("auth_time %v, want now", got.AuthTime)
		}
	})
}

// strict is what the tests of a provider add which signs with one key at a time and asks who is there.
func strict(t *testing.T, s subject) {
	t.Run("follows key rotations", func(t *testing.T) {
		a := s.serve(t, "rotation", "client_secret_basic", nil)
		s.login(t, a)
		keys := func() int { return len(a.Tape.Calls("jwks")) + len(a.Tape.Calls("/keys")) }
		if keys() != 1 {
			t.Fatalf("%d fetches of the keys at the first login, want one", keys())
		}
		s.login(t, a)
		if keys() != 1 {
			t.Fatalf("%d fetches of the keys at the second login, want still one", keys())
		}
		s.rotate(t, false)
		s.login(t, a)
		s.login(t, a)
		if keys() != 2 {
			t.Errorf("%d fetches of the keys after a rotation, want two", keys())
		}
		s.rotate(t, true)
		s.login(t, a)
		if keys() != 3 {
			t.Errorf("%d fetches of the keys after two rotations, want three", keys())
		}
	})

	t.Run("surfaces prompt=none without a session", func(t *testing.T) {
		a := s.serve(t, "silent", "client_secret_basic", nil)
		a.Params(rp.AuthParams{Prompt: "none"})
		page := visitor.New(t, nil).Open(a.URL + "/account")
		var refused *rp.ProviderError
		if f := a.Failure(t); !errors.As(f.Err, &refused) || refused.Code != "login_required" || refused.Endpoint != "authorization" {
			t.Fatalf("the page answered %d with %v, want login_required", page.Status, f.Err)
		}
		if page.URL.Host != strings.TrimPrefix(a.URL, "http://") {
			t.Errorf("the browser was sent on to %s", page.URL)
		}
	})
}

func checkAuthentication(t *testing.T, call app.Call, method string) {
	t.Helper()
	basic, id, secret := strings.HasPrefix(call.Authorization, "Basic "), call.Form.Has("client_id"), call.Form.Has("client_secret")
	switch method {
	case "client_secret_basic":
		if !basic || secret {
			t.Errorf("Basic header %v, client_secret in the body %v: want the header alone", basic, secret)
		}
	case "client_secret_post":
		if basic || !id || !secret {
			t.Errorf("Basic header %v, client_id %v and client_secret %v in the body: want the body alone", basic, id, secret)
		}
	case "none":
		if basic || !id || secret {
			t.Errorf("Basic header %v, client_id %v, client_secret %v: want client_id alone", basic, id, secret)
		}
	}
}

// checkToken asserts that a login failed because of this check of a token.
func checkToken(t *testing.T, f *middleware.Failure, check string) {
	t.Helper()
	var bad *rp.TokenError
	if !errors.As(f.Err, &bad) || bad.Check != check || !errors.Is(f.Err, rp.ErrInvalidToken) {
		t.Fatalf("failure %v, want the ID token's %s check", f.Err, check)
	}
}

// has reports whether the payload of raw has this claim, without a word of the SDK.
func has(t *testing.T, raw, claim string) bool {
	t.Helper()
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		t.Fatalf("a token of %d parts", len(parts))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	_, ok := claims[claim]
	return ok
}
