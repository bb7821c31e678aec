package bearer_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/latchkey-go/latchkey/middleware/bearer"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

func TestAGoodTokenReachesTheHandler(t *testing.T) {
	op := rptest.Start(t, rptest.Options{JWTAccessTokens: true, Audience: "https://api.example"})
	api, err := bearer.New(bearer.Config{Issuer: op.Issuer(), Audience: "https://api.example", InsecureLoopbackHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	var seen *bearer.Token
	h := api.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen = bearer.FromContext(r.Context()) }), "read")
	for i := range 2 {
		r := httptest.NewRequest("GET", "/", nil)
		raw := op.Sign(map[string]any{"iss": op.Issuer(), "aud": "https://api.example", "sub": "alice", "client_id": "c", "jti": "1", "iat": now(), "exp": now() + 60, "scope": "read write"}, "typ", "at+jwt")
		r.Header.Set("Authorization", "Bearer "+raw)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 200 || seen == nil || seen.Subject != "alice" {
			t.Fatalf("%d: %d %s %v %v", i, w.Code, w.Body, seen, w.Header())
		}
	}
	t.Log(api.Stats())
}
