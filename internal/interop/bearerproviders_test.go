package interop_test

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
	"github.com/latchkey-go/latchkey/internal/interop/app"
	"github.com/latchkey-go/latchkey/internal/interop/panva"
	"github.com/latchkey-go/latchkey/internal/interop/visitor"
	"github.com/latchkey-go/latchkey/middleware/bearer"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/session"
)

const apiSecret = "a secret: of enough bytes+for/HS256 too"

// newVerifier makes one whose provider is on loopback.
func newVerifier(t *testing.T, cfg bearer.Config) *bearer.Verifier {
	t.Helper()
	cfg.InsecureLoopbackHTTP = true
	cfg.Logger = slog.New(slog.DiscardHandler)
	v, err := bearer.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func accepted(t *testing.T, v *bearer.Verifier, raw string) *bearer.Token {
	t.Helper()
	got, err := v.Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func refusedBy(t *testing.T, v *bearer.Verifier, raw, check string) {
	t.Helper()
	_, err := v.Verify(t.Context(), raw)
	var bad *bearer.TokenError
	if !errors.As(err, &bad) || bad.Check != check {
		t.Errorf("got %v, want a refusal by %s", err, check)
	}
}

// grant asks the token endpoint as client, and returns the answer.
func grant(t *testing.T, endpoint, client string, form url.Values) map[string]any {
	t.Helper()
	status, answer := send(t, endpoint, client, form)
	if status != http.StatusOK {
		t.Fatalf("%s answered %d: %v", endpoint, status, answer)
	}
	return answer
}

func send(t *testing.T, endpoint, client string, form url.Values) (status int, answer map[string]any) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(client), url.QueryEscape(apiSecret))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	json.NewDecoder(resp.Body).Decode(&answer) // a revocation's answer is empty
	return resp.StatusCode, answer
}

func TestBearerWithOIDCProvider(t *testing.T) {
	p := panva.StartResources(t)
	const web = "web"
	a := app.Listen(t, false)
	p.Register(t, map[string]any{
		"client_id": web, "client_secret": apiSecret, "redirect_uris": []string{a.Callback}, "post_logout_redirect_uris": []string{a.Goodbye},
		"grant_types": []string{"authorization_code", "client_credentials"}, "response_types": []string{"code"},
	})
	endpoint := p.Issuer() + "/token"
	credentials := func(t *testing.T, resource string) string {
		t.Helper()
		token, _ := grant(t, endpoint, web, url.Values{"grant_type": {"client_credentials"}, "resource": {resource}, "scope": {"orders:read"}})["access_token"].(string)
		return token
	}
	// login signs alice in for resource and returns the token endpoint's answer.
	login := func(t *testing.T, resource string) app.Call {
		t.Helper()
		a.Serve(t, app.Options{
			Issuer: p.Issuer(), ClientID: web, Secret: apiSecret, Guard: a.KeepFailures,
			RP:      func(c *rp.Config) { c.Scopes = []string{"openid", "orders:read"} },
			Session: func(c *session.Config) { c.UserInfo = false },
		})
		a.Params(rp.AuthParams{Resource: []string{resource}})
		if got := account(t, p.SignIn(t, visitor.New(t, nil).Open(a.URL+"/account"), "alice")); got.Subject != "alice" {
			t.Fatalf("signed in as %+v", got)
		}
		return a.Tape.Grants("authorization_code")[0]
	}

	for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		t.Run("takes its JWT of a client in "+alg+" as RFC 9068 has it", func(t *testing.T) {
			resource := "https://" + strings.ToLower(alg) + ".example"
			raw := credentials(t, resource)
			got := accepted(t, newVerifier(t, bearer.Config{Issuer: p.Issuer(), Audience: resource}), raw)
			if got.ClientID != web || got.Subject != web || !slices.Equal(got.Scopes, []string{"orders:read"}) || got.Introspected || got.ID == "" {
				t.Errorf("%+v %q %q", got, got.Subject, got.Scopes)
			}
			refusedBy(t, newVerifier(t, bearer.Config{Issuer: p.Issuer(), Audience: "https://other.example"}), raw, "aud")
			only := bearer.Issuer{Issuer: p.Issuer(), Algorithms: []string{"ES384"}}
			refusedBy(t, newVerifier(t, bearer.Config{Issuers: []bearer.Issuer{only}, Audience: resource}), raw, "alg")
		})
	}

	t.Run("takes the JWT of a login and refuses its ID token", func(t *testing.T) {
		const resource = "https://rs256.example"
		call := login(t, resource)
		v := newVerifier(t, bearer.Config{Issuer: p.Issuer(), Audience: resource})
		got := accepted(t, v, call.JSON("access_token"))
		if got.Subject != "alice" || got.ClientID != web || !got.HasScope("orders:read") || got.HasScope("orders:write") {
			t.Errorf("%+v %q", got, got.Scopes)
		}
		refusedBy(t, v, call.JSON("id_token"), "typ") // it has none
		// Not even an API that has the client's name, and takes every type there is, mistakes it.
		lax := bearer.Profile{Types: []string{"", "JWT", "at+jwt"}, Optional: []string{"sub", "client_id", "jti", "iat"}, ClientIsAudience: true}
		refusedBy(t, newVerifier(t, bearer.Config{Issuer: p.Issuer(), Audience: web, Profile: lax}), call.JSON("id_token"), "kind")
	})

	t.Run("follows its key rotations and ends what a withdrawn key signed", func(t *testing.T) {
		const resource = "https://es256.example"
		// Three unknown kids in a row are more than the burst of two: the third waits for the cool-down.
		impatient := bearer.Issuer{Issuer: p.Issuer(), Discovery: discovery.Config{Cooldown: 100 * time.Millisecond}}
		v := newVerifier(t, bearer.Config{Issuers: []bearer.Issuer{impatient}, Audience: resource})
		first := credentials(t, resource)
		accepted(t, v, first)
		p.Rotate(t, false)
		accepted(t, v, credentials(t, resource))
		accepted(t, v, first)
		p.Rotate(t, true)
		accepted(t, v, credentials(t, resource))
		refusedBy(t, v, first, "kid")
	})

	const opaque = "https://opaque.example"
	register := func(t *testing.T, id string, more map[string]any) {
		t.Helper()
		metadata := map[string]any{"client_id": id, "client_secret": apiSecret, "redirect_uris": []string{}, "response_types": []string{}, "grant_types": []string{}}
		for name, value := range more {
			metadata[name] = value
		}
		p.Register(t, metadata)
	}

	t.Run("asks it about opaque tokens and sees a revocation", func(t *testing.T) {
		register(t, "orders-api", nil)
		asked := func(in bearer.Introspection) *bearer.Verifier {
			in.ClientID, in.ClientSecret = "orders-api", apiSecret
			return newVerifier(t, bearer.Config{Issuer: p.Issuer(), Audience: opaque, Introspection: &in})
		}
		v := asked(bearer.Introspection{MaxAge: -1, MaxNegativeAge: -1})
		raw := credentials(t, opaque)
		got := accepted(t, v, raw)
		if !got.Introspected || got.ClientID != web || !slices.Equal(got.Scopes, []string{"orders:read"}) || !slices.Equal(got.Audience, []string{opaque}) || time.Until(got.Expiry) > 301*time.Second {
			t.Errorf("%+v %q %q", got, got.Scopes, got.Audience)
		}
		kept := asked(bearer.Introspection{})
		accepted(t, kept, raw)
		user := login(t, opaque).JSON("access_token")
		if got := accepted(t, v, user); got.Subject != "alice" {
			t.Errorf("subject %q", got.Subject)
		}
		refusedBy(t, v, credentialsNowhere(t, endpoint, web), "aud")
		refusedBy(t, v, "never-issued", "inactive")
		refusedBy(t, newVerifier(t, bearer.Config{Issuer: p.Issuer(), Audience: opaque}), raw, "opaque")

		if status, answer := send(t, p.Issuer()+"/token/revocation", web, url.Values{"token": {raw}}); status != http.StatusOK {
			t.Fatalf("the revocation answered %d %v", status, answer)
		}
		refusedBy(t, v, raw, "inactive")
		accepted(t, kept, raw) // for at most Introspection.MaxAge
		refusedBy(t, asked(bearer.Introspection{}), raw, "inactive")
	})

	t.Run("takes its signed answers", func(t *testing.T) {
		raw := credentials(t, opaque)
		for _, alg := range []string{"RS256", "ES256"} {
			register(t, "signed-"+alg, map[string]any{"introspection_signed_response_alg": alg})
			in := &bearer.Introspection{ClientID: "signed-" + alg, ClientSecret: apiSecret, Signed: true}
			v := newVerifier(t, bearer.Config{Issuer: p.Issuer(), Audience: opaque, Introspection: in})
			if got := accepted(t, v, raw); !got.Introspected || got.ClientID != web || !got.HasScope("orders:read") {
				t.Errorf("%s: %+v %q", alg, got, got.Scopes)
			}
			refusedBy(t, v, "never-issued", "inactive")
			other := newVerifier(t, bearer.Config{Issuer: p.Issuer(), Audience: "https://other.example", Introspection: in})
			refusedBy(t, other, raw, "aud")
		}
	})

	t.Run("knows nothing of a token when it may not ask", func(t *testing.T) {
		v := newVerifier(t, bearer.Config{Issuer: p.Issuer(), Audience: opaque, Introspection: &bearer.Introspection{ClientID: "orders-api", ClientSecret: "wrong"}})
		_, err := v.Verify(t.Context(), credentials(t, opaque))
		if f := v.Failure(err); !errors.Is(err, bearer.ErrUnavailable) || f.Status != http.StatusServiceUnavailable {
			t.Errorf("got %v", err)
		}
	})
}

// credentialsNowhere is an opaque token for no API.
func credentialsNowhere(t *testing.T, endpoint, client string) string {
	t.Helper()
	token, _ := grant(t, endpoint, client, url.Values{"grant_type": {"client_credentials"}})["access_token"].(string)
	return token
}
