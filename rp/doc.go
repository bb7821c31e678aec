// Package rp speaks OpenID Connect to one provider for one client: the protocol, without cookies or HTTP handlers.
//
// A login is two calls, with the browser's trip to the provider between them:
//
//	client, err := rp.New(rp.Config{Issuer: issuer, ClientID: id, ClientSecret: secret, RedirectURL: callback})
//
//	login, err := client.Begin(ctx, rp.AuthParams{})        // send the browser to login.URL, keep login sealed
//	tokens, err := client.Finish(ctx, login, r.URL.Query()) // at the callback
//	user := tokens.IDToken.Subject
//
// Tokens of somebody who is not there any more are kept in a TokenStore, and fresh by a TokenSource; a Keeper does that for many. Grants that need no browser
// of ours have a method each:
//
//	source := client.TokenSource(ctx, tokens, "tenant-42") // source.Save(ctx, tokens) after the login
//	source := client.ClientCredentials(ctx, "reports.write")
//	api := &http.Client{Transport: &rp.Transport{Source: source}}
//
// Package session keeps the login and the tokens between requests, and package middleware wraps both around a web
// application; use rp alone where there is no browser session, as in a command-line tool.
package rp
