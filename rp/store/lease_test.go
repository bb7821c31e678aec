package store_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp/store"
)

// The places of a record and of what its leases note, before it was moved and after.
var (
	recordKey, leaseKey, intentKey = store.Key{1}, store.Key{2}, store.Key{3}
	movedKey, movedLease, movedTo  = store.Key{4}, store.Key{5}, store.Key{6}
)

// stumbling is a Backend that something happens to after a call on the key of the notes, once.
type stumbling struct {
	store.Backend
	afterGet func()
	afterPut error // the answer that is lost
}

func (s *stumbling) Get(ctx context.Context, keys ...store.Key) ([]store.Item, error) {
	items, err := s.Backend.Get(ctx, keys...)
	if f := s.afterGet; f != nil && keys[0] == intentKey {
		s.afterGet = nil
		f()
	}
	return items, err
}

func (s *stumbling) Put(ctx context.Context, key store.Key, item store.Item, from uint64) error {
	err := s.Backend.Put(ctx, key, item, from)
	if lost := s.afterPut; lost != nil && key == intentKey {
		s.afterPut = nil
		return lost
	}
	return err
}

// leasing is a backend with a record of version 7, and who wants to spend it.
type leasing struct {
	t       *testing.T
	backend *stumbling
	ends    time.Time
}

// leases runs f with a clock of its own.
func leases(t *testing.T, f func(t *testing.T, l *leasing)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &leasing{t: t, backend: &stumbling{Backend: store.NewMemory(0)}, ends: time.Now().Add(time.Hour)}
		l.save(recordKey, 7, 0)
		f(t, l)
	})
}

func (l *leasing) save(key store.Key, version, from uint64) {
	l.t.Helper()
	if err := l.backend.Backend.Put(l.t.Context(), key, store.Item{Data: []byte("tokens"), Version: version, Expires: l.ends}, from); err != nil {
		l.t.Fatal(err)
	}
}

func (l *leasing) make() *store.Lease {
	return store.NewLease(l.backend, recordKey, leaseKey, intentKey, 7, l.ends, slog.New(slog.DiscardHandler))
}

// moved is a lease for the record where Carry has gone with it.
func (l *leasing) moved() *store.Lease {
	return store.NewLease(l.backend, movedKey, movedLease, movedTo, 8, l.ends, slog.New(slog.DiscardHandler))
}

// take wants the lease at once.
func (l *leasing) take(lease *store.Lease) *store.Lease {
	l.t.Helper()
	began := time.Now()
	if turn, _, err := lease.Take(l.t.Context()); turn != store.Held || err != nil || time.Since(began) > 0 {
		l.t.Fatalf("Take: %d, %v after %s", turn, err, time.Since(began))
	}
	return lease
}

func (l *leasing) reserve(lease *store.Lease, want store.Turn) {
	l.t.Helper()
	if turn, err := lease.Reserve(l.t.Context()); turn != want || err != nil {
		l.t.Fatalf("Reserve: %d, %v; want %d", turn, err, want)
	}
}

func (l *leasing) intend(lease *store.Lease, want store.Turn, wantAgain bool) {
	l.t.Helper()
	turn, again, err := lease.Intend(l.t.Context())
	if turn != want || err != nil || turn == store.Held && again != wantAgain {
		l.t.Fatalf("Intend: %d, again %t, %v; want %d, %t", turn, again, err, want, wantAgain)
	}
}

// die is a process that dies between its note and the end of what it does.
func (l *leasing) die(lease *store.Lease) {
	l.t.Helper()
	l.take(lease)
	l.intend(lease, store.Held, false)
	lease.Abandon(l.t.Context())
}

func (l *leasing) note(key store.Key) store.Item {
	l.t.Helper()
	items, err := l.backend.Backend.Get(l.t.Context(), key)
	if err != nil {
		l.t.Fatal(err)
	}
	return items[0]
}

func TestAReservationCountsAsNoTry(t *testing.T) {
	leases(t, func(t *testing.T, l *leasing) {
		first := l.take(l.make())
		l.reserve(first, store.Held)
		first.Abandon(t.Context())
		if l.note(intentKey).Version == 0 {
			t.Error("Abandon took the note away")
		}
		began, next := time.Now(), l.take(l.make())
		l.intend(next, store.Held, false)
		if took := time.Since(began); took > 0 {
			t.Errorf("it waited %s for a process that spent nothing", took)
		}
		next.Release(t.Context(), false, time.Time{})
		if l.note(intentKey).Version != 0 || l.note(leaseKey).Version != 0 {
			t.Error("Release of what was not spent left something")
		}
	})
}

func TestAReservationStopsWhoSleptSinceItLookedAtTheRecord(t *testing.T) {
	leases(t, func(t *testing.T, l *leasing) {
		sleeper := l.take(l.make())
		var mover *store.Lease
		l.backend.afterGet = func() {
			if err := l.backend.Delete(t.Context(), leaseKey, 0); err != nil { // as if it had slept for longer than its lease lives
				t.Fatal(err)
			}
			mover = l.take(l.make())
			l.reserve(mover, store.Held)
		}
		if turn, _, err := sleeper.Intend(t.Context()); !errors.Is(err, store.ErrConflict) {
			t.Errorf("Intend: %d, %v; want ErrConflict", turn, err)
		}
		sleeper.Release(t.Context(), false, time.Time{})
		if l.note(intentKey).Version == 0 || l.note(leaseKey).Version == 0 {
			t.Error("who slept took away what is another's")
		}
		mover.Release(t.Context(), true, time.Time{})
		time.Sleep(59 * time.Second)
		if l.note(intentKey).Version == 0 {
			t.Error("the note of what was moved is gone within a minute")
		}
		time.Sleep(2 * time.Second)
		if l.note(intentKey).Version != 0 {
			t.Error("the note of what was moved stays")
		}
	})
}

func TestReserveFindsWhatIntendFinds(t *testing.T) {
	leases(t, func(t *testing.T, l *leasing) {
		late := l.take(l.make())
		l.save(recordKey, 8, 7)
		l.reserve(late, store.Newer)
		if err := l.backend.Delete(t.Context(), recordKey, 0); err != nil {
			t.Fatal(err)
		}
		l.reserve(late, store.Gone)
		late.Release(t.Context(), false, time.Time{})
		if l.note(intentKey).Version != 0 {
			t.Error("it noted something")
		}
	})
	leases(t, func(t *testing.T, l *leasing) {
		l.die(l.make())
		mover := l.take(l.make())
		time.AfterFunc(time.Second, func() { l.save(recordKey, 8, 7) }) // it had not died
		l.reserve(mover, store.Newer)
		mover.Release(t.Context(), false, time.Time{})
	})
}

// What a process that died may have sent counts on under the new place, and a third sending is refused there.
func TestCarryTakesTheCountAlong(t *testing.T) {
	for _, repeated := range []bool{false, true} { // whether a first try at the same place has left a note
		leases(t, func(t *testing.T, l *leasing) {
			l.die(l.make())
			began, mover := time.Now(), l.take(l.make())
			l.reserve(mover, store.Held)
			if took := time.Since(began); took < 3*time.Second {
				t.Errorf("it waited %s for the process that left a note", took)
			}
			for range map[bool]int{false: 1, true: 2}[repeated] {
				if err := mover.Carry(t.Context(), movedTo, 8); err != nil {
					t.Fatal(err)
				}
			}
			l.save(movedKey, 8, 0)
			mover.Release(t.Context(), true, time.Time{})
			second := l.take(l.moved())
			l.intend(second, store.Held, true)
			second.Abandon(t.Context()) // dies, too
			third := l.take(l.moved())
			l.intend(third, store.Unknown, false)
			third.Release(t.Context(), true, time.Time{})
		})
	}
}

func TestCarryOfNoTriesNotesNothing(t *testing.T) {
	leases(t, func(t *testing.T, l *leasing) {
		mover := l.take(l.make())
		if err := mover.Carry(t.Context(), movedTo, 8); err != nil { // nothing is reserved
			t.Error(err)
		}
		l.reserve(mover, store.Held)
		if err := mover.Carry(t.Context(), movedTo, 8); err != nil {
			t.Error(err)
		}
		if l.note(movedTo).Version != 0 {
			t.Error("something was noted")
		}
		mover.Release(t.Context(), false, time.Time{})
	})
}

// A note that Carry left for a version that was never there says nothing of another version.
func TestACarriedNoteIsOfItsVersionAlone(t *testing.T) {
	leases(t, func(t *testing.T, l *leasing) {
		l.die(l.make())
		mover := l.take(l.make())
		l.reserve(mover, store.Held)
		if err := mover.Carry(t.Context(), movedTo, 9); err != nil {
			t.Fatal(err)
		}
		l.save(movedKey, 8, 0)
		other := l.take(l.moved())
		l.intend(other, store.Held, false)
		other.Release(t.Context(), true, time.Time{})
		mover.Release(t.Context(), true, time.Time{})
	})
}

func TestReleasePutsBackTheCountOfBefore(t *testing.T) {
	leases(t, func(t *testing.T, l *leasing) {
		l.die(l.make())
		mover := l.take(l.make())
		l.reserve(mover, store.Held)
		mover.Release(t.Context(), false, time.Time{}) // the swap failed
		next := l.take(l.make())
		l.intend(next, store.Held, true)
		next.Release(t.Context(), true, time.Time{})
	})
}

func TestAbandonLeavesTheNoteOfATry(t *testing.T) {
	leases(t, func(t *testing.T, l *leasing) {
		l.die(l.make())
		next := l.take(l.make()) // the lease is free at once
		l.intend(next, store.Held, true)
		next.Abandon(t.Context())
		time.Sleep(2 * time.Minute)
		third := l.take(l.make())
		l.intend(third, store.Unknown, false)
		third.Release(t.Context(), true, time.Time{})
	})
}

// An answer that was lost leaves a note of what was never spent.
func TestANoteWhoseAnswerWasLostIsTakenAway(t *testing.T) {
	leases(t, func(t *testing.T, l *leasing) {
		lost := errors.New("the answer was lost")
		mover := l.take(l.make())
		l.backend.afterPut = lost
		if _, err := mover.Reserve(t.Context()); !errors.Is(err, lost) {
			t.Fatalf("Reserve: %v", err)
		}
		mover.Release(t.Context(), false, time.Time{})
		if l.note(intentKey).Version != 0 {
			t.Error("the note is still there")
		}
	})
}

// Who has no more time to wait for a process that may save after all doesn't know that it is dead.
func TestAContextThatEndsInTheWaitIsAnErrorAndNoOutcome(t *testing.T) {
	for tries := 1; tries <= 2; tries++ {
		leases(t, func(t *testing.T, l *leasing) {
			for try := range tries {
				lease := l.take(l.make())
				l.intend(lease, store.Held, try > 0)
				lease.Abandon(t.Context())
			}
			lease := l.take(l.make())
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			if turn, _, err := lease.Intend(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("after %d tries: Intend: %d, %v; want the context's end", tries, turn, err)
			}
			ctx, cancel = context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			if turn, err := lease.Reserve(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("after %d tries: Reserve: %d, %v; want the context's end", tries, turn, err)
			}
			lease.Release(t.Context(), false, time.Time{})
		})
	}
}

func TestALeaseIsRenewedWhileItIsHeldAndNotTakenBack(t *testing.T) {
	leases(t, func(t *testing.T, l *leasing) {
		holder := l.take(l.make())
		time.Sleep(20 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if turn, _, err := l.make().Take(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Take beside its holder: %d, %v", turn, err)
		}
		if err := l.backend.Delete(t.Context(), leaseKey, 0); err != nil { // as if it had slept for longer than its lease lives
			t.Fatal(err)
		}
		other := l.take(l.make())
		mine := l.note(leaseKey).Version
		time.Sleep(20 * time.Second)
		holder.Release(t.Context(), false, time.Now().Add(time.Minute))
		if l.note(leaseKey).Version != mine {
			t.Error("who had lost the lease took it back, or away")
		}
		other.Release(t.Context(), false, time.Time{})
		if l.note(leaseKey).Version != 0 {
			t.Error("Release left the lease")
		}
	})
}

func TestAHolderThatFailedKeepsOthersOffUntilItSays(t *testing.T) {
	leases(t, func(t *testing.T, l *leasing) {
		holder, until := l.take(l.make()), time.Now().Add(10*time.Second)
		holder.Release(t.Context(), false, until)
		if turn, when, err := l.make().Take(t.Context()); turn != store.Failed || err != nil || !when.Equal(until) {
			t.Errorf("Take: %d until %v, %v; want Failed until %v", turn, when, err, until)
		}
		time.Sleep(11 * time.Second)
		l.take(l.make()).Release(t.Context(), false, time.Time{})
		l.save(recordKey, 8, 7)
		busy := l.take(l.make())
		if turn, _, err := l.make().Take(t.Context()); turn != store.Newer || err != nil {
			t.Errorf("Take of what is newer: %d, %v", turn, err)
		}
		if err := l.backend.Delete(t.Context(), recordKey, 0); err != nil {
			t.Fatal(err)
		}
		if turn, _, err := l.make().Take(t.Context()); turn != store.Gone || err != nil {
			t.Errorf("Take of what is gone: %d, %v", turn, err)
		}
		busy.Release(t.Context(), false, time.Time{})
	})
}
