package session_test

import (
	"errors"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

// refreshEnds has the provider say that each refresh token it gives out ends after d.
func refreshEnds(member string, d time.Duration) rptest.Fault {
	return rptest.WithMember(member, int(d/time.Second))
}

func TestASessionEndsWithItsRefreshToken(t *testing.T) {
	for _, member := range []string{"refresh_expires_in", "refresh_token_expires_in", "session_expires_in"} {
		inBubble(t, func(t *testing.T, config session.Config) {
			config.Idle = -1
			s := newSite(t, setup{session: config, provider: rptest.Options{AccessTokenLifetime: 2 * time.Hour}})
			s.provider.Fault(rptest.Token, refreshEnds(member, time.Hour))
			v := s.visitor()
			if got := v.login(); !got.ExpiresAt.Equal(got.LoginAt.Add(time.Hour)) || got.RefreshAt.After(got.ExpiresAt) {
				t.Errorf("the session ends at %s and is refreshed at %s, login was at %s", got.ExpiresAt, got.RefreshAt, got.LoginAt)
			}
			time.Sleep(time.Hour)
			if _, err := v.load(); !errors.Is(err, session.ErrNone) {
				t.Errorf("after the end of the refresh token: %v", err)
			}
		})
	}
}

func TestARefreshMovesTheEndOfASessionButNotBeyondItsLifetime(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		config.Idle, config.Lifetime = -1, 3*time.Hour
		s := newSite(t, setup{session: config, provider: rptest.Options{AccessTokenLifetime: 2 * time.Hour, IDTokenLifetime: 2 * time.Hour}})
		s.provider.Fault(rptest.Token, refreshEnds("refresh_expires_in", time.Hour))
		v := s.visitor()
		login := v.login().LoginAt
		for time.Since(login) < 3*time.Hour-time.Second {
			got, err := v.load()
			if err != nil {
				t.Fatalf("after %v: %v", time.Since(login), err)
			}
			if got.ExpiresAt.After(login.Add(3 * time.Hour)) {
				t.Fatalf("after %v the session ends after %v", time.Since(login), got.ExpiresAt.Sub(login))
			}
			time.Sleep(10*time.Minute - time.Second/10)
		}
		time.Sleep(time.Until(login.Add(3 * time.Hour)))
		if _, err := v.load(); !errors.Is(err, session.ErrNone) {
			t.Errorf("after its lifetime: %v", err)
		}
	})
}

// An end that does not move (a provider's fixed end of its session) is reached without a refresh at every request before it.
func TestAnEndThatDoesNotMoveIsNotRefreshedTowards(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		config.Idle = -1
		s := newSite(t, setup{session: config, provider: rptest.Options{AccessTokenLifetime: 24 * time.Hour, IDTokenLifetime: 24 * time.Hour}})
		end := time.Now().Add(time.Hour)
		s.provider.Fault(rptest.Token, rptest.ModifyJSON(func(answer map[string]any) {
			answer["refresh_token_expires_in"] = int(time.Until(end) / time.Second)
		}))
		v := s.visitor()
		v.login()
		for time.Until(end) > 2*time.Second {
			v.mustLoad()
			time.Sleep(time.Second)
		}
		if n := s.provider.Hits(rptest.Token); n != 2 {
			t.Errorf("%d token requests, want the login's and the one that tried", n)
		}
	})
}

func TestAProviderThatSaysNothingOrNoEndBoundsNoSession(t *testing.T) {
	for name, value := range map[string]any{"nothing": nil, "an offline token": 0, "no number": "soon", "negative": -5, "a number in words": "0"} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, config session.Config) {
				s := newSite(t, setup{session: config})
				s.provider.Fault(rptest.Token, rptest.WithMember("refresh_expires_in", value))
				if got := s.visitor().login(); !got.ExpiresAt.Equal(got.LoginAt.Add(12 * time.Hour)) {
					t.Errorf("it ends after %v", got.ExpiresAt.Sub(got.LoginAt))
				}
			})
		})
	}
}

// A logout with the cookie from before a refresh ends the copies that have the later end, too.
func TestALogoutOutlastsTheMovedEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		config.Idle = -1
		s := newSite(t, setup{session: config, provider: rptest.Options{AccessTokenLifetime: 20 * time.Minute}})
		s.provider.Fault(rptest.Token, refreshEnds("refresh_expires_in", time.Hour))
		v := s.visitor()
		v.login()
		old := v.copy()
		time.Sleep(19 * time.Minute)
		v.mustLoad()
		if _, err := old.end(); err != nil {
			t.Fatal(err)
		}
		for range 7 {
			if _, err := v.load(); !errors.Is(err, session.ErrNone) {
				t.Fatalf("a copy with a later end: %v", err)
			}
			time.Sleep(10 * time.Minute)
		}
	})
}
