// Command login is a web application with login around it: a public page, protected pages, a call to an API with the
// user's token, step-up and logout. Without flags it brings its own provider and two users; with -issuer it logs in at yours.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/latchkey-go/latchkey/examples/internal/program"
	"github.com/latchkey-go/latchkey/middleware"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/session"
)

func main() {
	program.Main("login", func(ctx context.Context) error {
		cfg, err := configure(os.Args[1:], os.Getenv, os.Stdout)
		if err != nil {
			return err
		}
		return run(ctx, cfg)
	})
}

// run serves the application until ctx ends.
func run(ctx context.Context, cfg config) error {
	listener, err := program.Listen(cfg.addr)
	if err != nil {
		return err
	}
	defer listener.Close()
	cfg.settle(listener.Addr())
	if cfg.issuer == "" {
		stop, err := embedProvider(&cfg)
		if err != nil {
			return err
		}
		defer stop()
	}
	app, err := application(cfg)
	if err != nil {
		return program.UsageError{Err: err} // what the constructors refuse is a setting
	}
	cfg.announce()
	return program.Serve(ctx, listener, app)
}

// application is all there is to login: a client, its sessions, a guard, and the handlers behind it.
func application(cfg config) (http.Handler, error) {
	client, err := rp.New(rp.Config{
		Issuer:                cfg.issuer,
		ClientID:              cfg.clientID,
		ClientSecret:          cfg.clientSecret,
		RedirectURL:           cfg.redirectURL,
		PostLogoutRedirectURL: cfg.postLogoutRedirectURL,
		Scopes:                cfg.scopes,
		HTTPClient:            cfg.httpClient,
		InsecureLoopbackHTTP:  cfg.insecureHTTP,
		Logger:                slog.Default(),
	})
	if err != nil {
		return nil, err
	}
	sessions, err := session.New(client, session.Config{
		Keys:          cfg.keys,
		Store:         cfg.store,
		SingleProcess: true,
		UserInfo:      true,
		Logger:        slog.Default(),
	})
	if err != nil {
		return nil, err
	}
	guard := &middleware.Guard{Sessions: sessions, Logger: slog.Default()}

	pages := &pages{client: client, cfg: cfg}
	sensitive := guard.RequireFresh(http.HandlerFunc(pages.sensitive), 5*time.Minute)
	if cfg.acr != "" {
		sensitive = guard.RequireACR(sensitive, cfg.acr)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", guard.Optional(http.HandlerFunc(pages.home)))
	mux.Handle("GET /private", guard.Require(http.HandlerFunc(pages.private)))
	mux.Handle("GET /private/api", guard.Require(http.HandlerFunc(pages.callAPI)))
	mux.Handle("GET /private/sensitive", sensitive)
	mux.Handle("GET /orders", ordersAPI(client, cfg.httpClient))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.Handle("GET /static/", static())
	return guard.Handler(mux), nil
}
