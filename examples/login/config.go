package main

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/gorilla/sessions"
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

// usageError is a mistake on the command line: one line on stderr, exit status 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

var errHelp = errors.New("help was asked for")

func configure(args []string, getenv func(string) string, out io.Writer) (config, error) {
	cfg := config{out: out}
	var scopes, store, caFile string
	flags := flag.NewFlagSet("login", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
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
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(out)
		fmt.Fprintln(out, "Usage: login [flags]\n\nA web application with login. Without -issuer it brings its own provider, with users alice and bob.\nLOGIN_SESSION_KEY (base64, 32 bytes) keeps sessions over a restart.")
		flags.PrintDefaults()
		return cfg, errHelp
	case err != nil:
		return cfg, usageError{fmt.Errorf("%w; run with -h to see the flags", err)}
	case flags.NArg() > 0:
		return cfg, usageError{fmt.Errorf("unexpected argument %q; all settings are flags, run with -h to see them", flags.Arg(0))}
	}
	cfg.scopes = strings.Fields(scopes)
	cfg.embedded = cfg.issuer == ""
	if err := cfg.check(); err != nil {
		return cfg, usageError{err}
	}
	for _, step := range []func() error{
		func() error { return cfg.trust(caFile) },
		func() error { return cfg.readKeys(getenv("LOGIN_SESSION_KEY")) },
		func() error { return cfg.openStore(store) },
	} {
		if err := step(); err != nil {
			return cfg, usageError{err}
		}
	}
	return cfg, nil
}

func (cfg *config) check() error {
	if _, _, err := net.SplitHostPort(cfg.addr); err != nil {
		return fmt.Errorf("-addr %q is no address; write HOST:PORT, such as 127.0.0.1:8080", cfg.addr)
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
	issuer, err := url.Parse(cfg.issuer)
	if err != nil || issuer.Host == "" {
		return fmt.Errorf("-issuer %q is no URL; write it as the provider does, such as https://login.example", cfg.issuer)
	}
	if issuer.Scheme == "http" && !cfg.insecureHTTP {
		return errors.New("-issuer is an http URL; use https, or -insecure-http for a provider on this machine")
	}
	return nil
}

// trust makes the client for calls to the provider.
func (cfg *config) trust(caFile string) error {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	cfg.httpClient = &http.Client{Transport: transport, Timeout: 10 * time.Second}
	if caFile == "" {
		return nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return fmt.Errorf("-ca-file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("-ca-file %s holds no PEM certificate", caFile)
	}
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	return nil
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
	host, port, _ := net.SplitHostPort(addr.String())
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	cfg.addr = net.JoinHostPort(host, port)
	if cfg.redirectURL == "" {
		cfg.redirectURL = "http://" + net.JoinHostPort(host, port) + "/auth/callback"
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
