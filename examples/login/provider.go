package main

import (
	"crypto/rand"

	"github.com/latchkey-go/latchkey/examples/internal/program"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

// stepUpACR is what the embedded provider grants after it has asked for the password again.
const stepUpACR = "urn:example:acr:confirmed"

// embedProvider starts a provider on a loopback port of its own and points cfg at it.
func embedProvider(cfg *config) (stop func(), err error) {
	cfg.insecureHTTP = true
	cfg.clientID, cfg.clientSecret = "login-example", rand.Text()
	if cfg.acr == "" {
		cfg.acr = stepUpACR
	}
	cfg.issuer, stop, err = program.Embed(func(string) rptest.Options {
		return rptest.Options{
			Clients: []rptest.Client{{
				ID: cfg.clientID, Secret: cfg.clientSecret,
				RedirectURIs:           []string{cfg.redirectURL},
				PostLogoutRedirectURIs: []string{cfg.postLogoutRedirectURL},
			}},
			Interactive: true,
			Consent:     true,
			ShowHints:   true,
		}
	})
	return stop, err
}
