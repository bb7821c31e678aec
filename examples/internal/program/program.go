// Package program is what the example programs have in common: mistakes on the command line that end in one clear line, a client for
// calls to the provider, an embedded provider, and a server that stops when it is asked to.
package program

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/latchkey-go/latchkey/rp/rptest"
)

// UsageError is a mistake on the command line: one line on stderr, exit status 2.
type UsageError struct{ Err error }

func (e UsageError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e UsageError) Unwrap() error { return e.Err }

// ErrHelp means that help was asked for and given.
var ErrHelp = errors.New("help was asked for")

// Main runs a program until it ends or is interrupted.
func Main(name string, run func(ctx context.Context) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err == nil || errors.Is(err, ErrHelp) {
		return
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	if _, ok := errors.AsType[UsageError](err); ok {
		os.Exit(2)
	}
	os.Exit(1)
}

// Parse parses args, which are all flags. about is printed before them when help is asked for.
func Parse(flags *flag.FlagSet, args []string, out io.Writer, about string) error {
	flags.SetOutput(io.Discard)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(out)
		fmt.Fprintf(out, "Usage: %s [flags]\n\n%s\n", flags.Name(), about)
		flags.PrintDefaults()
		return ErrHelp
	case err != nil:
		return UsageError{fmt.Errorf("%w; run with -h to see the flags", err)}
	case flags.NArg() > 0:
		return UsageError{fmt.Errorf("unexpected argument %q; all settings are flags, run with -h to see them", flags.Arg(0))}
	}
	return nil
}

// CheckAddr checks -addr.
func CheckAddr(addr string) error {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return fmt.Errorf("-addr %q is no address; write HOST:PORT, such as 127.0.0.1:8080", addr)
	}
	return nil
}

// CheckIssuer checks -issuer.
func CheckIssuer(issuer string, insecureHTTP bool) error {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" {
		return fmt.Errorf("-issuer %q is no URL; write it as the provider does, such as https://login.example", issuer)
	}
	if u.Scheme == "http" && !insecureHTTP {
		return errors.New("-issuer is an http URL; use https, or -insecure-http for a provider on this machine")
	}
	return nil
}

// Client makes the client for calls to the provider. It trusts the authorities in caFile, if there is one, and no others then.
func Client(caFile string) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	if caFile == "" {
		return client, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("-ca-file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("-ca-file %s holds no PEM certificate", caFile)
	}
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	return client, nil
}

// Listen listens on -addr.
func Listen(addr string) (net.Listener, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, UsageError{fmt.Errorf("-addr: %w; choose another with -addr 127.0.0.1:PORT", err)}
	}
	return listener, nil
}

// Reach is where a listener can be reached from this machine, as HOST:PORT.
func Reach(listener net.Addr) string {
	host, port, _ := net.SplitHostPort(listener.String())
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// Serve serves handler until ctx ends.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(ctx)
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Embed starts a provider on a loopback port of its own; options gets its issuer.
func Embed(options func(issuer string) rptest.Options) (issuer string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	issuer = "http://" + listener.Addr().String()
	opts := options(issuer)
	opts.Issuer = issuer
	provider, err := rptest.New(opts)
	if err != nil {
		listener.Close()
		return "", nil, err
	}
	server := &http.Server{Handler: provider, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener) // ends with stop
	return issuer, func() { server.Close() }, nil
}
