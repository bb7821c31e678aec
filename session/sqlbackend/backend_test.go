//go:build unix

package sqlbackend_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/session"
	"github.com/latchkey-go/latchkey/session/sessiontest"
	"github.com/latchkey-go/latchkey/session/sqlbackend"
)

// variants are the databases, as drivers and their settings reach them. Each call of open is another replica.
func variants(t *testing.T, run func(t *testing.T, open func(t testing.TB) *sqlbackend.Backend)) {
	over := func(s *service, options string) func(t *testing.T) {
		return func(t *testing.T) {
			s.running(t)
			run(t, func(t testing.TB) *sqlbackend.Backend {
				return newBackend(t, openDB(t, s.driver, s.dsn+options), s.dialect, "")
			})
		}
	}
	t.Run("PostgreSQL", over(postgres, ""))
	t.Run("PostgreSQL serializable, without cached statements", over(postgres, "&default_transaction_isolation=serializable&default_query_exec_mode=exec"))
	t.Run("MariaDB", over(mariadb, ""))
	t.Run("MariaDB preparing, with clientFoundRows", over(mariadb, "&interpolateParams=false&clientFoundRows=true"))
	t.Run("MariaDB serializable", over(mariadb, "&tx_isolation=%27SERIALIZABLE%27"))
	t.Run("MariaDB with snapshot isolation", over(mariadb, "&innodb_snapshot_isolation=1")) // the default of its later releases
	t.Run("SQLite", func(t *testing.T) {
		dir := t.TempDir()
		run(t, func(t testing.TB) *sqlbackend.Backend {
			return newBackend(t, openDB(t, "sqlite", sqliteDSN(dir)), sqlbackend.SQLite, "")
		})
	})
}

func TestEachDatabaseIsABackend(t *testing.T) {
	variants(t, func(t *testing.T, open func(t testing.TB) *sqlbackend.Backend) {
		sessiontest.RunBackend(t, func(t *testing.T) session.Backend { return open(t) })
	})
}

// MySQL counts no row that gets the values it has. Two touches in one millisecond, and a renewal of a lease, are such writes.
func TestAPutOfTheSameValuesIsNoConflict(t *testing.T) {
	variants(t, func(t *testing.T, open func(t testing.TB) *sqlbackend.Backend) {
		b, key, same := open(t), newKey(), sealedItem(7)
		for i, from := range []uint64{0, 7, 7, 7} {
			if err := b.Put(t.Context(), key, same, from); err != nil {
				t.Errorf("Put %d: %v", i, err)
			}
		}
		ended := same
		ended.Expires = time.Now().Add(-time.Hour)
		if err := b.Put(t.Context(), key, ended, 7); err != nil {
			t.Error(err)
		}
		for range 3 { // what has ended is replaced by itself
			if err := b.Put(t.Context(), key, ended, 0); err != nil {
				t.Errorf("of an ended item: %v", err)
			}
		}
		if err := b.Put(t.Context(), key, ended, 7); !errors.Is(err, session.ErrConflict) {
			t.Errorf("from an ended item: %v, want ErrConflict", err)
		}
	})
}

// Each key has one writer, and what is there has always ended: no Put may meet anything, whatever the sweepers do between its statements.
func TestSweepingWhileItemsAreMadeRefusesNone(t *testing.T) {
	variants(t, func(t *testing.T, open func(t testing.TB) *sqlbackend.Backend) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var writers, sweepers sync.WaitGroup
		for range 2 {
			b := open(t)
			sweepers.Go(func() {
				for ctx.Err() == nil {
					if _, err := b.Sweep(ctx, 3); err != nil && ctx.Err() == nil {
						t.Errorf("Sweep: %v", err)
					}
				}
			})
			for range 3 {
				writers.Go(func() {
					key, item := newKey(), sealedItem(1)
					for i := range 60 {
						item.Expires = time.Now().Add(-2 * time.Minute) // long enough for a sweeper
						if err := b.Put(ctx, key, item, 0); err != nil {
							t.Errorf("Put %d: %v", i, err)
							return
						}
					}
				})
			}
		}
		writers.Wait()
		stop()
		sweepers.Wait()
	})
}

func TestSweepTakesManyBatchesAndKeepsItsLimit(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		b := newBackend(t, p.open(), p.dialect, "swept")
		for range 450 {
			if err := b.Put(t.Context(), newKey(), session.Item{Version: 1, Expires: time.Now().Add(-time.Minute)}, 0); err != nil {
				t.Fatal(err)
			}
		}
		works(t, b)
		var got []int
		for _, limit := range []int{0, -1, 7, 300, 1000, 1000} {
			n, err := b.Sweep(t.Context(), limit)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, n)
		}
		if fmt.Sprint(got) != "[0 0 7 300 143 0]" {
			t.Errorf("swept %d", got)
		}
	})
}

func TestAThousandKeysAreGotInOrder(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		b := newBackend(t, p.open(), p.dialect, "")
		for _, n := range []int{4, 5, 9, 1024, 1100} {
			keys := make([]session.Key, n)
			for i := range keys {
				keys[i] = newKey()
			}
			for _, i := range []int{0, n / 2, n - 1} {
				if err := b.Put(t.Context(), keys[i], sealedItem(uint64(i+1)), 0); err != nil {
					t.Fatal(err)
				}
			}
			items, err := b.Get(t.Context(), keys...)
			if err != nil || len(items) != n {
				t.Fatalf("%d items of %d, %v", len(items), n, err)
			}
			for i, item := range items {
				if there := i == 0 || i == n/2 || i == n-1; there != (item.Version == uint64(i+1)) || !there && item.Data != nil {
					t.Errorf("item %d of %d has version %d", i, n, item.Version)
				}
			}
		}
	})
}

func TestEmptyDataAndTheZeroTimeAreKept(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		b, key := newBackend(t, p.open(), p.dialect, ""), newKey()
		if err := b.Put(t.Context(), key, session.Item{Version: 1}, 0); err != nil {
			t.Fatalf("of an item that ended in the year 1: %v", err)
		}
		if err := b.Put(t.Context(), key, session.Item{Version: 2, Expires: time.Now().Add(time.Hour)}, 0); err != nil {
			t.Fatal(err)
		}
		if items, err := b.Get(t.Context(), key); err != nil || items[0].Version != 2 || len(items[0].Data) != 0 {
			t.Errorf("version %d with %d bytes, %v", items[0].Version, len(items[0].Data), err)
		}
	})
}

func TestWhatIsNoItemIsNotPut(t *testing.T) {
	b := newBackend(t, openDB(t, "sqlite", sqliteDSN(t.TempDir())), sqlbackend.SQLite, "")
	if err := b.Put(t.Context(), newKey(), sealedItem(0), 0); err == nil || errors.Is(err, session.ErrConflict) {
		t.Errorf("of version zero: %v", err)
	}
	item := sealedItem(1)
	item.Data = make([]byte, 1<<20)
	if err := b.Put(t.Context(), newKey(), item, 0); err != nil {
		t.Errorf("of 1 MiB: %v", err)
	}
	item.Data = append(item.Data, 0)
	if err := b.Put(t.Context(), newKey(), item, 0); err == nil || !strings.Contains(err.Error(), "1048577 bytes") {
		t.Errorf("of more: %v", err)
	}
}

func TestABackendPrintsNothingOfItsConnection(t *testing.T) {
	b, err := sqlbackend.New(openDB(t, "pgx", "postgres://app:hunter2@db.example/app"), sqlbackend.Config{Dialect: sqlbackend.PostgreSQL})
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, b); got != "sqlbackend.Backend(PostgreSQL latchkey_items)" {
			t.Errorf("%s: %s", verb, got)
		}
	}
	if got := b.LogValue().String(); strings.Contains(got, "hunter2") {
		t.Error(got)
	}
}
