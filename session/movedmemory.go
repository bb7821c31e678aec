package session

import (
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"
)

// memoryMoves are the notes of a MemoryStore, which moves a session in one step under their lock.
type memoryMoves struct {
	mu    sync.Mutex
	to    map[keptID]memoryMove
	order []keptID // the oldest first
}

type memoryMove struct {
	to    keptID
	until time.Time
}

// maxMemoryMoves bounds the notes; the oldest make room.
const maxMemoryMoves = 100_000

// note is called with the lock held.
func (m *memoryMoves) note(from, to keptID) {
	if m.to == nil {
		m.to = make(map[keptID]memoryMove)
	}
	for len(m.order) > 0 && (len(m.order) >= maxMemoryMoves || ends(m.to[m.order[0]].until)) {
		delete(m.to, m.order[0])
		m.order = m.order[1:]
	}
	if _, known := m.to[from]; !known {
		m.order = append(m.order, from)
	}
	m.to[from] = memoryMove{to, time.Now().Add(movedLife)}
}

func (m *memoryMoves) of(from keptID) (to keptID, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	move, ok := m.to[from]
	return move.to, ok && !ends(move.until)
}

// rotate moves the record k was loaded from to a fresh identifier. errConflict: it was changed since; ErrNone: it has ended.
func (m *memoryKeeper) rotate(w http.ResponseWriter, k *kept, data []byte, expires time.Time) error {
	text, fresh := newSecret()
	switch err := m.store.table.move(m.kind(), k.id, fresh, k.version, slices.Clone(data), expires); {
	case errors.Is(err, errNoRecord):
		return loadError(err)
	case err != nil:
		return err
	}
	m.set(w, m.name, text, expires)
	return nil
}

// drop ends the session under key, and where it has moved since.
func (m *memoryKeeper) drop(key keptID) {
	for { // ends: each is younger than the one before
		m.store.table.remove(m.kind(), key)
		to, ok := m.store.table.moves.of(key)
		if !ok {
			return
		}
		key = to
	}
}
