//go:build unix

package redisbackend_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/session"
)

// A Redis without room refuses what is new, and lets what is there be read, listed and ended.
func TestAFullRedisStillEndsSessions(t *testing.T) {
	s := startServer(t, "--maxmemory", "20mb", "--maxmemory-policy", "noeviction")
	b, owner := backendOn(t, s.client()), session.Key{2}
	item := itemOf("x", 1)
	item.Owner = owner
	for i := range byte(2) {
		mustPut(t, b, session.Key{1, i}, item, 0)
	}
	if err := s.client().ConfigSet(t.Context(), "maxmemory", "1mb").Err(); err != nil {
		t.Fatal(err)
	}
	item.Data, item.Version = bytes.Repeat([]byte("x"), 1<<10), 2
	if err := b.Put(t.Context(), session.Key{1, 0}, item, 1); err == nil || errors.Is(err, session.ErrConflict) || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("Put: %v, want what Redis says", err)
	}
	wantVersion(t, b, session.Key{1, 0}, 1)
	for i, version := range []uint64{1, 0} {
		if err := b.Delete(t.Context(), session.Key{1, byte(i)}, version); err != nil {
			t.Errorf("Delete of version %d: %v", version, err)
		}
		wantVersion(t, b, session.Key{1, byte(i)}, 0)
	}
	if keys, err := b.List(t.Context(), owner, 10); err != nil || len(keys) != 0 {
		t.Errorf("List: %d keys, %v", len(keys), err)
	}
}

// After a failover an address may lead to what is a replica now: it writes nothing, and says so.
func TestAReplicaRefusesWritesAndIsNoConflict(t *testing.T) {
	master, replica := startServer(t), startServer(t)
	b, key := backendOn(t, replica.client()), session.Key{1}
	mustPut(t, b, key, itemOf("x", 1), 0)
	if err := replica.client().ReplicaOf(t.Context(), "127.0.0.1", strings.TrimPrefix(master.addr(), "127.0.0.1:")).Err(); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"Put":            b.Put(t.Context(), key, itemOf("y", 2), 1),
		"Delete":         b.Delete(t.Context(), key, 1),
		"Delete of zero": b.Delete(t.Context(), key, 0),
	} {
		if err == nil || errors.Is(err, session.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
