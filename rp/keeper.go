package rp

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/latchkey-go/latchkey/internal/contain"
)

const (
	defaultConcurrency = 16
	// keeperPause is how soon a key is looked at again whose tokens need no refresh that is known of.
	keeperPause = time.Hour
	// leastPause is how soon a key is looked at again that has failed, whatever a clock says.
	leastPause = 250 * time.Millisecond
)

// KeeperConfig configures NewKeeper. Every zero is a default.
type KeeperConfig struct {
	// Concurrency is how many refreshes may be under way at once with one Client; zero: 16. Each Client has its own, so that a provider that hangs holds up nobody else's tenants.
	Concurrency int
	// OnChange, if set, is called when a key's tokens begin to fail (err says how; ErrReconnect: for good), and when they are fine again (nil). It must return soon.
	OnChange func(key string, err error)
	// Logger gets what OnChange gets, never a token; nil: discarded.
	Logger *slog.Logger
}

// Keeper keeps the tokens of many keys fresh, tenants' mostly, whether somebody asks for them or not: a refresh token that is not used for weeks ends at many providers. Any number of processes may keep the same keys:
// a refresh is made by one of them.
//
// Refreshes are due ahead of each token's end, with jitter; of those that are due the longest waiting goes first, and one that fails comes back after a pause of its own. It is safe for concurrent use,
// and the zero Keeper is that of a zero KeeperConfig.
type Keeper struct {
	cfg  KeeperConfig
	log  *slog.Logger
	wake chan struct{} // 1 buffered: something has changed

	mu      sync.Mutex
	kept    map[mintKey]*keeping
	queue   keepings // waiting for their time
	due     map[*Client][]*keeping
	running map[*Client]int
	stats   KeeperStats
	on      bool
}

// keeping is one key. Its fields belong to the Keeper's lock.
type keeping struct {
	source  *TokenSource
	at      time.Time // when it is looked at next
	index   int       // in the queue; -1: not there
	busy    bool
	again   bool // added while it was busy
	removed bool
	err     error
	looked  bool
}

// KeeperStats says how a Keeper's keys are.
type KeeperStats struct {
	Keys      int // kept
	Fresh     int // with tokens that are fine
	Failing   int // whose refresh fails, and is tried again
	Reconnect int // to be connected anew
	Waiting   int // due, and waiting for their turn
	Running   int // being looked at
	Looks     uint64
	Failures  uint64
	// Late is how long the one that has waited longest for its turn is due: if it grows, Concurrency is too small, or a provider too slow.
	Late time.Duration
}

// NewKeeper returns a Keeper of no keys. It does nothing before Run.
func NewKeeper(cfg KeeperConfig) (*Keeper, error) {
	if cfg.Concurrency < 0 {
		return nil, fmt.Errorf("rp: KeeperConfig.Concurrency is %d; it must be positive, or zero for %d", cfg.Concurrency, defaultConcurrency)
	}
	k := &Keeper{cfg: cfg}
	k.fill()
	return k, nil
}

// fill makes what a zero Keeper lacks.
func (k *Keeper) fill() {
	if k.kept != nil {
		return
	}
	k.cfg.Concurrency = cmp.Or(k.cfg.Concurrency, defaultConcurrency)
	k.wake = make(chan struct{}, 1)
	k.kept, k.due, k.running = map[mintKey]*keeping{}, map[*Client][]*keeping{}, map[*Client]int{}
	if k.log = k.cfg.Logger; k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
}

// Add keeps the source's tokens fresh from now on; adding it again has it looked at at once, which is the thing to do after TokenSource.Save.
func (k *Keeper) Add(source *TokenSource) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fill()
	id := mintKey{source.client, source.key}
	one := k.kept[id]
	if one == nil {
		one = &keeping{source: source, index: -1}
		k.kept[id] = one
	}
	one.at = time.Now()
	switch {
	case one.index >= 0:
		heap.Fix(&k.queue, one.index)
	case one.busy:
		one.again = true
	default:
		heap.Push(&k.queue, one)
	}
	k.changed()
}

// Remove stops keeping the source's tokens; a refresh that is under way comes to its end.
func (k *Keeper) Remove(source *TokenSource) {
	k.mu.Lock()
	defer k.mu.Unlock()
	id := mintKey{source.client, source.key}
	one := k.kept[id]
	if one == nil {
		return
	}
	delete(k.kept, id)
	one.removed = true
	if one.index >= 0 {
		heap.Remove(&k.queue, one.index)
	}
}

// changed wakes Run. It is called with the lock held, as are all below that say no other.
func (k *Keeper) changed() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Run keeps the tokens fresh until ctx ends. Then it begins nothing more, waits for what is under way, and returns nil; TokenStore.Close is next. Refreshes bound themselves: that is a minute at most,
// unless the store is out of reach while there is something to save. One Run at a time.
func (k *Keeper) Run(ctx context.Context) error {
	k.mu.Lock()
	k.fill()
	if k.on {
		k.mu.Unlock()
		return errors.New("rp: this Keeper is running already")
	}
	k.on = true
	k.mu.Unlock()
	var looks sync.WaitGroup
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(k.dispatch(ctx, &looks))
		select {
		case <-ctx.Done():
		case <-k.wake:
		case <-timer.C:
		}
	}
	looks.Wait()
	k.mu.Lock()
	k.on = false
	k.mu.Unlock()
	return nil
}

// dispatch starts what is due and has room, and returns how long nothing more will be.
func (k *Keeper) dispatch(ctx context.Context, looks *sync.WaitGroup) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	for len(k.queue) > 0 && !k.queue[0].at.After(now) {
		one := heap.Pop(&k.queue).(*keeping)
		one.busy = true
		k.due[one.source.client] = append(k.due[one.source.client], one)
	}
	for client, waiting := range k.due {
		for len(waiting) > 0 && k.running[client] < k.cfg.Concurrency {
			one := waiting[0]
			waiting = waiting[1:]
			k.running[client]++
			looks.Go(func() { k.look(ctx, one) })
		}
		if len(waiting) == 0 {
			delete(k.due, client)
		} else {
			k.due[client] = waiting
		}
	}
	if len(k.queue) == 0 {
		return keeperPause
	}
	return max(time.Until(k.queue[0].at), time.Millisecond)
}

// look has one key's tokens refreshed if they are due. It is called without the lock.
func (k *Keeper) look(ctx context.Context, one *keeping) {
	var next time.Time
	var err error
	k.mu.Lock()
	skip := one.removed
	k.mu.Unlock()
	switch {
	case skip:
	case one.source.mint == nil:
		next, err = time.Now().Add(keeperPause), errNoSource
	default:
		next, err = one.source.mint.fresh(ctx)
		if soon := time.Now().Add(leastPause); err != nil && next.Before(soon) {
			next = soon // of a store that is closed, say
		}
	}
	k.mu.Lock()
	k.running[one.source.client]--
	if k.running[one.source.client] == 0 {
		delete(k.running, one.source.client)
	}
	one.busy = false
	defer k.mu.Unlock()
	k.changed()
	if skip {
		return
	}
	k.stats.Looks++
	if err != nil {
		k.stats.Failures++
	}
	before, first := one.err, !one.looked
	one.err, one.looked = err, true
	if !one.removed {
		switch {
		case one.again:
			next = time.Now()
		case next.IsZero():
			next = time.Now().Add(keeperPause)
		}
		one.at, one.again = next, false
		heap.Push(&k.queue, one)
	}
	if ctx.Err() != nil || (err == nil) == (before == nil) && over(err) == over(before) && !(first && err != nil) {
		return
	}
	k.mu.Unlock() // OnChange may call us
	defer k.mu.Lock()
	key := slog.String("key", one.source.key)
	if err == nil {
		k.log.LogAttrs(ctx, slog.LevelInfo, "rp: tokens are fine again", key)
	} else {
		k.log.LogAttrs(ctx, slog.LevelWarn, "rp: tokens are not kept fresh", key, slog.Any("error", err))
	}
	if k.cfg.OnChange != nil {
		contain.Run(ctx, k.log, "rp: panic in KeeperConfig.OnChange", func() { k.cfg.OnChange(one.source.key, err) })
	}
}

// Stats says how the keys are. It looks at each: not for every request.
func (k *Keeper) Stats() KeeperStats {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.stats
	s.Keys = len(k.kept)
	for _, one := range k.kept {
		switch {
		case over(one.err):
			s.Reconnect++
		case one.err != nil:
			s.Failing++
		case one.looked:
			s.Fresh++
		}
	}
	now := time.Now()
	for _, waiting := range k.due {
		s.Waiting += len(waiting)
		for _, one := range waiting {
			s.Late = max(s.Late, now.Sub(one.at))
		}
	}
	for _, n := range k.running {
		s.Running += n
	}
	return s
}

// keepings is a heap by time.
type keepings []*keeping

func (q keepings) Len() int           { return len(q) }
func (q keepings) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q keepings) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (q *keepings) Push(x any) {
	one := x.(*keeping)
	one.index = len(*q)
	*q = append(*q, one)
}

// Pop implements heap.Interface.
func (q *keepings) Pop() any {
	last := len(*q) - 1
	one := (*q)[last]
	(*q)[last] = nil
	*q, one.index = (*q)[:last], -1
	return one
}
