package rp

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-go/latchkey/internal/contain"
	"github.com/latchkey-go/latchkey/rp/store"
)

// TokenStoreConfig configures NewTokenStore. Printed, it shows no key.
type TokenStoreConfig struct {
	// Backend keeps the tokens: store.NewMemory for one process, store.NewFile for one machine, session/redisbackend or session/sqlbackend for many. It need not hold tokens alone.
	Backend store.Backend
	// Keyring seals them. Only a *store.Memory does without.
	Keyring *store.Keyring
	// OnReconnect, if set, is called once by each process that learns that a key's tokens are over: tell whoever connected it. It runs in a goroutine of its own.
	OnReconnect func(key string, err *ReconnectError)
	// Logger gets outages, tokens that are over and what two processes died on, never a token; nil: discarded.
	Logger *slog.Logger
}

// String tells the kind of backend.
func (c TokenStoreConfig) String() string {
	return fmt.Sprintf("rp.TokenStoreConfig{Backend: %T, Keyring: %v}", c.Backend, c.Keyring)
}

// Format prints String for every verb.
func (c TokenStoreConfig) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue is String.
func (c TokenStoreConfig) LogValue() slog.Value { return slog.StringValue(c.String()) }

// TokenStore keeps the tokens that jobs work with when nobody is at a browser, sealed, by a key of the application's choice (a tenant, a user, an account). Client.TokenSource
// reads and refreshes them there. All sources of one store share what is in memory, so a process makes one TokenStore of a backend.
//
// It is safe for concurrent use, by many processes where the backend is shared. Printed, it shows no token.
type TokenStore struct {
	cfg    *TokenStoreConfig
	seal   *store.Sealer
	log    *slog.Logger
	mu     sync.Mutex
	mints  map[mintKey]remembered
	tidyAt int // how many mints there may be before it is looked which are idle
	busy   sync.WaitGroup
	closed bool // then busy grows no more

	nextSweep                                       atomic.Int64 // nanoseconds since 1970
	refreshes, adopted, failures, over, again, held atomic.Uint64
}

// mintKey tells the tokens of one client under a key from those of another, which are refused.
type mintKey struct {
	client *Client
	key    string
}

// NewTokenStore checks cfg and does no I/O.
func NewTokenStore(cfg TokenStoreConfig) (*TokenStore, error) {
	if cfg.Backend == nil {
		return nil, errors.New("rp: TokenStoreConfig.Backend is missing; store.NewMemory is one for a single process")
	}
	if cfg.Keyring == nil {
		if _, ok := cfg.Backend.(*store.Memory); !ok {
			return nil, errors.New("rp: TokenStoreConfig.Keyring is missing: tokens are kept sealed; see store.KeyringFromFile")
		}
		key := make([]byte, 32)
		rand.Read(key) // never fails
		ring, err := store.NewKeyring(key)
		if err != nil {
			return nil, fmt.Errorf("rp: %w", err)
		}
		cfg.Keyring = ring
	}
	seal, err := cfg.Keyring.Sealer("", "tokens")
	if err != nil {
		return nil, fmt.Errorf("rp: TokenStoreConfig.Keyring: %w", err)
	}
	s := &TokenStore{cfg: &cfg, seal: seal, log: cfg.Logger, mints: map[mintKey]remembered{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s, nil
}

// Errors of tokens that are kept, for errors.Is.
var (
	// ErrReconnect: there are no tokens that could be refreshed, and there will be none until somebody logs in, or consents, anew and TokenSource.Save keeps
	// what came. Every *ReconnectError is one.
	ErrReconnect = errors.New("rp: whoever these tokens are of must connect again")
	// ErrTokenStore: the store could not be read; the tokens may well be there. Try again later. It is ErrUnavailable too.
	ErrTokenStore = fmt.Errorf("rp: the token store is out of reach (%w)", ErrUnavailable)
)

// ReconnectError is ErrReconnect for one key.
type ReconnectError struct {
	Key string
	// Reason is "unknown_key" (nothing was ever saved, or it was forgotten), "invalid_grant" (the provider has ended it), "no_refresh_token", "refresh_token_expired",
	// "invalid_token" (the refreshed ID token was refused) or "refresh_outcome_unknown" (a process died between sending the refresh token and saving what came, and the provider does not take the token again).
	Reason string
	Err    error // of the provider, where this process has heard it
}

func (e *ReconnectError) Error() string {
	text := fmt.Sprintf("%v: %q: %s", ErrReconnect, printable(e.Key, 128), e.Reason)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Is makes errors.Is(err, ErrReconnect) true.
func (e *ReconnectError) Is(target error) bool { return target == ErrReconnect }

// Unwrap returns Err.
func (e *ReconnectError) Unwrap() error { return e.Err }

// storedTokens is what is kept under a key, as JSON: an older process ignores what a newer one adds. Times are milliseconds since 1970, zero for none.
type storedTokens struct {
	Key           string   `json:"key"`
	Issuer        string   `json:"iss"`
	ClientID      string   `json:"client_id"`
	AccessToken   string   `json:"access_token,omitempty"`
	TokenType     string   `json:"token_type,omitempty"`
	RefreshToken  string   `json:"refresh_token,omitempty"`
	IDToken       string   `json:"id_token,omitempty"` // the newest: the next must agree with it
	Scope         []string `json:"scope,omitempty"`
	Got           int64    `json:"got"` // when the access token came
	Expiry        int64    `json:"expiry,omitempty"`
	RefreshAt     int64    `json:"refresh_at,omitempty"`
	RefreshExpiry int64    `json:"refresh_expiry,omitempty"`
	Over          string   `json:"over,omitempty"`     // why there is nothing to refresh
	Unjudged      int      `json:"unjudged,omitempty"` // refreshes in a row whose ID token could not be judged

	version uint64    // of the item
	expires time.Time // of the item
}

// String names whose they are.
func (t storedTokens) String() string { return fmt.Sprintf("rp.storedTokens{Key: %q}", t.Key) }

// Format prints String for every verb.
func (t storedTokens) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

const (
	// storeTimeout bounds one call to the backend.
	storeTimeout = 5 * time.Second
	// keepFor is how long tokens are kept whose refresh token has no end that is known: from each refresh on.
	keepFor = 10 * 365 * 24 * time.Hour
	// keepEnded is how long those are kept that have ended, so that the reason can be told.
	keepEnded = 30 * 24 * time.Hour
	sweepWait = time.Minute
)

// itemKey names an item of a key: "tokens", and what their lease needs.
func itemKey(kind, key string) store.Key {
	return sha256.Sum256([]byte("latchkey v1 " + kind + " " + key))
}

// allTokens owns every item with tokens, for Keys.
var allTokens = store.Key(sha256.Sum256([]byte("latchkey v1 all tokens")))

// load reads what is under key; nil: nothing.
func (s *TokenStore) load(ctx context.Context, key string) (*storedTokens, error) {
	limited, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	name := itemKey("tokens", key)
	items, err := s.cfg.Backend.Get(limited, name)
	if err != nil {
		return nil, storeError(ctx, err)
	}
	if items[0].Version == 0 {
		return nil, nil
	}
	return s.open(name, items[0])
}

func (s *TokenStore) open(name store.Key, item store.Item) (*storedTokens, error) {
	plain, err := s.seal.Open(nil, item.Data, name[:])
	if err != nil {
		return nil, fmt.Errorf("%w: stored tokens do not open; give every process the same Keyring, and drop an old key last: %w", ErrTokenStore, err)
	}
	t := &storedTokens{}
	if err := json.Unmarshal(plain, t); err != nil {
		return nil, fmt.Errorf("%w: stored tokens can't be read", ErrTokenStore)
	}
	t.version, t.expires = item.Version, item.Expires
	return t, nil
}

// save writes t in place of version from; zero: of nothing. store.ErrConflict: somebody was faster.
func (s *TokenStore) save(ctx context.Context, t *storedTokens, from uint64) error {
	plain, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("rp: %w", err)
	}
	name := itemKey("tokens", t.Key)
	t.expires = time.Now().Add(keepFor)
	switch {
	case t.Over != "":
		t.expires = time.Now().Add(keepEnded)
	case t.RefreshExpiry != 0:
		t.expires = fromMillis(max(t.RefreshExpiry, t.Expiry)).Add(keepEnded)
	}
	limited, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	item := store.Item{Data: s.seal.Seal(nil, plain, name[:]), Version: t.version, Expires: t.expires, Owner: allTokens}
	if err := s.cfg.Backend.Put(limited, name, item, from); errors.Is(err, store.ErrConflict) {
		return store.ErrConflict
	} else if err != nil {
		return storeError(ctx, err)
	}
	s.sweep()
	return nil
}

// storeError is an outage of the backend, unless it is only that the one who asked has left.
func storeError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", ErrTokenStore, err)
}

// sweep has ended items removed, where the backend does not do that by itself.
func (s *TokenStore) sweep() {
	sweeper, ok := s.cfg.Backend.(store.Sweeper)
	now, next := time.Now(), s.nextSweep.Load()
	if !ok || now.UnixNano() < next || !s.nextSweep.CompareAndSwap(next, now.Add(sweepWait).UnixNano()) {
		return
	}
	s.background(func() {
		ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
		defer cancel()
		_, _ = sweeper.Sweep(ctx, 1000)
	})
}

// Keys returns the keys there are tokens for, over ones included, in no order; at most limit. It reads and opens each: not for every request.
func (s *TokenStore) Keys(ctx context.Context, limit int) ([]string, error) {
	if s.cfg == nil {
		return nil, errors.New("rp: an empty TokenStore: make it with NewTokenStore")
	}
	limited, cancel := context.WithTimeout(ctx, storeTimeout)
	names, err := s.cfg.Backend.List(limited, allTokens, limit)
	cancel()
	if err != nil {
		return nil, storeError(ctx, err)
	}
	keys := make([]string, 0, len(names))
	for len(names) > 0 {
		batch := names[:min(len(names), 100)]
		names = names[len(batch):]
		limited, cancel := context.WithTimeout(ctx, storeTimeout)
		items, err := s.cfg.Backend.Get(limited, batch...)
		cancel()
		if err != nil {
			return nil, storeError(ctx, err)
		}
		for i, item := range items {
			if item.Version == 0 {
				continue
			}
			t, err := s.open(batch[i], item)
			if err != nil {
				s.log.LogAttrs(ctx, slog.LevelError, "rp: tokens in the store do not open", slog.Any("error", err))
				continue
			}
			keys = append(keys, t.Key)
		}
	}
	return keys, nil
}

// TokenStoreStats counts what happened in this process.
type TokenStoreStats struct {
	Refreshes uint64 // tokens that this process refreshed
	Adopted   uint64 // that another process had refreshed
	Failures  uint64 // to be tried again
	Over      uint64 // keys found to need a new connection
	SentAgain uint64 // refresh tokens sent once more because a process had died on them
	Unsaved   uint64 // tokens that wait in memory for the store: anything but zero is an alarm
}

// Stats returns the counts.
func (s *TokenStore) Stats() TokenStoreStats {
	return TokenStoreStats{
		Refreshes: s.refreshes.Load(), Adopted: s.adopted.Load(), Failures: s.failures.Load(),
		Over: s.over.Load(), SentAgain: s.again.Load(), Unsaved: s.held.Load(),
	}
}

// begin counts what Close waits for.
func (s *TokenStore) begin() (end func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	s.busy.Add(1)
	return s.busy.Done, nil
}

// background runs f, if the store is not closed. A panic in foreign code must not end the process.
func (s *TokenStore) background(f func()) {
	end, err := s.begin()
	if err != nil {
		return
	}
	go func() { // ends with f
		defer end()
		contain.Run(context.Background(), s.log, "rp: panic in a store, or in OnReconnect", f)
	}()
}

// Close waits for refreshes under way and for tokens the store has yet to take, until ctx ends; then its error is how many of these are lost with the process. After Close no refresh
// begins: sources serve what they have.
func (s *TokenStore) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.busy.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		if n := s.held.Load(); n > 0 {
			return fmt.Errorf("rp: %d refreshed tokens are not saved: %w", n, ctx.Err())
		}
		return fmt.Errorf("rp: refreshes are still under way: %w", ctx.Err())
	}
}

// String tells the kind of backend.
func (s *TokenStore) String() string {
	if s == nil || s.cfg == nil {
		return "rp.TokenStore(empty: make it with NewTokenStore)"
	}
	return fmt.Sprintf("rp.TokenStore(%T)", s.cfg.Backend)
}

// Format prints String for every verb.
func (s *TokenStore) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue is String.
func (s *TokenStore) LogValue() slog.Value { return slog.StringValue(s.String()) }
