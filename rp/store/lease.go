package store

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"time"

	"github.com/latchkey-go/latchkey/internal/contain"
)

const (
	// leaseLife is how long a process that died keeps the others waiting. Its holder renews it three times in that time.
	leaseLife = 6 * time.Second
	// settleTime is how long, after the lease of who left a note must have ended, a process waits for it to save after all, before it spends the record once more. It is counted
	// from the note, so that a second process that dies while it waits costs no second wait: a provider's time of grace goes by. But retryTime is waited in any case: after an outage of the
	// backend every lease has ended, and whoever has something to save tries again that often.
	settleTime = 4 * time.Second
	retryTime  = 3 * time.Second
	// noteLife is how long the note of a spent record stays. No spending that began before it lasts as long.
	noteLife = time.Minute
	// firstPoll and lastPoll are how often a waiting process looks.
	firstPoll, lastPoll = 25 * time.Millisecond, 250 * time.Millisecond
	// leaseTimeout bounds one call to the backend.
	leaseTimeout = 5 * time.Second
)

// Lease is the right to spend what one record holds, once over all processes that share a Backend: a refresh token, which a provider that rotates takes once only.
//
//	1  Take     put under the lease's key, if nothing is there; renewed while it is held, gone by itself when its holder is
//	2           the caller reads the record again: a newer version means that somebody was faster
//	3  Intend   put a note: "version n is about to be spent"; it stays if this process dies before step 5
//	4           the caller spends it, once
//	5           the caller saves: compare-and-swap of the version, before anybody sees what came; a holder that comes back late fails here
//	6  Release  the lease goes; the note of what was spent stays for a while, for a process that was asleep between 2 and 3
//
// session/REFRESH.md argues why nothing is lost, and what can't be helped. A Lease is for one spending, by one goroutine.
type Lease struct {
	backend             Backend
	record, key, intent Key
	version             uint64
	expires             time.Time
	holder              uint64             // tells this holder's lease from every other
	stop                context.CancelFunc // of the renewals
	note                []byte             // as it was put; nil: none was
	prior               []byte             // the note that was there before, of a process that died; nil: none
	log                 *slog.Logger       // gets the panics of a backend
}

// Turn is what Take and Intend find.
type Turn int

const (
	Held    Turn = iota + 1 // go on
	Newer                   // the record has another version: read it, and spend nothing
	Gone                    // the record is not there any more
	Failed                  // a holder has failed a moment ago: wait
	Unknown                 // two processes have died while they spent this version: it is not spent a third time
)

// Data of a lease's item: held, or not to be had for a while because its holder has failed.
var leaseHeld, leaseFailed = []byte{1}, []byte{2}

// NewLease returns one to spend version of the record, which ends at expires. lease and intent are keys of its own. log gets what the backend does wrong.
func NewLease(backend Backend, record, lease, intent Key, version uint64, expires time.Time, log *slog.Logger) *Lease {
	return &Lease{backend: backend, record: record, key: lease, intent: intent, version: version, expires: expires, holder: RandomVersion(), log: log}
}

// RandomVersion is one that no other item is likely to have; never zero.
func RandomVersion() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return binary.BigEndian.Uint64(b[:]) | 1
}

func (l *Lease) put(ctx context.Context, key Key, item Item, from uint64) error {
	limited, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	return l.backend.Put(limited, key, item, from)
}

func (l *Lease) get(ctx context.Context, keys ...Key) ([]Item, error) {
	limited, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	return l.backend.Get(limited, keys...)
}

func (l *Lease) drop(ctx context.Context, key Key, version uint64) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseTimeout)
	defer cancel()
	_ = l.backend.Delete(limited, key, version) // it ends by itself
}

// Take waits for the lease: Held, and Release must follow; Newer, Gone, or Failed with the time until which nobody shall try. An error: the backend's, or ctx has ended.
func (l *Lease) Take(ctx context.Context) (turn Turn, until time.Time, err error) {
	for poll := firstPoll; ; poll = min(2*poll, lastPoll) {
		err := l.acquire(ctx)
		if err == nil {
			return Held, until, nil
		}
		if !errors.Is(err, ErrConflict) {
			return 0, until, err
		}
		items, err := l.get(ctx, l.record, l.key)
		switch {
		case err != nil:
			return 0, until, err
		case items[0].Version == 0:
			return Gone, until, nil
		case items[0].Version != l.version:
			return Newer, until, nil
		case string(items[1].Data) == string(leaseFailed):
			return Failed, items[1].Expires, nil
		case !pause(ctx, poll):
			return 0, until, ctx.Err()
		}
	}
}

// acquire takes the lease. ErrConflict: somebody has it.
func (l *Lease) acquire(ctx context.Context) error {
	item := Item{Data: leaseHeld, Version: l.holder, Expires: time.Now().Add(leaseLife)}
	if err := l.put(ctx, l.key, item, 0); err != nil {
		return err
	}
	renewing, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	go func() { // ends with Release
		ticker := time.NewTicker(leaseLife / 3)
		defer ticker.Stop()
		for {
			select {
			case <-renewing.Done():
				return
			case <-ticker.C:
				// A lease that was lost is not taken back: the save's version decides then.
				item.Expires = time.Now().Add(leaseLife)
				var err error
				if !contain.Run(ctx, l.log, "store: panic in a Backend", func() { err = l.put(renewing, l.key, item, l.holder) }) || errors.Is(err, ErrConflict) {
					return
				}
			}
		}
	}()
	return nil
}

// Intend notes that the version is about to be spent: Held, and spend it now. A note that is there already is of a process that died, that can't save what it got, or that is done while this
// one was asleep: the record is looked at again for a time, and then it is spent once more (again is true), which a provider with a time of grace answers as before, and any other refuses.
// An error that is ErrConflict: somebody else is at it.
func (l *Lease) Intend(ctx context.Context) (turn Turn, again bool, err error) {
	turn, before, err := l.intend(ctx, 1)
	return turn, before > 0, err
}

// Reserve is Intend for who is about to put the record elsewhere, and spends nothing: its note keeps a process that was asleep since it looked at the record from spending it, and
// counts as no try. What is counted goes along with Carry.
func (l *Lease) Reserve(ctx context.Context) (turn Turn, err error) {
	turn, _, err = l.intend(ctx, 0)
	return turn, err
}

// Carry notes for version of a record that nobody else knows yet how often what it holds was about to be spent before Reserve.
func (l *Lease) Carry(ctx context.Context, intent Key, version uint64) error {
	if len(l.note) != noteSize || l.note[8] == 0 {
		return nil
	}
	there, err := l.get(ctx, intent) // from a first try, perhaps
	if err != nil {
		return err
	}
	note := append(binary.BigEndian.AppendUint64(nil, version), l.note[8:]...)
	return l.put(ctx, intent, Item{Data: note, Version: RandomVersion(), Expires: l.expires}, there[0].Version)
}

// noteSize: the version, how often it was about to be spent, and when last, in Unix milliseconds.
const noteSize = 8 + 1 + 8

// intend notes tries more than there were before.
func (l *Lease) intend(ctx context.Context, tries int) (turn Turn, before int, err error) {
	// The note is read first, in a call of its own since one Get may read its keys in any order: whoever has spent the record since then has put another note in
	// its place, and the Put below fails.
	notes, err := l.get(ctx, l.intent)
	if err != nil {
		return 0, 0, err
	}
	items, err := l.get(ctx, l.record)
	switch {
	case err != nil:
		return 0, 0, err
	case items[0].Version == 0:
		return Gone, 0, nil
	case items[0].Version != l.version: // its note may have gone since the caller looked
		return Newer, 0, nil
	}
	at, noted := notes[0].Version, time.Now()
	if d := notes[0].Data; len(d) == noteSize && binary.BigEndian.Uint64(d) == l.version && d[8] > 0 {
		before = int(d[8])
		noted = time.UnixMilli(int64(binary.BigEndian.Uint64(d[9:])))
		if turn, err := l.outwait(ctx, before, noted.Add(leaseLife+settleTime)); err != nil || turn != Held {
			return turn, 0, err
		}
		l.prior = d
	}
	// Only now, right before it is spent: a process that dies while it waits has spent nothing.
	if tries > 0 {
		noted = time.Now()
	}
	note := append(binary.BigEndian.AppendUint64(nil, l.version), byte(before+tries))
	note = binary.BigEndian.AppendUint64(note, uint64(noted.UnixMilli()))
	err = l.put(ctx, l.intent, Item{Data: note, Version: l.holder, Expires: l.expires}, at)
	if !errors.Is(err, ErrConflict) {
		l.note = note // after another error it may be there all the same, of what was never spent: Release takes it away
	}
	if err != nil {
		return 0, 0, err
	}
	return Held, before, nil
}

// outwait waits for the one who left a note to save after all. An error: the record could not be read, or ctx ended before the wait did, so that nobody knows.
func (l *Lease) outwait(ctx context.Context, before int, until time.Time) (Turn, error) {
	until = time.Now().Add(min(max(time.Until(until), retryTime), settleTime))
	for {
		items, err := l.get(ctx, l.record)
		switch {
		case err == nil && items[0].Version == 0:
			return Gone, nil
		case err == nil && items[0].Version != l.version:
			return Newer, nil
		case time.Now().Before(until):
			if !pause(ctx, lastPoll) {
				return 0, ctx.Err()
			}
		case err != nil || before <= 1:
			return Held, err
		default:
			return Unknown, nil
		}
	}
}

// Release gives the lease back. spent: what the record held was answered, so that nobody may spend it any more. retryAt: nobody shall try before it.
func (l *Lease) Release(ctx context.Context, spent bool, retryAt time.Time) {
	l.stop()
	ctx = context.WithoutCancel(ctx)
	switch {
	case l.note == nil:
	case spent:
		_ = l.put(ctx, l.intent, Item{Data: l.note, Version: l.holder, Expires: time.Now().Add(noteLife)}, l.holder)
	case l.prior != nil: // it still counts
		_ = l.put(ctx, l.intent, Item{Data: l.prior, Version: RandomVersion(), Expires: l.expires}, l.holder)
	default:
		l.drop(ctx, l.intent, l.holder)
	}
	if time.Now().Before(retryAt) {
		_ = l.put(ctx, l.key, Item{Data: leaseFailed, Version: RandomVersion(), Expires: retryAt}, l.holder)
		return
	}
	l.drop(ctx, l.key, l.holder)
}

// Abandon gives the lease back, and leaves the note: nobody knows whether the record is still there.
func (l *Lease) Abandon(ctx context.Context) {
	l.stop()
	l.drop(ctx, l.key, l.holder)
}

// pause waits for about d; false: ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d/2 + mathrand.N(d))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
