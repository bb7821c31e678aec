package bearer_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
	"github.com/latchkey-go/latchkey/middleware/bearer"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

const opIssuer = "https://op.example"

// bubble is a provider in memory, on the clock of a bubble of synctest.
func bubble(t testing.TB) *rptest.Provider {
	t.Helper()
	op, err := rptest.New(rptest.Options{Issuer: opIssuer, SigningAlg: "ES256"})
	if err != nil {
		t.Fatal(err)
	}
	return op
}

// crowd verifies n tokens at once and counts the outcomes by check.
func crowd(v *bearer.Verifier, n int, token func(i int) string) map[string]int {
	outcomes := make([]string, n)
	raws := make([]string, n)
	for i := range n {
		raws[i] = token(i)
	}
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			_, err := v.Verify(context.Background(), raws[i])
			outcomes[i] = checkOf(err)
		})
	}
	all.Wait()
	count := map[string]int{}
	for _, o := range outcomes {
		count[o]++
	}
	return count
}

func jti(i int) []any { return []any{"jti", fmt.Sprint("id-", i)} }

func TestAThousandRequestsWithANewKeyCauseOneFetchAndNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		op := bubble(t)
		v := newVerifier(t, bearer.Config{Issuer: opIssuer, HTTPClient: op.Client(), MaxVerifying: 2})
		wantCheck(t, v, "before", signed(op, opIssuer), "")
		before := op.Hits(rptest.JWKS)
		op.RotateKeys()
		op.Fault(rptest.JWKS, rptest.Slow(time.Second))
		if got := crowd(v, 1000, func(i int) string { return signed(op, opIssuer, jti(i)...) }); got[""] != 1000 {
			t.Errorf("%v, want 1000 without failure", got)
		}
		if n := op.Hits(rptest.JWKS) - before; before != 1 || n != 1 {
			t.Errorf("%d fetches after %d, want 1 and 1", n, before)
		}
	})
}

func TestAFloodOfUnknownKeysStopsNeitherHonestTokensNorARotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		op := bubble(t)
		v := newVerifier(t, bearer.Config{Issuer: opIssuer, HTTPClient: op.Client()})
		wantCheck(t, v, "before", signed(op, opIssuer), "")
		before, start := op.Hits(rptest.JWKS), time.Now()
		const cooldown, flood = 10 * time.Second, 10_000

		parts := strings.Split(signed(op, opIssuer), ".")
		var all sync.WaitGroup
		var mu sync.Mutex
		forged := map[string]int{}
		for i := range flood { // one each 10 ms: 100 s
			header := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":"ES256","typ":"at+jwt","kid":"random-%d"}`, i))
			all.Go(func() {
				_, err := v.Verify(context.Background(), header+"."+parts[1]+"."+parts[2])
				mu.Lock()
				forged[checkOf(err)]++
				mu.Unlock()
			})
			if i%10 == 0 {
				asked := time.Now()
				if _, err := v.Verify(t.Context(), signed(op, opIssuer, jti(i)...)); err != nil || time.Since(asked) > 0 {
					t.Fatalf("an honest token %s after the start: %v after %s", asked.Sub(start), err, time.Since(asked))
				}
			}
			if i == flood/2 {
				op.RotateKeys(true)
				asked := time.Now()
				if _, err := v.Verify(t.Context(), signed(op, opIssuer, "jti", "new")); err != nil || time.Since(asked) > cooldown {
					t.Errorf("the new key's token: %v after %s", err, time.Since(asked))
				}
			}
			time.Sleep(10 * time.Millisecond)
		}
		lasted := time.Since(start)
		all.Wait()
		if forged["kid"] != flood {
			t.Errorf("forged tokens: %v, want kid for each", forged)
		}
		if n, most := op.Hits(rptest.JWKS)-before, 2+int(lasted/cooldown)+1; n > most || n < 3 {
			t.Errorf("%d fetches in %s, want 3 to %d", n, lasted, most)
		}
	})
}

func TestTokensGoOnVerifyingWhileTheProviderIsDownUpToABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		op := bubble(t)
		const lifetime, bound = time.Hour, 3 * time.Hour // from the first fetch: until it is renewed, and MaxStale
		v := newVerifier(t, bearer.Config{
			Issuers:    []bearer.Issuer{{Issuer: opIssuer, Discovery: discovery.Config{MaxStale: bound}}},
			HTTPClient: op.Client(), Cache: bearer.Cache{MaxAge: 24 * time.Hour},
		})
		exp := time.Now().Add(24 * time.Hour).Unix()
		cached := signed(op, opIssuer, "exp", exp)
		wantCheck(t, v, "before", cached, "")
		start := time.Now()
		op.Fault(rptest.JWKS, rptest.Down)
		op.Fault(rptest.Discovery, rptest.Down)
		n := 0
		fresh := func() string { n++; return signed(op, opIssuer, append(jti(n), "exp", exp)...) }
		for time.Since(start) < lifetime+bound-time.Minute {
			time.Sleep(30 * time.Second)
			asked := time.Now()
			wantCheck(t, v, "cached", cached, "")
			wantCheck(t, v, "fresh", fresh(), "")
			if time.Since(asked) > 0 {
				t.Fatalf("waited for %s", time.Since(asked))
			}
		}
		if hits := v.Stats().Hits; hits != uint64(n) {
			t.Errorf("%d hits of %d", hits, n)
		}
		time.Sleep(2 * time.Minute)
		for name, raw := range map[string]string{"cached": cached, "fresh": fresh()} {
			if _, err := v.Verify(t.Context(), raw); !errors.Is(err, bearer.ErrUnavailable) || errors.Is(err, bearer.ErrInvalidToken) {
				t.Errorf("%s, past the bound: %v", name, err)
			}
		}
		op.ClearFaults()
		time.Sleep(5 * time.Second)
		wantCheck(t, v, "cached, afterwards", cached, "")
		wantCheck(t, v, "fresh, afterwards", fresh(), "")
	})
}

func TestAnOutageOfAnHourAtTheDefaultsIsNotNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		op := bubble(t)
		v := newVerifier(t, bearer.Config{Issuer: opIssuer, HTTPClient: op.Client()})
		wantCheck(t, v, "before", signed(op, opIssuer), "")
		time.Sleep(50 * time.Minute) // the set is due during the outage
		op.Fault(rptest.JWKS, rptest.Hang)
		op.Fault(rptest.Discovery, rptest.Hang)
		for i := range 60 {
			raw := signed(op, opIssuer, jti(i)...)
			wantCheck(t, v, "fresh", raw, "")
			wantCheck(t, v, "cached", raw, "")
			time.Sleep(time.Minute)
		}
	})
}

func TestTheTokensOfAWithdrawnKeyEndAtTheNextRefresh(t *testing.T) {
	for name, refresh := range map[string]func(v *bearer.Verifier, b *rptest.Provider) error{
		"in its time": func(v *bearer.Verifier, b *rptest.Provider) error {
			time.Sleep(time.Hour)
			_, err := v.Verify(context.Background(), signed(b, opIssuer, "jti", "later"))
			return err
		},
		"because of an unknown key": func(v *bearer.Verifier, b *rptest.Provider) error {
			if _, err := v.Verify(context.Background(), b.SignBent(map[string]any{"iss": opIssuer, "aud": audience, "sub": "x", "client_id": "x", "jti": "x", "iat": time.Now().Unix(), "exp": time.Now().Unix() + 60},
				rptest.WithHeader("typ", "at+jwt"), rptest.UnknownKID)); checkOf(err) != "kid" {
				return fmt.Errorf("%v, want kid", err)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net, a, b := &web{}, bubble(t), bubble(t)
				net.publish(t, b, opIssuer+wellKnown, opIssuer)
				onlyB, both := keysOf(t, b), keysOf(t, b)
				both["keys"] = append(both["keys"].([]any), keysOf(t, a)["keys"].([]any)...)
				net.set(opIssuer+wellKnown+"/keys", both)
				v := newVerifier(t, bearer.Config{Issuer: opIssuer, HTTPClient: net.client(), Cache: bearer.Cache{MaxAge: 10 * time.Hour}})
				exp := time.Now().Add(10 * time.Hour).Unix()
				ofA, ofB := signed(a, opIssuer, "exp", exp), signed(b, opIssuer, "exp", exp, "jti", "id-b")
				wantCheck(t, v, "of a", ofA, "")
				wantCheck(t, v, "of b", ofB, "")

				net.set(opIssuer+wellKnown+"/keys", onlyB)
				wantCheck(t, v, "of a, before anybody knows", ofA, "")
				if err := refresh(v, b); err != nil {
					t.Fatal(err)
				}
				wantCheck(t, v, "of a, in the cache", ofA, "kid")
				wantCheck(t, v, "of a, not in the cache", signed(a, opIssuer, "exp", exp, "jti", "fresh"), "kid")
				hits := v.Stats().Hits
				wantCheck(t, v, "of b", ofB, "")
				if v.Stats().Hits != hits+1 {
					t.Error("the token of the key that stayed had to be verified anew")
				}
			})
		})
	}
}

func TestBadSignaturesUnderAKnownKeyCauseNoFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		op := bubble(t)
		v := newVerifier(t, bearer.Config{Issuer: opIssuer, HTTPClient: op.Client(), MaxVerifying: 2})
		good := signed(op, opIssuer)
		wantCheck(t, v, "before", good, "")
		before := op.Hits(rptest.JWKS)
		got := crowd(v, 1000, func(i int) string { // the signature of another payload
			other := strings.Split(signed(op, opIssuer, "jti", fmt.Sprint("forged-", i)), ".")
			return strings.Join(append(other[:2], good[strings.LastIndexByte(good, '.')+1:]), ".")
		})
		if got["signature"] != 1000 || op.Hits(rptest.JWKS) != before {
			t.Errorf("%v and %d fetches", got, op.Hits(rptest.JWKS)-before)
		}
	})
}

func TestACallerThatLeavesCancelsTheFetchForNobody(t *testing.T) {
	for name, prepare := range map[string]func(*bearer.Verifier, *rptest.Provider){
		"the first fetch": func(*bearer.Verifier, *rptest.Provider) {},
		"a rotation's one": func(v *bearer.Verifier, op *rptest.Provider) {
			v.Verify(context.Background(), signed(op, opIssuer))
			op.RotateKeys()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				op := bubble(t)
				v := newVerifier(t, bearer.Config{Issuer: opIssuer, HTTPClient: op.Client()})
				prepare(v, op)
				before := op.Hits(rptest.JWKS)
				op.Fault(rptest.JWKS, rptest.Slow(2*time.Second))
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				left := make(chan error)
				go func() {
					_, err := v.Verify(ctx, signed(op, opIssuer, "jti", "first"))
					left <- err
				}()
				synctest.Wait()
				waiting := make(chan map[string]int)
				go func() { waiting <- crowd(v, 100, func(i int) string { return signed(op, opIssuer, jti(i)...) }) }()
				if err := <-left; !errors.Is(err, bearer.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("the one that left: %v", err)
				}
				if got := <-waiting; got[""] != 100 {
					t.Errorf("those who stayed: %v", got)
				}
				if n := op.Hits(rptest.JWKS) - before; n != 1 {
					t.Errorf("%d fetches, want 1", n)
				}
			})
		})
	}
}
