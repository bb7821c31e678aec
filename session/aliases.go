package session

import "github.com/latchkey-go/latchkey/rp/store"

// What replicas share, and the keys that seal it, belong to package rp/store, which background jobs use without sessions. These are their names in this room.
type (
	// Backend is where replicas share sessions.
	Backend = store.Backend
	// Key names an item of a Backend.
	Key = store.Key
	// Item is what a Backend keeps under a key.
	Item = store.Item
	// Sweeper is implemented by backends whose ended items take room until they are removed.
	Sweeper = store.Sweeper
	// Keyring holds keys that change while the program runs.
	Keyring = store.Keyring
	// MemoryBackend is a Backend in this process, for tests and for developing what will run on a shared one: NewMemoryStore keeps sessions of a single process better.
	MemoryBackend = store.Memory
)

// ErrConflict is returned by Backend.Put: another write came first.
var ErrConflict = store.ErrConflict

// NewMemoryBackend is store.NewMemory.
func NewMemoryBackend(max int) *MemoryBackend { return store.NewMemory(max) }

// NewKeyring is store.NewKeyring.
func NewKeyring(keys ...[]byte) (*Keyring, error) { return store.NewKeyring(keys...) }

// KeyringFromFile is store.KeyringFromFile.
func KeyringFromFile(path string) (*Keyring, error) { return store.KeyringFromFile(path) }

// KeyringFromEnv is store.KeyringFromEnv.
func KeyringFromEnv(name string) (*Keyring, error) { return store.KeyringFromEnv(name) }
