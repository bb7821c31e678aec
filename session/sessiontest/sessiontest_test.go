package sessiontest_test

import (
	"testing"

	"github.com/gorilla/sessions"
	"github.com/latchkey-go/latchkey/session"
	"github.com/latchkey-go/latchkey/session/sessiontest"
)

var key = []byte("0123456789abcdefghijklmnopqrstuv")

func TestCookieStore(t *testing.T) {
	sessiontest.Run(t, func(t *testing.T) sessions.Store {
		store, err := session.NewCookieStore(key)
		if err != nil {
			t.Fatal(err)
		}
		return store
	})
}

func TestMemoryStore(t *testing.T) {
	sessiontest.Run(t, func(t *testing.T) sessions.Store {
		store, err := session.NewMemoryStore(session.MemoryConfig{})
		if err != nil {
			t.Fatal(err)
		}
		return store
	})
}

func TestGorillaCookieStore(t *testing.T) {
	sessiontest.Run(t, func(*testing.T) sessions.Store { return sessions.NewCookieStore(key) })
}

func TestGorillaFilesystemStore(t *testing.T) {
	sessiontest.Run(t, func(t *testing.T) sessions.Store { return sessions.NewFilesystemStore(t.TempDir(), key) })
}
