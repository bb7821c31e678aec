package middleware_test

import (
	"testing"

	"github.com/latchkey-go/latchkey/rp"
)

func TestAnOriginIsComparedAsBrowsersWriteIt(t *testing.T) {
	for _, redirect := range []string{"https://Shop.Example/auth/callback", "https://shop.example:443/auth/callback"} {
		s := newSite(t, setup{client: func(c *rp.Config) { c.RedirectURL, c.PostLogoutRedirectURL = redirect, "" }})
		b := s.provider.Browser()
		s.open(b, "/orders")
		for origin, want := range map[string]int{shop: 200, shop + ":8443": 403, "http://shop.example": 403} {
			if got := s.do(b, "GET", "/feed", "", "Connection", "Upgrade", "Upgrade", "websocket", "Origin", origin).StatusCode; got != want {
				t.Errorf("%s, a WebSocket from %s: %d, want %d", redirect, origin, got, want)
			}
			if got := s.do(b, "POST", "/auth/session", "", "Origin", origin, "Host", "10.0.0.7:8080").StatusCode; (got == 403) != (want == 403) {
				t.Errorf("%s, a POST from %s: %d", redirect, origin, got)
			}
		}
	}
}
