package rp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-go/latchkey/internal/contain"
	"golang.org/x/oauth2"
)

const (
	// firstPause and lastPause bound the waits between tries while a provider or a store is out of reach.
	firstPause, lastPause = time.Second, time.Minute
	// longPause is the longest Retry-After that is honoured: a slip of the provider's pen must not stop a program for a day.
	longPause = 5 * time.Minute
	// recheck is how soon it is looked again whether somebody has connected what had to be connected anew.
	recheck = 30 * time.Second
	// leastAge keeps a server that refuses every token from having each request fetch one.
	leastAge = 10 * time.Second
)

// mint keeps one access token fresh in this process, whoever asks for it: ahead of its end in the background, once at a time, and not more often than failures allow.
type mint struct {
	current atomic.Pointer[minted]
	fetch   func(ctx context.Context, old *minted, f *minting) (*minted, error)
	log     *slog.Logger
	begin   func() (end func(), err error) // asked before each fetch; may be nil

	mu      sync.Mutex
	flight  *minting
	err     error // of the last fetch
	retryAt time.Time
	fails   int
	told    bool // somebody, that there are no tokens any more
}

// minted is an access token and what follows from it. It never changes but for refused.
type minted struct {
	token     oauth2.Token
	got       time.Time
	refreshAt time.Time // zero: never by itself
	until     time.Time // not handed out from then on; zero: no end
	refused   atomic.Bool
	stored    *storedTokens // where it comes from; nil: no store
}

// newMinted schedules the refresh of a token that came at got.
func newMinted(token *oauth2.Token, got time.Time) *minted {
	m := &minted{token: *token, got: got}
	if !token.Expiry.IsZero() {
		life := token.Expiry.Sub(got)
		m.until = token.Expiry.Add(-min(life/10, 5*time.Second))
		m.refreshAt = aheadOf(token.Expiry, life)
	}
	return m
}

// aheadOf is when to refresh what ends at expiry: after four fifths of its life, or five minutes before its end, with some jitter, so that tokens
// which came together do not go together.
func aheadOf(expiry time.Time, life time.Duration) time.Time {
	ahead := min(max(life, 0)/5, 5*time.Minute)
	return expiry.Add(-ahead - mathrand.N(max(ahead/2, 1)))
}

func (m *minted) usable(now time.Time) bool {
	return m != nil && m.token.AccessToken != "" && !m.refused.Load() && (m.until.IsZero() || now.Before(m.until))
}

func (m *minted) due(now time.Time) bool {
	return m.refused.Load() || !m.refreshAt.IsZero() && !now.Before(m.refreshAt)
}

// give is a copy: what a caller changes is the caller's.
func (m *minted) give() *oauth2.Token {
	token := m.token
	return &token
}

// minting is a fetch under way, which belongs to none of those who wait for it.
type minting struct {
	ready chan struct{} // closed when there is something to see
	once  sync.Once
	done  chan struct{} // closed at the end
	shown bool          // by publish; belongs to the mint's lock
}

func (f *minting) show() { f.once.Do(func() { close(f.ready) }) }

// get returns the token; it waits only when there is none that can be used.
func (m *mint) get(ctx context.Context) (*oauth2.Token, error) {
	now := time.Now()
	if cur := m.current.Load(); cur.usable(now) && !cur.due(now) {
		return cur.give(), nil
	}
	for {
		cur, f, err := m.join(ctx, now)
		switch {
		case cur.usable(now):
			return cur.give(), nil
		case f == nil:
			return nil, err
		}
		select {
		case <-f.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		now = time.Now()
		m.mu.Lock()
		cur, err = m.current.Load(), m.err
		m.mu.Unlock()
		switch {
		case cur.usable(now):
			return cur.give(), nil
		case err != nil:
			return nil, err
		}
		// What came has ended, or was refused, meanwhile.
	}
}

// join returns what there is, and the fetch under way: a new one if it is time for that. Neither: err says why.
func (m *mint) join(ctx context.Context, now time.Time) (cur *minted, f *minting, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	cur = m.current.Load()
	switch {
	case cur.usable(now) && !cur.due(now):
		return cur, nil, nil
	case m.flight != nil:
		select {
		case <-m.flight.ready: // it only waits for the store to take what came
			if !cur.usable(now) {
				return cur, nil, errUnsaved
			}
		default:
		}
		return cur, m.flight, nil
	case now.Before(m.retryAt):
		return cur, nil, m.err
	}
	end := func() {}
	if m.begin != nil {
		if end, err = m.begin(); err != nil {
			return cur, nil, err
		}
	}
	f = &minting{ready: make(chan struct{}), done: make(chan struct{})}
	m.flight = f
	ctx = context.WithoutCancel(ctx) // nobody's leaving cuts it short: see Client.Refresh
	go func() {                      // ends with fetch, which bounds itself
		defer end()
		got, err := m.contained(ctx, cur, f)
		m.land(f, got, err)
		close(f.done)
	}()
	return cur, f, nil
}

// contained is fetch, of which a panic in a transport or a store must not end the process.
func (m *mint) contained(ctx context.Context, cur *minted, f *minting) (got *minted, err error) {
	if !contain.Run(ctx, m.log, "rp: panic while a token was fetched", func() { got, err = m.fetch(ctx, cur, f) }) {
		return nil, errPanicked
	}
	return got, err
}

var (
	errPanicked  = errors.New("rp: a store or transport panicked while a token was fetched; the log has the stack")
	errStillborn = fmt.Errorf("rp: no access token came that can be used now: it has ended already (check the clocks), or the keys to check its ID token are out of reach: %w", ErrUnavailable)
	errUnsaved   = fmt.Errorf("rp: the store does not take the tokens that came, and the access token has ended: %w", ErrUnavailable)
)

// publish lets callers have got while the fetch goes on (to save it).
func (m *mint) publish(f *minting, got *minted) {
	m.mu.Lock()
	if m.flight == f {
		m.current.Store(got)
		m.err, m.fails, m.retryAt, f.shown = nil, 0, time.Time{}, true
	}
	m.mu.Unlock()
	f.show()
}

func (m *mint) land(f *minting, got *minted, err error) {
	m.mu.Lock()
	defer func() { m.mu.Unlock(); f.show() }()
	if m.flight != f {
		return // somebody has put other tokens in its place
	}
	m.flight = nil
	if err == nil && !f.shown && !got.usable(time.Now()) {
		err = errStillborn
	}
	if m.err = err; err == nil {
		m.current.Store(got)
		m.fails, m.retryAt, m.told = 0, time.Time{}, false
		return
	}
	if over(err) {
		m.current.Store(nil)
	}
	m.fails++
	m.retryAt = time.Now().Add(pauseAfter(err, m.fails))
}

// put replaces what there is, also for a fetch under way.
func (m *mint) put(got *minted) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.flight != nil {
		m.flight.show() // nobody needs to wait for what it brings
	}
	m.flight, m.err, m.fails, m.retryAt, m.told = nil, nil, 0, time.Time{}, false
	m.current.Store(got)
}

// invalidate makes a token that a server has refused due, unless it came a moment ago.
func (m *mint) invalidate(accessToken string) {
	if cur := m.current.Load(); cur != nil && cur.token.AccessToken == accessToken && time.Since(cur.got) >= leastAge {
		cur.refused.Store(true)
	}
}

// over reports whether err says that there are no tokens until somebody connects anew.
func over(err error) bool {
	return errors.Is(err, ErrReconnect)
}

// pauseAfter is how long after the fails-th failure in a row nobody asks again.
func pauseAfter(err error, fails int) time.Duration {
	if over(err) {
		return recheck
	}
	if e, ok := errors.AsType[*laterError](err); ok {
		return min(max(time.Until(e.at), leastPause), longPause) // their clock may not be ours
	}
	wait := min(firstPause<<min(fails-1, 10), lastPause)
	if after := retryAfter(err); after > 0 {
		return min(max(after, firstPause), longPause)
	}
	return wait/2 + mathrand.N(wait)
}

// laterError: nothing was sent, since it would have been too soon after a failure of another process's, or, with err, of another key's.
type laterError struct {
	at  time.Time
	err error
}

func (e *laterError) Error() string {
	at := e.at.Format(time.RFC3339)
	if e.err != nil {
		return "rp: the provider wants to be left alone, and is asked again at " + at + ": " + e.err.Error()
	}
	return "rp: another process has failed to refresh these tokens; the next try is at " + at
}

func (e *laterError) Unwrap() error { return e.err }

func (e *laterError) Is(target error) bool { return target == ErrUnavailable }

// fresh waits until the token is not due, or has failed to be renewed, and returns when to come back: a bit after it is due, so that of many processes one goes first and the others find what it
// brought. Zero: nobody knows of a reason to.
func (m *mint) fresh(ctx context.Context) (next time.Time, err error) {
	cur, f, err := m.join(ctx, time.Now())
	if f != nil {
		<-f.done // whatever becomes of ctx: what was begun is not given up, other processes wait for it
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if f != nil || err != nil && m.err != nil {
		cur, err = m.current.Load(), m.err
	}
	switch {
	case err != nil:
		return m.retryAt, err
	case cur == nil:
		return time.Now().Add(firstPause), errUnsaved // forgotten, or replaced, meanwhile: look again
	case cur.refreshAt.IsZero():
		return time.Time{}, nil
	}
	spare := max(cur.until.Sub(cur.refreshAt)/4, 1)
	return cur.refreshAt.Add(mathrand.N(min(spare, lastPause))), nil
}
