//go:build unix

package sqlbackend_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/rp/store"
	"github.com/latchkey-go/latchkey/session/sqlbackend"
)

// Tokens of background jobs live in the same table: many goroutines of three processes find one that has ended, and it is refreshed once.
func TestTokensOfJobsAreRefreshedOnce(t *testing.T) {
	variants(t, func(t *testing.T, open func(t testing.TB) *sqlbackend.Backend) {
		op, err := rptest.New(rptest.Options{Issuer: "https://op.example", SigningAlg: "ES256"})
		if err != nil {
			t.Fatal(err)
		}
		client, err := rp.New(rp.Config{Issuer: op.Issuer(), ClientID: op.ClientID(), ClientSecret: op.ClientSecret(), RedirectURL: "https://job.example/callback", HTTPClient: op.Client()})
		if err != nil {
			t.Fatal(err)
		}
		login, err := client.Begin(t.Context(), rp.AuthParams{})
		if err != nil {
			t.Fatal(err)
		}
		browser := *op.Client()
		browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		resp, err := browser.Get(login.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		back, err := resp.Location()
		if err != nil {
			t.Fatal(err)
		}
		granted, err := client.Finish(t.Context(), login, back.Query())
		if err != nil {
			t.Fatal(err)
		}
		granted.OAuth2.Expiry = time.Now().Add(-time.Second)
		ring, err := store.NewKeyring([]byte("0123456789abcdef0123456789abcdef"))
		if err != nil {
			t.Fatal(err)
		}
		op.Fault(rptest.Token, rptest.Late(200*time.Millisecond))
		var sources []*rp.TokenSource
		for range 3 {
			tokens, err := rp.NewTokenStore(rp.TokenStoreConfig{Backend: open(t), Keyring: ring})
			if err != nil {
				t.Fatal(err)
			}
			sources = append(sources, client.TokenSource(t.Context(), tokens, "tenant-42"))
		}
		if err := sources[0].Save(t.Context(), granted); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var seen sync.Map
		for _, source := range sources {
			for range 50 {
				wg.Go(func() {
					token, err := source.Token()
					if err != nil {
						t.Error(err)
						return
					}
					seen.Store(token.AccessToken, true)
				})
			}
		}
		wg.Wait()
		n := 0
		seen.Range(func(any, any) bool { n++; return true })
		if n != 1 || op.Refreshes() != 1 || op.RefreshReuses() != 0 {
			t.Errorf("%d tokens, %d refreshes, %d reuses", n, op.Refreshes(), op.RefreshReuses())
		}
	})
}
