//go:build unix

package redisbackend_test

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
	"github.com/redis/go-redis/v9"
)

const shop = "https://shop.example"

// replicas are managers of one application, each with a client of its own.
func replicas(t testing.TB, provider *rptest.Provider, clients ...redis.UniversalClient) (managers []*session.Manager) {
	t.Helper()
	for _, c := range clients {
		store, err := session.NewServerStore(backendOn(t, c), bytes.Repeat([]byte("store-key-32byte"), 2))
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
		m, err := session.New(client, session.Config{Keys: [][]byte{bytes.Repeat([]byte("cookie-key-32byt"), 2)}, Store: store, MaxSessions: 3})
		if err != nil {
			t.Fatal(err)
		}
		managers = append(managers, m)
	}
	return managers
}

func newProvider(t testing.TB, o rptest.Options) *rptest.Provider {
	t.Helper()
	o.Issuer, o.SigningAlg = "https://op.example", "ES256"
	p, err := rptest.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func request(path string, cookies []*http.Cookie) *http.Request {
	r := httptest.NewRequest(http.MethodGet, shop+path, nil)
	for _, c := range cookies {
		if c.MaxAge >= 0 {
			r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
		}
	}
	return r
}

// login signs alice in and returns her browser's cookies: begin and finish may be different replicas.
func login(t testing.TB, provider *rptest.Provider, begin, finish *session.Manager) (*session.Session, []*http.Cookie) {
	t.Helper()
	w := httptest.NewRecorder()
	to, err := begin.Begin(w, request("/login", nil), "/orders", rp.AuthParams{})
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Transport: provider.Transport(), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := browser.Get(to)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	back, err := url.Parse(answer.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	end := httptest.NewRecorder()
	s, _, err := finish.Finish(end, request(back.RequestURI(), w.Result().Cookies()), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s, end.Result().Cookies()
}

func load(m *session.Manager, cookies []*http.Cookie) (*session.Session, error) {
	return m.Load(httptest.NewRecorder(), request("/orders", cookies))
}

func fourReplicas(t *testing.T, client func() redis.UniversalClient) {
	provider := newProvider(t, rptest.Options{AccessTokenLifetime: 10 * time.Second})
	managers := replicas(t, provider, client(), client(), client(), client())

	// Who logs in at one is known to all, until a logout at any.
	first, cookies := login(t, provider, managers[0], managers[1])
	for i, m := range managers {
		if s, err := load(m, cookies); err != nil || s.Subject != first.Subject || s.Token().AccessToken != first.Token().AccessToken {
			t.Fatalf("replica %d: %v", i, err)
		}
	}
	_, other := login(t, provider, managers[2], managers[3])
	if list, err := managers[0].List(t.Context(), first.Issuer, first.Subject); err != nil || len(list) != 2 {
		t.Errorf("%d sessions are listed, %v; want 2", len(list), err)
	}
	if _, err := managers[3].End(httptest.NewRecorder(), request("/logout", other), "/"); err != nil {
		t.Fatal(err)
	}
	if _, err := load(managers[0], other); !errors.Is(err, session.ErrNone) {
		t.Errorf("after a logout elsewhere: %v", err)
	}
	if list, err := managers[1].List(t.Context(), first.Issuer, first.Subject); err != nil || len(list) != 1 {
		t.Errorf("%d sessions are listed, %v; want 1", len(list), err)
	}

	// 100 requests at four replicas spend one refresh token.
	provider.Fault(rptest.Token, rptest.Slow(300*time.Millisecond))
	time.Sleep(time.Until(first.Token().Expiry.Add(100 * time.Millisecond))) // nobody has a spare token any more
	before := provider.Hits(rptest.Token)
	var tokens sync.Map
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			s, err := load(managers[i%4], cookies)
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
	if hits := provider.Hits(rptest.Token) - before; hits != 1 || n != 1 || provider.RefreshReuses() != 0 {
		t.Errorf("%d token requests, %d different tokens, %d reuses; want 1, 1, 0", hits, n, provider.RefreshReuses())
	}

	// A revocation counts at once, everywhere; a new login is not of its time.
	time.Sleep(1100 * time.Millisecond)
	if err := managers[2].Revoke(t.Context(), session.Revocation{Subject: first.Subject}); err != nil {
		t.Fatal(err)
	}
	for i, m := range managers {
		if _, err := load(m, cookies); !errors.Is(err, session.ErrNone) {
			t.Errorf("replica %d after a revocation: %v", i, err)
		}
	}
}

func TestFourReplicasOnOneServer(t *testing.T) {
	s := startServer(t)
	fourReplicas(t, func() redis.UniversalClient { return s.client() })
}

func TestFourReplicasOnACluster(t *testing.T) {
	nodes := startCluster(t)
	fourReplicas(t, func() redis.UniversalClient { return clusterClient(t, nodes) })
}

func TestAnOutageOfRedisLogsNobodyOut(t *testing.T) {
	s := startServer(t, "--appendonly", "yes", "--appendfsync", "always")
	provider := newProvider(t, rptest.Options{})
	managers := replicas(t, provider, s.client(), s.client())
	_, cookies := login(t, provider, managers[0], managers[0])
	s.kill()
	if _, err := load(managers[1], cookies); !errors.Is(err, session.ErrStore) || errors.Is(err, session.ErrNone) {
		t.Errorf("while it is away: %v", err)
	}
	s.restart()
	if _, err := load(managers[1], cookies); err != nil {
		t.Errorf("when it is back: %v", err)
	}
}
