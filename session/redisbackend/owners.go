package redisbackend

import (
	"context"
	"encoding/binary"
	"strconv"
	"time"

	"github.com/latchkey-go/latchkey/rp/store"
	"github.com/redis/go-redis/v9"
)

// An owner's index is a hash: an item's key to 16 bytes, its end and when a Put last added it, in Unix milliseconds. An item that is there is in it. What is in it
// need not be there: such entries are left by failures, conflicts, deletions and new owners. List drops them, but only those that are older than slack:
// a younger one may belong to a Put that is about to add its item.
const entrySize = 16

// page is how many entries List looks at in one round trip, maxPasses how often it reads the index, and maxStale how many entries it drops at most.
const (
	page      = 256
	maxPasses = 32
	maxStale  = 1000
)

func (b *Backend) index(ctx context.Context, owner, key store.Key, end int64) error {
	now := time.Now()
	entry := binary.BigEndian.AppendUint64(make([]byte, 0, entrySize), uint64(end))
	entry = binary.BigEndian.AppendUint64(entry, uint64(now.UnixMilli()))
	past := strconv.FormatInt(now.Add(-slack).UnixMilli(), 10)
	// The index outlives its items by as much as they outlive their end.
	_, err := b.run(ctx, indexScript, b.ownerKey(owner), key[:], entry, past, lifeOf(end+slack.Milliseconds(), now))
	return err
}

// List implements store.Backend. A limit of zero or less lists nothing.
//
// The index is read before the items that it points to, one item after the other, and what is listed may move to another key in between: to one that was not in the index yet or had no item yet,
// while the old one has none any more. So all is read again until no other entry points to nothing than the time before.
func (b *Backend) List(ctx context.Context, owner store.Key, limit int) ([]store.Key, error) {
	return call(ctx, "list", func() ([]store.Key, error) {
		l := listing{owner: owner, limit: limit, name: b.ownerKey(owner), seen: map[store.Key]bool{}, gone: map[store.Key]uint64{}}
		for missed := true; missed && l.passes < maxPasses && len(l.found) < limit; l.passes++ {
			var err error
			if missed, err = b.pass(ctx, &l); err != nil {
				return nil, err
			}
		}
		if l.stale = l.stale[:min(len(l.stale), 2*maxStale)]; len(l.stale) > 0 {
			_, _ = b.run(ctx, dropScript, l.name, l.stale...) // the next List meets them again
		}
		return l.found, nil
	})
}

// listing is a List under way.
type listing struct {
	owner  store.Key
	limit  int
	name   string               // of the index
	seen   map[store.Key]bool   // need not be looked at again; a scan may come upon an entry twice, too
	gone   map[store.Key]uint64 // the version of what is there instead of the owner's, as it was last seen
	passes int
	found  []store.Key
	stale  []any // keys and entries for dropScript
}

// pass reads the index once, and looks at what it points to. missed: something that is not the owner's is so since the last pass, or the index has it since then.
func (b *Backend) pass(ctx context.Context, l *listing) (missed bool, err error) {
	for cursor := uint64(0); ; {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		pairs, next, err := b.client.HScan(ctx, l.name, cursor, "", page).Result()
		if err != nil {
			return false, err
		}
		var keys []store.Key
		var entries []string
		for i := 0; i+1 < len(pairs); i += 2 {
			if len(pairs[i]) != len(store.Key{}) || len(pairs[i+1]) != entrySize {
				if l.passes == 0 {
					l.stale = append(l.stale, pairs[i], pairs[i+1])
				}
			} else if key := store.Key([]byte(pairs[i])); !l.seen[key] {
				keys, entries = append(keys, key), append(entries, pairs[i+1])
			}
		}
		heads, err := b.heads(ctx, keys)
		if err != nil {
			return false, err
		}
		now := time.Now()
		for i, head := range heads {
			key := keys[i]
			if l.seen[key] {
				continue
			}
			if head.Owner == l.owner {
				if l.seen[key] = true; len(l.found) < l.limit {
					l.found = append(l.found, key)
				}
				continue
			}
			if version, known := l.gone[key]; !known || version != head.Version {
				l.gone[key], missed = head.Version, true
			}
			if settled(entries[i], now) {
				l.seen[key] = true
				l.stale = append(l.stale, string(key[:]), entries[i])
			}
		}
		if cursor = next; cursor == 0 || len(l.found) >= l.limit {
			return missed, nil
		}
	}
}

// settled reports whether the entry is of no Put that may be under way.
func settled(entry string, now time.Time) bool {
	added := int64(binary.BigEndian.Uint64([]byte(entry[8:])))
	return added < now.Add(-slack).UnixMilli()
}

// heads returns the items under keys without their data; the zero Item where there is none.
func (b *Backend) heads(ctx context.Context, keys []store.Key) ([]store.Item, error) {
	items := make([]store.Item, len(keys))
	if len(keys) == 0 {
		return items, nil
	}
	pipe := b.client.Pipeline()
	answers := make([]*redis.StringCmd, len(keys))
	for i, key := range keys {
		answers[i] = pipe.GetRange(ctx, b.itemKey(key), 0, ownerSize-1)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	now := time.Now()
	for i, answer := range answers {
		head, err := answer.Bytes()
		if err != nil {
			return nil, err
		}
		if len(head) == 0 {
			continue // what GETRANGE says of nothing
		}
		if items[i], err = decode(head, now); err != nil {
			return nil, err
		}
	}
	return items, nil
}
