package middleware_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/middleware"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

func TestAReturnFromLogoutToTheFrontPageLeadsInNoCircle(t *testing.T) {
	s := newSite(t, setup{
		client: func(c *rp.Config) { c.PostLogoutRedirectURL = shop + "/" },
		guard:  func(g *middleware.Guard) { g.AfterLogin, g.AfterLogout = "/home", "" },
	})
	for _, path := range []string{"/", "/?state=open"} {
		if resp := s.do(nil, "GET", path, "", navigation...); resp.StatusCode != 303 || !strings.HasPrefix(resp.Header.Get("Location"), "https://op.example/") {
			t.Errorf("%s: %d to %q", path, resp.StatusCode, resp.Header.Get("Location"))
		}
	}
	b := s.provider.Browser()
	if page := s.open(b, "/?state=open"); page.Body != "alice at /?state=open" {
		t.Errorf("the page, by a login: %d %s", page.Status, page.Body)
	}
	if resp := s.do(b, "POST", "/", "a=b"); resp.StatusCode != 200 {
		t.Errorf("a POST to it: %d", resp.StatusCode)
	}
	// After the provider's logout the front page asks for a login, like any other.
	if page := s.post(b, "/auth/logout", nil); page.Status != 200 || s.provider.Hits(rptest.EndSession) != 1 {
		t.Errorf("logout: %d, %d visits to the provider", page.Status, s.provider.Hits(rptest.EndSession))
	}
}

// withFresh serves a page for those who signed in within maxAge.
func withFresh(s *site, maxAge time.Duration) {
	in := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "in") })
	s.provider.HandleHost("shop.example", s.guard.Handler(s.guard.RequireFresh(in, maxAge)))
}

func authenticatedBefore(age time.Duration) rptest.TokenFault {
	return func(j *rptest.JWT) { j.Claims["auth_time"] = time.Now().Add(-age).Unix() }
}

func TestAFreshLoginIsFreshByASlowClockToo(t *testing.T) {
	for name, c := range map[string]struct {
		maxAge, age time.Duration
		status      int
	}{
		"a provider's clock behind":           {30 * time.Second, 50 * time.Second, 200},
		"always anew":                         {0, 0, 200},
		"always anew, a clock behind":         {-time.Second, 50 * time.Second, 200},
		"older than the leeway":               {30 * time.Second, 95 * time.Second, 403},
		"always anew, older than the leeway":  {0, 65 * time.Second, 403},
		"a provider's clock ahead, in bounds": {30 * time.Second, -50 * time.Second, 200},
	} {
		s := newSite(t, setup{})
		withFresh(s, c.maxAge)
		s.provider.TokenFault(authenticatedBefore(c.age))
		if page, err := s.provider.Browser().Get(shop + "/x"); err != nil || page.Status != c.status || (page.Body == "in") != (c.status == 200) {
			t.Errorf("%s: %v, %+v", name, err, page)
		}
	}
}

func TestNoLoginEndsAtARouteOfOurOwn(t *testing.T) {
	s := newSite(t, setup{guard: func(g *middleware.Guard) { g.SessionFramePath = "/auth/frame" }})
	for _, route := range []string{"login", "logout", "session", "callback", "bye", "frame", "backchannel-logout", "frontchannel-logout", "frontchannel-logout/", "login?return_to=/auth/login"} {
		b := s.provider.Browser()
		if page := s.open(b, "/auth/login?return_to="+url.QueryEscape("/auth/"+route)); page.Body != "alice at /home" {
			t.Errorf("%s: %d %s", route, page.Status, page.Body)
		}
	}
	if page := s.open(s.provider.Browser(), "/auth/login?return_to=/auth/other"); page.Body != "alice at /auth/other" {
		t.Errorf("a page of the application's: %d %s", page.Status, page.Body)
	}
}
