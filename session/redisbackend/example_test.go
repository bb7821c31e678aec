package redisbackend_test

import (
	"fmt"

	"github.com/latchkey-go/latchkey/session"
	"github.com/latchkey-go/latchkey/session/redisbackend"
	"github.com/redis/go-redis/v9"
)

func Example() {
	client := redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs:                 []string{"redis:6379"}, // several: a Cluster; with MasterName: Sentinels
		ContextTimeoutEnabled: true,
	})
	defer client.Close()
	backend, err := redisbackend.New(client, redisbackend.Config{Prefix: "shop:"})
	if err != nil {
		panic(err)
	}
	key := []byte("32 random bytes, kept as a secret") // crypto/rand, from your secret store
	store, err := session.NewServerStore(backend, key)
	if err != nil {
		panic(err)
	}
	fmt.Println(store) // for session.Config.Store, on every replica
	// Output: session.ServerStore(*redisbackend.Backend)
}
