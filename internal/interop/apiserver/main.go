// Command apiserver is an API behind bearer.Handler. It prints one line of JSON, {"url"}, and serves until its standard input ends.
// GET /orders needs a token with the scope orders:read; GET /stats tells what has happened so far.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
	"github.com/latchkey-go/latchkey/middleware/bearer"
)

func main() {
	issuer := flag.String("issuer", "", "issuer of the tokens")
	audience := flag.String("audience", "", "the name of this API")
	cooldown := flag.Duration("cooldown", 0, "discovery.Config.Cooldown")
	lifetime := flag.Duration("lifetime", 0, "discovery.Config.MinLifetime")
	flag.Parse()
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	if err := run(*audience, bearer.Issuer{Issuer: *issuer, Discovery: discovery.Config{Cooldown: *cooldown, MinLifetime: *lifetime}}); err != nil {
		fmt.Fprintln(os.Stderr, "apiserver:", err)
		os.Exit(1)
	}
}

func run(audience string, issuer bearer.Issuer) error {
	calls := new(counter)
	api, err := bearer.New(bearer.Config{
		Audience: audience, Issuers: []bearer.Issuer{issuer}, InsecureLoopbackHTTP: true, HTTPClient: &http.Client{Transport: calls},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /orders", api.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, bearer.FromContext(r.Context()).ClientID)
	}), "orders:read"))
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		s := calls.stats()
		s.Cache, s.Goroutines = api.Stats(), runtime.NumGoroutine()
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(s)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("{\"url\": %q}\n", "http://"+listener.Addr().String())
	return (&http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}).Serve(listener)
}

// Stats is what GET /stats answers.
type Stats struct {
	Cache           bearer.Stats
	Fetched, Failed int // fetches of the key set
	Goroutines      int
}

// counter counts fetches of the key set.
type counter struct {
	mu sync.Mutex
	s  Stats
}

func (c *counter) stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.s
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if !strings.HasSuffix(r.URL.Path, "/jwks") {
		return resp, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil || resp.StatusCode != http.StatusOK {
		c.s.Failed++
	} else {
		c.s.Fetched++
	}
	return resp, err
}
