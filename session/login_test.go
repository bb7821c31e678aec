package session_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

func TestALoginIsReadBackAndEnds(t *testing.T) {
	for name, config := range allStores(t) {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, setup{session: config()})
			v := s.visitor()
			if _, err := v.load(); !errors.Is(err, session.ErrNone) {
				t.Fatalf("before the login: %v, want ErrNone", err)
			}
			made := v.login()
			for _, got := range []*session.Session{made, v.mustLoad(), v.mustLoad()} {
				if got.Subject != "alice" || got.Issuer != "https://op.example" || got.SID == "" || got.Token().AccessToken != made.Token().AccessToken || !got.CanRefresh() {
					t.Errorf("%v is not alice's whole session", got)
				}
				if claim(got, "name") == "" {
					t.Error("the ID token's claims are gone")
				}
			}
			if left := v.names(attempts); len(left) != 0 {
				t.Errorf("the attempt's cookie is still there: %v", left)
			}
			if _, err := v.end(); err != nil {
				t.Fatalf("End: %v", err)
			}
			if _, err := v.load(); !errors.Is(err, session.ErrNone) {
				t.Errorf("after End: %v, want ErrNone", err)
			}
			if left := v.names(sessionKey); len(left) != 1 || left[0] != goodbyeKey {
				t.Errorf("cookies after End: %v, want the logout's alone", left)
			}
		})
	}
}

func TestAttemptsAreFiveAtMostAndKeepTheCookieHeaderShort(t *testing.T) {
	s := newSite(t, setup{})
	v := s.visitor()
	var urls []string
	for range 50 {
		urls = append(urls, v.begin("/a/path/of/usual/length?with=query&and=more"))
		if n := len(v.header()); n > 4096 {
			t.Fatalf("the Cookie header has %d bytes", n)
		}
	}
	if n := len(v.names(attempts)); n != 5 {
		t.Errorf("%d attempts live, want 5", n)
	}
	if _, _, err := v.finish(s.authorize(urls[44])); reason(err) != "no-cookie" {
		t.Errorf("the sixth last: %v, want no-cookie", err)
	}
	for _, to := range urls[45:] {
		if _, _, err := v.finish(s.authorize(to)); err != nil {
			t.Errorf("one of the last five: %v", err)
		}
	}
}

func TestTwoTabsReturnEachToItsOwnPage(t *testing.T) {
	s := newSite(t, setup{})
	v := s.visitor()
	first, second := v.begin("/first"), v.begin("/second")
	for to, want := range map[string]string{first: "/first", second: "/second"} {
		if _, returnTo, err := v.finish(s.authorize(to)); err != nil || returnTo != want {
			t.Errorf("return to %q, %v; want %q", returnTo, err, want)
		}
	}
}

func TestFinishRefusesCallbacksWithoutTheirAttempt(t *testing.T) {
	for _, c := range []struct {
		name, want string
		bend       func(t *testing.T, v *visitor, back string) string
	}{
		{"no state", "no-state", func(t *testing.T, _ *visitor, back string) string { return withQuery(t, back, "state", "") }},
		{"an empty state", "no-state", func(t *testing.T, _ *visitor, back string) string { return withQuery(t, back, "state", "") + "&state=" }},
		{"state twice", "no-state", func(t *testing.T, _ *visitor, back string) string { return back + "&state=" + query(t, back, "state") }},
		{"a foreign state", "no-cookie", func(t *testing.T, _ *visitor, back string) string { return withQuery(t, back, "state", "foreign") }},
		{"a query that doesn't parse", "malformed", func(_ *testing.T, _ *visitor, back string) string { return back + "&%zz" }},
		{"another browser", "no-cookie", func(_ *testing.T, v *visitor, back string) string { clear(v.jar); return back }},
		{"an altered cookie", "altered", func(_ *testing.T, v *visitor, back string) string {
			name := v.names(attempts)[0]
			c := v.jar[name]
			c.value = c.value[:40] + "AAAA" + c.value[44:]
			v.jar[name] = c
			return back
		}},
		{"a cookie of another key", "unknown-key", func(_ *testing.T, v *visitor, back string) string {
			name := v.names(attempts)[0]
			c := v.jar[name]
			c.value = "AAAA" + c.value[4:]
			v.jar[name] = c
			return back
		}},
		{"the cookie of another attempt", "altered", func(t *testing.T, v *visitor, back string) string {
			name := v.names(attempts)[0]
			v.begin("/other")
			for other, c := range v.jar {
				if other != name {
					v.jar[name] = c
				}
			}
			return back
		}},
		{"the cookie twice", "no-cookie", func(_ *testing.T, v *visitor, back string) string {
			name := v.names(attempts)[0]
			c := v.jar[name]
			c.value += "; " + name + "=" + c.value
			v.jar[name] = c
			return back
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, setup{})
			v := s.visitor()
			back := c.bend(t, v, s.authorize(v.begin("/")))
			_, _, err := v.finish(back)
			if !errors.Is(err, session.ErrNoLogin) || reason(err) != c.want {
				t.Errorf("Finish: %v, want ErrNoLogin (%s)", err, c.want)
			}
			if n := s.provider.Hits(rptest.Token); n != 0 {
				t.Errorf("the code was redeemed %d times", n)
			}
			if _, err := v.load(); !errors.Is(err, session.ErrNone) {
				t.Errorf("Load: %v, want ErrNone", err)
			}
		})
	}
}

func TestAnAttemptEndsAfterItsLifetime(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		want  string
	}{{9*time.Minute + 59*time.Second, "<nil>"}, {10 * time.Minute, "expired"}} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, setup{provider: rptest.Options{CodeLifetime: time.Hour}})
			v := s.visitor()
			back := s.authorize(v.begin("/here"))
			kept := v.copy()
			for name, cookie := range kept.jar { // a browser that keeps cookies for longer than it should
				cookie.until = cookie.until.Add(time.Hour)
				kept.jar[name] = cookie
			}
			time.Sleep(c.after)
			_, returnTo, err := kept.finish(back)
			if reason(err) != c.want || returnTo != "/here" {
				t.Errorf("after %v: %v, return to %q; want %s", c.after, err, returnTo, c.want)
			}
		})
	}
}

func TestACallbackCountsOnce(t *testing.T) {
	s := newSite(t, setup{})
	v := s.visitor()
	back := s.authorize(v.begin("/"))
	before := v.copy()
	if _, _, err := v.finish(back); err != nil {
		t.Fatal(err)
	}
	for name, again := range map[string]*visitor{"with the cookie": before, "without it": v} {
		if _, _, err := again.finish(back); reason(err) != "replayed" {
			t.Errorf("again %s: %v, want replayed", name, err)
		}
	}
	if _, err := v.load(); err != nil {
		t.Errorf("the first one's session: %v", err)
	}
	if n := s.provider.Hits(rptest.Token); n != 1 {
		t.Errorf("%d token requests, want 1", n)
	}
}

func TestACallbackDeliveredTwiceAtOnceCountsOnce(t *testing.T) {
	s := newSite(t, setup{})
	v := s.visitor()
	back := s.authorize(v.begin("/"))
	var wg sync.WaitGroup
	got := make(chan error, 2)
	for range 2 {
		r := v.get(back)
		wg.Go(func() {
			_, _, err := s.Finish(httptest.NewRecorder(), r, nil)
			got <- err
		})
	}
	wg.Wait()
	a, b := <-got, <-got
	if a != nil {
		a, b = b, a
	}
	if a != nil || reason(b) != "replayed" {
		t.Errorf("%v and %v; want one login and one replayed", a, b)
	}
	if n := s.provider.Hits(rptest.Token); n != 1 {
		t.Errorf("%d token requests, want 1", n)
	}
}

func TestAnAttackersCallbackDoesNotSignTheVictimIn(t *testing.T) {
	s := newSite(t, setup{})
	attacker, victim := s.visitor(), s.visitor()
	back := s.authorize(attacker.begin("/"))
	own := victim.begin("/own")
	if _, _, err := victim.finish(back); reason(err) != "no-cookie" {
		t.Errorf("the attacker's state: %v, want no-cookie", err)
	}
	// The attacker's code under the victim's own state fails PKCE at the provider.
	if _, _, err := victim.finish(withQuery(t, s.authorize(own), "code", query(t, back, "code"))); err == nil {
		t.Error("the attacker's code under the victim's state made a session")
	}
	if _, err := victim.load(); !errors.Is(err, session.ErrNone) {
		t.Errorf("Load: %v, want ErrNone", err)
	}
}

func TestALoginReplacesTheSessionThatWasThere(t *testing.T) {
	for name, config := range allStores(t) {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, setup{session: config()})
			attacker := s.visitor()
			attacker.login()
			planted := attacker.jar[sessionKey]
			s.provider.SignInAs("bob")
			victim := attacker.copy()
			if got := victim.login(); got.Subject != "bob" {
				t.Fatalf("signed in as %q", got.Subject)
			}
			if victim.jar[sessionKey].value == planted.value {
				t.Error("the planted cookie was adopted")
			}
			if got := victim.mustLoad(); got.Subject != "bob" {
				t.Errorf("loaded %v, want bob's", got)
			}
			if got, err := attacker.load(); !errors.Is(err, session.ErrNone) {
				t.Errorf("the planted session still opens: %v, %v", got, err)
			}
		})
	}
}

func TestCookiesDoNotStandInForEachOther(t *testing.T) {
	s := newSite(t, setup{})
	v := s.visitor()
	back := s.authorize(v.begin("/"))
	name := v.names(attempts)[0]
	asSession := v.copy()
	asSession.jar[sessionKey] = v.jar[name]
	if _, err := asSession.load(); !errors.Is(err, session.ErrNone) {
		t.Errorf("an attempt as a session: %v, want ErrNone", err)
	}
	signedIn := s.visitor()
	signedIn.login()
	v.jar[name] = signedIn.jar[sessionKey]
	if _, _, err := v.finish(back); !errors.Is(err, session.ErrNoLogin) {
		t.Errorf("a session as an attempt: %v, want ErrNoLogin", err)
	}
}

func TestFormPostAnswersAreTakenWhereTheyWereAskedFor(t *testing.T) {
	post := func(v *visitor, back string) *http.Request {
		u, _ := url.Parse(back)
		r := httptest.NewRequest(http.MethodPost, callback, strings.NewReader(u.RawQuery))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Cookie", v.header())
		return r
	}
	formPost := func(c *rp.Config) { c.ResponseMode = "form_post" }
	answer := func(s *site, v *visitor) string { return s.authorize(withQuery(t, v.begin("/"), "response_mode", "")) }

	t.Run("asked for", func(t *testing.T) {
		s := newSite(t, setup{client: formPost})
		v := s.visitor()
		w := httptest.NewRecorder()
		to, err := s.Begin(w, v.get(shop), "/", rp.AuthParams{})
		if err != nil {
			t.Fatal(err)
		}
		if query(t, to, "response_mode") != "form_post" {
			t.Errorf("response_mode was not asked for")
		}
		if c := w.Result().Cookies()[0]; c.SameSite != http.SameSiteNoneMode {
			t.Errorf("the attempt's cookie has SameSite %v: a POST of the provider's page would come without it", c.SameSite)
		}
		if _, _, err := v.finishRequest(post(v, answer(s, v)), nil); err != nil {
			t.Fatalf("Finish: %v", err)
		}
		v.mustLoad()
	})
	t.Run("not asked for", func(t *testing.T) {
		s := newSite(t, setup{})
		v := s.visitor()
		if _, _, err := v.finishRequest(post(v, answer(s, v)), nil); reason(err) != "malformed" {
			t.Errorf("Finish: %v, want malformed", err)
		}
	})
	for name, bend := range map[string]func(*http.Request){
		"another media type":   func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") },
		"a second answer":      func(r *http.Request) { r.URL.RawQuery = "state=x" },
		"a body without bound": func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("state=" + strings.Repeat("x", 1<<20))) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, setup{client: formPost})
			v := s.visitor()
			r := post(v, answer(s, v))
			bend(r)
			if _, _, err := v.finishRequest(r, nil); reason(err) != "malformed" {
				t.Errorf("Finish: %v, want malformed", err)
			}
		})
	}
}

func TestThreeLoginsWithoutAReadableSessionAreALoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{})
		v := s.visitor()
		once := func(drop bool) error {
			_, returnTo, err := v.finish(s.authorize(v.begin("/orders")))
			if returnTo != "/orders" {
				t.Errorf("return to %q", returnTo)
			}
			if drop {
				delete(v.jar, sessionKey)
			}
			time.Sleep(5 * time.Second)
			return err
		}
		for i := range 3 {
			if err := once(true); err != nil {
				t.Fatalf("login %d: %v", i+1, err)
			}
		}
		hits := s.provider.Hits(rptest.Token)
		if err := once(true); reason(err) != "loop" {
			t.Fatalf("the fourth login: %v, want loop", err)
		}
		if s.provider.Hits(rptest.Token) != hits {
			t.Error("a login that is a loop redeemed its code")
		}
		// The user starts anew, and cookies work.
		for i := range 6 {
			if err := once(false); err != nil {
				t.Fatalf("login %d with a session that is read back: %v", i+1, err)
			}
		}
		// Slow ones are no loop.
		for i := range 6 {
			time.Sleep(time.Minute)
			if err := once(true); err != nil {
				t.Fatalf("login %d, a minute after the one before: %v", i+1, err)
			}
		}
	})
}

func TestLogoutsBetweenLoginsAreNoLoop(t *testing.T) {
	v := newSite(t, setup{}).visitor()
	for range 6 {
		v.login()
		if _, err := v.end(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAcceptMapsAUserOrRefuses(t *testing.T) {
	type account struct{ Number int }
	for name, config := range stores(t) {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, setup{session: config()})
			v := s.visitor()
			_, _, err := v.finishWith(s.authorize(v.begin("/")), func(_ context.Context, s *session.Session) (any, error) {
				if s.Subject != "alice" || s.Token().AccessToken == "" {
					t.Errorf("Accept was asked about %v", s)
				}
				return account{7}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			var a account
			if err := v.mustLoad().App(&a); err != nil || a.Number != 7 {
				t.Errorf("App: %+v, %v", a, err)
			}
			if err := v.mustLoad().App(new(string)); err == nil {
				t.Error("App into another type: no error")
			}

			refused := errors.New("not on the list")
			other := s.visitor()
			_, returnTo, err := other.finishWith(s.authorize(other.begin("/in")), func(context.Context, *session.Session) (any, error) { return nil, refused })
			if err != refused || returnTo != "/in" {
				t.Errorf("Finish: %v, return to %q; want Accept's own error", err, returnTo)
			}
			if _, err := other.load(); !errors.Is(err, session.ErrNone) {
				t.Errorf("after a refusal: %v, want ErrNone", err)
			}
			third := s.visitor()
			if _, _, err = third.finishWith(s.authorize(third.begin("/")), func(context.Context, *session.Session) (any, error) { return make(chan int), nil }); err == nil {
				t.Error("an app that is no JSON made a session")
			}
		})
	}
}

func TestUserInfoIsOverTheIDTokensClaims(t *testing.T) {
	lean := rptest.Options{LeanIDTokens: true}
	for _, on := range []bool{false, true} {
		s := newSite(t, setup{provider: lean, session: session.Config{UserInfo: on}})
		v := s.visitor()
		v.login()
		got := v.mustLoad()
		if (claim(got, "name") != "") != on || claim(got, "sub") != "alice" {
			t.Errorf("UserInfo %t: name %q", on, claim(got, "name"))
		}
	}
	s := newSite(t, setup{provider: lean, session: session.Config{UserInfo: true}})
	s.provider.Fault(rptest.UserInfo, rptest.Down)
	v := s.visitor()
	if _, _, err := v.finish(s.authorize(v.begin("/"))); !errors.Is(err, rp.ErrUnavailable) {
		t.Errorf("an unreachable UserInfo: %v, want ErrUnavailable", err)
	}
	if _, err := v.load(); !errors.Is(err, session.ErrNone) {
		t.Errorf("after it: %v, want ErrNone", err)
	}
}

func TestASessionTooLargeForCookiesIsRefused(t *testing.T) {
	s := newSite(t, setup{})
	v := s.visitor()
	big := func(context.Context, *session.Session) (any, error) { return strings.Repeat("x", 20_000), nil }
	if _, _, err := v.finishWith(s.authorize(v.begin("/")), big); !errors.Is(err, session.ErrTooLarge) {
		t.Errorf("Finish: %v, want ErrTooLarge", err)
	}
}

// FuzzAttempt: no cookie and no query make a session but the attempt's own. NAME, VALUE, STATE and CODE stand for those of a real
// attempt, which differ in each process.
func FuzzAttempt(f *testing.F) {
	for _, seed := range [][2]string{
		{"NAME=", "state=STATE&code=CODE"},
		{"NAME=VALUEA", "state=STATE&code=CODE"},
		{"NAME=AVALUE", "state=STATE&code=CODE"},
		{"name=VALUE", "state=STATE&code=CODE"},
		{"xNAME=VALUE; x=NAME=VALUE", "state=STATE&code=CODE"},
		{"NAME=\"VALUE\"", "state=STATE&code=CODE"},
		{"NAME=VALUE; NAME=VALUE", "state=STATE&code=CODE"},
		{"NAME=VALUE; NAME=", "state=STATE&code=CODE"},
		{sessionKey + "=VALUE", "state=STATE&code=CODE"},
		{"NAME=VALUE", "state=STATE&code=CODE&state=STATE"},
		{"NAME=VALUE", "state=xSTATE&code=CODE"},
		{"NAME=VALUE", "State=STATE&code=CODE"},
		{"NAME=VALUE", "error=access_denied"},
		{"NAME=VALUE", "%zz&state=STATE"},
	} {
		f.Add(seed[0], seed[1])
	}
	s := newSite(f, setup{})
	v := s.visitor()
	back := s.authorize(v.begin("/"))
	name, state := v.names(attempts)[0], query(f, back, "state")
	real := strings.NewReplacer("NAME", name, "VALUE", v.jar[name].value, "STATE", state, "CODE", query(f, back, "code"))
	own := name + "=" + v.jar[name].value
	f.Fuzz(func(t *testing.T, cookies, rawQuery string) {
		cookies, rawQuery = real.Replace(cookies), real.Replace(rawQuery)
		sent := 0
		for pair := range strings.SplitSeq(cookies, ";") {
			if pair = strings.Trim(pair, " "); pair == own {
				sent++
			} else if strings.HasPrefix(pair, name+"=") {
				sent += 2
			}
		}
		if q, err := url.ParseQuery(rawQuery); err == nil && sent == 1 && len(q["state"]) == 1 && q.Get("state") == state {
			return // the attempt itself
		}
		r := httptest.NewRequest(http.MethodGet, callback, nil)
		r.URL.RawQuery = rawQuery
		r.Header["Cookie"] = []string{cookies}
		w := httptest.NewRecorder()
		made, _, err := s.Finish(w, r, nil)
		if made != nil || !errors.Is(err, session.ErrNoLogin) {
			t.Fatalf("Finish: %v, %v; want ErrNoLogin", made, err)
		}
		for _, c := range w.Result().Cookies() {
			if c.Name == sessionKey && c.MaxAge >= 0 {
				t.Fatal("a session cookie was set")
			}
		}
	})
}
