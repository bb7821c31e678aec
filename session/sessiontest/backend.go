package sessiontest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/session"
)

// RunBackend runs the suite that every session.Backend must pass:
//
//	func TestBackend(t *testing.T) {
//		sessiontest.RunBackend(t, func(t *testing.T) session.Backend { return newBackend(t) })
//	}
//
// newBackend is called twice and more for each check, and each time returns another way to the same data, as two replicas have it. Keys are new in every check, so the backend
// need not be empty. The suite takes a few seconds, since some items must end by themselves.
func RunBackend(t *testing.T, newBackend func(t *testing.T) session.Backend) {
	for _, check := range []struct {
		name string
		run  func(t *testing.T, a, b session.Backend)
	}{
		{"what was put is got, by the other replica too", putAndGet},
		{"what was not put is not there", absent},
		{"Get keeps the order of keys, absent and repeated ones included", order},
		{"Put replaces the version that it names and no other", compareAndSwap},
		{"Put of a new item leaves one that is there alone", createOnce},
		{"Put may keep the version", sameVersion},
		{"versions use all 64 bits", wideVersions},
		{"data is kept byte by byte", binaryData},
		{"an item of a megabyte fits", largeData},
		{"Delete removes the version that it names, or any for zero", removal},
		{"a removed item is not revived", noRevival},
		{"an item ends at its time, everywhere", ending},
		{"an ended item makes room for a new one", endedIsAbsent},
		{"a Put moves the end, both ways", movedEnd},
		{"an item that has ended when it is put is not there", bornDead},
		{"List returns an owner's items and nobody else's", listing},
		{"List follows deletions and ends", listingFollows},
		{"List keeps its limit", listingLimit},
		{"an item changes hands", newOwner},
		{"what moves to another key is in every list, under one of both", movingList},
		{"a Put that is refused changes neither data nor end nor owner", refusedPut},
		{"an item may be given up by its owner", disowned},
		{"a thousand keys are got at once", manyKeys},
		{"limits of zero and less are kept", noLimit},
		{"of many writers from one version one wins", oneWinner},
		{"a counter counts every increment", counter},
		{"of many that create one item one wins", oneCreator},
		{"a call ends with its context", cancelled},
		{"Sweep removes ended items and no others", sweeping},
	} {
		t.Run(check.name, func(t *testing.T) { check.run(t, newBackend(t), newBackend(t)) })
	}
}

var keyCount atomic.Uint64

// newKey is one that no other check of this or of another run has.
func newKey() session.Key {
	return sha256.Sum256(fmt.Appendf(nil, "sessiontest %d %d", time.Now().UnixNano(), keyCount.Add(1)))
}

func soon() time.Time { return time.Now().Add(time.Minute) }

func item(data string, version uint64) session.Item {
	return session.Item{Data: []byte(data), Version: version, Expires: soon()}
}

func mustPut(t *testing.T, b session.Backend, key session.Key, i session.Item, from uint64) {
	t.Helper()
	if err := b.Put(t.Context(), key, i, from); err != nil {
		t.Fatalf("Put from version %d to %d: %v", from, i.Version, err)
	}
}

func wantConflict(t *testing.T, b session.Backend, key session.Key, i session.Item, from uint64) {
	t.Helper()
	if err := b.Put(t.Context(), key, i, from); !errors.Is(err, session.ErrConflict) {
		t.Fatalf("Put from version %d to %d: %v, want ErrConflict", from, i.Version, err)
	}
}

func get(t *testing.T, b session.Backend, keys ...session.Key) []session.Item {
	t.Helper()
	items, err := b.Get(t.Context(), keys...)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	if len(items) != len(keys) {
		t.Fatalf("Get returned %d items for %d keys", len(items), len(keys))
	}
	return items
}

func want(t *testing.T, b session.Backend, key session.Key, data string, version uint64) {
	t.Helper()
	if got := get(t, b, key)[0]; string(got.Data) != data || got.Version != version {
		t.Fatalf("got %.40q of version %d, want %.40q of %d", got.Data, got.Version, data, version)
	}
}

func wantAbsent(t *testing.T, b session.Backend, key session.Key) {
	t.Helper()
	if got := get(t, b, key)[0]; got.Version != 0 || got.Data != nil || !got.Expires.IsZero() || got.Owner != (session.Key{}) {
		t.Fatalf("got %.40q of version %d, want the zero Item", got.Data, got.Version)
	}
}

func putAndGet(t *testing.T, a, b session.Backend) {
	key, owner, end := newKey(), newKey(), soon()
	mustPut(t, a, key, session.Item{Data: []byte("data"), Version: 7, Expires: end, Owner: owner}, 0)
	for _, x := range []session.Backend{a, b} {
		want(t, x, key, "data", 7)
		got := get(t, x, key)[0]
		if off := got.Expires.Sub(end).Abs(); got.Owner != owner || off > time.Millisecond {
			t.Errorf("its end is off by %s, its owner the same: %t", off, got.Owner == owner)
		}
	}
}

func absent(t *testing.T, a, b session.Backend) {
	wantAbsent(t, a, newKey())
	if keys, err := b.List(t.Context(), newKey(), 10); err != nil || len(keys) != 0 {
		t.Errorf("List of nobody: %d keys, %v", len(keys), err)
	}
	if err := b.Delete(t.Context(), newKey(), 0); err != nil {
		t.Errorf("Delete of nothing: %v", err)
	}
	if items, err := a.Get(t.Context()); err != nil || len(items) != 0 {
		t.Errorf("Get of no keys: %d items, %v", len(items), err)
	}
}

func order(t *testing.T, a, b session.Backend) {
	x, y, none := newKey(), newKey(), newKey()
	mustPut(t, a, x, item("x", 1), 0)
	mustPut(t, a, y, item("y", 2), 0)
	var got []string
	for _, i := range get(t, b, y, none, x, y) {
		got = append(got, fmt.Sprint(string(i.Data), i.Version))
	}
	if !slices.Equal(got, []string{"y2", "0", "x1", "y2"}) {
		t.Errorf("got %q", got)
	}
}

func compareAndSwap(t *testing.T, a, b session.Backend) {
	key := newKey()
	wantConflict(t, a, key, item("x", 2), 1)
	mustPut(t, a, key, item("one", 1), 0)
	mustPut(t, b, key, item("two", 2), 1)
	wantConflict(t, a, key, item("three", 3), 1)
	wantConflict(t, a, key, item("three", 3), 3)
	want(t, a, key, "two", 2)
	mustPut(t, a, key, item("nine", 9), 2)
	want(t, b, key, "nine", 9)
}

func createOnce(t *testing.T, a, b session.Backend) {
	key := newKey()
	mustPut(t, a, key, item("first", 5), 0)
	wantConflict(t, b, key, item("second", 6), 0)
	wantConflict(t, b, key, item("second", 5), 0)
	want(t, b, key, "first", 5)
}

func sameVersion(t *testing.T, a, b session.Backend) {
	key := newKey()
	mustPut(t, a, key, item("first", 5), 0)
	mustPut(t, b, key, item("second", 5), 5)
	want(t, a, key, "second", 5)
}

func wideVersions(t *testing.T, a, b session.Backend) {
	key, top := newKey(), uint64(1)<<63
	mustPut(t, a, key, item("a", top|1), 0)
	want(t, b, key, "a", top|1)
	wantConflict(t, b, key, item("b", 2), 1)
	mustPut(t, b, key, item("b", ^uint64(0)), top|1)
	want(t, a, key, "b", ^uint64(0))
	if err := a.Delete(t.Context(), key, ^uint64(0)); err != nil {
		t.Fatal(err)
	}
	wantAbsent(t, b, key)
}

func binaryData(t *testing.T, a, b session.Backend) {
	var all [256]byte
	for i := range all {
		all[i] = byte(i)
	}
	for _, data := range []string{"\x00", string(all[:]), "\xff\xfe", "'; DROP TABLE x; --", "\r\n$-1\r\n", "é\x00è"} {
		key := newKey()
		mustPut(t, a, key, item(data, 1), 0)
		want(t, b, key, data, 1)
	}
}

func largeData(t *testing.T, a, b session.Backend) {
	key, data := newKey(), bytes.Repeat([]byte("0123456789abcd\x00\n"), 1<<16)
	mustPut(t, a, key, session.Item{Data: data, Version: 1, Expires: soon()}, 0)
	if got := get(t, b, key)[0]; !bytes.Equal(got.Data, data) {
		t.Errorf("%d bytes came back of %d", len(got.Data), len(data))
	}
}

func removal(t *testing.T, a, b session.Backend) {
	key := newKey()
	mustPut(t, a, key, item("x", 3), 0)
	if err := b.Delete(t.Context(), key, 2); err != nil {
		t.Fatalf("Delete of another version: %v", err)
	}
	want(t, a, key, "x", 3)
	if err := b.Delete(t.Context(), key, 3); err != nil {
		t.Fatal(err)
	}
	wantAbsent(t, a, key)
	mustPut(t, a, key, item("y", 4), 0)
	if err := b.Delete(t.Context(), key, 0); err != nil {
		t.Fatal(err)
	}
	wantAbsent(t, a, key)
}

func noRevival(t *testing.T, a, b session.Backend) {
	key := newKey()
	mustPut(t, a, key, item("x", 1), 0)
	if err := a.Delete(t.Context(), key, 0); err != nil {
		t.Fatal(err)
	}
	wantConflict(t, b, key, item("y", 2), 1)
	wantAbsent(t, b, key)
}

const brief = 300 * time.Millisecond

func ending(t *testing.T, a, b session.Backend) {
	key := newKey()
	end := time.Now().Add(brief)
	mustPut(t, a, key, session.Item{Data: []byte("x"), Version: 1, Expires: end}, 0)
	if time.Now().Before(end.Add(-brief / 2)) {
		want(t, b, key, "x", 1)
	}
	time.Sleep(time.Until(end) + 20*time.Millisecond)
	wantAbsent(t, a, key)
	wantAbsent(t, b, key)
	wantConflict(t, a, key, item("y", 2), 1)
}

func endedIsAbsent(t *testing.T, a, b session.Backend) {
	key, owner := newKey(), newKey()
	mustPut(t, a, key, session.Item{Data: []byte("x"), Version: 1, Expires: time.Now().Add(brief), Owner: owner}, 0)
	wantConflict(t, b, key, item("y", 2), 0)
	time.Sleep(brief + 20*time.Millisecond)
	mustPut(t, b, key, item("y", 2), 0)
	want(t, a, key, "y", 2)
	if keys, err := a.List(t.Context(), owner, 10); err != nil || len(keys) != 0 {
		t.Errorf("the former owner still has %d keys, %v", len(keys), err)
	}
}

func movedEnd(t *testing.T, a, b session.Backend) {
	longer, shorter := newKey(), newKey()
	mustPut(t, a, longer, session.Item{Data: []byte("x"), Version: 1, Expires: time.Now().Add(brief)}, 0)
	mustPut(t, a, shorter, item("x", 1), 0)
	mustPut(t, b, longer, item("y", 2), 1)
	mustPut(t, b, shorter, session.Item{Data: []byte("y"), Version: 2, Expires: time.Now().Add(brief)}, 1)
	time.Sleep(brief + 20*time.Millisecond)
	want(t, a, longer, "y", 2)
	wantAbsent(t, a, shorter)
}

func bornDead(t *testing.T, a, b session.Backend) {
	key := newKey()
	mustPut(t, a, key, session.Item{Data: []byte("x"), Version: 1, Expires: time.Now().Add(-time.Second)}, 0)
	wantAbsent(t, b, key)
	mustPut(t, a, key, item("y", 1), 0)
	mustPut(t, a, key, session.Item{Data: []byte("z"), Version: 2, Expires: time.Now().Add(-time.Second)}, 1)
	wantAbsent(t, b, key)
}

func refusedPut(t *testing.T, a, b session.Backend) {
	key, owner, other := newKey(), newKey(), newKey()
	mustPut(t, a, key, owned(owner, 5), 0)
	for from, version := range map[uint64]uint64{0: 6, 4: 7, 6: 5} {
		wantConflict(t, b, key, session.Item{Data: []byte("y"), Version: version, Expires: time.Now().Add(time.Hour), Owner: other}, from)
	}
	want(t, a, key, "x", 5)
	if got := get(t, a, key)[0]; got.Owner != owner || time.Until(got.Expires) > 2*time.Minute {
		t.Errorf("its owner is the same: %t, its end %s away", got.Owner == owner, time.Until(got.Expires))
	}
	if x, y := list(t, a, owner), list(t, b, other); len(x) != 1 || len(y) != 0 {
		t.Errorf("the owner has %d, who was refused %d; want 1 and 0", len(x), len(y))
	}
}

func manyKeys(t *testing.T, a, b session.Backend) {
	keys := make([]session.Key, 1000)
	for i := range keys {
		keys[i] = newKey()
	}
	mustPut(t, a, keys[0], item("first", 1), 0)
	mustPut(t, a, keys[999], item("last", 2), 0)
	for i, got := range get(t, b, keys...) {
		if want := map[int]uint64{0: 1, 999: 2}[i]; got.Version != want {
			t.Errorf("item %d has version %d, want %d", i, got.Version, want)
		}
	}
}

func race(t *testing.T, a, b session.Backend, attempt func(x session.Backend, i int) error) (won int) {
	t.Helper()
	var wins atomic.Int64
	var wg sync.WaitGroup
	for i := range 32 {
		x := a
		if i%2 == 1 {
			x = b
		}
		wg.Go(func() {
			switch err := attempt(x, i); {
			case err == nil:
				wins.Add(1)
			case !errors.Is(err, session.ErrConflict):
				t.Errorf("attempt %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	return int(wins.Load())
}

func oneWinner(t *testing.T, a, b session.Backend) {
	for range 5 {
		key := newKey()
		mustPut(t, a, key, item("start", 1), 0)
		if won := race(t, a, b, func(x session.Backend, i int) error {
			return x.Put(t.Context(), key, item("winner", uint64(i+2)), 1)
		}); won != 1 {
			t.Fatalf("%d writers won, want 1", won)
		}
	}
}

func oneCreator(t *testing.T, a, b session.Backend) {
	for range 5 {
		key := newKey()
		if won := race(t, a, b, func(x session.Backend, i int) error {
			return x.Put(t.Context(), key, item("winner", uint64(i+1)), 0)
		}); won != 1 {
			t.Fatalf("%d creators won, want 1", won)
		}
	}
}

func counter(t *testing.T, a, b session.Backend) {
	key := newKey()
	mustPut(t, a, key, item("counter", 1), 0)
	var wg sync.WaitGroup
	for i := range 8 {
		x := []session.Backend{a, b}[i%2]
		wg.Go(func() {
			for done := 0; done < 10; {
				items, err := x.Get(t.Context(), key)
				if err != nil {
					t.Error(err)
					return
				}
				v := items[0].Version
				switch err := x.Put(t.Context(), key, item("counter", v+1), v); {
				case err == nil:
					done++
				case !errors.Is(err, session.ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	want(t, a, key, "counter", 81)
}

func cancelled(t *testing.T, a, _ session.Backend) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Get(ctx, newKey()); err == nil {
		t.Error("Get answers a context that has ended")
	}
	if err := a.Put(ctx, newKey(), item("x", 1), 0); err == nil || errors.Is(err, session.ErrConflict) {
		t.Errorf("Put with a context that has ended: %v", err)
	}
	if err := a.Delete(ctx, newKey(), 0); err == nil {
		t.Error("Delete answers a context that has ended")
	}
	if _, err := a.List(ctx, newKey(), 1); err == nil {
		t.Error("List answers a context that has ended")
	}
}

func sweeping(t *testing.T, a, b session.Backend) {
	sweeper, ok := a.(session.Sweeper)
	if !ok {
		t.Skip("this backend forgets ended items by itself: it is no Sweeper")
	}
	keep := newKey()
	mustPut(t, a, keep, item("x", 1), 0)
	for range 5 {
		mustPut(t, a, newKey(), session.Item{Data: []byte("x"), Version: 1, Expires: time.Now().Add(brief)}, 0)
	}
	time.Sleep(brief + 20*time.Millisecond)
	if n, err := sweeper.Sweep(t.Context(), 2); err != nil || n > 2 {
		t.Fatalf("Sweep of at most 2: %d, %v", n, err)
	}
	for total := 0; ; {
		n, err := sweeper.Sweep(t.Context(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		if total += n; n == 0 {
			break
		}
	}
	want(t, b, keep, "x", 1)
}
