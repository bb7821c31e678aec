package session

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func memoryOf(t testing.TB, cfg MemoryConfig) (*MemoryStore, *memoryKeeper) {
	t.Helper()
	s, err := NewMemoryStore(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s, &memoryKeeper{store: s, cookieAttributes: testAttributes}
}

func TestNewMemoryStoreRefusesBoundsThatHoldNothing(t *testing.T) {
	for _, cfg := range []MemoryConfig{{MaxSessions: -1}, {MaxBytes: -1}, {MaxBytes: 1000}} {
		if s, err := NewMemoryStore(cfg); err == nil || s != nil || !strings.Contains(err.Error(), "use 0 for") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	memoryOf(t, MemoryConfig{MaxSessions: 1, MaxBytes: 64 << 10})
}

func TestMemoryStoreNeverAdoptsAnIdItDidNotGive(t *testing.T) {
	s, k := memoryOf(t, MemoryConfig{})
	planted := strings.Repeat("A", secretText)
	b := &browser{jar: map[string]string{testAttributes.name: planted}}
	b.none(t, k)
	b.create(t, k, "data", hour())
	if b.jar[testAttributes.name] == planted || len(b.jar[testAttributes.name]) != secretText {
		t.Fatalf("the id that came was taken up")
	}
	if err := k.update(httptest.NewRecorder(), b.request(), &kept{id: sha256.Sum256(nil), version: 1}, []byte("x"), hour()); !errors.Is(err, errNoRecord) {
		t.Errorf("update of an unknown id: %v", err)
	}
	session, err := s.New(requestWith("app="+planted), "app")
	if err != nil || session.ID != "" {
		t.Fatalf("%q, %v", session.ID, err)
	}
	session.ID = planted
	if err := s.Save(requestWith(), httptest.NewRecorder(), session); err == nil || s.Len() != 1 {
		t.Errorf("Save took up an id it didn't give: %v", err)
	}
}

func TestMemoryStoreKeepsTheHashOfAnIdOnly(t *testing.T) {
	s, k := memoryOf(t, MemoryConfig{})
	b := newBrowser()
	b.create(t, k, "data", hour())
	text := b.jar[testAttributes.name]
	secret, err := cookieEncoding.DecodeString(text)
	if err != nil || len(secret) != 32 {
		t.Fatalf("%d bytes, %v", len(secret), err)
	}
	n := 0
	for i := range s.table.shards {
		for key, e := range s.table.shards[i].entries {
			n++
			dump := fmt.Appendf(nil, "%x %x %+v", key, e.key, *e)
			if key != sha256.Sum256(secret) || bytes.Contains(dump, []byte(text)) || bytes.Contains(dump, fmt.Appendf(nil, "%x", secret)) {
				t.Error("the store holds the id")
			}
		}
	}
	if n != 1 {
		t.Fatalf("%d entries", n)
	}
}

func TestMemoryStoreRefusesAnUpdateOfAnOlderVersion(t *testing.T) {
	_, k := memoryOf(t, MemoryConfig{})
	b := newBrowser()
	b.create(t, k, "one", hour())
	first, second := b.load(t, k), b.load(t, k)
	b.update(t, k, first, "two", hour())
	w := httptest.NewRecorder()
	if err := k.update(w, b.request(), &second, []byte("lost"), hour()); !errors.Is(err, errConflict) || len(w.Header()) != 0 {
		t.Fatalf("got %v", err)
	}
	if got := b.load(t, k); string(got.data) != "two" {
		t.Fatalf("%q", got.data)
	}
}

// TestARemovedSessionIsNeverRevived lets 100 requests save while one logs out: whatever the order, nothing is left.
func TestARemovedSessionIsNeverRevived(t *testing.T) {
	s, k := memoryOf(t, MemoryConfig{})
	b := newBrowser()
	b.create(t, k, "data", hour())
	have := b.load(t, k)
	app, _ := s.New(requestWith(), "app")
	if err := s.Save(requestWith(), httptest.NewRecorder(), app); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var late atomic.Int64
	removed := make(chan struct{})
	for range 100 {
		wg.Go(func() {
			<-removed
			own := have
			if err := k.update(httptest.NewRecorder(), b.request(), &own, []byte("revived"), hour()); err == nil {
				late.Add(1)
			}
			k.store.table.touch(k.kind(), have.id, time.Now())
			if err := s.Save(requestWith(), httptest.NewRecorder(), app); err == nil {
				late.Add(1)
			}
		})
	}
	gone := b.request()
	b.remove(t, k, &have)
	deletion := *app
	deletion.Options.MaxAge = -1
	if err := s.Save(requestWith(), httptest.NewRecorder(), &deletion); err != nil {
		t.Fatal(err)
	}
	app.Options.MaxAge = 60
	close(removed)
	wg.Wait()
	if late.Load() != 0 || s.Len() != 0 {
		t.Fatalf("%d saves after the removal, %d sessions", late.Load(), s.Len())
	}
	var again kept
	if err := k.load(gone, &again); !errors.Is(err, errNoRecord) {
		t.Fatalf("the old cookie still opens: %v", err)
	}
}

// TestRemovalWinsOverSavesUnderWay is the same race with no order given.
func TestRemovalWinsOverSavesUnderWay(t *testing.T) {
	s, k := memoryOf(t, MemoryConfig{})
	for range 50 {
		b := newBrowser()
		b.create(t, k, "data", hour())
		have := b.load(t, k)
		r := b.request()
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if i == 4 {
					if err := k.remove(httptest.NewRecorder(), r, &have); err != nil {
						t.Error(err)
					}
					return
				}
				var own kept
				if k.load(r, &own) == nil {
					err := k.update(httptest.NewRecorder(), r, &own, []byte("new"), hour())
					if err != nil && !errors.Is(err, errNoRecord) && !errors.Is(err, errConflict) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if s.Len() != 0 {
			t.Fatal("a session came back")
		}
	}
}

func TestOnlyOneOfManyUpdatesWins(t *testing.T) {
	_, k := memoryOf(t, MemoryConfig{})
	b := newBrowser()
	b.create(t, k, "data", hour())
	have, r := b.load(t, k), b.request()
	var wg sync.WaitGroup
	var won atomic.Int64
	for i := range 50 {
		wg.Go(func() {
			if k.update(httptest.NewRecorder(), r, &have, fmt.Appendf(nil, "%d", i), hour()) == nil {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d updates of one version won", won.Load())
	}
}

func TestAFullMemoryStoreMakesRoomByTheLongestUnused(t *testing.T) {
	s, k := memoryOf(t, MemoryConfig{MaxSessions: 3})
	browsers := make([]*browser, 4)
	for i := range browsers {
		browsers[i] = newBrowser()
		if i == 3 {
			browsers[0].load(t, k) // used again: 1 is the longest unused now
		}
		browsers[i].create(t, k, fmt.Sprint(i), hour())
	}
	browsers[1].none(t, k)
	for _, i := range []int{0, 2, 3} {
		browsers[i].load(t, k)
	}
	if s.Len() != 3 {
		t.Fatalf("%d sessions", s.Len())
	}
}

// TestANewcomerIsNotItsOwnVictim: its shard holds nobody else, so room is made in another.
func TestANewcomerIsNotItsOwnVictim(t *testing.T) {
	table := newMemoryTable(2*shardSize, 256<<20)
	if len(table.shards) != 2 {
		t.Fatalf("%d shards", len(table.shards))
	}
	name := memoryName{cookie: "x"}
	for i := range 2 * shardSize {
		if err := table.create(name, keptID{0, byte(i), byte(i >> 8)}, nil, hour()); err != nil {
			t.Fatal(err)
		}
	}
	newcomer := keptID{1}
	if err := table.create(name, newcomer, nil, hour()); err != nil {
		t.Fatal(err)
	}
	var k kept
	if err := table.load(name, newcomer, &k); err != nil || table.count.Load() != 2*shardSize {
		t.Fatalf("%v, %d sessions", err, table.count.Load())
	}
}

func TestARecordThatGrowsMakesRoomToo(t *testing.T) {
	s, k := memoryOf(t, MemoryConfig{MaxBytes: 64 << 10})
	one, two := newBrowser(), newBrowser()
	one.create(t, k, "small", hour())
	two.create(t, k, string(make([]byte, 30<<10)), hour())
	one.update(t, k, one.load(t, k), string(make([]byte, 50<<10)), hour())
	if got := one.load(t, k); len(got.data) != 50<<10 {
		t.Errorf("the record has %d bytes", len(got.data))
	}
	two.none(t, k)
	if s.table.bytes.Load() != 50<<10+entryOverhead {
		t.Errorf("counted %d bytes", s.table.bytes.Load())
	}
}

func TestALateTouchDoesNotSetTheClockBack(t *testing.T) {
	_, k := memoryOf(t, MemoryConfig{})
	b, now := newBrowser(), time.Now()
	b.create(t, k, "data", hour())
	b.touch(t, k, b.load(t, k), now)
	b.touch(t, k, b.load(t, k), now.Add(-time.Minute))
	if got := b.load(t, k); !got.seen.Equal(now) {
		t.Fatalf("seen %v, want %v", got.seen, now)
	}
}

func TestMemoryStoreHoldsItsBoundsUnderAFlood(t *testing.T) {
	for name, cfg := range map[string]MemoryConfig{
		"sessions": {MaxSessions: 5_000},
		"bytes":    {MaxBytes: 1 << 20},
		"one":      {MaxSessions: 1},
	} {
		s, k := memoryOf(t, cfg)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 5_000 {
					w := httptest.NewRecorder()
					if err := k.create(w, requestWith(), make([]byte, rand.IntN(2_000)), hour()); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		table := s.table
		if table.count.Load() > table.maxCount || table.bytes.Load() > table.maxBytes {
			t.Errorf("%s: %d sessions of %d bytes", name, table.count.Load(), table.bytes.Load())
		}
		count, size := 0, int64(0)
		for i := range table.shards {
			count += len(table.shards[i].entries)
			ring := 0
			for e := table.shards[i].head.next; e != &table.shards[i].head; e = e.next {
				ring++
				size += e.size()
			}
			if ring != len(table.shards[i].entries) {
				t.Errorf("%s: %d in the ring, %d in the map", name, ring, len(table.shards[i].entries))
			}
		}
		if int64(count) != table.count.Load() || size != table.bytes.Load() {
			t.Errorf("%s: counted %d and %d, kept %d and %d", name, table.count.Load(), table.bytes.Load(), count, size)
		}
	}
}

// TestMemoryStoreTakesTheMemoryItIsBoundedTo measures the heap of a full store.
func TestMemoryStoreTakesTheMemoryItIsBoundedTo(t *testing.T) {
	const bound = 16 << 20
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s, _ := memoryOf(t, MemoryConfig{MaxBytes: bound})
	for range 60_000 {
		_, key := newSecret()
		if err := s.table.create(memoryName{cookie: "x"}, key, make([]byte, 900), hour()); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > bound*5/4 || grown < bound/2 {
		t.Errorf("%d sessions take %d bytes of heap, bound %d", s.Len(), grown, bound)
	}
	runtime.KeepAlive(s)
}

func TestMemoryStoreRefusesARecordTooLarge(t *testing.T) {
	s, k := memoryOf(t, MemoryConfig{MaxBytes: 64 << 10})
	b := newBrowser()
	b.create(t, k, "old", hour())
	have := b.load(t, k)
	w := httptest.NewRecorder()
	if err := k.update(w, b.request(), &have, make([]byte, 64<<10), hour()); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	if err := k.create(w, b.request(), make([]byte, 64<<10), hour()); !errors.Is(err, ErrTooLarge) || len(w.Header()) != 0 || s.Len() != 1 {
		t.Fatal(err)
	}
	b.load(t, k)
}

func TestMemoryStoreSweepsWhatHasExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := memoryOf(t, MemoryConfig{MaxSessions: 1000})
		for range 500 {
			newBrowser().create(t, k, "short", time.Now().Add(time.Minute))
		}
		time.Sleep(2 * time.Minute)
		newBrowser().create(t, k, "new", hour())
		if s.Len() != 1 {
			t.Fatalf("%d sessions after the sweep", s.Len())
		}
	})
}

func TestMemoryStoreKeepsNamesAndKindsApart(t *testing.T) {
	s, k := memoryOf(t, MemoryConfig{})
	b := newBrowser()
	b.create(t, k, "data", hour())
	id := b.jar[testAttributes.name]
	other := &memoryKeeper{store: s, cookieAttributes: cookieAttributes{name: "other"}}
	(&browser{jar: map[string]string{"other": id}}).none(t, other)
	for _, name := range []string{testAttributes.name, "other"} {
		if got, err := s.New(requestWith(name+"="+id), name); err != nil || !got.IsNew {
			t.Errorf("%s: a record is taken for Values: %v", name, err)
		}
	}
	b.load(t, k)
}

func TestMemoryStoreMovesTheCookiesEndWithTheRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, k := memoryOf(t, MemoryConfig{})
		b := newBrowser()
		end := hour()
		b.create(t, k, "data", end)
		w, have := httptest.NewRecorder(), b.load(t, k)
		if err := k.update(w, b.request(), &have, []byte("more"), end); err != nil || len(w.Header()) != 0 {
			t.Fatalf("%v; the same end needs no cookie: %v", err, w.Header())
		}
		have = b.load(t, k)
		if err := k.update(w, b.request(), &have, []byte("more"), end.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if line := w.Header().Get("Set-Cookie"); !strings.HasPrefix(line, testAttributes.name+"="+b.jar[testAttributes.name]+";") || !strings.Contains(line, "Max-Age=7200") {
			t.Fatalf("%q", line)
		}
	})
}

func TestMemoryStoreLoadsWithoutMemory(t *testing.T) {
	_, k := memoryOf(t, MemoryConfig{})
	b := newBrowser()
	b.create(t, k, "data", hour())
	r := b.request()
	var have kept
	if n := testing.AllocsPerRun(100, func() {
		if err := k.load(r, &have); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Fatalf("%v allocations", n)
	}
}

// TestManyBrowsersGetTheirOwnRecord runs under the race detector.
func TestManyBrowsersGetTheirOwnRecord(t *testing.T) {
	eachKeeper(t, func(t *testing.T, k keeper) {
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				b, own := newBrowser(), fmt.Sprintf("record of %d ", i)
				b.create(t, k, own, hour())
				for n := range 10 {
					have := b.load(t, k)
					if !strings.HasPrefix(string(have.data), own) {
						t.Errorf("browser %d got %q", i, have.data)
						return
					}
					b.touch(t, k, have, time.Now())
					b.update(t, k, have, own+fmt.Sprint(n), hour())
				}
			})
		}
		wg.Wait()
	})
}
