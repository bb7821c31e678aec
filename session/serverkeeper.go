package session

import (
	"context"
	"encoding/binary"
	"errors"
	"iter"
	"net/http"
	"time"
)

// serverKeeper keeps records in a ServerStore.
type serverKeeper struct {
	cookieAttributes
	store *ServerStore
	idle  time.Duration // zero or less: none
}

// serverHandle is what a later write of a loaded session needs.
type serverHandle struct {
	store     *ServerStore
	name      string // of the cookie
	cookie    serverCookie
	row       *serverRow
	revokedAt time.Time // what the ledger said under the cookie's marks
}

// marksOf reports whether the cookie's marks are those of rec's user and session: only then does what was found under them count.
func (c *serverCookie) marksOf(rec *record) bool {
	sid := [markLength]byte{}
	if rec.SID != "" {
		sid = markOf(ledgerName("sid", rec.Issuer, rec.SID))
	}
	return c.marks == [2][markLength]byte{markOf(ledgerName("sub", rec.Issuer, rec.Subject)), sid}
}

// ledgerIn reports whether the manager's ledger is the one in store's backend.
func (m *Manager) ledgerIn(store *ServerStore) bool {
	own, ok := m.ledger.(*BackendLedger)
	return ok && own.backend == store.backend
}

const serverKind = "session"

// maxDevice is how much of a User-Agent is kept, in bytes.
const maxDevice = 200

func (s *serverKeeper) key(c *serverCookie) Key { return s.keyOf(&c.id) }

func (s *serverKeeper) keyOf(id *[16]byte) Key { return itemKey(serverKind, s.name, id[:]) }

func (s *serverKeeper) load(r *http.Request, k *kept) error {
	text, ok := readCookie(r, s.name)
	if !ok {
		return errNoRecord
	}
	c, ok := parseServerCookie(text)
	if !ok {
		return errNoRecord
	}
	key := s.key(&c)
	items, err := s.store.get(r.Context(), key, markKey(c.marks[0][:]), markKey(c.marks[1][:]))
	if err != nil {
		return err
	}
	if items[0].Version == 0 {
		return errNoRecord
	}
	row, err := s.store.parse(&c, key, items[0])
	if err != nil {
		return err
	}
	h := &serverHandle{store: s.store, name: s.name, cookie: c, row: row}
	for _, mark := range items[1:] {
		if at := markedAt(mark); at.After(h.revokedAt) {
			h.revokedAt = at
		}
	}
	*k = kept{data: row.body, seen: row.seen, expires: row.expires, version: row.version, id: keptID(key), handle: h}
	return nil
}

// owned is whose record it is.
type owned struct {
	owner     Key
	user, sid string // names in the ledger; sid may be empty
}

func (s *serverKeeper) create(w http.ResponseWriter, r *http.Request, data []byte, expires time.Time) error {
	_, err := s.createFor(w, r, data, expires, &owned{})
	return err
}

func (s *serverKeeper) createFor(w http.ResponseWriter, r *http.Request, data []byte, expires time.Time, whose *owned) (Key, error) {
	c := newServerCookie()
	c.marks = [2][markLength]byte{markOf(whose.user), markOf(whose.sid)}
	row := &serverRow{version: 1, owner: whose.owner, made: time.Now(), expires: expires, body: data, device: shortened(r.UserAgent())}
	s.endAt(row, row.made)
	if err := s.store.put(r.Context(), serverKind, s.name, &c, row, 0); err != nil {
		return Key{}, err
	}
	for old := range s.carried(r) {
		if err := s.drop(r.Context(), s.key(&old)); err != nil {
			// The browser keeps the old session, and never gets the new one's secret.
			_ = s.store.delete(context.WithoutCancel(r.Context()), s.key(&c))
			return Key{}, err
		}
	}
	s.set(w, s.name, c.text(), expires)
	return s.key(&c), nil
}

func shortened(device string) string { return device[:min(len(device), maxDevice)] }

// afterEnd is how much longer a session is kept than it lasts, so that whoever comes late hears that it has expired.
const afterEnd = time.Minute

// endAt lets the backend forget a session that is over, or not used.
func (s *serverKeeper) endAt(row *serverRow, seen time.Time) {
	row.until = row.expires
	if s.idle > 0 && seen.Add(s.idle).Before(row.until) {
		row.until = seen.Add(s.idle)
	}
	row.until = row.until.Add(afterEnd)
}

func (s *serverKeeper) update(w http.ResponseWriter, r *http.Request, k *kept, data []byte, expires time.Time) error {
	h, ok := k.handle.(*serverHandle)
	if !ok {
		return errNoRecord
	}
	row := *h.row
	row.version, row.body, row.expires, row.seen = k.version+1, data, expires, later(h.row.seen, time.Now())
	row.from = nil
	s.endAt(&row, row.seen)
	switch err := s.store.put(r.Context(), serverKind, s.name, &h.cookie, &row, k.version); {
	case errors.Is(err, errConflict):
		items, err := s.store.get(r.Context(), s.key(&h.cookie))
		switch {
		case err != nil:
			return err
		case items[0].Version == 0:
			return errNoRecord
		}
		if _, moved := movedTo(items[0]); moved {
			return errMoved
		}
		return errConflict
	case err != nil:
		return err
	}
	if !expires.Equal(k.expires) {
		s.set(w, s.name, h.cookie.text(), expires)
	}
	return nil
}

func (s *serverKeeper) touch(_ http.ResponseWriter, r *http.Request, k *kept, t time.Time) error {
	h, ok := k.handle.(*serverHandle)
	if !ok {
		return nil
	}
	row := *h.row
	row.seen, row.body, row.from = t, nil, nil // the body stays as it is sealed
	s.endAt(&row, t)
	// The version stays, so that a refresh under way in another process loses nothing by this; of two touches either will do.
	if err := s.store.put(r.Context(), serverKind, s.name, &h.cookie, &row, k.version); err != nil && !errors.Is(err, errConflict) {
		return err
	}
	return nil
}

func (s *serverKeeper) remove(w http.ResponseWriter, r *http.Request, k *kept) error {
	var errs []error
	if k != nil {
		if h, ok := k.handle.(*serverHandle); ok {
			errs = append(errs, s.drop(r.Context(), s.key(&h.cookie)))
		}
	}
	for c := range s.carried(r) {
		if k == nil || keptID(s.key(&c)) != k.id {
			errs = append(errs, s.drop(r.Context(), s.key(&c)))
		}
	}
	dropSetCookie(w, s.name)
	if hasCookie(r, s.name) {
		s.delete(w, s.name)
	}
	return errors.Join(errs...)
}

func (s *serverKeeper) discard(ctx context.Context, id keptID) error {
	return s.drop(ctx, Key(id))
}

func (s *serverKeeper) exclusive() bool { return false }

func (s *serverKeeper) final() bool { return true }

// maxCarried bounds the cookies of our name that one request can have looked up.
const maxCarried = 8

// carried yields every cookie of our name: one of two with the same name isn't trusted, and both are ended.
func (s *serverKeeper) carried(r *http.Request) iter.Seq[serverCookie] {
	return func(yield func(serverCookie) bool) {
		n := 0
		for name, value := range eachCookie(r) {
			if name != s.name {
				continue
			}
			if c, ok := parseServerCookie(value); ok {
				if n++; n > maxCarried || !yield(c) {
					return
				}
			}
		}
	}
}

// markedAt reads a revocation of a BackendLedger.
func markedAt(item Item) time.Time {
	if item.Version == 0 || len(item.Data) != 8 {
		return time.Time{}
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(item.Data)))
}
