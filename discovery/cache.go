package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

const (
	firstBackoff = time.Second
	// maxBackoff is for a provider whose last answer still serves; maxProbe for one we can't do without: it should be seen
	// again within 5 s of its return.
	maxBackoff = time.Minute
	maxProbe   = 4 * time.Second
	// maxRetryAfter keeps a provider's slip of the pen from stopping a program for a day.
	maxRetryAfter = 5 * time.Minute
	// burst is how many fetches unknown keys may cause before the cool-down counts.
	burst = 2
	// maxWaiting bounds the callers that wait for one fetch because of an unknown key.
	maxWaiting = 10_000
)

// document is one thing the provider publishes, kept and renewed. At most one fetch runs at a time; it belongs to no caller,
// so none of them can cancel it for the others, and it ends by its own time-out.
type document[T any] struct {
	name  string
	where func() string // its URL, for errors of callers that went away
	fetch func(context.Context) (T, time.Duration, error)
	// succeed, where set, is told of a new document before it is published; old is nil for the first one.
	succeed func(old, new *snapshot[T])

	timeout, maxStale, cooldown time.Duration
	log                         *slog.Logger

	current atomic.Pointer[snapshot[T]] // the last good one
	started atomic.Uint64               // fetches begun so far; written under mu

	mu      sync.Mutex
	running *flight
	next    *flight   // waits for the end of the cool-down, or for running if due
	due     bool      // the cool-down of next is over
	paid    time.Time // up to when unknown keys have used their allowance
	waiting int       // callers waiting because of an unknown key

	failures int // since the last success
	failedAt time.Time
	pause    time.Duration // Retry-After of the last failure; zero: our own backoff
	jitter   float64       // 1 to 1.2: replicas that failed together shall not come back together
	lastErr  *UnavailableError
}

// snapshot is never changed once it is published.
type snapshot[T any] struct {
	value T
	seq   uint64 // the fetch that brought it
	// soft: renew in the background; expires: callers wait for the renewal; stale: not used any more.
	soft, expires, stale time.Time
}

type flight struct {
	seq  uint64
	done chan struct{}
	err  *UnavailableError // set before done is closed
}

// get returns the document: from memory while it is young, renewed when it is not, and the old one while the provider fails.
func (d *document[T]) get(ctx context.Context) (*snapshot[T], error) {
	now := time.Now()
	if s := d.current.Load(); s != nil && now.Before(s.soft) {
		return s, nil
	}
	d.mu.Lock()
	s := d.current.Load()
	if s != nil && now.Before(s.soft) {
		d.mu.Unlock()
		return s, nil
	}
	usable := s != nil && now.Before(s.stale)
	f := d.running
	if f == nil {
		if wait := d.backoff(now, usable); wait > 0 {
			defer d.mu.Unlock()
			if usable {
				return s, nil
			}
			return nil, d.lastErr.in(wait)
		}
		f = d.start(ctx, &flight{done: make(chan struct{})})
	}
	// After a first failure nobody waits for the next attempt: a provider that hangs must not hang us with it.
	wait := !usable || (!now.Before(s.expires) && d.failures == 0)
	d.mu.Unlock()
	if !wait {
		return s, nil
	}
	err := d.join(ctx, f)
	if s := d.current.Load(); s != nil && time.Now().Before(s.stale) {
		return s, nil
	}
	if err == nil {
		err = &UnavailableError{URL: d.where(), Err: errors.New("the answer came too late to be used")}
	}
	return nil, err
}

// newer is for a caller that did not find its key in seen and that came when since fetches had begun. It returns a newer document,
// and final when that was fetched after the caller had come, so that what it lacks does not exist.
func (d *document[T]) newer(ctx context.Context, seen *snapshot[T], since uint64) (s *snapshot[T], final bool, err error) {
	d.mu.Lock()
	if s := d.current.Load(); s.seq > seen.seq || s.seq > since {
		d.mu.Unlock()
		return s, s.seq > since, nil
	}
	f := d.running
	if f == nil {
		now := time.Now()
		if wait := d.backoff(now, false); wait > 0 {
			defer d.mu.Unlock()
			return nil, false, d.lastErr.in(wait)
		}
		f = d.next
		if f == nil {
			f = d.allow(ctx, now)
		}
	}
	if d.waiting >= maxWaiting {
		d.mu.Unlock()
		return nil, false, &UnavailableError{URL: d.where(), RetryAfter: d.cooldown, Err: errors.New("too many callers wait for unknown keys")}
	}
	d.waiting++
	d.mu.Unlock()
	if joined := d.join(ctx, f); joined != nil {
		err = joined
	}
	d.mu.Lock()
	d.waiting--
	d.mu.Unlock()
	if err != nil {
		return nil, false, err
	}
	s = d.current.Load()
	return s, s.seq > since, nil
}

// allow begins a fetch, or has one begin when the allowance says so: one timer for all who wait. It is not called off when they
// leave, because the next caller would have to wait anew: a key that is really new must show while a flood of false ones lasts.
func (d *document[T]) allow(ctx context.Context, now time.Time) *flight {
	f := &flight{done: make(chan struct{})}
	wait := d.paid.Add(-(burst - 1) * d.cooldown).Sub(now)
	if d.paid.Before(now) {
		d.paid = now
	}
	d.paid = d.paid.Add(d.cooldown)
	if wait <= 0 {
		return d.start(ctx, f)
	}
	d.next = f
	ctx = context.WithoutCancel(ctx)
	time.AfterFunc(wait, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.due = true
		d.startNext(ctx)
	})
	return f
}

// startNext begins the fetch that waited, unless another runs: then that one's end calls it again.
func (d *document[T]) startNext(ctx context.Context) {
	if !d.due || d.running != nil {
		return
	}
	f := d.next
	d.next, d.due = nil, false
	if wait := d.backoff(time.Now(), false); wait > 0 {
		f.err = d.lastErr.in(wait)
		close(f.done)
		return
	}
	d.start(ctx, f)
}

// start runs f. ctx gives its values, not its end.
func (d *document[T]) start(ctx context.Context, f *flight) *flight {
	f.seq = d.started.Add(1)
	d.running = f
	go d.run(context.WithoutCancel(ctx), f)
	return f
}

func (d *document[T]) run(ctx context.Context, f *flight) {
	limited, cancel := context.WithTimeout(ctx, d.timeout)
	value, lifetime, err := d.contained(limited)
	cancel()
	now := time.Now()
	d.mu.Lock()
	failed := d.failures
	if err == nil {
		d.keep(f.seq, value, lifetime, now)
	} else {
		f.err = d.fail(err, now)
	}
	d.running = nil
	d.startNext(ctx)
	d.mu.Unlock()
	close(f.done)
	switch {
	case err != nil:
		s := d.current.Load()
		d.log.LogAttrs(ctx, slog.LevelWarn, "discovery: provider unavailable", slog.String("document", d.name),
			slog.Bool("old_copy_in_use", s != nil && now.Before(s.stale)), slog.Any("error", f.err))
	case failed > 0:
		d.log.LogAttrs(ctx, slog.LevelInfo, "discovery: provider available again", slog.String("document", d.name), slog.Int("failures", failed))
	}
}

// contained is fetch whose panic, of a RoundTripper that is not ours, ends as net/http lets a handler's end: the fetch fails, the program goes on.
func (d *document[T]) contained(ctx context.Context) (value T, lifetime time.Duration, err error) {
	defer func() {
		if p := recover(); p != nil {
			// Its type alone: the value may hold anything.
			err = fmt.Errorf("the HTTP client panicked with a %T", p)
			d.log.LogAttrs(ctx, slog.LevelError, "discovery: panic in a fetch", slog.String("document", d.name), slog.String("type", fmt.Sprintf("%T", p)), slog.String("stack", string(debug.Stack())))
		}
	}()
	return d.fetch(ctx)
}

func (d *document[T]) keep(seq uint64, value T, lifetime time.Duration, now time.Time) {
	d.failures, d.pause, d.lastErr = 0, 0, nil
	s := &snapshot[T]{value: value, seq: seq, expires: now.Add(lifetime)}
	s.soft = now.Add(time.Duration(float64(lifetime) * (0.8 + 0.1*rand.Float64())))
	s.stale = s.expires.Add(d.maxStale)
	if d.succeed != nil {
		d.succeed(d.current.Load(), s)
	}
	d.current.Store(s)
}

func (d *document[T]) fail(err error, now time.Time) *UnavailableError {
	d.failures++
	d.failedAt = now
	d.jitter = 1 + 0.2*rand.Float64()
	e, ok := errors.AsType[*UnavailableError](err)
	if !ok {
		e = &UnavailableError{URL: d.where(), Err: err}
	}
	d.pause = 0
	if e.RetryAfter > 0 {
		d.pause = min(max(e.RetryAfter, firstBackoff), maxRetryAfter)
	}
	s := d.current.Load()
	d.lastErr = e.in(d.backoff(now, s != nil && now.Before(s.stale)))
	return d.lastErr
}

// backoff is how long no attempt may be made yet. spare: an older document still serves.
func (d *document[T]) backoff(now time.Time, spare bool) time.Duration {
	if d.failures == 0 {
		return 0
	}
	wait := d.pause
	if wait == 0 {
		most := maxProbe
		if spare {
			most = maxBackoff
		}
		wait = min(firstBackoff<<min(d.failures-1, 10), most)
		wait = time.Duration(float64(wait) * d.jitter)
	}
	return max(0, wait-now.Sub(d.failedAt))
}

// join waits for f or for the caller's end.
func (d *document[T]) join(ctx context.Context, f *flight) error {
	select {
	case <-f.done:
		if f.err != nil {
			return f.err
		}
		return nil
	case <-ctx.Done():
		return &UnavailableError{URL: d.where(), Err: context.Cause(ctx)}
	}
}

// in is e for a caller that may come again after wait.
func (e *UnavailableError) in(wait time.Duration) *UnavailableError {
	return &UnavailableError{URL: e.URL, RetryAfter: wait, Err: e.Err}
}
