package interop_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/internal/interop/mock"
	"github.com/latchkey-go/latchkey/internal/interop/visitor"
	"github.com/latchkey-go/latchkey/rp"
)

// login is one login by the protocol alone: no cookies, no pages.
func login(ctx context.Context, t *testing.T, client *rp.Client) (*rp.Tokens, error) {
	t.Helper()
	started, err := client.Begin(ctx, rp.AuthParams{})
	if err != nil {
		return nil, err
	}
	v := visitor.New(t, nil)
	var answer url.Values
	v.Halt = func(next *url.URL) bool {
		answer = next.Query()
		return strings.HasPrefix(next.String(), client.RedirectURL())
	}
	v.Open(started.URL)
	return client.Finish(ctx, started, answer)
}

func TestMockServerFaultsBecomeTypedErrors(t *testing.T) {
	p := mock.Start(t)
	client, err := rp.New(rp.Config{
		Issuer: p.Issuer(), ClientID: "web", ClientSecret: "a secret", RedirectURL: "http://127.0.0.1/callback", InsecureLoopbackHTTP: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	good, err := login(t.Context(), t, client)
	if err != nil {
		t.Fatal(err)
	}
	if good.IDToken == nil || good.IDToken.Subject != "johndoe" || good.OAuth2.RefreshToken == "" {
		t.Fatalf("a login without a fault brought %v", good)
	}

	type fault = map[string]any
	token := func(want string) func(*testing.T, error) {
		return func(t *testing.T, err error) {
			t.Helper()
			var bad *rp.TokenError
			if !errors.As(err, &bad) || bad.Check != want || !errors.Is(err, rp.ErrInvalidToken) {
				t.Errorf("got %v, want the %s check", err, want)
			}
		}
	}
	provider := func(status int, code string) func(*testing.T, error) {
		return func(t *testing.T, err error) {
			t.Helper()
			var refused *rp.ProviderError
			if !errors.As(err, &refused) || refused.Status != status || refused.Code != code {
				t.Errorf("got %#v (%v), want status %d and code %q", refused, err, status, code)
			}
		}
	}
	mismatch := func(param string) func(*testing.T, error) {
		return func(t *testing.T, err error) {
			t.Helper()
			var foreign *rp.MismatchError
			if !errors.As(err, &foreign) || foreign.Param != param || !errors.Is(err, rp.ErrMismatch) {
				t.Errorf("got %v, want a mismatch of %s", err, param)
			}
		}
	}
	unavailable := func(t *testing.T, err error) {
		t.Helper()
		if !errors.Is(err, rp.ErrUnavailable) {
			t.Errorf("got %v, want rp.ErrUnavailable", err)
		}
	}
	anyError := func(t *testing.T, err error) {
		t.Helper()
		if err == nil {
			t.Error("no error")
		}
	}

	faults := []struct {
		name string
		arm  mock.Fault
		want func(*testing.T, error)
	}{
		{"iss is another", mock.Fault{"token": fault{"set": fault{"iss": "https://attacker.example"}}}, token("iss")},
		{"iss is missing", mock.Fault{"token": fault{"unset": []string{"iss"}}}, token("iss")},
		{"aud is another", mock.Fault{"token": fault{"set": fault{"aud": "other"}}}, token("aud")},
		{"aud has a stranger and no azp", mock.Fault{"token": fault{"set": fault{"aud": []string{"web", "other"}}}}, token("aud")},
		{"azp is another", mock.Fault{"token": fault{"set": fault{"azp": "other"}}}, token("azp")},
		{"exp has passed", mock.Fault{"token": fault{"expOffset": -3600}}, token("exp")},
		{"exp is missing", mock.Fault{"token": fault{"unset": []string{"exp"}}}, token("exp")},
		{"iat is missing", mock.Fault{"token": fault{"unset": []string{"iat"}}}, token("iat")},
		{"nbf is far", mock.Fault{"token": fault{"set": fault{"nbf": 4102444800}}}, token("nbf")},
		{"sub is missing", mock.Fault{"token": fault{"unset": []string{"sub"}}}, token("sub")},
		{"sub is empty", mock.Fault{"token": fault{"set": fault{"sub": ""}}}, token("sub")},
		{"nonce is another", mock.Fault{"token": fault{"set": fault{"nonce": "other"}}}, token("nonce")},
		{"nonce is missing", mock.Fault{"token": fault{"unset": []string{"nonce"}}}, token("nonce")},
		{"at_hash is wrong", mock.Fault{"token": fault{"set": fault{"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}}}, token("at_hash")},
		{"kid is unknown", mock.Fault{"token": fault{"header": fault{"kid": "unknown"}}}, token("kid")},
		{"typ is an access token's", mock.Fault{"token": fault{"header": fault{"typ": "at+jwt"}}}, token("typ")},
		{"typ is a logout token's", mock.Fault{"token": fault{"header": fault{"typ": "logout+jwt"}}}, token("typ")},
		{"no ID token", mock.Fault{"response": fault{"unset": []string{"id_token"}}}, anyError},
		{"no access token", mock.Fault{"response": fault{"unset": []string{"access_token"}}}, anyError},
		{"ID token is three words", mock.Fault{"response": fault{"set": fault{"id_token": "a.b.c"}}}, anyError},
		{"code is unknown, in this server's words", mock.Fault{"response": fault{"statusCode": 400, "body": fault{"error": "invalid_request", "error_description": "code"}}}, provider(400, "invalid_request")},
		{"code was used, in glewlwyd's words", mock.Fault{"response": fault{"statusCode": 403, "body": fault{"error": "invalid_code"}}}, provider(403, "invalid_code")},
		{"400 with an empty object", mock.Fault{"response": fault{"statusCode": 400, "body": fault{}}}, provider(400, "")},
		{"401 with null", mock.Fault{"response": fault{"statusCode": 401, "body": nil}}, provider(401, "")},
		{"403 with a string", mock.Fault{"response": fault{"statusCode": 403, "body": "no"}}, provider(403, "")},
		{"500", mock.Fault{"response": fault{"statusCode": 500, "body": fault{"error": "server_error"}}}, unavailable},
		{"503", mock.Fault{"response": fault{"statusCode": 503, "body": nil}}, unavailable},
		{"200 with an error inside", mock.Fault{"response": fault{"body": fault{"error": "invalid_grant"}}}, anyError},
		{"200 with an array", mock.Fault{"response": fault{"body": []string{}}}, anyError},
		{"token_type is MAC", mock.Fault{"response": fault{"set": fault{"token_type": "mac"}}}, anyError},
		{"state is another", mock.Fault{"redirect": fault{"set": fault{"state": "other"}}}, mismatch("state")},
		{"state is missing", mock.Fault{"redirect": fault{"unset": []string{"state"}}}, mismatch("state")},
		{"state comes twice", mock.Fault{"redirect": fault{"add": fault{"state": "other"}}}, mismatch("duplicate")},
		{"code comes twice", mock.Fault{"redirect": fault{"add": fault{"code": "other"}}}, mismatch("duplicate")},
		{"code is missing", mock.Fault{"redirect": fault{"unset": []string{"code"}}}, mismatch("code")},
		{"iss in the redirect is another", mock.Fault{"redirect": fault{"set": fault{"iss": "https://attacker.example"}}}, mismatch("iss")},
		{"error in the redirect", mock.Fault{"redirect": fault{"unset": []string{"code"}, "set": fault{"error": "temporarily_unavailable"}}}, provider(0, "temporarily_unavailable")},
		{"interaction_required in the redirect", mock.Fault{"redirect": fault{"unset": []string{"code"}, "set": fault{"error": "interaction_required"}}}, provider(0, "interaction_required")},
	}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			p.Arm(t, f.arm)
			defer p.Arm(t, nil)
			tokens, err := login(t.Context(), t, client)
			if err == nil {
				t.Fatalf("accepted: %v", tokens)
			}
			f.want(t, err)
			for _, secret := range []string{"eyJ", "a secret"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error shows a token or a secret: %v", err)
				}
			}
		})
	}

	tolerated := []struct {
		name string
		arm  mock.Fault
	}{
		{"no expires_in", mock.Fault{"response": fault{"unset": []string{"expires_in"}}}},
		{"no scope", mock.Fault{"response": fault{"unset": []string{"scope"}}}},
		{"no refresh token", mock.Fault{"response": fault{"unset": []string{"refresh_token"}}}},
		{"token_type in another case", mock.Fault{"response": fault{"set": fault{"token_type": "bEARER"}}}},
		{"expires_in as a string", mock.Fault{"response": fault{"set": fault{"expires_in": "3600"}}}},
		{"aud as an array", mock.Fault{"token": fault{"set": fault{"aud": []string{"web"}}}}},
		{"azp is ours", mock.Fault{"token": fault{"set": fault{"azp": "web"}}}},
		{"no typ", mock.Fault{"token": fault{"header": fault{"typ": nil}}}},
		{"claims of wrong types", mock.Fault{"token": fault{"set": fault{"address": []string{}, "groups": fault{}, "email_verified": "true", "updated_at": "2024-01-01T00:00:00Z"}}}},
		{"auth_time is 0", mock.Fault{"token": fault{"set": fault{"auth_time": 0}}}},
		{"unknown parameters in the redirect", mock.Fault{"redirect": fault{"set": fault{"session_state": "x.y", "scope": "openid"}}}},
	}
	for _, f := range tolerated {
		t.Run("tolerates: "+f.name, func(t *testing.T) {
			p.Arm(t, f.arm)
			defer p.Arm(t, nil)
			tokens, err := login(t.Context(), t, client)
			if err != nil {
				t.Fatal(err)
			}
			if tokens.IDToken.Subject != "johndoe" {
				t.Errorf("subject %q", tokens.IDToken.Subject)
			}
		})
	}

	t.Run("refresh", func(t *testing.T) {
		for _, f := range []struct {
			name string
			arm  mock.Fault
			want func(*testing.T, error)
		}{
			{"400 with nothing said ends the session", mock.Fault{"response": fault{"statusCode": 400, "body": nil}}, invalidGrant},
			{"invalid_request, in dex's words, ends the session", mock.Fault{"response": fault{"statusCode": 400, "body": fault{"error": "invalid_request"}}}, invalidGrant},
			{"401 ends the session", mock.Fault{"response": fault{"statusCode": 401, "body": fault{"error": "invalid_token"}}}, invalidGrant},
			{"503 does not end the session", mock.Fault{"response": fault{"statusCode": 503, "body": nil}}, func(t *testing.T, err error) {
				t.Helper()
				unavailable(t, err)
				if rp.IsInvalidGrant(err) {
					t.Error("an outage counts as invalid_grant")
				}
			}},
			{"another subject", mock.Fault{"token": fault{"set": fault{"sub": "janedoe"}}}, token("sub")},
			{"another issuer", mock.Fault{"token": fault{"set": fault{"iss": "https://attacker.example"}}}, token("iss")},
			{"another nonce", mock.Fault{"token": fault{"set": fault{"nonce": "other"}}}, token("nonce")},
			{"another audience", mock.Fault{"token": fault{"set": fault{"aud": "other"}}}, token("aud")},
		} {
			t.Run(f.name, func(t *testing.T) {
				p.Arm(t, f.arm)
				defer p.Arm(t, nil)
				tokens, err := client.Refresh(t.Context(), good.OAuth2.RefreshToken, good.IDToken)
				if err == nil {
					t.Fatalf("accepted: %v", tokens)
				}
				f.want(t, err)
			})
		}
		t.Run("without a new refresh token the old one is kept", func(t *testing.T) {
			p.Arm(t, mock.Fault{"response": fault{"unset": []string{"refresh_token"}}})
			defer p.Arm(t, nil)
			tokens, err := client.Refresh(t.Context(), good.OAuth2.RefreshToken, good.IDToken)
			if err != nil {
				t.Fatal(err)
			}
			if tokens.OAuth2.RefreshToken != good.OAuth2.RefreshToken {
				t.Error("the refresh token is lost")
			}
		})
		t.Run("without an ID token it is accepted", func(t *testing.T) {
			p.Arm(t, mock.Fault{"response": fault{"unset": []string{"id_token"}}})
			defer p.Arm(t, nil)
			tokens, err := client.Refresh(t.Context(), good.OAuth2.RefreshToken, good.IDToken)
			if err != nil {
				t.Fatal(err)
			}
			if tokens.IDToken != nil {
				t.Error("an ID token from nowhere")
			}
		})
	})

	t.Run("UserInfo", func(t *testing.T) {
		for _, f := range []struct {
			name string
			arm  mock.Fault
			want func(*testing.T, error)
		}{
			{"another subject", mock.Fault{"userinfo": fault{"body": fault{"sub": "janedoe"}}}, token("sub")},
			{"200 with an error inside and no sub, as casdoor says it", mock.Fault{"userinfo": fault{"body": fault{"status": "error"}}}, token("sub")},
			{"401", mock.Fault{"userinfo": fault{"statusCode": 401, "body": fault{"error": "request_unauthorized"}}}, provider(401, "request_unauthorized")},
			{"403, as dex says it", mock.Fault{"userinfo": fault{"statusCode": 403, "body": fault{"error": "access_denied"}}}, provider(403, "access_denied")},
			{"500", mock.Fault{"userinfo": fault{"statusCode": 500, "body": fault{}}}, unavailable},
			{"an array", mock.Fault{"userinfo": fault{"body": []string{"sub"}}}, anyError},
		} {
			t.Run(f.name, func(t *testing.T) {
				p.Arm(t, f.arm)
				defer p.Arm(t, nil)
				claims, err := client.UserInfo(t.Context(), good.OAuth2.AccessToken, "johndoe")
				if err == nil {
					t.Fatalf("accepted: %v", claims)
				}
				f.want(t, err)
			})
		}
	})

	t.Run("a revocation that fails is told", func(t *testing.T) {
		p.Arm(t, mock.Fault{"revoke": fault{"statusCode": 503}})
		defer p.Arm(t, nil)
		if err := client.Revoke(t.Context(), "token", ""); err == nil {
			t.Error("no error")
		}
	})
}

func invalidGrant(t *testing.T, err error) {
	t.Helper()
	if !rp.IsInvalidGrant(err) {
		t.Errorf("got %v, want one that ends the session", err)
	}
}
