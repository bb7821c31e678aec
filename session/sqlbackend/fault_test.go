//go:build unix

package sqlbackend_test

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/session"
	"github.com/latchkey-go/latchkey/session/sqlbackend"
)

// eachServer runs with the databases that are servers.
func eachServer(t *testing.T, run func(t *testing.T, s *service)) {
	for _, s := range []*service{postgres, mariadb} {
		t.Run(s.name, func(t *testing.T) { run(t, s.running(t)) })
	}
}

// calls are every method of a Backend.
func calls(b *sqlbackend.Backend) map[string]func(ctx context.Context) error {
	return map[string]func(ctx context.Context) error{
		"Get": func(ctx context.Context) error {
			_, err := b.Get(ctx, newKey())
			return err
		},
		"Put of a new item": func(ctx context.Context) error { return b.Put(ctx, newKey(), sealedItem(1), 0) },
		"Put":               func(ctx context.Context) error { return b.Put(ctx, newKey(), sealedItem(2), 1) },
		"Delete":            func(ctx context.Context) error { return b.Delete(ctx, newKey(), 0) },
		"List": func(ctx context.Context) error {
			_, err := b.List(ctx, newKey(), 10)
			return err
		},
		"Sweep": func(ctx context.Context) error {
			_, err := b.Sweep(ctx, 10)
			return err
		},
		"CheckSchema":  b.CheckSchema,
		"CreateSchema": b.CreateSchema,
	}
}

// failing makes every call at once, and reports those that don't fail as an outage does within limit.
func failing(t *testing.T, b *sqlbackend.Backend, limit time.Duration, also error) {
	t.Helper()
	var wg sync.WaitGroup
	for name, call := range calls(b) {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			begun := time.Now()
			err := call(ctx)
			if err == nil || errors.Is(err, session.ErrConflict) || errors.Is(err, sqlbackend.ErrSchema) || also != nil && !errors.Is(err, also) {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(begun); took > limit+5*time.Second {
				t.Errorf("%s took %s", name, took)
			}
		})
	}
	wg.Wait()
}

func TestAServerThatIsGoneIsAnErrorUntilItIsBack(t *testing.T) {
	eachServer(t, func(t *testing.T, s *service) {
		b, key := s.backend(t, ""), newKey()
		if err := b.Put(t.Context(), key, sealedItem(1), 0); err != nil {
			t.Fatal(err)
		}
		s.kill()
		failing(t, b, 2*time.Second, nil)
		s.running(t)
		if items, err := b.Get(t.Context(), key); err != nil || items[0].Version != 1 {
			t.Fatalf("after the restart: version %d, %v", items[0].Version, err)
		}
		if err := b.Put(t.Context(), key, sealedItem(2), 1); err != nil {
			t.Errorf("after the restart: %v", err)
		}
	})
}

func TestCallsToAServerThatHangsEndWithTheirContext(t *testing.T) {
	eachServer(t, func(t *testing.T, s *service) {
		b := s.backend(t, "")
		s.signal(syscall.SIGSTOP)
		failing(t, b, 300*time.Millisecond, context.DeadlineExceeded) // on the connection that there is, and on new ones
		failing(t, s.unmade(t), 300*time.Millisecond, context.DeadlineExceeded)
		s.signal(syscall.SIGCONT)
		if err := b.Put(t.Context(), newKey(), sealedItem(1), 0); err != nil {
			t.Errorf("when it runs again: %v", err)
		}
	})
}

// unmade is a Backend whose schema nobody looks at.
func (s *service) unmade(t testing.TB) *sqlbackend.Backend {
	t.Helper()
	b, err := sqlbackend.New(s.open(t), sqlbackend.Config{Dialect: s.dialect})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The statement has been sent, and waits for a lock, when the server dies: whoever called must not be told that another write came first.
func TestAWriteWhoseOutcomeIsUnknownIsNoConflict(t *testing.T) {
	eachServer(t, func(t *testing.T, s *service) {
		b, there, coming := s.backend(t, ""), newKey(), newKey()
		if err := b.Put(t.Context(), there, sealedItem(1), 0); err != nil {
			t.Fatal(err)
		}
		tx := s.locking(t, there, coming)
		results := make(chan error, 3)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		go func() { results <- b.Put(ctx, there, sealedItem(2), 1) }()
		go func() { results <- b.Put(ctx, coming, sealedItem(1), 0) }()
		go func() { results <- b.Delete(ctx, there, 1) }()
		select {
		case err := <-results:
			t.Fatalf("a write passed a lock: %v", err)
		case <-time.After(300 * time.Millisecond):
		}
		s.kill()
		for range cap(results) {
			if err := <-results; err == nil || errors.Is(err, session.ErrConflict) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v, want the broken connection's error", err)
			}
		}
		_ = tx.Rollback()
		s.running(t)
	})
}

// locking is a transaction that has changed the item under there and made one under coming.
func (s *service) locking(t *testing.T, there, coming session.Key) *sql.Tx {
	t.Helper()
	tx, err := s.open(t).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	lock, insert := "SELECT version FROM latchkey_items WHERE item_key = ? FOR UPDATE", "INSERT INTO latchkey_items (item_key, version, expires, data) VALUES (?, 1, 1, '')"
	if s.dialect == sqlbackend.PostgreSQL {
		lock, insert = "SELECT version FROM latchkey_items WHERE item_key = $1 FOR UPDATE", "INSERT INTO latchkey_items (item_key, version, expires, data) VALUES ($1, 1, 1, '')"
	}
	if _, err := tx.ExecContext(t.Context(), lock, there[:]); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), insert, coming[:]); err != nil {
		t.Fatal(err)
	}
	return tx
}

func TestABusySQLiteFileIsWaitedFor(t *testing.T) {
	dsn := "file:" + t.TempDir() + "/busy.db?_pragma=journal_mode(WAL)" // the driver doesn't wait
	b := newBackend(t, openDB(t, "sqlite", dsn), sqlbackend.SQLite, "")
	conn, err := openDB(t, "sqlite", dsn).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	execute := func(text string) {
		t.Helper()
		if _, err := conn.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	execute("BEGIN IMMEDIATE")
	timer := time.AfterFunc(60*time.Millisecond, func() { _, _ = conn.ExecContext(context.Background(), "COMMIT") })
	defer timer.Stop()
	key := newKey()
	if err := b.Put(t.Context(), key, sealedItem(1), 0); err != nil {
		t.Fatalf("held for a moment: %v", err)
	}
	execute("BEGIN IMMEDIATE")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if err := b.Put(ctx, key, sealedItem(2), 1); err == nil || errors.Is(err, session.ErrConflict) || time.Since(begun) > 10*time.Second {
		t.Errorf("held for good: %v after %s", err, time.Since(begun))
	}
	execute("ROLLBACK")
	if err := b.Put(t.Context(), key, sealedItem(2), 1); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
