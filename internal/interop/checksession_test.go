//go:build unix

package interop_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/interop/app"
	"github.com/latchkey-go/latchkey/internal/interop/chrome"
	"github.com/latchkey-go/latchkey/internal/interop/service"
	"github.com/latchkey-go/latchkey/middleware"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

// Session Management 1.0 is scripts in frames that talk to each other: only a browser can tell whether it works.

const sessionFrame = "/auth/session-frame"

// lookout is a page of the application's that watches the provider's session, and is loaded again when that is over.
const lookout = `<!doctype html><title>%s</title><p id="who">%s</p><iframe hidden src="` + sessionFrame + `"></iframe>
<script>
window.told = [];
addEventListener("message", e => {
	if (e.origin !== location.origin || e.data?.latchkey !== "session") return;
	told.push(e.data.status);
	if (e.data.status === "signed-out" && document.title !== "nobody") location.reload();
});
</script>`

// watching serves an application with such a page at /lookout.
func (s *stage) watching(t *testing.T, sameSite http.SameSite) *app.App {
	return s.app(t, func(a *app.App, o *app.Options) {
		o.Guard = func(g *middleware.Guard) { g.SessionFramePath = sessionFrame }
		o.Session = func(c *session.Config) { c.SameSite = sameSite }
		o.Wrap = func(g *middleware.Guard, routes http.Handler) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/", routes)
			mux.Handle("/lookout", g.Optional(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				who := "nobody"
				if s := session.FromContext(r.Context()); s != nil {
					who = s.Subject
				}
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				fmt.Fprintf(w, lookout, who, who)
			})))
			return g.Handler(mux)
		}
	})
}

// elsewhere signs user in at the provider anew, by another application and in another tab of the profile.
func (s *stage) elsewhere(t *testing.T, profile *chrome.Profile, user string) {
	t.Helper()
	other := s.app(t, func(_ *app.App, o *app.Options) { o.Session = func(c *session.Config) { c.CookieName = "other" } })
	other.Params(rp.AuthParams{Prompt: "login"})
	s.visit(t, profile.Tab(), other.URL+"/account", user)
}

const (
	rememberedState = `localStorage.getItem("latchkey-session-state")`
	hasSeen         = rememberedState + ` !== null`
)

// watch signs alice in and waits until her session was found unchanged.
func (s *stage) watch(t *testing.T, tab *chrome.Tab, a *app.App) {
	t.Helper()
	s.visit(t, tab, a.URL+"/account", "alice")
	tab.Open(a.URL + "/lookout")
	tab.Wait(hasSeen)
}

func TestSessionManagementInChromium(t *testing.T) {
	setForeignCookies(t, foreignCookiesSent)
	s := newStage(t, rptest.Options{SessionManagement: true})

	t.Run("oidcc-client-test-session-management", func(t *testing.T) {
		for name, sameSite := range map[string]http.SameSite{"Lax": 0, "Strict": http.SameSiteStrictMode} {
			t.Run("with a session cookie that is SameSite="+name, func(t *testing.T) {
				a := s.watching(t, sameSite)
				profile := s.browser.Profile(t)
				tab := profile.Tab()
				s.watch(t, tab, a)
				calls := len(a.Tape.Calls(""))
				chrome.Eval[any](tab, `window.stayed = true`)
				// Neither what the page around says nor the frame to its side is the provider's word.
				chrome.Eval[any](tab, `for (const m of ["changed", "error", {latchkey: "session", status: "signed-out"}]) document.querySelector("iframe").contentWindow.postMessage(m, "*"); null`)
				time.Sleep(6 * time.Second) // one more question
				if told := chrome.Eval[[]string](tab, `told`); len(told) != 0 || tab.Text() != "alice" || !chrome.Eval[bool](tab, `window.stayed === true`) {
					t.Errorf("while nothing changed the page was told %q and shows %s", told, tab.Text())
				}
				if n := len(a.Tape.Calls("")); n != calls {
					t.Errorf("%d calls to the provider while nothing changed", n-calls)
				}

				leaveFramed(profile.Tab(), s.issuer)
				tab.Wait(`document.title === "nobody"`)
				for _, c := range tab.Cookies(a.URL) {
					if !strings.Contains(c.Name, "-l") { // attempts and counters
						t.Errorf("the browser still holds %s", c.Name)
					}
				}
				if tab.Open(a.URL + "/account"); !strings.HasPrefix(tab.URL(), s.issuer) {
					t.Errorf("after the provider's logout the account is at %s", tab.URL())
				}
			})
		}
	})

	t.Run("the same user's next login at the provider renews the session", func(t *testing.T) { renewed(t, s) })

	t.Run("so does one whose answer has a fragment", func(t *testing.T) {
		s.provider.Fault(rptest.Authorization, func(honest http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				honest.ServeHTTP(&fragmenting{w}, r)
			})
		})
		defer s.provider.ClearFaults()
		renewed(t, s)
	})

	t.Run("another user's login at the provider ends the session", func(t *testing.T) {
		a := s.watching(t, 0)
		profile := s.browser.Profile(t)
		tab := profile.Tab()
		s.watch(t, tab, a)
		s.elsewhere(t, profile, "bob")
		tab.Wait(`document.title === "nobody"`)
	})

	t.Run("an outage of the provider ends nothing", func(t *testing.T) {
		a := s.watching(t, 0)
		tab := s.browser.Profile(t).Tab()
		s.watch(t, tab, a)
		s.provider.Fault(rptest.Authorization, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, a.Callback+"?error=temporarily_unavailable&state="+r.URL.Query().Get("state")+"&iss="+s.issuer, http.StatusSeeOther)
			})
		})
		defer s.provider.ClearFaults()
		// A state that is not its own makes the provider's frame say "changed".
		chrome.Eval[any](tab, `document.querySelector("iframe").contentDocument.documentElement.dataset.state = "a.b"; null`)
		tab.Wait(`told[0] === "unknown"`)
		if tab.Open(a.URL + "/lookout"); tab.Text() != "alice" {
			t.Errorf("the page shows %s", tab.Text())
		}
	})

	t.Run("a provider that takes back what it has just said is asked once", func(t *testing.T) {
		var changed atomic.Bool
		s.provider.Fault(rptest.CheckSession, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				word := "unchanged"
				if changed.Load() {
					word = "changed"
				}
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				fmt.Fprintf(w, `<!doctype html><title>Session</title><script>addEventListener("message", e => e.source.postMessage(%q, e.origin))</script>`, word)
			})
		})
		s.provider.AnswerFault(rptest.AnswerWith("session_state", "always.the-same"))
		defer s.provider.ClearFaults()
		a := s.watching(t, 0)
		tab := s.browser.Profile(t).Tab()
		s.watch(t, tab, a)
		grants := len(a.Tape.Grants("authorization_code"))
		changed.Store(true)
		tab.Open(a.URL + "/lookout")
		tab.Wait(`told[0] === "unknown"`)
		time.Sleep(6 * time.Second) // one more question, if it were asked
		if n := len(a.Tape.Grants("authorization_code")) - grants; n != 1 || tab.Text() != "alice" {
			t.Errorf("%d silent logins, want one; the page shows %s", n, tab.Text())
		}
	})

	t.Run("another site can't show the page", func(t *testing.T) {
		a := s.watching(t, 0)
		tab := s.browser.Profile(t).Tab()
		s.watch(t, tab, a)
		tab.Open(s.issuer + "/end_session")
		chrome.Eval[any](tab, fmt.Sprintf(`new Promise(done => { const f = document.createElement("iframe"); f.onload = () => done(null); f.src = %q; document.body.append(f) })`, a.URL+sessionFrame+"?silent=1"))
		if tab.Open(a.URL + "/lookout"); tab.Text() != "alice" {
			t.Errorf("the page shows %s", tab.Text())
		}
	})
}

// fragmenting redirects with the fragment that Facebook and others leave behind.
type fragmenting struct{ http.ResponseWriter }

func (f *fragmenting) WriteHeader(status int) {
	if at := f.Header().Get("Location"); at != "" {
		f.Header().Set("Location", at+"#_=_")
	}
	f.ResponseWriter.WriteHeader(status)
}

func renewed(t *testing.T, s *stage) {
	a := s.watching(t, 0)
	profile := s.browser.Profile(t)
	tab := profile.Tab()
	s.watch(t, tab, a)
	before, grants := chrome.Eval[string](tab, rememberedState), len(a.Tape.Grants("authorization_code"))
	s.elsewhere(t, profile, "alice")
	tab.Wait(rememberedState + fmt.Sprintf(` !== %q`, before))
	if told := chrome.Eval[[]string](tab, `told`); len(told) != 0 || len(a.Tape.Grants("authorization_code")) != grants+1 {
		t.Errorf("the page was told %q after %d silent logins, want nothing after one", told, len(a.Tape.Grants("authorization_code"))-grants)
	}
	if tab.Open(a.URL + "/lookout"); tab.Text() != "alice" {
		t.Errorf("the page shows %s", tab.Text())
	}
}

// Drafts of RFC 6265bis have a redirect by another site count against SameSite cookies. Chromium does so when told.
func TestSessionManagementWhereRedirectsCountAgainstCookies(t *testing.T) {
	setForeignCookies(t, foreignCookiesSent)
	browser, dir := service.Chromium(t), t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nexec '%s' --enable-features=CookieSameSiteConsidersRedirectChain \"$@\"\n", browser)
	if err := os.WriteFile(filepath.Join(dir, "chromium"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	renewed(t, newStage(t, rptest.Options{SessionManagement: true}))
}

// Where the provider's frame is kept from its cookies it says "changed" of every login. Nobody may be signed out by that.
func TestSessionManagementSignsNobodyOutWhereForeignCookiesAreBlocked(t *testing.T) {
	setForeignCookies(t, foreignCookiesBlocked)
	s := newStage(t, rptest.Options{SessionManagement: true})
	a := s.watching(t, 0)
	tab := s.browser.Profile(t).Tab()
	s.visit(t, tab, a.URL+"/account", "alice")
	tab.Open(a.URL + "/lookout")
	tab.Wait(`told[0] === "unknown"`)
	if tab.Open(a.URL + "/lookout"); tab.Text() != "alice" {
		t.Errorf("the page shows %s", tab.Text())
	}
}
