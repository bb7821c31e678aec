package session_test

import (
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

func TestRefreshSoonAfterTheLastOneAsksNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		v := s.visitor()
		first := v.login()
		oldest := v.copy()
		s.provider.ResetHits()
		got, err := v.refresh()
		if err != nil || access(got) == access(first) {
			t.Fatalf("the first: %v, want new tokens", err)
		}
		var wg sync.WaitGroup
		for _, b := range []*visitor{v, v.copy(), oldest} {
			wg.Go(func() {
				for range 50 {
					if again, err := b.refresh(); err != nil || access(again) != access(got) {
						t.Errorf("soon after: %v, want the tokens of the first", err)
					}
				}
			})
		}
		wg.Wait()
		if n := s.provider.Hits(rptest.Token); n != 1 {
			t.Errorf("%d token requests, want 1", n)
		}
		time.Sleep(10 * time.Second)
		if later, err := v.refresh(); err != nil || access(later) == access(got) {
			t.Errorf("10 seconds later: %v, want new tokens", err)
		}
	})
}

// An access token that is due within those seconds is refreshed all the same.
func TestAShortTokenIsRefreshedHoweverSoon(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config, provider: rptest.Options{AccessTokenLifetime: 8 * time.Second}})
		v := s.visitor()
		v.login()
		got, err := v.refresh()
		if err != nil {
			t.Fatal(err)
		}
		untilDue(got)
		if again, err := v.refresh(); err != nil || access(again) == access(got) {
			t.Errorf("%v, want new tokens", err)
		}
	})
}

// While the provider is down, asking for a refresh again and again asks it no oftener than Load does.
func TestRefreshDoesNotHammerAProviderThatIsDown(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		v := s.visitor()
		v.login()
		s.provider.Fault(rptest.Token, rptest.Down)
		s.provider.ResetHits()
		for range 300 {
			_, _ = v.refresh()
			time.Sleep(100 * time.Millisecond)
		}
		if n := s.provider.Hits(rptest.Token); n < 2 || n > 5 {
			t.Errorf("%d token requests in half a minute, want a few", n)
		}
	})
}
