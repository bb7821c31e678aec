// Package grpcbearer puts package bearer in front of a gRPC server.
//
//	api, err := bearer.New(bearer.Config{Issuer: "https://login.example", Audience: "https://api.example"})
//	guard := &grpcbearer.Guard{Verifier: api, Procedures: bearer.Procedures{Rules: map[string][]bearer.Rule{
//		"/shop.Orders/List": {bearer.Scopes("orders:read")},
//		"/shop.Orders/":     {bearer.Scopes("orders:write")}, // every other method of the service
//	}}}
//	server := grpc.NewServer(grpc.UnaryInterceptor(guard.Unary), grpc.StreamInterceptor(guard.Stream))
//
// A handler reads bearer.FromContext(ctx). A method without a rule of its own, of its service or of "" is refused: what nobody thought of is not open.
//
// The token is that of the one authorization value in the call's metadata. Refusals are codes.Unauthenticated (no token, one that can't be read or is not good, step-up),
// codes.PermissionDenied (a good one that is not enough) and codes.Unavailable (nobody knows at the moment), with the challenge of RFC 6750 as the header www-authenticate
// and in the metadata of an ErrorInfo whose reason is bearer.Failure.Kind, and a RetryInfo where it makes sense to try again.
//
// A stream ends with its token: its context is cancelled when the token is no longer accepted (its expiry and the leeway), unless Guard.OutliveToken says otherwise.
package grpcbearer
