package bearer_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/middleware/bearer"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

func TestAThousandRequestsWithANewTokenMakeOneCall(t *testing.T) {
	f := asking(t, bearer.Introspection{})
	f.op.Fault(rptest.Introspection, rptest.Late(50*time.Millisecond))
	token, garbage := f.issued(), "garbage"
	var all sync.WaitGroup
	for i := range 1000 {
		all.Go(func() {
			if i%2 == 0 {
				if _, err := f.verify(garbage); checkOf(err) != "inactive" {
					t.Errorf("garbage: %v", err)
				}
				return
			}
			if _, err := f.verify(token); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if f.calls() != 2 {
		t.Errorf("%d calls for two tokens", f.calls())
	}
}

func TestAnAnswerIsUsedUntilMaxAgeOrTheTokensEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := askingInMemory(t, bearer.Introspection{})
		ask := func(after time.Duration, calls int) {
			t.Helper()
			time.Sleep(after)
			if _, err := f.verify("opaque"); err != nil || f.calls() != calls {
				t.Errorf("%d calls, want %d (%v)", f.calls(), calls, err)
			}
		}
		f.answers(activeAnswer(f, "exp", nil))
		ask(0, 1)
		ask(59*time.Second, 1)
		ask(time.Second, 2)
		f.answers(activeAnswer(f, "exp", time.Now().Unix()+80)) // 80 s from here, 20 s from the next call
		ask(time.Minute, 3)
		ask(19*time.Second, 3)
		ask(time.Second, 4) // within the leeway the token is good and its answer is not kept
		ask(10*time.Second, 5)
		time.Sleep(time.Minute)
		if _, err := f.verify("opaque"); checkOf(err) != "exp" {
			t.Errorf("after its end: %v", err)
		}
	})
}

func TestTheCachesOwnMaxAgeBoundsAnswersToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := askingInMemory(t, bearer.Introspection{MaxAge: time.Hour}, func(c *bearer.Config) { c.Cache.MaxAge = 5 * time.Second })
		token := f.issued()
		for i, after := range []time.Duration{0, 4 * time.Second, time.Second} {
			time.Sleep(after)
			if _, err := f.verify(token); err != nil || f.calls() != []int{1, 1, 2}[i] {
				t.Errorf("%d calls (%v)", f.calls(), err)
			}
		}
	})
}

func TestWithoutCacheOrWithNegativeAgesEveryRequestAsks(t *testing.T) {
	for name, change := range map[string]func(*bearer.Config){
		"Cache.Off": func(c *bearer.Config) { c.Cache.Off = true },
		"MaxAge":    func(c *bearer.Config) { c.Introspection.MaxAge, c.Introspection.MaxNegativeAge = -1, -1 },
	} {
		f := asking(t, bearer.Introspection{}, change)
		token := f.issued()
		for i := range 3 {
			if _, err := f.verify(token); err != nil || f.calls() != i+1 {
				t.Errorf("%s: %d calls (%v)", name, f.calls(), err)
			}
		}
		f.revoke(token)
		if _, err := f.verify(token); checkOf(err) != "inactive" {
			t.Errorf("%s: revoked: %v", name, err)
		}
	}
}

func TestARefusalIsKeptForTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := askingInMemory(t, bearer.Introspection{})
		for name, c := range map[string]struct{ answer, check string }{
			"inactive": {`{"active":false}`, "inactive"}, "another audience": {activeAnswer(f, "aud", "https://other.example"), "aud"},
		} {
			f.op.ResetHits()
			f.answers(c.answer)
			for _, after := range []time.Duration{0, 5 * time.Second, 4999 * time.Millisecond} {
				time.Sleep(after)
				if _, err := f.verify(strings.ReplaceAll(name, " ", "-")); checkOf(err) != c.check || f.calls() != 1 {
					t.Errorf("%s: %d calls, %v", name, f.calls(), err)
				}
			}
			f.answers(activeAnswer(f))
			time.Sleep(time.Millisecond)
			if _, err := f.verify(strings.ReplaceAll(name, " ", "-")); err != nil || f.calls() != 2 {
				t.Errorf("%s: %d calls, %v", name, f.calls(), err)
			}
		}
	})
}

func TestGarbageDoesNotPushGoodTokensOut(t *testing.T) {
	f := askingInMemory(t, bearer.Introspection{}, func(c *bearer.Config) { c.Cache.MaxEntries = 16 })
	token := f.issued()
	if _, err := f.verify(token); err != nil {
		t.Fatal(err)
	}
	f.answers(`{"active":false}`)
	garbage := func() (calls int) {
		before := f.calls()
		for i := range 5000 { // more than are remembered
			if _, err := f.verify(fmt.Sprint("garbage-", i)); checkOf(err) != "inactive" {
				t.Fatal(err)
			}
		}
		return f.calls() - before
	}
	if first, again := garbage(), garbage(); first != 5000 || again < 5000-4096 {
		t.Errorf("%d calls, and %d again: refusals are remembered without bound", first, again)
	}
	calls := f.calls()
	if _, err := f.verify(token); err != nil || f.calls() != calls {
		t.Errorf("%d calls more, %v", f.calls()-calls, err)
	}
	if s := f.api.Stats(); s.Entries != 1 || s.Evicted != 0 {
		t.Errorf("%+v", s)
	}
}

func TestConcurrentRequestsShareAFailedCallAndTheNextOneAsksAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := askingInMemory(t, bearer.Introspection{})
		f.op.Fault(rptest.Introspection, rptest.Both(rptest.Late(time.Second), rptest.Status(500, "")))
		for round := 1; round <= 2; round++ {
			var all sync.WaitGroup
			for range 10 {
				all.Go(func() {
					if _, err := f.verify("opaque"); !errors.Is(err, bearer.ErrUnavailable) {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if f.calls() != round {
				t.Errorf("%d calls in round %d", f.calls(), round)
			}
		}
	})
}

func TestACallGoesOnWhenTheRequestThatBeganItLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := askingInMemory(t, bearer.Introspection{})
		token := f.issued()
		f.op.Fault(rptest.Introspection, rptest.Late(time.Second))
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			_, err := f.api.Verify(ctx, token)
			if !errors.Is(err, bearer.ErrUnavailable) || !errors.Is(err, context.Canceled) {
				t.Errorf("who left: %v", err)
			}
		})
		synctest.Wait()
		for range 5 {
			all.Go(func() {
				if _, err := f.verify(token); err != nil {
					t.Errorf("who stayed: %v", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		all.Wait()
		if f.calls() != 1 {
			t.Errorf("%d calls", f.calls())
		}
	})
}

func TestCallsAreBoundedAndSoAreThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := askingInMemory(t, bearer.Introspection{})
		var now, most, good, busy atomic.Int64
		f.op.Fault(rptest.Introspection, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if n := now.Add(1); n > most.Load() {
					most.Store(n)
				}
				defer now.Add(-1)
				time.Sleep(time.Second)
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprint(w, activeAnswer(f))
			})
		})
		if _, err := f.verify("warm"); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		var all sync.WaitGroup
		for i := range 2000 {
			all.Go(func() {
				switch _, err := f.verify(fmt.Sprint("token-", i)); {
				case err == nil:
					good.Add(1)
				case errors.Is(err, bearer.ErrBusy) && f.api.Failure(err).Status == http.StatusServiceUnavailable:
					busy.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if most.Load() > 64 || good.Load() < 600 || good.Load()+busy.Load() != 2000 || time.Since(start) > 12*time.Second {
			t.Errorf("%d at once, %d good, %d busy, %s", most.Load(), good.Load(), busy.Load(), time.Since(start))
		}
		if _, err := f.verify("after"); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestNobodyIsAskedForThoseWhoLeftTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := askingInMemory(t, bearer.Introspection{})
		f.op.Fault(rptest.Introspection, rptest.Late(5*time.Second))
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for i := range 64 {
			all.Go(func() { f.verify(fmt.Sprint("first-", i)) })
		}
		synctest.Wait()
		for i := range 500 {
			all.Go(func() { f.api.Verify(ctx, fmt.Sprint("second-", i)) })
		}
		synctest.Wait()
		cancel()
		all.Wait()
		if f.calls() != 64 {
			t.Errorf("%d calls", f.calls())
		}
	})
}

type panicking struct{ http.RoundTripper }

func (p panicking) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost {
		panic("a transport of the application's")
	}
	return p.RoundTripper.RoundTrip(r)
}

func TestAPanicWhileATokenIsAskedAboutIsAnOutage(t *testing.T) {
	f := asking(t, bearer.Introspection{}, func(c *bearer.Config) {
		c.HTTPClient = &http.Client{Transport: panicking{http.DefaultTransport}}
	})
	for range 100 { // more than there are turns
		if _, err := f.verify("opaque"); !errors.Is(err, bearer.ErrUnavailable) || errors.Is(err, bearer.ErrInvalidToken) {
			t.Fatalf("%v", err)
		}
	}
}

func TestAFloodOfGarbageLeavesRoomForJWTsThatAreAskedAbout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := askingInMemory(t, bearer.Introspection{JWTs: true})
		token := f.token()
		f.op.Fault(rptest.Introspection, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if r.FormValue("token") == token {
					fmt.Fprint(w, activeAnswer(f, "jti", nil, "username", nil))
					return
				}
				time.Sleep(5 * time.Second)
				fmt.Fprint(w, `{"active":false}`)
			})
		})
		var all sync.WaitGroup
		var busy atomic.Int64
		for i := range 2000 {
			all.Go(func() {
				if _, err := f.verify(fmt.Sprint("garbage-", i)); errors.Is(err, bearer.ErrBusy) {
					busy.Add(1)
				}
			})
		}
		synctest.Wait()
		if busy.Load() == 0 {
			t.Error("that is no flood")
		}
		start := time.Now()
		if _, err := f.verify(token); err != nil || time.Since(start) > 0 {
			t.Errorf("a good JWT: %v after %s", err, time.Since(start))
		}
		all.Wait()
	})
}
