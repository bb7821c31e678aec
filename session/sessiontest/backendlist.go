package sessiontest

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/session"
)

func list(t *testing.T, b session.Backend, owner session.Key) []session.Key {
	t.Helper()
	keys, err := b.List(t.Context(), owner, 100)
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	slices.SortFunc(keys, func(x, y session.Key) int { return bytes.Compare(x[:], y[:]) })
	return keys
}

func sorted(keys ...session.Key) []session.Key {
	slices.SortFunc(keys, func(x, y session.Key) int { return bytes.Compare(x[:], y[:]) })
	return keys
}

func owned(owner session.Key, version uint64) session.Item {
	return session.Item{Data: []byte("x"), Version: version, Expires: soon(), Owner: owner}
}

func listing(t *testing.T, a, b session.Backend) {
	alice, bob, k1, k2, k3, nobodys := newKey(), newKey(), newKey(), newKey(), newKey(), newKey()
	mustPut(t, a, k1, owned(alice, 1), 0)
	mustPut(t, b, k2, owned(alice, 1), 0)
	mustPut(t, a, k3, owned(bob, 1), 0)
	mustPut(t, a, nobodys, item("x", 1), 0)
	if got := list(t, b, alice); !slices.Equal(got, sorted(k1, k2)) {
		t.Errorf("alice has %d keys, want her 2", len(got))
	}
	if got := list(t, a, bob); !slices.Equal(got, sorted(k3)) {
		t.Errorf("bob has %d keys, want his 1", len(got))
	}
}

func listingFollows(t *testing.T, a, b session.Backend) {
	owner, stays, goes, ends := newKey(), newKey(), newKey(), newKey()
	mustPut(t, a, stays, owned(owner, 1), 0)
	mustPut(t, a, goes, owned(owner, 1), 0)
	mustPut(t, a, ends, session.Item{Data: []byte("x"), Version: 1, Expires: time.Now().Add(brief), Owner: owner}, 0)
	mustPut(t, b, stays, owned(owner, 2), 1)
	if err := b.Delete(t.Context(), goes, 1); err != nil {
		t.Fatal(err)
	}
	time.Sleep(brief + 20*time.Millisecond)
	if got := list(t, b, owner); !slices.Equal(got, []session.Key{stays}) {
		t.Errorf("%d keys, want the one that is left", len(got))
	}
}

func listingLimit(t *testing.T, a, b session.Backend) {
	owner := newKey()
	for range 5 {
		mustPut(t, a, newKey(), owned(owner, 1), 0)
	}
	if keys, err := b.List(t.Context(), owner, 3); err != nil || len(keys) != 3 {
		t.Errorf("%d keys, %v; want 3", len(keys), err)
	}
}

func newOwner(t *testing.T, a, b session.Backend) {
	first, second, key := newKey(), newKey(), newKey()
	mustPut(t, a, key, owned(first, 1), 0)
	mustPut(t, b, key, owned(second, 2), 1)
	if x, y := list(t, a, first), list(t, a, second); len(x) != 0 || len(y) != 1 {
		t.Errorf("the first has %d, the second %d; want 0 and 1", len(x), len(y))
	}
}

// movingList is a rotation: the new place is put before the old one is given up. A List that looks at the one before it is there, and at the other when it has gone,
// misses a session that was there all the time.
func movingList(t *testing.T, a, b session.Backend) {
	owner, key := newKey(), newKey()
	mustPut(t, a, key, owned(owner, 1), 0)
	mustPut(t, a, newKey(), owned(owner, 1), 0) // one that stays
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var mover sync.WaitGroup
	defer mover.Wait()
	mover.Go(func() {
		for range 200 {
			next := newKey()
			for _, err := range []error{a.Put(ctx, next, owned(owner, 1), 0), a.Put(ctx, key, item("moved", 2), 1)} {
				if err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return
				}
			}
			key = next
		}
		stop()
	})
	for ctx.Err() == nil {
		if keys := list(t, b, owner); len(keys) < 2 {
			stop()
			t.Errorf("%d keys, want 2 or more", len(keys))
		}
	}
}

func disowned(t *testing.T, a, b session.Backend) {
	key, owner := newKey(), newKey()
	mustPut(t, a, key, owned(owner, 1), 0)
	mustPut(t, b, key, item("nobody's", 2), 1)
	if keys := list(t, a, owner); len(keys) != 0 {
		t.Errorf("%d keys, want none", len(keys))
	}
	mustPut(t, a, key, owned(owner, 3), 2)
	if keys := list(t, b, owner); !slices.Equal(keys, []session.Key{key}) {
		t.Errorf("%d keys, want the one that was taken back", len(keys))
	}
}

func noLimit(t *testing.T, a, b session.Backend) {
	owner := newKey()
	mustPut(t, a, newKey(), owned(owner, 1), 0)
	mustPut(t, a, newKey(), session.Item{Data: []byte("x"), Version: 1, Expires: time.Now().Add(-time.Hour), Owner: owner}, 0)
	for _, limit := range []int{0, -1} {
		if keys, err := b.List(t.Context(), owner, limit); err != nil || len(keys) != 0 {
			t.Errorf("List of at most %d: %d keys, %v", limit, len(keys), err)
		}
		if sweeper, ok := b.(session.Sweeper); ok {
			if n, err := sweeper.Sweep(t.Context(), limit); err != nil || n != 0 {
				t.Errorf("Sweep of at most %d: %d, %v", limit, n, err)
			}
		}
	}
}
