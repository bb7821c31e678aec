package bearer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/middleware/bearer"
	"github.com/latchkey-go/latchkey/rp/clientauth"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

// asking is an API before a provider whose tokens are opaque, over loopback.
func asking(t testing.TB, in bearer.Introspection, change ...func(*bearer.Config)) *fixture {
	t.Helper()
	return asker(t, rptest.Start(t, rptest.Options{SigningAlg: "ES256", Audience: audience}), in, change...)
}

// askingInMemory is asking without a socket, for testing/synctest.
func askingInMemory(t testing.TB, in bearer.Introspection, change ...func(*bearer.Config)) *fixture {
	t.Helper()
	op, err := rptest.New(rptest.Options{Issuer: "https://op.example", SigningAlg: "ES256", Audience: audience})
	if err != nil {
		t.Fatal(err)
	}
	return asker(t, op, in, change...)
}

func asker(t testing.TB, op *rptest.Provider, in bearer.Introspection, change ...func(*bearer.Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, op: op}
	if in.Auth == nil && in.ClientID == "" {
		in.ClientID, in.ClientSecret = op.ClientID(), op.ClientSecret()
	}
	f.api = f.verifier(append([]func(*bearer.Config){func(c *bearer.Config) {
		c.Introspection, c.Logger = &in, slog.New(slog.DiscardHandler)
		if strings.HasPrefix(op.Issuer(), "https:") {
			c.HTTPClient = op.Client()
		}
	}}, change...)...)
	return f
}

// post sends a form to the provider as its client and returns the answer.
func (f *fixture) post(path string, form url.Values) map[string]any {
	f.t.Helper()
	req, err := http.NewRequest(http.MethodPost, f.op.Issuer()+path, strings.NewReader(form.Encode()))
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(f.op.ClientID(), f.op.ClientSecret())
	resp, err := f.op.Client().Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer map[string]any
	if path != "/revoke" {
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			f.t.Fatal(err)
		}
	}
	if resp.StatusCode != http.StatusOK {
		f.t.Fatalf("%s: %d %v", path, resp.StatusCode, answer)
	}
	return answer
}

// issued is an access token of the provider's.
func (f *fixture) issued() string {
	f.t.Helper()
	token, _ := f.post("/token", url.Values{"grant_type": {"client_credentials"}, "scope": {"orders:read"}})["access_token"].(string)
	return token
}

func (f *fixture) revoke(token string) { f.post("/revoke", url.Values{"token": {token}}) }

func (f *fixture) answers(body string) {
	f.op.Fault(rptest.Introspection, rptest.Status(http.StatusOK, body))
}

func (f *fixture) calls() int { return f.op.Hits(rptest.Introspection) }

func (f *fixture) verify(token string) (*bearer.Token, error) {
	return f.api.Verify(context.Background(), token)
}

func bearerOf(token string) string { return "Bearer " + token }

func TestOpaqueTokensOpenTheAPIAsLongAsTheirIssuerCallsThemActive(t *testing.T) {
	f := asking(t, bearer.Introspection{MaxAge: -1, MaxNegativeAge: -1})
	h := f.api.Handler(reached, "orders:read")
	token := f.issued()
	if w := get(h, "Authorization", bearerOf(token)); w.Code != http.StatusOK || w.Body.String() != "reached by "+f.op.ClientID() {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w := get(f.api.Handler(reached, "orders:write"), "Authorization", bearerOf(token)); w.Code != http.StatusForbidden {
		t.Errorf("a scope that it lacks: %d", w.Code)
	}
	tok, err := f.verify(token)
	if err != nil {
		t.Fatal(err)
	}
	if !tok.Introspected || tok.Issuer != f.op.Issuer() || tok.ClientID != f.op.ClientID() || tok.Audience[0] != audience || !tok.HasScope("orders:read") ||
		tok.Text("token_type") != "Bearer" || time.Until(tok.Expiry) < time.Minute || tok.IssuedAt.IsZero() {
		t.Errorf("read as %v: %+q %+q", tok, tok.Audience, tok.Scopes)
	}
	f.revoke(token)
	w := get(h, "Authorization", bearerOf(token))
	if w.Code != http.StatusUnauthorized || !strings.Contains(w.Header().Get("WWW-Authenticate"), `error="invalid_token"`) {
		t.Errorf("revoked: %d %q", w.Code, w.Header())
	}
	if _, err := f.verify(token); checkOf(err) != "inactive" {
		t.Errorf("revoked: %v", err)
	}
}

func TestTextThatNoBearerTokenCanBeIsNotAskedAbout(t *testing.T) {
	f := asking(t, bearer.Introspection{})
	for _, raw := range []string{"", "two words", "line\nbreak", "quote\"", "=", "ü"} {
		if _, err := f.verify(raw); checkOf(err) != "compact" {
			t.Errorf("%q: %v", raw, err)
		}
	}
	if f.calls() != 0 {
		t.Errorf("%d calls", f.calls())
	}
	if _, err := f.verify("a.b.c.d.e~"); checkOf(err) != "inactive" || f.calls() != 1 {
		t.Errorf("a token of five parts: %v", err)
	}
}

// activeAnswer has everything that RFC 7662 section 2.2 names.
func activeAnswer(f *fixture, changes ...any) string {
	now := time.Now().Unix()
	body, err := json.Marshal(with(map[string]any{
		"active": true, "iss": f.op.Issuer(), "aud": audience, "sub": "alice", "client_id": "shop", "username": "Alice", "scope": "orders:read", "token_type": "Bearer",
		"exp": now + 300, "iat": now, "nbf": now, "jti": "id-1",
	}, changes...))
	if err != nil {
		f.t.Fatal(err)
	}
	return string(body)
}

func TestEachThingAnAnswerSaysIsHeldAgainstThisAPI(t *testing.T) {
	f := asking(t, bearer.Introspection{MaxAge: -1, MaxNegativeAge: -1})
	now := time.Now().Unix()
	for _, c := range []struct {
		name    string
		changes []any
		check   string // that refuses it; "" for none
	}{
		{"everything", nil, ""},
		{"no iss", []any{"iss", nil}, ""},
		{"another iss", []any{"iss", f.op.Issuer() + "/"}, "iss"},
		{"an empty iss", []any{"iss", ""}, "iss"},
		{"two audiences", []any{"aud", []string{"https://other.example", audience}}, ""},
		{"another audience", []any{"aud", "https://other.example"}, "aud"},
		{"no audience", []any{"aud", nil}, "aud"},
		{"an empty list of audiences", []any{"aud", []string{}}, "aud"},
		{"an audience that is a number", []any{"aud", 1}, "aud"},
		{"no exp", []any{"exp", nil}, ""},
		{"ended within the leeway", []any{"exp", now - 50}, ""},
		{"ended", []any{"exp", now - 70}, "exp"},
		{"exp as text", []any{"exp", fmt.Sprint(now + 300)}, "exp"},
		{"nbf within the leeway", []any{"nbf", now + 50}, ""},
		{"nbf to come", []any{"nbf", now + 70}, "nbf"},
		{"iat to come", []any{"iat", now + 70}, "iat"},
		{"no token_type", []any{"token_type", nil}, ""},
		{"token_type in small letters", []any{"token_type", "bearer"}, ""},
		{"token_type DPoP", []any{"token_type", "DPoP"}, "token_type"},
		{"token_type N_A", []any{"token_type", "N_A"}, "token_type"},
		{"token_type a list", []any{"token_type", []string{"Bearer"}}, "token_type"},
		{"token_use access_token", []any{"token_use", "access_token"}, ""},
		{"token_use refresh_token", []any{"token_use", "refresh_token"}, "kind"},
		{"token_use id", []any{"token_use", "id"}, "kind"},
		{"token_usage access", []any{"token_usage", "access"}, ""},
		{"token_usage refresh", []any{"token_usage", "refresh"}, "kind"},
		{"typ Bearer", []any{"typ", "Bearer"}, ""},
		{"typ at+jwt", []any{"typ", "application/at+jwt"}, ""},
		{"typ Refresh", []any{"typ", "Refresh"}, "kind"},
		{"typ ID", []any{"typ", "ID"}, "kind"},
		{"typ a number", []any{"typ", 1}, "kind"},
		{"bound to a key", []any{"cnf", map[string]any{"jkt": "x"}}, "cnf"},
		{"a nonce", []any{"nonce", "n"}, "kind"},
		{"at_hash", []any{"at_hash", "n"}, "kind"},
		{"events", []any{"events", map[string]any{}}, "kind"},
		{"no sub, client_id, jti and iat", []any{"sub", nil, "client_id", nil, "jti", nil, "iat", nil}, ""},
		{"a sub that is a number", []any{"sub", 1}, "sub"},
		{"not active", []any{"active", false}, "inactive"},
	} {
		f.answers(activeAnswer(f, c.changes...))
		tok, err := f.verify("opaque")
		if checkOf(err) != c.check || (err == nil) == (tok == nil) {
			t.Errorf("%s: %v, want %q", c.name, err, c.check)
		}
		if c.check != "" && f.api.Failure(err).Status != http.StatusUnauthorized {
			t.Errorf("%s: status %d", c.name, f.api.Failure(err).Status)
		}
	}
	f.answers(activeAnswer(f, "acr", "gold", "amr", []string{"pwd", "otp"}, "auth_time", now-60, "sid", "s-1"))
	tok, err := f.verify("opaque")
	if err != nil {
		t.Fatal(err)
	}
	if tok.Subject != "alice" || tok.ClientID != "shop" || tok.ID != "id-1" || tok.ACR != "gold" || len(tok.AMR) != 2 || tok.AuthTime.Unix() != now-60 ||
		tok.SessionID != "s-1" || tok.Expiry.Unix() != now+300 || tok.Text("username") != "Alice" {
		t.Errorf("read as %v with %q", tok, tok.Text("username"))
	}
}

func TestNoAudienceAcceptsAnswersWithoutAudienceAndNoForeignOne(t *testing.T) {
	f := asking(t, bearer.Introspection{NoAudience: true, MaxAge: -1, MaxNegativeAge: -1})
	for _, c := range []struct {
		aud   any
		check string
	}{{nil, ""}, {audience, ""}, {"https://other.example", "aud"}, {[]string{}, "aud"}, {"", "aud"}} {
		f.answers(activeAnswer(f, "aud", c.aud))
		if _, err := f.verify("opaque"); checkOf(err) != c.check {
			t.Errorf("aud %v: %v", c.aud, err)
		}
	}
}

func TestTheProfilesNamesAreReadBesideTheRegisteredOnesAndItsMarksAreNotAskedFor(t *testing.T) {
	f := asking(t, bearer.Introspection{MaxAge: -1}, func(c *bearer.Config) {
		c.Profile = bearer.Profile{ClientID: []string{"cid"}, Scope: []string{"scp"}, Marks: map[string]string{"ver": "2.0"}}
	})
	for _, changes := range [][]any{nil, {"client_id", nil, "cid", "shop", "scope", nil, "scp", []string{"orders:read"}}} {
		f.answers(activeAnswer(f, changes...))
		if tok, err := f.verify("opaque"); err != nil || tok.ClientID != "shop" || !tok.HasScope("orders:read") {
			t.Errorf("%v: %v, %v", changes, tok, err)
		}
	}
}

func TestAThousandRequestsWithANewTokenMakeOneCall(t *testing.T) {
	f := asking(t, bearer.Introspection{})
	f.op.Fault(rptest.Introspection, rptest.Late(50*time.Millisecond))
	token, garbage := f.issued(), "garbage"
	var all sync.WaitGroup
	for i := range 1000 {
		all.Go(func() {
			if i%2 == 0 {
				if _, err := f.verify(garbage); checkOf(err) != "inactive" {
					t.Errorf("garbage: %v", err)
				}
				return
			}
			if _, err := f.verify(token); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if f.calls() != 2 {
		t.Errorf("%d calls for two tokens", f.calls())
	}
}

func TestAnAnswerIsUsedUntilMaxAgeOrTheTokensEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := askingInMemory(t, bearer.Introspection{})
		ask := func(after time.Duration, calls int) {
			t.Helper()
			time.Sleep(after)
			if _, err := f.verify("opaque"); err != nil || f.calls() != calls {
				t.Errorf("%d calls, want %d (%v)", f.calls(), calls, err)
			}
		}
		f.answers(activeAnswer(f, "exp", nil))
		ask(0, 1)
		ask(59*time.Second, 1)
		ask(time.Second, 2)
		f.answers(activeAnswer(f, "exp", time.Now().Unix()+80)) // 80 s from here, 20 s from the next call
		ask(time.Minute, 3)
		ask(19*time.Second, 3)
		ask(time.Second, 4) // within the leeway the token is good and its answer is not kept
		ask(10*time.Second, 5)
		time.Sleep(time.Minute)
		if _, err := f.verify("opaque"); checkOf(err) != "exp" {
			t.Errorf("after its end: %v", err)
		}
	})
}

func TestTheCachesOwnMaxAgeBoundsAnswersToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := askingInMemory(t, bearer.Introspection{MaxAge: time.Hour}, func(c *bearer.Config) { c.Cache.MaxAge = 5 * time.Second })
		token := f.issued()
		for i, after := range []time.Duration{0, 4 * time.Second, time.Second} {
			time.Sleep(after)
			if _, err := f.verify(token); err != nil || f.calls() != []int{1, 1, 2}[i] {
				t.Errorf("%d calls (%v)", f.calls(), err)
			}
		}
	})
}

func TestWithoutCacheOrWithNegativeAgesEveryRequestAsks(t *testing.T) {
	for name, change := range map[string]func(*bearer.Config){
		"Cache.Off": func(c *bearer.Config) { c.Cache.Off = true },
		"MaxAge":    func(c *bearer.Config) { c.Introspection.MaxAge, c.Introspection.MaxNegativeAge = -1, -1 },
	} {
		f := asking(t, bearer.Introspection{}, change)
		token := f.issued()
		for i := range 3 {
			if _, err := f.verify(token); err != nil || f.calls() != i+1 {
				t.Errorf("%s: %d calls (%v)", name, f.calls(), err)
			}
		}
		f.revoke(token)
		if _, err := f.verify(token); checkOf(err) != "inactive" {
			t.Errorf("%s: revoked: %v", name, err)
		}
	}
}

func TestARefusalIsKeptForTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := askingInMemory(t, bearer.Introspection{})
		for name, c := range map[string]struct{ answer, check string }{
			"inactive": {`{"active":false}`, "inactive"}, "another audience": {activeAnswer(f, "aud", "https://other.example"), "aud"},
		} {
			f.op.ResetHits()
			f.answers(c.answer)
			for _, after := range []time.Duration{0, 5 * time.Second, 4999 * time.Millisecond} {
				time.Sleep(after)
				if _, err := f.verify(strings.ReplaceAll(name, " ", "-")); checkOf(err) != c.check || f.calls() != 1 {
					t.Errorf("%s: %d calls, %v", name, f.calls(), err)
				}
			}
			f.answers(activeAnswer(f))
			time.Sleep(time.Millisecond)
			if _, err := f.verify(strings.ReplaceAll(name, " ", "-")); err != nil || f.calls() != 2 {
				t.Errorf("%s: %d calls, %v", name, f.calls(), err)
			}
		}
	})
}

func TestGarbageDoesNotPushGoodTokensOut(t *testing.T) {
	f := askingInMemory(t, bearer.Introspection{}, func(c *bearer.Config) { c.Cache.MaxEntries = 16 })
	token := f.issued()
	if _, err := f.verify(token); err != nil {
		t.Fatal(err)
	}
	f.answers(`{"active":false}`)
	for i := range 5000 { // more than are remembered
		if _, err := f.verify(fmt.Sprint("garbage-", i)); checkOf(err) != "inactive" {
			t.Fatal(err)
		}
	}
	calls := f.calls()
	if _, err := f.verify(token); err != nil || f.calls() != calls {
		t.Errorf("%d calls more, %v", f.calls()-calls, err)
	}
	if s := f.api.Stats(); s.Entries != 1 || s.Evicted != 0 {
		t.Errorf("%+v", s)
	}
}

// outages are the ways not to get an answer, with what the error says.
func outages(good string) map[string]struct {
	fault rptest.Fault
	says  string
} {
	return map[string]struct {
		fault rptest.Fault
		says  string
	}{
		"down":                     {rptest.Down, "EOF"},
		"500":                      {rptest.Status(500, "secret-token"), "500"},
		"502 with a page":          {rptest.Status(502, "<html>"), "502"},
		"429":                      {rptest.Status(429, ""), "429"},
		"400":                      {rptest.Status(400, `{"error":"invalid_request"}`), "check Introspection's credentials"},
		"401":                      {rptest.Status(401, `{"error":"invalid_client","error_description":"secret-token"}`), "(invalid_client)"},
		"403":                      {rptest.Status(403, `{"error":"secret-token"}`), "credentials"},
		"404":                      {rptest.Status(404, ""), "404"},
		"201":                      {rptest.Status(201, good), "201"},
		"204":                      {rptest.Status(204, ""), "204"},
		"a redirect":               {rptest.Redirect("https://elsewhere.example/introspect", 307), "not followed"},
		"a web page":               {rptest.HTML, "text/html"},
		"text":                     {rptest.WrongContentType, "text/plain"},
		"no content type":          {rptest.ResponseHeader("Content-Type", ""), `""`},
		"a JWT nobody asked for":   {rptest.ResponseHeader("Content-Type", "application/token-introspection+jwt"), "token-introspection"},
		"no body":                  {rptest.EmptyBody, "json"},
		"half a body":              {rptest.Truncated, "reading"},
		"too long":                 {rptest.Oversized(1 << 20), "too large"},
		"endless":                  {rptest.Oversized(-1), "too large"},
		"a bomb":                   {rptest.Bomb(1 << 20), "too large"},
		"garbage behind":           {rptest.TrailingGarbage, "json"},
		"every member twice":       {rptest.DuplicateKeys, "twice"},
		"too deep":                 {rptest.Deep(100), "nested"},
		"nothing in it":            {rptest.Status(200, "{}"), "active"},
		"no active":                {rptest.WithoutMember("active"), "active"},
		"active as text":           {rptest.WithMember("active", "true"), "active"},
		"active as a number":       {rptest.WithMember("active", 1), "active"},
		"active null":              {rptest.WithMember("active", nil), "active"},
		"active in capitals":       {rptest.Both(rptest.WithMember("ACTIVE", true), rptest.WithoutMember("active")), "case"},
		"active twice by its case": {rptest.WithMember("Active", true), "case"},
	}
}

func TestWhoCanNotBeAskedSaysNothingAgainstAToken(t *testing.T) {
	f := asking(t, bearer.Introspection{MaxNegativeAge: time.Hour})
	const token = "secret-token"
	h := f.api.Handler(reached)
	good := activeAnswer(f)
	for name, c := range outages(good) {
		f.op.Fault(rptest.Introspection, rptest.Both(c.fault, rptest.Status(200, good)))
		w := get(h, "Authorization", bearerOf(token))
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "5" || w.Header().Get("WWW-Authenticate") != "" {
			t.Errorf("%s: %d, %v", name, w.Code, w.Header())
		}
		_, err := f.verify(token)
		if !errors.Is(err, bearer.ErrUnavailable) || errors.Is(err, bearer.ErrInvalidToken) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
		if text := fmt.Sprintf("%v %+v", err, err); strings.Contains(text, token) || strings.Contains(text, f.op.ClientSecret()) {
			t.Errorf("%s: a secret is in %s", name, text)
		}
	}
	f.answers(good)
	if w := get(h, "Authorization", bearerOf(token)); w.Code != http.StatusOK {
		t.Errorf("after the outages: %d", w.Code)
	}
}

func TestRetryAfterIsPassedOnWithinBounds(t *testing.T) {
	f := asking(t, bearer.Introspection{})
	h := f.api.Handler(reached)
	for value, want := range map[string]string{"30": "30", "86400": "300", "soon": "5", "-1": "5", "99999999999999999999": "5", "1": "5"} {
		f.op.Fault(rptest.Introspection, rptest.Both(rptest.ResponseHeader("Retry-After", value), rptest.Status(503, "")))
		if got := get(h, "Authorization", "Bearer opaque").Header().Get("Retry-After"); got != want {
			t.Errorf("%q is passed on as %q, want %q", value, got, want)
		}
	}
	f.op.Fault(rptest.Introspection, rptest.Both(rptest.ResponseHeader("Retry-After", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)), rptest.Status(429, "")))
	if got := get(h, "Authorization", "Bearer opaque").Header().Get("Retry-After"); got != "300" {
		t.Errorf("a date is passed on as %q", got)
	}
}

func TestASilentEndpointIsGivenUpAfterTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := askingInMemory(t, bearer.Introspection{})
		for name, fault := range map[string]rptest.Fault{"silent": rptest.Hang, "a byte a second": rptest.SlowBody(time.Second)} {
			f.op.Fault(rptest.Introspection, fault)
			start := time.Now()
			_, err := f.verify("opaque")
			if !errors.Is(err, bearer.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 10*time.Second {
				t.Errorf("%s: after %s: %v", name, time.Since(start), err)
			}
		}
	})
}

func TestConcurrentRequestsShareAFailedCallAndTheNextOneAsksAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := askingInMemory(t, bearer.Introspection{})
		f.op.Fault(rptest.Introspection, rptest.Both(rptest.Late(time.Second), rptest.Status(500, "")))
		for round := 1; round <= 2; round++ {
			var all sync.WaitGroup
			for range 10 {
				all.Go(func() {
					if _, err := f.verify("opaque"); !errors.Is(err, bearer.ErrUnavailable) {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if f.calls() != round {
				t.Errorf("%d calls in round %d", f.calls(), round)
			}
		}
	})
}

func TestOutagesOfTheMetadataAreOutages(t *testing.T) {
	for name, c := range map[string]struct {
		fault rptest.Fault
		says  string
	}{
		"no document": {rptest.Status(500, ""), "500"},
		"no endpoint": {rptest.WithoutMember("introspection_endpoint"), "set Introspection.Endpoint"},
		"plain http":  {rptest.WithMember("introspection_endpoint", "http://op.example/introspect"), "https"},
	} {
		f := asking(t, bearer.Introspection{})
		f.op.Fault(rptest.Discovery, c.fault)
		_, err := f.verify("opaque")
		if !errors.Is(err, bearer.ErrUnavailable) || !strings.Contains(err.Error(), c.says) || f.calls() != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestACallGoesOnWhenTheRequestThatBeganItLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := askingInMemory(t, bearer.Introspection{})
		token := f.issued()
		f.op.Fault(rptest.Introspection, rptest.Late(time.Second))
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			_, err := f.api.Verify(ctx, token)
			if !errors.Is(err, bearer.ErrUnavailable) || !errors.Is(err, context.Canceled) {
				t.Errorf("who left: %v", err)
			}
		})
		synctest.Wait()
		for range 5 {
			all.Go(func() {
				if _, err := f.verify(token); err != nil {
					t.Errorf("who stayed: %v", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		all.Wait()
		if f.calls() != 1 {
			t.Errorf("%d calls", f.calls())
		}
	})
}

func TestCallsAreBoundedAndSoAreThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := askingInMemory(t, bearer.Introspection{})
		var now, most, good, busy atomic.Int64
		f.op.Fault(rptest.Introspection, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if n := now.Add(1); n > most.Load() {
					most.Store(n)
				}
				defer now.Add(-1)
				time.Sleep(time.Second)
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprint(w, activeAnswer(f))
			})
		})
		if _, err := f.verify("warm"); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		var all sync.WaitGroup
		for i := range 2000 {
			all.Go(func() {
				switch _, err := f.verify(fmt.Sprint("token-", i)); {
				case err == nil:
					good.Add(1)
				case errors.Is(err, bearer.ErrBusy) && f.api.Failure(err).Status == http.StatusServiceUnavailable:
					busy.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if most.Load() > 64 || good.Load() < 600 || good.Load()+busy.Load() != 2000 || time.Since(start) > 12*time.Second {
			t.Errorf("%d at once, %d good, %d busy, %s", most.Load(), good.Load(), busy.Load(), time.Since(start))
		}
		if _, err := f.verify("after"); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestNobodyIsAskedForThoseWhoLeftTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := askingInMemory(t, bearer.Introspection{})
		f.op.Fault(rptest.Introspection, rptest.Late(5*time.Second))
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for i := range 64 {
			all.Go(func() { f.verify(fmt.Sprint("first-", i)) })
		}
		synctest.Wait()
		for i := range 500 {
			all.Go(func() { f.api.Verify(ctx, fmt.Sprint("second-", i)) })
		}
		synctest.Wait()
		cancel()
		all.Wait()
		if f.calls() != 64 {
			t.Errorf("%d calls", f.calls())
		}
	})
}

func TestCredentialsGoAsTheMetadataSays(t *testing.T) {
	const listed = "introspection_endpoint_auth_methods_supported"
	both, post := []string{"client_secret_post", "client_secret_basic"}, []string{"client_secret_post", "private_key_jwt"}
	for name, c := range map[string]struct {
		in   bearer.Introspection
		md   any
		want string
	}{
		"nothing listed":    {bearer.Introspection{}, nil, "basic"},
		"both":              {bearer.Introspection{}, both, "basic"},
		"post":              {bearer.Introspection{}, post, "post"},
		"Auth":              {bearer.Introspection{ClientID: "test-client", Auth: clientauth.Post("test-secret")}, both, "post"},
		"an endpoint given": {bearer.Introspection{Endpoint: "/introspect"}, post, "basic"},
	} {
		op := rptest.Start(t, rptest.Options{SigningAlg: "ES256", Audience: audience})
		if c.in.Endpoint != "" {
			c.in.Endpoint = op.Issuer() + c.in.Endpoint
		}
		f := asker(t, op, c.in)
		fault := rptest.WithMember(listed, c.md)
		if c.md == nil {
			fault = rptest.WithoutMember(listed)
		}
		op.Fault(rptest.Discovery, fault)
		got := "none"
		op.Fault(rptest.Introspection, func(honest http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.PostFormValue("client_secret") != "" {
					got = "post"
				}
				if _, _, ok := r.BasicAuth(); ok {
					got = "basic"
				}
				if r.PostFormValue("token_type_hint") != "access_token" || r.Header.Get("Accept") != "application/json" || r.URL.RawQuery != "" {
					t.Errorf("%s: asked with %v", name, r.Header)
				}
				honest.ServeHTTP(w, r)
			})
		})
		if _, err := f.verify(f.issued()); err != nil || got != c.want {
			t.Errorf("%s: sent by %s, want %s (%v)", name, got, c.want, err)
		}
		if c.in.Endpoint != "" && op.Hits(rptest.Discovery) != 0 {
			t.Errorf("%s: the metadata was fetched", name)
		}
	}
}

// apiKey is an authentication that needs no client id, over a transport of its own.
type apiKey struct{ used *atomic.Int64 }

func (apiKey) Name() string { return "api_key" }
func (apiKey) Authenticate(_ context.Context, r *clientauth.Request) error {
	r.Header.Set("Authorization", "Bearer key")
	return nil
}
func (k apiKey) Transport(base http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) { k.used.Add(1); return base.RoundTrip(r) })
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAMethodThatNeedsNoClientIDAndHasATransportOfItsOwn(t *testing.T) {
	key := apiKey{new(atomic.Int64)}
	f := asking(t, bearer.Introspection{Auth: key})
	f.op.Fault(rptest.Introspection, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer key" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			fmt.Fprint(w, activeAnswer(f))
		})
	})
	if _, err := f.verify("opaque"); err != nil || key.used.Load() != 1 {
		t.Errorf("%d calls, %v", key.used.Load(), err)
	}
}

func TestSignedAnswersAreTakenAndNoOthers(t *testing.T) {
	f := asking(t, bearer.Introspection{Signed: true, MaxAge: -1, MaxNegativeAge: -1})
	token := f.issued()
	tok, err := f.verify(token)
	if err != nil || tok.ClientID != f.op.ClientID() || !tok.HasScope("orders:read") || tok.Text("token_type") != "Bearer" || tok.Text("token_introspection") != "" {
		t.Fatalf("%v, %v", tok, err)
	}
	if _, err := f.verify("unknown"); checkOf(err) != "inactive" {
		t.Errorf("an unknown token: %v", err)
	}
	bend := func(faults ...rptest.TokenFault) { f.op.ClearFaults(); f.op.IntrospectionFault(faults...) }
	inner := func(changes ...any) rptest.TokenFault {
		return func(j *rptest.JWT) {
			j.Claims["token_introspection"] = with(j.Claims["token_introspection"].(map[string]any), changes...)
		}
	}
	ago := func(d time.Duration) rptest.TokenFault { return rptest.WithClaim("iat", time.Now().Add(-d).Unix()) }
	good := map[string]rptest.TokenFault{
		"typ as a media type":    rptest.WithHeader("typ", "application/Token-Introspection+JWT"),
		"this API among others":  rptest.WithClaim("aud", []string{"other", f.op.ClientID()}),
		"nine minutes old":       ago(9 * time.Minute),
		"a clock before ours":    ago(-50 * time.Second),
		"an exp that is to come": rptest.WithClaim("exp", time.Now().Add(time.Hour).Unix()),
	}
	for name, fault := range good {
		bend(fault)
		if _, err := f.verify(token); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]struct {
		fault rptest.TokenFault
		says  string
	}{
		"alg none":                     {rptest.AlgNone, "alg"},
		"HS256 with the public key":    {rptest.AlgHS256PublicKey, "alg"},
		"another signature":            {rptest.BadSignature, "signature"},
		"no signature":                 {rptest.NoSignature, "signature"},
		"an unknown kid":               {rptest.UnknownKID, "kid"},
		"JSON serialization":           {rptest.JSONSerialized, "compact"},
		"crit":                         {rptest.Crit, "crit"},
		"typ JWT":                      {rptest.WrongType("JWT"), "typ"},
		"typ at+jwt":                   {rptest.WrongType("at+jwt"), "typ"},
		"no typ":                       {rptest.WithoutHeader("typ"), "typ"},
		"another issuer":               {rptest.WrongIssuer, "iss"},
		"no issuer":                    {rptest.WithoutClaim("iss"), "iss"},
		"another API's":                {rptest.WithClaim("aud", audience), "aud"},
		"nobody's":                     {rptest.WithoutClaim("aud"), "aud"},
		"no iat":                       {rptest.NoIAT, "iat"},
		"eleven minutes old":           {ago(11 * time.Minute), "iat"},
		"from the future":              {ago(-2 * time.Minute), "iat"},
		"expired":                      {rptest.WithClaim("exp", time.Now().Add(-time.Hour).Unix()), "exp"},
		"no token_introspection":       {rptest.WithoutClaim("token_introspection"), "token_introspection"},
		"token_introspection as text":  {rptest.WithClaim("token_introspection", `{"active":true}`), "object"},
		"token_introspection a list":   {rptest.WithClaim("token_introspection", []any{map[string]any{"active": true}}), "object"},
		"active outside":               {func(j *rptest.JWT) { j.Claims["active"] = true; inner("active", nil)(j) }, "active"},
		"active as text":               {inner("active", "true"), "active"},
		"token_introspection repeated": {rptest.DuplicateMember("token_introspection", map[string]any{"active": true}), "twice"},
		"no JSON":                      {rptest.RawPayload("no JSON"), "json"},
	} {
		bend(c.fault)
		_, err := f.verify(token)
		if !errors.Is(err, bearer.ErrUnavailable) || errors.Is(err, bearer.ErrInvalidToken) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	for name, c := range map[string]struct {
		fault rptest.TokenFault
		check string
	}{"inner audience": {inner("aud", "other"), "aud"}, "inner cnf": {inner("cnf", map[string]any{}), "cnf"}, "inner iss": {inner("iss", "https://other.example"), "iss"}} {
		bend(c.fault)
		if _, err := f.verify(token); checkOf(err) != c.check {
			t.Errorf("%s: %v", name, err)
		}
	}
	f.op.ClearFaults()
	f.answers(activeAnswer(f))
	if _, err := f.verify(token); !errors.Is(err, bearer.ErrUnavailable) || !strings.Contains(err.Error(), "application/json") {
		t.Errorf("plain JSON in place of a signed answer: %v", err)
	}
}

func TestABrokenAnswerAndRefusedCredentialsAreLoggedWithoutSecrets(t *testing.T) {
	var log bytes.Buffer
	f := asking(t, bearer.Introspection{Signed: true}, func(c *bearer.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	for name, fault := range map[string]func(){
		"signature": func() { f.op.IntrospectionFault(rptest.BadSignature) },
		"401":       func() { f.op.Fault(rptest.Introspection, rptest.Status(401, `{"error":"invalid_client"}`)) },
	} {
		log.Reset()
		f.op.ClearFaults()
		fault()
		if _, err := f.verify("secret-token"); err == nil {
			t.Fatal("accepted")
		}
		if text := log.String(); !strings.Contains(text, "level=ERROR") || !strings.Contains(text, name) || strings.Contains(text, "secret-token") || strings.Contains(text, f.op.ClientSecret()) {
			t.Errorf("%s: logged %q", name, text)
		}
	}
}

func TestOneVerifierTakesJWTsAndOpaqueTokens(t *testing.T) {
	f := asking(t, bearer.Introspection{})
	opaque, jwt := f.issued(), f.token()
	for _, token := range []string{opaque, jwt, opaque, jwt} {
		tok, err := f.verify(token)
		if err != nil || tok.Introspected != (token == opaque) {
			t.Errorf("introspected %v: %v", token == opaque, err)
		}
	}
	if f.calls() != 1 {
		t.Errorf("%d calls", f.calls())
	}
}

// introspectedJWTs is an API that asks about JWTs too.
func introspectedJWTs(t testing.TB, in bearer.Introspection) *fixture {
	in.JWTs = true
	return asker(t, rptest.Start(t, rptest.Options{SigningAlg: "ES256", JWTAccessTokens: true, Audience: audience}), in)
}

func TestJWTsSeesTheRevocationOfAJWT(t *testing.T) {
	f := introspectedJWTs(t, bearer.Introspection{MaxAge: -1, MaxNegativeAge: -1})
	token := f.issued()
	tok, err := f.verify(token)
	if err != nil || !tok.Introspected || tok.ID == "" || tok.Text("jti") != tok.ID {
		t.Fatalf("%v, %v", tok, err)
	}
	f.revoke(token)
	if _, err := f.verify(token); checkOf(err) != "inactive" {
		t.Errorf("revoked: %v", err)
	}
	calls := f.calls()
	if _, err := f.verify(f.op.SignBent(f.claims(), rptest.WrongType("at+jwt"), rptest.BadSignature)); checkOf(err) != "signature" || f.calls() != calls {
		t.Errorf("a forged one: %v, %d calls", err, f.calls()-calls)
	}
	f.op.Fault(rptest.Introspection, rptest.Down)
	if _, err := f.verify(f.token()); !errors.Is(err, bearer.ErrUnavailable) {
		t.Errorf("an outage: %v", err)
	}
}

func TestAnAnswerAboutAJWTCountsOverItAndMustBeAboutTheSameParty(t *testing.T) {
	f := introspectedJWTs(t, bearer.Introspection{MaxAge: -1, MaxNegativeAge: -1})
	token := f.token("roles", []string{"admin"}, "acr", "gold")
	now := time.Now().Unix()
	for _, c := range []struct{ name, answer, check string }{
		{"active alone", `{"active":true}`, ""},
		{"the same parties", `{"active":true,"sub":"alice","client_id":"shop"}`, ""},
		{"another subject", `{"active":true,"sub":"mallory"}`, "sub"},
		{"another client", `{"active":true,"client_id":"other"}`, "client_id"},
		{"another issuer", `{"active":true,"iss":"https://other.example"}`, "iss"},
		{"another audience", `{"active":true,"aud":"https://other.example"}`, "aud"},
		{"bound to a key", `{"active":true,"cnf":{"jkt":"x"}}`, "cnf"},
		{"ended", fmt.Sprintf(`{"active":true,"exp":%d}`, now-70), "exp"},
	} {
		f.answers(c.answer)
		tok, err := f.verify(token)
		if checkOf(err) != c.check {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil && (tok.Subject != "alice" || tok.ACR != "gold" || !tok.HasScope("orders:list") || tok.Strings("roles")[0] != "admin" || tok.Expiry.Unix() < now+299) {
			t.Errorf("%s: what the answer leaves out is lost: %v", c.name, tok)
		}
	}
	f.answers(fmt.Sprintf(`{"active":true,"scope":"orders:read","roles":["reader"],"exp":%d}`, now+3000))
	tok, err := f.verify(token)
	if err != nil || tok.HasScope("orders:list") || tok.Strings("roles")[0] != "reader" || tok.Expiry.Unix() > now+310 {
		t.Errorf("read as %v, %q, %v", tok, tok.Scopes, err)
	}
}

func TestNewRefusesIntrospectionThatCanNotWork(t *testing.T) {
	secret := func(in bearer.Introspection) bearer.Introspection {
		in.ClientID, in.ClientSecret = "api", "secret"
		return in
	}
	for name, c := range map[string]struct {
		in     bearer.Introspection
		change func(*bearer.Config)
		says   string
	}{
		"good":                       {in: secret(bearer.Introspection{Endpoint: "https://op.example/introspect", Signed: true})},
		"another authentication":     {in: bearer.Introspection{Auth: clientauth.None()}},
		"nothing":                    {says: "ClientSecret is missing"},
		"no client id":               {in: bearer.Introspection{ClientSecret: "secret"}, says: "ClientID is missing"},
		"no client id for Auth":      {in: bearer.Introspection{Auth: clientauth.Post("secret")}, says: "ClientID is missing"},
		"no client id, and Signed":   {in: bearer.Introspection{Auth: clientauth.None(), Signed: true}, says: "audience of signed answers"},
		"both":                       {in: bearer.Introspection{ClientID: "api", ClientSecret: "secret", Auth: clientauth.None()}, says: "decide for one"},
		"plain http":                 {in: secret(bearer.Introspection{Endpoint: "http://op.example/introspect"}), says: "not https"},
		"loopback http":              {in: secret(bearer.Introspection{Endpoint: "http://127.0.0.1/introspect"}), says: "loopback"},
		"loopback http, allowed":     {in: secret(bearer.Introspection{Endpoint: "http://127.0.0.1/introspect"}), change: func(c *bearer.Config) { c.InsecureLoopbackHTTP = true }},
		"a password in the endpoint": {in: secret(bearer.Introspection{Endpoint: "https://a:secret@op.example/introspect"}), says: "user info"},
		"many tenants": {in: secret(bearer.Introspection{}), says: "{tenantid}", change: func(c *bearer.Config) {
			c.Issuers = []bearer.Issuer{{Issuer: "https://op.example/{tenantid}", AnyTenant: true, Introspection: c.Introspection}}
			c.Issuer, c.Introspection = "", nil
		}},
	} {
		cfg := bearer.Config{Issuer: "https://op.example", Audience: audience, Introspection: &c.in}
		if c.change != nil {
			c.change(&cfg)
		}
		_, err := bearer.New(cfg)
		if (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "secret@")) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

func TestIntrospectionPrintsNoSecret(t *testing.T) {
	in := bearer.Introspection{ClientID: "api", ClientSecret: "marked", Auth: clientauth.Basic("marked")}
	cfg := bearer.Config{Introspection: &in, Issuers: []bearer.Issuer{{Introspection: &in}}}
	var log bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	text := ""
	for _, v := range []any{in, &in, cfg.Issuers[0], cfg} {
		text += fmt.Sprintf("%v %+v %#v %q %x", v, v, v, v, v)
	}
	logger.Info("x", "v", in, "p", &in)
	logger.Info("x", slog.Group("g", slog.Any("v", in)))
	text += log.String()
	if strings.Contains(text, "marked") || strings.Contains(text, fmt.Sprintf("%x", "marked")) || !strings.Contains(text, `ClientID: "api"`) {
		t.Error(text)
	}
}

func ExampleIntrospection() {
	op, err := rptest.New(rptest.Options{Issuer: "https://login.example", Audience: "https://api.example"})
	if err != nil {
		fmt.Println(err)
		return
	}
	api, err := bearer.New(bearer.Config{
		Issuer:     op.Issuer(),
		Audience:   "https://api.example",
		HTTPClient: op.Client(), // a real provider needs none
		Introspection: &bearer.Introspection{
			ClientID: op.ClientID(), ClientSecret: op.ClientSecret(), // this API's own
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = api.Verify(context.Background(), "a-token-that-has-ended")
	fmt.Println(err)
	fmt.Println(api.Failure(err).Status)
	// Output:
	// bearer: token refused by its inactive: want a token that the issuer calls active, got one that it does not
	// 401
}

func FuzzIntrospection(f *testing.F) {
	op, err := rptest.New(rptest.Options{Issuer: "https://op.example", SigningAlg: "ES256", Audience: audience})
	if err != nil {
		f.Fatal(err)
	}
	const good = `{"active":true,"iss":"https://op.example","aud":"https://api.example","sub":"alice","client_id":"shop","scope":"a b","token_type":"Bearer"}`
	for _, seed := range []string{
		good, `{"active":false}`, `{"active":"true"}`, `{"active":1}`, `{"active":null}`, `{"Active":true}`, `{"active":true,"active":false}`, `{"a\u0063tive":true}`,
		strings.Replace(good, "}", `,"exp":1}`, 1), strings.Replace(good, "}", `,"exp":1e400}`, 1), strings.Replace(good, "}", `,"cnf":{}}`, 1), good[:40], good + good, "[]", "", "null",
		`{"active":true,"aud":["https://api.example",[]]}`, `{"active":true,"aud":["https://api.example"],"amr":[1],"scope":["a"]}`, "\ufeff" + good,
	} {
		f.Add([]byte(seed))
	}
	var body []byte
	client := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: readCloser{bytes.NewReader(body)}, Request: r}, nil
	})}
	api, err := bearer.New(bearer.Config{
		Issuer: op.Issuer(), Audience: audience, HTTPClient: client, Cache: bearer.Cache{Off: true}, Logger: slog.New(slog.DiscardHandler),
		Introspection: &bearer.Introspection{ClientID: "api", ClientSecret: "secret", Endpoint: "https://op.example/introspect", MaxNegativeAge: -1},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		body = answer
		tok, err := api.Verify(context.Background(), "opaque")
		if (tok == nil) == (err == nil) {
			t.Fatalf("token %v, error %v", tok, err)
		}
		if err != nil {
			if !errors.Is(err, bearer.ErrInvalidToken) && !errors.Is(err, bearer.ErrUnavailable) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		var members map[string]json.RawMessage
		if json.Unmarshal(answer, &members) != nil || string(members["active"]) != "true" || !tok.Introspected {
			t.Fatalf("accepted: %q", answer)
		}
		if aud := string(members["aud"]); !strings.Contains(aud, "api.example") && !strings.Contains(aud, `\`) {
			t.Fatalf("accepted for another audience: %q", answer)
		}
		if got := maps.Clone(members); tok.Decode(&got) != nil {
			t.Fatalf("its claims can't be read: %q", answer)
		}
	})
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }
