package bearer_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-go/latchkey/middleware/bearer"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

// The attack corpus: tokens that somebody has got past some verifier, each beside the nearest token that is good.

// secret stands in every claim that is nobody's business: no error, answer or log line may hold it.
const secret = "s3cret"

var corpusAlgs = []string{"RS256", "PS256", "ES256", "EdDSA"}

// corpusKeys are what the provider of the corpus signs with, by kid, and "stranger-" keys that are published nowhere.
var corpusKeys = sync.OnceValue(func() map[string]crypto.Signer {
	all := map[string]crypto.Signer{}
	for kid, size := range map[string]int{"RS256": 2048, "PS256": 2048, "stranger-RSA": 2048, "any-rsa": 2048, "small": 1024} {
		all[kid], _ = rsa.GenerateKey(rand.Reader, size)
	}
	for kid, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "stranger-EC": elliptic.P256(), "off-curve": elliptic.P256(), "ES384": elliptic.P384()} {
		all[kid], _ = ecdsa.GenerateKey(curve, rand.Reader)
	}
	for _, kid := range []string{"EdDSA", "stranger-OKP", "other-okp", "short"} {
		_, all[kid], _ = ed25519.GenerateKey(rand.Reader)
	}
	all["only-ps256"] = all["any-rsa"]
	for _, kid := range []string{"for-encryption", "ops-encrypt", "ops-verify", "private"} {
		all[kid] = all["ES384"]
	}
	return all
})

// published is the JWK of a key of corpusKeys, with changes: pairs of names and values, nil for none.
func published(kid string, changes ...any) map[string]any {
	var m map[string]any
	raw, err := json.Marshal(jose.JSONWebKey{Key: corpusKeys()[kid].Public(), KeyID: kid, Use: "sig"})
	if err != nil || json.Unmarshal(raw, &m) != nil {
		panic(err)
	}
	for i := 0; i < len(changes); i += 2 {
		if m[changes[i].(string)] = changes[i+1]; changes[i+1] == nil {
			delete(m, changes[i].(string))
		}
	}
	return m
}

// keySet publishes keys of corpusKeys.
func keySet(keys ...map[string]any) rptest.Keys {
	raw, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	return rptest.Keys{Raw: raw}
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func unb64(s string) string {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// mac is HMAC-SHA-256, for the tokens that take a public key for a secret.
func mac(key []byte, input string) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(input))
	return string(h.Sum(nil))
}

// signature signs by the standard library, so that nothing stands in an attack's way.
func signature(alg string, key crypto.Signer, input string) string {
	message, opts := []byte(input), crypto.SignerOpts(crypto.Hash(0))
	if hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[alg[2:]]; hash != 0 {
		digest := hash.New()
		digest.Write(message)
		message, opts = digest.Sum(nil), hash
		if alg[0] == 'P' {
			opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
		}
	}
	raw, err := key.Sign(rand.Reader, message, opts)
	if err != nil {
		panic(err)
	}
	if public, ok := key.Public().(*ecdsa.PublicKey); ok {
		var points struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(raw, &points); err != nil {
			panic(err)
		}
		raw = rawECDSA(points.R, points.S, (public.Params().BitSize+7)/8)
	}
	return string(raw)
}

func rawECDSA(r, s *big.Int, size int) []byte {
	return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
}

// draft is a token before it is signed.
type draft struct {
	header, claims       map[string]any
	rawHeader, rawClaims string                    // not empty: in place of the maps
	alg                  string                    // to sign with, whatever the header says
	key                  crypto.Signer             // to sign with
	sign                 func(input string) string // in place of alg and key
	after                func(token string) string // changes the finished token
}

func (d *draft) token() string {
	text := func(raw string, m map[string]any) string {
		if raw != "" {
			return raw
		}
		b, err := json.Marshal(m)
		if err != nil {
			panic(err)
		}
		return string(b)
	}
	input := b64(text(d.rawHeader, d.header)) + "." + b64(text(d.rawClaims, d.claims))
	sign := d.sign
	if sign == nil {
		sign = func(input string) string { return signature(d.alg, d.key, input) }
	}
	token := input + "." + b64(sign(input))
	if d.after != nil {
		token = d.after(token)
	}
	return token
}

// dialect is what a profile's good tokens look like.
type dialect struct {
	name    string
	profile bearer.Profile
	typ     string
	extra   []any // pairs beside those of fixture.claims
}

var dialects = []dialect{
	{"RFC9068", bearer.Profile{}, "at+jwt", nil},
	{"Keycloak", bearer.Keycloak(), "JWT", []any{"client_id", nil, "azp", "shop", "typ", "Bearer"}},
	{"Auth0", bearer.Auth0(), "JWT", []any{"client_id", nil, "azp", "shop"}},
}

// corpus is an API in one dialect before a provider in memory that signs with one algorithm.
type corpus struct {
	*fixture
	dialect
	alg     string
	handler http.Handler
	log     *logBook
}

// logBook keeps what is logged at every level.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// tear returns what was logged since the last time.
func (l *logBook) tear() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

// newCorpus publishes keys, by default the algorithm's own.
func newCorpus(t testing.TB, alg string, d dialect, keys ...map[string]any) *corpus {
	op, err := rptest.New(rptest.Options{Issuer: "https://op.example", SigningAlg: alg})
	if err != nil {
		t.Fatal(err)
	}
	if keys == nil {
		keys = append(keys, published(alg))
	}
	op.SetKeys(keySet(keys...))
	c := &corpus{fixture: &fixture{t: t, op: op}, dialect: d, alg: alg, log: &logBook{}}
	c.api = c.verifier()
	c.handler = c.api.Handler(reached)
	return c
}

func (c *corpus) verifier(change ...func(*bearer.Config)) *bearer.Verifier {
	return c.fixture.verifier(append([]func(*bearer.Config){func(cfg *bearer.Config) {
		cfg.Profile, cfg.HTTPClient, cfg.InsecureLoopbackHTTP = c.profile, c.op.Client(), false
		cfg.Logger = slog.New(slog.NewTextHandler(c.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}}, change...)...)
}

// with is c with another verifier.
func (c *corpus) with(change func(*bearer.Config)) *corpus {
	other := *c
	other.fixture = &fixture{t: c.t, op: c.op, api: c.verifier(change)}
	other.handler = other.api.Handler(reached)
	return &other
}

// draft is a good token in the corpus's dialect.
func (c *corpus) draft() *draft {
	claims := c.claims(append([]any{
		"sub", secret + "-alice", "jti", secret + "-id", "sid", secret + "-session", "email", secret + "@example.com", "scope", "orders:read " + secret,
	}, c.extra...)...)
	return &draft{header: map[string]any{"alg": c.alg, "kid": c.alg, "typ": c.typ}, claims: claims, alg: c.alg, key: corpusKeys()[c.alg]}
}

func (c *corpus) mint(bend func(*draft)) string {
	d := c.draft()
	if bend != nil {
		bend(d)
	}
	return d.token()
}

// accepts asserts that raw is good.
func (c *corpus) accepts(t testing.TB, raw string) *bearer.Token {
	t.Helper()
	tok, err := c.api.Verify(t.Context(), raw)
	if err != nil {
		t.Errorf("a good token: %v", err)
	}
	return tok
}

// refuses asserts that raw is refused for one reason, everywhere with 401 (400 where no header could carry it), and is not remembered or shown.
func (c *corpus) refuses(t testing.TB, raw, check string) {
	t.Helper()
	entries := c.api.Stats().Entries
	tok, err := c.api.Verify(t.Context(), raw)
	e, ok := errors.AsType[*bearer.TokenError](err)
	if !ok || tok != nil || !errors.Is(err, bearer.ErrInvalidToken) {
		t.Fatalf("%v and %v; want a refusal by %q", tok, err, check)
	}
	if e.Check != check {
		t.Errorf("refused by %q (%v), want %q", e.Check, err, check)
	}
	f := c.api.Failure(err)
	if f.Status != http.StatusUnauthorized || f.Code != "invalid_token" || f.Challenge == "" {
		t.Errorf("answered %+v", f)
	}
	status := http.StatusUnauthorized
	if _, err := bearer.FromAuthorization([]string{"Bearer " + raw}); err != nil {
		status = http.StatusBadRequest
	}
	w := get(c.handler, "Authorization", "Bearer "+raw)
	if w.Code != status {
		t.Errorf("the handler answered %d, want %d", w.Code, status)
	}
	for _, shown := range []string{err.Error(), fmt.Sprintf("%+v", f), w.Body.String(), fmt.Sprint(w.Header()), c.log.tear()} {
		if leaks(shown, raw) {
			t.Errorf("this shows too much: %.500s", shown)
		}
	}
	if n := c.api.Stats().Entries; n != entries {
		t.Errorf("%d tokens are remembered, %d were", n, entries)
	}
}

// leaks finds a secret claim, or a piece of the token that would be of use to somebody.
func leaks(shown, raw string) bool {
	if len(shown) > 4<<10 || strings.Contains(shown, secret) {
		return true
	}
	if parts := strings.Split(raw, "."); len(parts) > 1 {
		for _, p := range parts[1:] {
			if len(p) >= 24 && strings.Contains(shown, p[len(p)-24:]) {
				return true
			}
		}
	}
	return false
}

// attack is one row of the corpus.
type attack struct {
	name  string
	bend  func(*draft)
	check string            // what refuses it
	near  func(*draft)      // the nearest token that is good; nil: the one without change
	in    map[string]string // dialects where another check refuses it; "": it is good there
}

// run refuses every attack and accepts its neighbour, for every algorithm and dialect, each at an API of its own. The time is that of a bubble: a
// kid that nobody knows waits for the key set's next turn.
func run(t *testing.T, attacks []attack, keys func(alg string) []map[string]any) {
	corpusKeys()
	for _, alg := range corpusAlgs {
		for _, d := range dialects {
			for _, a := range attacks {
				t.Run(alg+"/"+d.name+"/"+a.name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						var set []map[string]any
						if keys != nil {
							set = keys(alg)
						}
						newCorpus(t, alg, d, set...).try(t, a)
					})
				})
			}
		}
	}
}

func (c *corpus) try(t *testing.T, a attack) {
	c.accepts(t, c.mint(a.near))
	check, other := a.in[c.dialect.name]
	switch {
	case !other:
		c.refuses(t, c.mint(a.bend), a.check)
	case check == "":
		c.accepts(t, c.mint(a.bend))
	default:
		c.refuses(t, c.mint(a.bend), check)
	}
}
