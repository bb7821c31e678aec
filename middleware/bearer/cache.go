package bearer

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
)

// ways is how many entries share a set. A set's tags fill one cache line.
const ways = 8

// cache remembers verified tokens by the SHA-256 of their text, so that no token lies in memory. It is a table of fixed size, in sets
// like a processor's: readers take no lock, a writer locks its set, and what has been asked for lately stays (CLOCK).
// A nil cache is empty and keeps nothing.
type cache struct {
	sets                 []set // a power of two
	maxEntries, maxBytes int64

	entries, bytes  atomic.Int64
	hand            atomic.Uint64 // the set where room is made next
	misses, evicted atomic.Uint64
	hits            [16]counter // several, since many processors hit at once
}

type counter struct {
	n atomic.Uint64
	_ [56]byte // a cache line each
}

type set struct {
	tags    [ways]atomic.Uint64 // first bytes of the entries' sums: a look at these seldom leads to a wrong entry
	entries [ways]atomic.Pointer[entry]
	mu      sync.Mutex // held by writers
}

// entry is never changed, but for used.
type entry struct {
	sum   [sha256.Size]byte
	token *Token
	key   *discovery.PublishedKey // nil: none signed it
	until int64                   // nanoseconds since 1970
	from  int64                   // before that the clock has been set back, and nbf is in question again
	size  int64
	used  atomic.Bool // since the hand came by
}

func newCache(maxEntries int, maxBytes int64) *cache {
	// Twice the room, so that full sets are rare before the cache is full.
	sets := 1 << bits.Len(uint(max(1, maxEntries*2/ways)-1))
	return &cache{sets: make([]set, sets), maxEntries: int64(maxEntries), maxBytes: maxBytes}
}

func (c *cache) set(sum *[sha256.Size]byte) (s *set, tag uint64) {
	tag = binary.LittleEndian.Uint64(sum[:]) | 1 // zero is an empty place
	return &c.sets[binary.LittleEndian.Uint64(sum[8:])&uint64(len(c.sets)-1)], tag
}

// get returns the token with this sum if it is as good as when it was verified.
func (c *cache) get(sum *[sha256.Size]byte, now time.Time) *Token {
	if c == nil {
		return nil
	}
	s, tag := c.set(sum)
	for i := range s.tags {
		if s.tags[i].Load() != tag {
			continue
		}
		// Tag and entry are not written at once: only the entry's own sum counts.
		e := s.entries[i].Load()
		if e == nil || e.sum != *sum || !e.live(now) {
			continue
		}
		if !e.used.Load() {
			e.used.Store(true)
		}
		c.hits[sum[16]%uint8(len(c.hits))].n.Add(1)
		return e.token
	}
	c.misses.Add(1)
	return nil
}

func (e *entry) live(now time.Time) bool {
	n := now.UnixNano()
	return n < e.until && n >= e.from && (e.key == nil || e.key.Live(now))
}

// slack is what an entry takes beside its claims and the strings of its Token.
const slack = 768

// size is roughly what an entry with t takes: its claims, about as much again for what was read from them, and the heads of the strings in lists.
func (t *Token) size() int64 {
	return int64(2*len(t.claims) + 16*(cap(t.Audience)+cap(t.Scopes)+cap(t.AMR)) + slack)
}

// put keeps a token that has passed every check until then.
func (c *cache) put(sum *[sha256.Size]byte, t *Token, key *discovery.PublishedKey, until time.Time) {
	if c == nil {
		return
	}
	now := time.Now()
	e := &entry{sum: *sum, token: t, key: key, until: until.UnixNano(), from: now.Add(-time.Second).UnixNano(), size: t.size()}
	if !e.live(now) || e.size > c.maxBytes {
		return
	}
	s, tag := c.set(sum)
	s.mu.Lock()
	i := s.victim(e, now)
	c.replace(s, i, e, tag)
	s.mu.Unlock()
	for c.entries.Load() > c.maxEntries || c.bytes.Load() > c.maxBytes {
		c.makeRoom(e, now)
	}
}

// replace is called with the set's lock held.
func (c *cache) replace(s *set, i int, e *entry, tag uint64) {
	old := s.entries[i].Load()
	s.entries[i].Store(e)
	s.tags[i].Store(tag)
	if old != nil {
		c.entries.Add(-1)
		c.bytes.Add(-old.size)
		if e != nil && old.sum != e.sum && old.live(time.Unix(0, e.from)) {
			c.evicted.Add(1)
		}
	}
	if e != nil {
		c.entries.Add(1)
		c.bytes.Add(e.size)
	}
}

// victim is the place for e: its own former one, a dead one, an empty one, one not asked for lately, or any. Only a full set loses its marks.
func (s *set) victim(e *entry, now time.Time) int {
	dead, empty := -1, -1
	for i := range s.entries {
		switch old := s.entries[i].Load(); {
		case old == nil:
			empty = i
		case old.sum == e.sum:
			return i
		case !old.live(now):
			dead = i
		}
	}
	if dead >= 0 {
		return dead
	}
	if empty >= 0 {
		return empty
	}
	first := int(e.sum[17] % ways) // so that no place is the first to go every time
	for i := range ways {
		if place := (first + i) % ways; !s.entries[place].Load().used.Swap(false) {
			return place
		}
	}
	return first
}

// makeRoom moves the hand on by one set and takes from it what is dead or was not asked for since the hand last came by; never keep.
func (c *cache) makeRoom(keep *entry, now time.Time) {
	s := &c.sets[c.hand.Add(1)&uint64(len(c.sets)-1)]
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.entries {
		old := s.entries[i].Load()
		if old == nil || old == keep {
			continue
		}
		if !old.live(now) {
			c.replace(s, i, nil, 0)
		} else if !old.used.Swap(false) {
			c.replace(s, i, nil, 0)
			c.evicted.Add(1)
			return
		}
	}
}

func (c *cache) stats() Stats {
	if c == nil {
		return Stats{}
	}
	s := Stats{Misses: c.misses.Load(), Evicted: c.evicted.Load(), Entries: int(c.entries.Load()), Bytes: c.bytes.Load()}
	for i := range c.hits {
		s.Hits += c.hits[i].n.Load()
	}
	return s
}
