package sqlbackend_test

import (
	"testing"

	"github.com/latchkey-go/latchkey/session"
	"github.com/latchkey-go/latchkey/session/sessiontest"
	"github.com/latchkey-go/latchkey/session/sqlbackend"
)

func TestPostgreSQLIsABackend(t *testing.T) {
	s := postgres.running(t)
	sessiontest.RunBackend(t, func(t *testing.T) session.Backend { return s.backend(t, "") })
}

func TestMariaDBIsABackend(t *testing.T) {
	s := mariadb.running(t)
	sessiontest.RunBackend(t, func(t *testing.T) session.Backend { return s.backend(t, "") })
}

func TestSQLiteIsABackend(t *testing.T) {
	dir := t.TempDir()
	sessiontest.RunBackend(t, func(t *testing.T) session.Backend {
		return newBackend(t, openDB(t, "sqlite", sqliteDSN(dir)), sqlbackend.SQLite, "")
	})
}
