package connectbearer_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/latchkey-go/latchkey/middleware/bearer"
	"github.com/latchkey-go/latchkey/middleware/bearer/connectbearer"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	audience = "https://api.example"
	leeway   = 3 * time.Second
)

type (
	in  = emptypb.Empty
	out = wrapperspb.StringValue
)

func caller(ctx context.Context) *out {
	if t := bearer.FromContext(ctx); t != nil {
		return wrapperspb.String(t.Subject)
	}
	return wrapperspb.String("nobody")
}

func answer(ctx context.Context, _ *connect.Request[in]) (*connect.Response[out], error) {
	return connect.NewResponse(caller(ctx)), nil
}

func watch(ctx context.Context, s *connect.BidiStream[in, out]) error {
	for {
		if _, err := s.Receive(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := s.Send(caller(ctx)); err != nil {
			return err
		}
	}
}

type fixture struct {
	t      *testing.T
	op     *rptest.Provider
	server *httptest.Server
}

func setUp(t *testing.T, change ...func(*connectbearer.Guard)) *fixture {
	t.Helper()
	op := rptest.Start(t, rptest.Options{SigningAlg: "ES256"})
	api, err := bearer.New(bearer.Config{Issuer: op.Issuer(), Audience: audience, Leeway: leeway, InsecureLoopbackHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	guard := &connectbearer.Guard{
		Verifier: api,
		Procedures: bearer.Procedures{
			Rules: map[string][]bearer.Rule{
				"/shop.Orders/List": {bearer.Scopes("orders:read")}, "/shop.Orders/Delete": {bearer.ACR("gold")}, "/shop.Orders/Watch": {},
			},
			Public: []string{"/shop.Orders/Ping"},
		},
	}
	for _, c := range change {
		c(guard)
	}
	mux := http.NewServeMux()
	for _, name := range []string{"List", "Delete", "Ping", "Forgotten"} {
		mux.Handle("/shop.Orders/"+name, connect.NewUnaryHandler("/shop.Orders/"+name, answer, connect.WithInterceptors(guard)))
	}
	mux.Handle("/shop.Orders/Watch", connect.NewBidiStreamHandler("/shop.Orders/Watch", watch, connect.WithInterceptors(guard)))
	server := httptest.NewUnstartedServer(mux)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return &fixture{t: t, op: op, server: server}
}

func (f *fixture) token(changes ...any) string {
	now := time.Now().Unix()
	c := map[string]any{"iss": f.op.Issuer(), "aud": audience, "sub": "alice", "client_id": "shop", "jti": "1", "iat": now, "exp": now + 300, "scope": "orders:read"}
	for i := 0; i < len(changes); i += 2 {
		c[changes[i].(string)] = changes[i+1]
	}
	return f.op.Sign(c, "typ", "at+jwt")
}

func (f *fixture) client(method string, options ...connect.ClientOption) *connect.Client[in, out] {
	return connect.NewClient[in, out](f.server.Client(), f.server.URL+"/shop.Orders/"+method, options...)
}

func (f *fixture) call(c *connect.Client[in, out], authorization ...string) (who string, err error) {
	req := connect.NewRequest(&in{})
	req.Header()["Authorization"] = authorization
	resp, err := c.CallUnary(f.t.Context(), req)
	if err != nil {
		return "", err
	}
	return resp.Msg.Value, nil
}

// refusal is err as connect has it; nil for none.
func refusal(err error) *connect.Error {
	e, _ := errors.AsType[*connect.Error](err)
	return e
}

func info(err error) *errdetails.ErrorInfo {
	if e := refusal(err); e != nil {
		for _, d := range e.Details() {
			if v, err := d.Value(); err == nil {
				if info, ok := v.(*errdetails.ErrorInfo); ok && info.Domain == connectbearer.Domain {
					return info
				}
			}
		}
	}
	return &errdetails.ErrorInfo{}
}

func TestEachCallIsAnsweredByItsCredentials(t *testing.T) {
	f := setUp(t)
	good := "Bearer " + f.token()
	for protocol, options := range map[string][]connect.ClientOption{"connect": nil, "grpc": {connect.WithGRPC()}, "grpc-web": {connect.WithGRPCWeb()}} {
		for _, c := range []struct {
			name, method  string
			authorization []string
			code          connect.Code // zero: none
			reason        string
			challenge     string
		}{
			{"good", "List", []string{good}, 0, "", ""},
			{"public", "Ping", nil, 0, "", ""},
			{"none", "List", nil, connect.CodeUnauthenticated, "token-required", `scope="orders:read"`},
			{"another scheme", "List", []string{"Basic YTpi"}, connect.CodeUnauthenticated, "token-required", `scope="orders:read"`},
			{"malformed", "List", []string{"Bearer a b"}, connect.CodeUnauthenticated, "malformed", `error="invalid_request"`},
			{"two", "List", []string{good, good}, connect.CodeUnauthenticated, "malformed", `error="invalid_request"`},
			{"expired", "List", []string{"Bearer " + f.token("exp", 1)}, connect.CodeUnauthenticated, "invalid-token", `error="invalid_token"`},
			{"another signature", "List", []string{good[:len(good)-8] + "AAAAAAAA"}, connect.CodeUnauthenticated, "invalid-token", `error="invalid_token"`},
			{"another scope", "List", []string{"Bearer " + f.token("scope", "x")}, connect.CodePermissionDenied, "insufficient-scope", `scope="orders:read"`},
			{"step-up", "Delete", []string{good}, connect.CodeUnauthenticated, "step-up-required", `acr_values="gold"`},
			{"stepped up", "Delete", []string{"Bearer " + f.token("acr", "gold")}, 0, "", ""},
			{"a method nobody thought of", "Forgotten", []string{good}, connect.CodePermissionDenied, "forbidden", `error="insufficient_scope"`},
		} {
			t.Run(protocol+" "+c.name, func(t *testing.T) {
				who, err := f.call(f.client(c.method, options...), c.authorization...)
				if c.code == 0 {
					if want := map[bool]string{true: "nobody", false: "alice"}[c.method == "Ping"]; err != nil || who != want {
						t.Errorf("%q, %v", who, err)
					}
					return
				}
				e := refusal(err)
				if e == nil || e.Code() != c.code || info(err).Reason != c.reason {
					t.Fatalf("%v (%s), want %s (%s)", err, info(err).Reason, c.code, c.reason)
				}
				if got := info(err).Metadata["www-authenticate"]; !strings.HasPrefix(got, `Bearer realm="https://api.example"`) || !strings.Contains(got, c.challenge) {
					t.Errorf("challenge %q", got)
				} else if header := e.Meta().Get("WWW-Authenticate"); header != got && protocol != "grpc" {
					t.Errorf("challenge %q in the header, %q in the details", header, got)
				}
				for _, a := range c.authorization {
					if parts := strings.Split(a, "."); len(parts) == 3 && strings.Contains(err.Error(), parts[2]) {
						t.Error("the error shows the token")
					}
				}
			})
		}
	}
}

func TestAnOutageIsUnavailableAndSaysWhenToTryAgain(t *testing.T) {
	f := setUp(t)
	f.op.Fault(rptest.JWKS, rptest.Status(http.StatusBadGateway, ""))
	_, err := f.call(f.client("List"), "Bearer "+f.token())
	e := refusal(err)
	if e == nil || e.Code() != connect.CodeUnavailable || e.Meta().Get("Retry-After") == "" || e.Meta().Get("WWW-Authenticate") != "" || len(e.Details()) != 2 {
		t.Errorf("%v, %v", err, e.Meta())
	}
}

func (f *fixture) watch(authorization string) *connect.BidiStreamForClient[in, out] {
	s := f.client("Watch").CallBidiStream(f.t.Context())
	if authorization != "" {
		s.RequestHeader().Set("Authorization", authorization)
	}
	return s
}

func say(s *connect.BidiStreamForClient[in, out]) (who string, err error) {
	if err := s.Send(&in{}); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	m, err := s.Receive()
	if err != nil {
		return "", err
	}
	return m.Value, nil
}

func TestAStreamCarriesTheTokenBothWays(t *testing.T) {
	f := setUp(t)
	s := f.watch("Bearer " + f.token())
	for range 3 {
		if who, err := say(s); err != nil || who != "alice" {
			t.Fatalf("%q, %v", who, err)
		}
	}
	if err := s.CloseRequest(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("the end: %v", err)
	}
	for _, authorization := range []string{"", "Bearer nonsense"} {
		if _, err := say(f.watch(authorization)); connect.CodeOf(err) != connect.CodeUnauthenticated || refusal(err).Meta().Get("WWW-Authenticate") == "" {
			t.Errorf("%q: %v", authorization, err)
		}
	}
}

// The clock is the real one: a stream over a socket has no other. The token has just expired and is accepted for the leeway.
func TestAStreamEndsWithItsTokenEvenWhenNobodySpeaks(t *testing.T) {
	for _, outlive := range []bool{false, true} {
		f := setUp(t, func(g *connectbearer.Guard) { g.OutliveToken = outlive })
		s := f.watch("Bearer " + f.token("exp", time.Now().Unix()))
		if who, err := say(s); err != nil || who != "alice" {
			t.Fatalf("%q, %v", who, err)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := s.Receive()
			ended <- err
		}()
		select {
		case err := <-ended:
			if outlive || connect.CodeOf(err) != connect.CodeUnauthenticated {
				t.Errorf("outlive %t: %v", outlive, err)
			}
		case <-time.After(leeway + 2*time.Second):
			if !outlive {
				t.Error("the stream goes on")
			}
		}
	}
}

// bare is a stream without a server, for the guard alone.
type bare struct {
	connect.StreamingHandlerConn
	header http.Header
}

func (b bare) Spec() connect.Spec         { return connect.Spec{Procedure: "/shop.Orders/Watch"} }
func (b bare) RequestHeader() http.Header { return b.header }
func (b bare) Receive(any) error          { panic("a codec's") }

func TestAPanicWhileReceivingReachesTheCallItBelongsTo(t *testing.T) {
	op := rptest.Start(t, rptest.Options{SigningAlg: "ES256"})
	f := &fixture{t: t, op: op}
	api, err := bearer.New(bearer.Config{Issuer: op.Issuer(), Audience: audience, InsecureLoopbackHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	guard := &connectbearer.Guard{Verifier: api, Procedures: bearer.Procedures{Rules: map[string][]bearer.Rule{"": {}}}}
	defer func() {
		if p := recover(); p != "a codec's" {
			t.Errorf("panic: %v", p)
		}
	}()
	err = guard.WrapStreamingHandler(func(_ context.Context, c connect.StreamingHandlerConn) error { return c.Receive(nil) })(
		t.Context(), bare{header: http.Header{"Authorization": {"Bearer " + f.token()}}})
	t.Errorf("it was lost: %v", err)
}

func TestAGuardWithoutVerifierLetsNobodyIn(t *testing.T) {
	f := setUp(t, func(g *connectbearer.Guard) { g.Verifier = nil })
	if _, err := f.call(f.client("List"), "Bearer "+f.token()); connect.CodeOf(err) != connect.CodeInternal {
		t.Errorf("%v", err)
	}
	if _, err := say(f.watch("Bearer " + f.token())); connect.CodeOf(err) != connect.CodeInternal {
		t.Errorf("stream: %v", err)
	}
}

func TestOnAClientItDoesNothing(t *testing.T) {
	f := setUp(t)
	c := f.client("Ping", connect.WithInterceptors(&connectbearer.Guard{}))
	if who, err := f.call(c); err != nil || who != "nobody" {
		t.Errorf("%q, %v", who, err)
	}
}

func TestManyCallsAtOnce(t *testing.T) {
	f := setUp(t)
	client, good, bad := f.client("List"), "Bearer "+f.token(), "Bearer "+f.token("aud", "x")
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			if i%2 == 0 {
				if who, err := f.call(client, good); err != nil || who != "alice" {
					t.Errorf("call %d: %v", i, err)
				}
			} else if _, err := f.call(client, bad); connect.CodeOf(err) != connect.CodeUnauthenticated {
				t.Errorf("call %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

func ExampleGuard() {
	api, err := bearer.New(bearer.Config{Issuer: "https://login.example", Audience: "https://api.example"})
	if err != nil {
		panic(err)
	}
	guard := &connectbearer.Guard{Verifier: api, Procedures: bearer.Procedures{Rules: map[string][]bearer.Rule{
		"/shop.Orders/": {bearer.Scopes("orders:write")},
	}}}
	handler := connect.NewUnaryHandler("/shop.Orders/List", answer, connect.WithInterceptors(guard))
	http.Handle("/shop.Orders/List", handler)
}
