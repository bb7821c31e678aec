package rp_test

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

// city is a provider of JWT access tokens with a web application, the API it calls and the API behind that.
type city struct {
	t  *testing.T
	op *rptest.Provider
}

func newCity(t *testing.T, change func(*rptest.Options)) *city {
	t.Helper()
	o := rptest.Options{
		Issuer: "https://op.example", SigningAlg: "ES256", JWTAccessTokens: true, Audience: "orders", AllowPassword: true,
		Clients: []rptest.Client{{ID: "web", Secret: "web-secret"}, {ID: "orders", Secret: "orders-secret"}, {ID: "stock", Secret: "stock-secret"}, {ID: "public"}},
	}
	if change != nil {
		change(&o)
	}
	op, err := rptest.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return &city{t, op}
}

func (c *city) client(id string, change ...func(*rp.Config)) *rp.Client {
	c.t.Helper()
	cfg := rp.Config{Issuer: c.op.Issuer(), ClientID: id, ClientSecret: id + "-secret", HTTPClient: c.op.Client()}
	for _, f := range change {
		f(&cfg)
	}
	client, err := rp.New(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	return client
}

// token is alice's access token, as the web application has it.
func (c *city) token() string {
	c.t.Helper()
	t, err := c.client("web").DeprecatedPassword(c.t.Context(), "alice", "alice", "openid", "orders.read", "orders.write")
	if err != nil {
		c.t.Fatal(err)
	}
	return t.OAuth2.AccessToken
}

// payload reads a JWT that the test itself trusts.
func payload(t testing.TB, raw string) map[string]any {
	t.Helper()
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts are no JWT", len(parts))
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestExchangeImpersonatesAndDelegates(t *testing.T) {
	c := newCity(t, nil)
	orders, stock := c.client("orders"), c.client("stock")
	first, err := orders.Exchange(t.Context(), rp.ExchangeRequest{SubjectToken: c.token(), Audiences: []string{"stock"}, Scopes: []string{"orders.read"}})
	if err != nil {
		t.Fatal(err)
	}
	got := payload(t, first.Tokens.OAuth2.AccessToken)
	if first.IssuedTokenType != rp.TypeAccessToken || got["sub"] != "alice" || got["aud"] != "stock" || got["client_id"] != "orders" || got["scope"] != "orders.read" || got["act"] != nil {
		t.Errorf("impersonation: %v, %v", first, got)
	}
	if first.Tokens.OAuth2.Type() != "Bearer" || time.Until(first.Tokens.OAuth2.Expiry) > 5*time.Minute || first.Tokens.OAuth2.RefreshToken != "" || fmt.Sprint(first.Tokens.Scope) != "[orders.read]" {
		t.Errorf("%v", first)
	}

	// Who acts is in act; who acted before, inside that (section 4.1).
	own := func(client *rp.Client) string {
		t.Helper()
		token, err := client.ClientCredentials(t.Context()).Token()
		if err != nil {
			t.Fatal(err)
		}
		return token.AccessToken
	}
	second, err := orders.Exchange(t.Context(), rp.ExchangeRequest{SubjectToken: c.token(), ActorToken: own(orders), Audiences: []string{"stock"}})
	if err != nil {
		t.Fatal(err)
	}
	third, err := stock.Exchange(t.Context(), rp.ExchangeRequest{
		SubjectToken: second.Tokens.OAuth2.AccessToken, ActorToken: own(stock), ActorTokenType: rp.TypeJWT, Resources: []string{"https://bank.example/"}, RequestedTokenType: rp.TypeJWT,
	})
	if err != nil {
		t.Fatal(err)
	}
	two, three := payload(t, second.Tokens.OAuth2.AccessToken), payload(t, third.Tokens.OAuth2.AccessToken)
	if fmt.Sprintln(two["sub"], two["act"]) != "alice map[sub:orders]\n" || fmt.Sprintln(three["sub"], three["act"], three["aud"]) != "alice map[act:map[sub:orders] sub:stock] https://bank.example/\n" || third.IssuedTokenType != rp.TypeJWT {
		t.Errorf("delegation: %v, %v", two, three)
	}
}

func TestExchangeTakesATokenThatIsNoAccessToken(t *testing.T) {
	c := newCity(t, nil)
	got, err := c.client("orders").Exchange(t.Context(), rp.ExchangeRequest{SubjectToken: c.token(), Audiences: []string{"stock"}, RequestedTokenType: rp.TypeIDToken})
	if err != nil {
		t.Fatal(err)
	}
	claims := payload(t, got.Tokens.OAuth2.AccessToken)
	if got.IssuedTokenType != rp.TypeIDToken || got.Tokens.OAuth2.TokenType != "N_A" || claims["aud"] != "stock" || claims["sub"] != "alice" {
		t.Errorf("%v, %v", got, claims)
	}
	if got.Tokens.IDToken != nil || got.Tokens.RawIDToken != "" {
		t.Error("another client's ID token was taken for a login of this one")
	}
}

func TestExchangeTellsTheProvidersReason(t *testing.T) {
	c := newCity(t, nil)
	token := c.token()
	for name, x := range map[string]struct {
		client *rp.Client
		req    rp.ExchangeRequest
		code   string
	}{
		"an unknown audience":   {c.client("orders"), rp.ExchangeRequest{SubjectToken: token, Audiences: []string{"bank"}}, "invalid_target"},
		"two, one unknown":      {c.client("orders"), rp.ExchangeRequest{SubjectToken: token, Audiences: []string{"stock", "bank"}}, "invalid_target"},
		"no active token":       {c.client("orders"), rp.ExchangeRequest{SubjectToken: "marked-token"}, "invalid_request"},
		"a scope too much":      {c.client("orders"), rp.ExchangeRequest{SubjectToken: token, Scopes: []string{"orders.delete"}}, "invalid_scope"},
		"a type not issued":     {c.client("orders"), rp.ExchangeRequest{SubjectToken: token, RequestedTokenType: rp.TypeSAML2}, "invalid_request"},
		"a public client":       {c.client("public", func(c *rp.Config) { c.ClientSecret = "" }), rp.ExchangeRequest{SubjectToken: token}, "unauthorized_client"},
		"another type of token": {c.client("orders"), rp.ExchangeRequest{SubjectToken: token, SubjectTokenType: rp.TypeRefreshToken}, "invalid_request"},
	} {
		_, err := x.client.Exchange(t.Context(), x.req)
		var refused *rp.ProviderError
		if !errors.As(err, &refused) || refused.Code != x.code || refused.Status != 400 || refused.Endpoint != "token" {
			t.Errorf("%s: %v, want %s", name, err, x.code)
		}
		if err != nil && (strings.Contains(err.Error(), token) || strings.Contains(err.Error(), "marked")) {
			t.Errorf("%s: a token is in the error", name)
		}
	}
}

func TestExchangeSendsWhatWasAskedFor(t *testing.T) {
	p := newOP()
	p.answer = func(*http.Request, url.Values) *http.Response {
		return replyJSON(200, map[string]any{"access_token": "a", "token_type": "Bearer", "issued_token_type": rp.TypeAccessToken})
	}
	c := p.client(t)
	const grant, urn = "urn:ietf:params:oauth:grant-type:token-exchange", "urn:ietf:params:oauth:token-type:"
	for name, x := range map[string]struct {
		req  rp.ExchangeRequest
		want url.Values
	}{
		"least": {rp.ExchangeRequest{SubjectToken: "s"}, url.Values{"subject_token": {"s"}, "subject_token_type": {urn + "access_token"}}},
		"all": {
			rp.ExchangeRequest{
				SubjectToken: "s", SubjectTokenType: rp.TypeIDToken, ActorToken: "a", RequestedTokenType: rp.TypeAccessToken, Scopes: []string{"x", "y"},
				Audiences: []string{"one", "two"}, Resources: []string{"https://one.example", "urn:two"}, Extra: url.Values{"requested_subject": {"bob"}},
			},
			url.Values{
				"subject_token": {"s"}, "subject_token_type": {urn + "id_token"}, "actor_token": {"a"}, "actor_token_type": {urn + "access_token"}, "requested_token_type": {urn + "access_token"},
				"scope": {"x y"}, "audience": {"one", "two"}, "resource": {"https://one.example", "urn:two"}, "requested_subject": {"bob"},
			},
		},
		"Keycloak, internal to external": {
			rp.ExchangeRequest{SubjectToken: "s", RequestedIssuer: "google"},
			url.Values{"subject_token": {"s"}, "subject_token_type": {urn + "access_token"}, "requested_issuer": {"google"}},
		},
		"Keycloak, external to internal": {
			rp.ExchangeRequest{SubjectToken: "s", SubjectTokenType: rp.TypeJWT, SubjectIssuer: "google"},
			url.Values{"subject_token": {"s"}, "subject_token_type": {urn + "jwt"}, "subject_issuer": {"google"}},
		},
	} {
		if _, err := c.Exchange(t.Context(), x.req); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		x.want.Set("grant_type", grant)
		if got, _ := c.Exchange(t.Context(), x.req); got == nil || strings.Join(got.Tokens.Scope, " ") != x.want.Get("scope") {
			t.Errorf("%s: where the provider is silent the scope is as asked, not %v", name, got)
		}
		if got := p.last().form; got.Encode() != x.want.Encode() {
			t.Errorf("%s: sent %s, want %s", name, got.Encode(), x.want.Encode())
		}
	}
}

func TestExchangeRefusesABadRequestBeforeItIsSent(t *testing.T) {
	p := newOP()
	c := p.client(t)
	for reason, req := range map[string]rp.ExchangeRequest{
		"SubjectToken is missing":                      {},
		"ActorTokenType is set, but ActorToken is not": {SubjectToken: "s", ActorTokenType: rp.TypeJWT},
		"Scopes":                        {SubjectToken: "s", Scopes: []string{"a b"}},
		"subject_token_type is \"jwt\"": {SubjectToken: "s", SubjectTokenType: "jwt"},
		"requested_token_type":          {SubjectToken: "s", RequestedTokenType: "access_token"},
		"actor_token_type":              {SubjectToken: "s", ActorToken: "a", ActorTokenType: "x"},
		"without fragment":              {SubjectToken: "s", Resources: []string{"https://api.example/#x"}},
		"absolute URI":                  {SubjectToken: "s", Resources: []string{"orders"}},
	} {
		if _, err := c.Exchange(t.Context(), req); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%v, want %q", err, reason)
		}
	}
	for _, name := range []string{
		"grant_type", "scope", "audience", "resource", "client_id", "client_secret", "client_assertion", "client_assertion_type", "subject_token", "subject_token_type",
		"actor_token", "actor_token_type", "requested_token_type", "subject_issuer", "requested_issuer", "",
	} {
		if _, err := c.Exchange(t.Context(), rp.ExchangeRequest{SubjectToken: "s", Extra: url.Values{name: {"marked"}}}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("Extra must not set %q", name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(p.sent) != 0 {
		t.Errorf("%d requests were sent", len(p.sent))
	}
}

func TestExchangeChecksWhatWasIssued(t *testing.T) {
	const urn = "urn:ietf:params:oauth:token-type:"
	quirk := func(c *rp.Config) { c.Quirks.NoIssuedTokenType = true }
	none := func(*rp.Config) {}
	for name, x := range map[string]struct {
		asked  rp.TokenType
		issued any
		use    string
		change func(*rp.Config)
		reason string
	}{
		"as asked":                         {rp.TypeAccessToken, urn + "access_token", "Bearer", none, ""},
		"as the provider likes":            {"", urn + "jwt", "Bearer", none, ""},
		"no access token":                  {rp.TypeSAML2, urn + "saml2", "N_A", none, ""},
		"in small letters":                 {rp.TypeSAML2, urn + "saml2", "n_a", none, ""},
		"of a type of its own":             {"", "https://op.example/types/ticket", "N_A", none, ""},
		"not said":                         {rp.TypeAccessToken, nil, "Bearer", none, "no issued_token_type"},
		"empty":                            {"", "", "Bearer", none, "no issued_token_type"},
		"no string":                        {"", 7, "Bearer", none, "no issued_token_type"},
		"not said, as known":               {rp.TypeAccessToken, nil, "Bearer", quirk, ""},
		"not said, and no access token":    {rp.TypeSAML2, nil, "N_A", quirk, ""},
		"not said, and not usable":         {rp.TypeAccessToken, nil, "N_A", quirk, "N_A"},
		"not said or asked, nor usable":    {"", nil, "N_A", quirk, "N_A"},
		"another":                          {rp.TypeAccessToken, urn + "refresh_token", "Bearer", none, "issued_token_type is"},
		"another, although known for none": {rp.TypeAccessToken, urn + "refresh_token", "Bearer", quirk, "issued_token_type is"},
		"an access token that is none":     {"", urn + "access_token", "N_A", none, "which no access token is"},
		"a token_type nobody knows":        {"", urn + "access_token", "mac", none, "token_type"},
		"DPoP, unasked":                    {"", urn + "access_token", "DPoP", none, "token_type"},
	} {
		p := newOP()
		p.answer = func(*http.Request, url.Values) *http.Response {
			m := map[string]any{"access_token": marked, "token_type": x.use}
			if x.issued != nil {
				m["issued_token_type"] = x.issued
			}
			return replyJSON(200, m)
		}
		got, err := p.client(t, x.change).Exchange(t.Context(), rp.ExchangeRequest{SubjectToken: marked, RequestedTokenType: x.asked})
		if x.reason == "" {
			if err != nil || got.Tokens.OAuth2.AccessToken != marked {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var refused *rp.ProviderError
		if got != nil || !errors.As(err, &refused) || refused.Endpoint != "token" || !strings.Contains(err.Error(), x.reason) || strings.Contains(printed(err), marked) {
			t.Errorf("%s: %v, want %q", name, err, x.reason)
		}
	}
}

func TestExchangeVerifiesTheIDTokenBeside(t *testing.T) {
	for check, edit := range map[string]func(map[string]any){"": func(map[string]any) {}, "aud": func(c map[string]any) { c["aud"] = "stock" }} {
		p := newOP()
		p.edit = edit
		p.answer = func(*http.Request, url.Values) *http.Response {
			return replyJSON(200, map[string]any{"access_token": "a", "token_type": "Bearer", "issued_token_type": rp.TypeAccessToken, "id_token": p.idToken("", "a", "")})
		}
		got, err := p.client(t).Exchange(t.Context(), rp.ExchangeRequest{SubjectToken: "s"})
		var bad *rp.TokenError
		if check == "" && (err != nil || got.Tokens.IDToken.Subject != "user-1") || check != "" && (!errors.As(err, &bad) || bad.Check != check) {
			t.Errorf("%q: %v, %v", check, got, err)
		}
	}
}

func TestExchangePrintsNoToken(t *testing.T) {
	c := newCity(t, nil)
	token := c.token()
	req := rp.ExchangeRequest{SubjectToken: token, ActorToken: token, Extra: url.Values{"x": {token}}, Audiences: []string{"stock"}}
	got, err := c.client("orders").Exchange(t.Context(), rp.ExchangeRequest{SubjectToken: token})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{req, &req, got, *got} {
		text := printed(v)
		if strings.Contains(text, token) || strings.Contains(text, got.Tokens.OAuth2.AccessToken) || !strings.Contains(text, "rp.Exchange") {
			t.Errorf("%T prints %s", v, text)
		}
	}
}

// federation is an identity provider of its own, which op knows as "corp".
func federation() (op, corp *rptest.Provider, err error) {
	if corp, err = rptest.New(rptest.Options{Issuer: "https://corp.example", SigningAlg: "ES256"}); err != nil {
		return nil, nil, err
	}
	op, err = rptest.New(rptest.Options{
		Issuer: "https://op.example", JWTAccessTokens: true, AllowPassword: true,
		Clients:        []rptest.Client{{ID: "shop", Secret: "secret"}, {ID: "stock", Secret: "secret"}},
		TrustedIssuers: []rptest.TrustedIssuer{{Issuer: corp.Issuer(), Keys: []crypto.PublicKey{corp.PublicKey()}, Alias: "corp", Kept: map[string]string{"alice": "corps-token-of-alice"}}},
	})
	return op, corp, err
}

// userToken is what the shop has of its user.
func userToken(ctx context.Context, client *rp.Client) (string, error) {
	tokens, err := client.DeprecatedPassword(ctx, "alice", "alice", "openid", "orders")
	if err != nil {
		return "", err
	}
	return tokens.OAuth2.AccessToken, nil
}

func exampleShop(op *rptest.Provider) (*rp.Client, error) {
	return rp.New(rp.Config{Issuer: op.Issuer(), ClientID: "shop", ClientSecret: "secret", HTTPClient: op.Client()})
}

// An API passes its caller on to another API: the token it got is for itself alone, so it asks for one that is for the other, with fewer rights.
func ExampleClient_Exchange() {
	op, _, err := federation()
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := exampleShop(op)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	token, err := userToken(ctx, client) // of the incoming request
	if err != nil {
		fmt.Println(err)
		return
	}
	got, err := client.Exchange(ctx, rp.ExchangeRequest{SubjectToken: token, Audiences: []string{"stock"}, Scopes: []string{"orders"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(got.IssuedTokenType == rp.TypeAccessToken, got.Tokens.Scope)

	_, err = client.Exchange(ctx, rp.ExchangeRequest{SubjectToken: token, Audiences: []string{"bank"}})
	var refused *rp.ProviderError
	fmt.Println(errors.As(err, &refused), refused.Code)
	// Output:
	// true [orders]
	// true invalid_target
}

// Delegation: the new token says for whom, and in act who does it.
func ExampleClient_Exchange_delegation() {
	op, _, err := federation()
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := exampleShop(op)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	token, err := userToken(ctx, client)
	if err != nil {
		fmt.Println(err)
		return
	}
	own, err := client.ClientCredentials(ctx).Token()
	if err != nil {
		fmt.Println(err)
		return
	}
	got, err := client.Exchange(ctx, rp.ExchangeRequest{SubjectToken: token, ActorToken: own.AccessToken, Audiences: []string{"stock"}, RequestedTokenType: rp.TypeJWT})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, rest, _ := strings.Cut(got.Tokens.OAuth2.AccessToken, ".")
	claims, _, _ := strings.Cut(rest, ".")
	var said struct {
		Sub string
		Act struct{ Sub string }
	}
	b, _ := base64.RawURLEncoding.DecodeString(claims)
	if err := json.Unmarshal(b, &said); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(said.Act.Sub, "acts for", said.Sub)
	// Output: shop acts for alice
}

// Keycloak, external to internal: a token of another provider for one of this one.
func ExampleClient_Exchange_subjectIssuer() {
	op, corp, err := federation()
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := exampleShop(op)
	if err != nil {
		fmt.Println(err)
		return
	}
	theirs := corp.Sign(map[string]any{
		"iss": corp.Issuer(), "sub": "employee-7", "aud": op.Issuer(), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(), "jti": "1",
	})
	got, err := client.Exchange(context.Background(), rp.ExchangeRequest{SubjectToken: theirs, SubjectTokenType: rp.TypeJWT, SubjectIssuer: "corp"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(got.IssuedTokenType)
	// Output: urn:ietf:params:oauth:token-type:access_token
}

// Keycloak, internal to external: the user's token at another provider, which this one keeps since they logged in there.
func ExampleClient_Exchange_requestedIssuer() {
	op, _, err := federation()
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := exampleShop(op)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	token, err := userToken(ctx, client)
	if err != nil {
		fmt.Println(err)
		return
	}
	got, err := client.Exchange(ctx, rp.ExchangeRequest{SubjectToken: token, RequestedIssuer: "corp"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(got.Tokens.OAuth2.AccessToken == "corps-token-of-alice")
	// Output: true
}
