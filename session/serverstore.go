package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gorilla/sessions"

	"github.com/latchkey-go/latchkey/rp/store"
)

// ServerStore keeps sessions in a Backend that many replicas share. The browser's cookie holds an identifier and a secret. The backend gets the identifier's hash and the
// session sealed under a key that needs both the secret and one of the store's keys: who reads the backend opens no session, and neither does who reads the keys.
//
// With it a refresh token is spent once by all replicas together, logouts count everywhere from the next request on, and the sessions of a user can be listed.
// It is a gorilla sessions.Store, too, with the value types of CookieStore. It is safe for concurrent use.
type ServerStore struct {
	// Options are those of the gorilla sessions this store makes: see CookieStore.Options.
	Options *sessions.Options

	backend Backend
	cards   *sealer // of what may be listed
	bodies  *store.SecretSealer

	nextSweep atomic.Int64 // nanoseconds since 1970
}

// NewServerStore returns a store over backend. keys are as those of NewCookieStore: at least 32 random bytes each, the same on every replica. No I/O.
func NewServerStore(backend Backend, keys ...[]byte) (*ServerStore, error) {
	ring, err := NewKeyring(keys...)
	if err != nil {
		return nil, err
	}
	return NewServerStoreWithKeyring(backend, ring)
}

// NewServerStoreWithKeyring is NewServerStore with keys that may change while the program runs.
func NewServerStoreWithKeyring(backend Backend, ring *Keyring) (*ServerStore, error) {
	if backend == nil {
		return nil, errors.New("session: NewServerStore needs a Backend")
	}
	s := &ServerStore{Options: defaultOptions(), backend: backend}
	if err := sealers(ring, "", map[string]**sealer{"server card": &s.cards}); err != nil {
		return nil, err
	}
	bodies, err := ring.SecretSealer("server body")
	if err != nil {
		return nil, err
	}
	s.bodies = bodies
	return s, nil
}

// serverCookie is what the browser holds. The marks say where the ledger would have a revocation of the session's user and of the provider's session, so that
// one round trip brings both: they are compared with the opened record, so changing them gains nothing.
type serverCookie struct {
	id     [16]byte
	secret [32]byte
	marks  [2][markLength]byte
}

const (
	markLength       = 16
	serverCookieForm = 1
	serverCookieSize = 1 + 16 + 32 + 2*markLength
)

func newServerCookie() (c serverCookie) {
	rand.Read(c.id[:]) // never fails: crypto/rand ends the process instead
	rand.Read(c.secret[:])
	return c
}

func (c *serverCookie) text() string {
	b := append(make([]byte, 0, serverCookieSize), serverCookieForm)
	b = append(b, c.id[:]...)
	b = append(b, c.secret[:]...)
	b = append(b, c.marks[0][:]...)
	b = append(b, c.marks[1][:]...)
	return cookieEncoding.EncodeToString(b)
}

func parseServerCookie(text string) (c serverCookie, ok bool) {
	var from [(serverCookieSize*8 + 5) / 6]byte
	var b [serverCookieSize + 2]byte
	if len(text) != len(from) {
		return c, false
	}
	copy(from[:], text)
	n, err := cookieEncoding.Decode(b[:], from[:])
	if err != nil || n != serverCookieSize || b[0] != serverCookieForm {
		return c, false
	}
	at := 1
	for _, part := range [][]byte{c.id[:], c.secret[:], c.marks[0][:], c.marks[1][:]} {
		at += copy(part, b[at:])
	}
	return c, true
}

// itemKey names what is kept for an identifier: cookies of different names, and different things of one session, are kept apart.
func itemKey(kind, name string, id []byte) Key {
	var buf [160]byte // keeps the usual one off the heap
	b := append(buf[:0], "latchkey v1 "...)
	b = append(b, kind...)
	b = append(b, ' ')
	b = append(b, name...)
	b = append(b, ' ')
	return sha256.Sum256(append(b, id...))
}

// call bounds a call to the backend that has no shorter deadline: a backend that hangs must not hang every request with it.
func call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, backendTimeout)
}

const backendTimeout = 5 * time.Second

// Get returns the request's session of this name, the same for every caller in one request.
func (s *ServerStore) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

// New reads the session that r's cookie of this name points to; IsNew when there is none. The error is ErrStore when the backend can't be reached.
func (s *ServerStore) New(r *http.Request, name string) (*sessions.Session, error) {
	fresh := newSession(s, name, s.Options)
	if s.backend == nil {
		return fresh, errUnmade
	}
	text, _ := readCookie(r, name)
	c, ok := parseServerCookie(text)
	if !ok {
		return fresh, nil
	}
	var k kept
	switch err := s.load(r.Context(), "values", name, &c, &k); {
	case errors.Is(err, errNoRecord):
		return fresh, nil
	case err != nil:
		return fresh, err
	}
	if err := parseValues(k.data, fresh.Values); err != nil {
		clear(fresh.Values)
		return fresh, nil
	}
	fresh.ID, fresh.IsNew = text, false
	return fresh, nil
}

// Save keeps the session, under a fresh id when it has none, and sets its cookie; a negative Options.MaxAge removes both. Of two saves of one session the later one
// counts. An error: the session was removed since it was read (then it stays removed), has values of types this store doesn't keep, or the backend can't be reached.
func (s *ServerStore) Save(r *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	if s.backend == nil {
		return errUnmade
	}
	options, name := optionsOf(session, s.Options), session.Name()
	c, known := parseServerCookie(session.ID)
	if options.MaxAge < 0 {
		if known {
			if err := s.delete(r.Context(), itemKey("values", name, c.id[:])); err != nil {
				return err
			}
		}
		writeCookie(w, deletionCookie(name, options))
		return nil
	}
	expires := valuesEnd(options)
	data, err := appendValues(nil, session.Values, expires)
	if err != nil {
		return err
	}
	if !known {
		c = newServerCookie()
		if err := s.put(r.Context(), "values", name, &c, &serverRow{body: data, expires: expires, until: expires, version: 1}, 0); err != nil {
			return err
		}
		session.ID = c.text()
	} else if err := s.overwrite(r.Context(), name, &c, data, expires); err != nil {
		return err
	}
	writeCookie(w, optionsCookie(name, session.ID, options))
	return nil
}

// overwrite replaces what is still there: gorilla's sessions have no version, the last save wins.
func (s *ServerStore) overwrite(ctx context.Context, name string, c *serverCookie, data []byte, expires time.Time) error {
	for {
		var k kept
		switch err := s.load(ctx, "values", name, c, &k); {
		case errors.Is(err, errNoRecord):
			return fmt.Errorf("session: %q was removed since it was read: make a new one", name)
		case err != nil:
			return err
		}
		row := &serverRow{body: data, expires: expires, until: expires, version: k.version + 1}
		if err := s.put(ctx, "values", name, c, row, k.version); !errors.Is(err, errConflict) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%w: %w", ErrStore, err)
		}
	}
}

// String names the backend's type.
func (s *ServerStore) String() string { return fmt.Sprintf("session.ServerStore(%T)", s.backend) }

// GoString is String.
func (s *ServerStore) GoString() string { return s.String() }

// LogValue is String.
func (s *ServerStore) LogValue() slog.Value { return slog.StringValue(s.String()) }
