// Command replicas is one application on two replicas behind a reverse proxy, with its sessions in one Redis: log in on one, be logged in on the other, be logged
// out by the provider on both. It brings its own provider; Redis must run (-redis), or -memory does without.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"sync/atomic"
	"time"

	"github.com/latchkey-go/latchkey/middleware"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
	"github.com/latchkey-go/latchkey/session/redisbackend"
	"github.com/redis/go-redis/v9"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "replicas:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("replicas", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:8080", "`address` of the proxy")
	redisAddr := flags.String("redis", "127.0.0.1:6379", "`address` of Redis")
	memory := flags.Bool("memory", false, "share a backend in memory in place of Redis: both replicas are in this process")
	if err := flags.Parse(args); err != nil {
		return err
	}
	backend, err := open(ctx, *redisAddr, *memory)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	origin := "http://" + listener.Addr().String()
	provider, err := embed(ctx, origin)
	if err != nil {
		return err
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // the same on every replica; yours comes from a secret store
	var replicas []*url.URL
	for _, name := range []string{"A", "B"} {
		app, err := replica(name, origin, provider, backend, key)
		if err != nil {
			return err
		}
		address, err := serve(ctx, app)
		if err != nil {
			return err
		}
		replicas = append(replicas, &url.URL{Scheme: "http", Host: address})
	}
	fmt.Fprintf(out, "Open %s/ and reload: the replicas take turns. Sign in as alice or bob; the password is the name.\n", origin)
	return listen(ctx, listener, balance(replicas))
}

// open is where the replicas' sessions are.
func open(ctx context.Context, addr string, memory bool) (session.Backend, error) {
	if memory {
		return session.NewMemoryBackend(0), nil
	}
	client := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true})
	ping, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := client.Ping(ping).Err(); err != nil {
		return nil, fmt.Errorf("no Redis at %s (%w); start one with: redis-server --port 6379, or use -memory", addr, err)
	}
	return redisbackend.New(client, redisbackend.Config{Prefix: "latchkey-example:"})
}

// replica is one process of the application; in production each is on a machine of its own.
func replica(name, origin string, provider *rptest.Provider, backend session.Backend, key []byte) (http.Handler, error) {
	client, err := rp.New(rp.Config{
		Issuer: provider.Issuer(), ClientID: provider.ClientID(), ClientSecret: provider.ClientSecret(),
		RedirectURL: origin + "/auth/callback", InsecureLoopbackHTTP: true, Logger: slog.Default(),
	})
	if err != nil {
		return nil, err
	}
	store, err := session.NewServerStore(backend, key)
	if err != nil {
		return nil, err
	}
	sessions, err := session.New(client, session.Config{Keys: [][]byte{key}, Store: store, BackchannelLogout: true, Logger: slog.Default()})
	if err != nil {
		return nil, err
	}
	guard := &middleware.Guard{Sessions: sessions}
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", guard.Require(&page{name, sessions}))
	mux.HandleFunc("POST /provider-logout", func(w http.ResponseWriter, r *http.Request) {
		// What an administrator does at the provider, or the user in another application.
		if err := provider.BackchannelLogout(r.Context(), r.FormValue("user")); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	return guard.Handler(mux), nil
}

// balance sends each request to the next replica.
func balance(replicas []*url.URL) http.Handler {
	var turn atomic.Uint64
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(replicas[turn.Add(1)%uint64(len(replicas))])
		r.Out.Host = r.In.Host
	}}
}

// embed starts a provider that tells the application of logouts.
func embed(ctx context.Context, origin string) (*rptest.Provider, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	provider, err := rptest.New(rptest.Options{
		Issuer: "http://" + listener.Addr().String(), Interactive: true, ShowHints: true,
		Clients: []rptest.Client{{
			ID: "replicas-example", Secret: rand.Text(), RedirectURIs: []string{origin + "/auth/callback"},
			BackchannelLogoutURI: origin + "/auth/backchannel-logout",
		}},
	})
	if err != nil {
		return nil, err
	}
	go listen(ctx, listener, provider)
	return provider, nil
}

func serve(ctx context.Context, handler http.Handler) (addr string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go listen(ctx, listener, handler)
	return listener.Addr().String(), nil
}

func listen(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
