package session_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

func TestAnAnswerThatComesAnotherWayUsesNothingUp(t *testing.T) {
	posted := func(v *visitor, back string) *http.Request {
		u, _ := url.Parse(back)
		r := httptest.NewRequest(http.MethodPost, callback, strings.NewReader(u.RawQuery))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Cookie", v.header())
		return r
	}
	got := func(v *visitor, back string) *http.Request { return v.get(back) }
	for mode, way := range map[string]struct {
		right, wrong func(*visitor, string) *http.Request
	}{
		"":          {got, posted},
		"form_post": {posted, got},
	} {
		s := newSite(t, setup{client: func(c *rp.Config) { c.ResponseMode = mode }})
		v := s.visitor()
		back := s.authorize(withQuery(t, v.begin("/in"), "response_mode", ""))
		refused := map[string]*http.Request{"the other way": way.wrong(v, back)}
		for _, method := range []string{http.MethodHead, http.MethodPut, http.MethodOptions} {
			refused[method] = way.right(v, back)
			refused[method].Method = method
		}
		for name, r := range refused {
			if _, _, err := v.finishRequest(r, nil); reason(err) != "malformed" {
				t.Errorf("response mode %q, %s: %v, want malformed", mode, name, err)
			}
		}
		if _, returnTo, err := v.finishRequest(way.right(v, back), nil); err != nil || returnTo != "/in" {
			t.Errorf("response mode %q, after those: %v, return to %q", mode, err, returnTo)
		}
	}
}

func TestAnAttemptIsShortAndFitsItsCookie(t *testing.T) {
	s := newSite(t, setup{})
	size := func(v *visitor) int {
		t.Helper()
		names := v.names(attempts)
		if len(names) != 1 {
			t.Fatalf("%d attempts", len(names))
		}
		return len(names[0]) + len(v.jar[names[0]].value)
	}
	usual := s.visitor()
	usual.begin("/a/path/of/usual/length?with=query&and=more")
	if n := size(usual); n > 600 {
		t.Errorf("a usual attempt takes %d bytes, want 600 at most", n)
	}
	for returnTo, want := range map[string]bool{
		"/" + strings.Repeat("x", 2_600):              true,
		"/?" + strings.Repeat("&a", 1_300):            true, // not six bytes for each &
		"/" + strings.Repeat("x", 3_000):              false,
		"/" + strings.Repeat("x", 100_000):            false,
		"/?q=" + strings.Repeat("%D0%BF", 500) + "#х": false,
	} {
		v := s.visitor()
		to := v.begin(returnTo)
		if n := size(v); n > 4096 {
			t.Errorf("an attempt of %d bytes, which browsers drop", n)
		}
		_, got, err := v.finish(s.authorize(to))
		if err != nil || got != "" && got != returnTo || (got != "") != want {
			t.Errorf("a way back of %d bytes: %v, %d bytes came back; kept is to be %t", len(returnTo), err, len(got), want)
		}
	}
	w := httptest.NewRecorder()
	_, err := s.Begin(w, s.visitor().get(shop), "/", rp.AuthParams{ACRValues: []string{strings.Repeat("x", 4_000)}})
	if !errors.Is(err, session.ErrTooLarge) || len(w.Result().Cookies()) != 0 {
		t.Errorf("parameters that don't fit: %v and %d cookies, want ErrTooLarge and none", err, len(w.Result().Cookies()))
	}
}

func TestACallbackWhoseClientLeavesIsRedeemedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{})
		s.provider.Fault(rptest.Token, rptest.Late(2*time.Second))
		v := s.visitor()
		back := s.authorize(v.begin("/"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		got, _, err := s.Finish(httptest.NewRecorder(), v.get(back).WithContext(ctx), nil)
		if got != nil || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, session.ErrStore) {
			t.Errorf("Finish: %v, %v; want DeadlineExceeded and no outage", got, err)
		}
		for range 2 {
			time.Sleep(5 * time.Second)
			if _, _, err := v.finish(back); reason(err) != "replayed" {
				t.Errorf("the same callback again: %v, want replayed", err)
			}
		}
		if n := s.provider.Hits(rptest.Token); n != 1 {
			t.Errorf("the code was redeemed %d times", n)
		}
	})
}

// What proxies and clients say of hosts, users and addresses decides nothing.
func TestHeadersOfProxiesChangeNothing(t *testing.T) {
	s := newSite(t, setup{})
	plain := s.visitor()
	want := plain.begin("/")
	for _, name := range []string{
		"X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For", "X-Forwarded-Prefix", "X-Forwarded-Port", "Forwarded", "X-Original-Url", "X-Rewrite-Url",
		"X-Forwarded-User", "Remote-User", "X-Http-Method-Override", "Origin", "Referer",
	} {
		for _, value := range []string{"http", "evil.example", "alice", "host=evil.example;proto=http", "GET"} {
			v := s.visitor()
			r := v.get(shop + "/login?scope=admin&acr_values=x&redirect_uri=https://evil.example&prompt=none")
			r.Header.Set(name, value)
			r.Host = "evil.example"
			w := httptest.NewRecorder()
			to, err := s.Begin(w, r, "/", rp.AuthParams{})
			if err != nil {
				t.Fatal(err)
			}
			v.take(w)
			for _, parameter := range []string{"redirect_uri", "scope", "acr_values", "prompt", "client_id", "response_type"} {
				if query(t, to, parameter) != query(t, want, parameter) {
					t.Errorf("%s: %s changed %s to %q", name, value, parameter, query(t, to, parameter))
				}
			}
			if v.names(attempts) == nil || strings.Contains(to, "evil") {
				t.Errorf("%s: %s changed the cookie or the URL", name, value)
			}
			if _, err := s.Load(httptest.NewRecorder(), r); !errors.Is(err, session.ErrNone) {
				t.Errorf("%s: %s: %v, want ErrNone", name, value, err)
			}
		}
	}
}

// awayLedger can be taken away.
type awayLedger struct {
	session.Ledger
	away bool
}

func (l *awayLedger) RevokedAt(ctx context.Context, keys ...string) (time.Time, error) {
	if l.away {
		return time.Time{}, errDown
	}
	return l.Ledger.RevokedAt(ctx, keys...)
}

// Each thing a login leans on fails in turn: no session, no question to the application before the protocol is through, and nothing left to load.
func TestNoFailureOfALoginMakesASession(t *testing.T) {
	refused := errors.New("not on the list")
	for name, c := range map[string]struct {
		fail  func(s *site, h *hookedStore, l *awayLedger)
		asked bool // the application was asked
		want  error
	}{
		"nothing":                 {func(*site, *hookedStore, *awayLedger) {}, true, nil},
		"token endpoint down":     {func(s *site, _ *hookedStore, _ *awayLedger) { s.provider.Fault(rptest.Token, rptest.Down) }, false, rp.ErrUnavailable},
		"token endpoint 500":      {func(s *site, _ *hookedStore, _ *awayLedger) { s.provider.Fault(rptest.Token, rptest.Status(500, "{}")) }, false, rp.ErrUnavailable},
		"token answer lost":       {func(s *site, _ *hookedStore, _ *awayLedger) { s.provider.Fault(rptest.Token, rptest.LoseAnswer) }, false, rp.ErrUnavailable},
		"token answer empty":      {func(s *site, _ *hookedStore, _ *awayLedger) { s.provider.Fault(rptest.Token, rptest.EmptyBody) }, false, errAny},
		"code refused":            {func(s *site, _ *hookedStore, _ *awayLedger) { s.provider.Fault(rptest.Token, rptest.InvalidGrant) }, false, errAny},
		"no ID token":             {func(s *site, _ *hookedStore, _ *awayLedger) { s.provider.Fault(rptest.Token, rptest.NoIDToken) }, false, rp.ErrInvalidToken},
		"bad signature":           {func(s *site, _ *hookedStore, _ *awayLedger) { s.provider.TokenFault(rptest.BadSignature) }, false, rp.ErrInvalidToken},
		"unsigned":                {func(s *site, _ *hookedStore, _ *awayLedger) { s.provider.TokenFault(rptest.AlgNone) }, false, rp.ErrInvalidToken},
		"another attempt's nonce": {func(s *site, _ *hookedStore, _ *awayLedger) { s.provider.TokenFault(rptest.WrongNonce) }, false, rp.ErrInvalidToken},
		"no nonce":                {func(s *site, _ *hookedStore, _ *awayLedger) { s.provider.TokenFault(rptest.NoNonce) }, false, rp.ErrInvalidToken},
		"no subject":              {func(s *site, _ *hookedStore, _ *awayLedger) { s.provider.TokenFault(rptest.EmptySub) }, false, rp.ErrInvalidToken},
		"keys down":               {func(s *site, _ *hookedStore, _ *awayLedger) { s.provider.Fault(rptest.JWKS, rptest.Down) }, false, rp.ErrUnavailable},
		"UserInfo down":           {func(s *site, _ *hookedStore, _ *awayLedger) { s.provider.Fault(rptest.UserInfo, rptest.Down) }, false, rp.ErrUnavailable},
		"UserInfo of somebody else": {func(s *site, _ *hookedStore, _ *awayLedger) {
			s.provider.Fault(rptest.UserInfo, rptest.WithMember("sub", "bob"))
		}, false, rp.ErrInvalidToken},
		"ledger down":             {func(_ *site, _ *hookedStore, l *awayLedger) { l.away = true }, false, session.ErrStore},
		"the application refuses": {nil, true, refused},
		"store unreadable":        {func(_ *site, h *hookedStore, _ *awayLedger) { h.readFails = errDown }, true, session.ErrStore},
		"store full":              {func(_ *site, h *hookedStore, _ *awayLedger) { h.full.Store(true) }, true, session.ErrStore},
	} {
		t.Run(name, func(t *testing.T) {
			h, l := &hookedStore{Store: fileStore(t)}, &awayLedger{Ledger: session.NewMemoryLedger(0)}
			s := newSite(t, setup{session: session.Config{Store: h, Ledger: l, UserInfo: true}})
			v := s.visitor()
			back := s.authorize(v.begin("/in"))
			if c.fail != nil {
				c.fail(s, h, l)
			}
			asked := false
			got, returnTo, err := v.finishWith(back, func(context.Context, *session.Session) (any, error) {
				if asked = true; c.want == refused {
					return nil, refused
				}
				return nil, nil
			})
			if (got == nil) != (c.want != nil) || c.want != errAny && !errors.Is(err, c.want) || errors.Is(err, session.ErrNone) || returnTo != "/in" || asked != c.asked {
				t.Errorf("Finish: %v, %v, return to %q, application asked %t; want %v, asked %t", got, err, returnTo, asked, c.want, c.asked)
			}
			s.provider.ClearFaults()
			h.readFails, l.away = nil, false
			h.full.Store(false)
			if _, err := v.load(); (err == nil) != (c.want == nil) || err != nil && !errors.Is(err, session.ErrNone) {
				t.Errorf("Load afterwards: %v", err)
			}
			if _, _, err := v.finish(back); reason(err) != "replayed" {
				t.Errorf("the callback again: %v, want replayed", err)
			}
		})
	}
}

// errAny stands for an error that nobody branches on.
var errAny = errors.New("any")

func TestALoginNeedsTheProvidersMetadata(t *testing.T) {
	s := newSite(t, setup{})
	s.provider.Fault(rptest.Discovery, rptest.Down)
	w := httptest.NewRecorder()
	if to, err := s.Begin(w, s.visitor().get(shop), "/", rp.AuthParams{}); to != "" || !errors.Is(err, rp.ErrUnavailable) || len(w.Result().Cookies()) != 0 {
		t.Errorf("Begin: %q, %v and %d cookies; want ErrUnavailable and none", to, err, len(w.Result().Cookies()))
	}
}
