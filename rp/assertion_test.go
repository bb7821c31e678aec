package rp_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/clientauth"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

// newSigner makes a key and what signs with it.
func newSigner() (jose.Signer, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "payroll-1"}}, (&jose.SignerOptions{}).WithType("JWT"))
	return signer, key, err
}

func TestJWTBearerTradesAnAssertion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signer, key, err := newSigner()
		if err != nil {
			t.Fatal(err)
		}
		c := newCity(t, func(o *rptest.Options) {
			o.TrustedIssuers = []rptest.TrustedIssuer{{Issuer: "https://payroll.example", Keys: []crypto.PublicKey{key.Public()}}}
		})
		client := c.client("web")
		good := rp.Assertion{Issuer: "https://payroll.example", Subject: "alice", Audience: "https://op.example"}
		sign := func(change func(*rp.Assertion)) string {
			t.Helper()
			a := good
			change(&a)
			raw, err := a.Sign(signer)
			if err != nil {
				t.Fatal(err)
			}
			return raw
		}
		raw := sign(func(*rp.Assertion) {})
		got, err := client.JWTBearer(t.Context(), raw, rp.GrantRequest{Scopes: []string{"pay"}, Resources: []string{"https://bank.example/"}})
		if err != nil {
			t.Fatal(err)
		}
		claims := payload(t, got.OAuth2.AccessToken)
		if claims["sub"] != "alice" || claims["aud"] != "https://bank.example/" || claims["client_id"] != "web" || fmt.Sprint(got.Scope) != "[pay]" || got.IDToken != nil {
			t.Errorf("%v, %v", got, claims)
		}
		if _, err := client.JWTBearer(t.Context(), sign(func(a *rp.Assertion) { a.Audience = "https://op.example/token" }), rp.GrantRequest{}); err != nil {
			t.Errorf("for the token endpoint: %v", err)
		}

		stranger, _, err := newSigner()
		if err != nil {
			t.Fatal(err)
		}
		forged, err := good.Sign(stranger)
		if err != nil {
			t.Fatal(err)
		}
		for reason, bad := range map[string]string{
			"signed by another key": forged,
			"nobody who is trusted": sign(func(a *rp.Assertion) { a.Issuer = "https://else.example" }),
			"another audience":      sign(func(a *rp.Assertion) { a.Audience = "https://op.example/" }),
			"subject is unknown":    sign(func(a *rp.Assertion) { a.Subject = "mallory" }),
			"no JWT":                "marked",
		} {
			_, err := client.JWTBearer(t.Context(), bad, rp.GrantRequest{})
			var refused *rp.ProviderError
			if !errors.As(err, &refused) || refused.Code != "invalid_grant" || !strings.Contains(refused.Description, reason) || strings.Contains(err.Error(), bad) {
				t.Errorf("%v, want %q", err, reason)
			}
		}
		time.Sleep(time.Minute)
		if _, err := client.JWTBearer(t.Context(), raw, rp.GrantRequest{}); !rp.IsInvalidGrant(err) || !strings.Contains(err.Error(), "has expired") {
			t.Errorf("a minute later: %v", err)
		}
	})
}

func TestAssertionIsSignedAnewEachTime(t *testing.T) {
	signer, key, err := newSigner()
	if err != nil {
		t.Fatal(err)
	}
	a := rp.Assertion{Issuer: "i", Subject: "s", Audience: "a", Lifetime: 90*time.Second + time.Millisecond, Claims: map[string]any{"email": "x@example.com"}}
	seen := map[any]bool{}
	for range 3 {
		raw, err := a.Sign(signer)
		if err != nil {
			t.Fatal(err)
		}
		jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := jws.Verify(key.Public()); err != nil || jws.Signatures[0].Header.KeyID != "payroll-1" {
			t.Errorf("kid %q, %v", jws.Signatures[0].Header.KeyID, err)
		}
		m := payload(t, raw)
		seen[m["jti"]] = true
		if m["iss"] != "i" || m["sub"] != "s" || m["aud"] != "a" || m["email"] != "x@example.com" || m["exp"].(float64)-m["iat"].(float64) != 90 || len(m) != 7 {
			t.Errorf("%v", m)
		}
	}
	if len(seen) != 3 || len(a.Claims) != 1 {
		t.Errorf("%d different jti; the caller's claims are now %v", len(seen), a.Claims)
	}
}

func TestAssertionRefusesToSayNonsense(t *testing.T) {
	signer, _, err := newSigner()
	if err != nil {
		t.Fatal(err)
	}
	good := rp.Assertion{Issuer: "i", Subject: "s", Audience: "a", Lifetime: time.Hour}
	if _, err := good.Sign(signer); err != nil {
		t.Fatal(err)
	}
	for reason, change := range map[string]func(*rp.Assertion){
		"needs Issuer, Subject and Audience": func(a *rp.Assertion) { a.Issuer = "" },
		"Issuer, Subject and Audience":       func(a *rp.Assertion) { a.Subject = "" },
		"Subject and Audience":               func(a *rp.Assertion) { a.Audience = "" },
		"Lifetime is 1h0m1s":                 func(a *rp.Assertion) { a.Lifetime = time.Hour + time.Second },
		"Lifetime is -1s":                    func(a *rp.Assertion) { a.Lifetime = -time.Second },
		"Lifetime is 1ms":                    func(a *rp.Assertion) { a.Lifetime = time.Millisecond },
		"must not set exp":                   func(a *rp.Assertion) { a.Claims = map[string]any{"exp": 1} },
		"must not set aud":                   func(a *rp.Assertion) { a.Claims = map[string]any{"aud": nil} },
		"no JSON":                            func(a *rp.Assertion) { a.Claims = map[string]any{"x": func() {}} },
	} {
		a := good
		change(&a)
		if raw, err := a.Sign(signer); err == nil || raw != "" || !strings.Contains(err.Error(), reason) {
			t.Errorf("%v, want %q", err, reason)
		}
	}
	if _, err := good.Sign(nil); err == nil || !strings.Contains(err.Error(), "needs a signer") {
		t.Errorf("no signer: %v", err)
	}
}

func TestBearerGrantsRefuseABadRequestBeforeItIsSent(t *testing.T) {
	p := newOP()
	c := p.client(t)
	for reason, f := range map[string]func() (*rp.Tokens, error){
		"the assertion is empty":   func() (*rp.Tokens, error) { return c.JWTBearer(t.Context(), "", rp.GrantRequest{}) },
		"assertion is empty":       func() (*rp.Tokens, error) { return c.SAMLBearer(t.Context(), nil, rp.GrantRequest{}) },
		`GrantRequest.Type is "x"`: func() (*rp.Tokens, error) { return c.JWTBearer(t.Context(), "a", rp.GrantRequest{Type: "x"}) },
		"must not set assertion": func() (*rp.Tokens, error) {
			return c.JWTBearer(t.Context(), "a", rp.GrantRequest{Params: url.Values{"assertion": {"b"}}})
		},
		"must not set scope": func() (*rp.Tokens, error) {
			return c.SAMLBearer(t.Context(), []byte("a"), rp.GrantRequest{Params: url.Values{"scope": {"b"}}})
		},
		"needs a name and a":        func() (*rp.Tokens, error) { return c.DeprecatedPassword(t.Context(), "", "x") },
		"needs a name and a passwo": func() (*rp.Tokens, error) { return c.DeprecatedPassword(t.Context(), "x", "") },
	} {
		if _, err := f(); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%v, want %q", err, reason)
		}
	}
	if len(p.sent) != 0 {
		t.Errorf("%d requests were sent", len(p.sent))
	}
}

func TestSAMLBearerSendsTheXMLInBase64URL(t *testing.T) {
	p := newOP()
	p.answer = func(*http.Request, url.Values) *http.Response {
		return replyJSON(200, map[string]any{"access_token": "a", "token_type": "Bearer"})
	}
	g := rp.GrantRequest{Scopes: []string{"x"}, Params: url.Values{"more": {"y"}}}
	got, err := p.client(t).SAMLBearer(t.Context(), []byte("<a>\xfb\xff~?</a>"), g)
	want := url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:saml2-bearer"}, "assertion": {b64([]byte("<a>\xfb\xff~?</a>"))}, "scope": {"x"}, "more": {"y"},
	}
	if sent := p.last().form; err != nil || sent.Encode() != want.Encode() || strings.ContainsAny(sent.Get("assertion"), "+/=\n") || fmt.Sprint(got.Scope) != "[x]" {
		t.Errorf("sent %v, %v", sent, err)
	}
	if len(g.Params) != 1 || g.Type != "" {
		t.Errorf("the caller's request is now %v with %v", g, g.Params)
	}
}

// workload is a client without a secret, whose platform vouches for it.
func workload(t *testing.T, audience string) (op, platform *rptest.Provider, path string, client *rp.Client) {
	t.Helper()
	platform, err := rptest.New(rptest.Options{Issuer: "https://kubernetes.default.svc", SigningAlg: "ES256"})
	if err != nil {
		t.Fatal(err)
	}
	op, err = rptest.New(rptest.Options{Issuer: "https://op.example", SigningAlg: "ES256", Clients: []rptest.Client{{ID: "reports", Federated: []rptest.FederatedCredential{{
		Issuer: platform.Issuer(), Subject: "system:serviceaccount:shop:reports", Audience: audience, Keys: []crypto.PublicKey{platform.PublicKey()},
	}}}}})
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "token")
	client, err = rp.New(rp.Config{Issuer: op.Issuer(), ClientID: "reports", HTTPClient: op.Client(), Auth: clientauth.AssertionFile(path)})
	if err != nil {
		t.Fatal(err)
	}
	return op, platform, path, client
}

// project writes a token for the client, as the platform does.
func project(t *testing.T, platform *rptest.Provider, path string, life time.Duration, change func(map[string]any)) {
	t.Helper()
	now := time.Now()
	claims := map[string]any{
		"iss": platform.Issuer(), "sub": "system:serviceaccount:shop:reports", "aud": []string{"https://op.example"}, "iat": now.Unix(), "exp": now.Add(life).Unix(),
	}
	change(claims)
	if err := os.WriteFile(path, []byte(platform.Sign(claims)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAWorkloadNeedsNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		op, platform, path, client := workload(t, "")
		if _, err := client.Grant(t.Context(), rp.GrantRequest{Type: "client_credentials"}); err == nil || !strings.Contains(err.Error(), "assertion file "+path) || op.Hits(rptest.Token) != 0 {
			t.Errorf("before the platform has written the file: %v", err)
		}
		project(t, platform, path, time.Hour, func(map[string]any) {})
		for range 2 { // one token for many requests
			if _, err := client.Grant(t.Context(), rp.GrantRequest{Type: "client_credentials", Scopes: []string{"read"}}); err != nil {
				t.Fatal(err)
			}
		}
		// At every endpoint that asks who is there.
		if err := client.Revoke(t.Context(), "x", ""); err != nil {
			t.Errorf("revocation: %v", err)
		}
		time.Sleep(time.Hour - 30*time.Second)
		project(t, platform, path, time.Hour, func(map[string]any) {})
		time.Sleep(time.Minute)
		if _, err := client.Grant(t.Context(), rp.GrantRequest{Type: "client_credentials"}); err != nil {
			t.Errorf("after the renewal: %v", err)
		}
		for reason, change := range map[string]func(map[string]any){
			"this provider alone":   func(c map[string]any) { c["aud"] = []string{"https://op.example", "https://else.example"} },
			"provider alone":        func(c map[string]any) { c["aud"] = "https://op.example/token" },
			"nobody who is trusted": func(c map[string]any) { c["sub"] = "system:serviceaccount:shop:other" },
			"of the future":         func(c map[string]any) { c["nbf"] = time.Now().Add(time.Minute).Unix() },
		} {
			project(t, platform, path, time.Hour, change)
			_, err := client.Grant(t.Context(), rp.GrantRequest{Type: "client_credentials"})
			var refused *rp.ProviderError
			if !errors.As(err, &refused) || refused.Code != "invalid_client" || refused.Status != 401 || !strings.Contains(refused.Description, reason) {
				t.Errorf("%v, want %q", err, reason)
			}
			raw, _ := os.ReadFile(path)
			if strings.Contains(printed(err), strings.TrimSpace(string(raw))) {
				t.Errorf("the token is in %v", err)
			}
		}
	})
}

func TestAssertionsThatAClientSignsAreTakenOnce(t *testing.T) {
	signer, key, err := newSigner()
	if err != nil {
		t.Fatal(err)
	}
	op, err := rptest.New(rptest.Options{Issuer: "https://op.example", SigningAlg: "ES256", Clients: []rptest.Client{{ID: "batch", Federated: []rptest.FederatedCredential{{
		Issuer: "batch", Subject: "batch", Keys: []crypto.PublicKey{key.Public()},
	}}}}})
	if err != nil {
		t.Fatal(err)
	}
	a := rp.Assertion{Issuer: "batch", Subject: "batch", Audience: op.Issuer()}
	once, err := a.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		source func(context.Context) (string, error)
		second bool
	}{
		"signed anew": {func(context.Context) (string, error) { return a.Sign(signer) }, true},
		"kept":        {func(context.Context) (string, error) { return once, nil }, false},
	} {
		client, err := rp.New(rp.Config{Issuer: op.Issuer(), ClientID: "batch", HTTPClient: op.Client(), Auth: clientauth.Assertion(x.source)})
		if err != nil {
			t.Fatal(err)
		}
		for n := range 2 {
			_, err := client.Grant(t.Context(), rp.GrantRequest{Type: "client_credentials"})
			if good := n == 0 || x.second; good != (err == nil) || err != nil && !strings.Contains(err.Error(), "used before") {
				t.Errorf("%s, request %d: %v", name, n+1, err)
			}
		}
	}
}

// A service with a key of its own acts for a user: it signs who, the provider trusts its key.
func ExampleClient_JWTBearer() {
	signer, key, err := newSigner() // jose.NewSigner, with the key from where you keep it
	if err != nil {
		fmt.Println(err)
		return
	}
	op, err := rptest.New(rptest.Options{
		Issuer:         "https://op.example",
		TrustedIssuers: []rptest.TrustedIssuer{{Issuer: "https://payroll.example", Keys: []crypto.PublicKey{key.Public()}}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := rp.New(rp.Config{Issuer: op.Issuer(), ClientID: op.ClientID(), ClientSecret: op.ClientSecret(), HTTPClient: op.Client()})
	if err != nil {
		fmt.Println(err)
		return
	}
	assertion, err := rp.Assertion{Issuer: "https://payroll.example", Subject: "alice", Audience: op.Issuer()}.Sign(signer)
	if err != nil {
		fmt.Println(err)
		return
	}
	tokens, err := client.JWTBearer(context.Background(), assertion, rp.GrantRequest{Scopes: []string{"salary.read"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(tokens.Scope)
	// Output: [salary.read]
}

// Microsoft Entra's on-behalf-of: an API trades the access token of the request it serves for one to the next API.
func ExampleClient_JWTBearer_onBehalfOf() {
	op, err := rptest.New(rptest.Options{
		Issuer: "https://op.example", JWTAccessTokens: true, Audience: "orders-api", AllowPassword: true,
		Clients: []rptest.Client{{ID: "orders-api", Secret: "secret"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := rp.New(rp.Config{Issuer: op.Issuer(), ClientID: "orders-api", ClientSecret: "secret", HTTPClient: op.Client()})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	incoming, err := userToken(ctx, client) // bearer.Verifier has accepted it
	if err != nil {
		fmt.Println(err)
		return
	}
	tokens, err := client.JWTBearer(ctx, incoming, rp.GrantRequest{
		Scopes: []string{"https://graph.microsoft.com/User.Read"},
		Params: url.Values{"requested_token_use": {"on_behalf_of"}},
	})
	if err != nil {
		fmt.Println(err) // *rp.ProviderError with Code interaction_required: the user must consent, or authenticate better
		return
	}
	fmt.Println(tokens.Scope)
	// Output: [https://graph.microsoft.com/User.Read]
}

func ExampleClient_SAMLBearer() {
	op, err := rptest.New(rptest.Options{Issuer: "https://op.example", SAMLAssertion: func([]byte) (string, error) { return "alice", nil }})
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := rp.New(rp.Config{Issuer: op.Issuer(), ClientID: op.ClientID(), ClientSecret: op.ClientSecret(), HTTPClient: op.Client()})
	if err != nil {
		fmt.Println(err)
		return
	}
	assertion := []byte(`<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">...</saml:Assertion>`) // signed, as it came
	tokens, err := client.SAMLBearer(context.Background(), assertion, rp.GrantRequest{Scopes: []string{"orders"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(tokens.Scope)
	// Output: [orders]
}

// A pod of Kubernetes: the provider trusts the cluster's issuer for this client, and nothing needs a secret.
func ExampleAssertion_workload() {
	cluster, err := rptest.New(rptest.Options{Issuer: "https://kubernetes.default.svc"})
	if err != nil {
		fmt.Println(err)
		return
	}
	const account = "system:serviceaccount:shop:reports"
	op, err := rptest.New(rptest.Options{Issuer: "https://op.example", Clients: []rptest.Client{{ID: "reports", Federated: []rptest.FederatedCredential{
		{Issuer: cluster.Issuer(), Subject: account, Keys: []crypto.PublicKey{cluster.PublicKey()}},
	}}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	path := filepath.Join(os.TempDir(), fmt.Sprint("latchkey-example-", os.Getpid())) // the kubelet writes /var/run/secrets/tokens/op
	token := cluster.Sign(map[string]any{"iss": cluster.Issuer(), "sub": account, "aud": op.Issuer(), "exp": time.Now().Add(time.Hour).Unix()})
	if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	defer os.Remove(path)

	client, err := rp.New(rp.Config{Issuer: op.Issuer(), ClientID: "reports", HTTPClient: op.Client(), Auth: clientauth.AssertionFile(path)})
	if err != nil {
		fmt.Println(err)
		return
	}
	access, err := client.ClientCredentials(context.Background(), "reports.write").Token()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(access.TokenType)
	// Output: Bearer
}
