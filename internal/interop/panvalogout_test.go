//go:build unix

package interop_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/interop/app"
	"github.com/latchkey-go/latchkey/internal/interop/chrome"
	"github.com/latchkey-go/latchkey/internal/interop/panva"
	"github.com/latchkey-go/latchkey/internal/interop/visitor"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/session"
	"github.com/latchkey-go/latchkey/session/redisbackend"
	"github.com/redis/go-redis/v9"
)

var replicaKey = []byte("a key of 32 bytes, only for tests")

const replicaSecret = "a secret: of enough bytes+for/HS256 too"

// replicas are two processes of one application as far as sessions are concerned: two clients, two managers and two guards on one storage. Browsers
// send the cookies of one loopback port to every other, so a visitor of first is one of second.
type replicas struct {
	first, second *app.App
	logoutURI     string
}

// replicate registers and serves an application. share says what the replicas have in common; metadata is added to the client's.
func replicate(t *testing.T, p *panva.Provider, id string, share func(*session.Config), metadata map[string]any) replicas {
	t.Helper()
	r := replicas{first: app.Listen(t, false), second: app.Listen(t, false)}
	r.logoutURI = r.first.URL + "/auth/backchannel-logout"
	client := map[string]any{
		"client_id": id, "client_secret": replicaSecret, "token_endpoint_auth_method": "client_secret_basic",
		"redirect_uris": []string{r.first.Callback}, "post_logout_redirect_uris": []string{r.first.Goodbye},
		"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"},
		"backchannel_logout_uri": r.logoutURI, "backchannel_logout_session_required": true,
	}
	maps.Copy(client, metadata)
	p.Register(t, client)
	for _, a := range r.all() {
		a.Serve(t, app.Options{
			Issuer: p.Issuer(), ClientID: id, Secret: replicaSecret,
			RP: func(c *rp.Config) { c.RedirectURL, c.PostLogoutRedirectURL = r.first.Callback, r.first.Goodbye },
			Session: func(c *session.Config) {
				c.SingleProcess, c.BackchannelLogout, c.CookieName = false, true, id
				share(c)
			},
			Guard: a.KeepFailures,
		})
	}
	return r
}

func (r replicas) all() []*app.App { return []*app.App{r.first, r.second} }

// visit signs user in with a browser of its own.
func (r replicas) visit(t *testing.T, p *panva.Provider, user string) (*visitor.Visitor, app.Account) {
	t.Helper()
	v := visitor.New(t, nil)
	return v, r.enter(t, p, v, user)
}

func (r replicas) enter(t *testing.T, p *panva.Provider, v *visitor.Visitor, user string) app.Account {
	t.Helper()
	got := account(t, p.SignIn(t, v.Open(r.first.URL+"/account"), user))
	if got.Subject != user {
		t.Fatalf("signed in as %q, want %q", got.Subject, user)
	}
	r.alive(t, v, user)
	return got
}

func (r replicas) alive(t *testing.T, v *visitor.Visitor, user string) {
	t.Helper()
	for _, a := range r.all() {
		if got := account(t, v.Open(a.URL+"/maybe")); got.Subject != user {
			t.Errorf("%s is asked for %q, want %q", a.URL, got.Subject, user)
		}
	}
}

func (r replicas) over(t *testing.T, v *visitor.Visitor) {
	t.Helper()
	for _, a := range r.all() {
		if page := v.Open(a.URL + "/maybe"); page.Status != http.StatusOK || page.Body != "nobody" {
			t.Errorf("still signed in: %s", page)
		}
	}
}

// asksWho asserts that the next login takes the user's name.
func (r replicas) asksWho(t *testing.T, v *visitor.Visitor) *visitor.Page {
	t.Helper()
	page := v.Open(r.second.URL + "/account")
	if len(page.Forms) == 0 || page.Forms[0].Values.Get("prompt") != "login" {
		t.Fatalf("want the provider's login page, got %s", page)
	}
	return page
}

// reenter signs v in by the provider's session that is there, which takes no more than consent.
func (r replicas) reenter(t *testing.T, p *panva.Provider, v *visitor.Visitor) {
	t.Helper()
	page := v.Open(r.first.URL + "/account")
	for _, form := range page.Forms {
		if form.Values.Get("prompt") == "login" {
			t.Fatalf("the provider's session is over: %s", page)
		}
	}
	account(t, p.SignIn(t, page, ""))
}

// copyOf is a browser with the cookies that v has now.
func copyOf(t *testing.T, v *visitor.Visitor, address string) *visitor.Visitor {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	other := visitor.New(t, nil)
	other.Jar.SetCookies(u, v.Jar.Cookies(u))
	return other
}

// leave signs v out on a page of the provider's own, without any client.
func leave(t *testing.T, p *panva.Provider, v *visitor.Visitor) {
	t.Helper()
	page := p.SignOut(t, v.Open(p.Issuer()+"/session/end"))
	if page.Status != http.StatusOK || !strings.Contains(page.Body, "Sign-out Success") {
		t.Fatalf("the provider's logout ended at %s", page)
	}
}

// delivered asserts that n logout tokens were sent to r, and the last one's answer; it returns the last one.
func (r replicas) delivered(t *testing.T, p *panva.Provider, n, status int) panva.Delivery {
	t.Helper()
	sent := p.Deliveries(t, r.logoutURI)
	if len(sent) != n {
		t.Fatalf("%d logout tokens were sent, want %d", len(sent), n)
	}
	if n == 0 {
		return panva.Delivery{}
	}
	last := sent[n-1]
	if last.Status != status || (last.Outcome == "success") != (status == http.StatusOK) {
		t.Fatalf("the logout token was answered %d, which the provider takes for %q; want %d", last.Status, last.Outcome, status)
	}
	return last
}

// section decodes a part of a JWT, without a word of the SDK.
func section(t *testing.T, raw string, part int) map[string]any {
	t.Helper()
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		t.Fatalf("a token of %d parts", len(parts))
	}
	plain, err := base64.RawURLEncoding.DecodeString(parts[part])
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(plain, &members); err != nil {
		t.Fatal(err)
	}
	return members
}

// resend posts a logout token as the provider would.
func resend(t *testing.T, uri, token string) (status int, body string) {
	t.Helper()
	res, err := http.PostForm(uri, url.Values{"logout_token": {token}})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	said, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(said)
}

// onBackend shares sessions on a server.
func onBackend(t *testing.T, backend session.Backend) func(*session.Config) {
	return func(c *session.Config) {
		store, err := session.NewServerStore(backend, replicaKey)
		if err != nil {
			t.Fatal(err)
		}
		c.Store = store
	}
}

func inMemory(t *testing.T) func(*session.Config) { return onBackend(t, session.NewMemoryBackend(0)) }

func inRedis(t *testing.T, server *redisServer) func(*session.Config) {
	// The provider waits for 2.5 seconds; a client that tries again and again for longer leaves it without an answer when Redis is down.
	client := redis.NewClient(&redis.Options{Addr: server.addr, ContextTimeoutEnabled: true, MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { client.Close() })
	backend, err := redisbackend.New(client, redisbackend.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return onBackend(t, backend)
}

// inCookies shares nothing but the ledger.
func inCookies(*testing.T) func(*session.Config) {
	ledger := session.NewBackendLedger(session.NewMemoryBackend(0))
	return func(c *session.Config) { c.Ledger = ledger }
}

func TestOIDCProviderEndsSessionsOverTheBackChannel(t *testing.T) {
	p := panva.StartLogout(t)

	for name, share := range map[string]func(*testing.T) func(*session.Config){
		"in memory":  inMemory,
		"in cookies": inCookies,
		"in Redis":   func(t *testing.T) func(*session.Config) { return inRedis(t, startRedis(t)) },
	} {
		id := strings.ReplaceAll(name, " ", "-")
		t.Run(name+", by sid that session alone", func(t *testing.T) {
			r := replicate(t, p, id+"-sid", share(t), nil)
			desk, at := r.visit(t, p, "alice")
			phone, elsewhere := r.visit(t, p, "alice")
			other, _ := r.visit(t, p, "bob")
			if at.SID == "" || at.SID == elsewhere.SID {
				t.Fatalf("sid %q at the desk and %q on the phone, want two", at.SID, elsewhere.SID)
			}
			leave(t, p, desk)
			token := r.delivered(t, p, 1, http.StatusOK).Token
			if typ, sid := section(t, token, 0)["typ"], section(t, token, 1)["sid"]; typ != "logout+jwt" || sid != at.SID {
				t.Errorf("the provider sent a token of type %v for sid %v, want logout+jwt for %s", typ, sid, at.SID)
			}
			r.over(t, desk)
			r.alive(t, phone, "alice")
			r.alive(t, other, "bob")

			again := account(t, p.SignIn(t, r.asksWho(t, desk), "alice"))
			if again.SID == at.SID || again.SID == "" {
				t.Errorf("the next login has sid %q after %q", again.SID, at.SID)
			}
			r.alive(t, desk, "alice")
		})

		t.Run(name+", by sub all of the user's", func(t *testing.T) {
			r := replicate(t, p, id+"-sub", share(t), map[string]any{"backchannel_logout_session_required": false})
			desk, at := r.visit(t, p, "alice")
			phone, _ := r.visit(t, p, "alice")
			other, _ := r.visit(t, p, "bob")
			if at.SID != "" {
				t.Fatalf("sid %q came for a client that did not ask, and the test shows nothing", at.SID)
			}
			leave(t, p, desk)
			claims := section(t, r.delivered(t, p, 1, http.StatusOK).Token, 1)
			if _, named := claims["sid"]; named || claims["sub"] != "alice" {
				t.Errorf("the provider sent sub %v and sid %v, want sub alone", claims["sub"], claims["sid"])
			}
			r.over(t, desk)
			r.over(t, phone)
			r.alive(t, other, "bob")

			// Times of tokens are whole seconds: a login of the logout's own second counts as before it.
			time.Sleep(1100 * time.Millisecond)
			account(t, p.SignIn(t, r.asksWho(t, desk), "alice"))
			r.alive(t, desk, "alice")
			r.over(t, phone)
		})
	}

	// both signs one browser in to two applications.
	both := func(t *testing.T, id string) (shop, office replicas, v *visitor.Visitor) {
		t.Helper()
		shop = replicate(t, p, id+"-shop", inMemory(t), nil)
		office = replicate(t, p, id+"-office", inMemory(t), nil)
		v, _ = shop.visit(t, p, "alice")
		office.reenter(t, p, v)
		shop.alive(t, v, "alice")
		office.alive(t, v, "alice")
		return shop, office, v
	}

	t.Run("a logout that another application began reaches this one", func(t *testing.T) {
		shop, office, v := both(t, "whole")
		phone, _ := shop.visit(t, p, "alice")
		page := p.SignOut(t, v.Open(office.first.URL+"/").Post("/auth/logout", url.Values{}))
		if page.Status != http.StatusOK || page.URL.String() != office.first.URL+"/" {
			t.Errorf("the logout ended at %s", page)
		}
		// The one that asked gets a token as well, for a session which is over already.
		office.delivered(t, p, 1, http.StatusOK)
		shop.delivered(t, p, 1, http.StatusOK)
		office.over(t, v)
		shop.over(t, v)
		shop.alive(t, phone, "alice")
	})

	t.Run("a user who stays signed in at the provider leaves only the application that asked", func(t *testing.T) {
		shop, office, v := both(t, "part")
		page := v.Open(office.first.URL+"/").Post("/auth/logout", url.Values{})
		form := page.Forms[0]
		form.Values.Del("logout")
		page = page.Post(form.Action.String(), form.Values)
		if page.Status != http.StatusOK || page.URL.String() != office.first.URL+"/" {
			t.Errorf("the logout ended at %s", page)
		}
		office.delivered(t, p, 1, http.StatusOK)
		shop.delivered(t, p, 0, 0)
		office.over(t, v)
		shop.alive(t, v, "alice")
	})

	t.Run("a delivered token is refused when it comes again or to another application", func(t *testing.T) {
		r := replicate(t, p, "again", inMemory(t), nil)
		stranger := replicate(t, p, "stranger", inMemory(t), nil)
		v, _ := r.visit(t, p, "alice")
		leave(t, p, v)
		token := r.delivered(t, p, 1, http.StatusOK).Token
		for _, a := range r.all() {
			if status, body := resend(t, a.URL+"/auth/backchannel-logout", token); status != http.StatusBadRequest || !strings.Contains(body, "used before") {
				t.Errorf("%s answered the same token %d %s", a.URL, status, body)
			}
		}
		if status, body := resend(t, stranger.logoutURI, token); status != http.StatusBadRequest || !strings.Contains(body, "refused by its aud") {
			t.Errorf("another application answered %d %s", status, body)
		}
	})

	t.Run("an ID token is no logout token", func(t *testing.T) {
		r := replicate(t, p, "id-token", inMemory(t), nil)
		v, _ := r.visit(t, p, "alice")
		token := r.first.Tape.Grants("authorization_code")[0].JSON("id_token")
		if status, body := resend(t, r.logoutURI, token); status != http.StatusBadRequest || !strings.Contains(body, `"invalid_request"`) {
			t.Errorf("the ID token was answered %d %s", status, body)
		}
		r.alive(t, v, "alice")
	})

	t.Run("a token under a key that is a moment old", func(t *testing.T) {
		r := replicate(t, p, "rotated", inMemory(t), nil)
		v, _ := r.visit(t, p, "alice")
		p.Rotate(t, true)
		leave(t, p, v)
		r.delivered(t, p, 1, http.StatusOK)
		r.over(t, v)
	})

	t.Run("an application that takes none says so and keeps its session", func(t *testing.T) {
		share := inMemory(t)
		r := replicate(t, p, "deaf", func(c *session.Config) { share(c); c.BackchannelLogout = false }, nil)
		v, _ := r.visit(t, p, "alice")
		leave(t, p, v)
		r.delivered(t, p, 1, http.StatusNotImplemented)
		r.alive(t, v, "alice")
	})

	t.Run("a token that comes while the storage is down is good once more", func(t *testing.T) {
		own := startRedis(t)
		r := replicate(t, p, "down", inRedis(t, own), nil)
		v, _ := r.visit(t, p, "alice")
		own.kill()
		leave(t, p, v)
		token := r.delivered(t, p, 1, http.StatusServiceUnavailable).Token
		if err := own.start(); err != nil {
			t.Fatal(err)
		}
		r.alive(t, v, "alice")
		if status, body := resend(t, r.second.URL+"/auth/backchannel-logout", token); status != http.StatusOK {
			t.Errorf("the second delivery was answered %d %s", status, body)
		}
		r.over(t, v)
	})
}

// question asserts that page is the provider's logout page, asked for the first login of r, and returns the state it was asked with.
func (r replicas) question(t *testing.T, p *panva.Provider, v *visitor.Visitor, page *visitor.Page) (state string) {
	t.Helper()
	asked := v.Hops[len(v.Hops)-1]
	if page.Status != http.StatusOK || !strings.HasPrefix(asked.String(), p.Issuer()+"/session/end?") {
		t.Fatalf("want the provider's logout page, got %s", page)
	}
	q, hint := asked.Query(), r.first.Tape.Grants("authorization_code")[0].JSON("id_token")
	if q.Get("id_token_hint") != hint || q.Get("post_logout_redirect_uri") != r.first.Goodbye || len(q.Get("state")) < 20 {
		t.Errorf("asked by %v, want the session's ID token, %s and a state", asked, r.first.Goodbye)
	}
	return q.Get("state")
}

// returned asserts that v came from the provider with this state, and on to the page after logout.
func (r replicas) returned(t *testing.T, v *visitor.Visitor, page *visitor.Page, state string) {
	t.Helper()
	if page.Status != http.StatusOK || page.URL.String() != r.first.URL+"/" {
		t.Errorf("the logout ended at %s", page)
	}
	want := r.first.Goodbye + "?" + url.Values{"state": {state}}.Encode()
	if n := len(v.Hops); n < 2 || v.Hops[n-2].String() != want {
		t.Errorf("the way back was %v, want by %s with the state", v.Hops, r.first.Goodbye)
	}
}

// TestOIDCProviderEndsTheSessionThatWeEnd is RP-Initiated Logout 1.0.
func TestOIDCProviderEndsTheSessionThatWeEnd(t *testing.T) {
	p := panva.StartLogout(t)

	post := func(_ *testing.T, r replicas, v *visitor.Visitor) *visitor.Page {
		return v.Open(r.first.URL+"/").Post("/auth/logout", url.Values{})
	}
	get := func(t *testing.T, r replicas, v *visitor.Visitor) *visitor.Page {
		page := v.Open(r.first.URL + "/auth/logout")
		if page.URL.String() != r.first.URL+"/auth/logout" || len(page.Forms) != 1 {
			t.Fatalf("want our question, got %s", page)
		}
		r.alive(t, v, "alice") // asking ends nothing
		return page.Submit(nil)
	}
	for _, c := range []struct {
		name  string
		ask   func(*testing.T, replicas, *visitor.Visitor) *visitor.Page
		share func(*testing.T) func(*session.Config)
	}{
		{"by POST, sessions in memory", post, inMemory},
		{"by POST, sessions in cookies", post, inCookies},
		{"by GET and the question that it shows, sessions in memory", get, inMemory},
		{"by GET and the question that it shows, sessions in cookies", get, inCookies},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := replicate(t, p, "ours", c.share(t), nil)
			v, _ := r.visit(t, p, "alice")
			phone, _ := r.visit(t, p, "alice")
			thief := copyOf(t, v, r.first.URL)
			r.alive(t, thief, "alice")
			page := c.ask(t, r, v)
			state := r.question(t, p, v, page)
			// It is over here before the user has answered there, and a copy of the cookies is worth nothing.
			r.over(t, v)
			r.over(t, thief)
			r.returned(t, v, p.SignOut(t, page), state)

			r.over(t, v)
			r.over(t, thief)
			r.alive(t, phone, "alice")
			account(t, p.SignIn(t, r.asksWho(t, v), "alice"))
			r.alive(t, v, "alice")
		})
	}

	t.Run("a user who stays signed in at the provider is signed out here", func(t *testing.T) {
		r := replicate(t, p, "stays", inMemory(t), nil)
		v, _ := r.visit(t, p, "alice")
		page := post(t, r, v)
		state := r.question(t, p, v, page)
		form := page.Forms[0]
		form.Values.Del("logout")
		r.returned(t, v, page.Post(form.Action.String(), form.Values), state)
		r.over(t, v)
		r.reenter(t, p, v)
	})

	t.Run("a way back that is not registered is the provider's error, and the session is over here", func(t *testing.T) {
		r := replicate(t, p, "unregistered", inMemory(t), map[string]any{"post_logout_redirect_uris": []string{"http://127.0.0.1/elsewhere"}})
		v, _ := r.visit(t, p, "alice")
		page := post(t, r, v)
		if page.Status != http.StatusBadRequest || !strings.HasPrefix(page.URL.String(), p.Issuer()) || !strings.Contains(page.Body, "post_logout_redirect_uri not registered") {
			t.Errorf("want the provider's error page, got %s", page)
		}
		r.over(t, v)
		r.reenter(t, p, v) // nothing has ended at the provider
	})

	t.Run("a return that nobody asked for ends nothing", func(t *testing.T) {
		r := replicate(t, p, "unasked", inMemory(t), nil)
		v, _ := r.visit(t, p, "alice")
		if page := v.Open(r.first.Goodbye + "?state=foreign"); page.Status != http.StatusOK || page.URL.String() != r.first.URL+"/" {
			t.Errorf("the return led to %s", page)
		}
		r.alive(t, v, "alice")
	})

	// The policies of the pages, ours and the provider's, bind a browser alone: form-action counts for the redirects after a form.
	t.Run("in Chromium", func(t *testing.T) {
		r := replicate(t, p, "chromium", inMemory(t), nil)
		tab := chrome.Start(t).Profile(t).Tab()
		signInThere := func() {
			t.Helper()
			tab.Type(`input[name=login]`, "alice")
			tab.Type(`input[name=password]`, "any")
			tab.Click(`button[type=submit]`, "")
			if chrome.Eval[bool](tab, `document.querySelector("input[name=prompt][value=consent]") !== null`) {
				tab.Click(`button[type=submit]`, r.first.URL+"/account")
			}
			if !strings.Contains(tab.Text(), `"alice"`) {
				t.Fatalf("the login ended at %s: %s", tab.URL(), tab.Text())
			}
		}
		tab.Open(r.first.URL + "/account")
		signInThere()
		tab.Open(r.first.URL + "/auth/logout")
		tab.Click(`form button`, p.Issuer()+"/session/end")
		tab.Click(`button[value=yes]`, r.first.URL+"/")
		for _, a := range r.all() {
			if tab.Open(a.URL + "/maybe"); tab.Text() != "nobody" {
				t.Errorf("still signed in: %s", tab.Text())
			}
		}
		tab.Open(r.first.URL + "/account")
		signInThere()
	})
}
