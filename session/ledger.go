package session

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"
)

// MemoryLedger is a Ledger in this process: it tells the truth to one process, and forgets when that ends. It is safe for concurrent use.
//
// It is bounded, and refuses a revocation when full instead of forgetting an older one: a sender of logout tokens then gets an error and sends again.
// Keys are kept as hashes, so each takes the same room.
//
// Users fill it by logging out, where sessions are kept in cookies or in a gorilla store: what tells a copy of the cookie from a session that is still good is a note here. Such a note
// stays until the copy could not be used any more: for Config.Idle and five minutes, or to the session's absolute end when there is no idle end. These notes take three
// quarters of the room at most, so that logouts from the provider and Manager.Revoke find some. When they have taken it, the user who has the most of them, 16 or more, gets
// one note in their place, which ends all sessions that this user began before the last of these logouts: nobody fills the ledger alone, and no logout is undone. When no user has
// so many, a logout removes the cookies from its browser and returns ErrStore, since a copy of them is not refused. The bound should be above four thirds of the logouts in that time.
//
// A rotation is such a note, too, on the identifier it gives up. Rotations take half of the room at most. When they have taken it, Manager.Rotate is
// ErrStore for a session with 16 of them or more, and what others need is found by ending the session that has the most of them, 16 or more: that one alone, not its user's others.
type MemoryLedger struct {
	mu      sync.RWMutex
	max     int
	entries map[[32]byte]revocationMark
	rotated map[[32]byte]int // notes by the session whose rotations they are of
	own     int              // of the entries, those that users made
	tidied  [3]time.Time     // when making room was tried last, in vain: for a logout, for a rotation, and for one of a session that has many
}

// revocationMark has the key of its user when that user made it, and that of its session when it is of a rotation.
type revocationMark struct {
	at, until     time.Time
	user, session [32]byte
}

// gatherFrom is from how many notes on a user, or a session, has them replaced by one.
const gatherFrom = 16

// NewMemoryLedger returns an empty ledger of at most max revocations that have not ended; zero or less: 100,000.
func NewMemoryLedger(max int) *MemoryLedger {
	if max <= 0 {
		max = 100_000
	}
	return &MemoryLedger{max: max, entries: make(map[[32]byte]revocationMark), rotated: make(map[[32]byte]int)}
}

// Revoke records at for key until until. Of two records for one key the later of each time counts.
func (l *MemoryLedger) Revoke(ctx context.Context, key string, at, until time.Time) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("session: ledger: %w", err)
	}
	if ends(until) {
		return nil
	}
	id := ledgerKey(key)
	l.mu.Lock()
	defer l.mu.Unlock()
	full := func() bool { return len(l.entries) >= l.max }
	if _, known := l.entries[id]; !known && full() && !l.makeRoom(full, [32]byte{}) {
		return l.fullError()
	}
	l.mark(id, at, until)
	return nil
}

// end is Revoke for one session that a user has ended, or, where session is its key, for an identifier it had before. user is the key of all of that user's.
func (l *MemoryLedger) end(ctx context.Context, key, user, session string, at, until time.Time) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("session: ledger: %w", err)
	}
	if ends(until) {
		return nil
	}
	id, note, room := ledgerKey(key), revocationMark{user: ledgerKey(user)}, l.max-l.max/4
	if session != "" {
		note.session, room = ledgerKey(session), l.max-l.max/2
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	full := func() bool { return len(l.entries) >= l.max || l.own >= room }
	if _, known := l.entries[id]; !known {
		if full() && !l.makeRoom(full, note.session) {
			return l.fullError()
		}
		l.entries[id] = note
		if session != "" {
			l.rotated[note.session]++
		}
		l.own++
	}
	l.mark(id, at, until)
	return nil
}

func (l *MemoryLedger) fullError() error {
	return fmt.Errorf("%w: the ledger is full with %d revocations; give NewMemoryLedger a bound above %d", ErrStore, len(l.entries), l.max)
}

func (l *MemoryLedger) mark(id [32]byte, at, until time.Time) {
	mark := l.entries[id]
	mark.at, mark.until = later(mark.at, at), later(mark.until, until)
	l.entries[id] = mark
}

// RevokedAt returns the latest time recorded for any of keys; zero: none.
func (l *MemoryLedger) RevokedAt(ctx context.Context, keys ...string) (time.Time, error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, fmt.Errorf("session: ledger: %w", err)
	}
	var latest time.Time
	l.mu.RLock()
	defer l.mu.RUnlock()
	if len(l.entries) == 0 {
		return latest, nil
	}
	for _, key := range keys {
		if mark, ok := l.entries[ledgerKey(key)]; ok && mark.at.After(latest) && !ends(mark.until) {
			latest = mark.at
		}
	}
	return latest, nil
}

// makeRoom drops what has ended. If that is not enough it gathers the notes of the session that was rotated most, and then, for a logout, those of who has the most.
// rotating is the session that room is wanted for a rotation of, if it is. It looks at every entry: once a second at most when in vain.
func (l *MemoryLedger) makeRoom(full func() bool, rotating [32]byte) bool {
	logout, often := rotating == [32]byte{}, l.rotated[rotating] >= gatherFrom
	tidied := &l.tidied[0]
	switch {
	case often: // its tries are not to be in the way of others'
		tidied = &l.tidied[2]
	case !logout:
		tidied = &l.tidied[1]
	}
	if time.Since(*tidied) < time.Second {
		return false
	}
	users := map[[32]byte]int{}
	var most, rotated [32]byte
	for id, mark := range l.entries {
		if ends(mark.until) {
			l.drop(id, mark)
		} else if mark.user != [32]byte{} {
			if users[mark.user]++; users[mark.user] > users[most] {
				most = mark.user
			}
		}
	}
	for session, n := range l.rotated {
		if n > l.rotated[rotated] && session != rotating {
			rotated = session
		}
	}
	if full() && !often && l.rotated[rotated] >= gatherFrom {
		l.gather(rotated, func(mark revocationMark) bool { return mark.session == rotated })
	}
	if full() && logout && users[most] >= gatherFrom {
		l.gather(most, func(mark revocationMark) bool { return mark.user == most })
	}
	if full() {
		*tidied = time.Now()
		return false
	}
	return true
}

// gather replaces notes by one under key that ends all that any of them ended, and what they were made by, for as long.
func (l *MemoryLedger) gather(key [32]byte, of func(revocationMark) bool) {
	var at, until time.Time
	for id, mark := range l.entries {
		if of(mark) {
			at, until = later(at, mark.at), later(until, mark.until)
			l.drop(id, mark)
		}
	}
	l.mark(key, at, until)
}

func (l *MemoryLedger) drop(id [32]byte, mark revocationMark) {
	delete(l.entries, id)
	if mark.user != [32]byte{} {
		l.own--
	}
	if mark.session != [32]byte{} {
		if l.rotated[mark.session]--; l.rotated[mark.session] == 0 {
			delete(l.rotated, mark.session)
		}
	}
}

func ledgerKey(key string) [32]byte {
	var buf [256]byte // keeps the copy of a usual key off the heap
	return sha256.Sum256(append(buf[:0], key...))
}

// empty reports whether nothing is recorded, so that a request need not build keys to learn that.
func (l *MemoryLedger) empty() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return len(l.entries) == 0
}
