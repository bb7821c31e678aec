//go:build unix

package redisbackend_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/session"
	"github.com/latchkey-go/latchkey/session/redisbackend"
	"github.com/redis/go-redis/v9"
)

// calls are one of each kind.
func calls(b *redisbackend.Backend, key, owner session.Key) map[string]func(ctx context.Context) error {
	item := itemOf("changed", 2)
	item.Owner = owner
	return map[string]func(ctx context.Context) error{
		"get":               func(ctx context.Context) error { _, err := b.Get(ctx, key, session.Key{8}); return err },
		"put":               func(ctx context.Context) error { return b.Put(ctx, session.Key{7}, itemOf("new", 1), 0) },
		"put with an owner": func(ctx context.Context) error { return b.Put(ctx, key, item, 1) },
		"delete":            func(ctx context.Context) error { return b.Delete(ctx, session.Key{6}, 1) },
		"delete of any":     func(ctx context.Context) error { return b.Delete(ctx, session.Key{6}, 0) },
		"list":              func(ctx context.Context) error { _, err := b.List(ctx, owner, 10); return err },
	}
}

// wantFailures makes every call, and wants each to fail in time and to say so.
func wantFailures(t *testing.T, b *redisbackend.Backend, key, owner session.Key, limit time.Duration) {
	t.Helper()
	var wg sync.WaitGroup
	for name, c := range calls(b, key, owner) {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			began := time.Now()
			err := c(ctx)
			if took := time.Since(began); took > limit+5*time.Second {
				t.Errorf("%s took %s, its context %s", name, took, limit)
			}
			operation, _, _ := strings.Cut(name, " ")
			if err == nil || errors.Is(err, session.ErrConflict) || !strings.HasPrefix(err.Error(), "redisbackend: "+operation+": ") {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	wg.Wait()
}

func mustPut(t *testing.T, b session.Backend, key session.Key, item session.Item, from uint64) {
	t.Helper()
	if err := b.Put(t.Context(), key, item, from); err != nil {
		t.Fatalf("put: %v", err)
	}
}

func wantVersion(t *testing.T, b session.Backend, key session.Key, version uint64) {
	t.Helper()
	if items, err := b.Get(t.Context(), key); err != nil || items[0].Version != version {
		t.Fatalf("version %d, %v; want %d", items[0].Version, err, version)
	}
}

func TestAServerThatIsKilledIsAnErrorUntilItIsBack(t *testing.T) {
	s := startServer(t, "--appendonly", "yes", "--appendfsync", "always")
	b, key, owner := backendOn(t, s.client()), session.Key{1}, session.Key{2}
	item := itemOf("x", 1)
	item.Owner = owner
	mustPut(t, b, key, item, 0)
	for range 3 {
		s.kill()
		wantFailures(t, b, key, owner, time.Second)
		s.restart() // it knows no script any more
		for until := time.Now().Add(10 * time.Second); b.Delete(t.Context(), key, 98) != nil; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(until) { // go-redis tries a server that refused its calls once a second
				t.Fatal("the server is back, and not reached")
			}
		}
		wantVersion(t, b, key, item.Version)
		item.Version++
		mustPut(t, b, key, item, item.Version-1)
		if err := b.Delete(t.Context(), key, 99); err != nil {
			t.Fatal(err)
		}
		if keys, err := b.List(t.Context(), owner, 10); err != nil || len(keys) != 1 {
			t.Fatalf("List: %d keys, %v", len(keys), err)
		}
	}
}

func TestScriptsThatRedisForgotAreSentAgain(t *testing.T) {
	s := startServer(t)
	b, client, key := backendOn(t, s.client()), s.client(), session.Key{1}
	for version := range uint64(3) {
		mustPut(t, b, key, itemOf("x", version+1), version)
		if err := client.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Delete(t.Context(), key, 3); err != nil {
		t.Fatal(err)
	}
	wantVersion(t, b, key, 0)
}

func TestCallsToAServerThatHangsEndWithTheirContexts(t *testing.T) {
	for name, bend := range map[string]func(*redis.Options){
		"with ContextTimeoutEnabled":    func(o *redis.Options) { o.ReadTimeout = time.Minute },
		"without ContextTimeoutEnabled": func(o *redis.Options) { o.ContextTimeoutEnabled, o.ReadTimeout = false, time.Minute },
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t)
			b, key, owner := backendOn(t, s.client(bend)), session.Key{1}, session.Key{2}
			item := itemOf("x", 1)
			item.Owner = owner
			mustPut(t, b, key, item, 0)
			before := runtime.NumGoroutine()
			s.freeze()
			wantFailures(t, b, key, owner, 300*time.Millisecond)
			ctx, cancel := context.WithCancel(t.Context()) // no deadline that the client could set on its connection
			time.AfterFunc(100*time.Millisecond, cancel)
			began := time.Now()
			if _, err := b.Get(ctx, key); !errors.Is(err, context.Canceled) || time.Since(began) > 10*time.Second {
				t.Errorf("a caller that left: %v after %s", err, time.Since(began))
			}
			ended, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer stop()
			if _, err := b.Get(ended, key); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a deadline: %v", err)
			}
			s.thaw()
			// Redis now carries out what it had got: nobody knew. It must all be one or the other.
			items, err := b.Get(t.Context(), key)
			if v := items[0].Version; err != nil || v != 1 && v != 2 {
				t.Errorf("afterwards: version %d, %v", v, err)
			}
			if keys, err := b.List(t.Context(), owner, 10); err != nil || len(keys) != 1 {
				t.Errorf("afterwards: %d keys, %v", len(keys), err)
			}
			for until := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before+8; time.Sleep(20 * time.Millisecond) {
				if time.Now().After(until) {
					t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
				}
			}
		})
	}
}

func TestAHungServerHoldsNoMoreGoroutinesThanConnections(t *testing.T) {
	s := startServer(t)
	b := backendOn(t, s.client(func(o *redis.Options) { o.ContextTimeoutEnabled, o.PoolSize, o.ReadTimeout = false, 4, time.Minute }))
	mustPut(t, b, session.Key{1}, itemOf("x", 1), 0)
	s.freeze()
	defer s.thaw()
	before := runtime.NumGoroutine()
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			if _, err := b.Get(ctx, session.Key{1}); err == nil {
				t.Error("a frozen server answered")
			}
		})
	}
	wg.Wait()
	for until := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before+40; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d goroutines are left of 200 calls with 4 connections", runtime.NumGoroutine()-before)
		}
	}
}

func TestWhatRedisLostIsAbsent(t *testing.T) {
	s := startServer(t)
	b, key, owner := backendOn(t, s.client()), session.Key{1}, session.Key{2}
	item := itemOf("x", 5)
	item.Owner = owner
	mustPut(t, b, key, item, 0)
	if err := s.client().FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	wantVersion(t, b, key, 0)
	if keys, err := b.List(t.Context(), owner, 10); err != nil || len(keys) != 0 {
		t.Errorf("List: %d keys, %v", len(keys), err)
	}
	if err := b.Put(t.Context(), key, item, 5); !errors.Is(err, session.ErrConflict) {
		t.Errorf("Put from what is lost: %v", err)
	}
	mustPut(t, b, key, item, 0)
}

func TestANodeThatIsKilledIsNeverAWrongAnswer(t *testing.T) {
	nodes := startCluster(t)
	b := backendOn(t, clusterClient(t, nodes))
	const many = 30
	for i := range byte(many) {
		mustPut(t, b, session.Key{i}, itemOf("x", 1), 0)
	}
	nodes[1].kill()
	var wg sync.WaitGroup
	failed := make(chan byte, many)
	for i := range byte(many) {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			began := time.Now()
			items, err := b.Get(ctx, session.Key{i}, session.Key{i + 1})
			if err != nil {
				failed <- i
			} else if items[0].Version != 1 {
				t.Errorf("item %d is said to be absent", i)
			}
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("item %d took %s", i, took)
			}
		})
	}
	wg.Wait()
	if len(failed) == 0 {
		t.Error("nothing failed: no key was on the node")
	}
}

// A key that moves to another node while it is used is found there.
func TestASlotThatMovesLosesNothing(t *testing.T) {
	nodes := startCluster(t)
	b, key := backendOn(t, clusterClient(t, nodes)), session.Key{1}
	mustPut(t, b, key, itemOf("x", 1), 0)
	slot := nodes[0].client().ClusterKeySlot(t.Context(), itemName(key)).Val()
	from := int(slot) * 3 / 16384
	source, target := nodes[from], nodes[(from+1)%3]
	ids := map[*server]string{}
	for _, n := range nodes {
		ids[n] = n.client().ClusterMyID(t.Context()).Val()
	}
	do := func(on *server, args ...any) {
		t.Helper()
		if err := on.client().Do(t.Context(), args...).Err(); err != nil {
			t.Fatalf("%v: %v", args[:2], err)
		}
	}
	do(target, "cluster", "setslot", slot, "importing", ids[source])
	do(source, "cluster", "setslot", slot, "migrating", ids[target])
	mustPut(t, b, key, itemOf("y", 2), 1)
	do(source, "migrate", "127.0.0.1", target.port, itemName(key), 0, 5000)
	wantVersion(t, b, key, 2)
	mustPut(t, b, key, itemOf("z", 3), 2) // by ASK, where no script is known
	for _, n := range nodes {
		do(n, "cluster", "setslot", slot, "node", ids[target])
	}
	wantVersion(t, b, key, 3)
	mustPut(t, b, key, itemOf("z", 4), 3)
	if err := b.Delete(t.Context(), key, 4); err != nil {
		t.Fatal(err)
	}
	wantVersion(t, b, key, 0)
}

// panicking is a hook with a bug.
type panicking struct{ redis.Hook }

func (panicking) DialHook(next redis.DialHook) redis.DialHook { return next }
func (panicking) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(context.Context, redis.Cmder) error { panic("a hook's bug") }
}
func (panicking) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func TestAPanicOfAHookIsTheCallers(t *testing.T) {
	client := startServer(t).client()
	client.AddHook(panicking{})
	b := backendOn(t, client)
	defer func() {
		if got := recover(); got != "a hook's bug" {
			t.Errorf("recovered %v", got)
		}
	}()
	_ = b.Delete(t.Context(), session.Key{1}, 0)
	t.Error("it went on")
}
