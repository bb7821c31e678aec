// Package session keeps one browser signed in: cookies, lifetimes, refresh and revocation around an rp.Client.
//
//	sessions, err := session.New(client, session.Config{Keys: keys, SingleProcess: true})
//	...
//	url, err := sessions.Begin(w, r, "/orders", rp.AuthParams{})   // send the browser there
//	s, returnTo, err := sessions.Finish(w, r, nil)                 // at the callback
//	s, err := sessions.Load(w, r)                                  // at every request
//	url, err := sessions.End(w, r, "/")                            // log out
//
// Most programs use package middleware, which makes these calls.
//
// # What is kept where
//
// A login attempt lives in the browser only, in a sealed cookie of its own, for Config.AttemptLifetime. A session lives where Config.Store says:
// sealed in cookies (the default), in this process (MemoryStore), or in any gorilla store, sealed before the store sees it.
// Cookies are named __Host-Http-latchkey under an https redirect URL, so that browsers keep them Secure, HttpOnly and to this host;
// under http on a loopback host, where browsers would refuse that name, plain latchkey.
//
// # What a store must be able to do
//
// A refresh token that rotates may be used once. In one process the manager sees to that. Across processes a store would have to take a lease, which cookies
// and gorilla's port can't. So with those a refresh token is kept only when Config.SingleProcess says that one process is all there is; without it a session
// ends with its tokens (see Config.OutliveTokens), and New refuses a client that asks for offline_access.
//
// The same holds for logging out: what End and Revoke write into the ledger is known to the processes that share the ledger.
package session
