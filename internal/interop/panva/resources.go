package panva

import (
	"testing"

	"github.com/latchkey-go/latchkey/internal/interop/service"
)

// StartResources runs one that issues access tokens for APIs until the test ends; see resources.mjs.
func StartResources(t testing.TB) *Provider { return &Provider{service.Node(t, "resources.mjs")} }
