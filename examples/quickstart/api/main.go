// Command api is the README's second program: an API before a provider that follows RFC 9068.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/latchkey-go/latchkey/middleware/bearer"
)

func main() {
	api, err := bearer.New(bearer.Config{Issuer: os.Getenv("OIDC_ISSUER"), Audience: "https://api.example"})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("GET /reports", api.Handler(http.HandlerFunc(reports), "reports.read"))
	log.Fatal(http.ListenAndServe("127.0.0.1:8081", nil))
}

func reports(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "Reports for %s.\n", bearer.FromContext(r.Context()).Subject)
}
