package store_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-go/latchkey/rp/store"
)

var oldKey, newKey = []byte("an older key of 32 random bytes!"), []byte("a fresh key: 32 bytes, random, y")

// A replica that is at the step before, or after, opens whatever this one seals.
func TestWhatIsSealedWhileKeysChangeOpens(t *testing.T) {
	ring, err := store.NewKeyring(oldKey, newKey)
	if err != nil {
		t.Fatal(err)
	}
	other, err := store.NewKeyring(oldKey, newKey)
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := ring.Sealer("", "test")
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := ring.SecretSealer("test")
	if err != nil {
		t.Fatal(err)
	}
	others, err := other.Sealer("", "test")
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var changes, uses sync.WaitGroup
	changes.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			keys := [][]byte{oldKey, newKey}
			if i%2 == 1 {
				keys = [][]byte{newKey, oldKey}
			}
			if err := ring.Replace(keys...); err != nil {
				t.Error(err)
			}
			if err := ring.Replace([]byte("too short")); err == nil {
				t.Error("a key that is too short was taken")
			}
		}
	})
	for range 4 {
		uses.Go(func() {
			for range 500 {
				sealed := sealer.Seal(nil, []byte("plain"), []byte("bound"))
				for _, s := range []*store.Sealer{sealer, others} {
					if plain, err := s.Open(nil, sealed, []byte("bound")); err != nil || string(plain) != "plain" {
						t.Errorf("%q, %v", plain, err)
					}
				}
				kept, err := secrets.Seal([]byte("plain"), []byte("bound"), []byte("secret"))
				if err != nil {
					t.Error(err)
				}
				if plain, err := secrets.Open(kept, []byte("bound"), []byte("secret")); err != nil || !bytes.Equal(plain, []byte("plain")) {
					t.Errorf("with a secret: %q, %v", plain, err)
				}
			}
		})
	}
	uses.Wait()
	close(stop)
	changes.Wait()
}

// A file that is broken, or cut short while it is replaced, takes no key away.
func TestAReloadThatFailsKeepsTheKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	good := "bnVsbG51bGxudWxsbnVsbG51bGxudWxsbnVsbG51bGw=\nYW4gb2xkZXIga2V5IG9mIDMyIHJhbmRvbSBieXRlcyE=\n"
	if err := os.WriteFile(path, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	ring, err := store.KeyringFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := ring.Sealer("", "test")
	if err != nil {
		t.Fatal(err)
	}
	sealed := sealer.Seal(nil, []byte("plain"), nil)
	for _, text := range []string{"", "# none\n", good[:20], good + "!\n", good + "c2hvcnQ=\n", good + strings.Repeat("#", 1<<16)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := ring.Reload(); err == nil || ring.Len() != 2 {
			t.Errorf("%.30q: %d keys, %v", text, ring.Len(), err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := ring.Reload(); err == nil || ring.Len() != 2 {
		t.Errorf("without a file: %d keys, %v", ring.Len(), err)
	}
	if _, err := sealer.Open(nil, sealed, nil); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
