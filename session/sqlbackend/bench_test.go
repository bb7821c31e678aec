//go:build unix

package sqlbackend_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/latchkey-go/latchkey/session"
	"github.com/latchkey-go/latchkey/session/sqlbackend"
)

// benchmarkEach runs with each database; MariaDB also without interpolateParams, where each statement is prepared first.
func benchmarkEach(b *testing.B, run func(b *testing.B, backend session.Backend)) {
	over := func(b *testing.B, driver, dsn string, dialect sqlbackend.Dialect) {
		db := openDB(b, driver, dsn)
		db.SetMaxIdleConns(16) // as a server has it: the default keeps 2
		run(b, newBackend(b, db, dialect, "bench"))
	}
	b.Run("PostgreSQL", func(b *testing.B) { over(b, "pgx", postgres.running(b).dsn, sqlbackend.PostgreSQL) })
	b.Run("MariaDB", func(b *testing.B) { over(b, "mysql", mariadb.running(b).dsn, sqlbackend.MySQL) })
	b.Run("MariaDB preparing", func(b *testing.B) {
		over(b, "mysql", strings.ReplaceAll(mariadb.running(b).dsn, "&interpolateParams=true", ""), sqlbackend.MySQL)
	})
	b.Run("SQLite", func(b *testing.B) { over(b, "sqlite", sqliteDSN(b.TempDir()), sqlbackend.SQLite) })
}

// BenchmarkGet is what each request of a signed-in user does: the session, and two revocations that are not there.
func BenchmarkGet(b *testing.B) {
	benchmarkEach(b, func(b *testing.B, backend session.Backend) {
		key := newKey()
		if err := backend.Put(b.Context(), key, sealedItem(1), 0); err != nil {
			b.Fatal(err)
		}
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if items, err := backend.Get(b.Context(), key, newKey(), newKey()); err != nil || items[0].Version != 1 {
					b.Errorf("version %d, %v", items[0].Version, err)
					return
				}
			}
		})
	})
}

// BenchmarkPut makes an item and replaces it, in turns.
func BenchmarkPut(b *testing.B) {
	benchmarkEach(b, func(b *testing.B, backend session.Backend) {
		var failed atomic.Int64
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			var key session.Key
			for n := 0; pb.Next(); n++ {
				from := uint64(n % 2)
				if from == 0 {
					key = newKey()
				}
				if err := backend.Put(b.Context(), key, sealedItem(from+1), from); err != nil {
					failed.Add(1)
				}
			}
		})
		if n := failed.Load(); n > 0 {
			b.Errorf("%d of %d failed", n, b.N)
		}
	})
}
