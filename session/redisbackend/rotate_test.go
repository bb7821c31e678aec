//go:build unix

package redisbackend_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
	"github.com/redis/go-redis/v9"
)

// rotation is what one request that rotates the session has got; no cookies: it did not.
func rotation(t *testing.T, m *session.Manager, cookies []*http.Cookie) []*http.Cookie {
	for range 20 {
		w := httptest.NewRecorder()
		switch err := m.Rotate(w, request("/elevate", cookies)); {
		case err == nil:
			return w.Result().Cookies()
		case errors.Is(err, rp.ErrUnavailable): // somebody else has the turn
		case errors.Is(err, session.ErrNone):
			return nil
		default:
			t.Errorf("Rotate: %v", err)
			return nil
		}
	}
	t.Error("Rotate: it stays unavailable")
	return nil
}

// wantNobody wants cookies to open nothing, at any replica, and the user's list to be empty.
func wantNobody(t *testing.T, what string, managers []*session.Manager, s *session.Session, cookies ...[]*http.Cookie) {
	t.Helper()
	for i, m := range managers {
		for j, c := range cookies {
			if _, err := load(m, c); !errors.Is(err, session.ErrNone) {
				t.Errorf("%s: cookie %d at replica %d: %v", what, j, i, err)
			}
		}
		if list, err := m.List(t.Context(), s.Issuer, s.Subject); err != nil || len(list) != 0 {
			t.Errorf("%s: %d sessions are listed at replica %d, %v", what, len(list), i, err)
		}
	}
}

// rotations rotates sessions at two replicas with whatever may go on beside it.
func rotations(t *testing.T, client func() redis.UniversalClient) {
	provider := newProvider(t, rptest.Options{})
	managers := replicas(t, provider, client(), client())
	a, b := managers[0], managers[1]

	first, cookies := login(t, provider, a, b)
	// On one processor a rotation may be faster for long.
	for round := 0; round < 15 || provider.Refreshes() == 0 && round < 200; round++ {
		var wg sync.WaitGroup
		made := make([][]*http.Cookie, 2)
		for i, m := range managers[:1+round%2] {
			wg.Go(func() { made[i] = rotation(t, m, cookies) })
		}
		wg.Go(func() {
			if _, err := b.Refresh(httptest.NewRecorder(), request("/", cookies)); err != nil && !errors.Is(err, session.ErrNone) && !errors.Is(err, rp.ErrUnavailable) {
				t.Errorf("round %d: Refresh: %v", round, err)
			}
		})
		for range 2 {
			wg.Go(func() {
				for range 10 {
					if list, err := b.List(t.Context(), first.Issuer, first.Subject); err != nil || len(list) != 1 {
						t.Errorf("round %d: %d sessions are listed, %v; want 1", round, len(list), err)
					}
				}
			})
		}
		wg.Wait()
		if (made[0] == nil) == (made[1] == nil) {
			t.Fatalf("round %d: of the rotations at once, not one was made", round)
		}
		old := cookies
		if cookies = made[0]; cookies == nil {
			cookies = made[1]
		}
		var tokens []string
		for i, m := range managers {
			if _, err := load(m, old); !errors.Is(err, session.ErrNone) {
				t.Errorf("round %d: the old cookie at replica %d: %v", round, i, err)
			}
			s, err := load(m, cookies)
			if err != nil {
				t.Fatalf("round %d: the new cookie at replica %d: %v", round, i, err)
			}
			tokens = append(tokens, s.Token().AccessToken)
		}
		if tokens[0] != tokens[1] || provider.RefreshReuses() != 0 {
			t.Fatalf("round %d: different tokens: %t, %d reuses", round, tokens[0] != tokens[1], provider.RefreshReuses())
		}
	}
	if provider.Refreshes() == 0 {
		t.Error("no refresh was made beside the rotations")
	}

	// A logout beside a rotation, by the list or by the old cookie, ends it under both identifiers.
	ends := []struct {
		name string
		end  func(s *session.Session, cookies []*http.Cookie, listed string) error
	}{
		{"EndListed", func(s *session.Session, _ []*http.Cookie, listed string) error {
			return b.EndListed(t.Context(), s.Issuer, s.Subject, listed)
		}},
		{"End", func(_ *session.Session, cookies []*http.Cookie, _ string) error {
			_, err := b.End(httptest.NewRecorder(), request("/logout", cookies), "/")
			return err
		}},
	}
	s := first
	for _, e := range ends {
		name, end := e.name, e.end
		for round := range 8 {
			list, err := b.List(t.Context(), s.Issuer, s.Subject)
			if err != nil || len(list) == 0 {
				t.Fatalf("%s, round %d: %d sessions are listed, %v", name, round, len(list), err)
			}
			var rotated []*http.Cookie
			var wg sync.WaitGroup
			wg.Go(func() { rotated = rotation(t, a, cookies) })
			wg.Go(func() {
				for _, l := range list {
					if err := end(s, cookies, l.Key); err != nil {
						t.Errorf("%s, round %d: %v", name, round, err)
					}
				}
			})
			wg.Wait()
			wantNobody(t, name, managers, s, cookies, rotated)
			s, cookies = login(t, provider, a, b)
		}
	}
}

func TestTwoReplicasRotateASessionOnOneServer(t *testing.T) {
	s := startServer(t)
	rotations(t, func() redis.UniversalClient { return s.client() })
}

func TestTwoReplicasRotateASessionOnACluster(t *testing.T) {
	nodes := startCluster(t)
	rotations(t, func() redis.UniversalClient { return clusterClient(t, nodes) })
}
