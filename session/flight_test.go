package session_test

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/sessions"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

// hookedStore is a store that something happens to between two calls: after the read that Load does, and before those of the refresh.
type hookedStore struct {
	sessions.Store
	afterRead func() // once
	readFails error
	gone      bool
	full      atomic.Bool // reads go on, saves don't
}

func (h *hookedStore) New(r *http.Request, name string) (*sessions.Session, error) {
	if h.readFails != nil {
		return sessions.NewSession(h, name), h.readFails
	}
	if h.gone {
		s := sessions.NewSession(h, name)
		s.IsNew = true
		return s, nil
	}
	s, err := h.Store.New(r, name)
	if f := h.afterRead; f != nil {
		h.afterRead = nil
		f()
	}
	return s, err
}

func (h *hookedStore) Save(r *http.Request, w http.ResponseWriter, s *sessions.Session) error {
	if h.full.Load() {
		return errors.New("no space left on device")
	}
	return h.Store.Save(r, w, s)
}

func fileStore(t testing.TB) *sessions.FilesystemStore {
	s := sessions.NewFilesystemStore(t.TempDir(), testKey(30))
	s.MaxLength(0)
	s.MaxAge(0)
	return s
}

// hooked runs f with a store of files that can be bent.
func hooked(t *testing.T, f func(t *testing.T, s *site, h *hookedStore)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &hookedStore{Store: fileStore(t)}
		f(t, newSite(t, setup{session: session.Config{Store: h, SingleProcess: true, Idle: -1}}), h)
	})
}

func TestTokensThatCannotBeSavedServeUntilTheyCan(t *testing.T) {
	hooked(t, func(t *testing.T, s *site, h *hookedStore) {
		v := s.visitor()
		first := v.login()
		other := s.visitor()
		other.login()
		untilDue(first)
		h.full.Store(true)
		last := v.mustLoad()
		if access(last) == access(first) {
			t.Fatal("the refresh brought nothing")
		}
		for range 120 { // of some 30 lives of an access token
			time.Sleep(time.Minute)
			got := v.mustLoad()
			if !got.TokenExpiry.After(time.Now()) {
				t.Fatal("an access token that has ended")
			}
			last = got
			other.mustLoad() // makes the process forget what it may
		}
		h.full.Store(false)
		time.Sleep(10 * time.Minute)
		last = v.mustLoad()
		time.Sleep(10 * time.Minute) // for all savers to end
		again := siteOn(t, s.provider, s.client, session.Config{Store: h, SingleProcess: true, Idle: -1})
		v.site = again // a process that remembers nothing
		if got := v.mustLoad(); access(got) == access(first) || !got.TokenExpiry.After(time.Now()) || got.LoginAt != last.LoginAt {
			t.Error("what was renewed is not in the store")
		}
		if n := s.provider.RefreshReuses(); n != 0 {
			t.Errorf("%d refresh tokens were sent twice", n)
		}
	})
}

func TestNoTokenIsSpentWhileTheStoreIsAway(t *testing.T) {
	hooked(t, func(t *testing.T, s *site, h *hookedStore) {
		v := s.visitor()
		first := v.login()
		untilDue(first)
		s.provider.ResetHits()
		h.afterRead = func() { h.readFails = errDown }
		if got := v.mustLoad(); access(got) != access(first) {
			t.Error("another token")
		}
		h.readFails = nil
		v.mustLoad() // too soon for a second try
		if n := s.provider.Hits(rptest.Token); n != 0 {
			t.Errorf("%d token requests, whose answer could not have been saved", n)
		}
		time.Sleep(time.Until(first.TokenExpiry))
		h.afterRead = func() { h.readFails = errDown }
		if _, err := v.load(); !errors.Is(err, session.ErrStore) || errors.Is(err, session.ErrNone) {
			t.Errorf("after the access token's end: %v, want ErrStore and not ErrNone", err)
		}
		h.readFails = nil
		time.Sleep(5 * time.Second)
		if got := v.mustLoad(); access(got) == access(first) || s.provider.Hits(rptest.Token) != 1 {
			t.Errorf("the store is back: %d token requests, want 1", s.provider.Hits(rptest.Token))
		}
	})
}

func TestASessionThatEndsBeforeItsRefreshSpendsNoToken(t *testing.T) {
	hooked(t, func(t *testing.T, s *site, h *hookedStore) {
		v := s.visitor()
		untilDue(v.login())
		s.provider.ResetHits()
		h.afterRead = func() { h.gone = true }
		if _, err := v.load(); !errors.Is(err, session.ErrNone) {
			t.Errorf("Load: %v, want ErrNone", err)
		}
		if n := s.provider.Hits(rptest.Token); n != 0 {
			t.Errorf("%d token requests for a session that had ended", n)
		}
	})
}

func TestWhatAnotherRefreshHasStoredIsAdopted(t *testing.T) {
	hooked(t, func(t *testing.T, s *site, h *hookedStore) {
		v := s.visitor()
		untilDue(v.login())
		s.provider.ResetHits()
		twin := v.copy()
		twin.site = siteOn(t, s.provider, s.client, session.Config{Store: h, SingleProcess: true, Idle: -1})
		var theirs *session.Session
		h.afterRead = func() { theirs = twin.mustLoad() }
		if got := v.mustLoad(); access(got) != access(theirs) {
			t.Error("not the tokens of the one that was faster")
		}
		if n, reused := s.provider.Hits(rptest.Token), s.provider.RefreshReuses(); n != 1 || reused != 0 {
			t.Errorf("%d token requests and %d reuses, want 1 and 0", n, reused)
		}
	})
}

func TestALateRequestDoesNotTurnTokensBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{session: session.Config{SingleProcess: true}})
		v := s.visitor()
		v.login()
		slow := v.copy() // cookies only: an identifier in one stays the same
		for range 2 {
			if _, err := v.refresh(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
		}
		newest := v.mustLoad()
		if got, err := slow.refresh(); err != nil || access(got) != access(newest) {
			t.Errorf("Refresh with the oldest cookie: %v, want the newest tokens", err)
		}
		time.Sleep(10 * time.Minute) // what the process remembers is gone, and what that response set is what the browser has
		if got := slow.mustLoad(); access(got) == access(newest) {
			t.Error("old tokens")
		}
		if n, reused := s.provider.Refreshes(), s.provider.RefreshReuses(); n != 3 || reused != 0 {
			t.Errorf("%d refreshes and %d reuses, want 3 and 0", n, reused)
		}
	})
}

func TestARefreshThatDoesNotFitEndsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{session: session.Config{SingleProcess: true}})
		v := s.visitor()
		untilDue(v.login())
		twin := v.copy()
		s.provider.Fault(rptest.Token, rptest.WithMember("scope", strings.Repeat("x", 5_000)))
		other := s.visitor()
		other.login()
		if _, err := other.refresh(); err != nil {
			t.Fatalf("one that fits: %v", err)
		}
		s.provider.ClearFaults()
		s.provider.Fault(rptest.Token, rptest.WithMember("scope", strings.Repeat("x", 20_000)))
		s.provider.ResetHits()
		if _, err := v.load(); !errors.Is(err, session.ErrTooLarge) {
			t.Errorf("Load: %v, want ErrTooLarge", err)
		}
		for range 10 {
			if _, err := v.load(); !errors.Is(err, session.ErrNone) {
				t.Errorf("after it: %v, want ErrNone", err)
			}
			if _, err := twin.load(); err == nil {
				t.Error("a copy of its cookie is a session")
			}
			time.Sleep(time.Second)
		}
		if n, reused := s.provider.Hits(rptest.Token), s.provider.RefreshReuses(); n != 1 || reused != 0 {
			t.Errorf("%d token requests and %d reuses, want 1 and 0", n, reused)
		}
		if n := s.provider.Grants(); n != 1 {
			t.Errorf("%d refresh tokens live on, want the other browser's", n)
		}
	})
}

// The provider has rotated, and its answer is lost: it can't be known, so the token is tried once more, later, and what the provider says of it counts.
func TestALostAnswerIsNotAskedForAgainAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		v := s.visitor()
		first := v.login()
		untilDue(first)
		s.provider.FaultTimes(rptest.Token, rptest.LoseAnswer, 1)
		s.provider.ResetHits()
		lost := time.Now()
		for time.Since(lost) < 5*time.Second {
			if got := v.mustLoad(); access(got) != access(first) {
				t.Fatal("another token")
			}
			if n := s.provider.Hits(rptest.Token); n != 1 {
				t.Fatalf("%d token requests after %v, want 1", n, time.Since(lost))
			}
			time.Sleep(500 * time.Millisecond)
		}
		for range 20 {
			if _, err := v.load(); !errors.Is(err, session.ErrNone) {
				t.Fatalf("after the provider has refused the token: %v, want ErrNone", err)
			}
			time.Sleep(time.Minute)
		}
		if n, reused := s.provider.Hits(rptest.Token), s.provider.RefreshReuses(); n != 2 || reused != 1 {
			t.Errorf("%d token requests and %d reuses, want 2 and 1", n, reused)
		}
	})
}
