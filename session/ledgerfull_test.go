package session_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

// signIn is login as another user.
func (v *visitor) signIn(user string) *session.Session {
	v.site.t.Helper()
	if user == "carol" {
		v.site.provider.SetUser(rptest.User{Name: user})
	}
	v.site.provider.SignInAs(user)
	return v.login()
}

// Each logout of a cookie session is a note in the ledger. One user's must not leave others without room, nor undo what was acknowledged.
func TestOneUsersLogoutsDoNotFillTheLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{session: session.Config{SingleProcess: true, Ledger: session.NewMemoryLedger(64)}})
		bob := s.visitor()
		bob.signIn("bob")
		var stolen []*visitor
		for i := range 300 {
			v := s.visitor()
			v.signIn("alice")
			stolen = append(stolen, v.copy())
			if _, err := v.end(); err != nil {
				t.Fatalf("logout %d: %v", i, err)
			}
			time.Sleep(time.Second)
		}
		if err := s.Revoke(t.Context(), session.Revocation{Subject: "carol"}); err != nil {
			t.Errorf("the provider's logout: %v", err)
		}
		for i, v := range stolen {
			if got, err := v.load(); !errors.Is(err, session.ErrNone) {
				t.Fatalf("a copy of session %d after its logout: %v, %v; want ErrNone", i, got, err)
			}
		}
		bob.mustLoad()
		late := s.visitor()
		late.signIn("alice")
		late.mustLoad()
		twin := bob.copy()
		if _, err := bob.end(); err != nil {
			t.Errorf("bob's logout: %v", err)
		}
		if _, err := twin.load(); !errors.Is(err, session.ErrNone) {
			t.Errorf("a copy of bob's session: %v, want ErrNone", err)
		}
	})
}

// A note is needed for as long as a copy of the cookie could be used: that is the idle time, not the rest of the session's life.
func TestANoteOfALogoutTakesRoomWhileACopyCouldBeUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{session: session.Config{SingleProcess: true, Ledger: session.NewMemoryLedger(1)}})
		v := s.visitor()
		v.signIn("alice")
		stolen := v.copy()
		if _, err := v.end(); err != nil {
			t.Fatal(err)
		}
		other := s.visitor()
		other.signIn("bob")
		if _, err := other.copy().end(); !errors.Is(err, session.ErrStore) {
			t.Errorf("without room: %v, want ErrStore", err)
		}
		for begun := time.Now(); time.Since(begun) < 12*time.Hour; time.Sleep(time.Minute) {
			if got, err := stolen.load(); !errors.Is(err, session.ErrNone) {
				t.Fatalf("a copy %v after the logout: %v, %v; want ErrNone", time.Since(begun), got, err)
			}
		}
		again := s.visitor()
		again.signIn("bob")
		if _, err := again.end(); err != nil {
			t.Errorf("later: %v, want room", err)
		}
		time.Sleep(time.Hour + 6*time.Minute)
		last := s.visitor()
		last.signIn("carol")
		if _, err := last.end(); err != nil {
			t.Errorf("an hour after bob's: %v, want room", err)
		}
	})
}

func TestANoteOfALogoutLastsAsLongAsASessionWithoutIdleEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{session: session.Config{SingleProcess: true, Idle: -1}})
		v := s.visitor()
		v.signIn("alice")
		stolen := v.copy()
		if _, err := v.end(); err != nil {
			t.Fatal(err)
		}
		for begun := time.Now(); time.Since(begun) < 12*time.Hour; time.Sleep(10 * time.Minute) {
			if got, err := stolen.load(); !errors.Is(err, session.ErrNone) {
				t.Fatalf("a copy %v after the logout: %v, %v; want ErrNone", time.Since(begun), got, err)
			}
		}
	})
}

// The users' own logouts leave room for those of the provider, and none that was acknowledged is dropped for another.
func TestAFullLedgerRefusesOwnLogoutsBeforeOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{session: session.Config{SingleProcess: true, Ledger: session.NewMemoryLedger(8)}})
		var stolen []*visitor
		refused := 0
		for range 4 {
			for _, user := range []string{"alice", "bob", "carol"} {
				v := s.visitor()
				v.signIn(user)
				twin := v.copy()
				switch _, err := v.end(); {
				case err == nil:
					stolen = append(stolen, twin)
				case errors.Is(err, session.ErrStore):
					refused++
				default:
					t.Fatal(err)
				}
			}
		}
		if len(stolen) != 6 || refused != 6 {
			t.Errorf("%d logouts were taken and %d refused, want 6 of each", len(stolen), refused)
		}
		for i := range 2 {
			if err := s.Revoke(t.Context(), session.Revocation{Subject: fmt.Sprint("user-", i)}); err != nil {
				t.Errorf("the provider's logout %d: %v", i, err)
			}
		}
		if err := s.Revoke(t.Context(), session.Revocation{Subject: "one more"}); !errors.Is(err, session.ErrStore) {
			t.Errorf("a really full ledger: %v, want ErrStore", err)
		}
		for _, v := range stolen {
			if got, err := v.load(); !errors.Is(err, session.ErrNone) {
				t.Errorf("a copy after its logout: %v, %v; want ErrNone", got, err)
			}
		}
	})
}
