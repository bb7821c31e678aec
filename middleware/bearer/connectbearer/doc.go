// Package connectbearer puts package bearer in front of Connect handlers (connectrpc.com/connect), for its three protocols: Connect, gRPC and gRPC-Web.
//
//	api, err := bearer.New(bearer.Config{Issuer: "https://login.example", Audience: "https://api.example"})
//	guard := &connectbearer.Guard{Verifier: api, Procedures: bearer.Procedures{Rules: map[string][]bearer.Rule{
//		"/shop.Orders/List": {bearer.Scopes("orders:read")},
//		"/shop.Orders/":     {bearer.Scopes("orders:write")}, // every other method of the service
//	}}}
//	path, handler := shopconnect.NewOrdersHandler(service, connect.WithInterceptors(guard))
//
// A handler reads bearer.FromContext(ctx). A method without a rule of its own, of its service or of "" is refused: what nobody thought of is not open.
//
// Refusals are connect.CodeUnauthenticated (no token, one that can't be read or is not good, step-up), connect.CodePermissionDenied (a good one that is not enough) and
// connect.CodeUnavailable (nobody knows at the moment), with the challenge of RFC 6750 in the error's metadata as WWW-Authenticate (not under gRPC, where net/http drops it) and in that of an
// ErrorInfo as www-authenticate, whose reason is bearer.Failure.Kind, and a RetryInfo where it makes sense to try again.
//
// A stream ends with its token: its context is cancelled when the token is no longer accepted (its expiry and the leeway), unless Guard.OutliveToken says otherwise.
package connectbearer
