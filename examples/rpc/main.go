// Command rpc guards a gRPC service and a Connect service by bearer tokens, calls both as different clients, and prints how each call ends.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"connectrpc.com/connect"
	"github.com/latchkey-go/latchkey/middleware/bearer"
	"github.com/latchkey-go/latchkey/middleware/bearer/connectbearer"
	"github.com/latchkey-go/latchkey/middleware/bearer/grpcbearer"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	audience = "https://api.example"
	check    = "/grpc.health.v1.Health/Check" // a service that comes with gRPC stands for yours
	watch    = "/grpc.health.v1.Health/Watch"
	greet    = "/shop.Greeter/Greet"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer) error {
	provider, err := rptest.New(rptest.Options{Issuer: "https://login.example", SigningAlg: "ES256"})
	if err != nil {
		return err
	}
	api, err := bearer.New(bearer.Config{Issuer: provider.Issuer(), Audience: audience, HTTPClient: provider.Client()})
	if err != nil {
		return err
	}
	procedures := bearer.Procedures{Rules: map[string][]bearer.Rule{check: {bearer.Scopes("read")}, watch: {bearer.Scopes("read")}, greet: {bearer.Scopes("read")}}}

	guard := &grpcbearer.Guard{Verifier: api, Procedures: procedures}
	server := grpc.NewServer(grpc.UnaryInterceptor(guard.Unary), grpc.StreamInterceptor(guard.Stream))
	healthpb.RegisterHealthServer(server, health.NewServer())
	defer server.Stop()
	grpcAddr, err := serve(server.Serve)
	if err != nil {
		return err
	}

	connectGuard := &connectbearer.Guard{Verifier: api, Procedures: procedures}
	mux := http.NewServeMux()
	mux.Handle(greet, connect.NewUnaryHandler(greet, greeting, connect.WithInterceptors(connectGuard)))
	connectServer := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	defer connectServer.Close()
	connectAddr, err := serve(connectServer.Serve)
	if err != nil {
		return err
	}

	conn, err := grpc.NewClient(grpcAddr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, c := range []struct{ who, token string }{
		{"nobody", ""}, {"alice without the scope", token(provider, "write")}, {"alice", token(provider, "read")},
	} {
		fmt.Fprintf(out, "%s\n", c.who)
		fmt.Fprintf(out, "  gRPC    unary:  %s\n", unary(ctx, conn, c.token))
		fmt.Fprintf(out, "  gRPC    stream: %s\n", stream(ctx, conn, c.token))
		fmt.Fprintf(out, "  Connect unary:  %s\n", call(ctx, "http://"+connectAddr+greet, c.token))
	}
	return nil
}

// greeting reads the token that the guard let through.
func greeting(ctx context.Context, _ *connect.Request[emptypb.Empty]) (*connect.Response[wrapperspb.StringValue], error) {
	return connect.NewResponse(wrapperspb.String("hello " + bearer.FromContext(ctx).Subject)), nil
}

// serve runs a server on a loopback port until it is stopped.
func serve(run func(net.Listener) error) (addr string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go run(listener)
	return listener.Addr().String(), nil
}

func token(provider *rptest.Provider, scope string) string {
	now := time.Now().Unix()
	return provider.Sign(map[string]any{
		"iss": provider.Issuer(), "aud": audience, "sub": "alice", "client_id": "shop", "jti": scope, "iat": now, "exp": now + 300, "scope": scope,
	}, "typ", "at+jwt")
}

func authorized(ctx context.Context, token string) context.Context {
	if token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

func unary(ctx context.Context, conn *grpc.ClientConn, token string) string {
	answer, err := healthpb.NewHealthClient(conn).Check(authorized(ctx, token), &healthpb.HealthCheckRequest{})
	if err != nil {
		return status.Convert(err).Message()
	}
	return answer.Status.String()
}

func stream(ctx context.Context, conn *grpc.ClientConn, token string) string {
	ctx, cancel := context.WithCancel(authorized(ctx, token))
	defer cancel()
	s, err := healthpb.NewHealthClient(conn).Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		return err.Error()
	}
	answer, err := s.Recv()
	if err != nil {
		return status.Convert(err).Message()
	}
	return answer.Status.String()
}

func call(ctx context.Context, url, token string) string {
	req := connect.NewRequest(&emptypb.Empty{})
	if token != "" {
		req.Header().Set("Authorization", "Bearer "+token)
	}
	answer, err := connect.NewClient[emptypb.Empty, wrapperspb.StringValue](http.DefaultClient, url).CallUnary(ctx, req)
	if refused, ok := errors.AsType[*connect.Error](err); ok {
		return refused.Message() + " (" + refused.Meta().Get("WWW-Authenticate") + ")"
	}
	if err != nil {
		return err.Error()
	}
	return answer.Msg.Value
}
