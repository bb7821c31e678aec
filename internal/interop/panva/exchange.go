package panva

import (
	"testing"

	"github.com/latchkey-go/latchkey/internal/interop/service"
)

// StartExchange runs one that exchanges tokens and takes assertions until the test ends; see exchange.mjs.
func StartExchange(t testing.TB) *Provider {
	return &Provider{service.Node(t, "../panva/exchange.mjs")}
}

// Trust believes assertions of issuer that are signed by one of keys, a JWK set.
func (p *Provider) Trust(t testing.TB, issuer string, keys any) {
	t.Helper()
	p.process.Tell(t, "/trust", map[string]any{"issuer": issuer, "jwks": keys})
}

// Silent leaves issued_token_type out of its answers, or puts it in again.
func (p *Provider) Silent(t testing.TB, silent bool) {
	t.Helper()
	p.process.Tell(t, "/silent", map[string]any{"silent": silent})
}
