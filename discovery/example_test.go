package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"

	"github.com/latchkey-go/latchkey/discovery"
)

func Example() {
	ctx := context.Background()
	op := newOP("2026-11") // stands for the provider; a program leaves HTTPClient out

	provider, err := discovery.New(discovery.Config{Issuer: "https://op.example", HTTPClient: &http.Client{Transport: op}})
	if err != nil {
		log.Fatal(err)
	}
	metadata, err := provider.Metadata(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(metadata.TokenEndpoint)
	// Output: https://op.example/token
}

func ExampleKeySet_VerifySignature() {
	ctx := context.Background()
	op := newOP("2026-11")
	provider, err := discovery.New(discovery.Config{Issuer: "https://op.example", HTTPClient: &http.Client{Transport: op}})
	if err != nil {
		log.Fatal(err)
	}
	_, err = provider.KeySet("RS256").VerifySignature(ctx, "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl")
	if refused, ok := errors.AsType[*discovery.SignatureError](err); ok {
		fmt.Println("401:", refused.Check)
	} else if errors.Is(err, discovery.ErrUnavailable) {
		fmt.Println("503")
	}
	// Output: 401: alg
}

// A program that has the keys, as of a sidecar that writes them to a file, needs no network.
func ExampleNew_staticKeys() {
	provider, err := discovery.New(discovery.Config{
		Issuer:   "https://op.example",
		Metadata: &discovery.Metadata{TokenEndpoint: "https://op.example/token"},
		Keys:     []discovery.Key{{ID: "2026-11", Public: signers["ed"].Public()}},
	})
	fmt.Println(provider.Issuer(), err)
	// Output: https://op.example <nil>
}
