package session

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/gorilla/sessions"
)

// keeper is how the manager keeps one record for one browser. The stores of this package are keepers themselves, without the maps and
// copies of gorilla's port; every other sessions.Store is kept by gorillaKeeper. A keeper knows cookies and bytes, not what a record means.
type keeper interface {
	// load finds the record that r's cookies name. errNoRecord: there is none, or none that opens (a cookie that doesn't open is deleted by the next write);
	// it is ErrExpired too when the record was found past its end. Any other error is an outage of the store and wraps ErrStore.
	load(r *http.Request, k *kept) error
	// create keeps data under a fresh identifier until expires, whatever cookies r carries, and removes the record they name, if any.
	create(w http.ResponseWriter, r *http.Request, data []byte, expires time.Time) error
	// update replaces the record k was loaded from, if it is still there unchanged: errConflict when another write came between (where the store
	// can tell), errNoRecord when it is gone, errMoved when a rotation has taken it elsewhere; a removed record is never revived. k is not changed: load again before the next update.
	update(w http.ResponseWriter, r *http.Request, k *kept, data []byte, expires time.Time) error
	// touch notes that the session was used at t, without rewriting the record.
	touch(w http.ResponseWriter, r *http.Request, k *kept, t time.Time) error
	// remove forgets the record and deletes every cookie of ours that r carries for it (same attributes as when set). A nil k: whatever r's cookies name.
	remove(w http.ResponseWriter, r *http.Request, k *kept) error
	// exclusive reports whether the store lives in this process alone, so that one refresh in the process is one refresh.
	exclusive() bool
	// final reports whether a removed record is gone for every copy of its cookie.
	final() bool
}

// kept is a loaded record and where it came from.
type kept struct {
	data    []byte    // the record; must not be changed
	seen    time.Time // the last touch, zero: none noted
	expires time.Time // the end given when it was written
	version uint64    // of server-side stores
	handle  any       // the keeper's own
	id      keptID    // the keeper's own: stays the same while the record is updated
}

// keptID names a record inside its keeper. For MemoryStore it is the hash of the cookie's secret, for the others a random number kept with the record.
type keptID [32]byte

// String hides the record.
func (k kept) String() string { return fmt.Sprintf("session.kept(%d bytes)", len(k.data)) }

// GoString is String.
func (k kept) GoString() string { return k.String() }

// LogValue is String.
func (k kept) LogValue() slog.Value { return slog.StringValue(k.String()) }

// cookieAttributes are those every cookie of a manager shares.
type cookieAttributes struct {
	name     string // the full name, prefix included
	secure   bool
	sameSite http.SameSite
}

var (
	errNoRecord = errors.New("session: no record")
	errConflict = errors.New("session: the record was changed by another request")
	errUnmade   = errors.New("session: an empty store: make it with NewCookieStore, NewMemoryStore or NewServerStore")
	errEnded    = fmt.Errorf("%w: %w", errNoRecord, ErrExpired)
)

// newKeeper is the one place that knows which stores keep records themselves. The keys of ring, bound to owner, seal what is handed to a store that isn't ours.
func newKeeper(store sessions.Store, attributes cookieAttributes, ring *Keyring, owner string) (keeper, error) {
	switch s := store.(type) {
	case *CookieStore:
		if s == nil || s.values == nil {
			return nil, errUnmade
		}
		return newCookieKeeper(s, attributes), nil
	case *MemoryStore:
		if s == nil || s.table == nil {
			return nil, errUnmade
		}
		return &memoryKeeper{store: s, cookieAttributes: attributes}, nil
	case *ServerStore:
		if s == nil || s.backend == nil {
			return nil, errUnmade
		}
		return &serverKeeper{store: s, cookieAttributes: attributes}, nil
	case nil:
		return nil, errors.New("session: no store")
	default:
		return newGorillaKeeper(store, attributes, ring, owner)
	}
}
