package bearer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

// loaded is an API before a provider in memory, whose lanes a test can fill.
type loaded struct {
	t   testing.TB
	op  *rptest.Provider
	api *Verifier
	n   atomic.Int64
}

func load(t testing.TB, slots int) *loaded {
	t.Helper()
	op, err := rptest.New(rptest.Options{Issuer: "https://op.example", SigningAlg: "ES256"})
	if err != nil {
		t.Fatal(err)
	}
	api, err := New(Config{Issuer: op.Issuer(), Audience: "https://api.example", HTTPClient: op.Client(), MaxVerifying: slots, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return &loaded{t: t, op: op, api: api}
}

// token is one of sub that the cache does not have.
func (l *loaded) token(sub string, faults ...rptest.TokenFault) string {
	now := time.Now().Unix()
	return l.op.SignBent(map[string]any{
		"iss": l.op.Issuer(), "aud": "https://api.example", "sub": sub, "client_id": "shop", "jti": fmt.Sprint("id-", l.n.Add(1)), "iat": now, "exp": now + 300,
	}, append([]rptest.TokenFault{rptest.WithHeader("typ", "at+jwt")}, faults...)...)
}

// verify says why raw is refused, "" for none.
func (l *loaded) verify(raw string) string {
	l.t.Helper()
	_, err := l.api.Verify(context.Background(), raw)
	return reason(err)
}

func reason(err error) string {
	token, ok := errors.AsType[*TokenError](err)
	switch {
	case err == nil:
		return ""
	case ok:
		return token.Check
	case errors.Is(err, ErrBusy):
		return "busy"
	case errors.Is(err, ErrUnavailable):
		return "unavailable"
	}
	return err.Error()
}

func (l *loaded) want(name, raw, want string) {
	l.t.Helper()
	if got := l.verify(raw); got != want {
		l.t.Errorf("%s: %q, want %q", name, got, want)
	}
}

// fill takes every place of a lane, in work and waiting, and returns what gives them back.
func fill(ln *lane) (empty func()) {
	for range cap(ln.slots) {
		ln.slots <- struct{}{}
	}
	ln.waiting.Add(ln.most)
	return func() {
		ln.waiting.Add(-ln.most)
		for range cap(ln.slots) {
			<-ln.slots
		}
	}
}

func TestAFullLaneOfStrangersLeavesKnownPartiesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := load(t, 2)
		known := l.token("alice")
		l.want("alice's first", known, "")
		empty := fill(&l.api.turns.strangers)
		l.want("a stranger", l.token("bob"), "busy")
		l.want("a forger in a stranger's name", l.token("mallory", rptest.BadSignature), "busy")
		l.want("alice's next", l.token("alice"), "")
		l.want("alice's first, from the cache", known, "")
		if s := l.api.Stats(); s.Busy != 2 {
			t.Errorf("%+v", s)
		}
		empty()
		l.want("a stranger afterwards", l.token("bob"), "")
		defer fill(&l.api.turns.strangers)()
		l.want("who is none any more", l.token("bob"), "")
	})
}

func TestAForgerInAPartysNameMovesThatPartyToTheStrangersAndNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := load(t, 2)
		l.want("alice", l.token("alice"), "")
		l.want("bob", l.token("bob"), "")
		crowded := func(name, alice, bob string) {
			t.Helper()
			defer fill(&l.api.turns.strangers)()
			l.want(name+": alice", l.token("alice"), alice)
			l.want(name+": bob", l.token("bob"), bob)
		}
		crowded("before", "", "")
		for name, c := range map[string]struct {
			fault rptest.TokenFault
			check string
		}{
			"an unknown key":   {rptest.UnknownKID, "kid"},
			"an expired token": {rptest.Expired, "exp"},
			"another audience": {rptest.WrongAudience, "aud"},
		} {
			l.want(name, l.token("alice", c.fault), c.check)
			crowded(name, "", "")
		}
		l.want("a bad signature", l.token("alice", rptest.BadSignature), "signature")
		crowded("a bad signature", "busy", "")
		l.want("alice's good token", l.token("alice"), "")
		crowded("a good token", "", "")
	})
}

func TestAnOutageMovesNobodyToTheStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := load(t, 2)
		l.want("alice", l.token("alice"), "")
		l.op.RotateKeys()
		l.op.Fault(rptest.JWKS, rptest.Down)
		l.want("alice, by a key that nobody can fetch", l.token("alice"), "unavailable")
		l.op.ClearFaults()
		time.Sleep(time.Minute)
		defer fill(&l.api.turns.strangers)()
		l.want("alice afterwards", l.token("alice"), "")
	})
}

func TestWhatNeedsNoSignatureCheckTakesNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := load(t, 2)
		good := l.token("alice")
		l.want("alice", good, "")
		defer fill(&l.api.turns.strangers)()
		defer fill(&l.api.turns.known)()
		l.want("a good token", l.token("alice"), "busy")
		l.want("one in the cache", good, "")
		for check, fault := range map[string]rptest.TokenFault{
			"kid": rptest.UnknownKID, "alg": rptest.AlgNone, "exp": rptest.Expired, "aud": rptest.WrongAudience, "iss": rptest.WrongIssuer, "typ": rptest.WrongType("JWT"), "sub": rptest.NoSub,
			"kind": rptest.WithClaim("at_hash", "x"), "json": rptest.CaseVariant("sub", "mallory"), "crit": rptest.Crit,
		} {
			l.want(check, l.token("mallory", fault), check)
		}
		if s := l.api.Stats(); s.Busy != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestNoTurnIsHeldWhileKeysAreFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := load(t, 2)
		l.op.Fault(rptest.JWKS, rptest.Slow(time.Second))
		var all sync.WaitGroup
		for i := range 50 {
			raw := l.token(fmt.Sprint("user-", i))
			all.Go(func() { l.want("one of fifty", raw, "") })
		}
		synctest.Wait()
		if s := &l.api.turns.strangers; len(s.slots) != 0 || s.waiting.Load() != 0 {
			t.Errorf("%d turns are held and %d wanted", len(s.slots), s.waiting.Load())
		}
		all.Wait()
	})
}

func TestAFullQueueIsAnsweredWith503AndRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := load(t, 2)
		h := l.api.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		ask := func() *httptest.ResponseRecorder {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("Authorization", "Bearer "+l.token("alice"))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w
		}
		empty := fill(&l.api.turns.strangers)
		w := ask()
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" || w.Header().Get("WWW-Authenticate") != "" || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
		}
		empty()
		if w := ask(); w.Code != http.StatusOK {
			t.Errorf("afterwards: %d", w.Code)
		}
	})
}

func TestWhoWaitsForATurnLeavesWithItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := load(t, 2)
		l.want("the keys", l.token("alice"), "")
		s := &l.api.turns.strangers
		s.slots <- struct{}{} // the one check at work takes 3 s
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		var all sync.WaitGroup
		patient := l.token("carol")
		all.Go(func() {
			l.want("the one that stayed", patient, "")
			if time.Since(start) != 3*time.Second {
				t.Errorf("served after %s", time.Since(start))
			}
		})
		_, err := l.api.Verify(ctx, l.token("bob"))
		if !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrInvalidToken) || time.Since(start) != time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		if n := s.waiting.Load(); n != 1 {
			t.Errorf("%d wait, want 1", n)
		}
		time.Sleep(2 * time.Second)
		<-s.slots
		all.Wait()
		if n := s.waiting.Load(); n != 0 || len(s.slots) != 0 {
			t.Errorf("%d wait and %d are at work", n, len(s.slots))
		}
		if f := l.api.Failure(err); f.Status != http.StatusServiceUnavailable || f.Challenge != "" {
			t.Errorf("%+v", f)
		}
	})
}

// Checks are slow here by a clock that is the test's: 1 ms each.
func TestLanesBoundChecksAtOnceAndShedWhatIsTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slots, flood, honest = 4, 10_000, 100
		turns := newTurns(slots)
		var working, most, served, busy atomic.Int64
		check := func(turn discovery.Turn) error {
			done, err := turn(context.Background())
			if err != nil {
				busy.Add(1)
				return err
			}
			defer done()
			for n := working.Add(1); ; {
				old := most.Load()
				if n <= old || most.CompareAndSwap(old, n) {
					break
				}
			}
			time.Sleep(time.Millisecond)
			working.Add(-1)
			served.Add(1)
			return nil
		}
		start := time.Now()
		var all sync.WaitGroup
		for range flood {
			all.Go(func() { _ = check(turns.ofStrangers) })
		}
		for range honest {
			all.Go(func() {
				if err := check(turns.ofKnown); err != nil || time.Since(start) > honest/(slots/2)*time.Millisecond {
					t.Errorf("a known party: %v after %s", err, time.Since(start))
				}
			})
		}
		all.Wait()
		if most.Load() != slots {
			t.Errorf("%d checks at once, want %d", most.Load(), slots)
		}
		if want := int64(slots/2*(queue+1) + honest); served.Load() != want || busy.Load() != flood+honest-want || turns.refused.Load() != uint64(busy.Load()) {
			t.Errorf("%d served, want %d; %d refused, %d counted", served.Load(), want, busy.Load(), turns.refused.Load())
		}
	})
}

func TestAFloodOfForgedTokensNeverStopsKnownParties(t *testing.T) {
	l := load(t, 2)
	l.want("alice", l.token("alice"), "")
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var refused, busy atomic.Int64
	forged := make([]string, 64)
	for i := range forged {
		forged[i] = l.token(fmt.Sprint("stranger-", i), rptest.BadSignature)
	}
	for i := range 2 * queue { // more than the lane and its queue hold
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				switch got := l.verify(forged[(i+n)%len(forged)]); got {
				case "signature":
					refused.Add(1)
				case "busy":
					busy.Add(1)
					time.Sleep(20 * time.Millisecond)
				default:
					t.Errorf("a forged token: %q", got)
					return
				}
			}
		})
	}
	for until := time.Now().Add(time.Minute); refused.Load() == 0 || busy.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d forged tokens refused and %d not looked at: that is no flood", refused.Load(), busy.Load())
		}
	}
	for range 100 {
		l.want("alice, during the flood", l.token("alice"), "")
	}
	stop()
	all.Wait()
}

// Each good token of alice's brings her back to the known parties, and for a moment the forgers in her name with her.
func TestAFloodInAPartysNameStopsNoOtherParty(t *testing.T) {
	l := load(t, 2)
	l.want("alice", l.token("alice"), "")
	l.want("bob", l.token("bob"), "")
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	forged := make([]string, 64)
	for i := range forged {
		forged[i] = l.token("alice", rptest.BadSignature)
	}
	for i := range 2 * queue {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if got := l.verify(forged[(i+n)%len(forged)]); got == "busy" {
					time.Sleep(20 * time.Millisecond)
				} else if got != "signature" {
					t.Errorf("a forged token: %q", got)
					return
				}
			}
		})
	}
	all.Go(func() {
		for ctx.Err() == nil {
			if got := l.verify(l.token("alice")); got != "" && got != "busy" {
				t.Errorf("alice: %q", got)
			}
		}
	})
	for range 100 {
		l.want("bob, during the flood", l.token("bob"), "")
	}
	stop()
	all.Wait()
}
