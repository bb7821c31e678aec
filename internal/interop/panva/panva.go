// Package panva runs npm's oidc-provider.
package panva

import (
	"testing"

	"github.com/latchkey-go/latchkey/internal/interop/service"
	"github.com/latchkey-go/latchkey/internal/interop/visitor"
)

// Provider is a running oidc-provider.
type Provider struct{ process *service.Process }

// Start runs one until the test ends.
func Start(t testing.TB) *Provider { return &Provider{service.Node(t, "provider.mjs")} }

func (p *Provider) Issuer() string { return p.process.Issuer }

// Register makes a client known; metadata are those of OpenID Connect Dynamic Client Registration.
func (p *Provider) Register(t testing.TB, metadata map[string]any) {
	t.Helper()
	p.process.Tell(t, "/clients", metadata)
}

// Rotate signs with a new key from now on; drop takes the old ones from the published set.
func (p *Provider) Rotate(t testing.TB, drop bool) {
	t.Helper()
	p.process.Tell(t, "/rotate", map[string]any{"drop": drop})
}

// AccessTokenTTL sets the life of access tokens made from now on, in seconds.
func (p *Provider) AccessTokenTTL(t testing.TB, seconds int) {
	t.Helper()
	p.process.Tell(t, "/settings", map[string]any{"accessTokenTTL": seconds})
}

// Down makes every endpoint answer 503 with a page, or work again.
func (p *Provider) Down(t testing.TB, down bool) {
	t.Helper()
	p.process.Tell(t, "/down", map[string]any{"down": down})
}

// SignIn fills in the provider's pages, login and consent, from the first one on.
func (p *Provider) SignIn(t testing.TB, page *visitor.Page, user string) *visitor.Page {
	t.Helper()
	for range 3 {
		prompt := ""
		for _, form := range page.Forms {
			prompt += form.Values.Get("prompt")
		}
		switch {
		case prompt == "login":
			page = page.Submit(map[string]string{"login": user, "password": "any"})
		case prompt == "consent":
			page = page.Submit(map[string]string{"prompt": "consent"})
		default:
			return page
		}
	}
	return page
}

// SignOut says yes on the provider's logout page.
func (p *Provider) SignOut(t testing.TB, page *visitor.Page) *visitor.Page {
	t.Helper()
	return page.Submit(map[string]string{"logout": "yes"})
}
