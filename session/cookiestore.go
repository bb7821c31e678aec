package session

import (
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/gorilla/sessions"
)

// defaultMaxAge is how long values live in our stores when Options.MaxAge doesn't say.
const defaultMaxAge = 12 * time.Hour

// CookieStore keeps sessions in the browser: sealed (AES-256-GCM), in up to four cookies, about 11 KB in all. Many proxies refuse Cookie headers above 8 KB:
// with more than about 5 KB of tokens and claims use a server-side store.
//
// What a cookie can't promise: that a copied cookie stops working when its session ends here (Config.Ledger can), or that two requests don't both
// change it. So a Manager keeps no refresh token in it unless Config.SingleProcess is set.
//
// It is a gorilla sessions.Store, too, for values of the application: string keys with string, []byte, bool, int, int64 or float64 values. A cookie that
// doesn't open is a new session and no error. It is safe for concurrent use.
//
// Each key may seal 2^32 values; rotate well before: see Keyring.
type CookieStore struct {
	// Options are those of the gorilla sessions this store makes; a Manager sets its own. Nil, and from NewCookieStore: Path "/", 12 hours, Secure, HttpOnly and SameSite
	// Lax; clear Secure for development over plain http. Don't change it while requests are served. A session's MaxAge: seconds; negative deletes it; 0: until the browser closes, and 12 hours at most.
	Options *sessions.Options

	records, seen, values *sealer
}

// NewCookieStore returns a store that seals under the first of keys and opens under all. Keys are at least 32 random bytes each; see Keyring for keys that change while the program runs.
func NewCookieStore(keys ...[]byte) (*CookieStore, error) {
	ring, err := NewKeyring(keys...)
	if err != nil {
		return nil, err
	}
	return NewCookieStoreWithKeyring(ring)
}

// NewCookieStoreWithKeyring is NewCookieStore with keys that may change while the program runs. The error is that ring is empty.
func NewCookieStoreWithKeyring(ring *Keyring) (*CookieStore, error) { return newCookieStore(ring, "") }

func newCookieStore(ring *Keyring, owner string) (*CookieStore, error) {
	s := &CookieStore{Options: defaultOptions()}
	if err := sealers(ring, owner, map[string]**sealer{"session": &s.records, "seen": &s.seen, "values": &s.values}); err != nil {
		return nil, err
	}
	return s, nil
}

func defaultOptions() *sessions.Options {
	return &sessions.Options{
		Path: "/", MaxAge: int(defaultMaxAge / time.Second), Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

// Get returns the request's session of this name, the same for every caller in one request.
func (s *CookieStore) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

// New reads the session of this name from r's cookies; IsNew when there is none that opens. The error is nil for every store NewCookieStore made.
func (s *CookieStore) New(r *http.Request, name string) (*sessions.Session, error) {
	fresh := newSession(s, name, s.Options)
	if s.values == nil {
		return fresh, errUnmade
	}
	var p cookieParts
	p.scan(r, name)
	plain, err := newChunkedCookie(name, s.values).open(&p)
	if err != nil {
		return fresh, nil
	}
	if err := parseValues(plain, fresh.Values); err != nil {
		clear(fresh.Values)
		return fresh, nil
	}
	fresh.IsNew = false
	return fresh, nil
}

// newSession makes an empty session with a copy of options.
func newSession(store sessions.Store, name string, options *sessions.Options) *sessions.Session {
	fresh := sessions.NewSession(store, name)
	fresh.IsNew = true
	if options == nil {
		options = defaultOptions()
	}
	*fresh.Options = *options
	return fresh
}

// Save sets the session's cookies, or deletes them when its Options.MaxAge is negative. ErrTooLarge: it doesn't fit into four cookies; then nothing is written.
func (s *CookieStore) Save(r *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	if s.values == nil {
		return errUnmade
	}
	name, options := session.Name(), optionsOf(session, s.Options)
	c := newChunkedCookie(name, s.values)
	var p cookieParts
	p.scan(r, name)
	if options.MaxAge < 0 {
		c.drop(w, &p, func(part string) { writeCookie(w, optionsCookie(part, "", options)) })
		return nil
	}
	sc := scratchPool.Get().(*scratch)
	defer sc.release()
	plain, err := appendValues(sc.plain[:0], session.Values, valuesEnd(options))
	if err != nil {
		return err
	}
	sc.plain = plain
	return c.write(&p, sc, plain, attributesLength(options),
		func(part string, text []byte) { writeEncoded(w, optionsCookie(part, "", options), text) },
		func(part string) { writeCookie(w, deletionCookie(part, options)) })
}

// optionsOf are the session's own, the store's, or the safe ones: never none.
func optionsOf(session *sessions.Session, store *sessions.Options) *sessions.Options {
	if session.Options != nil {
		return session.Options
	}
	if store != nil {
		return store
	}
	return defaultOptions()
}

// valuesEnd is when values saved now must no longer open.
func valuesEnd(o *sessions.Options) time.Time {
	if o.MaxAge > 0 {
		return time.Now().Add(time.Duration(o.MaxAge) * time.Second)
	}
	return time.Now().Add(defaultMaxAge)
}

func optionsCookie(name, value string, o *sessions.Options) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: value, Path: o.Path, Domain: o.Domain, MaxAge: o.MaxAge,
		Secure: o.Secure, HttpOnly: o.HttpOnly, Partitioned: o.Partitioned, SameSite: o.SameSite,
	}
}

func deletionCookie(name string, o *sessions.Options) *http.Cookie {
	c := optionsCookie(name, "", o)
	c.MaxAge = -1
	return c
}

// attributesLength is what a Set-Cookie line of these options takes besides name and value.
func attributesLength(o *sessions.Options) int {
	return maxAttributes + len("; Domain=; Partitioned") + len(o.Domain) + len(o.Path)
}

// String tells the number of keys.
func (s *CookieStore) String() string {
	if s.records == nil {
		return "session.CookieStore(empty)"
	}
	return fmt.Sprintf("session.CookieStore(%d keys)", s.records.Len())
}

// GoString is String.
func (s *CookieStore) GoString() string { return s.String() }

// LogValue is String.
func (s *CookieStore) LogValue() slog.Value { return slog.StringValue(s.String()) }
