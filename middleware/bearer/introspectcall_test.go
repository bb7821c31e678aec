package bearer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/middleware/bearer"
	"github.com/latchkey-go/latchkey/rp/clientauth"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

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
