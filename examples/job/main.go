// Command job is a worker that keeps the tokens of many tenants fresh, whether anybody needs them at the moment or not. It brings its own provider, with
// tokens of a minute; watch them being refreshed, the provider going away for a while, and one tenant taking its consent back.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/latchkey-go/latchkey/examples/internal/program"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/store"
)

func main() {
	program.Main("job", func(ctx context.Context) error { return run(ctx, os.Args[1:], os.Stdout) })
}

// work keeps the tokens of every tenant in the store fresh until ctx ends.
func work(ctx context.Context, client *rp.Client, tokens *rp.TokenStore, tenants []string, show func(rp.KeeperStats)) error {
	keeper, err := rp.NewKeeper(rp.KeeperConfig{})
	if err != nil {
		return err
	}
	for _, tenant := range tenants {
		keeper.Add(client.TokenSource(ctx, tokens, tenant))
	}
	var shows sync.WaitGroup
	shows.Go(func() {
		for ctx.Err() == nil {
			show(keeper.Stats())
			time.Sleep(time.Second)
		}
	})
	if err := keeper.Run(ctx); err != nil {
		return err
	}
	shows.Wait()
	show(keeper.Stats())
	// What is under way is saved before the process ends.
	last, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return tokens.Close(last)
}

// open is where the tokens are kept: sealed files in a folder that any number of workers on this machine may share, or this process's memory.
func open(folder string, out io.Writer) (*rp.TokenStore, error) {
	told := func(tenant string, err *rp.ReconnectError) {
		fmt.Fprintf(out, "\n%s must connect again: %s\n", tenant, err.Reason)
	}
	if folder == "" {
		return rp.NewTokenStore(rp.TokenStoreConfig{Backend: store.NewMemory(0), OnReconnect: told})
	}
	backend, err := store.NewFile(folder)
	if err != nil {
		return nil, err
	}
	keys := folder + ".key" // in a real program: from where your secrets are
	err = store.CreateKeyFile(keys)
	ring, ringErr := store.KeyringFromFile(keys)
	if err := errors.Join(err, ringErr); err != nil {
		return nil, err
	}
	return rp.NewTokenStore(rp.TokenStoreConfig{Backend: backend, Keyring: ring, OnReconnect: told})
}
