// Package native logs somebody in from a program on their own machine (RFC 8252): the system's browser goes to the provider, and comes back to a listener on the loopback
// interface that is there for this one login.
//
//	client, tokens, err := native.Login(ctx, rp.Config{Issuer: issuer, ClientID: id}, native.Options{})
//	err = client.TokenSource(ctx, store, "me").Save(ctx, tokens)
//
// Register the client as a public (native) one with the redirect URI http://127.0.0.1/callback: providers that follow RFC 8252 section 7.3 take it with any port. For one that does not,
// state a port in Options.Address and register that. Without a browser on the machine use rp.Client.Device.
package native

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"github.com/latchkey-go/latchkey/rp"
)

const (
	callbackPath   = "/callback"
	defaultTimeout = 5 * time.Minute
	// lastAnswers is how long the page may take to reach the browser.
	lastAnswers = 3 * time.Second
	maxForm     = 64 << 10
)

// ErrTimeout: nobody has come back from the provider in time.
var ErrTimeout = errors.New("native: nobody has logged in in time")

// Options are those of one login. The zero value is fine.
type Options struct {
	// Address is where the listener is, a loopback address; empty: 127.0.0.1 (or ::1, where there is no other) and a port that is free.
	Address string
	// Open shows the URL to the user, and returns soon. Nil: the system's browser. An error of it ends nothing: the URL stands in Out.
	Open func(ctx context.Context, url string) error
	// Out gets the line with the URL, for who has to open it by hand. Nil: os.Stderr.
	Out io.Writer
	// Timeout is how long the user may take; zero: 5 minutes.
	Timeout time.Duration
	// Params are those of the login. Add the scope offline_access for tokens that outlive it.
	Params rp.AuthParams
}

// Login logs in, and returns the client that did, whose RedirectURL is the listener's, and its tokens; use neither after an error. cfg.RedirectURL is ignored.
// Errors: ErrTimeout; a *rp.ProviderError when the user, or the provider, has refused; others as rp.New, Begin and Finish have; ctx's. The listener is closed by then.
func Login(ctx context.Context, cfg rp.Config, o Options) (*rp.Client, *rp.Tokens, error) {
	listener, err := listen(o.Address)
	if err != nil {
		return nil, nil, err
	}
	defer listener.Close()
	cfg.RedirectURL = "http://" + listener.Addr().String() + callbackPath
	client, err := rp.New(cfg)
	if err != nil {
		return nil, nil, err
	}
	timeout := cmp.Or(o.Timeout, defaultTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%w: %v", ErrTimeout, timeout))
	defer cancel()
	login, err := client.Begin(ctx, o.Params)
	if err != nil {
		return nil, nil, err
	}
	c := &callback{ctx: ctx, client: client, login: login, host: listener.Addr().String(), done: make(chan struct{})}
	silent := &connections{open: map[net.Conn]bool{}}
	server := &http.Server{
		ConnState: silent.note,
		Handler:   c, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: log.New(io.Discard, "", 0), // of strangers who poke the port
	}
	go server.Serve(listener) // ends with the listener
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastAnswers)
		defer cancel()
		listener.Close()
		silent.close() // or Shutdown would wait for them
		if server.Shutdown(last) != nil {
			server.Close()
		}
	}()
	out := o.Out
	if out == nil {
		out = os.Stderr
	}
	fmt.Fprintf(out, "Log in at %s\n", login.URL)
	open := o.Open
	if open == nil {
		open = browse
	}
	if err := open(ctx, login.URL); err != nil {
		fmt.Fprintln(out, "No browser could be opened here; please open it yourself.")
	}
	select {
	case <-c.done:
		return client, c.tokens, c.err
	case <-ctx.Done():
		answered := true
		c.once.Do(func() { answered = false }) // nobody may come back any more
		if !answered {
			return nil, nil, context.Cause(ctx)
		}
		<-c.done // the code was being redeemed when the time was up: its tokens are not thrown away
		return client, c.tokens, c.err
	}
}

// connections are those that have sent nothing yet: who opens one could keep the program waiting.
type connections struct {
	mu   sync.Mutex
	open map[net.Conn]bool
}

func (c *connections) note(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state == http.StateNew {
		c.open[conn] = true
	} else {
		delete(c.open, conn)
	}
}

func (c *connections) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.open {
		conn.Close()
	}
}

func listen(address string) (net.Listener, error) {
	if address == "" {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			listener, err = net.Listen("tcp", "[::1]:0")
		}
		if err != nil {
			return nil, fmt.Errorf("native: no port is free on the loopback interface: %w", err)
		}
		return listener, nil
	}
	host, _, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("native: Options.Address %q is no loopback address with a port, such as 127.0.0.1:8250 (RFC 8252 section 8.3)", address)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("native: Options.Address: %w", err)
	}
	return listener, nil
}

// browse opens the system's browser, without a shell that could read the URL as anything else.
func browse(ctx context.Context, target string) error {
	name, args := "xdg-open", []string{target}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", target}
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), name, args...)
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // ends with it
	return nil
}

// callback is the listener's handler: it answers one browser, once. Everybody on the machine can reach it, and every web page can have a browser do so.
type callback struct {
	ctx    context.Context
	client *rp.Client
	login  *rp.Login
	host   string

	once   sync.Once
	done   chan struct{}
	tokens *rp.Tokens
	err    error
}

func (c *callback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	post := c.client.ResponseMode() == "form_post"
	switch {
	case r.Host != c.host && r.Host+":80" != c.host: // a name that a stranger has pointed here (DNS rebinding)
		http.Error(w, "wrong host", http.StatusMisdirectedRequest)
		return
	case r.URL.Path != callbackPath:
		http.NotFound(w, r)
		return
	case r.Method != http.MethodGet && !post, r.Method != http.MethodPost && post:
		http.Error(w, "wrong method", http.StatusMethodNotAllowed)
		return
	}
	answer, err := c.answer(w, r, post)
	if err != nil || subtle.ConstantTimeCompare([]byte(answer.Get("state")), []byte(c.login.State)) != 1 {
		show(w, http.StatusBadRequest, page{Title: "Not this login", Text: "This answer belongs to no login that is under way here. Nothing has happened; you can close this window."})
		return
	}
	mine := false
	c.once.Do(func() {
		mine = true
		c.tokens, c.err = c.client.Finish(c.ctx, c.login, answer)
	})
	switch {
	case !mine:
		show(w, http.StatusBadRequest, page{Title: "Used before", Text: "This login has ended already. You can close this window."})
		return
	case c.err != nil:
		show(w, http.StatusForbidden, page{Title: "Not logged in", Text: "You can close this window; the program says more.", Detail: refusal(c.err)})
	default:
		show(w, http.StatusOK, page{Title: "You are logged in", Text: "You can close this window and go back to the program."})
	}
	close(c.done)
}

func (c *callback) answer(w http.ResponseWriter, r *http.Request, post bool) (url.Values, error) {
	if !post {
		return url.ParseQuery(r.URL.RawQuery)
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	err := r.ParseForm()
	return r.PostForm, err
}

// refusal is what the provider says, for the page: hostile input, which the template escapes.
func refusal(err error) string {
	if e, ok := errors.AsType[*rp.ProviderError](err); ok && e.Endpoint == "authorization" {
		return cmp.Or(e.Description, e.Code)
	}
	return ""
}
