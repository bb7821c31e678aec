package interop_test

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/latchkey-go/latchkey/internal/interop/app"
	"github.com/latchkey-go/latchkey/internal/interop/mock"
	"github.com/latchkey-go/latchkey/internal/interop/zitadel"
	"github.com/latchkey-go/latchkey/middleware/bearer"
)

func TestBearerWithMockServer(t *testing.T) {
	p := mock.Start(t)
	const resource = "https://orders.example"
	// Its tokens name neither type, client nor id.
	profile := bearer.Profile{Types: []string{"JWT"}, Optional: []string{"sub", "client_id", "jti"}}
	v := newVerifier(t, bearer.Config{Issuer: p.Issuer(), Audience: resource, Profile: profile})
	token := func(form url.Values, member string) string {
		s, _ := grant(t, p.Issuer()+"/token", "web", form)[member].(string)
		return s
	}
	good := token(url.Values{"grant_type": {"client_credentials"}, "aud": {resource}, "scope": {"orders:read"}}, "access_token")
	if got := accepted(t, v, good); !slices.Equal(got.Scopes, []string{"orders:read"}) || got.Subject != "" {
		t.Errorf("%+v", got)
	}
	refusedBy(t, newVerifier(t, bearer.Config{Issuer: p.Issuer(), Audience: resource}), good, "typ")
	refusedBy(t, v, token(url.Values{"grant_type": {"client_credentials"}, "scope": {"orders:read"}}, "access_token"), "aud")
	refusedBy(t, v, token(url.Values{"grant_type": {"client_credentials"}, "aud": {"https://other.example"}}, "access_token"), "aud")
	refusedBy(t, v, token(url.Values{"grant_type": {"password"}, "username": {"alice"}}, "id_token"), "aud")
	for range 3 {
		p.AddKey(t)
		accepted(t, v, token(url.Values{"grant_type": {"client_credentials"}, "aud": {resource}}, "access_token"))
	}

	t.Run("refuses the ID token of a login", func(t *testing.T) {
		s := mockSubject(p)
		a := s.serve(t, resource, "client_secret_post", nil) // the API has the client's name, so that aud alone tells nothing
		s.login(t, a)
		refusedBy(t, v, a.Tape.Grants("authorization_code")[0].JSON("id_token"), "kind")
	})

	t.Run("takes a bare yes about an opaque token only where NoAudience is set", func(t *testing.T) {
		in := bearer.Introspection{ClientID: "orders-api", ClientSecret: apiSecret}
		refusedBy(t, newVerifier(t, bearer.Config{Issuer: p.Issuer(), Audience: resource, Introspection: &in}), "opaque-token", "aud")
		in.NoAudience = true
		v := newVerifier(t, bearer.Config{Issuer: p.Issuer(), Audience: resource, Introspection: &in})
		if got := accepted(t, v, "opaque-token"); !got.Introspected || got.HasScope("orders:read") {
			t.Errorf("%+v %q", got, got.Scopes)
		}
		in.Signed = true // which this server can't: a plain answer is none
		v = newVerifier(t, bearer.Config{Issuer: p.Issuer(), Audience: resource, Introspection: &in})
		if _, err := v.Verify(t.Context(), "opaque-token"); !errors.Is(err, bearer.ErrUnavailable) {
			t.Errorf("a plain answer brought %v", err)
		}
	})
}

func TestBearerWithZITADEL(t *testing.T) {
	p := zitadel.Start(t)
	login := func(t *testing.T, id string, jwt bool) app.Call {
		t.Helper()
		s := zitadelSubject(p)
		s.register = func(_ *testing.T, id, secret, _ string, a *app.App) {
			p.Register(zitadel.Client{ID: id, Secret: secret, AuthMethod: "client_secret_basic", RedirectURI: a.Callback, AfterLogoutURI: a.Goodbye, JWT: jwt})
		}
		a := s.serve(t, id, "client_secret_basic", nil)
		s.login(t, a)
		return a.Tape.Grants("authorization_code")[0]
	}

	t.Run("JWTs are for their own client, and taken where the profile says so", func(t *testing.T) {
		const client = "orders"
		call := login(t, client, true)
		raw := call.JSON("access_token")
		refusedBy(t, newVerifier(t, bearer.Config{Issuer: p.Issuer(), Audience: client}), raw, "typ")
		refusedBy(t, newVerifier(t, bearer.Config{Issuer: p.Issuer(), Audience: client, Profile: bearer.ZITADEL()}), raw, "kind")
		own := bearer.ZITADEL()
		own.ClientIsAudience = true
		v := newVerifier(t, bearer.Config{Issuer: p.Issuer(), Audience: client, Profile: own})
		if got := accepted(t, v, raw); got.Subject != "id2" || got.ClientID != client || got.Issuer != p.Issuer() {
			t.Errorf("%+v %q", got, got.Subject)
		}
		refusedBy(t, v, call.JSON("id_token"), "kind")
		p.Rotate(t, true)
		accepted(t, v, login(t, client, true).JSON("access_token"))
		refusedBy(t, v, raw, "kid")
	})

	t.Run("opaque tokens are asked about", func(t *testing.T) {
		const client = "reports"
		call := login(t, client, false)
		in := bearer.Introspection{ClientID: client, ClientSecret: apiSecret, MaxAge: -1, MaxNegativeAge: -1}
		refusedBy(t, newVerifier(t, bearer.Config{Issuer: p.Issuer(), Audience: client, Introspection: &in}), call.JSON("access_token"), "aud") // the answer names none
		in.NoAudience = true
		v := newVerifier(t, bearer.Config{Issuer: p.Issuer(), Audience: client, Introspection: &in})
		if got := accepted(t, v, call.JSON("access_token")); !got.Introspected || got.ClientID != client || got.Subject == "" {
			t.Errorf("%+v %q", got, got.Subject)
		}
		if status, answer := send(t, p.Issuer()+"revoke", client, url.Values{"token": {call.JSON("access_token")}}); status != http.StatusOK {
			t.Fatalf("the revocation answered %d %v", status, answer)
		}
		refusedBy(t, v, call.JSON("access_token"), "inactive")
	})
}
