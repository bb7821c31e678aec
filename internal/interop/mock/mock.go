// Package mock runs npm's oauth2-mock-server, which lets everybody in as johndoe and answers wrongly on demand.
package mock

import (
	"testing"

	"github.com/latchkey-go/latchkey/internal/interop/service"
)

// Provider is a running oauth2-mock-server.
type Provider struct{ process *service.Process }

// Fault is what mock.mjs says it can do: objects named response, userinfo, token, redirect and revoke.
type Fault map[string]any

// Start runs one until the test ends.
func Start(t testing.TB) *Provider { return &Provider{service.Node(t, "mock.mjs")} }

func (p *Provider) Issuer() string { return p.process.Issuer }

// Arm replaces the faults; the zero Fault lets the server behave.
func (p *Provider) Arm(t testing.TB, fault Fault) {
	t.Helper()
	if fault == nil {
		fault = Fault{}
	}
	p.process.Tell(t, "/arm", fault)
}

// AddKey makes the server sign with one key more, in turn with the others.
func (p *Provider) AddKey(t testing.TB) {
	t.Helper()
	p.process.Tell(t, "/rotate", nil)
}
