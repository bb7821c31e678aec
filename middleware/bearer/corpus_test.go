package bearer_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/latchkey-go/latchkey/middleware/bearer"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

// The attack corpus: tokens that somebody has got past some verifier, each beside the nearest token that is good.

// secret stands in every claim that is nobody's business: no error, answer or log line may hold it.
const secret = "s3cret"

var corpusAlgs = []string{"RS256", "PS256", "ES256", "EdDSA"}

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

// run refuses every attack and accepts its neighbour, for every algorithm in RFC 9068's dialect and for one in each other, which knows nothing of
// algorithms; each at an API of its own. The time is that of a bubble: a kid that nobody knows waits for the key set's next turn.
func run(t *testing.T, attacks []attack, keys func(alg string) []map[string]any) {
	corpusKeys()
	for _, alg := range corpusAlgs {
		for _, d := range dialects {
			if d.name != "RFC9068" && alg != "ES256" {
				continue
			}
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
