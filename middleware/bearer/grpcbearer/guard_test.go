package grpcbearer_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/middleware/bearer"
	"github.com/latchkey-go/latchkey/middleware/bearer/grpcbearer"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	audience = "https://api.example"
	leeway   = 3 * time.Second
)

// who answers each message with the name of the caller; written by hand, so that no generated code is needed.
var description = grpc.ServiceDesc{
	ServiceName: "shop.Orders",
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{unary("List"), unary("Delete"), unary("Ping"), unary("Forgotten")},
	Streams:     []grpc.StreamDesc{{StreamName: "Watch", Handler: watch, ServerStreams: true, ClientStreams: true}},
}

func unary(name string) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		var in emptypb.Empty
		if err := decode(&in); err != nil {
			return nil, err
		}
		return intercept(ctx, &in, &grpc.UnaryServerInfo{FullMethod: "/shop.Orders/" + name}, func(ctx context.Context, _ any) (any, error) {
			return wrapperspb.String(caller(ctx)), nil
		})
	}}
}

func watch(_ any, s grpc.ServerStream) error {
	for {
		var in emptypb.Empty
		if err := s.RecvMsg(&in); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := s.SendMsg(wrapperspb.String(caller(s.Context()))); err != nil {
			return err
		}
	}
}

func caller(ctx context.Context) string {
	if t := bearer.FromContext(ctx); t != nil {
		return t.Subject
	}
	return "nobody"
}

type fixture struct {
	t    *testing.T
	op   *rptest.Provider
	conn *grpc.ClientConn
}

func setUp(t *testing.T, change ...func(*grpcbearer.Guard)) *fixture {
	t.Helper()
	op := rptest.Start(t, rptest.Options{SigningAlg: "ES256"})
	api, err := bearer.New(bearer.Config{Issuer: op.Issuer(), Audience: audience, Leeway: leeway, InsecureLoopbackHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	guard := &grpcbearer.Guard{
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
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(guard.Unary), grpc.StreamInterceptor(guard.Stream))
	server.RegisterService(&description, nil)
	go server.Serve(listener) // ends with Stop
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		server.Stop()
	})
	return &fixture{t: t, op: op, conn: conn}
}

func (f *fixture) token(changes ...any) string {
	now := time.Now().Unix()
	c := map[string]any{"iss": f.op.Issuer(), "aud": audience, "sub": "alice", "client_id": "shop", "jti": "1", "iat": now, "exp": now + 300, "scope": "orders:read"}
	for i := 0; i < len(changes); i += 2 {
		c[changes[i].(string)] = changes[i+1]
	}
	return f.op.Sign(c, "typ", "at+jwt")
}

// call asks a unary method with authorization values.
func (f *fixture) call(method string, authorization ...string) (who string, header metadata.MD, err error) {
	ctx := f.t.Context()
	for _, a := range authorization {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", a)
	}
	var out wrapperspb.StringValue
	err = f.conn.Invoke(ctx, "/shop.Orders/"+method, &emptypb.Empty{}, &out, grpc.Header(&header))
	return out.Value, header, err
}

func TestEachCallIsAnsweredByItsCredentials(t *testing.T) {
	f := setUp(t)
	good := "Bearer " + f.token()
	for _, c := range []struct {
		name, method  string
		authorization []string
		code          codes.Code
		reason        string
		challenge     string
	}{
		{"good", "List", []string{good}, codes.OK, "", ""},
		{"public", "Ping", nil, codes.OK, "", ""},
		{"public, with a bad token", "Ping", []string{"Bearer x"}, codes.OK, "", ""},
		{"none", "List", nil, codes.Unauthenticated, "token-required", `scope="orders:read"`},
		{"another scheme", "List", []string{"Basic YTpi"}, codes.Unauthenticated, "token-required", `scope="orders:read"`},
		{"malformed", "List", []string{"Bearer a b"}, codes.Unauthenticated, "malformed", `error="invalid_request"`},
		{"two", "List", []string{good, good}, codes.Unauthenticated, "malformed", `error="invalid_request"`},
		{"expired", "List", []string{"Bearer " + f.token("exp", 1)}, codes.Unauthenticated, "invalid-token", `error="invalid_token"`},
		{"another signature", "List", []string{good[:len(good)-8] + "AAAAAAAA"}, codes.Unauthenticated, "invalid-token", `error="invalid_token"`},
		{"another scope", "List", []string{"Bearer " + f.token("scope", "x")}, codes.PermissionDenied, "insufficient-scope", `scope="orders:read"`},
		{"step-up", "Delete", []string{good}, codes.Unauthenticated, "step-up-required", `acr_values="gold"`},
		{"stepped up", "Delete", []string{"Bearer " + f.token("acr", "gold")}, codes.OK, "", ""},
		{"a method nobody thought of", "Forgotten", []string{good}, codes.PermissionDenied, "forbidden", `error="insufficient_scope"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			who, header, err := f.call(c.method, c.authorization...)
			s := status.Convert(err)
			if s.Code() != c.code {
				t.Fatalf("%v, want %s", err, c.code)
			}
			if err == nil {
				if want := map[bool]string{true: "nobody", false: "alice"}[c.method == "Ping"]; who != want {
					t.Errorf("called by %q, want %q", who, want)
				}
				return
			}
			if got := strings.Join(header.Get("www-authenticate"), ","); !strings.HasPrefix(got, `Bearer realm="https://api.example"`) || !strings.Contains(got, c.challenge) {
				t.Errorf("challenge %q", got)
			}
			if info := detail[*errdetails.ErrorInfo](s); info == nil || info.Reason != c.reason || info.Domain != grpcbearer.Domain {
				t.Errorf("details %v", s.Details())
			}
			for _, a := range c.authorization {
				if parts := strings.Split(a, "."); len(parts) == 3 && strings.Contains(err.Error(), parts[2]) {
					t.Error("the status shows the token")
				}
			}
		})
	}
}

func detail[T any](s *status.Status) (none T) {
	for _, d := range s.Details() {
		if found, ok := d.(T); ok {
			return found
		}
	}
	return none
}

func TestAnOutageIsUnavailableAndSaysWhenToTryAgain(t *testing.T) {
	f := setUp(t)
	f.op.Fault(rptest.JWKS, rptest.Status(http.StatusBadGateway, ""))
	_, header, err := f.call("List", "Bearer "+f.token())
	s := status.Convert(err)
	if retry := detail[*errdetails.RetryInfo](s); s.Code() != codes.Unavailable || retry == nil || retry.RetryDelay.AsDuration() < time.Second || len(header.Get("www-authenticate")) != 0 {
		t.Errorf("%v, details %v, header %v", err, s.Details(), header)
	}
}

func (f *fixture) watch(authorization string) grpc.ClientStream {
	ctx := f.t.Context()
	if authorization != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", authorization)
	}
	s, err := f.conn.NewStream(ctx, &description.Streams[0], "/shop.Orders/Watch")
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

func say(s grpc.ClientStream) (who string, err error) {
	if err := s.SendMsg(&emptypb.Empty{}); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	var out wrapperspb.StringValue
	err = s.RecvMsg(&out)
	return out.Value, err
}

func TestAStreamCarriesTheTokenBothWays(t *testing.T) {
	f := setUp(t)
	s := f.watch("Bearer " + f.token())
	for range 3 {
		if who, err := say(s); err != nil || who != "alice" {
			t.Fatalf("%q, %v", who, err)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(&wrapperspb.StringValue{}); !errors.Is(err, io.EOF) {
		t.Errorf("the end: %v", err)
	}
	for authorization, want := range map[string]codes.Code{"": codes.Unauthenticated, "Bearer nonsense": codes.Unauthenticated} {
		s := f.watch(authorization)
		_, err := say(s)
		if header, _ := s.Header(); status.Code(err) != want || len(header.Get("www-authenticate")) != 1 {
			t.Errorf("%q: %v, header %v", authorization, err, header)
		}
	}
}

// The clock is the real one: a stream over a socket has no other. The token has just expired and is accepted for the leeway.
func TestAStreamEndsWithItsTokenEvenWhenNobodySpeaks(t *testing.T) {
	for _, outlive := range []bool{false, true} {
		f := setUp(t, func(g *grpcbearer.Guard) { g.OutliveToken = outlive })
		s := f.watch("Bearer " + f.token("exp", time.Now().Unix()))
		if who, err := say(s); err != nil || who != "alice" {
			t.Fatalf("%q, %v", who, err)
		}
		ended := make(chan error, 1)
		go func() { ended <- s.RecvMsg(&wrapperspb.StringValue{}) }()
		select {
		case err := <-ended:
			if outlive || status.Code(err) != codes.Unauthenticated {
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
	grpc.ServerStream
	ctx context.Context
}

func (b bare) Context() context.Context { return b.ctx }
func (b bare) RecvMsg(any) error        { panic("a codec's") }

func TestAPanicWhileReceivingReachesTheCallItBelongsTo(t *testing.T) {
	op := rptest.Start(t, rptest.Options{SigningAlg: "ES256"})
	f := &fixture{t: t, op: op}
	api, err := bearer.New(bearer.Config{Issuer: op.Issuer(), Audience: audience, InsecureLoopbackHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	guard := &grpcbearer.Guard{Verifier: api, Procedures: bearer.Procedures{Rules: map[string][]bearer.Rule{"": {}}}}
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+f.token()))
	defer func() {
		if p := recover(); p != "a codec's" {
			t.Errorf("panic: %v", p)
		}
	}()
	err = guard.Stream(nil, bare{ctx: ctx}, &grpc.StreamServerInfo{FullMethod: "/shop.Orders/Watch"}, watch)
	t.Errorf("it was lost: %v", err)
}

func TestAGuardWithoutVerifierLetsNobodyIn(t *testing.T) {
	f := setUp(t, func(g *grpcbearer.Guard) { g.Verifier = nil })
	if _, _, err := f.call("List", "Bearer "+f.token()); status.Code(err) != codes.Internal {
		t.Errorf("%v", err)
	}
	if _, err := say(f.watch("Bearer " + f.token())); status.Code(err) != codes.Internal {
		t.Errorf("stream: %v", err)
	}
}

func TestManyCallsAtOnce(t *testing.T) {
	f := setUp(t)
	good, bad := "Bearer "+f.token(), "Bearer "+f.token("aud", "x")
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			authorization, want := good, codes.OK
			if i%2 == 1 {
				authorization, want = bad, codes.Unauthenticated
			}
			if _, _, err := f.call("List", authorization); status.Code(err) != want {
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
	guard := &grpcbearer.Guard{Verifier: api, Procedures: bearer.Procedures{Rules: map[string][]bearer.Rule{
		"/shop.Orders/List": {bearer.Scopes("orders:read")},
		"/shop.Orders/":     {bearer.Scopes("orders:write")},
	}}}
	server := grpc.NewServer(grpc.UnaryInterceptor(guard.Unary), grpc.StreamInterceptor(guard.Stream))
	server.Stop()
}
