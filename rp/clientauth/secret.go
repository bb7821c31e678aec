package clientauth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
)

var errNoSecret = errors.New("clientauth: the client secret is empty; use None for a public client")

// Basic is client_secret_basic: id and secret are form-urlencoded first, as RFC 6749 section 2.3.1 says.
// The characters - . _ ~ stay as they are: some servers compare without decoding.
func Basic(secret string) Method { return &basic{&secret} }

// Post is client_secret_post: id and secret in the form (RFC 6749 section 2.3.1). Prefer Basic where the provider takes it.
func Post(secret string) Method { return &post{&secret} }

// None is for public clients: client_id alone.
func None() Method { return none{} }

// The secret is behind a pointer because fmt follows unexported fields of a caller's struct past any Formatter, but not pointers to strings.
type basic struct{ secret *string }

func (*basic) Name() string { return "client_secret_basic" }

func (m *basic) Authenticate(_ context.Context, r *Request) error {
	if *m.secret == "" {
		return errNoSecret
	}
	// One method per request (RFC 6749 section 2.3): a client_id beside the header is a second, weaker one to some servers.
	r.Form.Del("client_id")
	r.Form.Del("client_secret")
	pair := url.QueryEscape(r.ClientID) + ":" + url.QueryEscape(*m.secret)
	r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	return nil
}

func (m *basic) Format(f fmt.State, _ rune) { io.WriteString(f, m.Name()+"([redacted])") }
func (m *basic) LogValue() slog.Value       { return slog.StringValue(fmt.Sprint(m)) }

type post struct{ secret *string }

func (*post) Name() string { return "client_secret_post" }

func (m *post) Authenticate(_ context.Context, r *Request) error {
	if *m.secret == "" {
		return errNoSecret
	}
	r.Form.Set("client_id", r.ClientID)
	r.Form.Set("client_secret", *m.secret)
	return nil
}

func (m *post) Format(f fmt.State, _ rune) { io.WriteString(f, m.Name()+"([redacted])") }
func (m *post) LogValue() slog.Value       { return slog.StringValue(fmt.Sprint(m)) }

type none struct{}

func (none) Name() string { return "none" }

func (none) Authenticate(_ context.Context, r *Request) error {
	r.Form.Set("client_id", r.ClientID)
	return nil
}
