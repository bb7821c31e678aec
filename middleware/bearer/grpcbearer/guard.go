package grpcbearer

import (
	"context"
	"errors"
	"time"

	"github.com/latchkey-go/latchkey/middleware/bearer"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Domain is the domain of the ErrorInfo that refusals carry.
const Domain = "github.com/latchkey-go/latchkey"

// Guard holds the interceptors. Verifier is required; set the fields before first use and don't change them after. It is safe for concurrent use.
type Guard struct {
	Verifier *bearer.Verifier
	// Procedures are what is asked, by full method: Rules and Public.
	bearer.Procedures
	// OutliveToken lets a stream go on when its token has expired. Zero: it ends at bearer.Verifier.Deadline, with codes.Unauthenticated.
	OutliveToken bool
}

// Unary is a grpc.UnaryServerInterceptor.
func (g *Guard) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if g.IsPublic(info.FullMethod) {
		return handler(ctx, req)
	}
	t, err := g.check(ctx, info.FullMethod)
	if err != nil {
		return nil, g.refuse(err, info.FullMethod, func(md metadata.MD) error { return grpc.SetHeader(ctx, md) })
	}
	return handler(bearer.NewContext(ctx, t), req)
}

// Stream is a grpc.StreamServerInterceptor.
func (g *Guard) Stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if g.IsPublic(info.FullMethod) {
		return handler(srv, ss)
	}
	t, err := g.check(ss.Context(), info.FullMethod)
	if err != nil {
		return g.refuse(err, info.FullMethod, ss.SetHeader)
	}
	ctx := bearer.NewContext(ss.Context(), t)
	deadline, ends := g.Verifier.Deadline(t)
	if g.OutliveToken || !ends {
		return handler(srv, &stream{ss, ctx})
	}
	ctx, cancel := context.WithDeadlineCause(ctx, deadline, errExpired)
	defer cancel()
	err = handler(srv, &ending{stream{ss, ctx}})
	if errors.Is(context.Cause(ctx), errExpired) {
		return g.refuse(errExpired, info.FullMethod, nil)
	}
	return err
}

// errExpired ends a stream.
var errExpired error = &bearer.TokenError{Check: "exp", Want: "a token that lasts as long as the stream", Got: "one that has expired"}

// stream carries the context of the token.
type stream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *stream) Context() context.Context { return s.ctx }

// ending is a stream that moves nothing once its context has ended.
type ending struct{ stream }

// RecvMsg waits for a message or for the end. What is left waiting for a message ends with the call, when the handler has returned,
// and a message that comes in between may still be read into m: after an error m is not to be used again.
func (s *ending) RecvMsg(m any) error {
	received := make(chan outcome, 1)
	go func() {
		var o outcome
		// A panic belongs to the goroutine of the call, where somebody may wait for it.
		defer func() {
			o.panicked = recover()
			received <- o
		}()
		o.err = s.ServerStream.RecvMsg(m)
	}()
	select {
	case o := <-received:
		if o.panicked != nil {
			panic(o.panicked)
		}
		return o.err
	case <-s.ctx.Done():
		return status.FromContextError(s.ctx.Err()).Err()
	}
}

// outcome is what receiving a message came to.
type outcome struct {
	err      error
	panicked any
}

// SendMsg sends nothing after the end.
func (s *ending) SendMsg(m any) error {
	if err := s.ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	return s.ServerStream.SendMsg(m)
}

// check is the one way to a handler that is not public.
func (g *Guard) check(ctx context.Context, method string) (*bearer.Token, error) {
	if g.Verifier == nil {
		return nil, errors.New("grpcbearer: Guard.Verifier is missing")
	}
	md, _ := metadata.FromIncomingContext(ctx)
	return g.Verifier.Call(ctx, md.Get("authorization"), g.For(method)...)
}

// refuse says what err means to the client. setHeader nil: the headers have been sent.
func (g *Guard) refuse(err error, method string, setHeader func(metadata.MD) error) error {
	if g.Verifier == nil {
		return status.Error(codes.Internal, "the server is not set up")
	}
	f := g.Verifier.Failure(err, g.For(method)...)
	if f.Challenge != "" && setHeader != nil {
		_ = setHeader(metadata.Pairs("www-authenticate", f.Challenge)) // nothing else can be done about it
	}
	text := f.Title
	if f.Detail != "" {
		text += ": " + f.Detail
	}
	s := status.New(code(f.Status), text)
	info := &errdetails.ErrorInfo{Reason: f.Kind, Domain: Domain}
	if f.Challenge != "" {
		info.Metadata = map[string]string{"www-authenticate": f.Challenge}
	}
	details := []protoadapt.MessageV1{info}
	if f.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(f.RetryAfter.Round(time.Second))})
	}
	if with, err := s.WithDetails(details...); err == nil {
		s = with
	}
	return s.Err()
}

// code maps the statuses of bearer.Failure. Credentials that can't be read are no credentials.
func code(httpStatus int) codes.Code {
	switch httpStatus {
	case 400, 401:
		return codes.Unauthenticated
	case 403:
		return codes.PermissionDenied
	case 503:
		return codes.Unavailable
	}
	return codes.Internal
}
