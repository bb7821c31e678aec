package bearer_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/latchkey-go/latchkey/middleware/bearer"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

// kind is another sort of JWT that the same provider, or its client, signs. Each comes as near to an access token as its own rules let it: the
// audience is this API, as where an API is a client too.
type kind struct {
	name string
	typ  string // "": none
	bend func(d *draft)
	// what refuses it in each dialect; "" in none
	rfc9068, keycloak, auth0 string
}

// keep drops the claims that this kind has not got.
func keep(names string, more ...any) func(*draft) {
	return func(d *draft) {
		maps.DeleteFunc(d.claims, func(name string, _ any) bool { return !strings.Contains(" "+names+" ", " "+name+" ") })
		for i := 0; i < len(more); i += 2 {
			d.claims[more[i].(string)] = more[i+1]
		}
	}
}

func both(first, second func(*draft)) func(*draft) {
	return func(d *draft) { first(d); second(d) }
}

const idClaims = "iss sub aud exp iat sid email"

var kinds = []kind{
	{"an ID token", "JWT", keep(idClaims, "nonce", "n", "at_hash", "x", "azp", audience, "auth_time", 1), "typ", "kind", "kind"},
	{"an ID token of the implicit flow", "JWT", keep(idClaims, "nonce", "n", "azp", audience), "typ", "typ", "kind"},
	{"an ID token after a refresh", "JWT", keep(idClaims, "at_hash", "x", "azp", audience), "typ", "kind", "kind"},
	{"an ID token of the hybrid flow", "JWT", keep(idClaims, "c_hash", "x"), "typ", "kind", "kind"},
	{"an ID token with nothing optional", "JWT", keep(idClaims), "typ", "typ", "azp or client_id"},
	{"an ID token with azp and jti and nothing else optional", "JWT", keep(idClaims+" jti", "azp", audience), "typ", "typ", "kind"},
	{"an ID token with scopes", "JWT", keep(idClaims+" jti scope", "azp", audience), "typ", "typ", "kind"},
	{"an ID token without typ", "", keep(idClaims, "nonce", "n"), "typ", "typ", "typ"},
	{"an ID token that says at+jwt", "at+jwt", keep(idClaims+" jti", "client_id", audience, "nonce", "n"), "kind", "typ", "kind"},
	{"an ID token that says at+jwt, by at_hash", "at+jwt", keep(idClaims+" jti", "client_id", audience, "at_hash", "x"), "kind", "kind", "kind"},
	{"Keycloak's ID token", "JWT", keep(idClaims+" jti", "typ", "ID", "azp", "shop"), "typ", "typ", "kind"},
	{"Keycloak's ID token that says at+jwt", "at+jwt", keep(idClaims+" jti", "typ", "ID", "azp", "shop", "client_id", "shop"), "kind", "typ", "kind"},
	{"Cognito's ID token", "JWT", keep(idClaims+" jti", "token_use", "id", "azp", "shop"), "typ", "typ", "kind"},
	{"an ID token that says so in a list", "at+jwt", keep(idClaims+" jti", "token_use", []string{"id"}, "azp", "shop", "client_id", "shop"), "kind", "typ", "kind"},

	{"a logout token", "logout+jwt", keep("iss sub aud exp iat jti sid", "events", logoutEvent), "typ", "typ", "typ"},
	{"a logout token with typ JWT", "JWT", keep("iss sub aud exp iat jti sid", "events", logoutEvent, "azp", "shop", "typ", "Bearer"), "typ", "kind", "kind"},
	{"a logout token that says at+jwt", "at+jwt", keep("iss sub aud exp iat jti sid", "events", logoutEvent, "client_id", "shop", "azp", "shop", "typ", "Bearer"), "kind", "kind", "kind"},
	{"Keycloak's logout token", "JWT", keep("iss sub aud exp iat jti sid", "typ", "Logout", "events", logoutEvent), "typ", "kind", "kind"},
	{"a security event", "secevent+jwt", keep("iss sub aud exp iat jti", "events", map[string]any{}), "typ", "typ", "typ"},

	{"Keycloak's refresh token", "JWT", both(keep("iss sub exp iat jti sid scope", "typ", "Refresh", "azp", "shop"), func(d *draft) { d.claims["aud"] = d.claims["iss"] }), "typ", "typ", "kind"},
	{"Keycloak's refresh token with this audience", "JWT", keep("iss sub aud exp iat jti sid scope", "typ", "Refresh", "azp", "shop"), "typ", "typ", "kind"},
	{"Keycloak's offline token", "JWT", keep("iss sub aud exp iat jti sid scope", "typ", "Offline", "azp", "shop"), "typ", "typ", "kind"},

	{"a DPoP proof", "dpop+jwt", both(keep("jti iat", "htm", "GET", "htu", audience, "ath", "x"), func(d *draft) { d.header["jwk"] = published(d.alg) }), "jwk", "jwk", "jwk"},
	{"a DPoP proof without its key", "dpop+jwt", keep("iss sub aud exp jti iat client_id azp typ", "htm", "GET", "htu", audience), "typ", "typ", "typ"},
	{"an introspection answer", "token-introspection+jwt", keep("iss aud iat", "token_introspection", map[string]any{"active": true}), "typ", "typ", "typ"},
	{"an introspection answer with typ JWT", "JWT", keep("iss aud iat", "token_introspection", map[string]any{"active": true, "sub": "alice"}), "typ", "typ", "exp"},
	{"a client assertion", "JWT", keep("aud exp iat jti", "iss", "shop", "sub", "shop"), "iss", "iss", "iss"},
	{"a client assertion of the provider's own", "JWT", keep("iss aud exp iat jti", "sub", "shop"), "typ", "typ", "azp or client_id"},
	{"a client assertion with its typ", "client-authentication+jwt", keep("iss aud exp iat jti client_id azp typ", "sub", "shop"), "typ", "typ", "typ"},
	{"a request object", "oauth-authz-req+jwt", keep("iss aud exp iat jti client_id azp scope typ", "nonce", "n"), "typ", "typ", "typ"},
	{"a UserInfo answer", "JWT", keep("iss sub aud email"), "typ", "typ", "exp"},
	{"a UserInfo answer that ends", "JWT", keep("iss sub aud exp iat email"), "typ", "typ", "azp or client_id"},
	{"an authorization answer (JARM)", "JWT", keep("iss aud exp", "code", secret, "state", secret), "typ", "typ", "iat"},
	{"a token that was exchanged for one bound to a key", "at+jwt", both(keep("iss sub aud exp iat jti client_id azp scope typ"), claim("cnf", map[string]any{"jkt": "x"})), "cnf", "cnf", "cnf"},
}

var logoutEvent = map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}

func TestOnlyAccessTokensAreAccessTokens(t *testing.T) {
	var attacks []attack
	for _, k := range kinds {
		attacks = append(attacks, attack{name: k.name, check: k.rfc9068, in: map[string]string{"Keycloak": k.keycloak, "Auth0": k.auth0}, bend: func(d *draft) {
			if d.header["typ"] = k.typ; k.typ == "" {
				delete(d.header, "typ")
			}
			k.bend(d)
		}})
	}
	run(t, attacks, nil)
}

// In every profile there is, each of the other kinds is refused, by whatever check.
func TestNoProfileTakesAnotherKindOfToken(t *testing.T) {
	for name, p := range map[string]bearer.Profile{
		"Entra": bearer.Entra(), "EntraV1": bearer.EntraV1(), "AzureB2C": bearer.AzureB2C(), "ADFS": bearer.ADFS(), "Okta": bearer.Okta(), "Cognito": bearer.Cognito(), "Hydra": bearer.Hydra(),
		"ZITADEL": bearer.ZITADEL(), "Kubernetes": bearer.Kubernetes(), "GitHubActions": bearer.GitHubActions(),
	} {
		c := newCorpus(t, "EdDSA", dialect{name: name, profile: p})
		typ := "JWT"
		if p.Types[0] == "" {
			typ = ""
		}
		var marks []any
		for mark, value := range p.Marks {
			marks = append(marks, mark, value)
		}
		access := func(d *draft) {
			keep(idClaims+" jti scope", marks...)(d)
			for _, name := range p.ClientID {
				d.claims[name] = "shop"
			}
			if p.Audience != "" {
				d.claims[p.Audience] = audience
			}
			if len(p.ClientID) == 0 && p.Audience == "" {
				d.claims["client_id"] = "shop"
			}
			if d.header["typ"] = typ; typ == "" {
				delete(d.header, "typ")
			}
		}
		c.accepts(t, c.mint(access))
		for _, k := range kinds {
			raw := c.mint(func(d *draft) {
				if d.header["typ"] = k.typ; k.typ == "" {
					delete(d.header, "typ")
				}
				k.bend(d)
			})
			if checkOf(verifyError(t, c.api, raw)) == "" {
				t.Errorf("%s takes %s", name, k.name)
			}
		}
	}
}

// What the test provider really hands out in a login, beside the access token.
func TestOfALoginsTokensOnlyTheAccessTokenPasses(t *testing.T) {
	for _, alg := range corpusAlgs {
		t.Run(alg, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				op, err := rptest.New(rptest.Options{
					Issuer: "https://op.example", SigningAlg: alg, JWTAccessTokens: true, Audience: audience,
					Clients: []rptest.Client{{ID: audience, AllowNoPKCE: true, UserInfoSignedAlg: alg, RedirectURIs: []string{"https://app.example/callback"}}},
				})
				if err != nil {
					t.Fatal(err)
				}
				c := newCorpus(t, alg, dialects[0])
				c.op = op
				c = c.with(func(*bearer.Config) {})
				tokens := login(t, op)
				c.accepts(t, tokens.Access)
				for name, x := range map[string]struct{ raw, check string }{
					"the ID token":      {tokens.ID, "typ"},
					"the refresh token": {tokens.Refresh, "opaque"},
					"UserInfo's JWT":    {answer(t, op, "/userinfo", nil, tokens.Access), "typ"},
					"a logout token":    {op.LogoutToken("alice", "s1"), "typ"},
				} {
					t.Log(name)
					c.refuses(t, x.raw, x.check)
				}
			})
		})
	}
}

// answer is what the provider says to a request, in memory: its Location, or its body.
func answer(t *testing.T, op *rptest.Provider, path string, form url.Values, token string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, op.Issuer()+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := op.Transport().RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 400 {
		t.Fatalf("%s answered %s: %s, %v", path, resp.Status, body, err)
	}
	if to := resp.Header.Get("Location"); to != "" {
		return to
	}
	return string(body)
}

// login returns the token response of a login at the client named like the API.
func login(t *testing.T, op *rptest.Provider) (tokens struct{ Access, ID, Refresh string }) {
	t.Helper()
	const callback = "https://app.example/callback"
	asked := url.Values{
		"response_type": {"code"}, "client_id": {audience}, "redirect_uri": {callback}, "scope": {"openid offline_access"}, "nonce": {"n"}, "state": {"s"},
	}
	to, err := url.Parse(answer(t, op, "/authorize", asked, ""))
	if err != nil {
		t.Fatal(err)
	}
	raw := answer(t, op, "/token", url.Values{
		"grant_type": {"authorization_code"}, "code": {to.Query().Get("code")}, "client_id": {audience}, "redirect_uri": {callback},
	}, "")
	var got map[string]any
	if err := json.Unmarshal([]byte(raw), &got); err != nil {
		t.Fatal(err)
	}
	tokens.Access, tokens.ID, tokens.Refresh = fmt.Sprint(got["access_token"]), fmt.Sprint(got["id_token"]), fmt.Sprint(got["refresh_token"])
	return tokens
}
