package middleware_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/session"
)

// What follows a redirect of the provider's goes without Strict cookies: redirected to a guarded page, a browser would be sent to log in again and again.
func TestAStrictCookieIsMetByAPageThatNavigates(t *testing.T) {
	s := newSite(t, setup{session: session.Config{SameSite: http.SameSiteStrictMode}})
	b := s.provider.Browser()
	page := s.open(b, "/orders?sort=%3Bup&x=1")
	if page.Status != 200 || !strings.Contains(page.Body, "You are signed in") || !strings.Contains(page.Body, `href="/orders?sort=%3Bup&amp;x=1"`) {
		t.Fatalf("%d %s", page.Status, page.Body)
	}
	if got := page.Header.Get("Refresh"); got != "0; url=/orders?sort=%3Bup&x=1" {
		t.Errorf("Refresh %q", got)
	}
	if got := page.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
	if page = s.open(b, "/orders"); page.Body != "alice at /orders" {
		t.Errorf("afterwards: %d %s", page.Status, page.Body)
	}
}

func TestALaxCookieNeedsNoPageInBetween(t *testing.T) {
	s := newSite(t, setup{})
	if page := s.open(s.provider.Browser(), "/orders"); page.Body != "alice at /orders" {
		t.Errorf("%d %s", page.Status, page.Body)
	}
}
