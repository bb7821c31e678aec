package session_test

import (
	"errors"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/session"
)

// Rotations take room in the ledger of cookie sessions. When it is full, no session that has made few of them is ended.
func TestRotationsThatFillTheLedgerEndNoSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{session: session.Config{SingleProcess: true, Ledger: session.NewMemoryLedger(40)}})
		v, desk, other := s.visitor(), s.visitor(), s.visitor()
		v.signIn("alice")
		desk.signIn("alice")
		other.signIn("bob")
		refused := 0
		for range 60 {
			old := v.copy()
			w := httptest.NewRecorder()
			err := s.Rotate(w, v.get(shop))
			v.take(w)
			switch {
			case err == nil:
				if _, err := old.load(); !errors.Is(err, session.ErrNone) {
					t.Fatalf("the old cookie: %v", err)
				}
			case errors.Is(err, session.ErrStore):
				refused++
			default:
				t.Fatalf("Rotate: %v", err)
			}
			v.mustLoad()
			desk.mustLoad()
			time.Sleep(time.Second)
		}
		if refused == 0 {
			t.Error("the ledger did not fill")
		}
		if _, err := other.end(); err != nil {
			t.Errorf("bob's logout: %v", err)
		}
		v.mustLoad()
		// Others find room at the expense of the session that has filled the ledger, and of no other.
		desk.mustRotate()
		if _, err := v.load(); !errors.Is(err, session.ErrNone) {
			t.Errorf("the session that filled it: %v", err)
		}
		desk.mustLoad()
	})
}
