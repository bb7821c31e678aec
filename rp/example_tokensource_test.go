package rp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/rp/store"
)

// A user of tenant-42 consents once, at a browser. From then on a job works in the tenant's name.
func ExampleClient_TokenSource() {
	op, err := rptest.New(rptest.Options{Issuer: "https://op.example"})
	if err != nil {
		panic(err)
	}
	client, err := rp.New(rp.Config{
		Issuer: op.Issuer(), ClientID: op.ClientID(), ClientSecret: op.ClientSecret(),
		RedirectURL: "https://shop.example/connected", HTTPClient: op.Client(),
	})
	if err != nil {
		panic(err)
	}
	tokens, err := rp.NewTokenStore(rp.TokenStoreConfig{
		Backend: store.NewMemory(0), // store.NewFile, redisbackend.New or sqlbackend.New, with a Keyring, for what outlives this process
		OnReconnect: func(key string, err *rp.ReconnectError) {
			fmt.Println(key, "must connect again:", err.Reason)
		},
	})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	source := client.TokenSource(ctx, tokens, "tenant-42")

	if _, err := source.Token(); errors.Is(err, rp.ErrReconnect) {
		fmt.Println("tenant-42 has not connected yet")
	}

	// In the handlers of /connect and /connected:
	login, err := client.Begin(ctx, rp.AuthParams{Scopes: []string{"offline_access"}})
	if err != nil {
		panic(err)
	}
	granted, err := client.Finish(ctx, login, visit(op, login.URL))
	if err != nil {
		panic(err)
	}
	if err := source.Save(ctx, granted); err != nil {
		panic(err)
	}

	// In the job, in this process or another one:
	token, err := source.Token()
	fmt.Println(token.Valid(), token.RefreshToken == "", err)
	// Output:
	// tenant-42 has not connected yet
	// true true <nil>
}

// A worker for every tenant there is.
func ExampleKeeper() {
	op, err := rptest.New(rptest.Options{Issuer: "https://op.example"})
	if err != nil {
		panic(err)
	}
	client, err := rp.New(rp.Config{Issuer: op.Issuer(), ClientID: op.ClientID(), ClientSecret: op.ClientSecret(), HTTPClient: op.Client()})
	if err != nil {
		panic(err)
	}
	tokens, err := rp.NewTokenStore(rp.TokenStoreConfig{Backend: store.NewMemory(0)})
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Millisecond) // until the process is asked to end
	defer stop()
	keeper, err := rp.NewKeeper(rp.KeeperConfig{})
	if err != nil {
		panic(err)
	}
	tenants, err := tokens.Keys(ctx, 10_000)
	if err != nil {
		panic(err)
	}
	for _, tenant := range tenants {
		keeper.Add(client.TokenSource(ctx, tokens, tenant))
	}
	if err := keeper.Run(ctx); err != nil {
		panic(err)
	}
	fmt.Println(keeper.Stats().Keys, tokens.Close(context.Background()))
	// Output: 0 <nil>
}

// Calls to an API with a token of the client's own.
func ExampleTransport() {
	op, err := rptest.New(rptest.Options{Issuer: "https://op.example"})
	if err != nil {
		panic(err)
	}
	op.HandleHost("api.example", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("the API got a token:", r.Header.Get("Authorization") != "")
	}))
	client, err := rp.New(rp.Config{Issuer: op.Issuer(), ClientID: op.ClientID(), ClientSecret: op.ClientSecret(), HTTPClient: op.Client()})
	if err != nil {
		panic(err)
	}
	api := &http.Client{Transport: &rp.Transport{
		Source: client.ClientCredentials(context.Background(), "reports.write"),
		Base:   op.Transport(), // in memory; leave it out for a real API
	}}
	resp, err := api.Get("https://api.example/reports")
	if err != nil {
		panic(err)
	}
	resp.Body.Close()
	fmt.Println(resp.Status)
	// Output:
	// the API got a token: true
	// 200 OK
}
