//go:build unix

package sqlbackend_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/session"
	"github.com/latchkey-go/latchkey/session/sqlbackend"
)

// place is a database that has no tables of its name yet.
type place struct {
	dialect sqlbackend.Dialect
	folder  string
	open    func() *sql.DB
}

func eachPlace(t *testing.T, run func(t *testing.T, p place)) {
	t.Run("PostgreSQL", func(t *testing.T) {
		s := postgres.running(t)
		run(t, place{s.dialect, "postgresql", func() *sql.DB { return s.open(t) }})
	})
	t.Run("MariaDB", func(t *testing.T) {
		s := mariadb.running(t)
		run(t, place{s.dialect, "mysql", func() *sql.DB { return s.open(t) }})
	})
	t.Run("SQLite", func(t *testing.T) {
		dir := t.TempDir()
		run(t, place{sqlbackend.SQLite, "sqlite", func() *sql.DB { return openDB(t, "sqlite", sqliteDSN(dir)) }})
	})
}

// newName is one that the database doesn't have yet: the servers stay for all runs of a test.
func newName(start string) string { return fmt.Sprintf("%s_%d", start, time.Now().UnixNano()) }

func (p place) backend(t *testing.T, table string) *sqlbackend.Backend {
	t.Helper()
	b, err := sqlbackend.New(p.open(), sqlbackend.Config{Dialect: p.dialect, Table: table})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func works(t *testing.T, b *sqlbackend.Backend) {
	t.Helper()
	key := newKey()
	if err := b.Put(t.Context(), key, sealedItem(1), 0); err != nil {
		t.Fatal(err)
	}
	if err := b.Put(t.Context(), key, sealedItem(1), 0); !errors.Is(err, session.ErrConflict) {
		t.Fatalf("%v, want ErrConflict", err)
	}
	if items, err := b.Get(t.Context(), key); err != nil || items[0].Version != 1 {
		t.Fatalf("version %d, %v", items[0].Version, err)
	}
}

func TestFourReplicasMakeTheSchemaAtOnce(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		var all []*sqlbackend.Backend
		table := newName("at_once")
		for range 4 {
			all = append(all, p.backend(t, table))
		}
		if err := all[0].CheckSchema(t.Context()); !errors.Is(err, sqlbackend.ErrSchema) || !strings.Contains(err.Error(), "schema/"+p.folder) {
			t.Errorf("before: %v, want ErrSchema and what to do", err)
		}
		var wg sync.WaitGroup
		for _, b := range all {
			wg.Go(func() {
				for range 3 {
					if err := b.CreateSchema(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		for _, b := range all {
			if err := b.CheckSchema(t.Context()); err != nil {
				t.Error(err)
			}
			works(t, b)
		}
	})
}

func TestASchemaOfALaterVersionIsRefused(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		b := p.backend(t, "later")
		if err := b.CreateSchema(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := p.open().ExecContext(t.Context(), "INSERT INTO later_schema (version) VALUES (99)"); err != nil {
			t.Fatal(err)
		}
		for name, err := range map[string]error{"CreateSchema": b.CreateSchema(t.Context()), "CheckSchema": b.CheckSchema(t.Context())} {
			if !errors.Is(err, sqlbackend.ErrSchema) || !strings.Contains(err.Error(), "version 99") {
				t.Errorf("%s: %v", name, err)
			}
		}
		// It has left no lock and no transaction behind.
		if _, err := p.open().ExecContext(t.Context(), "DELETE FROM later_schema"); err != nil {
			t.Fatal(err)
		}
		if err := b.CheckSchema(t.Context()); !errors.Is(err, sqlbackend.ErrSchema) || !strings.Contains(err.Error(), "version 0") {
			t.Errorf("without a version: %v", err)
		}
		if err := p.backend(t, "later").CreateSchema(t.Context()); err != nil {
			t.Error(err)
		}
		works(t, b)
	})
}

func TestTheFilesOfTheSchemaMayBeAppliedByHand(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		text, err := os.ReadFile(filepath.Join("schema", p.folder, "1.sql"))
		if err != nil {
			t.Fatal(err)
		}
		db := p.open()
		if p.dialect == sqlbackend.MySQL {
			db = openDB(t, mariadb.driver, mariadb.dsn+"&multiStatements=true")
		}
		for range 2 {
			if _, err := db.ExecContext(t.Context(), strings.ReplaceAll(string(text), "latchkey_items", "by_hand")); err != nil {
				t.Fatal(err)
			}
		}
		b := p.backend(t, "by_hand")
		if err := b.CheckSchema(t.Context()); err != nil {
			t.Error(err)
		}
		works(t, b)
	})
}

func TestTheTableMayBeInASchema(t *testing.T) {
	eachServer(t, func(t *testing.T, s *service) {
		apart := newName("apart")
		if _, err := s.open(t).ExecContext(t.Context(), "CREATE SCHEMA "+apart); err != nil {
			t.Fatal(err)
		}
		works(t, s.backend(t, apart+".Items_2"))
		if _, err := s.open(t).ExecContext(t.Context(), "SELECT version FROM "+apart+".Items_2_schema"); err != nil {
			t.Error(err)
		}
	})
}

func TestNewRefusesWhatItCannotServe(t *testing.T) {
	db := openDB(t, "sqlite", ":memory:")
	for _, c := range []struct {
		db     *sql.DB
		config sqlbackend.Config
		reason string
	}{
		{nil, sqlbackend.Config{Dialect: sqlbackend.SQLite}, "*sql.DB"},
		{db, sqlbackend.Config{}, "Dialect"},
		{db, sqlbackend.Config{Dialect: sqlbackend.SQLite + 1}, "Dialect"},
		{db, sqlbackend.Config{Dialect: sqlbackend.MySQL, Table: "items; DROP TABLE users"}, "is no name"},
		{db, sqlbackend.Config{Dialect: sqlbackend.MySQL, Table: "1items"}, "is no name"},
		{db, sqlbackend.Config{Dialect: sqlbackend.MySQL, Table: "a.b.c"}, "is no name"},
		{db, sqlbackend.Config{Dialect: sqlbackend.MySQL, Table: "items\n"}, "is no name"},
		{db, sqlbackend.Config{Dialect: sqlbackend.MySQL, Table: strings.Repeat("x", 51)}, "too long"},
		{db, sqlbackend.Config{Dialect: sqlbackend.SQLite, Table: "main.items"}, "has a schema"},
	} {
		if _, err := sqlbackend.New(c.db, c.config); err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%+v: %v, want %q", c.config, err, c.reason)
		}
	}
	for _, table := range []string{"", "_items", "auth.Items_2", strings.Repeat("x", 50)} {
		if _, err := sqlbackend.New(db, sqlbackend.Config{Dialect: sqlbackend.PostgreSQL, Table: table}); err != nil {
			t.Errorf("%q: %v", table, err)
		}
	}
}
