package store_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/rp/store"
)

// FuzzFileItem puts foreign bytes in the place of an item's file. Nothing but the file that was written opens: neither a part of it nor one that was altered.
func FuzzFileItem(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "items")
	backend, err := store.NewFile(dir)
	if err != nil {
		f.Fatal(err)
	}
	key := store.Key{7, 7}
	// The same in each of the processes that go test fuzzes in.
	if err := backend.Put(context.Background(), key, store.Item{Data: []byte("data"), Version: 3, Expires: time.UnixMilli(4102444800000)}, 0); err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(dir, "07", hex.EncodeToString(key[:]))
	honest, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(honest)
	f.Add(honest[:len(honest)-1])
	f.Add(append(bytes.Clone(honest), 0))
	f.Add([]byte("latchkey item 1\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		items, err := backend.Get(t.Context(), key)
		if same := bytes.Equal(text, honest); same != (err == nil) {
			t.Errorf("read %+v, %v out of %q", items, err, text)
		}
		if _, err := backend.List(t.Context(), store.Key{1}, 10); err != nil && bytes.Equal(text, honest) {
			t.Error(err)
		}
		if err := backend.Put(t.Context(), key, store.Item{Data: []byte("new"), Version: 4, Expires: time.Now().Add(time.Hour)}, 0); err == nil {
			t.Error("what is damaged was overwritten")
		}
	})
}
