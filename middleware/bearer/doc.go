// Package bearer verifies access tokens in front of net/http handlers: an API's half of OAuth 2.0.
//
//	api, err := bearer.New(bearer.Config{Issuer: "https://login.example", Audience: "https://api.example"}) // no I/O
//	mux.Handle("GET /reports", api.Handler(reports, "reports.read")) // reports reads bearer.FromContext(r.Context())
//
// Handler asks for scopes; Require takes any Rule: AnyScope, Role, Audience, ACR, MaxAge, Allow. Either puts a token and a browser's session on one route.
// Verify, Authorize and Failure are the same for other transports; modules beside this one do gRPC and Connect with them.
//
// # What is checked
//
// A token is the one of the Authorization header: never of the query, of a form only if asked for. It must be a compact JWS of at most 16 KiB in its one
// canonical spelling, typ at+jwt, with strict JSON; iss one that is configured, aud this API, exp, nbf and iat on the clock's right side, sub, client_id and
// jti there; signed by a key that the issuer publishes, by an asymmetric algorithm that fits it (RFC 9068 section 4, RFC 8725). What a provider does
// otherwise is named in a Profile, point by point. ID tokens, logout tokens, tokens bound to a key (cnf), encrypted tokens and anything unsigned are refused.
// Opaque tokens are asked about, where Introspection says how.
//
// # What it costs
//
// A token seen before costs a hash and a look-up, and no allocation. The memory of them is bounded (Cache), and an entry ends with its token and with its key.
// A new token costs its signature check and little else. How many are checked at once is bounded (Config.MaxVerifying), and forged tokens compete with other
// strangers, not with parties whose tokens have been good.
//
// # Answers
//
// 401 without error code: no token. 400 invalid_request: a header that can't be read, or two tokens. 401 invalid_token. 403 insufficient_scope. 401
// insufficient_user_authentication: step-up (RFC 9470). 503 with Retry-After, and no challenge: nobody knows at the moment. Each with a problem document
// (RFC 9457) and, up to 403, a challenge (RFC 6750 section 3). Nothing of the token is in any of them.
//
// A program that uses this package for its API alone links neither cookies nor gorilla/sessions.
package bearer
