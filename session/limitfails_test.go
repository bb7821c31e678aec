package session_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

// listless is a backend that can't list while it is broken, and then can't delete either where that is said.
type listless struct {
	*session.MemoryBackend
	broken, deaf atomic.Bool
}

func (b *listless) List(ctx context.Context, owner session.Key, max int) ([]session.Key, error) {
	if b.broken.Load() {
		return nil, errors.New("half of the cluster is down")
	}
	return b.MemoryBackend.List(ctx, owner, max)
}

func (b *listless) Delete(ctx context.Context, key session.Key, version uint64) error {
	if b.deaf.Load() {
		return errors.New("half of the cluster is down")
	}
	return b.MemoryBackend.Delete(ctx, key, version)
}

func TestALoginWhoseBoundCanNotBeHeldLeavesNoSession(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		backend := &listless{MemoryBackend: session.NewMemoryBackend(0)}
		s := newSite(t, setup{session: session.Config{Store: serverStore(t, backend), MaxSessions: 1}})
		first, second := s.visitor(), s.visitor()
		user := first.login()
		backend.broken.Store(true)
		backend.deaf.Store(deaf)
		if _, _, err := second.finish(s.authorize(second.begin("/"))); !errors.Is(err, session.ErrStore) {
			t.Fatalf("deaf %t: a login that can't be counted: %v", deaf, err)
		}
		backend.broken.Store(false)
		backend.deaf.Store(false)
		if _, err := second.load(); !errors.Is(err, session.ErrNone) || len(second.names(sessionKey)) != 0 {
			t.Errorf("deaf %t: afterwards: %v, cookies %q", deaf, err, second.names(sessionKey))
		}
		if all, err := s.List(t.Context(), user.Issuer, user.Subject); err != nil || len(all) != 1 && !deaf {
			t.Errorf("deaf %t: %d sessions, %v", deaf, len(all), err)
		}
		if n := s.provider.Hits(rptest.Revocation); n != 1 {
			t.Errorf("deaf %t: %d tokens given back", deaf, n)
		}
		first.mustLoad()
	}
}

// stumbling fails one Delete.
type stumbling struct {
	*session.MemoryBackend
	next atomic.Bool
}

func (b *stumbling) Delete(ctx context.Context, key session.Key, version uint64) error {
	if b.next.CompareAndSwap(true, false) {
		return errors.New("a node is away")
	}
	return b.MemoryBackend.Delete(ctx, key, version)
}

func TestALoginThatCanNotEndTheOldSessionLeavesThatAndNoOther(t *testing.T) {
	backend := &stumbling{MemoryBackend: session.NewMemoryBackend(0)}
	s := newSite(t, setup{session: session.Config{Store: serverStore(t, backend)}})
	v := s.visitor()
	user := v.login()
	answer := s.authorize(v.begin("/"))
	backend.next.Store(true)
	if _, _, err := v.finish(answer); !errors.Is(err, session.ErrStore) || backend.next.Load() {
		t.Fatalf("%v", err)
	}
	if all, err := s.List(t.Context(), user.Issuer, user.Subject); err != nil || len(all) != 1 {
		t.Errorf("%d sessions, %v", len(all), err)
	}
	if again := v.mustLoad(); again.Key() != user.Key() && user.Key() != "" {
		t.Error("it is another session")
	}
}
