package middleware_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

func TestLogoutEverywhereNeedsNoProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{})
		one, two := s.provider.Browser(), s.provider.Browser()
		s.open(one, "/orders")
		s.open(two, "/orders")
		s.provider.Fault(rptest.Token, rptest.Down)
		time.Sleep(10 * time.Minute) // the access tokens have ended, and nobody can renew them
		if resp := s.do(one, "GET", "/auth/session", ""); resp.StatusCode != 503 {
			t.Fatalf("the provider is not down: %d", resp.StatusCode)
		}
		if resp := s.do(one, "POST", "/auth/logout", "everywhere=1&local=1", "Sec-Fetch-Site", "same-origin"); resp.StatusCode != 303 {
			t.Errorf("logout: %d", resp.StatusCode)
		}
		s.provider.ClearFaults()
		time.Sleep(5 * time.Minute)
		if resp := s.do(two, "GET", "/auth/session", ""); resp.StatusCode != 401 {
			t.Errorf("the second browser: %d", resp.StatusCode)
		}
	})
}

// deafLedger writes nothing.
type deafLedger struct{ session.Ledger }

func (deafLedger) Revoke(context.Context, string, time.Time, time.Time) error {
	return errors.New("disk full")
}

func TestLogoutEverywhereThatIsNotWrittenDownIsNoSuccess(t *testing.T) {
	s := newSite(t, setup{session: session.Config{Ledger: deafLedger{session.NewMemoryLedger(0)}}})
	b := s.provider.Browser()
	s.open(b, "/orders")
	if resp := s.do(b, "POST", "/auth/logout", "everywhere=1&local=1", "Sec-Fetch-Site", "same-origin"); resp.StatusCode != 503 {
		t.Errorf("%d", resp.StatusCode)
	}
}
