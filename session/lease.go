package session

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/latchkey-go/latchkey/rp"
)

// The refresh of a session that several replicas serve. A refresh token is spent by being sent, so no two may send it:
//
//	1  lease    put under the session's lease key, if nothing is there; renewed while it is held, gone by itself when its holder is
//	2  reread   a newer version: somebody was faster, take that
//	3  intent   put: "version n is about to be spent"; it stays if this process dies before step 5
//	4  token    one request to the provider
//	5  save     compare-and-swap n to n+1, before anybody sees the new tokens: a holder that comes back late fails here
//	6  release  the lease; the intent of a token that was spent stays for a while, for a replica that was asleep between 2 and 3
//
// REFRESH.md in this folder argues why nothing is lost, and what can't be helped.
const (
	// leaseLife is how long a replica that died keeps the others waiting. Its holder renews it three times in that time.
	leaseLife = 9 * time.Second
	// settleTime is how long a replica that finds an intent waits for who left it to save after all, before it sends the token once more.
	settleTime = 5 * time.Second
	// noteLife is how long the intent of a spent token stays. No refresh that began before it lasts as long.
	noteLife = 2 * refreshTimeout
	// firstPoll and lastPoll are how often a waiting replica looks.
	firstPoll, lastPoll = 25 * time.Millisecond, 250 * time.Millisecond
)

var (
	errOutcomeUnknown = fmt.Errorf("%w (refresh_outcome_unknown: two processes died while they refreshed it)", ErrExpired)
	errElsewhere      = fmt.Errorf("session: another replica could not refresh it just now: %w", rp.ErrUnavailable)
)

// leaser is a keeper whose records other processes refresh as well.
type leaser interface {
	leaseOf(k *kept) *lease
}

// lease is the right to spend one session's refresh token.
type lease struct {
	store                *ServerStore
	session, key, intent Key
	holder               uint64 // tells this holder's lease from every other
	version              uint64 // of the session when it was asked for
	expires              time.Time
	stop                 context.CancelFunc // of the renewals
	note                 []byte             // the intent as it was put; nil: none was
	log                  *slog.Logger
}

// Data of a lease's item: held, or not to be had for a while because a refresh has just failed.
var leaseHeld, leaseFailed = []byte{1}, []byte{2}

func (s *serverKeeper) leaseOf(k *kept) *lease {
	h, ok := k.handle.(*serverHandle)
	if !ok {
		return nil
	}
	id := h.cookie.id[:]
	return &lease{
		store: s.store, session: s.key(&h.cookie), key: itemKey("lease", s.name, id), intent: itemKey("intent", s.name, id),
		holder: randomVersion(), version: k.version, expires: k.expires,
	}
}

func (l *lease) put(ctx context.Context, key Key, item Item, from uint64) error {
	limited, cancel := call(ctx)
	defer cancel()
	if err := l.store.backend.Put(limited, key, item, from); !errors.Is(err, ErrConflict) && err != nil {
		return backendError(ctx, err)
	} else if err != nil {
		return ErrConflict
	}
	return nil
}

func (l *lease) drop(ctx context.Context, key Key, version uint64) {
	limited, cancel := call(context.WithoutCancel(ctx))
	defer cancel()
	_ = l.store.backend.Delete(limited, key, version) // it ends by itself
}

// acquire takes the lease. ErrConflict: somebody has it.
func (l *lease) acquire(ctx context.Context) error {
	item := Item{Data: leaseHeld, Version: l.holder, Expires: time.Now().Add(leaseLife)}
	if err := l.put(ctx, l.key, item, 0); err != nil {
		return err
	}
	renewing, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	go func() { // ends with release
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
				if !contained(ctx, l.log, func() { err = l.put(renewing, l.key, item, l.holder) }) || errors.Is(err, ErrConflict) {
					return
				}
			}
		}
	}()
	return nil
}

// state looks at the session and at who holds the lease.
func (l *lease) state(ctx context.Context) (session, held Item, err error) {
	items, err := l.store.get(ctx, l.session, l.key)
	if err != nil {
		return Item{}, Item{}, err
	}
	return items[0], items[1], nil
}

// noted reads how often it has been noted that the token of version was about to be spent, without an end; at is the note's own version.
func (l *lease) noted(ctx context.Context, version uint64) (before int, at uint64, err error) {
	items, err := l.store.get(ctx, l.intent)
	if err != nil {
		return 0, 0, err
	}
	if d := items[0].Data; len(d) == 9 && binary.BigEndian.Uint64(d) == version {
		before = int(d[8])
	}
	return before, items[0].Version, nil
}

// putNote notes that the token of version is about to be spent, if the note is still the one that was read. ErrConflict: another one has noted something since.
func (l *lease) putNote(ctx context.Context, version uint64, before int, at uint64) error {
	note := append(binary.BigEndian.AppendUint64(nil, version), byte(before+1))
	err := l.put(ctx, l.intent, Item{Data: note, Version: l.holder, Expires: l.expires}, at)
	if err == nil {
		l.note = note
	}
	return err
}

// release gives the lease back. spent: the token was answered, so that nobody may send it any more. retryAt: nobody shall try before it.
func (l *lease) release(ctx context.Context, spent bool, retryAt time.Time) {
	l.stop()
	switch {
	case l.note == nil:
	case spent:
		limited, cancel := call(context.WithoutCancel(ctx))
		_ = l.store.backend.Put(limited, l.intent, Item{Data: l.note, Version: l.holder, Expires: time.Now().Add(noteLife)}, l.holder)
		cancel()
	default:
		l.drop(ctx, l.intent, l.holder)
	}
	if wait := time.Until(retryAt); wait > 0 {
		limited, cancel := call(context.WithoutCancel(ctx))
		defer cancel()
		_ = l.store.backend.Put(limited, l.key, Item{Data: leaseFailed, Version: randomVersion(), Expires: retryAt}, l.holder)
		return
	}
	l.drop(ctx, l.key, l.holder)
}

// pause waits for about d; false: ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d/2 + rand.N(d))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// take gets the lease of k's session, or fills flight with what the replica that has it brought. held nil: flight is filled.
func (f *refresher) take(ctx context.Context, r *http.Request, flight *flight, l leaser, k *kept, old *record) (held *lease) {
	held = l.leaseOf(k)
	if held == nil {
		flight.err, flight.over = ErrNone, true
		return nil
	}
	held.log = f.m.log
	for poll := firstPoll; ; poll = min(2*poll, lastPoll) {
		err := held.acquire(ctx)
		if err == nil {
			return held
		}
		var session, other Item
		if errors.Is(err, ErrConflict) {
			session, other, err = held.state(ctx)
		}
		switch {
		case err != nil:
			f.postpone(ctx, flight, old, err)
			return nil
		case session.Version == 0:
			flight.err, flight.over = ErrNone, true
			return nil
		case session.Version != held.version:
			if !f.adopt(r, flight, old) {
				f.postpone(ctx, flight, old, ErrStore)
			}
			return nil
		case string(other.Data) == string(leaseFailed):
			flight.err, flight.retryAt = errElsewhere, other.Expires
			return nil
		case !pause(ctx, poll):
			f.postpone(ctx, flight, old, errElsewhere)
			return nil
		}
	}
}

// postpone fills flight for an outage of the store.
func (f *refresher) postpone(ctx context.Context, flight *flight, old *record, err error) {
	flight.err, flight.retryAt = err, time.Now().Add(firstRetry)
	f.m.log.LogAttrs(ctx, slog.LevelWarn, "session: refresh postponed, the store is out of reach", slog.String("session", shortID(old)), slog.Any("error", err))
}

// adopt fills flight with the session as another replica has renewed it.
func (f *refresher) adopt(r *http.Request, flight *flight, old *record) bool {
	fresh, stored := &kept{}, record{}
	err := f.m.keep.load(r, fresh)
	switch {
	case errors.Is(err, errNoRecord):
		flight.err, flight.over = loadError(err), true
		return true
	case err != nil || f.m.decode(fresh.data, &stored) != nil || stored.ID != old.ID || stored.Version <= old.Version:
		return false
	}
	flight.rec = stored
	return true
}

// intend notes that old's token is about to be sent. A note that is there already is of a process that died, that can't save what it got, or that is done while this
// one was asleep: the session is looked at again for a time. Then the token is sent once more, which a provider with a time of grace answers as before, and
// any other by invalid_grant. false: flight is filled.
func (f *refresher) intend(ctx context.Context, r *http.Request, flight *flight, held *lease, old *record) bool {
	before, at, err := held.noted(ctx, old.Version)
	if err != nil {
		f.postpone(ctx, flight, old, err)
		return false
	}
	if before > 0 && !f.outwaited(ctx, r, flight, held, old, before) {
		return false
	}
	// Only now, right before it is sent: a process that dies while it waits has spent nothing.
	switch err := held.putNote(ctx, old.Version, before, at); {
	case errors.Is(err, ErrConflict): // this process was asleep, and somebody else is at it
		f.postpone(ctx, flight, old, errElsewhere)
		return false
	case err != nil:
		f.postpone(ctx, flight, old, err)
		return false
	}
	return true
}

// outwaited waits for the one who left a note to save after all. false: flight is filled.
func (f *refresher) outwaited(ctx context.Context, r *http.Request, flight *flight, held *lease, old *record, before int) bool {
	for until := time.Now().Add(settleTime); ; {
		session, _, err := held.state(ctx)
		if err == nil && session.Version != held.version && f.adopt(r, flight, old) {
			return false
		}
		if before > 1 && err == nil || !time.Now().Before(until) || !pause(ctx, lastPoll) {
			break
		}
	}
	id := slog.String("session", shortID(old))
	if before > 1 {
		flight.err, flight.over = errOutcomeUnknown, true
		f.m.log.LogAttrs(ctx, slog.LevelError, "session: ended, twice a process died while it refreshed it", id)
		return false
	}
	f.m.log.LogAttrs(ctx, slog.LevelWarn, "session: a process died while it refreshed this session; its refresh token is sent once more", id)
	return true
}
