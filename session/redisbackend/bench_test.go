//go:build unix

package redisbackend_test

import (
	"bytes"
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/session"
	"github.com/redis/go-redis/v9"
)

// trips counts the round trips of a client: commands and pipelines, without those that a new connection begins with.
type trips struct{ n atomic.Int64 }

func (c *trips) count(cmd redis.Cmder) {
	if slices.Contains([]string{"get", "getrange", "hscan", "evalsha", "eval", "del", "ping"}, cmd.Name()) {
		c.n.Add(1)
	}
}

func (c *trips) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.count(cmd)
		return next(ctx, cmd)
	}
}

func (c *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.count(cmds[0])
		return next(ctx, cmds)
	}
}

func TestRoundTrips(t *testing.T) {
	client, count := startServer(t).client(), &trips{}
	client.AddHook(count)
	b, key, owner := backendOn(t, client), session.Key{1}, session.Key{2}
	item := itemOf("x", 1)
	item.Owner = owner
	mustPut(t, b, key, item, 0) // Redis now knows the scripts, and the client has a connection
	if err := b.Delete(t.Context(), session.Key{9}, 1); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		want int64
		call func() error
	}{
		{"Get of one", 1, func() error { _, err := b.Get(t.Context(), key); return err }},
		{"Get of three", 1, func() error { _, err := b.Get(t.Context(), key, owner, session.Key{3}); return err }},
		{"Get of none", 0, func() error { _, err := b.Get(t.Context()); return err }},
		{"Put", 1, func() error { return b.Put(t.Context(), session.Key{4}, itemOf("x", 1), 0) }},
		{"Put with an owner", 2, func() error { return b.Put(t.Context(), key, item, 1) }},
		{"Delete", 1, func() error { return b.Delete(t.Context(), key, 7) }},
		{"List", 2, func() error { _, err := b.List(t.Context(), owner, 10); return err }},
		{"List of nobody", 1, func() error { _, err := b.List(t.Context(), key, 10); return err }},
	} {
		count.n.Store(0)
		if err := c.call(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if n := count.n.Load(); n != c.want {
			t.Errorf("%s: %d round trips, want %d", c.name, n, c.want)
		}
	}
}

func BenchmarkBackend(b *testing.B) {
	client, count := startServer(b).client(), &trips{}
	client.AddHook(count)
	backend, key := backendOn(b, client), session.Key{1}
	item := session.Item{Data: bytes.Repeat([]byte("x"), 2000), Version: 1, Expires: time.Now().Add(time.Hour)}
	if err := backend.Put(b.Context(), key, item, 0); err != nil {
		b.Fatal(err)
	}
	measure := func(name string, call func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			count.n.Store(0)
			for b.Loop() {
				if err := call(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(count.n.Load())/float64(b.N), "trips/op")
		})
	}
	measure("Ping", func() error { return client.Ping(b.Context()).Err() })
	ctx, cancel := context.WithTimeout(b.Context(), time.Hour) // as every caller has one
	defer cancel()
	measure("Get/3 keys", func() error { _, err := backend.Get(ctx, key, session.Key{2}, session.Key{3}); return err })
	measure("Put", func() error { return backend.Put(ctx, key, item, 1) })
	item.Owner = session.Key{4}
	measure("Put/owner", func() error { return backend.Put(ctx, key, item, 1) })
	measure("List/1 item", func() error { _, err := backend.List(ctx, item.Owner, 10); return err })
}
