package bench

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/middleware/bearer"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/pkg/authentication/user"
)

// verify judges one token and hands its claims to the application.
type verify func(raw string) (application, error)

var algorithms = []string{"RS256", "PS256", "ES256", "EdDSA"}

// contenders are all who verify the issuer's tokens, with warm keys.
func contenders(tb testing.TB, is *issuer) map[string]verify {
	return map[string]verify{
		"latchkey":            ours(tb, is, bearer.Cache{Off: true}),
		"latchkey seen":       ours(tb, is, bearer.Cache{}),
		"go-oidc":             goOIDC(is),
		"zitadel":             zitadel(is),
		"keyfunc+golang-jwt":  keyfuncJWT(tb, is),
		"jwx":                 jwxCache(tb, is),
		"auth0 go-jwt-middle": auth0(tb, is),
	}
}

func ours(tb testing.TB, is *issuer, seen bearer.Cache) verify {
	v := verifier(tb, is, seen)
	return func(raw string) (app application, err error) {
		t, err := v.Verify(context.Background(), raw)
		if err != nil {
			return app, err
		}
		return app, t.Decode(&app)
	}
}

func verifier(tb testing.TB, is *issuer, cache bearer.Cache) *bearer.Verifier {
	v, err := bearer.New(bearer.Config{Issuer: is.url, Audience: audience, InsecureLoopbackHTTP: true, Cache: cache})
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// TestEveryContenderDoesTheWork keeps the comparison fair: each takes the good token with its claims, and refuses each bad one.
func TestEveryContenderDoesTheWork(t *testing.T) {
	for _, alg := range algorithms {
		is := newIssuer(t, alg)
		good := is.token(nil)
		bad := map[string]string{
			"signature": good[:len(good)-10] + "AAAAAAAAAA",
			"exp":       is.token(func(c map[string]any) { c["exp"] = 1_000_000_000 }),
			"aud":       is.token(func(c map[string]any) { c["aud"] = "https://other.example" }),
			"iss":       is.token(func(c map[string]any) { c["iss"] = "https://other.example" }),
		}
		for name, judge := range contenders(t, is) {
			if app, err := judge(good); err != nil || app.Email != "alice@example.com" || len(app.Groups) != 3 {
				t.Errorf("%s %s: %v, %+v", alg, name, err, app)
			}
			for what, raw := range bad {
				if _, err := judge(raw); err == nil {
					t.Errorf("%s %s takes a bad %s", alg, name, what)
				}
			}
		}
	}
}

// BenchmarkBearer verifies one token, the same for everyone, and reads the application's claims.
func BenchmarkBearer(b *testing.B) {
	for _, alg := range algorithms {
		is := newIssuer(b, alg)
		raw := is.token(nil)
		signature := is.bare(raw)
		b.Run(alg+"/floor: sha256 and the bare signature check", func(b *testing.B) { each(b, signature) })
		all := contenders(b, is)
		cold := verifier(b, is, bearer.Cache{Off: true})
		b.Run(alg+"/latchkey, claims not decoded", func(b *testing.B) {
			each(b, func() error { _, err := cold.Verify(context.Background(), raw); return err })
		})
		for _, name := range sortedNames(all) {
			judge := all[name]
			b.Run(alg+"/"+name, func(b *testing.B) {
				each(b, func() error { _, err := judge(raw); return err })
			})
		}
	}
}

// BenchmarkBearerParallel is BenchmarkBearer on all processors.
func BenchmarkBearerParallel(b *testing.B) {
	for _, alg := range []string{"RS256", "ES256"} {
		is := newIssuer(b, alg)
		raw := is.token(nil)
		b.Run(alg+"/floor: sha256 and the bare signature check", func(b *testing.B) { parallel(b, is.bare(raw)) })
		all := contenders(b, is)
		cold := verifier(b, is, bearer.Cache{Off: true})
		b.Run(alg+"/latchkey, claims not decoded", func(b *testing.B) {
			parallel(b, func() error { _, err := cold.Verify(context.Background(), raw); return err })
		})
		for _, name := range sortedNames(all) {
			judge := all[name]
			b.Run(alg+"/"+name, func(b *testing.B) {
				parallel(b, func() error { _, err := judge(raw); return err })
			})
		}
	}
}

// BenchmarkSeen looks up tokens that were seen before, of 20,000 live ones: our verifier, the Kubernetes API server's cache before its token authenticators,
// and the least that can be done, a hash and a look-up; from one goroutine, then from one on each processor.
func BenchmarkSeen(b *testing.B) {
	const live = 20_000
	is := newIssuer(b, "EdDSA") // the cheapest to sign
	tokens := make([]string, live)
	for i := range tokens {
		tokens[i] = is.token(func(c map[string]any) { c["jti"] = fmt.Sprintf("token-%d", i) })
	}
	floor := &shards{}
	v := verifier(b, is, bearer.Cache{MaxEntries: 2 * live, MaxBytes: 1 << 30})
	var behind atomic.Int64
	apiServer := cache.New(authenticator.TokenFunc(func(context.Context, string) (*authenticator.Response, bool, error) {
		behind.Add(1)
		return &authenticator.Response{User: &user.DefaultInfo{Name: "alice"}}, true, nil
	}), false, time.Hour, 0)
	kubernetes := func(raw string) error {
		_, ok, err := apiServer.AuthenticateToken(context.Background(), raw)
		if err == nil && !ok {
			err = errors.New("not authenticated")
		}
		return err
	}
	for _, raw := range tokens {
		floor.put(sha256.Sum256([]byte(raw)))
		if _, err := v.Verify(context.Background(), raw); err != nil {
			b.Fatal(err)
		}
		if err := kubernetes(raw); err != nil {
			b.Fatal(err)
		}
	}
	lookups := map[string]func(raw string) error{
		"floor: sha256 alone": func(raw string) error { sum := hash(raw); _ = sum; return nil },
		"floor: sha256 and a sharded map": func(raw string) error {
			if !floor.has(hash(raw)) {
				return errors.New("not there")
			}
			return nil
		},
		"kubernetes": kubernetes,
		"latchkey":   func(raw string) error { _, err := v.Verify(context.Background(), raw); return err },
	}
	for _, name := range sortedNames(lookups) {
		lookup := lookups[name]
		i := 0
		b.Run(name, func(b *testing.B) {
			each(b, func() error {
				i++
				return lookup(tokens[i*7919%live])
			})
		})
	}
	for _, name := range sortedNames(lookups) {
		lookup := lookups[name]
		b.Run(name+", parallel", func(b *testing.B) {
			parallel(b, func() error { return lookup(tokens[mathrand.IntN(live)]) })
		})
	}
	if s := v.Stats(); s.Misses > live+live/100 {
		b.Errorf("%+v: the cache did not keep the tokens", s)
	}
	if n := behind.Load(); n > live+live/100 {
		b.Errorf("the cache of Kubernetes asked %d times", n)
	}
}

func sortedNames[V any](m map[string]V) (names []string) {
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func each(b *testing.B, f func() error) {
	b.ReportAllocs()
	for b.Loop() {
		if err := f(); err != nil {
			b.Fatal(err)
		}
	}
}

func parallel(b *testing.B, f func() error) {
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if err := f(); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// shards is a map behind 64 locks, as the floor of a cache.
type shards [64]struct {
	mu   sync.RWMutex
	seen map[[32]byte]*int
}

func (s *shards) put(sum [32]byte) {
	shard := &s[sum[0]%64]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if shard.seen == nil {
		shard.seen = map[[32]byte]*int{}
	}
	shard.seen[sum] = new(int)
}

func (s *shards) has(sum [32]byte) bool {
	shard := &s[sum[0]%64]
	shard.mu.RLock()
	defer shard.mu.RUnlock()
	return shard.seen[sum] != nil
}

// random bytes for whoever signs.
var random = rand.Reader
