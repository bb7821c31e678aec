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
type MemoryLedger struct {
	mu      sync.RWMutex
	max     int
	entries map[[32]byte]revocationMark
}

type revocationMark struct{ at, until time.Time }

// NewMemoryLedger returns an empty ledger of at most max revocations that have not ended; zero or less: 100,000.
func NewMemoryLedger(max int) *MemoryLedger {
	if max <= 0 {
		max = 100_000
	}
	return &MemoryLedger{max: max, entries: make(map[[32]byte]revocationMark)}
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
	mark, known := l.entries[id]
	if !known && len(l.entries) >= l.max {
		l.sweep()
		if len(l.entries) >= l.max {
			return fmt.Errorf("%w: the ledger is full with %d revocations; give NewMemoryLedger a higher bound", ErrStore, l.max)
		}
	}
	if at.After(mark.at) {
		mark.at = at
	}
	if until.After(mark.until) {
		mark.until = until
	}
	l.entries[id] = mark
	return nil
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

// sweep drops what has ended; only a full ledger pays for it.
func (l *MemoryLedger) sweep() {
	for id, mark := range l.entries {
		if ends(mark.until) {
			delete(l.entries, id)
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
