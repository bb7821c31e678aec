package discovery_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/latchkey-go/latchkey/discovery"
)

var _ oidc.KeySet = (*discovery.KeySet)(nil)

// TestMain fails when goroutines outlive the tests.
func TestMain(m *testing.M) {
	code := m.Run()
	left := goroutines()
	for end := time.Now().Add(5 * time.Second); len(left) > 0 && time.Now().Before(end); left = goroutines() {
		time.Sleep(10 * time.Millisecond)
	}
	if len(left) > 0 && code == 0 {
		fmt.Fprintf(os.Stderr, "goroutines are left:\n%s\n", strings.Join(left, "\n\n"))
		code = 1
	}
	os.Exit(code)
}

// goroutines returns the stacks of all but this one and the fuzzer's signal handler.
func goroutines() []string {
	stacks := make([]byte, 1<<20)
	all := strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n")
	return slices.DeleteFunc(all[1:], func(s string) bool { return strings.Contains(s, "os/signal.") })
}

const issuer = "https://op.example"

// op is a provider in memory. Its fields may be changed between calls, under mu when calls may be on their way.
type op struct {
	mu      sync.Mutex
	answer  map[string]func(*http.Request) (*http.Response, error) // by path; what is missing is 404
	calls   map[string]int                                         // by URL less issuer
	latency time.Duration
	keys    []jose.JSONWebKey // private
	begun   int               // calls not yet answered, too
}

// newOP must be called outside of a bubble first, or the clock stands still while keys are made; see signers.
func newOP(kids ...string) *op {
	p := &op{calls: map[string]int{}}
	p.answer = map[string]func(*http.Request) (*http.Response, error){
		"/.well-known/openid-configuration": func(*http.Request) (*http.Response, error) {
			return reply(200, "application/json", metadata(nil)), nil
		},
		"/keys": func(*http.Request) (*http.Response, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			return reply(200, "application/jwk-set+json", jwks(p.keys...)), nil
		},
	}
	p.publish(kids...)
	return p
}

// publish makes the key set the RSA key "rsa" under each of kids.
func (p *op) publish(kids ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = nil
	for _, kid := range kids {
		p.keys = append(p.keys, jwk("rsa", kid))
	}
}

func (p *op) set(path string, f func(*http.Request) (*http.Response, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer[path] = f
}

func (p *op) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	p.calls[strings.TrimPrefix(r.URL.String(), issuer)]++
	p.begun++
	f, latency := p.answer[r.URL.Path], p.latency
	p.mu.Unlock()
	if latency > 0 {
		select {
		case <-time.After(latency):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	if f == nil || r.URL.Host != "op.example" {
		return reply(404, "text/html", "<html>not here</html>"), nil
	}
	resp, err := f(r)
	if resp != nil {
		resp.Request = r
	}
	return resp, err
}

func (p *op) count(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[path]
}

func (p *op) total() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.begun
}

func (p *op) provider(t testing.TB, change ...func(*discovery.Config)) *discovery.Provider {
	t.Helper()
	cfg := discovery.Config{Issuer: issuer, HTTPClient: &http.Client{Transport: p}}
	for _, f := range change {
		f(&cfg)
	}
	provider, err := discovery.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return provider
}

func reply(status int, contentType, body string, header ...string) *http.Response {
	h := http.Header{}
	if contentType != "" {
		h.Set("Content-Type", contentType)
	}
	for i := 0; i < len(header); i += 2 {
		h.Add(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}

func always(status int, contentType, body string, header ...string) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) { return reply(status, contentType, body, header...), nil }
}

func down(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }

func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// metadata is a proper document with some members changed; nil removes one.
func metadata(change map[string]any) string {
	m := map[string]any{
		"issuer": issuer, "authorization_endpoint": issuer + "/authorize", "token_endpoint": issuer + "/token", "jwks_uri": issuer + "/keys",
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256"}, "code_challenge_methods_supported": []string{"S256"},
	}
	for name, v := range change {
		if m[name] = v; v == nil {
			delete(m, name)
		}
	}
	return encode(m)
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// signers are made once, and outside of any bubble.
var signers = map[string]crypto.Signer{}

func init() {
	must := func(k crypto.Signer, err error) crypto.Signer {
		if err != nil {
			panic(err)
		}
		return k
	}
	for _, name := range []string{"rsa", "rsa2", "rsa3"} {
		signers[name] = must(rsa.GenerateKey(rand.Reader, 2048))
	}
	signers["rsa1024"] = must(rsa.GenerateKey(rand.Reader, 1024))
	signers["p256"] = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	signers["p256b"] = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	signers["p384"] = must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	for _, name := range []string{"ed", "ed2"} {
		_, ed, err := ed25519.GenerateKey(rand.Reader)
		signers[name] = must(ed, err)
	}
}

func jwk(name, kid string) jose.JSONWebKey { return jose.JSONWebKey{Key: signers[name], KeyID: kid} }

// jwks is the public key set of keys.
func jwks(keys ...jose.JSONWebKey) string {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range keys {
		set.Keys = append(set.Keys, k.Public())
	}
	return encode(set)
}

// member is the public JWK as a map, to be spoilt.
func member(k jose.JSONWebKey, change map[string]any) map[string]any {
	var m map[string]any
	if err := json.Unmarshal([]byte(encode(k.Public())), &m); err != nil {
		panic(err)
	}
	for name, v := range change {
		if m[name] = v; v == nil {
			delete(m, name)
		}
	}
	return m
}

func set(members ...any) string {
	if members == nil {
		members = []any{}
	}
	return encode(map[string]any{"keys": members})
}

// sign makes a token; kid "" means none.
func sign(t testing.TB, alg, name, kid string) string {
	t.Helper()
	opts := &jose.SignerOptions{}
	if kid != "" {
		opts.WithHeader("kid", kid)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: signers[name]}, opts)
	if err != nil {
		t.Fatal(err)
	}
	object, err := s.Sign([]byte(`{"sub":"1"}`))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := object.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// reason is the check of a SignatureError, "unavailable", or "".
func reason(err error) string {
	if e, ok := errors.AsType[*discovery.SignatureError](err); ok {
		return e.Check
	}
	if errors.Is(err, discovery.ErrUnavailable) {
		return "unavailable"
	}
	return fmt.Sprint(err)
}

func wantUnavailable(t *testing.T, err error, text string) *discovery.UnavailableError {
	t.Helper()
	e, ok := errors.AsType[*discovery.UnavailableError](err)
	if !ok || !errors.Is(err, discovery.ErrUnavailable) || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want an UnavailableError with %q", err, text)
		return &discovery.UnavailableError{}
	}
	if len(err.Error()) > 600 {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
	return e
}
