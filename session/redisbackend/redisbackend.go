package redisbackend

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/latchkey-go/latchkey/rp/store"
	"github.com/redis/go-redis/v9"
)

// Config configures New. The zero value is fine.
type Config struct {
	// Prefix begins every key; empty: "latchkey:". Two applications in one Redis need different ones. A part of it in braces, as in "{shop}:", is a hash tag: it puts
	// everything on one node of a Cluster.
	Prefix string
}

const defaultPrefix = "latchkey:"

// Backend is a store.Backend in Redis or Valkey. Make it with New. It is safe for concurrent use, and any number of processes may use the same Redis.
//
// Data of an item is at most 1 MiB. Errors but store.ErrConflict name the operation and wrap what the client returned, or the context's end; they show no key and no
// data. Something under an item's key that no Put of this module wrote is an error and is not overwritten; Delete with version zero removes it.
type Backend struct {
	client redis.UniversalClient
	prefix string
}

var _ store.Backend = (*Backend)(nil)

// New returns a backend that uses client, and does not close it. No I/O: whether Redis can be reached shows at the first call.
func New(client redis.UniversalClient, cfg Config) (*Backend, error) {
	missing := errors.New("redisbackend: New needs a client")
	switch c := client.(type) {
	case nil:
		return nil, missing
	case *redis.Client:
		if c == nil { // in an interface that isn't
			return nil, missing
		}
	case *redis.Ring:
		return nil, errors.New("redisbackend: a redis.Ring moves keys when a shard is away; use a Cluster, Sentinel or a single server")
	case *redis.ClusterClient:
		if c == nil {
			return nil, missing
		}
		if c.Options().ReadOnly { // RouteByLatency and RouteRandomly set it
			return nil, errors.New("redisbackend: the client reads from replicas, which lag; leave ReadOnly, RouteByLatency and RouteRandomly false")
		}
	}
	if cfg.Prefix == "" {
		cfg.Prefix = defaultPrefix
	}
	return &Backend{client, cfg.Prefix}, nil
}

// itemKey and ownerKey name what is kept in Redis. Neither alphabet has braces: the prefix alone decides about hash tags.
func (b *Backend) itemKey(key store.Key) string { return b.name("i:", key) }

func (b *Backend) ownerKey(owner store.Key) string { return b.name("o:", owner) }

func (b *Backend) name(kind string, key store.Key) string {
	buf := make([]byte, 0, len(b.prefix)+len(kind)+43)
	buf = append(append(buf, b.prefix...), kind...)
	return string(base64.RawURLEncoding.AppendEncode(buf, key[:]))
}

// Get implements store.Backend.
func (b *Backend) Get(ctx context.Context, keys ...store.Key) ([]store.Item, error) {
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = b.itemKey(key)
	}
	return call(ctx, "get", func() ([]store.Item, error) {
		items := make([]store.Item, len(names))
		if len(names) == 0 {
			return items, nil
		}
		// Always a pipeline: also for one key, since the client answers a lone GET from its own cache, if it has one.
		pipe := b.client.Pipeline()
		answers := make([]*redis.StringCmd, len(names))
		for i, name := range names {
			answers[i] = pipe.Get(ctx, name)
		}
		if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
			return nil, err
		}
		now := time.Now()
		for i, answer := range answers {
			value, err := answer.Bytes()
			if errors.Is(err, redis.Nil) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if items[i], err = decode(value, now); err != nil {
				return nil, err
			}
		}
		return items, nil
	})
}

// maxData is what an item may hold.
const maxData = 1 << 20

// Put implements store.Backend.
func (b *Backend) Put(ctx context.Context, key store.Key, item store.Item, from uint64) error {
	if item.Version == 0 {
		return errors.New("redisbackend: put: an item of version zero can't be put")
	}
	if len(item.Data) > maxData {
		return fmt.Errorf("redisbackend: put: %d bytes of data, the most is %d", len(item.Data), maxData)
	}
	var n nonce
	rand.Read(n[:]) // never fails: crypto/rand ends the process instead
	now := time.Now()
	value, end := encode(item, n), millis(item.Expires)
	name, indexed := b.itemKey(key), item.Owner != (store.Key{}) && end > now.UnixMilli()
	_, err := call(ctx, "put", func() (struct{}, error) {
		// The index goes first: what fails afterwards leaves an entry that points to nothing, never an item that nobody lists.
		if indexed {
			if err := b.index(ctx, item.Owner, key, end); err != nil {
				return struct{}{}, err
			}
		}
		answer, err := b.run(ctx, putScript, name, value, wire(from), now.UnixMilli(), lifeOf(end, now))
		if err != nil {
			return struct{}{}, err
		}
		switch answer {
		case 0:
		case 1:
			return struct{}{}, store.ErrConflict
		default:
			return struct{}{}, errForeign
		}
		// So slow a Put may have lost its entry to a List that saw no item.
		if indexed && time.Since(now) > slack/2 {
			return struct{}{}, b.index(ctx, item.Owner, key, end)
		}
		return struct{}{}, nil
	})
	return err
}

// Delete implements store.Backend.
func (b *Backend) Delete(ctx context.Context, key store.Key, version uint64) error {
	name := b.itemKey(key)
	_, err := call(ctx, "delete", func() (struct{}, error) {
		if version == 0 {
			return struct{}{}, b.client.Del(ctx, name).Err()
		}
		answer, err := b.run(ctx, deleteScript, name, wire(version))
		if err == nil && answer != 0 {
			err = errForeign
		}
		return struct{}{}, err
	})
	return err
}

// run runs a script on its one key: by its hash, and in full where Redis doesn't know it yet.
func (b *Backend) run(ctx context.Context, script *redis.Script, key string, args ...any) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return script.Run(ctx, b.client, []string{key}, args...).Int()
}

// slack is by how much clocks of replicas may differ: Redis keeps what has ended so long, for those who are late, and an index entry so long
// though it points to nothing, for a Put that is under way.
const slack = time.Minute

// lifeOf is how long Redis shall keep what ends at end, in milliseconds. A duration, not a time: Redis's clock may show another one.
func lifeOf(end int64, now time.Time) string {
	return strconv.FormatInt(max(0, end-now.UnixMilli())+slack.Milliseconds(), 10)
}

// String names the prefix.
func (b *Backend) String() string { return "redisbackend.Backend(" + b.prefix + ")" }

// GoString is String.
func (b *Backend) GoString() string { return b.String() }

// LogValue is String.
func (b *Backend) LogValue() slog.Value { return slog.StringValue(b.String()) }
