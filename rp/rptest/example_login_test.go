package rptest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/latchkey-go/latchkey/middleware"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

// A test of a handler behind login: the provider, the application and the browser are all in this process, without a socket.
func ExampleNew_handlerBehindLogin() {
	provider, _ := rptest.New(rptest.Options{Issuer: "https://op.example"})
	client, _ := rp.New(rp.Config{
		Issuer: provider.Issuer(), ClientID: provider.ClientID(), ClientSecret: provider.ClientSecret(),
		RedirectURL: "https://app.example/auth/callback", HTTPClient: provider.Client(),
	})
	sessions, _ := session.New(client, session.Config{Keys: [][]byte{[]byte(strings.Repeat("test key", 4))}, SingleProcess: true})
	guard := &middleware.Guard{Sessions: sessions}
	orders := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "orders of "+session.FromContext(r.Context()).Claims().Name())
	})
	provider.HandleHost("app.example", guard.Handler(guard.Require(orders)))

	provider.SignInAs("bob")
	page, err := provider.Browser().Get("https://app.example/orders")
	fmt.Println(page.Status, page.Body, err)
	// Output: 200 orders of Bob Baker <nil>
}
