package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/gorilla/sessions"
	"github.com/latchkey-go/latchkey/examples/internal/program"
	"github.com/latchkey-go/latchkey/session"
)

// config is what flags and environment say.
type config struct {
	addr                  string
	issuer                string
	clientID              string
	clientSecret          string
	redirectURL           string
	postLogoutRedirectURL string
	scopes                []string
	acr                   string
	insecureHTTP          bool
	httpClient            *http.Client
	keys                  [][]byte
	store                 sessions.Store
	embedded              bool
	out                   io.Writer
}

func configure(args []string, getenv func(string) string, out io.Writer) (config, error) {
	cfg := config{out: out}
	var scopes, store, caFile string
	flags := flag.NewFlagSet("login", flag.ContinueOnError)
	flags.StringVar(&cfg.addr, "addr", "127.0.0.1:8080", "`address` to listen on")
	flags.StringVar(&cfg.issuer, "issuer", getenv("OIDC_ISSUER"), "the provider's issuer `URL`; none: an embedded provider (OIDC_ISSUER)")
	flags.StringVar(&cfg.clientID, "client-id", getenv("OIDC_CLIENT_ID"), "client `id` at the provider (OIDC_CLIENT_ID)")
	flags.StringVar(&cfg.clientSecret, "client-secret", getenv("OIDC_CLIENT_SECRET"), "client `secret`; none: a public client (OIDC_CLIENT_SECRET)")
	flags.StringVar(&cfg.redirectURL, "redirect-url", "", "callback `URL` registered at the provider; none: http://ADDR/auth/callback")
	flags.StringVar(&scopes, "scopes", "openid profile email", "`scopes` to ask for, separated by spaces")
	flags.StringVar(&cfg.acr, "acr", "", "acr `value` demanded before the sensitive page; none: only a fresh login")
	flags.StringVar(&store, "session", "cookie", "where sessions are kept: `cookie or memory`")
	flags.StringVar(&caFile, "ca-file", "", "PEM `file` of certificate authorities to trust for the provider")
	flags.BoolVar(&cfg.insecureHTTP, "insecure-http", false, "accept a provider at an http URL on a loopback address")
	if err := program.Parse(flags, args, out, "A web application with login. Without -issuer it brings its own provider, with users alice and bob.\nLOGIN_SESSION_KEY (base64, 32 bytes) keeps sessions over a restart."); err != nil {
		return cfg, err
	}
	cfg.scopes = strings.Fields(scopes)
	cfg.embedded = cfg.issuer == ""
	if err := cfg.check(); err != nil {
		return cfg, program.UsageError{Err: err}
	}
	for _, step := range []func() error{
		func() (err error) { cfg.httpClient, err = program.Client(caFile); return err },
		func() error { return cfg.readKeys(getenv("LOGIN_SESSION_KEY")) },
		func() error { return cfg.openStore(store) },
	} {
		if err := step(); err != nil {
			return cfg, program.UsageError{Err: err}
		}
	}
	return cfg, nil
}

func (cfg *config) check() error {
	if err := program.CheckAddr(cfg.addr); err != nil {
		return err
	}
	if cfg.embedded {
		if cfg.clientID != "" || cfg.clientSecret != "" {
			return errors.New("-client-id and -client-secret need -issuer; leave them out to use the embedded provider")
		}
		return nil
	}
	if cfg.clientID == "" {
		return errors.New("-issuer needs -client-id; register this application at the provider and pass the id it gives")
	}
	return program.CheckIssuer(cfg.issuer, cfg.insecureHTTP)
}

// readKeys takes the cookie key from the environment, so that sessions outlive a restart, or makes one.
func (cfg *config) readKeys(encoded string) error {
	key := make([]byte, 32)
	if encoded == "" {
		_, _ = rand.Read(key) // never fails, see crypto/rand
	} else {
		var err error
		if key, err = base64.StdEncoding.DecodeString(encoded); err != nil || len(key) < 32 {
			return errors.New("LOGIN_SESSION_KEY must be at least 32 bytes in base64; make one with: openssl rand -base64 32")
		}
	}
	cfg.keys = [][]byte{key}
	return nil
}

func (cfg *config) openStore(name string) error {
	switch name {
	case "cookie": // what a nil Store means
	case "memory":
		memory, err := session.NewMemoryStore(session.MemoryConfig{})
		if err != nil {
			return err
		}
		cfg.store = memory
	default:
		return fmt.Errorf("-session %q is unknown; choose cookie or memory", name)
	}
	return nil
}

// settle fills in the URLs that depend on where the application listens.
func (cfg *config) settle(addr net.Addr) {
	cfg.addr = program.Reach(addr)
	if cfg.redirectURL == "" {
		cfg.redirectURL = "http://" + cfg.addr + "/auth/callback"
	}
	if u, err := url.Parse(cfg.redirectURL); err == nil {
		cfg.postLogoutRedirectURL = u.Scheme + "://" + u.Host + "/auth/logged-out"
	}
}

// origin is where browsers find the application.
func (cfg *config) origin() string {
	return strings.TrimSuffix(cfg.postLogoutRedirectURL, "/auth/logged-out")
}

// ordersURL is where the application itself finds the orders service: its own listener.
func (cfg *config) ordersURL() string { return "http://" + cfg.addr + "/orders" }

func (cfg *config) announce() {
	fmt.Fprintf(cfg.out, "Open %s/\n", cfg.origin())
	if cfg.embedded {
		fmt.Fprintf(cfg.out, "Sign in as alice or bob; the password is the name. The provider is at %s\n", cfg.issuer)
	} else {
		fmt.Fprintf(cfg.out, "Users sign in at %s; it must know the callback %s\n", cfg.issuer, cfg.redirectURL)
	}
}
