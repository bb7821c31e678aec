package rptest_test

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/latchkey-go/latchkey/rp/rptest"
)

// A program under test asks the provider by its own HTTP client; nothing listens anywhere.
func ExampleNew() {
	provider, err := rptest.New(rptest.Options{Issuer: "https://op.example"})
	if err != nil {
		panic(err)
	}
	resp, err := provider.Client().Get(provider.Issuer() + "/.well-known/openid-configuration")
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status, provider.Hits(rptest.Discovery))
	// Output: 200 OK 1
}

// Any middleware is a fault. Those at hand cover what providers and networks are known to do.
func ExampleProvider_Fault() {
	provider, err := rptest.New(rptest.Options{Issuer: "https://op.example"})
	if err != nil {
		panic(err)
	}
	provider.Fault(rptest.Discovery, rptest.Status(http.StatusBadGateway, "bad gateway"))
	provider.FaultTimes(rptest.Discovery, rptest.Down, 1) // goes first
	for range 2 {
		resp, err := provider.Client().Get(provider.Issuer() + "/.well-known/openid-configuration")
		if err != nil {
			fmt.Println("no answer")
			continue
		}
		resp.Body.Close()
		fmt.Println(resp.Status)
	}
	// Output:
	// no answer
	// 502 Bad Gateway
}

// A Browser walks through application and provider, cookies, redirects and forms included.
func ExampleBrowser() {
	provider, err := rptest.New(rptest.Options{Issuer: "https://op.example", Interactive: true, Clients: []rptest.Client{{ID: "shop", Secret: "s", AllowNoPKCE: true}}})
	if err != nil {
		panic(err)
	}
	provider.HandleHost("shop.example", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/callback" {
			fmt.Fprint(w, "a code came: ", r.FormValue("code") != "")
			return
		}
		query := url.Values{"client_id": {"shop"}, "redirect_uri": {"https://shop.example/callback"}, "response_type": {"code"}, "scope": {"openid"}}
		http.Redirect(w, r, "https://op.example/authorize?"+query.Encode(), http.StatusFound)
	}))
	browser := provider.Browser()
	page, err := browser.Get("https://shop.example/")
	if err != nil {
		panic(err)
	}
	fmt.Println(page.URL.Path)
	page, err = browser.Submit(page, "sign-in", url.Values{"username": {"alice"}, "password": {"alice"}})
	if err != nil {
		panic(err)
	}
	fmt.Println(page.Body)
	// Output:
	// /login
	// a code came: true
}
