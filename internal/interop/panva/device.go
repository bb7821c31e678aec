package panva

import (
	"testing"

	"github.com/latchkey-go/latchkey/internal/interop/service"
)

// StartDevices runs one for clients without a browser until the test ends; see device.mjs.
func StartDevices(t testing.TB) *Provider { return &Provider{service.Node(t, "../panva/device.mjs")} }

// Answer is the user's yes or no on the telephone, to every backchannel request that waits. By ping it ends when the client has taken the notification.
func (p *Provider) Answer(t testing.TB, user string, allow bool) {
	t.Helper()
	p.process.Tell(t, "/answer", map[string]any{"account": user, "allow": allow})
}

// Waiting sets how long device codes and backchannel requests made from now on wait for their users, in seconds.
func (p *Provider) Waiting(t testing.TB, seconds int) {
	t.Helper()
	p.process.Tell(t, "/ttl", map[string]any{"DeviceCode": seconds, "BackchannelAuthenticationRequest": seconds})
}
