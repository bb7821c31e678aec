//go:build unix

package sqlbackend_test

import (
	"errors"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/session"
	"github.com/latchkey-go/latchkey/session/sqlbackend"
)

// rotate is what one request that rotates the session at a replica has got; no cookies: it did not.
func (f *fleet) rotate(replica int, c cookies) cookies {
	for range 20 {
		w := httptest.NewRecorder()
		switch err := f.managers[replica].Rotate(w, c.get("/elevate")); {
		case err == nil:
			return w.Result().Cookies()
		case errors.Is(err, rp.ErrUnavailable): // somebody else has the turn
		case errors.Is(err, session.ErrNone):
			return nil
		default:
			f.t.Errorf("Rotate: %v", err)
			return nil
		}
	}
	f.t.Error("Rotate: it stays unavailable")
	return nil
}

func (f *fleet) list(replica int, of *session.Session) []session.Listing {
	list, err := f.managers[replica].List(f.t.Context(), of.Issuer, of.Subject)
	if err != nil {
		f.t.Errorf("List: %v", err)
	}
	return list
}

// rotateBesideAll rotates the session of c once, at one replica or at two at once, while another refreshes and lists it, and returns the new cookies.
func (f *fleet) rotateBesideAll(of *session.Session, c cookies, rivals int) cookies {
	var wg sync.WaitGroup
	made := make([]cookies, 2)
	for i := range rivals {
		wg.Go(func() { made[i] = f.rotate(i, c) })
	}
	wg.Go(func() {
		_, err := f.managers[1].Refresh(httptest.NewRecorder(), c.get("/"))
		if err != nil && !errors.Is(err, session.ErrNone) && !errors.Is(err, rp.ErrUnavailable) {
			f.t.Errorf("Refresh: %v", err)
		}
	})
	for i := range 2 {
		wg.Go(func() {
			for range 10 {
				if n := len(f.list(i, of)); n != 1 {
					f.t.Errorf("%d sessions are listed, want 1", n)
				}
			}
		})
	}
	wg.Wait()
	if (made[0] == nil) == (made[1] == nil) {
		f.t.Fatal("of the rotations at once, not one was made")
	}
	if made[0] != nil {
		return made[0]
	}
	return made[1]
}

func TestTwoReplicasRotateASession(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		var backends []*sqlbackend.Backend
		table := newName("rotated") // whose lists are this test's
		for range 2 {
			backends = append(backends, newBackend(t, p.open(), p.dialect, table))
		}
		f := newFleet(t, backends...)

		first, browser := f.login(0, 1)
		// On one processor a rotation may be faster for long.
		for round := 0; round < 10 || f.provider.Refreshes() == 0 && round < 200; round++ {
			old := browser
			browser = f.rotateBesideAll(first, old, 1+round%2)
			var tokens []string
			for i := range f.managers {
				if _, err := f.load(i, old); !errors.Is(err, session.ErrNone) {
					t.Errorf("round %d: the old cookie at replica %d: %v", round, i, err)
				}
				s, err := f.load(i, browser)
				if err != nil {
					t.Fatalf("round %d: the new cookie at replica %d: %v", round, i, err)
				}
				tokens = append(tokens, s.Token().AccessToken)
			}
			if tokens[0] != tokens[1] || f.provider.RefreshReuses() != 0 {
				t.Fatalf("round %d: different tokens: %t, %d reuses", round, tokens[0] != tokens[1], f.provider.RefreshReuses())
			}
		}
		if f.provider.Refreshes() == 0 {
			t.Error("no refresh was made beside the rotations")
		}

		// A logout beside a rotation, by the list or by the old cookie, ends it under both identifiers.
		for round := range 12 {
			for _, l := range f.list(0, first) {
				var rotated cookies
				var wg sync.WaitGroup
				wg.Go(func() { rotated = f.rotate(0, browser) })
				wg.Go(func() {
					var err error
					if round%2 == 0 {
						err = f.managers[1].EndListed(t.Context(), first.Issuer, first.Subject, l.Key)
					} else {
						_, err = f.managers[1].End(httptest.NewRecorder(), browser.get("/logout"), "/")
					}
					if err != nil {
						t.Errorf("round %d: the logout: %v", round, err)
					}
				})
				wg.Wait()
				for i := range f.managers {
					for name, c := range map[string]cookies{"old": browser, "new": rotated} {
						if _, err := f.load(i, c); !errors.Is(err, session.ErrNone) {
							t.Errorf("round %d: the %s cookie at replica %d after the logout: %v", round, name, i, err)
						}
					}
					if n := len(f.list(i, first)); n != 0 {
						t.Errorf("round %d: %d sessions are listed after the logout", round, n)
					}
				}
			}
			first, browser = f.login(0, 1)
		}
	})
}
