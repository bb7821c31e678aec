package bench_test

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/rp/store"
	zitadelrp "github.com/zitadel/oidc/v3/pkg/client/rp"
	zitadeloidc "github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"
)

const callers = 1000

// granted is a provider that rotates refresh tokens and takes none twice, and a grant whose access token has just ended.
type granted struct {
	op     *rptest.Provider
	client *rp.Client
	tokens *rp.Tokens
}

func newGranted(b *testing.B) *granted {
	b.Helper()
	op := rptest.Start(b, rptest.Options{SigningAlg: "ES256"})
	client, err := rp.New(rp.Config{Issuer: op.Issuer(), ClientID: op.ClientID(), ClientSecret: op.ClientSecret(), RedirectURL: "https://job.example/callback", InsecureLoopbackHTTP: true, HTTPClient: op.Client()})
	if err != nil {
		b.Fatal(err)
	}
	return &granted{op: op, client: client}
}

// renew is a new grant.
func (g *granted) renew(b *testing.B) {
	b.Helper()
	login, err := g.client.Begin(b.Context(), rp.AuthParams{})
	if err != nil {
		b.Fatal(err)
	}
	browser := *g.op.Client()
	browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := browser.Get(login.URL)
	if err != nil {
		b.Fatal(err)
	}
	resp.Body.Close()
	back, err := resp.Location()
	if err != nil {
		b.Fatal(err)
	}
	if g.tokens, err = g.client.Finish(b.Context(), login, back.Query()); err != nil {
		b.Fatal(err)
	}
	g.tokens.OAuth2.Expiry = time.Now().Add(-time.Minute)
}

func (g *granted) oauth2(style oauth2.AuthStyle) *oauth2.Config {
	return &oauth2.Config{ClientID: g.op.ClientID(), ClientSecret: g.op.ClientSecret(), Endpoint: oauth2.Endpoint{TokenURL: g.op.Issuer() + "/token", AuthStyle: style}}
}

// replicas are n stores of one backend, as n processes have them.
func (g *granted) replicas(b *testing.B, n int) func() error {
	b.Helper()
	backend := store.NewMemory(0)
	ring, err := store.NewKeyring([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		b.Fatal(err)
	}
	var sources []*rp.TokenSource
	for range n {
		tokens, err := rp.NewTokenStore(rp.TokenStoreConfig{Backend: backend, Keyring: ring})
		if err != nil {
			b.Fatal(err)
		}
		sources = append(sources, g.client.TokenSource(b.Context(), tokens, "tenant"))
	}
	if err := sources[0].Save(b.Context(), g.tokens); err != nil {
		b.Fatal(err)
	}
	var turn atomic.Int64
	return func() error {
		_, err := sources[int(turn.Add(1))%n].Token()
		return err
	}
}

// BenchmarkRefresh has a thousand goroutines ask for a token that has ended, all at once.
func BenchmarkRefresh(b *testing.B) {
	g := newGranted(b)
	ctx := context.WithValue(b.Context(), oauth2.HTTPClient, g.op.Client())
	clone := func(n int) []*oauth2.Token {
		tokens := make([]*oauth2.Token, n)
		for i := range tokens {
			copied := *g.tokens.OAuth2
			tokens[i] = &copied
		}
		return tokens
	}
	shared := func(n int, style oauth2.AuthStyle) func(b *testing.B) func() error {
		return func(*testing.B) func() error {
			var sources []oauth2.TokenSource
			for _, token := range clone(n) {
				sources = append(sources, g.oauth2(style).TokenSource(ctx, token))
			}
			var turn atomic.Int64
			return func() error {
				_, err := sources[int(turn.Add(1))%n].Token()
				return err
			}
		}
	}
	down := func(get func(b *testing.B) func() error) func(b *testing.B) func() error {
		return func(b *testing.B) func() error {
			f := get(b)
			g.op.Fault(rptest.Token, rptest.Status(http.StatusServiceUnavailable, ""))
			return f
		}
	}
	ours := func(n int) func(b *testing.B) func() error {
		return func(b *testing.B) func() error { return g.replicas(b, n) }
	}
	for _, x := range []struct {
		name string
		get  func(b *testing.B) func() error
	}{
		{"latchkey/one process", ours(1)},
		{"latchkey/two processes", ours(2)},
		{"oauth2/one shared source", shared(1, oauth2.AuthStyleInHeader)},
		{"oauth2/a source for each call", shared(callers, oauth2.AuthStyleInHeader)},
		{"oauth2/two processes", shared(2, oauth2.AuthStyleInHeader)},
		{"zitadel/a call for each", func(b *testing.B) func() error {
			party, err := zitadelrp.NewRelyingPartyOIDC(ctx, g.op.Issuer(), g.op.ClientID(), g.op.ClientSecret(), "https://job.example/callback", []string{"openid"}, zitadelrp.WithHTTPClient(g.op.Client()))
			if err != nil {
				b.Fatal(err)
			}
			return func() error {
				_, err := zitadelrp.RefreshTokens[*zitadeloidc.IDTokenClaims](ctx, party, g.tokens.OAuth2.RefreshToken, "", "")
				return err
			}
		}},
		{"latchkey/503", down(ours(1))},
		{"oauth2/503", down(shared(1, oauth2.AuthStyleInHeader))},
	} {
		b.Run(x.name, func(b *testing.B) {
			var requests, failed, reused float64
			for range b.N {
				b.StopTimer()
				g.op.ClearFaults()
				g.renew(b)
				get := x.get(b)
				g.op.ResetHits()
				reuses := g.op.RefreshReuses()
				var failures atomic.Int64
				var wg sync.WaitGroup
				start := make(chan struct{})
				for range callers {
					wg.Go(func() {
						<-start
						if get() != nil {
							failures.Add(1)
						}
					})
				}
				b.StartTimer()
				close(start)
				wg.Wait()
				requests += float64(g.op.Hits(rptest.Token))
				failed += float64(failures.Load())
				reused += float64(g.op.RefreshReuses() - reuses)
			}
			g.op.ClearFaults()
			b.ReportMetric(requests/float64(b.N), "requests/op")
			b.ReportMetric(failed/float64(b.N), "failed/op")
			b.ReportMetric(reused/float64(b.N), "reuses/op")
		})
	}
}

// BenchmarkToken is what a call costs while the token is good.
func BenchmarkToken(b *testing.B) {
	g := newGranted(b)
	g.renew(b)
	g.tokens.OAuth2.Expiry = time.Now().Add(time.Hour)
	plain := g.oauth2(oauth2.AuthStyleInHeader).TokenSource(b.Context(), g.tokens.OAuth2)
	for name, get := range map[string]func() error{
		"latchkey": g.replicas(b, 1),
		"oauth2":   func() error { _, err := plain.Token(); return err },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := get(); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
