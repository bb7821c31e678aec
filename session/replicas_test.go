package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

// mortal is a replica's way to its backend and to its provider, which can be cut: what the replica does then reaches nobody, as if it had been killed.
type mortal struct {
	session.Backend
	provider http.RoundTripper
	dead     atomic.Bool
	// beforeSend and afterAnswer run around each token request; killing in them is dying there.
	beforeSend, afterAnswer func()
	puts                    atomic.Int64
	asleep                  atomic.Bool // its renewals get nowhere
	beforePut               func(n int64)
}

var errDead = errors.New("this process is dead")

func (m *mortal) Get(ctx context.Context, keys ...session.Key) ([]session.Item, error) {
	if m.dead.Load() {
		return nil, errDead
	}
	return m.Backend.Get(ctx, keys...)
}

func (m *mortal) Put(ctx context.Context, key session.Key, item session.Item, from uint64) error {
	if m.asleep.Load() {
		return errDead
	}
	if n := m.puts.Add(1); m.beforePut != nil {
		m.beforePut(n)
	}
	if m.dead.Load() {
		return errDead
	}
	return m.Backend.Put(ctx, key, item, from)
}

func (m *mortal) Delete(ctx context.Context, key session.Key, version uint64) error {
	if m.dead.Load() {
		return errDead
	}
	return m.Backend.Delete(ctx, key, version)
}

func (m *mortal) RoundTrip(r *http.Request) (*http.Response, error) {
	token := r.Method == http.MethodPost
	if token && m.beforeSend != nil {
		m.beforeSend()
	}
	if m.dead.Load() {
		return nil, errDead
	}
	resp, err := m.provider.RoundTrip(r)
	if token && m.afterAnswer != nil {
		m.afterAnswer()
	}
	if m.dead.Load() {
		return nil, errDead
	}
	return resp, err
}

// fleet is an application of several replicas over one backend.
type fleet struct {
	provider *rptest.Provider
	backend  *session.MemoryBackend
	sites    []*site
	links    []*mortal
}

func newFleet(t *testing.T, replicas int, options rptest.Options) *fleet {
	t.Helper()
	if options.AccessTokenLifetime == 0 {
		options.AccessTokenLifetime = time.Minute
	}
	f := &fleet{provider: newProvider(t, options), backend: session.NewMemoryBackend(0)}
	for range replicas {
		link := &mortal{Backend: f.backend, provider: f.provider.Client().Transport}
		client := newClient(t, f.provider, func(c *rp.Config) { c.HTTPClient = &http.Client{Transport: link} })
		f.links = append(f.links, link)
		f.sites = append(f.sites, siteOn(t, f.provider, client, session.Config{Store: serverStore(t, link)}))
	}
	return f
}

// at is v's browser, served by another replica.
func (v *visitor) at(s *site) *visitor {
	twin := v.copy()
	twin.site = s
	return twin
}

func TestReplicasRefreshOnceTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 4, rptest.Options{})
		v := f.sites[0].visitor()
		first := v.login()
		f.provider.Fault(rptest.Token, rptest.Slow(3*time.Second))
		time.Sleep(61 * time.Second) // nobody has a spare token any more
		before := f.provider.Hits(rptest.Token)
		tokens := sync.Map{}
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				s, err := v.at(f.sites[i%4]).load()
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
	})
}

func TestAFailureOfOneReplicaIsNotAskedForAgainByTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 4, rptest.Options{})
		v := f.sites[0].visitor()
		v.login()
		f.provider.Fault(rptest.Token, rptest.Status(http.StatusBadGateway, ""))
		time.Sleep(61 * time.Second)
		before := f.provider.Hits(rptest.Token)
		for i := range 40 {
			if _, err := v.at(f.sites[i%4]).load(); !errors.Is(err, rp.ErrUnavailable) {
				t.Fatalf("request %d: %v", i, err)
			}
		}
		if n := f.provider.Hits(rptest.Token) - before; n != 1 {
			t.Errorf("%d token requests of four replicas, want 1", n)
		}
		f.provider.ClearFaults()
		time.Sleep(time.Minute)
		if s, err := v.at(f.sites[3]).load(); err != nil || f.provider.RefreshReuses() != 0 {
			t.Errorf("afterwards: %v, %v", s, err)
		}
	})
}

// Each row kills a replica at one point of its refresh. What the protocol can keep, the others keep.
func TestAReplicaThatDiesInARefreshLosesNothingThatCanBeKept(t *testing.T) {
	for _, c := range []struct {
		name  string
		grace time.Duration // the provider's, for a refresh token that is sent twice
		die   func(m *mortal, kill func())
		lost  bool // the session has to end
		sends int  // of the old refresh token, by all
	}{
		{"before the lease", 0, func(m *mortal, kill func()) { m.beforePut = func(int64) { kill() } }, false, 1},
		{"with the lease", 0, func(m *mortal, kill func()) {
			m.beforePut = func(n int64) {
				if n == 2 {
					kill()
				}
			}
		}, false, 1},
		{"after the intent, before it is sent", 0, func(m *mortal, kill func()) { m.beforeSend = kill }, false, 1},
		{"after the answer, at a provider with grace", time.Minute, func(m *mortal, kill func()) { m.afterAnswer = kill }, false, 2},
		{"after the answer, at a strict provider", 0, func(m *mortal, kill func()) { m.afterAnswer = kill }, true, 2},
		{"before the save, at a provider with grace", time.Minute, func(m *mortal, kill func()) {
			m.afterAnswer = func() { m.beforePut = func(int64) { kill() } }
		}, false, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, 3, rptest.Options{RefreshGrace: c.grace})
				v := f.sites[0].visitor()
				v.login()
				time.Sleep(61 * time.Second)
				before := f.provider.Hits(rptest.Token)
				doomed := f.links[0]
				doomed.puts.Store(0)
				c.die(doomed, func() { doomed.dead.Store(true) })
				twin := v.at(f.sites[0])
				_, _ = twin.load() // whatever a dead process answers reaches nobody
				if !doomed.dead.Load() {
					t.Fatal("the replica did not die")
				}
				var wg sync.WaitGroup
				var failed atomic.Int64
				for i := range 20 {
					wg.Go(func() {
						if _, err := v.at(f.sites[1+i%2]).load(); err != nil {
							if failed.Add(1); !c.lost || !errors.Is(err, session.ErrNone) {
								t.Errorf("request %d: %v", i, err)
							}
						}
					})
				}
				wg.Wait()
				if sends := f.provider.Hits(rptest.Token) - before; sends != c.sends {
					t.Errorf("the refresh token was sent %d times, want %d", sends, c.sends)
				}
				if lost := failed.Load() == 20; lost != c.lost {
					t.Errorf("%d of 20 requests failed", failed.Load())
				}
				if !c.lost && f.provider.RefreshReuses() != 0 {
					t.Errorf("%d reuses", f.provider.RefreshReuses())
				}
				time.Sleep(12 * time.Minute) // the dead one gives up too
			})
		})
	}
}

// A replica that was stopped in the middle (SIGSTOP, a long pause) comes back with tokens nobody waits for: its save must not overwrite.
func TestAHolderThatComesBackLateOverwritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, rptest.Options{RefreshGrace: 5 * time.Minute})
		v := f.sites[0].visitor()
		v.login()
		time.Sleep(61 * time.Second)
		slow := f.links[0]
		stopped, resume := make(chan struct{}), make(chan struct{})
		slow.afterAnswer = func() {
			slow.afterAnswer = nil
			slow.dead.Store(true) // its renewals of the lease stop as well
			close(stopped)
			<-resume
			slow.dead.Store(false)
		}
		late := make(chan error, 1)
		go func() {
			_, err := v.load()
			late <- err
		}()
		<-stopped
		winner, err := v.at(f.sites[1]).load()
		if err != nil {
			t.Fatal(err)
		}
		close(resume)
		<-late
		for i, s := range f.sites {
			got, err := v.at(s).load()
			if err != nil || got.Token().AccessToken != winner.Token().AccessToken {
				t.Errorf("replica %d: %v, want the winner's token", i, err)
			}
		}
	})
}

// A replica that falls asleep between looking at the session and noting its intent wakes up when another has refreshed: it must not send the spent token.
func TestAHolderThatWakesUpLateSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, rptest.Options{})
		v := f.sites[0].visitor()
		v.login()
		time.Sleep(61 * time.Second)
		slow := f.links[0]
		slow.puts.Store(0)
		stopped, resume := make(chan struct{}), make(chan struct{})
		slow.beforePut = func(n int64) {
			if n != 2 { // the lease is the first, the intent the second
				return
			}
			slow.asleep.Store(true)
			close(stopped)
			<-resume
			slow.asleep.Store(false)
		}
		before := f.provider.Hits(rptest.Token)
		late := make(chan *session.Session, 1)
		go func() {
			s, err := v.load()
			if err != nil {
				t.Error(err)
			}
			late <- s
		}()
		<-stopped
		winner, err := v.at(f.sites[1]).load()
		if err != nil {
			t.Fatal(err)
		}
		close(resume)
		if s := <-late; s == nil || s.Token().AccessToken != winner.Token().AccessToken {
			t.Errorf("the late one has %v, want the winner's token", s)
		}
		if n := f.provider.Hits(rptest.Token) - before; n != 1 || f.provider.RefreshReuses() != 0 {
			t.Errorf("%d token requests, %d reuses; want 1, 0", n, f.provider.RefreshReuses())
		}
		time.Sleep(2 * time.Minute)
	})
}

func TestALogoutOnOneReplicaCountsOnAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, rptest.Options{})
		v := f.sites[0].visitor()
		v.login()
		twin, bystander := v.at(f.sites[1]), f.sites[2].visitor()
		bystander.login()
		twin.mustLoad()
		if _, err := v.end(); err != nil {
			t.Fatal(err)
		}
		if _, err := twin.load(); !errors.Is(err, session.ErrNone) {
			t.Errorf("after a logout elsewhere: %v", err)
		}
		bystander.mustLoad()
		again := f.sites[1].visitor()
		again.login()
		time.Sleep(2 * time.Second)
		if err := f.sites[2].Revoke(t.Context(), session.Revocation{Subject: again.mustLoad().Subject}); err != nil {
			t.Fatal(err)
		}
		for i, s := range f.sites {
			if _, err := again.at(s).load(); !errors.Is(err, session.ErrRevoked) {
				t.Errorf("replica %d after a revocation: %v", i, err)
			}
		}
	})
}

func TestAnOutageOfTheBackendLogsNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, rptest.Options{})
		v := f.sites[0].visitor()
		v.login()
		f.links[0].dead.Store(true)
		if _, err := v.load(); !errors.Is(err, session.ErrStore) || errors.Is(err, session.ErrNone) {
			t.Errorf("while the backend is away: %v", err)
		}
		f.links[0].dead.Store(false)
		v.mustLoad()
	})
}

func TestARequestThatChangesNothingTakesOneRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 1, rptest.Options{AccessTokenLifetime: time.Hour})
		v := f.sites[0].visitor()
		v.login()
		counted := &counting{Backend: f.backend}
		v.site = siteOn(t, f.provider, f.sites[0].client, session.Config{Store: serverStore(t, counted)})
		for i := range 10 {
			v.mustLoad()
			if got := fmt.Sprint(counted.calls.Load()); got != fmt.Sprint(i+1) {
				t.Fatalf("%s calls after %d requests", got, i+1)
			}
		}
	})
}

type counting struct {
	session.Backend
	calls atomic.Int64
}

func (c *counting) Get(ctx context.Context, keys ...session.Key) ([]session.Item, error) {
	c.calls.Add(1)
	return c.Backend.Get(ctx, keys...)
}

func (c *counting) Put(ctx context.Context, key session.Key, item session.Item, from uint64) error {
	c.calls.Add(1)
	return c.Backend.Put(ctx, key, item, from)
}
