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
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/middleware/bearer"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

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
	f.answers(activeAnswer(f, "acr", "gold", "amr", []string{"pwd", "otp"}, "auth_time", now-60, "sid", "s-1", "exp", now+300))
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
