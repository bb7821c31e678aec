package store

import (
	"context"
	"errors"
	"time"
)

// Backend is where processes share what they keep: a map with versions, ends and owners, and nothing that knows what a token or a session is. Everything in it is sealed or a
// hash before it gets there, so that whoever reads it learns no token and opens no session.
//
// Memory is one in this process, File one in a folder; the modules session/redisbackend and session/sqlbackend keep theirs in Redis and in SQL databases.
// session/sessiontest.RunBackend is the suite that each must pass. Implementations are safe for concurrent use, by many processes where the backend is shared. An item that has ended is as absent as one that never
// was, in every method and from the moment of its end. Every call ends when its context does. Errors but ErrConflict mean that nobody knows whether the call
// took place; the caller wraps them.
type Backend interface {
	// Get returns the items under keys, in their order, in one round trip; the zero Item where there is none. Each may be read at a moment of its own.
	Get(ctx context.Context, keys ...Key) ([]Item, error)
	// Put writes item under key, if what is there now has the version from; zero: if nothing is there. Else it changes nothing and returns ErrConflict.
	// item.Version may be any number but zero, from itself included. When Put returns nil every Get that begins later, by anybody, sees the item.
	Put(ctx context.Context, key Key, item Item, from uint64) error
	// Delete removes what is under key if it has the version, or whatever is there for version zero. What is not there is no error.
	Delete(ctx context.Context, key Key, version uint64) error
	// List returns the keys of the items of an owner, in no order; at most limit, none for zero or less. An item that a Put has just added is among them. So is, when an item is put
	// under a new key and then taken away under the old one while List runs, at least one of both: List looks at one moment, or looks again.
	List(ctx context.Context, owner Key, limit int) ([]Key, error)
}

// Key names an item: a hash.
type Key [32]byte

// Item is what a Backend keeps under a key.
type Item struct {
	Data    []byte    // at most 1 MiB; must not be changed once it was put or got
	Version uint64    // zero: there is no item
	Expires time.Time // its end, to the millisecond
	Owner   Key       // whose it is, for List; zero: nobody's
}

// ErrConflict is returned by Backend.Put: another write came first.
var ErrConflict = errors.New("store: the item was changed by another write")

// Sweeper is implemented by backends whose ended items take room until they are removed, such as tables. Sweep removes at most limit of them and returns how
// many those were; a ServerStore calls it once a minute while sessions are made.
type Sweeper interface {
	Sweep(ctx context.Context, limit int) (int, error)
}

func (i *Item) ended(now time.Time) bool { return !now.Before(i.Expires) }
