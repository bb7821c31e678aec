package session_test

import (
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/session"
	"github.com/latchkey-go/latchkey/session/sessiontest"
)

func TestMemoryBackend(t *testing.T) {
	shared := session.NewMemoryBackend(0)
	sessiontest.RunBackend(t, func(*testing.T) session.Backend { return shared })
}

func TestAFullMemoryBackendRefusesNewItemsAndLosesNone(t *testing.T) {
	b := session.NewMemoryBackend(2)
	put := func(key byte, version, from uint64, life time.Duration) error {
		return b.Put(t.Context(), session.Key{key}, session.Item{Data: []byte("x"), Version: version, Expires: time.Now().Add(life)}, from)
	}
	if err := put(1, 1, 0, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := put(2, 1, 0, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	for b.Len() == 2 && put(3, 1, 0, time.Minute) != nil { // until the second has ended
		time.Sleep(time.Millisecond)
	}
	if err := put(4, 1, 0, time.Minute); err == nil {
		t.Error("a third item was taken")
	}
	if err := put(1, 2, 1, time.Minute); err != nil {
		t.Errorf("an item that is there: %v", err)
	}
}
