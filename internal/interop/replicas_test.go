//go:build unix

package interop_test

import (
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/interop/service"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

// replicasPeriod is how long the tests with faults go on.
func replicasPeriod() time.Duration {
	switch {
	case testing.Short():
		return 3 * time.Second
	case service.Required():
		return 12 * time.Second
	}
	return 10 * time.Second
}

func replicasCount(full int) int {
	if testing.Short() {
		return full / 5
	}
	return full
}

func lasting(d time.Duration) func() bool {
	until := time.Now().Add(d)
	return func() bool { return time.Now().Before(until) }
}

// TestFourProcessesRefreshEachSessionOnce lets the access tokens of all sessions end together, and then asks for all of them everywhere.
func TestFourProcessesRefreshEachSessionOnce(t *testing.T) {
	sessions, requests := replicasCount(200), replicasCount(20_000)
	first := replicasPeriod() // the tokens of the first login must not end before the last one is done
	f := newFleet(t, sessions, first, time.Hour, nil)
	time.Sleep(first) // until every token has ended: the provider's clock is the real one
	before := f.op.Refreshes()
	began := time.Now()
	var asked atomic.Int64
	count := f.traffic(func() bool { return asked.Add(1) <= int64(requests) }, nil)
	again, most := f.sent()
	t.Logf("%d sessions, %d requests over %d processes in %.1f s: %s; %d refreshes, %d before, %d reuses, %d tokens sent more than once",
		sessions, requests, fleetSize, time.Since(began).Seconds(), count, f.op.Refreshes(), before, f.op.RefreshReuses(), again)
	if f.op.Refreshes() != sessions || f.op.RefreshReuses() != 0 || most != 1 {
		t.Errorf("%d refreshes of %d sessions, %d reuses, one token was sent %d times: want one of each", f.op.Refreshes(), sessions, f.op.RefreshReuses(), most)
	}
	if got := count[served].Load(); got != int64(requests) {
		t.Errorf("%d of %d requests were served", got, requests)
	}
}

// TestKilledProcessesLoseNoMoreThanTheProviderForbids kills a process every two seconds and starts it again. The next one sends its token once more after the lease and
// the time for settling, 9 s and 5 s: a time of grace above that loses nothing.
func TestKilledProcessesLoseNoMoreThanTheProviderForbids(t *testing.T) {
	t.Parallel()
	for name, grace := range map[string]time.Duration{"with grace": 30 * time.Second, "strict": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, replicasCount(100), 2*time.Second, 2*time.Second, func(o *rptest.Options) { o.RefreshGrace = grace })
			more, kills, over := lasting(replicasPeriod()), 0, make(chan struct{})
			go func() {
				defer close(over)
				for time.Sleep(time.Second); more(); time.Sleep(2 * time.Second) {
					kills++
					if err := f.crash(rand.IntN(fleetSize)); err != nil {
						t.Errorf("restart: %v", err)
						return
					}
				}
			}()
			count := f.traffic(more, nil)
			<-over
			f.settle(40 * time.Second)
			again, most := f.sent()
			twice := f.diedTwice()
			t.Logf("%d sessions, %d kills: %s; %d refreshes, %d reuses, %d tokens sent more than once, at most %d times; %d sessions lost, %d of them because two processes died on them",
				len(f.sessions), kills, count, f.op.Refreshes(), f.op.RefreshReuses(), again, most, f.lost(), twice)
			if kills == 0 || f.op.Refreshes() < len(f.sessions) {
				t.Error("too little happened: the test shows nothing")
			}
			if most > 2 {
				t.Errorf("a refresh token was sent %d times", most)
			}
			if f.lost() > again+twice {
				t.Errorf("%d sessions are lost, but %d tokens were sent twice and two processes died on %d: no kill explains the others", f.lost(), again, twice)
			}
			if grace > 0 && (f.lost() > twice || f.op.RefreshReuses() != 0) {
				t.Errorf("%d sessions lost and %d reuses in spite of the time of grace", f.lost(), f.op.RefreshReuses())
			}
		})
	}
}

// TestALogoutOfTheProviderCountsInEveryProcess tells one process of each logout, and asks all of them.
func TestALogoutOfTheProviderCountsInEveryProcess(t *testing.T) {
	t.Parallel()
	newFleet(t, replicasCount(200), time.Hour, time.Hour, nil).logoutsCount()
}

// logoutsCount tells a process at random of the end of each session, under traffic, and wants no request of it served that began after the answer.
func (f *fleet) logoutsCount() {
	t := f.t
	t.Helper()
	var mu sync.Mutex
	ended := map[*visit]time.Time{}
	var done atomic.Bool
	var late, early atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		defer done.Store(true)
		for i, v := range f.sessions {
			if v.over.Load() {
				t.Errorf("%s was logged out before anybody said so", v.user)
			}
			sid := ""
			if i%2 == 0 {
				sid = v.who.SID
			}
			form := url.Values{"logout_token": {f.op.LogoutToken(v.who.Subject, sid)}}
			resp, err := http.Post(f.address("/auth/backchannel-logout"), "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
			if err != nil {
				t.Error(err)
				return
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("the logout token of %s: %s %.200s", v.user, resp.Status, body)
				return
			}
			mu.Lock()
			ended[v] = time.Now()
			mu.Unlock()
			for _, addr := range f.addrs { // at once, everywhere
				resp, err := v.client.Do(navigation("http://" + addr + "/who"))
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
				if resp.StatusCode == http.StatusOK {
					late.Add(1)
				}
			}
		}
	})
	count := f.traffic(func() bool { return !done.Load() }, func(v *visit, began time.Time, a answer) {
		mu.Lock()
		at, said := ended[v]
		mu.Unlock()
		switch {
		case a == served && said && began.After(at):
			late.Add(1)
		case a == served:
			early.Add(1)
		}
	})
	wg.Wait()
	t.Logf("%d logouts under traffic: %s; served after the logout was acknowledged: %d", len(ended), count, late.Load())
	if len(ended) != len(f.sessions) || early.Load() == 0 {
		t.Errorf("%d of %d logouts, %d requests served before: the test shows nothing", len(ended), len(f.sessions), early.Load())
	}
	if late.Load() != 0 {
		t.Errorf("%d requests were served after their session's logout was acknowledged", late.Load())
	}
}

// TestARedisThatStopsAndDiesLogsNobodyOut stops Redis for three seconds, which requests wait out, and later kills it for three and starts it on
// what it has on disk: whoever asks meanwhile is told 503.
func TestARedisThatStopsAndDiesLogsNobodyOut(t *testing.T) {
	t.Parallel()
	f := newFleet(t, replicasCount(100), 2*time.Second, 10*time.Second, nil) // tokens that could not be saved are kept until the access token ends: it outlasts the outage
	var done atomic.Bool
	go func() {
		defer done.Store(true)
		time.Sleep(2 * time.Second)
		if err := f.store.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Error(err)
		}
		time.Sleep(3 * time.Second)
		if err := f.store.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Error(err)
		}
		time.Sleep(replicasPeriod() / 3)
		f.store.kill()
		time.Sleep(3 * time.Second)
		if err := f.store.start(); err != nil {
			t.Error(err)
		}
		time.Sleep(replicasPeriod() / 3)
	}()
	count := f.traffic(func() bool { return !done.Load() }, nil)
	f.settle(40 * time.Second)
	again, most := f.sent()
	t.Logf("%d sessions, Redis stopped for 3 s and killed for 3 s: %s; %d refreshes, %d reuses, %d tokens sent more than once; %d sessions lost",
		len(f.sessions), count, f.op.Refreshes(), f.op.RefreshReuses(), again, f.lost())
	if count[unavailable].Load() == 0 || f.op.Refreshes() < len(f.sessions) {
		t.Error("too little happened: the test shows nothing")
	}
	if f.lost() != 0 || f.op.RefreshReuses() != 0 || most > 1 || count[cutOff].Load() != 0 {
		t.Errorf("%d sessions lost, %d reuses, one token sent %d times, %d requests without an answer: want none", f.lost(), f.op.RefreshReuses(), most, count[cutOff].Load())
	}
}
