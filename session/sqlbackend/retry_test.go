package sqlbackend_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/session"
	"github.com/latchkey-go/latchkey/session/sqlbackend"
)

// script is a driver whose statements fail with what it says.
type script struct {
	err      error
	failures int64 // of the first statements; then each changes a row
	sent     atomic.Int64
}

func (s *script) Connect(context.Context) (driver.Conn, error) { return s, nil }
func (s *script) Driver() driver.Driver                        { return nil }
func (s *script) Prepare(string) (driver.Stmt, error)          { return nil, errors.New("not in the script") }
func (s *script) Begin() (driver.Tx, error)                    { return nil, errors.New("not in the script") }
func (s *script) Close() error                                 { return nil }

func (s *script) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	if s.sent.Add(1) <= s.failures {
		return nil, s.err
	}
	return driver.RowsAffected(1), nil
}

func (s *script) backend(t *testing.T, dialect sqlbackend.Dialect) *sqlbackend.Backend {
	t.Helper()
	db := sql.OpenDB(s)
	t.Cleanup(func() { _ = db.Close() })
	b, err := sqlbackend.New(db, sqlbackend.Config{Dialect: dialect})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// stated is an error as pgx and lib/pq have it, numbered one as modernc.org/sqlite has it.
type (
	stated   string
	numbered int
)

func (s stated) Error() string    { return "ERROR: something (SQLSTATE " + string(s) + ")" }
func (s stated) SQLState() string { return string(s) }
func (n numbered) Error() string  { return fmt.Sprintf("database is locked (%d)", int(n)) }
func (n numbered) Code() int      { return int(n) }

func TestOnlyWhatTheDatabaseHasUndoneIsTriedAgain(t *testing.T) {
	for _, c := range []struct {
		dialect sqlbackend.Dialect
		err     error
		again   bool
	}{
		{sqlbackend.PostgreSQL, stated("40001"), true},
		{sqlbackend.PostgreSQL, fmt.Errorf("wrapped: %w", stated("40P01")), true},
		{sqlbackend.PostgreSQL, stated("40003"), false}, // statement_completion_unknown
		{sqlbackend.PostgreSQL, stated("40002"), false},
		{sqlbackend.PostgreSQL, stated("57P01"), false}, // admin_shutdown
		{sqlbackend.PostgreSQL, stated("55P03"), false}, // lock_not_available
		{sqlbackend.PostgreSQL, errors.New("40001"), false},
		{sqlbackend.PostgreSQL, errors.New("Error 1213 (40001): Deadlock found"), false},
		{sqlbackend.MySQL, errors.New("Error 1213 (40001): Deadlock found when trying to get lock; try restarting transaction"), true},
		{sqlbackend.MySQL, errors.New("Error 1213: Deadlock found"), true},
		{sqlbackend.MySQL, fmt.Errorf("traced: %w", errors.New("Error 1020 (HY000): Record has changed since last read in table 'x'")), true},
		{sqlbackend.MySQL, errors.New("Error 1205 (HY000): Lock wait timeout exceeded; try restarting transaction"), false},
		{sqlbackend.MySQL, errors.New("Error 12130: nothing of the kind"), false},
		{sqlbackend.MySQL, errors.New("something about 'Error 1213'"), false},
		{sqlbackend.MySQL, errors.New("invalid connection"), false},
		{sqlbackend.SQLite, numbered(5), true},
		{sqlbackend.SQLite, numbered(6), true},
		{sqlbackend.SQLite, numbered(5 | 2<<8), true}, // SQLITE_BUSY_SNAPSHOT
		{sqlbackend.SQLite, numbered(9), false},       // SQLITE_INTERRUPT
		{sqlbackend.SQLite, errors.New("database is locked"), true},
		{sqlbackend.SQLite, errors.New("disk I/O error"), false},
	} {
		t.Run(fmt.Sprint(c.dialect, " ", c.err), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{err: c.err, failures: 3}
				err := s.backend(t, c.dialect).Put(t.Context(), newKey(), sealedItem(1), 0)
				sent := int64(1)
				if c.again {
					sent = 4
				}
				if n := s.sent.Load(); n != sent || (err == nil) != c.again || errors.Is(err, session.ErrConflict) {
					t.Errorf("%d statements, %v", n, err)
				}
				if !c.again && !errors.Is(err, c.err) {
					t.Errorf("%v doesn't wrap the cause", err)
				}
			})
		})
	}
}

func TestTryingAgainHasAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{err: stated("40001"), failures: 1000}
		b, begun := s.backend(t, sqlbackend.PostgreSQL), time.Now()
		if err := b.Delete(t.Context(), newKey(), 1); !errors.Is(err, s.err) || s.sent.Load() != 10 || time.Since(begun) > 2*time.Second {
			t.Errorf("%v after %d statements and %s", err, s.sent.Load(), time.Since(begun))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		begun = time.Now()
		if err := b.Delete(ctx, newKey(), 1); err == nil || time.Since(begun) != 20*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
	})
}
