// Command job is the README's third program: a job that calls an API in the name of somebody who is not there.
package main

import (
	"context"
	"errors"
	"log"
	"net/http"
	"os"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/store"
)

func main() {
	client, err := rp.New(rp.Config{
		Issuer:       os.Getenv("OIDC_ISSUER"),
		ClientID:     os.Getenv("OIDC_CLIENT_ID"),
		ClientSecret: os.Getenv("OIDC_CLIENT_SECRET"),
	})
	if err != nil {
		log.Fatal(err)
	}
	keys, err := store.KeyringFromEnv("TOKEN_KEYS") // openssl rand -base64 32
	if err != nil {
		log.Fatal(err)
	}
	folder, err := store.NewFile("tokens")
	if err != nil {
		log.Fatal(err)
	}
	tokens, err := rp.NewTokenStore(rp.TokenStoreConfig{Backend: folder, Keyring: keys})
	if err != nil {
		log.Fatal(err)
	}
	source := client.TokenSource(context.Background(), tokens, "tenant-42") // source.Save keeps what a login, or a grant, brought
	api := &http.Client{Transport: &rp.Transport{Source: source}}
	resp, err := api.Get("https://api.example/reports")
	if errors.Is(err, rp.ErrReconnect) {
		log.Fatal("tenant-42 must connect again: ", err)
	}
	if err != nil {
		log.Fatal(err)
	}
	log.Print("the reports came with ", resp.Status)
}
