package session

import (
	"sync"
	"time"
)

// recent remembers keys for a while, in bounded room: when that is full what has ended goes first, then any.
type recent struct {
	mu    sync.Mutex
	max   int
	until map[[32]byte]time.Time
}

func newRecent(max int) *recent { return &recent{max: max, until: make(map[[32]byte]time.Time)} }

// first reports whether key is new, and remembers it until then.
func (m *recent) first(key [32]byte, until time.Time) bool {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if end, ok := m.until[key]; ok && now.Before(end) {
		return false
	}
	if len(m.until) >= m.max {
		m.sweep(now)
	}
	m.until[key] = until
	return true
}

// has reports whether key is remembered.
func (m *recent) has(key [32]byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	end, ok := m.until[key]
	return ok && time.Now().Before(end)
}

// sweep drops what has ended, and if that is not enough, anything: a tenth, so that not each call sweeps.
func (m *recent) sweep(now time.Time) {
	for key, end := range m.until {
		if !now.Before(end) {
			delete(m.until, key)
		}
	}
	spare := len(m.until) - m.max + m.max/10
	for key := range m.until {
		if spare <= 0 {
			return
		}
		delete(m.until, key)
		spare--
	}
}
