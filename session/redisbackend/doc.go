// Package redisbackend keeps sessions in Redis or Valkey, for replicas to share: it is a store.Backend.
//
//	client := redis.NewClient(&redis.Options{Addr: "redis:6379", ContextTimeoutEnabled: true})
//	backend, err := redisbackend.New(client, redisbackend.Config{})
//	...
//	store, err := session.NewServerStore(backend, keys...)
//
// A single server, one watched by Sentinel (redis.NewFailoverClient) and a Cluster (redis.NewClusterClient) do alike. The server is Redis 6.2 or newer, or Valkey.
//
// # What it costs
//
// Get is one round trip; on a Cluster one to each node that has a key, at the same time. Put is one, and one more before it for an item with an owner. Delete is
// one. List is two for about 250 items of the owner, and twice that when some have ended or gone lately. An item takes 25 bytes and its owner's 32 besides its data, Redis's own overhead and a key of 45 bytes and
// Config.Prefix; an owner's entry for it about 50 bytes. Redis drops everything by itself a minute or two after its end: there is nothing to sweep up.
//
// # What Redis must be set to
//
// maxmemory-policy must be noeviction. Redis would else drop what has not ended, and that may be the note that a session was revoked: it would live again.
//
// What a master took and no replica had yet is lost when the master is. A failover may thus undo the last moments: a login, which the user repeats; a refresh, after
// which the session may end; but a logout, too. The same goes for a restart without an append-only file. Where that is too much, set appendonly yes and, with replicas,
// min-replicas-to-write 1.
//
// Everything is read from the master. New refuses a Cluster client that reads from replicas, and a redis.Ring, whose keys move when a shard is away;
// of a FailoverClient leave ReplicaOnly false. A replica refuses writes and scripts that write, but answers Get: an address that a failover leaves at the old master shows what is old.
//
// # Clocks
//
// The clock of who asks decides whether an item has ended, and Redis's clock only measures how long it is kept, a minute longer than it lasts. So the clocks of
// replicas must agree within a minute, and better within a second: a lease that one of them takes ends for the others by theirs. Redis's may show any time.
//
// # Time-outs and retries
//
// Every call returns when its context ends, whatever Redis and the client do. What the client still waits for then goes on in a goroutine that holds one of its
// connections, until the client gives up: at once with ContextTimeoutEnabled and a deadline, which is recommended; else after ReadTimeout, which must not be disabled.
// So there are never more of them than the client's connections and its dials under way.
//
// Some providers wait briefly for the answer to a logout token and send it once (oidc-provider: 2.5 seconds). While Redis is away the client's own retries (MaxRetries, DialerRetries) may
// take longer than that; set them low where the provider's log should tell of the 503.
//
// The client repeats a command whose answer was lost (MaxRetries). A Put that was carried out the first time knows itself again and succeeds. Only if another
// write replaced it before it was repeated does it return store.ErrConflict although it took place: that write has seen it then. And a Put of a new item that somebody
// saw and removed before it was repeated puts it there again. Neither happens with MaxRetries -1, where such a Put is an error.
package redisbackend
