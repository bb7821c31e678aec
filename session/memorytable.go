package session

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxShards     = 64
	shardSize     = 1024 // sessions for which another shard pays
	entryOverhead = 300  // bytes of bookkeeping: the entry, its place in the map
	maxEntry      = 1 << 20
	sweepEvery    = time.Minute
)

// memoryTable is a bounded map of records in shards, each with its own lock and its own order of use.
type memoryTable struct {
	shards     []memoryShard
	maxCount   int64
	maxBytes   int64
	count      atomic.Int64
	bytes      atomic.Int64
	moves      memoryMoves
	lastResort atomic.Uint32 // the next shard to evict from when the own one has nothing to give
}

type memoryShard struct {
	mu        sync.Mutex
	entries   map[keptID]*memoryEntry
	head      memoryEntry // of a ring: head.next was used last, head.prev longest ago
	nextSweep time.Time
	_         [40]byte // shards on cache lines of their own
}

// memoryName keeps cookies of different names, and records and gorilla values of one name, from being taken for each other.
type memoryName struct {
	cookie string
	values bool
}

type memoryEntry struct {
	key        keptID
	name       memoryName
	data       []byte // replaced, never changed: load hands it out
	expires    time.Time
	seen       time.Time
	version    uint64
	next, prev *memoryEntry
}

func newMemoryTable(maxCount int, maxBytes int64) *memoryTable {
	n := 1
	for n < maxShards && maxCount/n > shardSize {
		n *= 2
	}
	t := &memoryTable{shards: make([]memoryShard, n), maxCount: int64(maxCount), maxBytes: maxBytes}
	for i := range t.shards {
		s := &t.shards[i]
		s.entries = make(map[keptID]*memoryEntry)
		s.head.next, s.head.prev = &s.head, &s.head
	}
	return t
}

// shard is chosen by a hash nobody can steer.
func (t *memoryTable) shard(key keptID) *memoryShard {
	return &t.shards[int(key[0])&(len(t.shards)-1)]
}

// find returns the live entry, locked by the caller. An expired one is dropped.
func (t *memoryTable) find(s *memoryShard, name memoryName, key keptID) (*memoryEntry, error) {
	e := s.entries[key]
	if e == nil || e.name != name {
		return nil, errNoRecord
	}
	if ends(e.expires) {
		t.drop(s, e)
		return nil, errEnded
	}
	return e, nil
}

func (t *memoryTable) load(name memoryName, key keptID, k *kept) error {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := t.find(s, name, key)
	if err != nil {
		return err
	}
	s.use(e)
	*k = kept{data: e.data, seen: e.seen, expires: e.expires, version: e.version, id: key}
	return nil
}

// create keeps data, which must not be changed any more, and makes room for it.
func (t *memoryTable) create(name memoryName, key keptID, data []byte, expires time.Time) error {
	if err := t.fits(name, data); err != nil {
		return err
	}
	e := &memoryEntry{key: key, name: name, data: data, expires: expires, version: 1}
	s := t.shard(key)
	s.mu.Lock()
	t.sweep(s)
	s.entries[key] = e
	s.link(e)
	t.count.Add(1)
	t.bytes.Add(e.size())
	t.evict(s, e)
	s.mu.Unlock()
	t.evictElsewhere(s)
	return nil
}

func (t *memoryTable) fits(name memoryName, data []byte) error {
	bound := min(maxEntry, t.maxBytes-entryOverhead)
	if int64(len(data)) > bound {
		return fmt.Errorf("%w: %q has %d bytes and this MemoryStore takes at most %d each", ErrTooLarge, name.cookie, len(data), bound)
	}
	return nil
}

// swap replaces the data of an entry that is still at version.
func (t *memoryTable) swap(name memoryName, key keptID, version uint64, data []byte, expires time.Time) error {
	return t.replace(name, key, data, expires, func(e *memoryEntry) bool { return e.version == version })
}

// overwrite replaces the data of an entry that is still there: gorilla's sessions have no version, the last save wins.
func (t *memoryTable) overwrite(name memoryName, key keptID, data []byte, expires time.Time) error {
	return t.replace(name, key, data, expires, func(*memoryEntry) bool { return true })
}

func (t *memoryTable) replace(name memoryName, key keptID, data []byte, expires time.Time, agrees func(*memoryEntry) bool) error {
	if err := t.fits(name, data); err != nil {
		return err
	}
	s := t.shard(key)
	s.mu.Lock()
	e, err := t.find(s, name, key)
	if err == nil && !agrees(e) {
		err = errConflict
	}
	if err != nil {
		s.mu.Unlock()
		return err
	}
	t.bytes.Add(int64(len(data) - len(e.data)))
	e.data, e.expires = data, expires
	e.version++
	s.use(e)
	t.evict(s, e)
	s.mu.Unlock()
	t.evictElsewhere(s)
	return nil
}

func (t *memoryTable) touch(name memoryName, key keptID, at time.Time) {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, err := t.find(s, name, key); err == nil && at.After(e.seen) {
		e.seen = at
		s.use(e)
	}
}

func (t *memoryTable) remove(name memoryName, key keptID) {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, err := t.find(s, name, key); err == nil {
		t.drop(s, e)
	}
}

// move puts data under fresh in place of the entry at version under old, in one step for whoever ends the session and looks at the moves afterwards.
func (t *memoryTable) move(name memoryName, old, fresh keptID, version uint64, data []byte, expires time.Time) error {
	if err := t.fits(name, data); err != nil {
		return err
	}
	t.moves.mu.Lock()
	defer t.moves.mu.Unlock()
	if err := t.take(name, old, version); err != nil {
		return err
	}
	t.moves.note(old, fresh)
	return t.create(name, fresh, data, expires)
}

// take removes the entry that is still at version.
func (t *memoryTable) take(name memoryName, key keptID, version uint64) error {
	s := t.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := t.find(s, name, key)
	if err == nil && e.version != version {
		err = errConflict
	}
	if err == nil {
		t.drop(s, e)
	}
	return err
}

// sweep drops what has expired in s, at most once a minute: only what is made grows the table, so only makers pay.
func (t *memoryTable) sweep(s *memoryShard) {
	now := time.Now()
	if now.Before(s.nextSweep) {
		return
	}
	s.nextSweep = now.Add(sweepEvery)
	for _, e := range s.entries {
		if !now.Before(e.expires) {
			t.drop(s, e)
		}
	}
}

func (t *memoryTable) full() bool { return t.count.Load() > t.maxCount || t.bytes.Load() > t.maxBytes }

// evict drops the longest unused of s, but for spare, while the table is too full.
func (t *memoryTable) evict(s *memoryShard, spare *memoryEntry) {
	for t.full() {
		e := s.head.prev
		if e == spare {
			e = e.prev
		}
		if e == &s.head {
			return
		}
		t.drop(s, e)
	}
}

// evictElsewhere keeps the bound when the shard of the newcomer had nothing to give.
func (t *memoryTable) evictElsewhere(own *memoryShard) {
	for range t.shards {
		if !t.full() {
			return
		}
		if s := &t.shards[int(t.lastResort.Add(1))%len(t.shards)]; s != own {
			s.mu.Lock()
			t.evict(s, nil)
			s.mu.Unlock()
		}
	}
}

func (t *memoryTable) drop(s *memoryShard, e *memoryEntry) {
	delete(s.entries, e.key)
	s.unlink(e)
	t.count.Add(-1)
	t.bytes.Add(-e.size())
}

func (e *memoryEntry) size() int64 { return int64(len(e.data)) + entryOverhead }

func (s *memoryShard) use(e *memoryEntry) {
	if s.head.next != e {
		s.unlink(e)
		s.link(e)
	}
}

func (s *memoryShard) link(e *memoryEntry) {
	e.prev, e.next = &s.head, s.head.next
	e.prev.next, e.next.prev = e, e
}

func (s *memoryShard) unlink(e *memoryEntry) {
	e.prev.next, e.next.prev = e.next, e.prev
	e.prev, e.next = nil, nil
}
