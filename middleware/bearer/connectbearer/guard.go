package connectbearer

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"github.com/latchkey-go/latchkey/middleware/bearer"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Domain is the domain of the ErrorInfo that refusals carry.
const Domain = "github.com/latchkey-go/latchkey"

// Guard is a connect.Interceptor for handlers; on a client it does nothing. Verifier is required; set the fields before first use and don't change them after.
// It is safe for concurrent use.
type Guard struct {
	Verifier *bearer.Verifier
	// Procedures are what is asked, by full method: Rules and Public.
	bearer.Procedures
	// OutliveToken lets a stream go on when its token has expired. Zero: it ends at bearer.Verifier.Deadline, with connect.CodeUnauthenticated.
	OutliveToken bool
}

var _ connect.Interceptor = (*Guard)(nil)

// errExpired ends a stream.
var errExpired error = &bearer.TokenError{Check: "exp", Want: "a token that lasts as long as the stream", Got: "one that has expired"}

// WrapUnary implements connect.Interceptor.
func (g *Guard) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		procedure := req.Spec().Procedure
		if req.Spec().IsClient || g.IsPublic(procedure) {
			return next(ctx, req)
		}
		t, err := g.check(ctx, procedure, req.Header())
		if err != nil {
			return nil, g.refuse(err, procedure, req.Peer().Protocol)
		}
		return next(bearer.NewContext(ctx, t), req)
	}
}

// WrapStreamingClient implements connect.Interceptor: it changes nothing.
func (g *Guard) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (g *Guard) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		procedure := conn.Spec().Procedure
		if g.IsPublic(procedure) {
			return next(ctx, conn)
		}
		t, err := g.check(ctx, procedure, conn.RequestHeader())
		if err != nil {
			return g.refuse(err, procedure, conn.Peer().Protocol)
		}
		ctx = bearer.NewContext(ctx, t)
		deadline, ends := g.Verifier.Deadline(t)
		if g.OutliveToken || !ends {
			return next(ctx, conn)
		}
		ctx, cancel := context.WithDeadlineCause(ctx, deadline, errExpired)
		defer cancel()
		err = next(ctx, &ending{conn, ctx})
		if errors.Is(context.Cause(ctx), errExpired) {
			return g.refuse(errExpired, procedure, conn.Peer().Protocol)
		}
		return err
	}
}

// ending is a stream that moves nothing once its context has ended.
type ending struct {
	connect.StreamingHandlerConn
	ctx context.Context
}

// Receive waits for a message or for the end. What is left waiting for a message ends with the call, when the handler has returned,
// and a message that comes in between may still be read into m: after an error m is not to be used again.
func (s *ending) Receive(m any) error {
	received := make(chan outcome, 1)
	go func() {
		var o outcome
		// A panic belongs to the goroutine of the call, where somebody may wait for it.
		defer func() {
			o.panicked = recover()
			received <- o
		}()
		o.err = s.StreamingHandlerConn.Receive(m)
	}()
	select {
	case o := <-received:
		if o.panicked != nil {
			panic(o.panicked)
		}
		return o.err
	case <-s.ctx.Done():
		return connect.NewError(connect.CodeDeadlineExceeded, s.ctx.Err())
	}
}

// outcome is what receiving a message came to.
type outcome struct {
	err      error
	panicked any
}

// Send sends nothing after the end.
func (s *ending) Send(m any) error {
	if err := s.ctx.Err(); err != nil {
		return connect.NewError(connect.CodeDeadlineExceeded, err)
	}
	return s.StreamingHandlerConn.Send(m)
}

// check is the one way to a handler that is not public.
func (g *Guard) check(ctx context.Context, procedure string, header http.Header) (*bearer.Token, error) {
	if g.Verifier == nil {
		return nil, errors.New("connectbearer: Guard.Verifier is missing")
	}
	return g.Verifier.Call(ctx, header["Authorization"], g.For(procedure)...)
}

// refuse says what err means to the client.
func (g *Guard) refuse(err error, procedure, protocol string) error {
	if g.Verifier == nil {
		return connect.NewError(connect.CodeInternal, errors.New("the server is not set up"))
	}
	f := g.Verifier.Failure(err, g.For(procedure)...)
	text := f.Title
	if f.Detail != "" {
		text += ": " + f.Detail
	}
	refusal := connect.NewError(code(f.Status), errors.New(text))
	if f.Challenge != "" && protocol != connect.ProtocolGRPC { // where it would be a trailer, and net/http lets none of that name through
		refusal.Meta().Set("WWW-Authenticate", f.Challenge)
	}
	info := &errdetails.ErrorInfo{Reason: f.Kind, Domain: Domain}
	if f.Challenge != "" {
		info.Metadata = map[string]string{"www-authenticate": f.Challenge}
	}
	details := []proto.Message{info}
	if f.RetryAfter > 0 {
		refusal.Meta().Set("Retry-After", strconv.Itoa(int(f.RetryAfter.Round(time.Second)/time.Second)))
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(f.RetryAfter.Round(time.Second))})
	}
	for _, m := range details {
		if d, err := connect.NewErrorDetail(m); err == nil {
			refusal.AddDetail(d)
		}
	}
	return refusal
}

// code maps the statuses of bearer.Failure. Credentials that can't be read are no credentials.
func code(status int) connect.Code {
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized:
		return connect.CodeUnauthenticated
	case http.StatusForbidden:
		return connect.CodePermissionDenied
	case http.StatusServiceUnavailable:
		return connect.CodeUnavailable
	}
	return connect.CodeInternal
}
