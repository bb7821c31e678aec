// Command worker is one process of a background job which keeps tenants' tokens fresh and uses them, with the tokens in Redis or in files. It prints one line of JSON when it begins, and, when its
// standard input ends, what it has counted.
package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/store"
	"github.com/latchkey-go/latchkey/session/redisbackend"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

// Counts is what a worker says at its end.
type Counts struct {
	Store  rp.TokenStoreStats
	Keeper rp.KeeperStats
	Used   int64 // calls with a tenant's token
	Failed int64 // of these, those that did not work
}

func main() {
	server := flag.String("redis", "", "address of Redis; none: files")
	dir := flag.String("dir", "", "folder of the files")
	issuer := flag.String("issuer", "", "issuer of the provider")
	client := flag.String("client", "", "client ID; the client is public")
	key := flag.String("key", "", "32 bytes in hexadecimal, the same for every worker")
	tenants := flag.Int("tenants", 1, "how many tenants there are, tenant-0 and so on")
	flag.Parse()
	if err := run(*server, *dir, *issuer, *client, *key, *tenants); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

func backend(server, dir string) (store.Backend, error) {
	if server == "" {
		return store.NewFile(dir)
	}
	logging.Disable() // the client tells of every lost connection, which here are wanted
	return redisbackend.New(redis.NewClient(&redis.Options{Addr: server, ContextTimeoutEnabled: true}), redisbackend.Config{})
}

func run(server, dir, issuer, clientID, hexKey string, tenants int) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	key, err := hex.DecodeString(hexKey)
	if err != nil {
		return err
	}
	ring, err := store.NewKeyring(key)
	if err != nil {
		return err
	}
	shared, err := backend(server, dir)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	client, err := rp.New(rp.Config{Issuer: issuer, ClientID: clientID, InsecureLoopbackHTTP: true, Logger: log})
	if err != nil {
		return err
	}
	tokens, err := rp.NewTokenStore(rp.TokenStoreConfig{Backend: shared, Keyring: ring, Logger: log})
	if err != nil {
		return err
	}
	keeper, err := rp.NewKeeper(rp.KeeperConfig{Logger: log})
	if err != nil {
		return err
	}
	sources := make([]*rp.TokenSource, tenants)
	for i := range sources {
		sources[i] = client.TokenSource(ctx, tokens, fmt.Sprint("tenant-", i))
		keeper.Add(sources[i])
	}
	fmt.Println("{}")
	var counts Counts
	var used, failed atomic.Int64
	go use(ctx, issuer, sources, &used, &failed)
	if err := keeper.Run(ctx); err != nil {
		return err
	}
	last, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err = tokens.Close(last)
	counts.Store, counts.Keeper, counts.Used, counts.Failed = tokens.Stats(), keeper.Stats(), used.Load(), failed.Load()
	if encodeErr := json.NewEncoder(os.Stdout).Encode(counts); encodeErr != nil {
		return encodeErr
	}
	return err
}

// use calls an API in the name of one tenant after the other.
func use(ctx context.Context, issuer string, sources []*rp.TokenSource, used, failed *atomic.Int64) {
	for ctx.Err() == nil {
		source := sources[rand.IntN(len(sources))]
		api := &http.Client{Transport: &rp.Transport{Source: source}, Timeout: 30 * time.Second}
		req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, issuer+"/userinfo", nil)
		if err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
			return
		}
		resp, err := api.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("userinfo answered %s", resp.Status)
			}
		}
		used.Add(1)
		if err != nil {
			failed.Add(1)
			fmt.Fprintf(os.Stderr, "worker: %s: %v\n", source.Key(), err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
