package session_test

import (
	"errors"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

func TestAUsersSessionsAreListedAndEndedOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, rptest.Options{AccessTokenLifetime: time.Hour})
		laptop, phone, bob := f.sites[0].visitor(), f.sites[1].visitor(), f.sites[0].visitor()
		alice := laptop.login()
		time.Sleep(2 * time.Minute)
		phone.login()
		f.provider.SignInAs("bob")
		bob.login()
		all, err := f.sites[1].List(t.Context(), "", alice.Subject)
		if err != nil || len(all) != 2 {
			t.Fatalf("%d sessions, %v; want alice's 2", len(all), err)
		}
		if all[0].Key != phone.mustLoad().Key() || all[1].Key != laptop.mustLoad().Key() || all[0].Key == all[1].Key {
			t.Error("the keys are not those of the sessions, last used first")
		}
		if first := all[1]; !first.LoginAt.Equal(alice.LoginAt) || !first.ExpiresAt.Equal(alice.ExpiresAt) || first.SeenAt.Before(first.LoginAt) {
			t.Errorf("%+v", first)
		}
		time.Sleep(2 * time.Minute)
		laptop.mustLoad()
		if again, _ := f.sites[0].List(t.Context(), alice.Issuer, alice.Subject); len(again) != 2 || again[0].Key != laptop.mustLoad().Key() {
			t.Errorf("%+v", again)
		}
		if err := f.sites[0].EndListed(t.Context(), "", "bob", all[0].Key); !errors.Is(err, session.ErrNone) {
			t.Errorf("somebody else's session: %v", err)
		}
		for _, key := range []string{"", "nonsense", all[0].Key[1:]} {
			if err := f.sites[0].EndListed(t.Context(), "", "alice", key); !errors.Is(err, session.ErrNone) {
				t.Errorf("%q: %v", key, err)
			}
		}
		if err := f.sites[0].EndListed(t.Context(), "", "alice", all[0].Key); err != nil {
			t.Fatal(err)
		}
		if _, err := phone.load(); !errors.Is(err, session.ErrNone) {
			t.Errorf("the session that was ended: %v", err)
		}
		laptop.mustLoad()
		bob.mustLoad()
	})
}

func TestOnlyAServerStoreListsSessions(t *testing.T) {
	for name, config := range stores(t) {
		s := newSite(t, setup{session: config()})
		v := s.visitor()
		v.login()
		lists := name == "server"
		if _, err := s.List(t.Context(), "", "alice"); errors.Is(err, session.ErrNotListed) == lists {
			t.Errorf("%s: List: %v", name, err)
		}
		if err := s.EndListed(t.Context(), "", "alice", "x"); errors.Is(err, session.ErrNotListed) == lists {
			t.Errorf("%s: EndListed: %v", name, err)
		}
		if key := v.mustLoad().Key(); (key != "") != lists {
			t.Errorf("%s: key %q", name, key)
		}
		cfg := config()
		cfg.Keys, cfg.MaxSessions = [][]byte{testKey(1)}, 1
		if _, err := session.New(s.client, cfg); errors.Is(err, session.ErrNotListed) == lists {
			t.Errorf("%s: MaxSessions: %v", name, err)
		}
	}
}

func TestALoginAboveTheBoundEndsTheSessionUsedLeastLately(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{session: session.Config{Store: serverStore(t, session.NewMemoryBackend(0)), MaxSessions: 2}, provider: rptest.Options{AccessTokenLifetime: time.Hour}})
		first, second, third := s.visitor(), s.visitor(), s.visitor()
		first.login()
		time.Sleep(time.Minute)
		second.login()
		time.Sleep(time.Minute)
		first.mustLoad() // used later than the second
		third.login()
		if _, err := second.load(); !errors.Is(err, session.ErrNone) {
			t.Errorf("the one used least lately: %v", err)
		}
		first.mustLoad()
		third.mustLoad()
		third.login() // in the same browser: in place of the one that is there
		first.mustLoad()
		third.mustLoad()
	})
}

func TestALoginAboveTheBoundIsRefusedWhereThatIsSaid(t *testing.T) {
	s := newSite(t, setup{session: session.Config{Store: serverStore(t, session.NewMemoryBackend(0)), MaxSessions: 1, RefuseMore: true}})
	first, second := s.visitor(), s.visitor()
	first.login()
	if _, _, err := second.finish(s.authorize(second.begin("/"))); !errors.Is(err, session.ErrTooMany) {
		t.Errorf("a second session: %v", err)
	}
	if _, err := second.load(); !errors.Is(err, session.ErrNone) || len(second.names(sessionKey)) != 0 {
		t.Errorf("afterwards: %v, cookies %q", err, second.names(sessionKey))
	}
	first.mustLoad()
	first.login()
	first.mustLoad()
	w := httptest.NewRecorder()
	if _, err := s.End(w, first.get(shop), "/"); err != nil {
		t.Fatal(err)
	}
	second.login()
	second.mustLoad()
}
