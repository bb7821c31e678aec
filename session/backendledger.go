package session

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-go/latchkey/rp/store"
)

// BackendLedger is a Ledger in a Backend, the same for every replica that shares it. A Manager whose Store is a ServerStore uses the one in that store's backend unless
// it is given another, and reads it in the same round trip as the session. It is safe for concurrent use; make one with NewBackendLedger.
type BackendLedger struct{ backend Backend }

// NewBackendLedger returns the ledger in backend.
func NewBackendLedger(backend Backend) *BackendLedger { return &BackendLedger{backend} }

// markOf is the part of a mark's key that a cookie carries; zero for no name.
func markOf(name string) (mark [markLength]byte) {
	if name != "" {
		sum := sha256.Sum256([]byte(name))
		copy(mark[:], sum[:])
	}
	return mark
}

func markKey(mark []byte) Key { return itemKey("mark", "", mark) }

// Revoke records at for key until until. Of two records for one key the later of each time counts.
func (l *BackendLedger) Revoke(ctx context.Context, key string, at, until time.Time) error {
	if ends(until) {
		return nil
	}
	mark := markOf(key)
	id := markKey(mark[:])
	for {
		items, err := l.backend.Get(ctx, id)
		if err != nil {
			return fmt.Errorf("session: ledger: %w", err)
		}
		now, end := markedAt(items[0]), items[0].Expires
		if !at.After(now) && !until.After(end) {
			return nil
		}
		data := binary.BigEndian.AppendUint64(nil, uint64(later(at, now).UnixNano()))
		err = l.backend.Put(ctx, id, Item{Data: data, Version: store.RandomVersion(), Expires: later(until, end)}, items[0].Version)
		if !errors.Is(err, ErrConflict) {
			if err != nil {
				err = fmt.Errorf("session: ledger: %w", err)
			}
			return err
		}
	}
}

// RevokedAt returns the latest time recorded for any of keys; zero: none.
func (l *BackendLedger) RevokedAt(ctx context.Context, keys ...string) (latest time.Time, err error) {
	ids := make([]Key, len(keys))
	for i, key := range keys {
		mark := markOf(key)
		ids[i] = markKey(mark[:])
	}
	items, err := l.backend.Get(ctx, ids...)
	if err != nil {
		return latest, fmt.Errorf("session: ledger: %w", err)
	}
	for _, item := range items {
		latest = later(latest, markedAt(item))
	}
	return latest, nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
