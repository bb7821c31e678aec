package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/gorilla/sessions"
)

// MemoryConfig configures NewMemoryStore. Its zero value is ready for use.
type MemoryConfig struct {
	// MaxSessions bounds how many sessions are kept; zero: 100,000.
	MaxSessions int
	// MaxBytes bounds the memory of all together, about 300 bytes of bookkeeping each included; zero: 256 MiB.
	MaxBytes int64
}

// MemoryStore keeps sessions in this process: they end with it, and no other replica sees them. The browser's cookie holds 32 random bytes;
// the store knows their SHA-256 only, and never takes up an id it didn't give out.
//
// It is bounded: when full, the session unused for longest (of those near the new one; about the oldest of all) makes room. Expired sessions are
// swept up while others are made, without a goroutine. Removing wins: a save that was under way when its session was removed is refused.
//
// It is a gorilla sessions.Store, too, with the value types of CookieStore. It is safe for concurrent use.
type MemoryStore struct {
	// Options are those of the gorilla sessions this store makes: see CookieStore.Options.
	Options *sessions.Options

	table *memoryTable
}

// NewMemoryStore returns an empty store. A negative bound, or one of less than 64 KiB, is an error.
func NewMemoryStore(cfg MemoryConfig) (*MemoryStore, error) {
	if cfg.MaxSessions == 0 {
		cfg.MaxSessions = 100_000
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 256 << 20
	}
	if cfg.MaxSessions < 0 {
		return nil, fmt.Errorf("session: MemoryConfig.MaxSessions is %d: use 0 for 100,000, or a positive number", cfg.MaxSessions)
	}
	if cfg.MaxBytes < 64<<10 {
		return nil, fmt.Errorf("session: MemoryConfig.MaxBytes is %d: use 0 for 256 MiB, or at least 65536", cfg.MaxBytes)
	}
	return &MemoryStore{Options: defaultOptions(), table: newMemoryTable(cfg.MaxSessions, cfg.MaxBytes)}, nil
}

const (
	secretLength = 32
	secretText   = 43 // in base64url
)

// newSecret returns what the cookie holds, and the key it is kept under.
func newSecret() (text string, key keptID) {
	var secret [secretLength]byte
	rand.Read(secret[:]) // never fails: crypto/rand ends the process instead
	return cookieEncoding.EncodeToString(secret[:]), sha256.Sum256(secret[:])
}

// secretKey returns the key of a cookie's value.
func secretKey(text string) (key keptID, ok bool) {
	if len(text) != secretText {
		return key, false
	}
	var from [secretText]byte
	var secret [secretLength + 1]byte
	copy(from[:], text)
	n, err := cookieEncoding.Decode(secret[:], from[:])
	if err != nil || n != secretLength {
		return key, false
	}
	return sha256.Sum256(secret[:secretLength]), true
}

// Get returns the request's session of this name, the same for every caller in one request.
func (s *MemoryStore) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

// New reads the session that r's cookie of this name points to; IsNew when there is none. The error is nil for every store NewMemoryStore made.
func (s *MemoryStore) New(r *http.Request, name string) (*sessions.Session, error) {
	fresh := newSession(s, name, s.Options)
	if s.table == nil {
		return fresh, errUnmade
	}
	text, _ := readCookie(r, name)
	key, ok := secretKey(text)
	if !ok {
		return fresh, nil
	}
	var k kept
	if err := s.table.load(memoryName{name, true}, key, &k); err != nil {
		return fresh, nil
	}
	if err := parseValues(k.data, fresh.Values); err != nil {
		clear(fresh.Values)
		return fresh, nil
	}
	fresh.ID, fresh.IsNew = text, false
	return fresh, nil
}

// Save keeps the session, under a fresh id when it has none, and sets its cookie; a negative Options.MaxAge removes both. An error: the session was
// removed since it was read (then it stays removed), doesn't fit (ErrTooLarge), or has values of types this store doesn't keep.
func (s *MemoryStore) Save(r *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	if s.table == nil {
		return errUnmade
	}
	options := optionsOf(session, s.Options)
	name := memoryName{session.Name(), true}
	key, known := secretKey(session.ID)
	if options.MaxAge < 0 {
		if known {
			s.table.remove(name, key)
		}
		writeCookie(w, deletionCookie(session.Name(), options))
		return nil
	}
	expires := valuesEnd(options)
	data, err := appendValues(nil, session.Values, expires)
	if err != nil {
		return err
	}
	if known {
		if err := s.table.overwrite(name, key, data, expires); errors.Is(err, errNoRecord) {
			return fmt.Errorf("session: %q was removed since it was read, or made room for others: make a new one", session.Name())
		} else if err != nil {
			return err
		}
		writeCookie(w, optionsCookie(session.Name(), session.ID, options))
		return nil
	}
	text, key := newSecret()
	if err := s.table.create(name, key, data, expires); err != nil {
		return err
	}
	session.ID = text
	writeCookie(w, optionsCookie(session.Name(), text, options))
	return nil
}

// Len returns the number of sessions kept, expired ones not yet swept up included.
func (s *MemoryStore) Len() int {
	if s.table == nil {
		return 0
	}
	return int(s.table.count.Load())
}

// String tells how many sessions there are.
func (s *MemoryStore) String() string {
	return fmt.Sprintf("session.MemoryStore(%d sessions)", s.Len())
}

// GoString is String.
func (s *MemoryStore) GoString() string { return s.String() }

// LogValue is String.
func (s *MemoryStore) LogValue() slog.Value { return slog.StringValue(s.String()) }

// memoryKeeper keeps records in a MemoryStore.
type memoryKeeper struct {
	cookieAttributes
	store *MemoryStore
}

func (m *memoryKeeper) load(r *http.Request, k *kept) error {
	text, ok := readCookie(r, m.name)
	if !ok {
		return errNoRecord
	}
	key, ok := secretKey(text)
	if !ok {
		return errNoRecord
	}
	return m.store.table.load(m.kind(), key, k)
}

func (m *memoryKeeper) create(w http.ResponseWriter, r *http.Request, data []byte, expires time.Time) error {
	text, key := newSecret()
	if err := m.store.table.create(m.kind(), key, slices.Clone(data), expires); err != nil {
		return err
	}
	for old := range m.carried(r) {
		m.drop(old)
	}
	m.set(w, m.name, text, expires)
	return nil
}

func (m *memoryKeeper) update(w http.ResponseWriter, r *http.Request, k *kept, data []byte, expires time.Time) error {
	if err := m.store.table.swap(m.kind(), k.id, k.version, slices.Clone(data), expires); err != nil {
		return err
	}
	if expires.Equal(k.expires) {
		return nil
	}
	// The record's end moved, so the cookie's has to. Only r has the secret; the store knows its hash alone.
	if text, ok := readCookie(r, m.name); ok {
		if key, ok := secretKey(text); ok && key == k.id {
			m.set(w, m.name, text, expires)
		}
	}
	return nil
}

func (m *memoryKeeper) touch(_ http.ResponseWriter, _ *http.Request, k *kept, t time.Time) error {
	m.store.table.touch(m.kind(), k.id, t)
	return nil
}

func (m *memoryKeeper) remove(w http.ResponseWriter, r *http.Request, k *kept) error {
	if k != nil {
		m.drop(k.id)
	}
	for key := range m.carried(r) {
		m.drop(key)
	}
	dropSetCookie(w, m.name)
	if hasCookie(r, m.name) {
		m.delete(w, m.name)
	}
	return nil
}

func (m *memoryKeeper) discard(_ context.Context, id keptID) error {
	m.drop(id)
	return nil
}

func (m *memoryKeeper) exclusive() bool { return true }

func (m *memoryKeeper) final() bool { return true }

func (m *memoryKeeper) kind() memoryName { return memoryName{m.name, false} }

// carried yields the keys of every cookie of our name: one of two with the same name isn't trusted, and both are ended.
func (m *memoryKeeper) carried(r *http.Request) iter.Seq[keptID] {
	return func(yield func(keptID) bool) {
		for name, value := range eachCookie(r) {
			if name != m.name {
				continue
			}
			if key, ok := secretKey(value); ok && !yield(key) {
				return
			}
		}
	}
}
