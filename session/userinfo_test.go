package session_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

func TestARefreshFetchesUserInfoAnew(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		config.UserInfo = true
		s := newSite(t, setup{session: config, provider: rptest.Options{LeanIDTokens: true}})
		s.provider.SetClaim("alice", "roles", []string{"admin"})
		s.provider.SetClaim("alice", "name", "Alice A.")
		v := s.visitor()
		got := v.login()
		for _, change := range []string{"reader", "nobody"} {
			s.provider.SetClaim("alice", "roles", []string{change})
			s.provider.SetClaim("alice", "name", "Alice "+change)
			if had := got.Claims().Strings("roles"); slices.Equal(had, []string{change}) {
				t.Fatal("no input: the roles have changed before the refresh")
			}
			untilDue(got)
			got = v.mustLoad()
			for which, s := range map[string]*session.Session{"at the refresh": got, "afterwards": v.mustLoad()} {
				if roles := s.Claims().Strings("roles"); !slices.Equal(roles, []string{change}) || s.Claims().Name() != "Alice "+change {
					t.Errorf("%s: roles %q, name %q; want %s", which, roles, s.Claims().Name(), change)
				}
			}
		}
	})
}

// What a refresh brought is kept whatever becomes of UserInfo; of what UserInfo said before only that stays which the newer ID token doesn't say otherwise.
func TestARefreshSurvivesUserInfo(t *testing.T) {
	for name, fault := range map[string]rptest.Fault{
		"down": rptest.Down, "hanging": rptest.Hang, "refused": rptest.Status(401, ""), "of somebody else": rptest.WithMember("sub", "bob"),
		"too long for a cookie": rptest.WithMember("story", strings.Repeat("x", 20_000)),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, config session.Config) {
				if name == "too long for a cookie" && config.Store != nil {
					return
				}
				config.UserInfo = true
				s := newSite(t, setup{session: config, provider: rptest.Options{LeanIDTokens: true}})
				s.provider.SetClaim("alice", "roles", []string{"admin"})
				v := s.visitor()
				first := v.login()
				untilDue(first)
				s.provider.Fault(rptest.UserInfo, fault)
				s.provider.SetClaim("alice", "roles", []string{"reader"})
				v.mustLoad() // which may not wait for all of it
				time.Sleep(10 * time.Second)
				got := v.mustLoad()
				if access(got) == access(first) {
					t.Error("the new tokens are lost")
				}
				if roles := got.Claims().Strings("roles"); !slices.Equal(roles, []string{"reader"}) {
					t.Errorf("roles %q: those of the older UserInfo are over the newer ID token's", roles)
				}
				if got.Claims().Name() == "" || got.Claims().Subject() != "alice" {
					t.Errorf("claims %q: the older UserInfo is gone", got.Claims().Names())
				}
				if !strings.Contains(s.logs.String(), "UserInfo") {
					t.Error("nothing was logged")
				}
				s.provider.ClearFaults()
				s.provider.SetClaim("alice", "name", "Alice B.")
				untilDue(got)
				if got := v.mustLoad().Claims().Name(); got != "Alice B." {
					t.Errorf("UserInfo is back, and the name is %q", got)
				}
				if n := s.provider.RefreshReuses(); n != 0 {
					t.Errorf("%d refresh tokens were used twice", n)
				}
			})
		})
	}
}

// A refresh without an ID token says nothing newer than UserInfo did.
func TestARefreshWithoutIDTokenLeavesUserInfoOnTop(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		config.UserInfo = true
		s := newSite(t, setup{session: config})
		s.provider.Fault(rptest.UserInfo, rptest.WithMember("nickname", "from UserInfo"))
		v := s.visitor()
		first := v.login()
		untilDue(first)
		s.provider.Fault(rptest.Token, rptest.NoIDToken)
		s.provider.Fault(rptest.UserInfo, rptest.Down)
		got := v.mustLoad()
		if access(got) == access(first) || claim(got, "nickname") != "from UserInfo" {
			t.Errorf("nickname %q", claim(got, "nickname"))
		}
	})
}
