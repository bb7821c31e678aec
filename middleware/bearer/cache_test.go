package bearer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp/rptest"
)

// sumOf is the sum of the i-th of many tokens.
func sumOf(i int) *[sha256.Size]byte {
	sum := sha256.Sum256(binary.LittleEndian.AppendUint64(nil, uint64(i)))
	return &sum
}

// sized is a token whose entry takes size bytes.
func sized(size int) *Token { return &Token{claims: make([]byte, (size-slack)/2)} }

// recount counts what lies in the table.
func (c *cache) recount() (entries, bytes int64) {
	for i := range c.sets {
		for j := range c.sets[i].entries {
			if e := c.sets[i].entries[j].Load(); e != nil {
				entries++
				bytes += e.size
			}
		}
	}
	return entries, bytes
}

func TestTheCacheNeverPassesItsBoundsWhateverIsPut(t *testing.T) {
	for _, bounds := range []struct {
		entries int
		bytes   int64
	}{{1, 1 << 20}, {2, 4000}, {7, 1 << 20}, {64, 1 << 20}, {1000, 1 << 30}, {1000, 20_000}, {1000, slack}, {1000, slack - 1}, {16 << 10, 1 << 20}} {
		t.Run(fmt.Sprint(bounds), func(t *testing.T) {
			c := newCache(bounds.entries, bounds.bytes)
			random := rand.New(rand.NewPCG(1, 2))
			until := time.Now().Add(time.Hour)
			for i := range 5000 {
				size := slack + random.IntN(4000)
				if i%100 == 0 {
					size = slack + random.IntN(1<<20)
				}
				c.put(sumOf(random.IntN(4000)), sized(size), nil, until)
				c.get(sumOf(random.IntN(4000)), time.Now())
				if c.entries.Load() > int64(bounds.entries) || c.bytes.Load() > bounds.bytes {
					t.Fatalf("%d entries of %d bytes after %d", c.entries.Load(), c.bytes.Load(), i)
				}
			}
			if entries, bytes := c.recount(); entries != c.entries.Load() || bytes != c.bytes.Load() {
				t.Errorf("%d entries of %d bytes, counted as %d and %d", entries, bytes, c.entries.Load(), c.bytes.Load())
			}
			if full := bounds.bytes >= 1<<20 && bounds.entries <= 64; full && c.entries.Load() < int64(bounds.entries)/2 {
				t.Errorf("no more than %d entries are kept", c.entries.Load())
			}
			if bounds.bytes < slack && c.entries.Load() != 0 {
				t.Errorf("%d entries are kept for which there is no room", c.entries.Load())
			}
		})
	}
}

func TestTheCacheKeepsItsBoundsAndCountsUnderManyHands(t *testing.T) {
	const hands = 8
	for _, bounds := range []struct {
		entries int
		bytes   int64
	}{{1, 1 << 20}, {50, 1 << 20}, {1000, 30_000}} {
		c := newCache(bounds.entries, bounds.bytes)
		until := time.Now().Add(time.Hour)
		var all sync.WaitGroup
		for hand := range hands {
			all.Go(func() {
				random := rand.New(rand.NewPCG(uint64(hand), 3))
				for range 3000 {
					i := random.IntN(200)
					if got := c.get(sumOf(i), time.Now()); got != nil && got.ID != fmt.Sprint(i) {
						t.Errorf("token %s for %d", got.ID, i)
					}
					token := sized(slack + i*10)
					token.ID = fmt.Sprint(i)
					c.put(sumOf(i), token, nil, until)
					// Each hand puts before it makes room, so that one entry of each may be too many for a moment.
					if n := c.entries.Load(); n > int64(bounds.entries)+hands {
						t.Errorf("%d entries", n)
					}
				}
			})
		}
		all.Wait()
		entries, bytes := c.recount()
		if entries != c.entries.Load() || bytes != c.bytes.Load() || entries > int64(bounds.entries) || bytes > bounds.bytes {
			t.Errorf("%v: %d entries of %d bytes, counted as %d and %d", bounds, entries, bytes, c.entries.Load(), c.bytes.Load())
		}
	}
}

func TestWhatIsAskedForStaysInAFullCache(t *testing.T) {
	const room, hot = 256, 32
	c := newCache(room, 1<<30)
	until := time.Now().Add(time.Hour)
	for i := range hot {
		c.put(sumOf(i), sized(slack), nil, until)
	}
	lost := 0
	for i := range 100 * room {
		c.put(sumOf(1000+i), sized(slack), nil, until) // seen once, as in a flood of many clients
		if i%(room/8) != 0 {
			continue
		}
		for h := range hot {
			if c.get(sumOf(h), time.Now()) == nil {
				lost++
				c.put(sumOf(h), sized(slack), nil, until)
			}
		}
	}
	if asked := 100 * 8 * hot; lost > asked/100 {
		t.Errorf("%d of %d questions for tokens in use were in vain", lost, asked)
	}
	if s := c.stats(); s.Entries != room || s.Evicted < 99*room {
		t.Errorf("%+v", s)
	}
}

func TestAnEntryIsFoundByItsWholeSumAlone(t *testing.T) {
	c := newCache(100, 1<<20)
	sum := *sumOf(1)
	c.put(&sum, sized(slack), nil, time.Now().Add(time.Hour))
	if c.get(&sum, time.Now()) == nil {
		t.Fatal("not found")
	}
	for at := range sum {
		other := sum
		other[at] ^= 0x80
		if c.get(&other, time.Now()) != nil {
			t.Errorf("found by a sum that differs in byte %d", at)
		}
	}
	c.put(&sum, sized(slack+100), nil, time.Now().Add(time.Hour))
	if s := c.stats(); s.Entries != 1 || s.Bytes != slack+100 || s.Evicted != 0 {
		t.Errorf("put twice: %+v", s)
	}
}

func TestAnEntryEndsWithItsTimeAndWhenTheClockIsSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(100, 1<<20)
		now := time.Now()
		c.put(sumOf(1), sized(slack), nil, now.Add(time.Minute))
		for after, found := range map[time.Duration]bool{
			0: true, time.Minute - 1: true, time.Minute: false, time.Hour: false, -time.Second: true, -time.Second - 1: false, -time.Hour: false,
		} {
			if got := c.get(sumOf(1), now.Add(after)) != nil; got != found {
				t.Errorf("after %s: %v", after, got)
			}
		}
		c.put(sumOf(2), sized(slack), nil, now)
		if s := c.stats(); s.Entries != 1 {
			t.Errorf("an entry that had ended was kept: %+v", s)
		}
	})
}

// The bound is worth something only if an entry takes about what it is counted for. (The race detector keeps each short string apart.)
func TestEntriesAreCountedForWhatTheyTake(t *testing.T) {
	l := load(t, 2)
	for name, claims := range map[string]func(i int) map[string]any{
		"plain":             func(int) map[string]any { return nil },
		"many short scopes": func(int) map[string]any { return map[string]any{"scope": strings.Repeat("ab ", 2000)} },
		"many short methods": func(int) map[string]any {
			return map[string]any{"amr": strings.Split(strings.Repeat("ab ", 1000), " ")}
		},
		"many audiences": func(int) map[string]any {
			return map[string]any{"aud": append(strings.Fields(strings.Repeat("abc ", 1000)), "https://api.example")}
		},
		"a long text":         func(int) map[string]any { return map[string]any{"note": strings.Repeat("x", 6000)} },
		"escapes in the text": func(int) map[string]any { return map[string]any{"sub": strings.Repeat("\u00e9\"", 500)} },
	} {
		const n = 200
		raws := make([]string, n)
		for i := range raws {
			var faults []rptest.TokenFault
			for claim, value := range claims(i) {
				faults = append(faults, rptest.WithClaim(claim, value))
			}
			raws[i] = l.token("alice", faults...)
		}
		l.want(name, l.token("alice"), "")
		counted, heap := l.api.Stats().Bytes, heapNow()
		for _, raw := range raws {
			l.want(name, raw, "")
		}
		counted, heap = l.api.Stats().Bytes-counted, heapNow()-heap
		if heap > counted+counted/2 {
			t.Errorf("%s: an entry takes %d bytes and counts for %d", name, heap/n, counted/n)
		}
		runtime.KeepAlive(raws)
	}
}

func heapNow() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestAHitAllocatesNothing(t *testing.T) {
	l := load(t, 2)
	raw := l.token("alice")
	l.want("the token", raw, "")
	before := l.api.Stats()
	const runs = 1000
	if n := testing.AllocsPerRun(runs, func() {
		if _, err := l.api.Verify(t.Context(), raw); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if s := l.api.Stats(); s.Hits-before.Hits < runs || s.Misses != before.Misses {
		t.Errorf("%+v", s)
	}
}

func (l *loaded) with(change func(*Config)) *Verifier {
	l.t.Helper()
	cfg := Config{Issuer: l.op.Issuer(), Audience: "https://api.example", HTTPClient: l.op.Client(), Logger: slog.New(slog.DiscardHandler)}
	change(&cfg)
	v, err := New(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	return v
}

func TestATokenIsVerifiedAnewAfterMaxAgeAndAfterItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := load(t, 2)
		v := l.with(func(c *Config) { c.Cache.MaxAge, c.Leeway = time.Minute, 30*time.Second })
		raw := l.token("alice") // ends after 5 minutes
		start := time.Now()
		for _, c := range []struct {
			after  time.Duration
			misses uint64
			want   string
		}{
			{0, 1, ""}, {time.Minute - 1, 1, ""}, {time.Minute, 2, ""}, {2*time.Minute - 1, 2, ""}, {2 * time.Minute, 3, ""},
			{4*time.Minute + 30*time.Second, 4, ""}, {5*time.Minute - 1, 4, ""}, // and it does not outlive exp in the cache
			{5 * time.Minute, 5, ""}, {5*time.Minute + 1, 6, ""}, // leeway, each time anew
			{5*time.Minute + 30*time.Second, 7, "exp"},
		} {
			time.Sleep(c.after - time.Since(start))
			if _, err := v.Verify(t.Context(), raw); reason(err) != c.want {
				t.Errorf("after %s: %v", c.after, err)
			}
			if s := v.Stats(); s.Misses != c.misses {
				t.Errorf("after %s: %d misses, want %d", c.after, s.Misses, c.misses)
			}
		}
	})
}

func TestWithoutCacheEveryTokenIsVerifiedEveryTime(t *testing.T) {
	l := load(t, 2)
	v := l.with(func(c *Config) { c.Cache.Off, c.MaxVerifying = true, 2 })
	raw := l.token("alice")
	for range 3 {
		if _, err := v.Verify(t.Context(), raw); err != nil {
			t.Error(err)
		}
	}
	if s := v.Stats(); s != (Stats{}) {
		t.Errorf("%+v", s)
	}
	defer fill(&v.turns.known)()
	if _, err := v.Verify(t.Context(), raw); !errors.Is(err, ErrBusy) {
		t.Errorf("with no turn to be had: %v", err)
	}
	if s := v.Stats(); s != (Stats{Busy: 1}) {
		t.Errorf("%+v", s)
	}
}

func TestOnlyTokensThatPassedEveryCheckAreKept(t *testing.T) {
	l := load(t, 2)
	bad := map[string]rptest.TokenFault{
		"signature": rptest.BadSignature, "kid": rptest.UnknownKID, "exp": rptest.Expired, "aud": rptest.WrongAudience, "iss": rptest.WrongIssuer, "typ": rptest.WrongType("JWT"), "sub": rptest.NoSub,
		"nbf": rptest.FutureNBF, "alg": rptest.AlgNone, "kind": rptest.WithClaim("at_hash", "x"), "cnf": rptest.WithClaim("cnf", map[string]any{"jkt": "x"}),
	}
	for check, fault := range bad {
		raw := l.token("mallory", fault)
		l.want(check, raw, check)
		if check != "kid" { // once more costs a cool-down
			l.want(check+", once more", raw, check)
		}
	}
	if s := l.api.Stats(); s.Entries != 0 || s.Bytes != 0 || s.Hits != 0 || s.Misses != uint64(2*len(bad)-1) {
		t.Errorf("%+v", s)
	}
	raw := l.token("alice")
	l.want("a good one", raw, "")
	l.want("a good one, once more", raw, "")
	if s := l.api.Stats(); s.Entries != 1 || s.Bytes < slack || s.Hits != 1 || s.Misses != uint64(2*len(bad)) || s.Evicted != 0 {
		t.Errorf("%+v", s)
	}
	l.want("a good one but for the end of its signature", raw[:len(raw)-10]+"AAAAAAAAAA", "signature")
}

func TestRevokedDecidesAboutHitsToo(t *testing.T) {
	l := load(t, 2)
	var asked []*Token
	var revoked bool
	var down error
	v := l.with(func(c *Config) {
		c.Revoked = func(_ context.Context, t *Token) (bool, error) { asked = append(asked, t); return revoked, down }
	})
	raw := l.token("alice")
	ask := func() (int, error) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+raw)
		w := httptest.NewRecorder()
		v.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
		_, err := v.Verify(t.Context(), raw)
		return w.Code, err
	}
	if status, err := ask(); err != nil || status != http.StatusOK {
		t.Errorf("%v %d", err, status)
	}
	revoked = true
	if status, err := ask(); !errors.Is(err, ErrRevoked) || status != http.StatusUnauthorized {
		t.Errorf("revoked: %v %d", err, status)
	}
	revoked, down = true, errors.New("no answer from the deny list")
	if status, err := ask(); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrInvalidToken) || status != http.StatusServiceUnavailable {
		t.Errorf("down: %v %d", err, status)
	}
	revoked, down = false, nil
	if status, err := ask(); err != nil || status != http.StatusOK {
		t.Errorf("afterwards: %v %d", err, status)
	}
	if s := v.Stats(); len(asked) != 8 || s.Misses != 1 || s.Hits != 7 {
		t.Errorf("asked %d times, %+v", len(asked), s)
	}
}
