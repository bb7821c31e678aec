package rp

import (
	"time"
	"weak"
)

// remembered is a mint that is held while it may be asked for again, and after that found for as long as a source has it: of two mints for one key, one would
// not hear of what is saved or forgotten through the other.
type remembered struct {
	mint weak.Pointer[mint]
	held *mint // nil: idle when it was looked at last
}

// leastTidy is how many mints are not worth looking at.
const leastTidy = 1024

// remember holds m, and lets go of idle ones when there are twice as many as were needed before: keys that come from requests must not fill the memory. It is called with the lock held.
func (s *TokenStore) remember(id mintKey, m *mint) {
	s.mints[id] = remembered{weak.Make(m), m}
	if len(s.mints) <= max(s.tidyAt, leastTidy) {
		return
	}
	now := time.Now()
	for id, r := range s.mints {
		switch known := r.mint.Value(); {
		case known == nil:
			delete(s.mints, id)
		case r.held != nil && known != m && known.idle(now):
			s.mints[id] = remembered{mint: r.mint}
		}
	}
	s.tidyAt = 2 * len(s.mints)
}

// idle reports whether m knows nothing that the store does not: no token to hand out, no fetch under way, no pause to keep, nobody told of an end.
func (m *mint) idle(now time.Time) bool {
	if !m.mu.TryLock() { // a fetch that begins asks the store under this lock
		return false
	}
	defer m.mu.Unlock()
	return m.flight == nil && !m.told && !now.Before(m.retryAt) && !m.current.Load().usable(now)
}
