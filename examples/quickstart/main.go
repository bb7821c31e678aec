// Command quickstart is the program of the README: login around every page of an application, in a dozen lines.
package main

import (
	"crypto/rand"
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/latchkey-go/latchkey/middleware"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/session"
)

func main() {
	client, err := rp.New(rp.Config{
		Issuer:       os.Getenv("OIDC_ISSUER"),
		ClientID:     os.Getenv("OIDC_CLIENT_ID"),
		ClientSecret: os.Getenv("OIDC_CLIENT_SECRET"),
		RedirectURL:  "http://127.0.0.1:8080/auth/callback",
	})
	if err != nil {
		log.Fatal(err)
	}
	key := make([]byte, 32)
	rand.Read(key) // keep yours: sessions end with the key
	sessions, err := session.New(client, session.Config{Keys: [][]byte{key}, SingleProcess: true})
	if err != nil {
		log.Fatal(err)
	}
	guard := &middleware.Guard{Sessions: sessions}
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", guard.Handler(guard.Require(http.HandlerFunc(app)))))
}

func app(w http.ResponseWriter, r *http.Request) {
	user := session.FromContext(r.Context())
	fmt.Fprintf(w, "Hello %s, you are %s at %s.\n", user.Claims().Name(), user.Subject, user.Issuer)
}
