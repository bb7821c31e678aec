//go:build unix

package sqlbackend_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
	"github.com/latchkey-go/latchkey/session/sqlbackend"
)

const shop = "https://shop.example"

// fleet is an application of several replicas, each with a pool of its own.
type fleet struct {
	t        *testing.T
	provider *rptest.Provider
	managers []*session.Manager
}

func newFleet(t *testing.T, backends ...*sqlbackend.Backend) *fleet {
	t.Helper()
	provider, err := rptest.New(rptest.Options{Issuer: "https://op.example", SigningAlg: "ES256", AccessTokenLifetime: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{t: t, provider: provider}
	for _, b := range backends {
		store, err := session.NewServerStore(b, bytes.Repeat([]byte("key of the store"), 2))
		if err != nil {
			t.Fatal(err)
		}
		client, err := rp.New(rp.Config{
			Issuer: provider.Issuer(), ClientID: provider.ClientID(), ClientSecret: provider.ClientSecret(),
			RedirectURL: shop + "/auth/callback", HTTPClient: provider.Client(),
		})
		if err != nil {
			t.Fatal(err)
		}
		m, err := session.New(client, session.Config{Keys: [][]byte{bytes.Repeat([]byte("key for cookies."), 2)}, Store: store})
		if err != nil {
			t.Fatal(err)
		}
		f.managers = append(f.managers, m)
	}
	return f
}

type cookies []*http.Cookie

func (c cookies) get(path string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, shop+path, nil)
	for _, cookie := range c {
		if cookie.MaxAge >= 0 {
			r.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
		}
	}
	return r
}

// login begins at one replica and finishes at another.
func (f *fleet) login(begin, finish int) (*session.Session, cookies) {
	f.t.Helper()
	w := httptest.NewRecorder()
	to, err := f.managers[begin].Begin(w, cookies(nil).get("/login"), "/orders", rp.AuthParams{})
	if err != nil {
		f.t.Fatal(err)
	}
	browser := &http.Client{Transport: f.provider.Transport(), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := browser.Get(to)
	if err != nil {
		f.t.Fatal(err)
	}
	defer answer.Body.Close()
	back, err := url.Parse(answer.Header.Get("Location"))
	if err != nil {
		f.t.Fatal(err)
	}
	end := httptest.NewRecorder()
	s, _, err := f.managers[finish].Finish(end, cookies(w.Result().Cookies()).get(back.RequestURI()), nil)
	if err != nil {
		f.t.Fatal(err)
	}
	return s, end.Result().Cookies()
}

func (f *fleet) load(replica int, c cookies) (*session.Session, error) {
	return f.managers[replica].Load(httptest.NewRecorder(), c.get("/orders"))
}

func TestFourReplicasShareSessionsAndRefreshOnce(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		var backends []*sqlbackend.Backend
		for range 4 {
			backends = append(backends, newBackend(t, p.open(), p.dialect, ""))
		}
		f := newFleet(t, backends...)
		first, browser := f.login(0, 1)
		for i := range f.managers {
			if s, err := f.load(i, browser); err != nil || s.Token().AccessToken != first.Token().AccessToken {
				t.Fatalf("replica %d: %v", i, err)
			}
		}

		f.provider.Fault(rptest.Token, rptest.Slow(300*time.Millisecond))
		time.Sleep(time.Until(first.Token().Expiry.Add(100 * time.Millisecond))) // nobody has a spare token any more
		before := f.provider.Hits(rptest.Token)
		var tokens sync.Map
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				s, err := f.load(i%4, browser)
				if err != nil {
					t.Errorf("request %d: %v", i, err)
					return
				}
				tokens.Store(s.Token().AccessToken, true)
			})
		}
		wg.Wait()
		n := 0
		for token := range tokens.Range {
			if n++; token == first.Token().AccessToken {
				t.Error("somebody got the old token")
			}
		}
		if hits := f.provider.Hits(rptest.Token) - before; hits != 1 || n != 1 || f.provider.RefreshReuses() != 0 {
			t.Errorf("%d token requests, %d different tokens, %d reuses; want 1, 1, 0", hits, n, f.provider.RefreshReuses())
		}

		_, other := f.login(2, 3)
		if list, err := f.managers[0].List(t.Context(), first.Issuer, first.Subject); err != nil || len(list) < 2 {
			t.Errorf("%d sessions are listed, %v; want 2 or more", len(list), err)
		}
		if _, err := f.managers[3].End(httptest.NewRecorder(), other.get("/logout"), "/"); err != nil {
			t.Fatal(err)
		}
		if _, err := f.load(0, other); !errors.Is(err, session.ErrNone) {
			t.Errorf("after a logout elsewhere: %v", err)
		}
		if _, err := f.load(2, browser); err != nil {
			t.Errorf("the other session: %v", err)
		}
	})
}

func TestAnOutageOfTheDatabaseLogsNobodyOut(t *testing.T) {
	eachServer(t, func(t *testing.T, s *service) {
		f := newFleet(t, s.backend(t, ""))
		_, browser := f.login(0, 0)
		s.kill()
		if _, err := f.load(0, browser); !errors.Is(err, session.ErrStore) || errors.Is(err, session.ErrNone) {
			t.Errorf("while it is away: %v, want ErrStore", err)
		}
		s.running(t)
		if _, err := f.load(0, browser); err != nil {
			t.Errorf("when it is back: %v", err)
		}
	})
}
