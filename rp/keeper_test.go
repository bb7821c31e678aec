package rp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

// tenants connects n of them, and returns their sources in this process.
func (j *job) tenants(s *rp.TokenStore, n int) []*rp.TokenSource {
	j.t.Helper()
	sources := make([]*rp.TokenSource, n)
	for i := range sources {
		sources[i] = j.client.TokenSource(j.t.Context(), s, fmt.Sprint("tenant-", i))
		j.connect(sources[i])
	}
	return sources
}

func keeperOf(t *testing.T, cfg rp.KeeperConfig, sources ...*rp.TokenSource) (k *rp.Keeper, stop func()) {
	t.Helper()
	k, err := rp.NewKeeper(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sources {
		k.Add(s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- k.Run(ctx) }()
	return k, func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestAKeeperKeepsManyTenantsFreshForMonths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{AccessTokenLifetime: 6 * time.Hour, RefreshTokenLifetime: 365 * 24 * time.Hour})
		sources := j.tenants(j.process(), 10)
		k, stop := keeperOf(t, rp.KeeperConfig{}, sources...)
		const days = 60
		j.op.Fault(rptest.Token, rptest.Slow(time.Second)) // whoever waits for a refresh shows
		for range days {
			time.Sleep(24 * time.Hour)
			for _, s := range sources {
				asked := time.Now()
				j.token(s)
				if time.Since(asked) > 0 {
					t.Error("somebody who asked had to wait for a refresh")
				}
			}
		}
		if s := k.Stats(); s.Keys != 10 || s.Fresh != 10 || s.Failing+s.Reconnect+s.Running+s.Waiting != 0 {
			t.Errorf("the keeper says %+v", s)
		}
		stop()
		if n, least := j.op.Refreshes(), 10*days*4; n < least || n > least*102/100 { // seven minutes early of six hours
			t.Errorf("%d refreshes, want %d or little more", n, least)
		}
		if n := j.op.RefreshReuses(); n != 0 {
			t.Errorf("%d reuses", n)
		}
	})
}

func TestKeepersOfManyProcessesRefreshOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{})
		sources := j.tenants(j.process(), 10)
		var stops []func()
		var stores []*rp.TokenStore
		for range 3 {
			tokens := j.process()
			stores = append(stores, tokens)
			var own []*rp.TokenSource
			for _, s := range sources {
				own = append(own, j.client.TokenSource(t.Context(), tokens, s.Key()))
			}
			_, stop := keeperOf(t, rp.KeeperConfig{Concurrency: 4}, own...)
			stops = append(stops, stop)
		}
		time.Sleep(time.Hour)
		for _, stop := range stops {
			stop()
		}
		var made uint64
		for _, s := range stores {
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
			made += s.Stats().Refreshes
		}
		if n := j.op.Refreshes(); uint64(n) != made || n < 10*60 || n > 10*60*60/42 {
			t.Errorf("%d refreshes at the provider, %d counted here", n, made)
		}
		if n := j.op.RefreshReuses(); n != 0 {
			t.Errorf("%d reuses", n)
		}
	})
}

func TestAKeeperBoundsItsRefreshesAndLetsNobodyStarve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{})
		hanging := newJob(t, rptest.Options{})
		var mu sync.Mutex
		running, most := 0, 0
		j.op.Fault(rptest.Token, func(honest http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				running++
				most = max(most, running)
				mu.Unlock()
				time.Sleep(100 * time.Millisecond)
				honest.ServeHTTP(w, r)
				mu.Lock()
				running--
				mu.Unlock()
			})
		})
		sources := j.tenants(j.process(), 40)
		stuck := hanging.tenants(hanging.process(), 40)
		mu.Lock()
		most = 0
		mu.Unlock()
		time.Sleep(time.Hour) // all have ended
		hanging.op.Fault(rptest.Token, rptest.Hang)
		k, stop := keeperOf(t, rp.KeeperConfig{Concurrency: 5}, append(stuck, sources...)...)
		time.Sleep(2 * time.Second)
		if s := k.Stats(); s.Fresh != 40 || s.Running != 5 || s.Waiting != 35 || s.Late < time.Second {
			t.Errorf("beside a provider that hangs: %+v", s)
		}
		if most != 5 {
			t.Errorf("%d refreshes at once, want 5", most)
		}
		for _, s := range stuck {
			k.Remove(s)
		}
		stop()
	})
}

func TestAKeeperTellsWhatChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{})
		var mu sync.Mutex
		var told []string
		sources := j.tenants(j.process(), 1)
		k, stop := keeperOf(t, rp.KeeperConfig{OnChange: func(key string, err error) {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				told = append(told, key+" fine")
			case errors.Is(err, rp.ErrReconnect):
				told = append(told, key+" over")
			default:
				told = append(told, key+" failing")
			}
		}}, sources...)
		want := func(list ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if fmt.Sprint(told) != fmt.Sprint(list) {
				t.Errorf("told %v, want %v", told, list)
			}
		}
		time.Sleep(5 * time.Minute)
		want()
		j.op.Fault(rptest.Token, rptest.Down)
		time.Sleep(5 * time.Minute)
		want("tenant-0 failing")
		j.op.ClearFaults()
		time.Sleep(2 * time.Minute)
		want("tenant-0 failing", "tenant-0 fine")
		j.op.Fault(rptest.Token, rptest.InvalidGrant)
		time.Sleep(10 * time.Minute)
		want("tenant-0 failing", "tenant-0 fine", "tenant-0 over")
		if s := k.Stats(); s.Reconnect != 1 || s.Fresh != 0 {
			t.Errorf("the keeper says %+v", s)
		}
		j.op.ClearFaults()
		j.connect(sources[0])
		k.Add(sources[0])
		want("tenant-0 failing", "tenant-0 fine", "tenant-0 over", "tenant-0 fine")
		stop()
		if err := k.Run(canceled(t)); err != nil {
			t.Errorf("a second run: %v", err)
		}
	})
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestAKeeperThatStopsWaitsForWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{})
		sources := j.tenants(j.process(), 3)
		time.Sleep(time.Minute)
		j.op.Fault(rptest.Token, rptest.Slow(4*time.Second))
		k, stop := keeperOf(t, rp.KeeperConfig{}, sources...)
		time.Sleep(time.Second)
		if err := k.Run(t.Context()); err == nil {
			t.Error("two runs at once")
		}
		stop()
		j.counts(3, 0)
	})
}

func TestAKeeperIsConfiguredWithinReason(t *testing.T) {
	if _, err := rp.NewKeeper(rp.KeeperConfig{Concurrency: -1}); err == nil {
		t.Error("negative")
	}
}

func TestAKeeperOfAClosedStoreIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{})
		store := j.process()
		sources := j.tenants(store, 1)
		j.op.Fault(rptest.Token, rptest.Status(http.StatusServiceUnavailable, ""))
		keeper, stop := keeperOf(t, rp.KeeperConfig{OnChange: func(string, error) { panic("a callback of somebody's") }}, sources...)
		time.Sleep(2 * time.Minute)
		if err := store.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute) // its pause is over
		before := keeper.Stats().Looks
		time.Sleep(time.Minute)
		if n := keeper.Stats().Looks - before; n > 300 {
			t.Errorf("%d looks in a minute at what can't be refreshed", n)
		}
		stop()
	})
}

// A 503 with Retry-After is about the provider: a thousand tenants leave it alone together, one of them tries first, and all are fresh soon after it is back.
func TestAKeeperLeavesAProviderAloneThatAsksForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tenants, asked = 1000, 2 * time.Minute
		j := newJob(t, rptest.Options{AccessTokenLifetime: 10 * time.Minute})
		sources := j.tenants(j.process(), tenants)
		own := j.client.ClientCredentials(t.Context(), "reports")
		k, stop := keeperOf(t, rp.KeeperConfig{}, sources...)
		time.Sleep(5 * time.Minute) // none is due
		j.op.ResetHits()
		j.op.Fault(rptest.Token, rptest.RetryAfter(asked))
		began := time.Now()
		for j.op.Hits(rptest.Token) == 0 {
			time.Sleep(time.Second)
		}
		most := j.op.Hits(rptest.Token) // under way when the first was answered
		for range 3 {
			time.Sleep(asked - 2*time.Second)
			if n := j.op.Hits(rptest.Token); n > most {
				t.Fatalf("asked %d times since %s, want %d", n, time.Since(began), most)
			}
			if _, err := own.Token(); !errors.Is(err, rp.ErrUnavailable) {
				t.Errorf("client credentials: %v", err)
			}
			time.Sleep(2 * time.Second)
			if n := j.op.Hits(rptest.Token); n != most+1 {
				t.Fatalf("after the wait it was asked %d times more, want 1", n-most)
			}
			most++
		}
		for _, s := range sources { // their access tokens have ended
			var refused *rp.ProviderError
			if _, err := s.Token(); !errors.Is(err, rp.ErrUnavailable) || errors.Is(err, rp.ErrReconnect) || !errors.As(err, &refused) || refused.RetryAfter != asked {
				t.Fatalf("%s: %v", s.Key(), err)
			}
		}
		j.op.ClearFaults()
		time.Sleep(asked + 15*time.Second)
		if s := k.Stats(); s.Fresh != tenants {
			t.Errorf("after the provider's return: %+v", s)
		}
		if _, err := own.Token(); err != nil {
			t.Errorf("client credentials: %v", err)
		}
		stop()
		if n := j.op.Hits(rptest.Token); n > most+tenants+1 {
			t.Errorf("asked %d times for %d tenants and one client", n-most, tenants)
		}
	})
}

// A 429 may be about one tenant: the others go on.
func TestTooManyRequestsOfOneTenantHoldUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{})
		sources := j.tenants(j.process(), 2)
		time.Sleep(time.Minute)
		j.op.FaultTimes(rptest.Token, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "120")
				w.WriteHeader(http.StatusTooManyRequests)
			})
		}, 1)
		if _, err := sources[0].Token(); !errors.Is(err, rp.ErrUnavailable) {
			t.Fatal(err)
		}
		j.token(sources[1])
		time.Sleep(100 * time.Second)
		if _, err := sources[0].Token(); !errors.Is(err, rp.ErrUnavailable) {
			t.Errorf("before the time: %v", err)
		}
		time.Sleep(30 * time.Second)
		j.token(sources[0])
	})
}
