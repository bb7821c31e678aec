package bearer

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"
)

const (
	maxCalls   = 64               // at once
	maxFlights = maxCalls + 1024  // the others wait for their turn
	maxQueued  = 10 * time.Second // and no longer than this
	maxSettled = 4096
	// settling is how long a good answer waits for requests that missed the cache just before it got there.
	settling = time.Second
)

// sum is the SHA-256 of a token.
type sum = [sha256.Size]byte

// asking is one question about a token. It must end by itself.
type asking func(ctx context.Context) verdict

// verdict is what became of a question.
type verdict struct {
	token *Token
	until time.Time // of the token
	err   error
}

// flights makes requests with the same token share one call, which is no caller's own: it goes on when the one that began it leaves. It
// remembers refusals, apart from the cache of good tokens so that garbage can't push those out.
type flights struct {
	linger, negative time.Duration
	slots            chan struct{}

	mu      sync.Mutex
	flying  map[sum]*flight
	settled map[sum]settled
}

type flight struct {
	done    chan struct{}
	verdict verdict

	// guarded by flights.mu
	waiting int
	begun   bool
	abandon context.CancelFunc // before it has begun
}

type settled struct {
	verdict verdict
	until   time.Time
}

func newFlights(linger, negative time.Duration) *flights {
	return &flights{
		linger: linger, negative: negative, slots: make(chan struct{}, maxCalls),
		flying: map[sum]*flight{}, settled: map[sum]settled{},
	}
}

// do returns ask's verdict on the token of key, or the one that another caller waits for or got just now. ok is false when ctx ends before.
func (f *flights) do(ctx context.Context, key *sum, ask asking) (v verdict, ok bool) {
	f.mu.Lock()
	if known, found := f.settled[*key]; found {
		if time.Now().Before(known.until) {
			f.mu.Unlock()
			return known.verdict, true
		}
		delete(f.settled, *key)
	}
	fl := f.flying[*key]
	if fl == nil {
		if len(f.flying) >= maxFlights {
			f.mu.Unlock()
			return verdict{err: ErrBusy}, true
		}
		fl = &flight{done: make(chan struct{})}
		detached := context.WithoutCancel(ctx)
		queued, cancel := context.WithTimeout(detached, maxQueued)
		fl.abandon = cancel
		f.flying[*key] = fl
		go f.fly(detached, queued, *key, fl, ask)
	}
	fl.waiting++
	f.mu.Unlock()
	select {
	case <-fl.done:
		return fl.verdict, true
	case <-ctx.Done():
		f.leave(key, fl)
		return verdict{}, false
	}
}

// leave takes a flight out of the queue that nobody waits for any more. One that has begun goes on: its answer will be asked for again.
func (f *flights) leave(key *sum, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl.waiting--; fl.waiting == 0 && !fl.begun && f.flying[*key] == fl {
		delete(f.flying, *key)
		fl.abandon()
	}
}

// fly lives as long as its turn and its call take, both of which are bounded.
func (f *flights) fly(ctx, queued context.Context, key sum, fl *flight, ask asking) {
	defer fl.abandon()
	v := verdict{err: ErrBusy}
	select {
	case f.slots <- struct{}{}:
		if f.begin(&key, fl) {
			v = ask(ctx)
		}
		<-f.slots
	case <-queued.Done():
	}
	f.land(&key, fl, v)
}

// begin reports whether anybody waits still.
func (f *flights) begin(key *sum, fl *flight) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl.begun = f.flying[*key] == fl
	return fl.begun
}

func (f *flights) land(key *sum, fl *flight, v verdict) {
	f.mu.Lock()
	if f.flying[*key] == fl {
		delete(f.flying, *key)
		f.settle(key, v)
	}
	fl.verdict = v
	close(fl.done)
	f.mu.Unlock()
}

// settle keeps a refusal, and a good token for a moment. An outage or a queue that was too long is no verdict on the token.
func (f *flights) settle(key *sum, v verdict) {
	now := time.Now()
	until := now.Add(f.negative)
	if v.err == nil {
		if until = now.Add(f.linger); v.until.Before(until) {
			until = v.until
		}
	} else if _, refused := v.err.(*TokenError); !refused {
		return
	}
	if !now.Before(until) {
		return
	}
	if len(f.settled) >= maxSettled {
		for some := range f.settled { // any: what is asked for again comes back
			delete(f.settled, some)
			break
		}
	}
	f.settled[*key] = settled{v, until}
}
