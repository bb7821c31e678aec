// Package middleware puts login in front of net/http handlers: routes, redirects, status codes.
//
//	guard := &middleware.Guard{Sessions: sessions}
//	http.ListenAndServe(addr, guard.Handler(guard.Require(app))) // app reads session.FromContext(r.Context())
//
// Handler answers the routes of login and logout; Require, Optional, RequireACR, RequireFresh and Authorize guard handlers, all of them or one by one.
//
// # Who is redirected
//
// Only a navigation, the browser loading a page, is sent to the provider. A fetch() or XHR, a WebSocket handshake, a prefetch and a frame are answered 401, the first
// three with application/problem+json and the login URL, and leave no cookie behind. An expired form POST gets a page that says so: a redirect would lose what was
// typed without a word. The rules read Sec-Fetch-Mode, Sec-Fetch-Dest and Sec-Purpose, and where a browser sends none of them Accept and X-Requested-With.
//
// # Behind a proxy
//
// No X-Forwarded header is read, ever. Where the application is for browsers says rp.Config.RedirectURL: its path is the callback's, its scheme makes cookies
// Secure, its origin is the one trusted for POSTs and WebSockets. If a proxy strips a path prefix, put http.StripPrefix's reverse in front of the Guard.
//
// # Outages
//
// A provider that is down stops no running session; a login gets 503 with Retry-After. A session store that is down gets 503 too: never a login, which would fail as well, and
// never an anonymous page in place of the user's own.
package middleware
