package session

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/latchkey-go/latchkey/rp/store"
)

// A rotation must not bring back what a logout ends at the same moment, and neither knows of the other. So a rotation notes first where the session is about to go, then makes it
// there, then gives up the old place by compare-and-swap, and takes back the new one when the old is gone by then. Who ends a session removes it, and looks for such a note afterwards:
// whichever of the two comes first, one of them removes the new place.

// movedLife is how long the note stays: longer than a login may take that began under the old identifier and replaces the session (Config.AttemptLifetime).
const movedLife = time.Hour + underWay

// maxMoves bounds the rotations of one session that its end looks through: those of the last hour that the one who ends it has slept through.
const maxMoves = 16

// movedForm begins the data of an old place; rowForm begins that of a session.
const movedForm = 2

func moved(item Item) bool { return len(item.Data) > 0 && item.Data[0] == movedForm }

func (s *serverKeeper) noteKey(key Key) Key { return itemKey("moved", s.name, key[:]) }

// rotate moves the record k was loaded from to a fresh identifier. errConflict: it was changed since; ErrNone: it has ended.
func (s *serverKeeper) rotate(w http.ResponseWriter, r *http.Request, k *kept, data []byte, expires time.Time) error {
	h, ok := k.handle.(*serverHandle)
	if !ok {
		return ErrNone
	}
	ctx := r.Context()
	c := newServerCookie()
	c.marks = h.cookie.marks
	old, fresh := s.key(&h.cookie), s.key(&c)
	if err := s.note(ctx, old, fresh); err != nil {
		return err
	}
	row := *h.row
	// The version goes on, so that notes about the tokens' use that name one mean the same tokens under both identifiers.
	row.version, row.body, row.expires, row.seen = k.version+1, data, expires, later(h.row.seen, time.Now())
	s.endAt(&row, row.seen)
	if err := s.store.put(ctx, serverKind, s.name, &c, &row, 0); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		_ = s.store.delete(context.WithoutCancel(ctx), fresh)
		return err // who asked has left, and would never get the new cookie
	}
	gone, err := s.giveUp(ctx, old, k.version)
	switch {
	case err != nil && gone: // nobody knows, and one of both opens
		s.set(w, s.name, c.text(), expires)
		return errUnsettled
	case err != nil:
		_ = s.store.delete(context.WithoutCancel(ctx), fresh) // no browser ever gets its secret
		return err
	}
	s.set(w, s.name, c.text(), expires)
	return nil
}

// note says where the session of old is about to go. Where it was to go before, in a process that died on the way, nobody has the cookie of.
func (s *serverKeeper) note(ctx context.Context, old, fresh Key) error {
	key := s.noteKey(old)
	items, err := s.store.get(ctx, key)
	if err != nil {
		return err
	}
	limited, cancel := call(ctx)
	defer cancel()
	err = s.store.backend.Put(limited, key, Item{Data: fresh[:], Version: store.RandomVersion(), Expires: time.Now().Add(movedLife)}, items[0].Version)
	switch {
	case errors.Is(err, ErrConflict):
		return errConflict // another rotation
	case err != nil:
		return backendError(ctx, err)
	}
	return nil
}

// giveUp replaces what is under old at version by nothing that opens, and removes that. errConflict: another version is there; ErrNone: nothing is.
// gone with another error: it may have happened.
func (s *serverKeeper) giveUp(ctx context.Context, old Key, version uint64) (gone bool, err error) {
	ctx = context.WithoutCancel(ctx)
	mark := Item{Data: []byte{movedForm}, Version: store.RandomVersion(), Expires: time.Now().Add(afterEnd)}
	limited, cancel := call(ctx)
	defer cancel()
	err = s.store.backend.Put(limited, old, mark, version)
	if err != nil {
		items, unread := s.store.get(ctx, old)
		switch {
		case unread != nil:
			return !errors.Is(err, ErrConflict), backendError(ctx, err)
		case items[0].Version == mark.Version && moved(items[0]):
		case items[0].Version == 0, moved(items[0]):
			return false, ErrNone
		case errors.Is(err, ErrConflict):
			return false, errConflict
		default:
			return false, backendError(ctx, err)
		}
	}
	_ = s.store.backend.Delete(limited, old, mark.Version) // it ends by itself
	return true, nil
}

// drop ends the session under key, and where it has moved since.
func (s *serverKeeper) drop(ctx context.Context, key Key) error {
	for range maxMoves {
		if err := s.store.delete(ctx, key); err != nil {
			return err
		}
		items, err := s.store.get(ctx, s.noteKey(key))
		if err != nil {
			return err
		}
		if len(items[0].Data) != len(Key{}) {
			return nil
		}
		key = Key(items[0].Data)
	}
	return nil
}

// withoutMoved takes the old places out of a list that was made while a session was at both.
func (s *serverKeeper) withoutMoved(ctx context.Context, all []Listing, rows []Key) ([]Listing, error) {
	if len(all) < 2 {
		return all, nil
	}
	notes, listed := make([]Key, len(all)), map[Key]bool{}
	for i, row := range rows {
		notes[i], listed[row] = s.noteKey(row), true
	}
	items, err := s.store.get(ctx, notes...)
	if err != nil {
		return nil, err
	}
	at := -1
	return slices.DeleteFunc(all, func(Listing) bool {
		at++
		return len(items[at].Data) == len(Key{}) && listed[Key(items[at].Data)]
	}), nil
}

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
	for range maxMoves {
		m.store.table.remove(m.kind(), key)
		to, ok := m.store.table.moves.of(key)
		if !ok {
			return
		}
		key = to
	}
}
