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

// page is how many entries List looks at in one round trip, and stale how many it drops at most.
const (
	page     = 256
	maxStale = 1000
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
func (b *Backend) List(ctx context.Context, owner store.Key, limit int) ([]store.Key, error) {
	return call(ctx, "list", func() ([]store.Key, error) {
		var found []store.Key
		var stale []any
		seen := map[store.Key]bool{} // a scan may come upon an entry twice
		name := b.ownerKey(owner)
		for cursor := uint64(0); len(found) < limit; {
			pairs, next, err := b.client.HScan(ctx, name, cursor, "", page).Result()
			if err != nil {
				return nil, err
			}
			var keys []store.Key
			var entries []string
			for i := 0; i+1 < len(pairs); i += 2 {
				if len(pairs[i]) != len(store.Key{}) || len(pairs[i+1]) != entrySize {
					stale = append(stale, pairs[i], pairs[i+1])
				} else if key := store.Key([]byte(pairs[i])); !seen[key] {
					seen[key] = true
					keys, entries = append(keys, key), append(entries, pairs[i+1])
				}
			}
			heads, err := b.heads(ctx, keys)
			if err != nil {
				return nil, err
			}
			now := time.Now()
			for i, head := range heads {
				if head.Owner == owner && len(found) < limit {
					found = append(found, keys[i])
				} else if head.Owner != owner && settled(entries[i], now) {
					stale = append(stale, string(keys[i][:]), entries[i])
				}
			}
			if cursor = next; cursor == 0 {
				break
			}
		}
		if stale = stale[:min(len(stale), 2*maxStale)]; len(stale) > 0 {
			_, _ = b.run(ctx, dropScript, name, stale...) // the next List meets them again
		}
		return found, nil
	})
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
