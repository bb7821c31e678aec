package session_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

func TestALogoutByAProviderWhoseClockIsBehindLastsToTheSessionsEnd(t *testing.T) {
	for name, config := range allStores(t) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const behind = 5 * time.Minute
				c := config()
				c.Idle, c.Lifetime, c.BackchannelLogout, c.SingleProcess = -1, time.Hour, true, true
				s := newSite(t, setup{
					session: c, client: func(c *rp.Config) { c.Leeway = behind },
					provider: rptest.Options{AccessTokenLifetime: 24 * time.Hour, IDTokenLifetime: 24 * time.Hour},
				})
				now := time.Now().Add(-behind).Unix()
				s.provider.TokenFault(rptest.WithClaim("iat", now))
				v := s.visitor()
				user := v.login()
				if err := s.BackchannelLogout(t.Context(), logoutToken(s.provider, user, "iat", now, "exp", now+600)); err != nil {
					t.Fatal(err)
				}
				for _, after := range []time.Duration{0, time.Hour - behind, time.Hour - 2*time.Second} {
					time.Sleep(time.Until(user.LoginAt.Add(after)))
					if _, err := v.load(); !errors.Is(err, session.ErrNone) {
						t.Errorf("%v after the login: %v", after, err)
					}
				}
			})
		})
	}
}
