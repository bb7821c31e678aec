//go:build unix

package redisbackend_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/session"
	"github.com/latchkey-go/latchkey/session/redisbackend"
	"github.com/latchkey-go/latchkey/session/sessiontest"
	"github.com/redis/go-redis/v9"
)

func TestBackendOnOneServer(t *testing.T) {
	s := startServer(t)
	sessiontest.RunBackend(t, func(t *testing.T) session.Backend { return backendOn(t, s.client()) })
}

func TestBackendWithoutContextTimeouts(t *testing.T) {
	s := startServer(t)
	sessiontest.RunBackend(t, func(t *testing.T) session.Backend {
		return backendOn(t, s.client(func(o *redis.Options) { o.ContextTimeoutEnabled, o.Protocol = false, 2 }))
	})
}

func TestBackendOnACluster(t *testing.T) {
	nodes := startCluster(t)
	sessiontest.RunBackend(t, func(t *testing.T) session.Backend { return backendOn(t, clusterClient(t, nodes)) })
	for i, node := range nodes {
		if n := node.client().DBSize(t.Context()).Val(); n == 0 {
			t.Errorf("node %d has no key: the suite did not spread over the Cluster", i)
		}
	}
}

func TestNewRefusesClientsThatReadWhatIsOld(t *testing.T) {
	for name, client := range map[string]redis.UniversalClient{
		"nothing":                nil,
		"no client":              (*redis.Client)(nil),
		"no Cluster":             (*redis.ClusterClient)(nil),
		"replicas of a Sentinel": redis.NewFailoverClusterClient(&redis.FailoverOptions{MasterName: "m", SentinelAddrs: []string{"127.0.0.1:1"}, RouteRandomly: true}),
		"a Ring":                 redis.NewRing(&redis.RingOptions{}),
		"replicas":               redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}, ReadOnly: true}),
		"near replicas":          redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}, RouteByLatency: true}),
	} {
		if _, err := redisbackend.New(client, redisbackend.Config{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if client != nil && !strings.HasPrefix(name, "no ") {
			client.Close()
		}
	}
	masters := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}})
	defer masters.Close()
	if _, err := redisbackend.New(masters, redisbackend.Config{}); err != nil {
		t.Errorf("a Cluster's masters: %v", err)
	}
}

func TestPrefixesKeepApplicationsApart(t *testing.T) {
	s := startServer(t)
	one, err := redisbackend.New(s.client(), redisbackend.Config{Prefix: "one:"})
	if err != nil {
		t.Fatal(err)
	}
	key, owner := session.Key{1}, session.Key{2}
	item := itemOf("x", 1)
	item.Owner = owner
	if err := one.Put(t.Context(), key, item, 0); err != nil {
		t.Fatal(err)
	}
	other := backendOn(t, s.client())
	if items, err := other.Get(t.Context(), key); err != nil || items[0].Version != 0 {
		t.Errorf("the other application got version %d, %v", items[0].Version, err)
	}
	for _, name := range s.client().Keys(t.Context(), "*").Val() {
		if !strings.HasPrefix(name, "one:") {
			t.Errorf("a key %q without the prefix", name)
		}
	}
	if got := fmt.Sprintf("%v %#v", one, one); got != "redisbackend.Backend(one:) redisbackend.Backend(one:)" {
		t.Errorf("printed: %s", got)
	}
}

func TestPutRefusesWhatNoItemIs(t *testing.T) {
	b := backendOn(t, startServer(t).client())
	if err := b.Put(t.Context(), session.Key{1}, itemOf("x", 0), 0); err == nil || !strings.Contains(err.Error(), "version zero") {
		t.Errorf("version zero: %v", err)
	}
	big := itemOf(strings.Repeat("x", 1<<20), 1)
	if err := b.Put(t.Context(), session.Key{1}, big, 0); err != nil {
		t.Errorf("1 MiB: %v", err)
	}
	big.Data = append(big.Data, 'x')
	if err := b.Put(t.Context(), session.Key{2}, big, 0); err == nil || !strings.Contains(err.Error(), "the most is") {
		t.Errorf("1 MiB and a byte: %v", err)
	}
}

// An item's key in Redis, as documented nowhere but here and in the code.
func itemName(key session.Key) string {
	return "latchkey:i:" + base64.RawURLEncoding.EncodeToString(key[:])
}

func ownerName(owner session.Key) string {
	return "latchkey:o:" + base64.RawURLEncoding.EncodeToString(owner[:])
}

func TestWhatHasEndedIsAbsentThoughRedisStillHasIt(t *testing.T) {
	s := startServer(t)
	b, client, key, owner := backendOn(t, s.client()), s.client(), session.Key{1}, session.Key{2}
	item := session.Item{Data: []byte("x"), Version: 1, Owner: owner, Expires: time.Now().Add(200 * time.Millisecond)}
	if err := b.Put(t.Context(), key, item, 0); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{itemName(key), ownerName(owner)} {
		if ttl := client.PTTL(t.Context(), name).Val(); ttl < 50*time.Second || ttl > 3*time.Minute {
			t.Errorf("Redis drops %.12s in %s", name, ttl)
		}
	}
	time.Sleep(time.Until(item.Expires) + 10*time.Millisecond)
	if n := client.Exists(t.Context(), itemName(key)).Val(); n != 1 {
		t.Fatal("Redis has dropped it already: nothing is shown")
	}
	if items, err := b.Get(t.Context(), key); err != nil || items[0].Version != 0 {
		t.Errorf("got version %d, %v", items[0].Version, err)
	}
}

func TestTheIndexLivesAsLongAsItsLongestItem(t *testing.T) {
	s := startServer(t)
	b, client, owner := backendOn(t, s.client()), s.client(), session.Key{2}
	for i, life := range []time.Duration{time.Hour, time.Minute} {
		item := session.Item{Data: []byte("x"), Version: 1, Owner: owner, Expires: time.Now().Add(life)}
		if err := b.Put(t.Context(), session.Key{1, byte(i)}, item, 0); err != nil {
			t.Fatal(err)
		}
		if ttl := client.PTTL(t.Context(), ownerName(owner)).Val(); ttl < time.Hour || ttl > time.Hour+3*time.Minute {
			t.Errorf("after item %d the index lasts %s", i, ttl)
		}
	}
}

// entry is what the index has for an item.
func entry(end, added time.Time) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(end.UnixMilli())), uint64(added.UnixMilli()))
}

func TestListDropsOldEntriesThatPointToNothingAndKeepsYoungOnes(t *testing.T) {
	s := startServer(t)
	b, client, owner := backendOn(t, s.client()), s.client(), session.Key{2}
	now, end := time.Now(), time.Now().Add(time.Hour)
	alive, old, young, elsewhere := session.Key{1}, session.Key{3}, session.Key{4}, session.Key{5}
	item := session.Item{Data: []byte("x"), Version: 1, Owner: owner, Expires: end}
	if err := b.Put(t.Context(), alive, item, 0); err != nil {
		t.Fatal(err)
	}
	item.Owner = session.Key{9}
	if err := b.Put(t.Context(), elsewhere, item, 0); err != nil {
		t.Fatal(err)
	}
	client.HSet(t.Context(), ownerName(owner), old[:], entry(end, now.Add(-2*time.Minute)), young[:], entry(end, now.Add(-30*time.Second)),
		elsewhere[:], entry(end, now.Add(-2*time.Minute)), alive[:], entry(end, now.Add(-2*time.Minute)), "no key", "no entry")
	for range 2 {
		keys, err := b.List(t.Context(), owner, 10)
		if err != nil || !slices.Equal(keys, []session.Key{alive}) {
			t.Fatalf("List: %d keys, %v", len(keys), err)
		}
	}
	for key, want := range map[string]bool{string(alive[:]): true, string(young[:]): true, string(old[:]): false, string(elsewhere[:]): false, "no key": false} {
		if got := client.HExists(t.Context(), ownerName(owner), key).Val(); got != want {
			t.Errorf("entry %x is there: %t", key, got)
		}
	}
}

// between runs once, before the nth script.
type between struct {
	n   atomic.Int64
	run func()
}

func (h *between) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *between) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h *between) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "evalsha" && h.n.Add(-1) == 0 {
			h.run()
		}
		return next(ctx, cmd)
	}
}

func TestAListBetweenTheStepsOfAPutHidesNothing(t *testing.T) {
	s := startServer(t)
	other, client, owner, key := backendOn(t, s.client()), s.client(), session.Key{2}, session.Key{1}
	h := &between{run: func() {
		if keys, err := other.List(t.Context(), owner, 10); err != nil || len(keys) != 0 {
			t.Errorf("between: %d keys, %v", len(keys), err)
		}
	}}
	h.n.Store(2) // the index is the first
	client.AddHook(h)
	item := itemOf("x", 1)
	item.Owner = owner
	if err := backendOn(t, client).Put(t.Context(), key, item, 0); err != nil {
		t.Fatal(err)
	}
	if h.n.Load() > 0 {
		t.Fatal("nothing came between")
	}
	if keys, err := other.List(t.Context(), owner, 10); err != nil || !slices.Equal(keys, []session.Key{key}) {
		t.Errorf("afterwards: %d keys, %v", len(keys), err)
	}
}

func TestAFailureBetweenTheStepsOfAPutLeavesAnEntryAndNoItem(t *testing.T) {
	s := startServer(t)
	client, owner, key := s.client(), session.Key{2}, session.Key{1}
	ctx, cancel := context.WithCancel(t.Context())
	h := &between{run: cancel}
	h.n.Store(2)
	client.AddHook(h)
	item := itemOf("x", 1)
	item.Owner = owner
	if err := backendOn(t, client).Put(ctx, key, item, 0); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	// What was left behind ends at once: the client looks at the context before it sends.
	time.Sleep(50 * time.Millisecond)
	other := backendOn(t, s.client())
	if items, err := other.Get(t.Context(), key); err != nil || items[0].Version != 0 {
		t.Errorf("version %d, %v", items[0].Version, err)
	}
	if keys, err := other.List(t.Context(), owner, 10); err != nil || len(keys) != 0 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
	if err := other.Put(t.Context(), key, item, 0); err != nil {
		t.Errorf("once more: %v", err)
	}
}

func TestAnIndexThatNobodyListsDoesNotGrowForEver(t *testing.T) {
	s := startServer(t)
	b, client, owner, key := backendOn(t, s.client()), s.client(), session.Key{2}, session.Key{1}
	past := time.Now().Add(-time.Hour)
	for i := range 500 {
		client.HSet(t.Context(), ownerName(owner), fmt.Sprintf("%032d", i), entry(past, past))
	}
	for i := range uint64(500) {
		item := itemOf("x", i+1)
		item.Owner = owner
		if err := b.Put(t.Context(), key, item, i); err != nil {
			t.Fatal(err)
		}
	}
	if n := client.HLen(t.Context(), ownerName(owner)).Val(); n > 20 {
		t.Errorf("%d entries for one item", n)
	}
	if keys, err := b.List(t.Context(), owner, 10); err != nil || !slices.Equal(keys, []session.Key{key}) {
		t.Errorf("List: %d keys, %v", len(keys), err)
	}
}

func TestListFindsEveryItemOfALargeIndex(t *testing.T) {
	s := startServer(t)
	b, owner := backendOn(t, s.client()), session.Key{2}
	const many = 1500
	for i := range uint16(many) {
		item, key := itemOf("x", 1), session.Key{1}
		item.Owner = owner
		binary.BigEndian.PutUint16(key[1:], i)
		if err := b.Put(t.Context(), key, item, 0); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := b.List(t.Context(), owner, 1<<20)
	seen := map[session.Key]bool{}
	for _, key := range keys {
		seen[key] = true
	}
	if err != nil || len(keys) != many || len(seen) != many {
		t.Errorf("%d keys, %d different, %v", len(keys), len(seen), err)
	}
	if keys, err := b.List(t.Context(), owner, 700); err != nil || len(keys) != 700 {
		t.Errorf("limit 700: %d keys, %v", len(keys), err)
	}
}

// lossy loses the next answer, and its connection with it.
type lossy struct {
	net.Conn
	lose *atomic.Bool
}

func (c *lossy) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == nil && c.lose.CompareAndSwap(true, false) {
		c.Close()
		return 0, io.EOF
	}
	return n, err
}

func TestAPutWhoseAnswerWasLostKnowsItselfAgain(t *testing.T) {
	s := startServer(t)
	var lose atomic.Bool
	b := backendOn(t, s.client(func(o *redis.Options) {
		dial := redis.NewDialer(o)
		o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			return &lossy{conn, &lose}, err
		}
	}))
	key, item := session.Key{1}, itemOf("x", 1)
	if err := b.Put(t.Context(), session.Key{9}, item, 0); err != nil { // the script is known from now on
		t.Fatal(err)
	}
	for from := range uint64(3) {
		lose.Store(true)
		item.Version = from + 1
		if err := b.Put(t.Context(), key, item, from); err != nil || lose.Load() {
			t.Fatalf("from version %d: %v, answer lost: %t", from, err, !lose.Load())
		}
		// The same item of another Put is another write.
		if err := b.Put(t.Context(), key, item, from); !errors.Is(err, session.ErrConflict) {
			t.Fatalf("again from version %d: %v", from, err)
		}
	}
	lose.Store(true)
	item.Expires, item.Version = time.Now().Add(-time.Second), 9
	if err := b.Put(t.Context(), key, item, 3); err != nil || lose.Load() {
		t.Fatalf("of what has ended: %v", err)
	}
}

func TestForeignValuesAreErrorsAndAreNotOverwritten(t *testing.T) {
	s := startServer(t)
	b, client, key, owner := backendOn(t, s.client()), s.client(), session.Key{1}, session.Key{2}
	for name, plant := range map[string]func(){
		"an empty value":    func() { client.Set(t.Context(), itemName(key), "", 0) },
		"a short value":     func() { client.Set(t.Context(), itemName(key), "\x01short", 0) },
		"another form":      func() { client.Set(t.Context(), itemName(key), strings.Repeat("\x03", 100), 0) },
		"a number":          func() { client.Set(t.Context(), itemName(key), 17, 0) },
		"another kind":      func() { client.RPush(t.Context(), itemName(key), "x") },
		"a kind with pairs": func() { client.HSet(t.Context(), itemName(key), "x", "y") },
	} {
		t.Run(name, func(t *testing.T) {
			client.FlushAll(t.Context())
			client.HSet(t.Context(), ownerName(owner), key[:], entry(time.Now().Add(time.Hour), time.Now()))
			plant()
			before := client.Dump(t.Context(), itemName(key)).Val()
			item := itemOf("x", 5)
			item.Owner = owner
			empty := name == "an empty value" // scripts can't tell it from nothing, so it is nothing to them
			if items, err := b.Get(t.Context(), session.Key{7}, key); err == nil {
				t.Errorf("Get: version %d", items[1].Version)
			}
			if err := b.Delete(t.Context(), key, 5); (err == nil) != empty || errors.Is(err, session.ErrConflict) {
				t.Errorf("Delete of a version: %v", err)
			}
			if keys, err := b.List(t.Context(), owner, 10); (err == nil) != empty || len(keys) != 0 {
				t.Errorf("List: %d keys, %v", len(keys), err)
			}
			if err := b.Put(t.Context(), key, item, 0); (err == nil) != empty || errors.Is(err, session.ErrConflict) {
				t.Errorf("Put: %v", err)
			}
			if after := client.Dump(t.Context(), itemName(key)).Val(); before != after && !empty {
				t.Error("it was changed")
			}
			if err := b.Delete(t.Context(), key, 0); err != nil {
				t.Errorf("Delete of anything: %v", err)
			}
			if err := b.Put(t.Context(), key, item, 0); err != nil {
				t.Errorf("Put afterwards: %v", err)
			}
		})
	}
	client.Set(t.Context(), ownerName(session.Key{3}), "x", 0)
	item := itemOf("x", 5)
	item.Owner = session.Key{3}
	if err := b.Put(t.Context(), session.Key{4}, item, 0); err == nil {
		t.Error("Put of an owner whose index is no index")
	}
	if items, err := b.Get(t.Context(), session.Key{4}); err != nil || items[0].Version != 0 {
		t.Errorf("an item without its entry: version %d, %v", items[0].Version, err)
	}
}

func TestErrorsShowNoKeyAndNoData(t *testing.T) {
	// Redis repeats the arguments of a command that it doesn't know.
	s := startServer(t, "--rename-command", "EVALSHA", "")
	b, key := backendOn(t, s.client()), session.Key{1}
	err := b.Put(t.Context(), key, itemOf("sealed data", 1), 0)
	if err == nil || !strings.HasPrefix(err.Error(), "redisbackend: put: ERR unknown command") {
		t.Fatalf("%v", err)
	}
	if text := err.Error(); strings.Contains(text, "latchkey:") || strings.Contains(text, "sealed") {
		t.Errorf("%q", text)
	}
	if cause := redis.Error(nil); !errors.As(err, &cause) {
		t.Errorf("the client's error is gone from %#v", err)
	}
}
