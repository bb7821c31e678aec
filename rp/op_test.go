package rp_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/rp"
)

const (
	testIssuer   = "https://op.example/"
	testClient   = "client-1"
	testSecret   = "secret-1"
	testCallback = "https://shop.example/auth/callback"
)

// keys of the providers here, made once.
var keys = sync.OnceValue(func() map[string]any {
	m := map[string]any{}
	var err error
	if m["rsa"], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		panic(err)
	}
	if m["rsa2"], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		panic(err)
	}
	if m["ec"], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		panic(err)
	}
	if m["ec384"], err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader); err != nil {
		panic(err)
	}
	if _, m["ed"], err = ed25519.GenerateKey(rand.Reader); err != nil {
		panic(err)
	}
	return m
})

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// sign makes a compact JWS by the standard library alone, from header and payload as they are, well-formed or not.
func sign(alg string, key any, header, payload []byte) string {
	input := b64(header) + "." + b64(payload)
	h256 := sha256.Sum256([]byte(input))
	var sig []byte
	var err error
	switch alg {
	case "RS256":
		sig, err = rsa.SignPKCS1v15(rand.Reader, key.(*rsa.PrivateKey), crypto.SHA256, h256[:])
	case "PS256":
		sig, err = rsa.SignPSS(rand.Reader, key.(*rsa.PrivateKey), crypto.SHA256, h256[:], &rsa.PSSOptions{SaltLength: 32})
	case "ES256":
		var r, s *big.Int
		r, s, err = ecdsa.Sign(rand.Reader, key.(*ecdsa.PrivateKey), h256[:])
		if err == nil {
			sig = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		}
	case "ES384":
		h := sha512.Sum384([]byte(input))
		var r, s *big.Int
		r, s, err = ecdsa.Sign(rand.Reader, key.(*ecdsa.PrivateKey), h[:])
		if err == nil {
			sig = append(r.FillBytes(make([]byte, 48)), s.FillBytes(make([]byte, 48))...)
		}
	case "EdDSA":
		sig = ed25519.Sign(key.(ed25519.PrivateKey), []byte(input))
	case "HS256":
		m := hmac.New(sha256.New, key.([]byte))
		m.Write([]byte(input))
		sig = m.Sum(nil)
	case "none":
	default:
		panic("no signer for " + alg)
	}
	if err != nil {
		panic(err)
	}
	return input + "." + b64(sig)
}

// jwk is a public key as a JWKS member; alg may be empty.
func jwk(kid, alg string, key any) map[string]any {
	m := map[string]any{"use": "sig"}
	if kid != "" {
		m["kid"] = kid
	}
	if alg != "" {
		m["alg"] = alg
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		m["kty"], m["n"], m["e"] = "RSA", b64(k.N.Bytes()), b64(big.NewInt(int64(k.E)).Bytes())
	case *ecdsa.PrivateKey:
		raw, err := k.PublicKey.Bytes()
		if err != nil {
			panic(err)
		}
		n := (len(raw) - 1) / 2
		m["kty"], m["crv"], m["x"], m["y"] = "EC", k.Params().Name, b64(raw[1:1+n]), b64(raw[1+n:])
	case ed25519.PrivateKey:
		m["kty"], m["crv"], m["x"] = "OKP", "Ed25519", b64(k.Public().(ed25519.PublicKey))
	}
	return m
}

// op is a provider in memory: an http.RoundTripper, so that nothing leaves the process and synctest's clock rules.
type op struct {
	issuer   string
	secret   string
	metadata map[string]any
	jwks     []map[string]any

	alg    string // of ID tokens
	key    any
	header map[string]any       // further header members
	edit   func(map[string]any) // changes the ID token's claims
	wrap   func(string) string  // changes the finished ID token
	tokens func(map[string]any) // changes the token response
	answer func(r *http.Request, form url.Values) *http.Response
	other  func(r *http.Request) *http.Response // endpoints that have no answer here

	mu       sync.Mutex
	logins   map[string]url.Values // by code
	used     map[string]bool
	sent     []request
	jwksGets int
	refresh  int
}

type request struct {
	path   string
	header http.Header
	form   url.Values
}

func newOP() *op {
	k := keys()
	p := &op{
		issuer: testIssuer,
		secret: testSecret,
		alg:    "RS256",
		key:    k["rsa"],
		header: map[string]any{"kid": "rsa"},
		logins: map[string]url.Values{},
		used:   map[string]bool{},
	}
	base := strings.TrimSuffix(p.issuer, "/")
	p.metadata = map[string]any{
		"issuer":                                p.issuer,
		"authorization_endpoint":                base + "/authorize",
		"token_endpoint":                        base + "/token",
		"jwks_uri":                              base + "/jwks",
		"response_types_supported":              []string{"code"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256", "none"},
	}
	p.jwks = []map[string]any{
		jwk("rsa", "", k["rsa"]), jwk("ec", "", k["ec"]), jwk("ec384", "", k["ec384"]), jwk("ed", "", k["ed"]),
	}
	return p
}

// use makes the provider sign with alg, and say so.
func (p *op) use(alg string) {
	name := map[string]string{"RS256": "rsa", "PS256": "rsa", "ES256": "ec", "ES384": "ec384", "EdDSA": "ed"}[alg]
	p.alg, p.key, p.header = alg, keys()[name], map[string]any{"kid": name}
	p.metadata["id_token_signing_alg_values_supported"] = []string{alg, "none"}
}

func (p *op) config() rp.Config {
	return rp.Config{
		Issuer: p.issuer, ClientID: testClient, ClientSecret: p.secret, RedirectURL: testCallback,
		HTTPClient: &http.Client{Transport: p},
	}
}

func (p *op) client(t testing.TB, change ...func(*rp.Config)) *rp.Client {
	t.Helper()
	cfg := p.config()
	for _, f := range change {
		f(&cfg)
	}
	c, err := rp.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func reply(status int, contentType, body string) *http.Response {
	h := http.Header{}
	if contentType != "" {
		h.Set("Content-Type", contentType)
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), ProtoMajor: 1, ProtoMinor: 1}
}

func replyJSON(status int, v any) *http.Response {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return reply(status, "application/json", string(b))
}

func (p *op) RoundTrip(r *http.Request) (*http.Response, error) {
	var form url.Values
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			return nil, err
		}
		form, _ = url.ParseQuery(string(b))
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	path := r.URL.Host + r.URL.Path
	p.mu.Lock()
	p.sent = append(p.sent, request{path, r.Header.Clone(), form})
	p.mu.Unlock()
	var resp *http.Response
	switch {
	case strings.HasSuffix(path, "/.well-known/openid-configuration"):
		resp = replyJSON(200, p.metadata)
	case strings.HasSuffix(path, "/jwks"):
		p.mu.Lock()
		p.jwksGets++
		p.mu.Unlock()
		resp = replyJSON(200, map[string]any{"keys": p.jwks})
	case strings.HasSuffix(path, "/token") && p.answer != nil:
		resp = p.answer(r, form)
		if resp == nil {
			return nil, io.ErrUnexpectedEOF
		}
	case strings.HasSuffix(path, "/token"):
		resp = p.token(form)
	case p.other != nil:
		resp = p.other(r)
		if resp == nil {
			return nil, io.ErrUnexpectedEOF
		}
	default:
		resp = reply(404, "text/plain", "no such page")
	}
	resp.Request = r
	// A connection whose request was given up meanwhile brings no answer.
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return resp, nil
}

// token is the honest token endpoint.
func (p *op) token(form url.Values) *http.Response {
	out := map[string]any{"access_token": "access-1", "token_type": "Bearer", "scope": "openid profile email"}
	nonce := ""
	switch form.Get("grant_type") {
	case "authorization_code":
		code := form.Get("code")
		p.mu.Lock()
		login, ok := p.logins[code]
		used := p.used[code]
		p.used[code] = true
		p.mu.Unlock()
		sum := sha256.Sum256([]byte(form.Get("code_verifier")))
		if !ok || used || form.Get("redirect_uri") != login.Get("redirect_uri") || login.Has("code_challenge") && b64(sum[:]) != login.Get("code_challenge") {
			return replyJSON(400, map[string]any{"error": "invalid_grant"})
		}
		nonce = login.Get("nonce")
		out["refresh_token"] = "refresh-1"
	case "refresh_token":
		p.mu.Lock()
		p.refresh++
		n := p.refresh
		p.mu.Unlock()
		out["access_token"] = fmt.Sprint("access-", n+1)
		out["refresh_token"] = fmt.Sprint("refresh-", n+1)
	default:
		return replyJSON(400, map[string]any{"error": "unsupported_grant_type"})
	}
	out["id_token"] = p.idToken(nonce, out["access_token"].(string), form.Get("code"))
	if p.tokens != nil {
		p.tokens(out)
	}
	return replyJSON(200, out)
}

// claims are those of an honest ID token.
func (p *op) claims(nonce string) map[string]any {
	now := time.Now().Unix()
	c := map[string]any{"iss": p.issuer, "sub": "user-1", "aud": testClient, "iat": now, "exp": now + 300}
	if nonce != "" {
		c["nonce"] = nonce
	}
	return c
}

func (p *op) idToken(nonce, access, code string) string {
	c := p.claims(nonce)
	c["at_hash"] = half(p.alg, access)
	if code != "" {
		c["c_hash"] = half(p.alg, code)
	}
	if p.edit != nil {
		p.edit(c)
	}
	return p.seal(c)
}

// seal signs claims with the provider's header and key.
func (p *op) seal(c map[string]any) string {
	h := map[string]any{"alg": p.alg}
	for k, v := range p.header {
		h[k] = v
	}
	payload, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	header, err := json.Marshal(h)
	if err != nil {
		panic(err)
	}
	raw := sign(p.alg, p.key, header, payload)
	if p.wrap != nil {
		raw = p.wrap(raw)
	}
	return raw
}

// half is the left half of the hash of the token algorithm.
func half(alg, value string) string {
	switch alg {
	case "EdDSA", "HS512":
		h := sha512.Sum512([]byte(value))
		return b64(h[:32])
	case "ES384":
		h := sha512.Sum384([]byte(value))
		return b64(h[:24])
	}
	h := sha256.Sum256([]byte(value))
	return b64(h[:16])
}

// authorize is the browser's visit: it returns what the provider sends back to the callback.
func (p *op) authorize(t testing.TB, login *rp.Login) url.Values {
	t.Helper()
	u, err := url.Parse(login.URL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	p.mu.Lock()
	defer p.mu.Unlock()
	code := fmt.Sprint("code-", len(p.logins)+1)
	p.logins[code] = q
	return url.Values{"code": {code}, "state": {q.Get("state")}}
}

// login is a whole login.
func (p *op) login(t testing.TB, c *rp.Client, params rp.AuthParams) (*rp.Tokens, error) {
	t.Helper()
	login, err := c.Begin(context.Background(), params)
	if err != nil {
		t.Fatal(err)
	}
	return c.Finish(context.Background(), login, p.authorize(t, login))
}

// count is the number of requests to the token endpoint.
func (p *op) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, r := range p.sent {
		if strings.HasSuffix(r.path, "/token") {
			n++
		}
	}
	return n
}

// last is the last request to the token endpoint.
func (p *op) last() request {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.sent) - 1; i >= 0; i-- {
		if strings.HasSuffix(p.sent[i].path, "/token") {
			return p.sent[i]
		}
	}
	return request{}
}

// remarshal decodes and encodes v, as sealing a login in a cookie does.
func remarshal[T any](t testing.TB, v T) T {
	t.Helper()
	var buf bytes.Buffer
	if err := json.NewEncoder(&buf).Encode(v); err != nil {
		t.Fatal(err)
	}
	var out T
	if err := json.NewDecoder(&buf).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}
