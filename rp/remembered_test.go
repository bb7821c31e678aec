package rp

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp/store"
	"golang.org/x/oauth2"
)

func TestKeysThatNobodyAsksForAnyMoreAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens, err := NewTokenStore(TokenStoreConfig{Backend: store.NewMemory(0)})
		if err != nil {
			t.Fatal(err)
		}
		c, err := New(Config{Issuer: "https://op.example", ClientID: "shop", ClientSecret: "secret", RedirectURL: "https://shop.example/auth/callback"})
		if err != nil {
			t.Fatal(err)
		}
		save := func(key string, life time.Duration) *TokenSource {
			t.Helper()
			s := c.TokenSource(t.Context(), tokens, key)
			if err := s.Save(t.Context(), &Tokens{OAuth2: &oauth2.Token{AccessToken: "token of " + key, Expiry: time.Now().Add(life)}}); err != nil {
				t.Fatal(err)
			}
			return s
		}
		kept, lasting := save("kept", time.Minute), "lasting"
		save(lasting, 24*time.Hour)
		first := tokens.mints[mintKey{c, lasting}].held
		for hour := range 20 {
			for i := range leastTidy {
				save(fmt.Sprint("passing ", hour, " ", i), time.Minute)
			}
			time.Sleep(time.Hour)
			runtime.GC()
			if n := len(tokens.mints); n > 8*leastTidy {
				t.Fatalf("%d keys in memory after %d hours", n, hour)
			}
		}
		if m := tokens.mints[mintKey{c, lasting}].held; m == nil || m != first {
			t.Error("a key whose token can be used was let go")
		}
		// A source that somebody has is the same as one made now.
		again := save("kept", time.Hour)
		if tok, err := kept.Token(); err != nil || again.mint != kept.mint || tok.AccessToken != "token of kept" {
			t.Errorf("the source of before: %v, %v", tok, err)
		}
	})
}
