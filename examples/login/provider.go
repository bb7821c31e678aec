package main

import (
	"crypto/rand"
	"net"
	"net/http"
	"time"

	"github.com/latchkey-go/latchkey/rp/rptest"
)

// stepUpACR is what the embedded provider grants after it has asked for the password again.
const stepUpACR = "urn:example:acr:confirmed"

// embedProvider starts a provider on a loopback port of its own and points cfg at it.
func embedProvider(cfg *config) (stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	cfg.issuer = "http://" + listener.Addr().String()
	cfg.insecureHTTP = true
	cfg.clientID, cfg.clientSecret = "login-example", rand.Text()
	if cfg.acr == "" {
		cfg.acr = stepUpACR
	}
	provider, err := rptest.New(rptest.Options{
		Issuer: cfg.issuer,
		Clients: []rptest.Client{{
			ID: cfg.clientID, Secret: cfg.clientSecret,
			RedirectURIs:           []string{cfg.redirectURL},
			PostLogoutRedirectURIs: []string{cfg.postLogoutRedirectURL},
		}},
		Interactive: true,
		Consent:     true,
		ShowHints:   true,
	})
	if err != nil {
		listener.Close()
		return nil, err
	}
	server := &http.Server{Handler: provider, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener) // ends with stop
	return func() { server.Close() }, nil
}
