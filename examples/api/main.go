// Command api is an API guarded by bearer tokens: GET /orders needs the scope orders:read, GET /healthz nothing. Without flags it
// brings its own provider and prints the commands to try it with; with -issuer and -audience it stands before yours.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"

	"github.com/latchkey-go/latchkey/examples/internal/program"
	"github.com/latchkey-go/latchkey/middleware/bearer"
)

func main() {
	program.Main("api", func(ctx context.Context) error { return run(ctx, os.Args[1:], os.Stdout) })
}

// service is all there is to an API: what it verifies tokens with, and the handlers behind it.
func service(cfg bearer.Config) (http.Handler, error) {
	api, err := bearer.New(cfg)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /orders", api.Handler(http.HandlerFunc(orders), "orders:read"))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	return mux, nil
}

func orders(w http.ResponseWriter, r *http.Request) {
	token := bearer.FromContext(r.Context())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"customer": token.Subject,
		"client":   token.ClientID,
		"orders":   []map[string]any{{"id": 1042, "item": "A brass latchkey", "price": "12.00"}},
	})
}
