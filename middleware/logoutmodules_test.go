package middleware_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/middleware"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

// The logout modules of the OpenID Foundation's conformance suite (oidcc-client-test-...), each under its name, at the Guard's routes. The provider does what the suite's does: it takes
// none but the registered addresses and a hint of its own, its logout tokens have typ JWT and a claim of no specification, and their form a parameter of none.

// leaving is a site whose provider tells it of logouts.
type leaving struct {
	*site
	sids []string // of the provider's sessions, in the order of the logins

	// bend makes another token of the session of the token that the provider is about to send; nil: the honest one.
	bend      []rptest.TokenFault
	delivered []delivery
}

// delivery is what a logout token was answered with.
type delivery struct {
	status int
	header http.Header
	body   string
}

func newLeaving(t *testing.T, client rptest.Client) *leaving {
	l := &leaving{}
	client.ID, client.Secret = "shop", "secret"
	client.RedirectURIs, client.PostLogoutRedirectURIs = []string{shop + "/auth/callback"}, []string{shop + "/auth/bye"}
	l.site = newSite(t, setup{
		provider: rptest.Options{SigningAlg: "RS256", SessionManagement: true, Clients: []rptest.Client{client}, HTTPClient: &http.Client{Transport: l}},
		session:  session.Config{BackchannelLogout: true},
		guard: func(g *middleware.Guard) {
			g.SessionFramePath = framePath
			g.LoggedIn = func(_ context.Context, s *session.Session) (any, error) {
				l.sids = append(l.sids, s.SID)
				return nil, nil
			}
		},
	})
	return l
}

// login signs alice in with a new browser.
func (l *leaving) login() *rptest.Browser {
	l.t.Helper()
	b := l.provider.Browser()
	if page := l.open(b, "/orders"); !strings.HasPrefix(page.Body, "alice") {
		l.t.Fatalf("the login ended with %d %s", page.Status, page.Body)
	}
	return b
}

func (l *leaving) signedIn(b *rptest.Browser) bool {
	l.t.Helper()
	return strings.HasPrefix(l.open(b, "/public").Body, "alice")
}

// RoundTrip is the provider's way to the back channel.
func (l *leaving) RoundTrip(r *http.Request) (*http.Response, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if _, err := url.ParseQuery(string(raw)); err != nil || r.URL.String() != shop+"/auth/backchannel-logout" {
		l.t.Errorf("the provider posts %q to %s", raw, r.URL)
	}
	d := l.tell(l.sids[len(l.sids)-1], l.bend...)
	return &http.Response{StatusCode: d.status, Header: d.header, Body: io.NopCloser(bytes.NewBufferString(d.body)), Request: r}, nil
}

// tell posts a logout token of the suite's form.
func (l *leaving) tell(sid string, bend ...rptest.TokenFault) delivery {
	bend = append([]rptest.TokenFault{rptest.WithHeader("typ", "JWT"), rptest.WithClaim("urn:example:unknown", "claim")}, bend...)
	form := url.Values{"logout_token": {l.provider.LogoutToken("alice", sid, bend...)}, "unknown_parameter": {"value"}}
	w := l.deliver("application/x-www-form-urlencoded", form.Encode())
	d := delivery{w.Code, w.Header(), w.Body.String()}
	l.delivered = append(l.delivered, d)
	return d
}

func (l *leaving) check(d delivery, status int) {
	l.t.Helper()
	if d.status != status || d.header.Get("Cache-Control") != "no-store" || status == 400 && !strings.Contains(d.body, `"error":"invalid_request"`) {
		l.t.Errorf("the logout token was answered %d, Cache-Control %q: %s; want exactly %d, and no-store", d.status, d.header.Get("Cache-Control"), d.body, status)
	}
}

// leave logs b out at the site, up to the provider's way back.
func (l *leaving) leave(b *rptest.Browser) *url.URL {
	l.t.Helper()
	b.StopAt = func(u *url.URL) bool { return u.Path == "/auth/bye" }
	defer func() { b.StopAt = nil }()
	page := l.post(b, "/auth/logout", nil)
	if page.Location == nil {
		l.t.Fatalf("the provider's logout ended with %d %s", page.Status, page.Body)
	}
	return page.Location
}

// foreignReturns is how often a return was not taken for this browser's.
func (l *leaving) foreignReturns() int {
	return strings.Count(l.log.String(), "a logout that is not known")
}

var (
	iframe  = regexp.MustCompile(`<iframe[^>]* src="([^"]+)"`)
	refresh = regexp.MustCompile(`http-equiv="refresh" content="\d+; url=([^"]+)"`)
)

// framed are the addresses in frames of page, and where it goes on to.
func framed(page *rptest.Page) (frames []string, next string) {
	for _, m := range iframe.FindAllStringSubmatch(page.Body, -1) {
		frames = append(frames, html.UnescapeString(m[1]))
	}
	if m := refresh.FindStringSubmatch(page.Body); m != nil {
		next = html.UnescapeString(m[1])
	}
	return frames, next
}

// frameOf is the one address of ours that the provider's page shows in a frame.
func (l *leaving) frameOf(page *rptest.Page, sid string) string {
	l.t.Helper()
	frames, _ := framed(page)
	if len(frames) != 1 || !strings.HasPrefix(frames[0], shop+"/auth/frontchannel-logout?") {
		l.t.Fatalf("the provider's page has the frames %q: %s", frames, page.Body)
	}
	u, err := url.Parse(frames[0])
	if err != nil || u.Query().Get("iss") != l.provider.Issuer() || u.Query().Get("sid") != sid {
		l.t.Fatalf("the frame is %s, want the issuer and sid %s", u, sid)
	}
	return u.RequestURI()
}

// show requests path as the provider's frame does, with the cookies, and checks that the provider may show it.
func (l *leaving) show(b *rptest.Browser, path string) *http.Response {
	l.t.Helper()
	resp := l.do(b, http.MethodGet, path, "", foreignFrame...)
	if h := resp.Header; resp.StatusCode != http.StatusOK || h.Get("Cache-Control") != "no-store" || h.Get("X-Frame-Options") != "" ||
		!strings.HasSuffix(h.Get("Content-Security-Policy"), "frame-ancestors "+l.provider.Issuer()) {
		l.t.Errorf("the frame was answered %d %v", resp.StatusCode, resp.Header)
	}
	return resp
}

// clears reports whether the answer takes the session's cookie away.
func clears(resp *http.Response) bool {
	return slices.ContainsFunc(resp.Cookies(), func(c *http.Cookie) bool { return c.Name == "__Host-Http-latchkey" && c.MaxAge < 0 })
}

func TestLogoutModules(t *testing.T) {
	module := func(name string, test func(t *testing.T)) {
		t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
	}
	backchannel := rptest.Client{BackchannelLogoutURI: shop + "/auth/backchannel-logout"}
	frontchannel := rptest.Client{FrontchannelLogoutURI: shop + "/auth/frontchannel-logout"}

	module("rp-init-logout", func(t *testing.T) {
		l := newLeaving(t, backchannel)
		b := l.login()
		back := l.leave(b)
		if len(l.delivered) != 1 {
			t.Fatalf("%d logout tokens, want one", len(l.delivered))
		}
		l.check(l.delivered[0], 200)
		if len(back.Query().Get("state")) < 22 {
			t.Errorf("the state that came back is %q", back.Query().Get("state"))
		}
		if page := l.open(b, back.RequestURI()); page.Body != "goodbye" || l.foreignReturns() != 0 || l.signedIn(b) {
			t.Errorf("the way back ended with %d %s: %s", page.Status, page.Body, l.log)
		}
	})

	for name, bend := range map[string]func(url.Values){
		"rp-init-logout-other-state": func(q url.Values) { q.Set("state", q.Get("state")+"INVALID") },
		"rp-init-logout-no-state":    func(q url.Values) { q.Del("state") },
	} {
		module(name, func(t *testing.T) {
			l := newLeaving(t, backchannel)
			b := l.login()
			back := l.leave(b)
			q := back.Query()
			bend(q)
			page := l.open(b, "/auth/bye?"+q.Encode())
			if l.foreignReturns() != 1 || page.Status != http.StatusOK || len(page.Header["Set-Cookie"]) != 0 {
				t.Errorf("the bent return was taken: %d %v", page.Status, page.Header)
			}
			if l.signedIn(b) {
				t.Error("the session lives on")
			}
			// It used nothing up, and neither does it end what came later.
			l.open(b, back.RequestURI())
			if l.foreignReturns() != 1 {
				t.Error("the honest return is not known any more")
			}
			time.Sleep(2 * time.Second)
			l.open(b, "/orders")
			if l.open(b, "/auth/bye?"+q.Encode()); !l.signedIn(b) {
				t.Error("the bent return ended a later session")
			}
		})
	}

	module("session-management", func(t *testing.T) {
		l := newLeaving(t, rptest.Client{}) // whom the provider tells nothing
		b := l.login()
		page := text(l.do(b, http.MethodGet, framePath, "", ownFrame...))
		attribute := func(name string) string {
			_, rest, _ := strings.Cut(page, "data-"+name+`="`)
			value, _, _ := strings.Cut(rest, `"`)
			return html.UnescapeString(value)
		}
		// polled is what the provider's frame answers in this browser to what ours says (Session Management 1.0 section 4.2).
		polled := func() string {
			hash, salt, ok := strings.Cut(attribute("state"), ".")
			if !ok {
				return "error"
			}
			for _, c := range b.Cookies(l.provider.Issuer() + "/") {
				sum := sha256.Sum256([]byte(attribute("client") + " " + shop + " " + c.Value + " " + salt))
				if strings.HasPrefix(c.Name, "rptest_state_") && base64.RawURLEncoding.EncodeToString(sum[:]) == hash {
					return "unchanged"
				}
			}
			return "changed"
		}
		if attribute("status") != "watch" || !strings.Contains(page, `src="`+l.provider.Issuer()+`/check_session"`) || polled() != "unchanged" {
			t.Fatalf("before the logout: %s in %s", polled(), page)
		}
		end, err := b.Get(l.provider.Issuer() + "/end_session")
		if err != nil || end.Status != http.StatusOK || polled() != "changed" {
			t.Fatalf("after the logout: %s, %v", polled(), err)
		}
		l.provider.SignInAs("")
		if status, signedIn := l.site.check(b, nil); status != "signed-out" || signedIn {
			t.Errorf("the silent login found %s, signed in %v", status, signedIn)
		}
	})

	module("rp-frontchannel-rpinitlogout", func(t *testing.T) {
		l := newLeaving(t, frontchannel)
		b := l.login()
		page := l.post(b, "/auth/logout", nil)
		l.show(b, l.frameOf(page, l.sids[0]))
		_, next := framed(page)
		back, err := url.Parse(next)
		if err != nil || !strings.HasPrefix(next, shop+"/auth/bye?") {
			t.Fatalf("the provider goes on to %q", next)
		}
		if page := l.open(b, back.RequestURI()); page.Body != "goodbye" || l.foreignReturns() != 0 || l.signedIn(b) {
			t.Errorf("the way back ended with %d %s: %s", page.Status, page.Body, l.log)
		}
	})

	module("rp-frontchannel-opinitlogout", func(t *testing.T) {
		l := newLeaving(t, frontchannel)
		b, phone := l.login(), l.login()
		page, err := b.Get(l.provider.Issuer() + "/end_session")
		if err != nil {
			t.Fatal(err)
		}
		frame := l.frameOf(page, l.sids[0])
		for name, query := range map[string]url.Values{
			"a wrong iss":                    {"iss": {l.provider.Issuer() + "INVALID"}, "sid": {l.sids[0]}},
			"a wrong sid":                    {"iss": {l.provider.Issuer()}, "sid": {l.sids[0] + "INVALID"}},
			"the sid of another session":     {"iss": {l.provider.Issuer()}, "sid": {l.sids[1]}},
			"iss alone":                      {"iss": {l.provider.Issuer()}},
			"sid alone":                      {"sid": {l.sids[0]}},
			"neither":                        {},
			"the right sid and a second one": {"iss": {l.provider.Issuer()}, "sid": {l.sids[0], l.sids[1]}},
		} {
			resp := l.show(b, "/auth/frontchannel-logout?"+query.Encode())
			if clears(resp) || resp.Header.Get("Clear-Site-Data") != "" || !l.signedIn(b) {
				t.Fatalf("%s ended the session", name)
			}
		}
		if resp := l.show(b, frame); !clears(resp) || resp.Header.Get("Clear-Site-Data") == "" {
			t.Errorf("the session's cookie stays: %v", resp.Header)
		}
		if l.signedIn(b) {
			t.Error("a copy of the session's cookie is still good")
		}
		if !l.signedIn(phone) {
			t.Error("another session of the user's ended")
		}
		l.show(b, frame) // nobody is there any more, and that is success too
	})

	for name, c := range map[string]struct {
		status int
		bend   []rptest.TokenFault
		check  string // which refuses it
	}{
		"":             {200, nil, ""},
		"-alg-none":    {400, []rptest.TokenFault{rptest.AlgNone}, "alg"},
		"-wrong-alg":   {400, []rptest.TokenFault{rptest.AlgOther}, "alg"},
		"-wrong-iss":   {400, []rptest.TokenFault{suffixed("iss")}, "iss"},
		"-wrong-aud":   {400, []rptest.TokenFault{suffixed("aud")}, "aud"},
		"-no-event":    {400, []rptest.TokenFault{rptest.WithoutClaim("events")}, "events"},
		"-wrong-event": {400, []rptest.TokenFault{rptest.WithClaim("events", map[string]any{"http://schemas.openid.net/event/foobar": map[string]any{}})}, "events"},
		"-with-nonce":  {400, []rptest.TokenFault{rptest.WithClaim("nonce", "nonce")}, "nonce"},
	} {
		module("rp-backchannel-rpinitlogout"+name, func(t *testing.T) {
			l := newLeaving(t, backchannel)
			phone, desk := l.login(), l.login()
			time.Sleep(2 * time.Second) // a login of the same second would have been after the logout
			l.bend = c.bend
			back := l.leave(desk)
			if len(l.delivered) != 1 {
				t.Fatalf("%d logout tokens, want one", len(l.delivered))
			}
			l.check(l.delivered[0], c.status)
			if c.check != "" && !strings.HasSuffix(strings.TrimSpace(l.delivered[0].body), `its `+c.check+`"}`) {
				t.Errorf("refused with %s, want its %s", l.delivered[0].body, c.check)
			}
			if page := l.open(desk, back.RequestURI()); page.Body != "goodbye" || l.foreignReturns() != 0 || l.signedIn(desk) {
				t.Errorf("the way back ended with %d %s: %s", page.Status, page.Body, l.log)
			}
			// The desk has ended its session itself. What the token does is seen at the phone's.
			if !l.signedIn(phone) {
				t.Fatal("a token for another session ended the phone's")
			}
			l.check(l.tell(l.sids[0], c.bend...), c.status)
			if l.signedIn(phone) == (c.status == 200) {
				t.Errorf("after the token that was answered %d the session is there: %v", c.status, c.status == 200)
			}
		})
	}
}

func suffixed(claim string) rptest.TokenFault {
	return func(j *rptest.JWT) {
		value, _ := j.Claims[claim].(string)
		j.Claims[claim] = value + "INVALID"
	}
}
