package session

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/latchkey-go/latchkey/rp/store"
)

// serverRow is a session as a ServerStore keeps it: a card that the store's keys open, so that the sessions of a user can be listed, and a body that opens only
// with the cookie's secret as well. A touch rewrites the card alone.
type serverRow struct {
	version uint64
	owner   Key
	made    time.Time
	seen    time.Time // the last use noted; zero: none
	expires time.Time // the absolute end
	until   time.Time // when the backend may forget it: the absolute end, or the idle one
	device  string    // the User-Agent it was made with, shortened
	body    []byte    // the record, opened
	sealed  []byte    // the body, sealed; what a touch writes again
	from    *[16]byte // the identifier that a rotation is about to give up for this one; nil: none, or it is done
}

// Data of an item: form, length of the sealed card (2 bytes), the sealed card, the sealed body. A card: form, the three times, and the device; behind the form of one that is on
// its way, the identifier that it comes from.
const (
	rowForm   = 1
	wayForm   = 2
	rowHeader = 3
	cardSize  = 1 + 3*8 // and the device
)

func (row *serverRow) appendCard(b []byte) []byte {
	if row.from != nil {
		b = append(append(b, wayForm), row.from[:]...)
	} else {
		b = append(b, rowForm)
	}
	for _, t := range []time.Time{row.made, row.seen, row.expires} {
		n := int64(0)
		if !t.IsZero() {
			n = t.Unix()
		}
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return append(b, row.device...)
}

func (row *serverRow) parseCard(b []byte) bool {
	if len(b) > len(row.from) && b[0] == wayForm {
		row.from = (*[16]byte)(bytes.Clone(b[1:]))
		b = b[len(row.from):]
	} else if len(b) > 0 && b[0] != rowForm {
		return false
	}
	if len(b) < cardSize {
		return false
	}
	for i, t := range []*time.Time{&row.made, &row.seen, &row.expires} {
		*t = unix(int64(binary.BigEndian.Uint64(b[1+8*i:])))
	}
	row.device = string(b[cardSize:])
	return true
}

// splitRow returns the sealed card and body of an item's data.
func splitRow(data []byte) (card, body []byte, ok bool) {
	if len(data) < rowHeader || data[0] != rowForm {
		return nil, nil, false
	}
	n := rowHeader + int(binary.BigEndian.Uint16(data[1:]))
	if n > len(data) {
		return nil, nil, false
	}
	return data[rowHeader:n], data[n:], true
}

// parse opens item into a row. errNoRecord: it doesn't open.
func (s *ServerStore) parse(c *serverCookie, key Key, item Item) (*serverRow, error) {
	card, sealed, ok := splitRow(item.Data)
	if !ok {
		return nil, errNoRecord
	}
	row := &serverRow{version: item.Version, owner: item.Owner, until: item.Expires, sealed: sealed}
	if err := s.openCard(key, card, row); err != nil {
		return nil, err
	}
	if ends(row.expires) {
		return nil, errEnded
	}
	var err error
	row.body, err = s.bodies.Open(sealed, key[:], c.secret[:])
	if errors.Is(err, store.ErrSealed) {
		err = errNoRecord
	}
	return row, err
}

func (s *ServerStore) openCard(key Key, card []byte, row *serverRow) error {
	plain, err := s.cards.openBound(nil, card, key[:])
	if err != nil {
		return err
	}
	if !row.parseCard(plain) {
		return errNoRecord
	}
	return nil
}

// load reads one session, without the ledger.
func (s *ServerStore) load(ctx context.Context, kind, name string, c *serverCookie, k *kept) error {
	key := itemKey(kind, name, c.id[:])
	items, err := s.get(ctx, key)
	if err != nil {
		return err
	}
	if items[0].Version == 0 {
		return errNoRecord
	}
	row, err := s.parse(c, key, items[0])
	if err != nil {
		return err
	}
	*k = kept{data: row.body, seen: row.seen, expires: row.expires, version: row.version, id: keptID(key), handle: &serverHandle{store: s, name: name, cookie: *c, row: row}}
	return nil
}

func (s *ServerStore) get(ctx context.Context, keys ...Key) ([]Item, error) {
	limited, cancel := call(ctx)
	defer cancel()
	items, err := s.backend.Get(limited, keys...)
	if err == nil && len(items) != len(keys) {
		err = fmt.Errorf("%d items for %d keys", len(items), len(keys))
	}
	if err != nil {
		return nil, backendError(ctx, err)
	}
	return items, nil
}

// put writes row under the version that it says, in place of from. errConflict: another write came first, or the session is gone.
func (s *ServerStore) put(ctx context.Context, kind, name string, c *serverCookie, row *serverRow, from uint64) error {
	key := itemKey(kind, name, c.id[:])
	if row.body != nil {
		var err error
		if row.sealed, err = s.bodies.Seal(row.body, key[:], c.secret[:]); err != nil {
			return err
		}
	}
	card := s.cards.Seal(nil, row.appendCard(nil), key[:])
	data := binary.BigEndian.AppendUint16(append(make([]byte, 0, rowHeader+len(card)+len(row.sealed)), rowForm), uint16(len(card)))
	data = append(append(data, card...), row.sealed...)
	if len(data) > maxEntry {
		return fmt.Errorf("%w: %q has %d bytes and a backend takes at most %d each", ErrTooLarge, name, len(data), maxEntry)
	}
	limited, cancel := call(ctx)
	defer cancel()
	err := s.backend.Put(limited, key, Item{Data: data, Version: row.version, Expires: row.until, Owner: row.owner}, from)
	if errors.Is(err, ErrConflict) {
		return errConflict
	}
	if err != nil {
		return backendError(ctx, err)
	}
	if from == 0 {
		s.sweep(ctx)
	}
	return nil
}

const (
	storeSweepEvery = time.Minute
	sweepBatch      = 500
	sweepTimeout    = 10 * time.Second
)

// sweep has a backend that keeps ended items drop them, once a minute at most: only what is made fills it, so only makers have it swept. Nobody waits for that.
func (s *ServerStore) sweep(ctx context.Context) {
	sweeper, ok := s.backend.(Sweeper)
	now, due := time.Now().UnixNano(), s.nextSweep.Load()
	if !ok || now < due || !s.nextSweep.CompareAndSwap(due, now+int64(storeSweepEvery)) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sweepTimeout)
	go func() { // ends with ctx
		defer cancel()
		contained(ctx, slog.Default(), func() {
			for n := sweepBatch; n == sweepBatch; {
				var err error
				if n, err = sweeper.Sweep(ctx, sweepBatch); err != nil {
					return // the next one comes in a minute
				}
			}
		})
	}()
}

func (s *ServerStore) delete(ctx context.Context, key Key) error { return s.deleteAt(ctx, key, 0) }

// deleteAt removes what is under key at version, if that is there.
func (s *ServerStore) deleteAt(ctx context.Context, key Key, version uint64) error {
	limited, cancel := call(ctx)
	defer cancel()
	if err := s.backend.Delete(limited, key, version); err != nil {
		return backendError(ctx, err)
	}
	return nil
}

// backendError is an outage of the backend, unless it is only that the one who asked has left.
func backendError(ctx context.Context, err error) error { return ledgerError(ctx, err) }
