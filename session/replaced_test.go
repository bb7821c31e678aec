package session_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/session"
)

// crossSite is the callback as a browser makes it from the provider's page: without the cookies that are not for other sites' requests.
func (v *visitor) crossSite(t *testing.T, back, mode string) *http.Request {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, back, nil)
	if mode == "form_post" {
		u, err := url.Parse(back)
		if err != nil {
			t.Fatal(err)
		}
		r = httptest.NewRequest(http.MethodPost, callback, strings.NewReader(u.RawQuery))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for pair := range strings.SplitSeq(v.header(), "; ") {
		if strings.HasPrefix(pair, attempts) {
			r.Header.Add("Cookie", pair)
		}
	}
	if len(r.Header["Cookie"]) == 0 {
		t.Fatal("no attempt")
	}
	return r
}

// blindCallbacks are the settings under which the callback comes without the session's cookie.
var blindCallbacks = map[string]struct {
	mode     string
	sameSite http.SameSite
}{
	"form_post":         {"form_post", http.SameSiteLaxMode},
	"form_post, Strict": {"form_post", http.SameSiteStrictMode},
	"Strict":            {"", http.SameSiteStrictMode},
}

func TestALoginEndsTheSessionWhoseCookieItsCallbackDoesNotCarry(t *testing.T) {
	for name, c := range blindCallbacks {
		for kind, config := range allStores(t) {
			t.Run(name+", "+kind, func(t *testing.T) {
				config := config()
				config.SameSite = c.sameSite
				s := newSite(t, setup{session: config, client: func(r *rp.Config) { r.ResponseMode = c.mode }})
				v := s.visitor()
				begin := func() string { return s.authorize(withQuery(t, v.begin("/"), "response_mode", "")) }
				if _, _, err := v.finishRequest(v.crossSite(t, begin(), c.mode), nil); err != nil {
					t.Fatal(err)
				}
				first, back := v.copy(), begin()
				first.mustLoad()
				if _, _, err := v.finishRequest(v.crossSite(t, back, c.mode), nil); err != nil {
					t.Fatal(err)
				}
				if got, err := first.load(); !errors.Is(err, session.ErrNone) {
					t.Errorf("the session that was replaced: %v, %v; want ErrNone", got, err)
				}
				v.mustLoad()
				if store, ok := config.Store.(*session.MemoryStore); ok && store.Len() != 1 {
					t.Errorf("%d sessions are kept, want 1", store.Len())
				}
			})
		}
	}
}

func TestALoginThatFailsLeavesTheSessionItWouldReplace(t *testing.T) {
	for kind, config := range allStores(t) {
		t.Run(kind, func(t *testing.T) {
			s := newSite(t, setup{session: config(), client: func(r *rp.Config) { r.ResponseMode = "form_post" }})
			v := s.visitor()
			begin := func() string { return s.authorize(withQuery(t, v.begin("/"), "response_mode", "")) }
			if _, _, err := v.finishRequest(v.crossSite(t, begin(), "form_post"), nil); err != nil {
				t.Fatal(err)
			}
			back := withQuery(t, begin(), "code", "wrong")
			if _, _, err := v.finishRequest(v.crossSite(t, back, "form_post"), nil); err == nil {
				t.Fatal("a wrong code was taken")
			}
			v.mustLoad()
		})
	}
}

// A refresh between Begin and the callback changes the cookie, and not which session it is.
func TestALoginEndsTheSessionThatWasRefreshedMeanwhile(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config, client: func(r *rp.Config) { r.ResponseMode = "form_post" }})
		v := s.visitor()
		begin := func() string { return s.authorize(withQuery(t, v.begin("/"), "response_mode", "")) }
		made, _, err := v.finishRequest(v.crossSite(t, begin(), "form_post"), nil)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(made.RefreshAt) - 30*time.Second)
		back := begin()
		untilDue(made)
		v.mustLoad()
		old := v.copy()
		if _, _, err := v.finishRequest(v.crossSite(t, back, "form_post"), nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, err := old.load(); !errors.Is(err, session.ErrNone) {
			t.Errorf("the session that was replaced: %v, %v; want ErrNone", got, err)
		}
	})
}

func TestAnAttemptNamesTheOldSessionOnlyWhereItsCookieWillBeMissing(t *testing.T) {
	size := func(mode string, sameSite http.SameSite) int {
		s := newSite(t, setup{session: session.Config{SameSite: sameSite}, client: func(r *rp.Config) { r.ResponseMode = mode }})
		v := s.visitor()
		plain := s.authorize(withQuery(t, v.begin("/"), "response_mode", ""))
		if _, _, err := v.finishRequest(v.crossSite(t, plain, mode), nil); err != nil {
			t.Fatal(err)
		}
		v.begin("/")
		names := v.names(attempts)
		if len(names) != 1 {
			t.Fatalf("%d attempts", len(names))
		}
		return len(v.jar[names[0]].value)
	}
	sent := size("", http.SameSiteLaxMode)
	const jitter = 8 // of the time in it
	if n := size("form_post", http.SameSiteNoneMode); n < sent-jitter || n > sent+jitter {
		t.Errorf("with SameSite None an attempt takes %d bytes, and %d where the cookie is sent", n, sent)
	}
	if n := size("form_post", http.SameSiteLaxMode); n <= sent+jitter || n > sent+200 {
		t.Errorf("with form_post an attempt takes %d bytes, and %d where the cookie is sent", n, sent)
	}
}
