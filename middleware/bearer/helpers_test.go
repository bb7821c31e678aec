package bearer_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/middleware/bearer"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

const audience = "https://api.example"

// fixture is an API before a provider.
type fixture struct {
	t   testing.TB
	op  *rptest.Provider
	api *bearer.Verifier
}

func setUp(t testing.TB, change ...func(*bearer.Config)) *fixture {
	t.Helper()
	op := rptest.Start(t, rptest.Options{SigningAlg: "ES256", JWTAccessTokens: true, Audience: audience})
	f := &fixture{t: t, op: op}
	f.api = f.verifier(change...)
	return f
}

func (f *fixture) verifier(change ...func(*bearer.Config)) *bearer.Verifier {
	f.t.Helper()
	cfg := bearer.Config{Issuer: f.op.Issuer(), Audience: audience, InsecureLoopbackHTTP: true}
	for _, c := range change {
		c(&cfg)
	}
	v, err := bearer.New(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	return v
}

// claims of a good token of RFC 9068, with changes: pairs of names and values, nil for none.
func (f *fixture) claims(changes ...any) map[string]any {
	now := time.Now().Unix()
	c := map[string]any{
		"iss": f.op.Issuer(), "aud": audience, "sub": "alice", "client_id": "shop", "jti": "id-1", "iat": now, "exp": now + 300, "scope": "orders:read orders:list",
	}
	for i := 0; i < len(changes); i += 2 {
		if name := fmt.Sprint(changes[i]); changes[i+1] == nil {
			delete(c, name)
		} else {
			c[name] = changes[i+1]
		}
	}
	return c
}

func (f *fixture) token(changes ...any) string {
	return f.op.Sign(maps.Clone(f.claims(changes...)), "typ", "at+jwt")
}

// get asks h with headers: pairs of names and values.
func get(h http.Handler, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/orders", nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return serve(h, r)
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// reached is a handler that says who came.
var reached = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	who := "nobody"
	if t := bearer.FromContext(r.Context()); t != nil {
		who = t.Subject
	}
	fmt.Fprint(w, "reached by ", who)
})

// checkOf is the check that refused a token, "" for none.
func checkOf(err error) string {
	if e, ok := errors.AsType[*bearer.TokenError](err); ok {
		return e.Check
	}
	if err != nil {
		return err.Error()
	}
	return ""
}
