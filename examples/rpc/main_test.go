package main

import (
	"strings"
	"testing"
)

func TestEachClientGetsWhatItsTokenAllows(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	const want = `nobody
  gRPC    unary:  A token is needed: Send an access token as Authorization: Bearer TOKEN.
  gRPC    stream: A token is needed: Send an access token as Authorization: Bearer TOKEN.
  Connect unary:  A token is needed: Send an access token as Authorization: Bearer TOKEN. (Bearer realm="https://api.example", scope="read")
alice without the scope
  gRPC    unary:  The token is not enough: The token lacks a scope that this needs.
  gRPC    stream: The token is not enough: The token lacks a scope that this needs.
  Connect unary:  The token is not enough: The token lacks a scope that this needs. (Bearer realm="https://api.example", error="insufficient_scope", error_description="The token lacks a scope that this needs.", scope="read")
alice
  gRPC    unary:  SERVING
  gRPC    stream: SERVING
  Connect unary:  hello alice
`
	if out.String() != want {
		t.Errorf("printed\n%s\nwant\n%s", &out, want)
	}
}
