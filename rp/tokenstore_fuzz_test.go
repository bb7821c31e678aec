package rp_test

import (
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/rp/store"
)

// FuzzStoredTokens puts foreign bytes in the place of stored tokens, as they are and sealed under the right key. Altered, they never open; what opens and is no tokens of this client is an error.
func FuzzStoredTokens(f *testing.F) {
	f.Add([]byte(`{"key":"tenant-42","iss":"https://op.example","client_id":"test-client","access_token":"a","expiry":4102444800000}`), true)
	f.Add([]byte(`{"key":"tenant-42","over":"invalid_grant"}`), true)
	f.Add([]byte(`{"got":9223372036854775807,"expiry":-9223372036854775808,"refresh_at":1}`), true)
	f.Add([]byte(`{"scope":"openid"}`), true)
	f.Add([]byte("null"), true)
	f.Add([]byte(""), false)
	f.Add([]byte("\x01abcdnonce"), false)
	ring, err := store.NewKeyring([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		f.Fatal(err)
	}
	seal, err := ring.Sealer("", "tokens")
	if err != nil {
		f.Fatal(err)
	}
	op, err := rptest.New(rptest.Options{Issuer: "https://op.example", SigningAlg: "ES256"})
	if err != nil {
		f.Fatal(err)
	}
	client, err := rp.New(rp.Config{Issuer: op.Issuer(), ClientID: "test-client", ClientSecret: op.ClientSecret(), RedirectURL: testCallback, HTTPClient: op.Client()})
	if err != nil {
		f.Fatal(err)
	}
	name := store.Key(sha256.Sum256([]byte("latchkey v1 tokens tenant-42")))
	f.Fuzz(func(t *testing.T, data []byte, sealed bool) {
		if sealed {
			data = seal.Seal(nil, data, name[:])
		}
		backend := store.NewMemory(0)
		if err := backend.Put(t.Context(), name, store.Item{Data: data, Version: 1, Expires: time.Now().Add(time.Hour)}, 0); err != nil {
			t.Fatal(err)
		}
		tokens, err := rp.NewTokenStore(rp.TokenStoreConfig{Backend: backend, Keyring: ring})
		if err != nil {
			t.Fatal(err)
		}
		token, err := client.TokenSource(t.Context(), tokens, "tenant-42").Token()
		switch {
		case err == nil && (!sealed || token.AccessToken == ""):
			t.Errorf("a token out of %q", data)
		case !sealed && !errors.Is(err, rp.ErrTokenStore):
			t.Errorf("the error is %v", err)
		}
	})
}
