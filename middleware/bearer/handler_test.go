package bearer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/middleware/bearer"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

func TestAGoodTokenReachesTheHandlerWithItsClaims(t *testing.T) {
	f := setUp(t)
	authTime := time.Now().Add(-time.Minute).Truncate(time.Second)
	raw := f.token("acr", "gold", "amr", []string{"pwd", "otp"}, "sid", "s1", "auth_time", authTime.Unix(), "aud", []string{"other", audience}, "plan", map[string]any{"name": "pro", "limits": []any{"a", 1, "b"}})
	var seen *bearer.Token
	h := f.api.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = bearer.FromContext(r.Context()) }), "orders:read", "orders:list")
	if w := get(h, "Authorization", "Bearer "+raw); w.Code != http.StatusOK || seen == nil {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if seen.Issuer != f.op.Issuer() || seen.Subject != "alice" || seen.ClientID != "shop" || seen.ID != "id-1" || seen.SessionID != "s1" || seen.ACR != "gold" || seen.Introspected ||
		fmt.Sprint(seen.Audience, seen.Scopes, seen.AMR) != "[other https://api.example] [orders:read orders:list] [pwd otp]" || !seen.AuthTime.Equal(authTime) || !seen.Expiry.After(seen.IssuedAt) {
		t.Errorf("token %+v", *seen)
	}
	var plan struct {
		Plan struct{ Name string } `json:"plan"`
	}
	var name string
	if err := seen.Decode(&plan); err != nil || plan.Plan.Name != "pro" {
		t.Errorf("Decode: %v %+v", err, plan)
	}
	if err := seen.Claim(&name, "plan", "name"); err != nil || name != "pro" {
		t.Errorf("Claim: %v %q", err, name)
	}
	var number int
	if err := seen.Claim(&number, "plan", "name"); err == nil || strings.Contains(err.Error(), "pro") {
		t.Errorf("a claim of another type: %v", err)
	}
	if err := seen.Claim(&name, "plan", "price"); err == nil {
		t.Error("a claim that is not there is no error")
	}
	if got := fmt.Sprint(seen.Strings("plan", "limits"), seen.Strings("sub"), seen.Strings("plan"), seen.Strings("none"), seen.Text("plan", "name"), seen.Text("plan"), seen.Text("exp")); got != "[a b] [alice] [] []pro" {
		t.Errorf("Strings and Text: %q", got)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", seen, *seen, seen, seen); strings.Contains(text, "alice") || strings.Contains(text, "pro") || !strings.Contains(text, "shop") {
		t.Errorf("printed: %s", text)
	}
}

// Each row is a request, what it is answered, and its challenge less the realm.
func TestEachRequestIsAnsweredAsTheSpecificationsSay(t *testing.T) {
	f := setUp(t, func(c *bearer.Config) { c.Resource = &bearer.Resource{Resource: audience} })
	const meta = `, resource_metadata="https://api.example/.well-known/oauth-protected-resource"`
	h := f.api.Handler(reached, "orders:read", "orders:list")
	good, weak := f.token(), f.token("scope", "orders:list")
	description := func(code, text string) string {
		return fmt.Sprintf(`, error=%q, error_description=%q`, code, text)
	}
	for _, c := range []struct {
		name      string
		headers   []string
		status    int
		kind      string
		challenge string
	}{
		{"good", []string{"Authorization", "Bearer " + good}, 200, "", ""},
		{"scheme in capitals", []string{"Authorization", "BEARER " + good}, 200, "", ""},
		{"scheme in small letters", []string{"Authorization", "bearer  " + good}, 200, "", ""},
		{"none", nil, 401, "token-required", `, scope="orders:read orders:list"` + meta},
		{"another scheme", []string{"Authorization", "Basic YTpi"}, 401, "token-required", `, scope="orders:read orders:list"` + meta},
		{"DPoP", []string{"Authorization", "DPoP " + good}, 401, "token-required", `, scope="orders:read orders:list"` + meta},
		{"the scheme's name alone", []string{"Authorization", "Bearer"}, 400, "malformed", description("invalid_request", "The Authorization header has no token.") + meta},
		{"two tokens in a header", []string{"Authorization", "Bearer " + good + ", Bearer " + good}, 400, "malformed", description("invalid_request", "The Authorization header holds something else than one token.") + meta},
		{"bearer twice", []string{"Authorization", "Bearer Bearer " + good}, 400, "malformed", description("invalid_request", "The Authorization header holds something else than one token.") + meta},
		{"two headers", []string{"Authorization", "Bearer " + good, "Authorization", "Bearer " + good}, 400, "malformed", description("invalid_request", "More than one Authorization header.") + meta},
		{"quotes and control characters", []string{"Authorization", "Bearer a\"b\x01"}, 400, "malformed", description("invalid_request", "The Authorization header holds something else than one token.") + meta},
		{"too long", []string{"Authorization", "Bearer " + strings.Repeat("a", 17<<10)}, 400, "malformed", description("invalid_request", "The token is longer than 16 KiB.") + meta},
		{"opaque", []string{"Authorization", "Bearer nonsense"}, 401, "invalid-token", description("invalid_token", "The token's form is not accepted.") + meta},
		{"expired", []string{"Authorization", "Bearer " + f.token("exp", 1)}, 401, "invalid-token", description("invalid_token", "The token has expired.") + meta},
		{"another audience", []string{"Authorization", "Bearer " + f.token("aud", "https://other.example")}, 401, "invalid-token", description("invalid_token", "The token is for another audience.") + meta},
		{"one scope of two", []string{"Authorization", "Bearer " + weak}, 403, "insufficient-scope", description("insufficient_scope", "The token lacks a scope that this needs.") + `, scope="orders:read orders:list"` + meta},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := get(h, c.headers...)
			if w.Code != c.status {
				t.Fatalf("%d %s, want %d", w.Code, w.Body, c.status)
			}
			if c.status == 200 {
				if w.Body.String() != "reached by alice" || len(w.Header()["Www-Authenticate"]) != 0 {
					t.Errorf("%s %v", w.Body, w.Header())
				}
				return
			}
			if got, want := w.Header().Get("WWW-Authenticate"), `Bearer realm="https://api.example"`+c.challenge; got != want {
				t.Errorf("challenge\n%s, want\n%s", got, want)
			}
			var p struct {
				Type, Title, Detail string
				Status              int
			}
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != c.status || !strings.HasSuffix(p.Type, "#"+c.kind) || p.Title == "" || p.Detail == "" {
				t.Errorf("problem %s (%v)", w.Body, err)
			}
			if w.Header().Get("Content-Type") != "application/problem+json" || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("header %v", w.Header())
			}
		})
	}
}

func TestATokenInTheQueryNeverCountsAndBesideAnotherIsRefused(t *testing.T) {
	f := setUp(t)
	h := f.api.Handler(reached)
	raw := f.token()
	for _, c := range []struct {
		query, header string
		status        int
	}{
		{"", "Bearer " + raw, 200},
		{"?access_tokens=x&token=y", "Bearer " + raw, 200},
		{"?access_token=" + raw, "", 401},
		{"?access_token=" + raw, "Bearer " + raw, 400},
		{"?access%5ftoken=" + raw, "Bearer " + raw, 200}, // nobody reads it here, and few read it at all
		{"?x=access_token%zz", "Bearer " + raw, 400},
	} {
		r := httptest.NewRequest("GET", "/orders"+c.query, nil)
		if c.header != "" {
			r.Header.Set("Authorization", c.header)
		}
		if w := serve(h, r); w.Code != c.status {
			t.Errorf("query %.20q, header %.10q: %d, want %d", c.query, c.header, w.Code, c.status)
		}
	}
}

func TestATokenInTheFormCountsWhereItIsAskedFor(t *testing.T) {
	f := setUp(t)
	allowed := f.verifier(func(c *bearer.Config) { c.FormBody = true })
	raw := f.token()
	form := func(pairs ...string) string {
		v := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			v.Add(pairs[i], pairs[i+1])
		}
		return v.Encode()
	}
	const urlencoded = "application/x-www-form-urlencoded; charset=utf-8"
	for _, c := range []struct {
		name, method, contentType, body, header string
		api                                     *bearer.Verifier
		status                                  int
	}{
		{"asked for", "POST", urlencoded, form("access_token", raw, "item", "key"), "", allowed, 200},
		{"not asked for", "POST", urlencoded, form("access_token", raw, "item", "key"), "", f.api, 401},
		{"in the header, and not looked for", "POST", urlencoded, form("access_token", raw, "item", "key"), "Bearer " + raw, f.api, 200},
		{"no token", "POST", urlencoded, form("item", "key"), "", allowed, 401},
		{"twice", "POST", urlencoded, form("access_token", raw, "access_token", raw), "", allowed, 400},
		{"in the header too", "POST", urlencoded, form("access_token", raw), "Bearer " + raw, allowed, 400},
		{"in the header alone", "POST", urlencoded, form("item", "key"), "Bearer " + raw, allowed, 200},
		{"no token's form", "POST", urlencoded, form("access_token", "a b"), "", allowed, 400},
		{"a broken form", "POST", urlencoded, "access_token=%zz", "", allowed, 400},
		{"too long", "POST", urlencoded, form("access_token", raw, "item", strings.Repeat("x", 1<<20)), "", allowed, 400},
		{"JSON", "POST", "application/json", form("access_token", raw), "", allowed, 401},
		{"multipart", "POST", "multipart/form-data; boundary=x", form("access_token", raw), "", allowed, 401},
		{"no type", "POST", "", form("access_token", raw), "", allowed, 401},
		{"GET", "GET", urlencoded, form("access_token", raw), "", allowed, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			var body []byte
			h := c.api.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { body, _ = io.ReadAll(r.Body) }))
			r := httptest.NewRequest(c.method, "/orders", strings.NewReader(c.body))
			r.Header.Set("Content-Type", c.contentType)
			if c.header != "" {
				r.Header.Set("Authorization", c.header)
			}
			if w := serve(h, r); w.Code != c.status {
				t.Fatalf("%d %s, want %d", w.Code, w.Body, c.status)
			}
			if c.status == 200 && string(body) != c.body {
				t.Errorf("the handler reads %q of %q", body, c.body)
			}
		})
	}
}

func TestPreflightsPassWhereTheyAreToldTo(t *testing.T) {
	f := setUp(t)
	told := f.verifier(func(c *bearer.Config) { c.Preflight = true })
	request := func(method string, headers ...string) *http.Request {
		r := httptest.NewRequest(method, "/orders", nil)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		return r
	}
	preflight := []string{"Origin", "https://app.example", "Access-Control-Request-Method", "GET"}
	for _, c := range []struct {
		name   string
		api    *bearer.Verifier
		r      *http.Request
		status int
	}{
		{"a preflight", told, request("OPTIONS", preflight...), 200},
		{"a preflight, not told", f.api, request("OPTIONS", preflight...), 401},
		{"a plain OPTIONS", told, request("OPTIONS"), 401},
		{"OPTIONS from another origin", told, request("OPTIONS", "Origin", "https://app.example"), 401},
		{"a GET that looks like one", told, request("GET", preflight...), 401},
		{"with another method", told, request("OPTIONS", append(preflight, "X-HTTP-Method-Override", "DELETE")...), 401},
		{"with content", told, withForm(request("OPTIONS", preflight...)), 401},
		{"with credentials", told, request("OPTIONS", append(preflight, "Authorization", "Bearer x")...), 401},
	} {
		if w := serve(c.api.Handler(reached), c.r); w.Code != c.status {
			t.Errorf("%s: %d, want %d", c.name, w.Code, c.status)
		} else if c.status == 200 && w.Body.String() != "reached by nobody" {
			t.Errorf("%s: %s", c.name, w.Body)
		}
	}
}

func TestOptionalLetsNobodyThroughButNoBadToken(t *testing.T) {
	f := setUp(t)
	h := f.api.Optional(reached, bearer.Scopes("orders:read"))
	for _, c := range []struct {
		header string
		status int
		body   string
	}{
		{"", 200, "reached by nobody"},
		{"Bearer " + f.token(), 200, "reached by alice"},
		{"Basic YTpi", 200, "reached by nobody"},
		{"Bearer nonsense", 401, ""},
		{"Bearer", 400, ""},
		{"Bearer " + f.token("scope", "other"), 403, ""},
	} {
		var headers []string
		if c.header != "" {
			headers = []string{"Authorization", c.header}
		}
		if w := get(h, headers...); w.Code != c.status || c.body != "" && w.Body.String() != c.body {
			t.Errorf("%.20q: %d %s", c.header, w.Code, w.Body)
		}
	}
}

func TestEitherGoesByTheTokenAloneWhenThereIsOne(t *testing.T) {
	f := setUp(t)
	session := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "session") })
	h := bearer.Either(f.api.Handler(reached), session)
	for _, c := range []struct {
		headers []string
		want    string
	}{
		{nil, "session"},
		{[]string{"Cookie", "session=good"}, "session"},
		{[]string{"Authorization", "Basic YTpi"}, "session"},
		{[]string{"Authorization", "Bearer " + f.token()}, "reached by alice"},
		{[]string{"Authorization", "Bearer " + f.token(), "Cookie", "session=good"}, "reached by alice"},
		{[]string{"Authorization", "bearer nonsense", "Cookie", "session=good"}, "401"},
		{[]string{"Authorization", "Bearer", "Cookie", "session=good"}, "400"},
		{[]string{"Authorization", "Basic YTpi", "Authorization", "Bearer nonsense", "Cookie", "session=good"}, "400"},
	} {
		w := get(h, c.headers...)
		if got := w.Body.String(); got != c.want && fmt.Sprint(w.Code) != c.want {
			t.Errorf("%.30q: %d %s, want %s", c.headers, w.Code, got, c.want)
		}
	}
}

func TestAnOutageIs503WithoutChallengeAndSaysNothingAgainstTheToken(t *testing.T) {
	f := setUp(t)
	raw := f.token()
	f.op.Fault(rptest.Discovery, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	})
	w := get(f.api.Handler(reached), "Authorization", "Bearer "+raw)
	if w.Code != 503 || w.Header().Get("Retry-After") != "5" || w.Header().Get("WWW-Authenticate") != "" || !strings.Contains(w.Body.String(), "#unavailable") {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
	if _, err := f.api.Verify(t.Context(), raw); !errors.Is(err, bearer.ErrUnavailable) || errors.Is(err, bearer.ErrInvalidToken) {
		t.Errorf("%v", err)
	}
}

func TestRevokedIsAskedAboutEveryGoodTokenAndNoOther(t *testing.T) {
	asked := 0
	var revoked bool
	var down error
	f := setUp(t, func(c *bearer.Config) {
		c.Revoked = func(_ context.Context, tok *bearer.Token) (bool, error) {
			if asked++; tok.ID != "id-1" || tok.Subject != "alice" {
				t.Errorf("asked about %v", tok)
			}
			return revoked, down
		}
	})
	h := f.api.Handler(reached)
	raw := f.token()
	try := func() int { return get(h, "Authorization", "Bearer "+raw).Code }
	if a, b := try(), try(); a != 200 || b != 200 || asked != 2 || f.api.Stats().Hits != 1 {
		t.Errorf("%d %d after %d questions, %+v", a, b, asked, f.api.Stats())
	}
	revoked = true
	if got := try(); got != 401 {
		t.Errorf("a revoked token in the cache: %d", got)
	}
	if _, err := f.api.Verify(t.Context(), raw); !errors.Is(err, bearer.ErrRevoked) || !errors.Is(err, bearer.ErrInvalidToken) {
		t.Errorf("%v", err)
	}
	revoked, down = false, errors.New("no answer")
	if got := try(); got != 503 {
		t.Errorf("a deny list that is down: %d", got)
	}
	down = nil
	if got := try(); got != 200 {
		t.Errorf("afterwards: %d", got)
	}
	before := asked
	get(h, "Authorization", "Bearer "+f.token("exp", 1))
	if asked != before {
		t.Error("it was asked about a token that is no good")
	}
}

func TestFailedAnswersInPlaceOfTheDefault(t *testing.T) {
	f := setUp(t, func(c *bearer.Config) {
		c.Failed = func(w http.ResponseWriter, _ *http.Request, f *bearer.Failure) {
			w.WriteHeader(f.Status)
			fmt.Fprint(w, f.Kind, " ", f.Code, " ", errors.Is(f.Err, bearer.ErrInvalidToken))
		}
	})
	w := get(f.api.Handler(reached), "Authorization", "Bearer "+f.token("exp", 1))
	if w.Code != 401 || w.Body.String() != "invalid-token invalid_token true" || w.Header().Get("WWW-Authenticate") == "" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
}

func TestNoSecretAndNoForeignTextReachesLogAnswerOrHeader(t *testing.T) {
	var log bytes.Buffer
	f := setUp(t, func(c *bearer.Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	evil := "evil\r\nX-Injected: 1\"marked"
	for _, raw := range []string{
		f.token("iss", evil), f.token("aud", evil), f.token("exp", evil), f.token("client_id", 7, "sub", evil), f.token("cnf", evil), f.token("nonce", evil),
		f.op.Sign(f.claims(), "typ", evil), f.op.Sign(f.claims(), "kid", evil, "typ", "at+jwt"), "marked.marked.marked", "eymarked.marked.marked",
	} {
		w := get(f.api.Handler(reached), "Authorization", "Bearer "+raw)
		answer := w.Body.String() + fmt.Sprint(w.Header())
		if w.Code != 401 || strings.Contains(answer, "marked") || strings.Contains(answer, "evil") || w.Header().Get("X-Injected") != "" {
			t.Errorf("%d %s", w.Code, answer)
		}
		if parts := strings.Split(raw, "."); len(parts[2]) > 20 && strings.Contains(log.String(), parts[2]) {
			t.Error("the signature is in the log")
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 10 {
		t.Errorf("%d lines in the log, want 10:\n%s", n, &log)
	}
}

// withForm gives r a form.
func withForm(r *http.Request) *http.Request {
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader("_method=DELETE")), 14
	return r
}
