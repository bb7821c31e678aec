package interop_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/interop/app"
	"github.com/latchkey-go/latchkey/internal/interop/visitor"
	"github.com/latchkey-go/latchkey/middleware"
	"github.com/latchkey-go/latchkey/middleware/bearer"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

// TestOneRouteServesSessionsAndTokensAndNeverTakesOneForTheOther has real cookies on a real socket.
func TestOneRouteServesSessionsAndTokensAndNeverTakesOneForTheOther(t *testing.T) {
	op := rptest.Start(t, rptest.Options{})
	a := app.Listen(t, false)
	api, err := bearer.New(bearer.Config{Issuer: op.Issuer(), Audience: a.URL, InsecureLoopbackHTTP: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	orders := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, token := session.FromContext(r.Context()), bearer.FromContext(r.Context())
		switch {
		case s != nil && token != nil:
			io.WriteString(w, "both")
		case s != nil:
			io.WriteString(w, "session of "+s.Subject)
		case token != nil:
			io.WriteString(w, "token of "+token.Subject)
		}
	})
	a.Serve(t, app.Options{
		Issuer: op.Issuer(), ClientID: op.ClientID(), Secret: op.ClientSecret(),
		Wrap: func(g *middleware.Guard, _ http.Handler) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("GET /orders", bearer.Either(api.Handler(orders, "orders:read"), g.Require(orders)))
			return g.Handler(mux)
		},
	})
	now := time.Now().Unix()
	serial := 0
	token := func(subject, scope string, changes ...any) string {
		serial++
		claims := map[string]any{
			"iss": op.Issuer(), "aud": a.URL, "sub": subject, "client_id": "robot", "jti": fmt.Sprint(serial), "iat": now, "exp": now + 300, "scope": scope,
		}
		for i := 0; i < len(changes); i += 2 {
			claims[changes[i].(string)] = changes[i+1]
		}
		return op.Sign(claims, "typ", "at+jwt")
	}
	address := a.URL + "/orders"

	t.Run("neither", func(t *testing.T) {
		v := visitor.New(t, nil)
		v.Halt = func(next *url.URL) bool { return strings.HasPrefix(next.String(), op.Issuer()) }
		page := v.Open(address)
		if to := page.Header.Get("Location"); page.Status/100 != 3 || !strings.HasPrefix(to, op.Issuer()) {
			t.Errorf("a navigation answered %d and leads to %q, want the provider", page.Status, to)
		}
		if page := page.Fetch(address); page.Status != http.StatusUnauthorized {
			t.Errorf("a script's request answered %d, want 401", page.Status)
		}
	})

	v := visitor.New(t, nil)
	page := v.Open(address)
	if page.Status != http.StatusOK || page.Body != "session of alice" || page.URL.String() != address {
		t.Fatalf("after the login: %s", page)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	// cookies are what the browser sends with every request of its own, also of a script that adds a token.
	cookies := http.Header{"Accept": {"text/html"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}, "Sec-Fetch-Site": {"same-origin"}}
	var pairs []string
	for _, c := range v.Jar.Cookies(u) {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	cookies.Set("Cookie", strings.Join(pairs, "; "))

	idToken := a.Tape.Grants("authorization_code")[0].JSON("id_token")
	good := token("bob", "orders:read")
	for name, c := range map[string]struct {
		authorization []string
		query         string
		status        int
		says          string // body, or what the challenge says
		withoutCookie int    // the status without a session; zero: the same
	}{
		"no token":                       {status: 200, says: "session of alice", withoutCookie: http.StatusSeeOther},
		"a good token":                   {authorization: []string{"Bearer " + good}, status: 200, says: "token of bob"},
		"a good token in small letters":  {authorization: []string{"bearer " + good}, status: 200, says: "token of bob"},
		"a forged token":                 {authorization: []string{"Bearer " + bent(good)}, status: 401, says: "invalid_token"},
		"a forged token of the user":     {authorization: []string{"Bearer " + bent(token("alice", "orders:read"))}, status: 401, says: "invalid_token"},
		"an expired token":               {authorization: []string{"Bearer " + token("bob", "orders:read", "exp", now-3600)}, status: 401, says: "invalid_token"},
		"another API's token":            {authorization: []string{"Bearer " + token("bob", "orders:read", "aud", "https://other.example")}, status: 401, says: "invalid_token"},
		"the session's own ID token":     {authorization: []string{"Bearer " + idToken}, status: 401, says: "invalid_token"},
		"a token without the scope":      {authorization: []string{"Bearer " + token("bob", "invoices:read")}, status: 403, says: "insufficient_scope"},
		"no token after the scheme":      {authorization: []string{"Bearer"}, status: 400, says: "invalid_request"},
		"two tokens":                     {authorization: []string{"Bearer " + good, "Bearer " + bent(good)}, status: 400, says: "invalid_request"},
		"a token behind another scheme":  {authorization: []string{"Basic YTpi", "Bearer " + bent(good)}, status: 400, says: "invalid_request"},
		"credentials of another scheme":  {authorization: []string{"Basic YTpi"}, status: 200, says: "session of alice", withoutCookie: http.StatusSeeOther},
		"a token in the query, ignored":  {query: "?access_token=" + good, status: 200, says: "session of alice", withoutCookie: http.StatusSeeOther},
		"a forged one in the query also": {query: "?access_token=" + bent(good), status: 200, says: "session of alice", withoutCookie: http.StatusSeeOther},
	} {
		t.Run(name, func(t *testing.T) {
			for _, signedIn := range []bool{true, false} {
				header := cookies.Clone()
				want := c.status
				if !signedIn {
					header.Del("Cookie")
					if c.withoutCookie != 0 {
						want = c.withoutCookie
					}
				}
				header["Authorization"] = c.authorization
				resp, body := bearerGet(t, address+c.query, "", header)
				if resp.StatusCode != want {
					t.Fatalf("signed in %v: answered %d, want %d: %.200s", signedIn, resp.StatusCode, want, body)
				}
				challenge := resp.Header.Get("WWW-Authenticate")
				switch {
				case want == http.StatusOK && string(body) != c.says:
					t.Errorf("signed in %v: %q, want %q", signedIn, body, c.says)
				case want >= 400 && !(strings.HasPrefix(challenge, "Bearer ") && strings.Contains(challenge, `error="`+c.says+`"`)):
					t.Errorf("signed in %v: challenge %q, want Bearer with %s", signedIn, challenge, c.says)
				case want >= 400 && (strings.Contains(string(body), "alice") || len(resp.Cookies()) != 0 || resp.Header.Get("Location") != ""):
					t.Errorf("signed in %v: the refusal has to do with the session: %v %.200s", signedIn, resp.Header, body)
				}
			}
		})
	}

	if page := v.Open(address); page.Body != "session of alice" || len(v.Hops) != 1 {
		t.Errorf("the session did not outlive it: %s", page)
	}
}

// bent is a token with another signature.
func bent(raw string) string {
	b := []byte(raw)
	i := len(b) - 20
	b[i] = map[bool]byte{true: 'B', false: 'A'}[b[i] == 'A']
	return string(b)
}
