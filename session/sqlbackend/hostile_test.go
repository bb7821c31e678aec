//go:build unix

package sqlbackend_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/session"
	"github.com/latchkey-go/latchkey/session/sqlbackend"
)

// A pool whose connections are all in use makes calls wait, and items end meanwhile.
func TestWhatEndsWhileACallWaitsForAConnectionIsAbsent(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		db := p.open()
		b, ends, lasts, owner := newBackend(t, db, p.dialect, ""), newKey(), newKey(), newKey()
		for key, life := range map[session.Key]time.Duration{ends: 400 * time.Millisecond, lasts: time.Hour} {
			if err := b.Put(t.Context(), key, session.Item{Data: []byte("x"), Version: 1, Expires: time.Now().Add(life), Owner: owner}, 0); err != nil {
				t.Fatal(err)
			}
		}
		db.SetMaxOpenConns(1)
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			items, err := b.Get(t.Context(), ends, lasts)
			if err != nil || items[0].Version != 0 || items[1].Version != 1 {
				t.Errorf("Get: versions %d and %d, %v; want 0 and 1", items[0].Version, items[1].Version, err)
			}
		})
		wg.Go(func() {
			if keys, err := b.List(t.Context(), owner, 10); err != nil || len(keys) != 1 || keys[0] != lasts {
				t.Errorf("List: %d keys, %v; want the one that lasts", len(keys), err)
			}
		})
		time.Sleep(500 * time.Millisecond)
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
	})
}

// What a replica whose clock is ahead takes for ended is alive for the others: it is absent there, and must not be removed for all.
func TestSweepLeavesWhatHasEndedAMomentAgo(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		table := newName("ahead")
		b, db := newBackend(t, p.open(), p.dialect, table), p.open()
		for _, ago := range []time.Duration{time.Second, 50 * time.Second, 70 * time.Second, time.Hour} {
			if err := b.Put(t.Context(), newKey(), session.Item{Version: 1, Expires: time.Now().Add(-ago)}, 0); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := b.Sweep(t.Context(), 10); err != nil || n != 2 {
			t.Errorf("swept %d, %v; want the 2 that ended more than a minute ago", n, err)
		}
		var left int
		if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM "+table).Scan(&left); err != nil || left != 2 {
			t.Errorf("%d are left, %v", left, err)
		}
	})
}

// hung is a database that takes connections and answers nothing.
type hung struct{}

func (hung) Connect(context.Context) (driver.Conn, error) { return hung{}, nil }
func (hung) Driver() driver.Driver                        { return nil }
func (hung) Prepare(string) (driver.Stmt, error)          { return nil, errors.ErrUnsupported }
func (hung) Begin() (driver.Tx, error)                    { return nil, errors.ErrUnsupported }
func (hung) Close() error                                 { return nil }
func (hung) Ping(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func (hung) QueryContext(ctx context.Context, _ string, _ []driver.NamedValue) (driver.Rows, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (hung) ExecContext(ctx context.Context, _ string, _ []driver.NamedValue) (driver.Result, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestTheSchemaOfADatabaseThatHangsIsNotWaitedForForEver(t *testing.T) {
	for _, dialect := range []sqlbackend.Dialect{sqlbackend.PostgreSQL, sqlbackend.MySQL, sqlbackend.SQLite} {
		for _, name := range []string{"CheckSchema", "CreateSchema"} {
			t.Run(fmt.Sprint(dialect, name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					db := sql.OpenDB(hung{})
					defer db.Close()
					b, err := sqlbackend.New(db, sqlbackend.Config{Dialect: dialect})
					if err != nil {
						t.Fatal(err)
					}
					ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
					defer cancel()
					begun := time.Now()
					switch name {
					case "CheckSchema":
						err = b.CheckSchema(ctx)
					default:
						err = b.CreateSchema(ctx)
					}
					if took := time.Since(begun); took > 5*time.Minute || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, sqlbackend.ErrSchema) {
						t.Errorf("after %s: %v", took, err)
					}
				})
			})
		}
	}
}

// restricted is a Backend as a user of the database who has these rights alone.
func (s *service) restricted(t *testing.T, table, items, schema string) *sqlbackend.Backend {
	t.Helper()
	admin, name := s.open(t), newName("app")
	grants := []string{"CREATE USER '" + name + "'@'%'", "GRANT %s ON %s TO '" + name + "'@'%%'"}
	dsn := strings.Replace(s.dsn, "root@", name+"@", 1)
	if s.dialect == sqlbackend.PostgreSQL {
		grants = []string{"CREATE ROLE " + name + " LOGIN", "GRANT %s ON %s TO " + name}
		dsn = strings.Replace(s.dsn, "postgres@", name+"@", 1)
	}
	for _, text := range []string{grants[0], fmt.Sprintf(grants[1], items, table), fmt.Sprintf(grants[1], schema, table+"_schema")} {
		if _, err := admin.ExecContext(t.Context(), text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	b, err := sqlbackend.New(openDB(t, s.driver, dsn), sqlbackend.Config{Dialect: s.dialect, Table: table})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAnAccountNeedsNoRightsBesidesThoseOfItsRows(t *testing.T) {
	eachServer(t, func(t *testing.T, s *service) {
		table := newName("granted")
		s.backend(t, table)
		b := s.restricted(t, table, "SELECT, INSERT, UPDATE, DELETE", "SELECT")
		for name, err := range map[string]error{"CheckSchema": b.CheckSchema(t.Context()), "CreateSchema": b.CreateSchema(t.Context())} {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		works(t, b)
		key, ended := newKey(), sealedItem(1)
		ended.Expires = time.Now().Add(-time.Hour)
		for range 2 { // the second is made where one has ended
			if err := b.Put(t.Context(), key, ended, 0); err != nil {
				t.Error(err)
			}
		}
		if n, err := b.Sweep(t.Context(), 10); n != 1 || err != nil {
			t.Errorf("swept %d, %v", n, err)
		}
		if err := b.Delete(t.Context(), key, 1); err != nil {
			t.Error(err)
		}
		if _, err := b.List(t.Context(), key, 1); err != nil {
			t.Error(err)
		}
		if err := s.restricted(t, table, "INSERT", "SELECT").CheckSchema(t.Context()); !errors.Is(err, sqlbackend.ErrSchema) {
			t.Errorf("of who may not read the items: %v, want ErrSchema", err)
		}
	})
}

// Without autocommit a Put that returned nil is undone when its connection ends, and holds its row until then.
func TestAConnectionWithoutAutocommitIsRefused(t *testing.T) {
	s := mariadb.running(t)
	s.backend(t, "")
	b, err := sqlbackend.New(openDB(t, s.driver, s.dsn+"&autocommit=0"), sqlbackend.Config{Dialect: s.dialect})
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{"CheckSchema": b.CheckSchema(t.Context()), "CreateSchema": b.CreateSchema(t.Context())} {
		if err == nil || !strings.Contains(err.Error(), "autocommit") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
