package bearer_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/latchkey-go/latchkey/middleware/bearer"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

// exampleProvider signs an access token for alice with the scope reports.read.
func exampleProvider() (op *rptest.Provider, token string) {
	op, err := rptest.New(rptest.Options{Issuer: "https://login.example", SigningAlg: "ES256"})
	if err != nil {
		panic(err)
	}
	now := time.Now().Unix()
	return op, op.Sign(map[string]any{
		"iss": op.Issuer(), "aud": "https://api.example", "sub": "alice", "client_id": "shop", "jti": "1", "iat": now, "exp": now + 300, "scope": "reports.read",
	}, "typ", "at+jwt")
}

func Example() {
	op, token := exampleProvider()
	api, err := bearer.New(bearer.Config{
		Issuer:     op.Issuer(),
		Audience:   "https://api.example",
		HTTPClient: op.Client(), // a real provider needs none
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	reports := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "reports for", bearer.FromContext(r.Context()).Subject)
	})
	mux := http.NewServeMux()
	mux.Handle("GET /reports", api.Handler(reports, "reports.read"))

	for _, authorization := range []string{"Bearer " + token, ""} {
		r := httptest.NewRequest("GET", "/reports", nil)
		r.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Printf("%d %q\n", w.Code, w.Header().Get("WWW-Authenticate"))
	}
	// Output:
	// 200 ""
	// 401 "Bearer realm=\"https://api.example\", scope=\"reports.read\""
}

func ExampleVerifier_Verify() {
	op, token := exampleProvider()
	api, err := bearer.New(bearer.Config{Issuer: op.Issuer(), Audience: "https://api.example", HTTPClient: op.Client()})
	if err != nil {
		fmt.Println(err)
		return
	}
	verified, err := api.Verify(context.Background(), token)
	if err == nil {
		err = bearer.Authorize(verified, bearer.Scopes("reports.write"))
	}
	fmt.Println(verified.Subject, verified.Scopes)
	fmt.Println(err)
	fmt.Println(api.Failure(err).Status)
	// Output:
	// alice [reports.read]
	// bearer: the token lacks a scope that this needs
	// 403
}

// A deny list ends tokens before their time: here, all of a session that was logged out.
func ExampleConfig_revoked() {
	op, token := exampleProvider()
	var denied sync.Map
	api, err := bearer.New(bearer.Config{
		Issuer: op.Issuer(), Audience: "https://api.example", HTTPClient: op.Client(),
		Revoked: func(_ context.Context, t *bearer.Token) (bool, error) {
			_, found := denied.Load(t.ID)
			return found, nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = api.Verify(context.Background(), token)
	fmt.Println(err)
	denied.Store("1", true)
	_, err = api.Verify(context.Background(), token)
	fmt.Println(err)
	// Output:
	// <nil>
	// bearer: token refused by its revoked: want a token that still counts, got one that was revoked
}

func ExampleKeycloak() {
	_, err := bearer.New(bearer.Config{
		Issuer:   "https://login.example/realms/shop",
		Audience: "https://api.example", // which an audience mapper puts into aud
		Profile:  bearer.Keycloak(),
	})
	editors := bearer.Role([]string{"realm_access", "roles"}, "editor")
	token := &bearer.Token{}
	fmt.Println(err, bearer.Authorize(token, editors))
	// Output: <nil> bearer: the token's owner has no role that allows this
}
