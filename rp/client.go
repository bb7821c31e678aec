// Package rp speaks OpenID Connect to one provider for one client: the protocol, without cookies or HTTP handlers.
package rp

import (
	"context"
	"net/http"

	"github.com/latchkey-go/latchkey/discovery"
)

// Client is one client at one provider; safe for concurrent use.
type Client struct {
	cfg      Config
	provider *discovery.Provider
	http     *http.Client // every call: no redirects, no cookies, a time-out
}

// New checks cfg and does no I/O.
func New(cfg Config) (*Client, error) { panic("todo") }

func (c *Client) Issuer() string                { panic("todo") }
func (c *Client) ClientID() string              { panic("todo") }
func (c *Client) RedirectURL() string           { panic("todo") }
func (c *Client) PostLogoutRedirectURL() string { panic("todo") }
func (c *Client) ResponseMode() string          { panic("todo") }
func (c *Client) Scopes() []string              { panic("todo") }

// Metadata returns the provider's metadata; main may call it to fail early.
func (c *Client) Metadata(ctx context.Context) (*discovery.Metadata, error) { panic("todo") }

