package rp_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

func ExampleClient_Begin() {
	op, err := rptest.New(rptest.Options{Issuer: "https://op.example"})
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := rp.New(rp.Config{
		Issuer:       op.Issuer(),
		ClientID:     op.ClientID(),
		ClientSecret: op.ClientSecret(),
		RedirectURL:  "https://shop.example/auth/callback",
		HTTPClient:   op.Client(), // in memory; leave it out for a real provider
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	login, err := client.Begin(context.Background(), rp.AuthParams{Prompt: "login"})
	if err != nil {
		fmt.Println(err)
		return
	}
	// Seal login for this browser, and redirect it to login.URL.
	u, _ := url.Parse(login.URL)
	fmt.Println(u.Host, u.Query().Get("response_type"), u.Query().Get("code_challenge_method"), u.Query().Get("prompt"))
	// Output: op.example code S256 login
}

// A whole login, with the browser's part played by an http.Client.
func ExampleClient_Finish() {
	op, err := rptest.New(rptest.Options{Issuer: "https://op.example"})
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := rp.New(rp.Config{
		Issuer: op.Issuer(), ClientID: op.ClientID(), ClientSecret: op.ClientSecret(),
		RedirectURL: "https://shop.example/auth/callback", HTTPClient: op.Client(),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	login, err := client.Begin(ctx, rp.AuthParams{})
	if err != nil {
		fmt.Println(err)
		return
	}
	tokens, err := client.Finish(ctx, login, visit(op, login.URL))
	if err != nil {
		fmt.Println(err) // errors.Is: ErrMismatch, ErrInvalidToken, ErrUnavailable; errors.As: *ProviderError
		return
	}
	fmt.Println("signed in:", tokens.IDToken.Subject)

	renewed, err := client.Refresh(ctx, tokens.OAuth2.RefreshToken, tokens.IDToken)
	if err != nil {
		fmt.Println(err) // IsInvalidGrant(err): the session is over
		return
	}
	fmt.Println("rotated:", renewed.OAuth2.RefreshToken != tokens.OAuth2.RefreshToken)
	// Output:
	// signed in: alice
	// rotated: true
}

// visit follows the provider's redirects until one leads back to the application, and returns its parameters.
func visit(op *rptest.Provider, target string) url.Values {
	browser := op.Client()
	browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for range 10 {
		resp, err := browser.Get(target)
		if err != nil {
			return nil
		}
		resp.Body.Close()
		next, err := resp.Location()
		if err != nil {
			return nil
		}
		if next.Host == "shop.example" {
			return next.Query()
		}
		target = next.String()
	}
	return nil
}
