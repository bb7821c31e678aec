package session_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

func TestNewTellsWhatIsWrongWithItsConfiguration(t *testing.T) {
	p := newProvider(t, rptest.Options{})
	good := func() session.Config { return session.Config{Keys: [][]byte{testKey(1)}} }
	loopback := func(c *rp.Config) { c.RedirectURL, c.PostLogoutRedirectURL = "http://127.0.0.1/cb", "" }
	offline := func(c *rp.Config) { c.Scopes = []string{"offline_access"} }
	for _, c := range []struct {
		name   string
		client func(*rp.Config)
		bend   func(*session.Config)
		want   string // in the error; empty: none
	}{
		{"as it is", nil, func(*session.Config) {}, ""},
		{"no key", nil, func(c *session.Config) { c.Keys = nil }, "key"},
		{"a short key", nil, func(c *session.Config) { c.Keys = append(c.Keys, testKey(2)[:31]) }, "key"},
		{"a constant key", nil, func(c *session.Config) { c.Keys = [][]byte{make([]byte, 32)} }, "key"},
		{"no RedirectURL", func(c *rp.Config) { c.RedirectURL = "" }, func(*session.Config) {}, "RedirectURL"},
		{"a return from logout elsewhere", func(c *rp.Config) { c.PostLogoutRedirectURL = "https://www.shop.example/bye" }, func(*session.Config) {}, "PostLogoutRedirectURL"},
		{"no return from logout", func(c *rp.Config) { c.PostLogoutRedirectURL = "" }, func(*session.Config) {}, ""},
		{"the least Lifetime", nil, func(c *session.Config) { c.Lifetime = time.Minute }, ""},
		{"too short a Lifetime", nil, func(c *session.Config) { c.Lifetime = time.Minute - 1 }, "Lifetime"},
		{"a negative Lifetime", nil, func(c *session.Config) { c.Lifetime = -time.Hour }, "Lifetime"},
		{"Idle as long as Lifetime", nil, func(c *session.Config) { c.Lifetime, c.Idle = time.Hour, time.Hour }, ""},
		{"Idle beyond Lifetime", nil, func(c *session.Config) { c.Lifetime, c.Idle = time.Hour, time.Hour+1 }, "Idle"},
		{"the least Idle", nil, func(c *session.Config) { c.Idle = 10 * time.Second }, ""},
		{"too short an Idle", nil, func(c *session.Config) { c.Idle = 10*time.Second - 1 }, "Idle"},
		{"no Idle", nil, func(c *session.Config) { c.Idle = -1 }, ""},
		{"the longest attempt", nil, func(c *session.Config) { c.AttemptLifetime = time.Hour }, ""},
		{"too long an attempt", nil, func(c *session.Config) { c.AttemptLifetime = time.Hour + 1 }, "AttemptLifetime"},
		{"too short an attempt", nil, func(c *session.Config) { c.AttemptLifetime = 30*time.Second - 1 }, "AttemptLifetime"},
		{"a name of its own", nil, func(c *session.Config) { c.CookieName = "Shop_2-x" }, ""},
		{"a name with a semicolon", nil, func(c *session.Config) { c.CookieName = "a;b" }, "CookieName"},
		{"a name with a browser's prefix", nil, func(c *session.Config) { c.CookieName = "__Host-shop" }, "CookieName"},
		{"a name with one underscore in front", nil, func(c *session.Config) { c.CookieName = "_shop" }, ""},
		{"a long name", nil, func(c *session.Config) { c.CookieName = strings.Repeat("x", 65) }, "CookieName"},
		{"Strict", nil, func(c *session.Config) { c.SameSite = http.SameSiteStrictMode }, ""},
		{"None under https", nil, func(c *session.Config) { c.SameSite = http.SameSiteNoneMode }, ""},
		{"None under http", loopback, func(c *session.Config) { c.SameSite = http.SameSiteNoneMode }, "SameSite"},
		{"the default SameSite", nil, func(c *session.Config) { c.SameSite = http.SameSiteDefaultMode }, "SameSite"},
		{"an empty cookie store", nil, func(c *session.Config) { c.Store = &session.CookieStore{} }, "NewCookieStore"},
		{"an empty memory store", nil, func(c *session.Config) { c.Store = &session.MemoryStore{} }, "NewMemoryStore"},
		{"offline_access in cookies", offline, func(*session.Config) {}, "offline_access"},
		{"offline_access in cookies of one process", offline, func(c *session.Config) { c.SingleProcess = true }, ""},
		{"offline_access in memory", offline, func(c *session.Config) { c.Store = memoryStore(t) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := good()
			c.bend(&config)
			m, err := session.New(newClient(t, p, c.client), config)
			if (m == nil) != (err != nil) {
				t.Fatalf("New: %v, %v", m, err)
			}
			switch {
			case c.want == "" && err != nil:
				t.Errorf("New: %v, want no error", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("New: %v, want an error that names %s", err, c.want)
			}
		})
	}
	if _, err := session.New(nil, good()); err == nil {
		t.Error("New without a client: no error")
	}
	config := good()
	config.Lifetime, config.AttemptLifetime, config.CookieName = 1, 1, "="
	_, err := session.New(newClient(t, p, nil), config)
	for _, name := range []string{"Lifetime", "AttemptLifetime", "CookieName"} {
		if err == nil || !strings.Contains(err.Error(), "Config."+name) {
			t.Errorf("New: %v, want an error that names %s too", err, name)
		}
	}
	if n := p.Hits(rptest.Discovery); n != 0 {
		t.Errorf("New asked the provider %d times", n)
	}
}

func TestTheSessionCookieHasTheConfiguredNameAndSameSite(t *testing.T) {
	s := newSite(t, setup{session: session.Config{CookieName: "shop", SameSite: http.SameSiteStrictMode}})
	v := s.visitor()
	v.login()
	if names := v.names("__Host-Http-shop"); len(names) == 0 || len(v.names(sessionKey)) != 0 {
		t.Errorf("the cookies are %v", names)
	}
}

func TestAManagerOwnsTheSessionsOfItsClient(t *testing.T) {
	one, other := newSite(t, setup{}), newSite(t, setup{})
	v := one.visitor()
	v.login()
	got := v.mustLoad()
	if !one.Owns(got) || other.Owns(got) || one.Owns(nil) || one.Owns(&session.Session{}) {
		t.Error("Owns is wrong about whose a session is")
	}
	if one.Client() != one.client {
		t.Error("Client is another one")
	}
}
