package session

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/latchkey-go/latchkey/rp/store"
)

// A rotation makes the session's new place first, then puts a mark that says where that is over the old one, by compare-and-swap. That swap is the rotation: before it the old cookie
// opens the session and the new place opens to nobody, after it the other way round. Who ends a session removes its row, or follows the mark that is there instead, so that one of
// both always finds the other. REFRESH.md has what each crash leaves.

// movedLife is how long the mark stays: longer than a login may take that began under the old identifier and replaces the session (Config.AttemptLifetime).
const movedLife = time.Hour + underWay

// maxMoves bounds the rotations of one session, in movedLife, that its end follows.
const maxMoves = 1000

var errTooFar = fmt.Errorf("session: its identifier was changed more than %d times within the hour; end all sessions of its user with Revoke", maxMoves)

// movedForm begins the data of an old place, before the key of the new one; rowForm begins that of a session.
const movedForm = 2

// movedTo is where the session has gone that was under item's key.
func movedTo(item Item) (to Key, moved bool) {
	if len(item.Data) != 1+len(to) || item.Data[0] != movedForm {
		return to, false
	}
	return Key(item.Data[1:]), true
}

// rotate moves the record k was loaded from to a fresh identifier. held is the turn of a refresh, where there may be refreshes. errConflict: the record was changed since; ErrNone: it has ended.
func (s *serverKeeper) rotate(ctx context.Context, w http.ResponseWriter, r *http.Request, k *kept, data []byte, expires time.Time, held *store.Lease) error {
	h, ok := k.handle.(*serverHandle)
	if !ok {
		return ErrNone
	}
	c, now := newServerCookie(), time.Now()
	c.marks = h.cookie.marks
	fresh, row := s.key(&c), *h.row
	// The version goes on, so that notes about the tokens' use that name one mean the same tokens under both identifiers.
	row.version, row.body, row.expires, row.seen, row.from = k.version+1, data, expires, later(h.row.seen, now), &h.cookie.id
	s.endAt(&row, row.seen)
	until := row.until
	if most := now.Add(movedLife); most.Before(until) {
		row.until = most // what a process that dies leaves is soon gone
	}
	if err := s.store.put(r.Context(), serverKind, s.name, &c, &row, 0); err != nil {
		return err
	}
	err := s.handOver(ctx, &h.cookie.id, k.version, &c.id, held)
	switch {
	case errors.Is(err, errUnsettled): // one of both opens: the new one can find out
		s.set(w, s.name, c.text(), expires)
		return err
	case err != nil:
		_ = s.store.delete(context.WithoutCancel(ctx), fresh) // no browser ever gets its secret
		return err
	}
	row.from, row.until = nil, until
	if err := s.store.put(context.WithoutCancel(ctx), serverKind, s.name, &c, &row, row.version); errors.Is(err, errConflict) {
		return ErrNone // ended meanwhile; after another error the first request with the new cookie does it
	}
	s.set(w, s.name, c.text(), expires)
	return nil
}

// handOver makes the place of the identifier to that of the session, which is that of from at version. Errors are those of rotate, and errUnsettled.
func (s *serverKeeper) handOver(ctx context.Context, from *[16]byte, version uint64, to *[16]byte, held *store.Lease) error {
	if held != nil { // right before the swap: who sleeps for longer than the lease lives, and wakes up here, finds what others have noted
		if err := reserve(ctx, held); err != nil {
			return err
		}
		if err := held.Carry(ctx, s.intentOf(to), version+1); err != nil {
			return backendError(ctx, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return errBusy // who asked has left, and would never get the new cookie
	}
	return s.giveUp(ctx, s.keyOf(from), version, s.keyOf(to))
}

// giveUp replaces what is under old at version by a mark that it is at to. errConflict: another version is there; ErrNone: nothing is, or another mark;
// errUnsettled: nobody knows.
func (s *serverKeeper) giveUp(ctx context.Context, old Key, version uint64, to Key) error {
	ctx = context.WithoutCancel(ctx)
	mark := Item{Data: append([]byte{movedForm}, to[:]...), Version: store.RandomVersion(), Expires: time.Now().Add(movedLife)}
	limited, cancel := call(ctx)
	defer cancel()
	err := s.store.backend.Put(limited, old, mark, version)
	if err == nil {
		return nil
	}
	conflict := errors.Is(err, ErrConflict)
	items, unread := s.store.get(ctx, old)
	if unread != nil {
		if conflict {
			return unread
		}
		return errUnsettled
	}
	at, moved := movedTo(items[0])
	switch {
	case moved && at == to:
		return nil
	case moved, items[0].Version == 0:
		return ErrNone
	case conflict:
		return errConflict
	}
	return backendError(ctx, err)
}

// settle finds out about a session whose rotation was cut off between the swap and what follows it, or just before: a row that is on its way opens when its old place says so, and not before.
func (m *Manager) settle(r *http.Request, s *Session) error {
	h, ok := s.from.handle.(*serverHandle)
	if !ok || h.row.from == nil {
		return nil
	}
	k, ok := m.keep.(*serverKeeper)
	if !ok {
		return ErrNone
	}
	ctx, cancel := context.WithTimeout(r.Context(), rotateWait)
	defer cancel()
	old, fresh := k.keyOf(h.row.from), k.key(&h.cookie)
	for try := 0; ; try++ {
		items, err := k.store.get(ctx, old)
		if err != nil {
			return err
		}
		to, moved := movedTo(items[0])
		if moved && to == fresh {
			break
		}
		if moved || items[0].Version != h.row.version-1 {
			return ErrNone // ended, rotated by another, or gone on under the old identifier
		}
		switch err := m.finishRotation(ctx, k, s, h); {
		case errors.Is(err, errConflict) && try < 3: // a request beside this one was faster, or a refresh
		case errors.Is(err, errConflict):
			return errBusy
		case err != nil:
			return err
		}
	}
	row := *h.row
	row.from, row.body = nil, nil // the body stays as it is sealed
	k.endAt(&row, later(row.made, row.seen))
	switch err := k.store.put(ctx, serverKind, k.name, &h.cookie, &row, row.version); {
	case errors.Is(err, errConflict):
		if err := k.stillThere(ctx, fresh); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	row.body = h.row.body
	h.row = &row
	return nil
}

// stillThere tells a request beside this one that did the same and went on from the session's end.
func (s *serverKeeper) stillThere(ctx context.Context, key Key) error {
	items, err := s.store.get(ctx, key)
	if err != nil {
		return err
	}
	if _, moved := movedTo(items[0]); moved || items[0].Version == 0 {
		return ErrNone
	}
	return nil
}

// finishRotation is the swap, after an outage. errConflict: look again.
func (m *Manager) finishRotation(ctx context.Context, k *serverKeeper, s *Session, h *serverHandle) (err error) {
	var held *store.Lease
	if s.CanRefresh() {
		held = k.leaseFor(h.row.from, h.row.version-1, s.from.expires, m.log)
		if err := take(ctx, held); err != nil {
			return err
		}
		err = errUnsettled // should the backend panic
		defer func() { giveBackTurn(ctx, held, err) }()
	}
	err = k.handOver(ctx, h.row.from, h.row.version-1, &h.cookie.id, held)
	return err
}

// drop ends the session under key, and where it has moved since.
func (s *serverKeeper) drop(ctx context.Context, key Key) error {
	for range maxMoves {
		items, err := s.store.get(ctx, key)
		if err != nil {
			return err
		}
		if items[0].Version == 0 {
			return nil
		}
		if to, moved := movedTo(items[0]); moved {
			key = to
			continue
		}
		// At its version, since a rotation may be faster; looking again tells.
		if err := s.store.deleteAt(ctx, key, items[0].Version); err != nil {
			return err
		}
		if row := s.card(key, items[0]); row != nil && row.from != nil {
			key = s.keyOf(row.from) // which opens it, if the rotation is not done
		}
	}
	return errTooFar
}

// card is what item says of a session to who has no cookie; nil: it is none.
func (s *serverKeeper) card(key Key, item Item) *serverRow {
	sealed, _, ok := splitRow(item.Data)
	row := &serverRow{}
	if !ok || s.store.openCard(key, sealed, row) != nil || ends(row.expires) {
		return nil
	}
	return row
}

// rowsOf are the sessions of owner among keys, each once: those that are on their way at their old place until that is given up, and those that have moved since keys were listed where they are now.
func (s *serverKeeper) rowsOf(ctx context.Context, owner Key, keys []Key) (map[Key]*serverRow, error) {
	rows, err := s.rowsSeen(ctx, owner, keys)
	if err != nil || len(rows) < 2 {
		return rows, err
	}
	// A cluster reads each key at a moment of its own. What moved between two of them was met at both places, and a second look finds the mark at the first.
	return s.rowsSeen(ctx, owner, slices.Collect(maps.Keys(rows)))
}

// rowsSeen is one look.
func (s *serverKeeper) rowsSeen(ctx context.Context, owner Key, keys []Key) (map[Key]*serverRow, error) {
	rows, away, reached := map[Key]*serverRow{}, map[Key]*[16]byte{}, map[Key]bool{}
	for hops := 0; len(keys) > 0 && hops < maxMoves; hops++ {
		items, err := s.store.get(ctx, keys...)
		if err != nil {
			return nil, err
		}
		var next []Key
		for i, item := range items {
			if to, moved := movedTo(item); moved {
				reached[to] = true
				next = append(next, to)
			} else if row := s.card(keys[i], item); row != nil && item.Owner == owner {
				rows[keys[i]] = row
				if row.from != nil {
					away[keys[i]] = row.from
				}
			}
		}
		keys = next
	}
	var olds, freshes []Key
	for fresh, from := range away {
		if !reached[fresh] {
			olds, freshes = append(olds, s.keyOf(from)), append(freshes, fresh)
		}
	}
	if len(olds) == 0 {
		return rows, nil
	}
	items, err := s.store.get(ctx, olds...)
	if err != nil {
		return nil, err
	}
	for i, item := range items {
		if to, moved := movedTo(item); moved && to == freshes[i] {
			delete(rows, olds[i]) // it was there a moment ago
		} else {
			delete(rows, freshes[i])
		}
	}
	return rows, nil
}
