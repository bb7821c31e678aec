package discovery_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/latchkey-go/latchkey/discovery"
)

// verify is one call, with the error's reason.
func verify(t testing.TB, k *discovery.KeySet, raw string) string {
	t.Helper()
	payload, err := k.VerifySignature(t.Context(), raw)
	if err == nil && string(payload) != `{"sub":"1"}` {
		t.Errorf("payload %s", payload)
	}
	if err != nil && payload != nil {
		t.Error("a payload came with an error")
	}
	if err == nil {
		return ""
	}
	return reason(err)
}

// crowd calls n times at once and counts the reasons.
func crowd(t testing.TB, n int, call func(i int) string) map[string]int {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	got := map[string]int{}
	for i := range n {
		wg.Go(func() {
			r := call(i)
			mu.Lock()
			got[r]++
			mu.Unlock()
		})
	}
	wg.Wait()
	return got
}

func TestARotationCostsOneFetchHoweverManyRequestsBringTheNewKid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newOP("old")
		keys := p.provider(t).KeySet("RS256")
		if r := verify(t, keys, sign(t, "RS256", "rsa", "old")); r != "" {
			t.Fatal(r)
		}
		p.publish("old", "new")
		p.latency = 20 * time.Millisecond
		raw := sign(t, "RS256", "rsa", "new")
		if got := crowd(t, 1000, func(int) string { return verify(t, keys, raw) }); got[""] != 1000 {
			t.Errorf("outcomes %v, want 1000 successes", got)
		}
		if n := p.count("/keys"); n != 2 {
			t.Errorf("%d fetches, want the first and one for the rotation", n)
		}
	})
}

func TestTheFirstUseByManyCostsOneFetchOfEachDocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newOP("k")
		p.latency = 20 * time.Millisecond
		keys := p.provider(t).KeySet()
		raw := sign(t, "RS256", "rsa", "k")
		if got := crowd(t, 1000, func(int) string { return verify(t, keys, raw) }); got[""] != 1000 {
			t.Errorf("outcomes %v", got)
		}
		if p.count("/keys") != 1 || p.count("/.well-known/openid-configuration") != 1 {
			t.Errorf("calls %v", p.calls)
		}
	})
}

func TestUnknownKidsInAnyNumberCostABurstAndThenOneFetchPerCooldown(t *testing.T) {
	for name, workers := range map[string]int{"one after the other": 1, "64 at once": 64} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newOP("k")
				provider := p.provider(t)
				keys := provider.KeySet()
				verify(t, keys, sign(t, "RS256", "rsa", "k"))
				p.latency = 5 * time.Millisecond
				before, start := p.count("/keys"), time.Now()
				forged := sign(t, "RS256", "rsa2", "forged")
				got := crowd(t, workers, func(int) string {
					for range 10_000 / workers / 20 {
						if r := verify(t, keys, forged); r != "kid" {
							return r
						}
					}
					return ""
				})
				if got[""] != workers {
					t.Errorf("outcomes %v", got)
				}
				took, fetches := time.Since(start), p.count("/keys")-before
				if most := 2 + int(took/(10*time.Second)); fetches > most {
					t.Errorf("%d fetches in %s, want at most %d", fetches, took, most)
				}
				// A real rotation in the middle of it is seen within one cool-down.
				p.publish("new")
				start = time.Now()
				if r := verify(t, keys, sign(t, "RS256", "rsa", "new")); r != "" || time.Since(start) > 11*time.Second {
					t.Errorf("a new key after the flood: %q after %s", r, time.Since(start))
				}
			})
		})
	}
}

func TestTenThousandUnknownKidsAtOnceAreOneFetchAndThenAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newOP("k")
		keys := p.provider(t).KeySet()
		verify(t, keys, sign(t, "RS256", "rsa", "k"))
		for i := range 2 { // the burst
			if r := verify(t, keys, sign(t, "RS256", "rsa2", fmt.Sprint("x", i))); r != "kid" {
				t.Error(r)
			}
		}
		if n := p.count("/keys"); n != 3 {
			t.Errorf("%d fetches after the burst, want 3", n)
		}
		start := time.Now()
		forged := sign(t, "RS256", "rsa2", "forged")
		got := crowd(t, 10_100, func(int) string { return verify(t, keys, forged) })
		if got["kid"] != 10_000 || got["unavailable"] != 100 {
			t.Errorf("outcomes %v, want 10,000 that waited and 100 turned away", got)
		}
		if n, took := p.count("/keys"), time.Since(start); n != 4 || took > 10*time.Second {
			t.Errorf("%d fetches after %s, want 4 after at most 10 s", n, took)
		}
	})
}

func TestANewKeyRightAfterAFloodIsSeenWithinOneCooldown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newOP("k")
		keys := p.provider(t, func(c *discovery.Config) { c.Cooldown = time.Minute }).KeySet()
		verify(t, keys, sign(t, "RS256", "rsa", "k"))
		for i := range 2 {
			verify(t, keys, sign(t, "RS256", "rsa2", fmt.Sprint("x", i)))
		}
		p.publish("new")
		start := time.Now()
		if r := verify(t, keys, sign(t, "RS256", "rsa", "new")); r != "" || time.Since(start) != time.Minute {
			t.Errorf("%q after %s", r, time.Since(start))
		}
	})
}

// The answer on its way is older than the rotation: what it lacks may exist all the same.
func TestAKeyPublishedDuringAFetchIsSeenByTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newOP("k")
		keys := p.provider(t).KeySet()
		verify(t, keys, sign(t, "RS256", "rsa", "k"))
		p.set("/keys", func(*http.Request) (*http.Response, error) {
			p.mu.Lock()
			published := jwks(p.keys...)
			p.mu.Unlock()
			time.Sleep(time.Second)
			return reply(200, "application/json", published), nil
		})
		forged := make(chan string, 1)
		go func() { forged <- verify(t, keys, sign(t, "RS256", "rsa2", "forged")) }()
		synctest.Wait() // its fetch has begun
		p.publish("k", "new")
		if r := verify(t, keys, sign(t, "RS256", "rsa", "new")); r != "" {
			t.Errorf("the new key: %q", r)
		}
		if r := <-forged; r != "kid" || p.count("/keys") != 3 {
			t.Errorf("the forged one: %q, %d fetches, want 3", r, p.count("/keys"))
		}
	})
}

func TestAWaiterLeavesWhenItsContextEndsAndTheFetchComesAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newOP("k")
		keys := p.provider(t).KeySet()
		verify(t, keys, sign(t, "RS256", "rsa", "k"))
		for i := range 2 {
			verify(t, keys, sign(t, "RS256", "rsa2", fmt.Sprint("x", i)))
		}
		p.publish("new")
		raw := sign(t, "RS256", "rsa", "new")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := keys.VerifySignature(ctx, raw)
		if reason(err) != "unavailable" || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		time.Sleep(10 * time.Second)
		if n := p.count("/keys"); n != 4 {
			t.Errorf("%d fetches, want 4: the scheduled one is not called off", n)
		}
		start = time.Now()
		if r := verify(t, keys, raw); r != "" || time.Since(start) != 0 {
			t.Errorf("%q after %s, want it known by now", r, time.Since(start))
		}
	})
}

func TestABadSignatureUnderAKnownKidNeverFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newOP("k")
		keys := p.provider(t).KeySet()
		verify(t, keys, sign(t, "RS256", "rsa", "k"))
		bad := sign(t, "RS256", "rsa2", "k")
		for range 100 {
			if r := verify(t, keys, bad); r != "signature" {
				t.Fatal(r)
			}
		}
		if r := verify(t, keys, sign(t, "ES256", "p256", "k")); r != "key" {
			t.Errorf("another type under a known kid: %s", r)
		}
		if n := p.count("/keys"); n != 1 {
			t.Errorf("%d fetches, want 1", n)
		}
	})
}

func TestTheAlgorithmListIsHeldBeforeAnyKeyIsLookedUp(t *testing.T) {
	p := newOP("k")
	for _, c := range []struct {
		alg, key string
		algs     []string
	}{
		{"RS256", "rsa", []string{"ES256"}}, {"ES256", "p256", []string{"RS256", "PS256"}}, {"RS256", "rsa", []string{"HS256", "none"}}, {"RS256", "rsa", []string{""}},
	} {
		keys := p.provider(t).KeySet(c.algs...)
		_, err := keys.VerifySignature(t.Context(), sign(t, c.alg, c.key, "k"))
		e, ok := errors.AsType[*discovery.SignatureError](err)
		if !ok || e.Check != "alg" || e.Want != strings.Join(c.algs, " or ") || e.Got != `"`+c.alg+`"` {
			t.Errorf("%v of %v: %v", c.alg, c.algs, err)
		}
	}
	hmac, _ := jose.NewSigner(jose.SigningKey{Algorithm: "HS256", Key: make([]byte, 32)}, nil)
	object, _ := hmac.Sign([]byte(`{"sub":"1"}`))
	raw, _ := object.CompactSerialize()
	for _, algs := range [][]string{nil, {"HS256"}} {
		if r := verify(t, p.provider(t).KeySet(algs...), raw); r != "alg" {
			t.Errorf("HS256 with %v: %s", algs, r)
		}
	}
	if n := p.total(); n != 0 {
		t.Errorf("%d calls, want none", n)
	}
	if r := verify(t, p.provider(t).KeySet("RS256"), sign(t, "RS256", "rsa", "k")); r != "" {
		t.Errorf("the neighbour that should pass: %s", r)
	}
}

func TestARefusedTokenIsASignatureErrorThatDoesNotShowIt(t *testing.T) {
	p := newOP("k")
	keys := p.provider(t).KeySet()
	good := sign(t, "RS256", "rsa", "k")
	for raw, want := range map[string]string{
		"": "compact", good + "\n": "base64", good + ".x": "compact", strings.Repeat("x", 20_000): "size", good[:len(good)-1]: "base64",
	} {
		_, err := keys.VerifySignature(t.Context(), raw)
		if reason(err) != want || strings.Contains(err.Error(), good[:30]) {
			t.Errorf("%v, want check %s", err, want)
		}
	}
	if p.total() != 0 {
		t.Error("a malformed token caused a call")
	}
	kid := strings.Repeat("long", 500)
	_, err := keys.VerifySignature(t.Context(), sign(t, "RS256", "rsa", kid))
	if reason(err) != "kid" || len(err.Error()) > 300 {
		t.Errorf("a long kid makes an error of %d bytes: %s", len(err.Error()), reason(err))
	}
}

func TestATokenWithoutKidIsTriedWithEveryKeyThatFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newOP()
		p.keys = []jose.JSONWebKey{jwk("p256", "a"), jwk("rsa2", "b"), jwk("rsa", "c"), jwk("ed", "")}
		keys := p.provider(t).KeySet()
		for alg, key := range map[string]string{"RS256": "rsa", "PS384": "rsa2", "ES256": "p256", "EdDSA": "ed"} {
			if r := verify(t, keys, sign(t, alg, key, "")); r != "" {
				t.Errorf("%s: %s", alg, r)
			}
		}
		if n := p.count("/keys"); n != 1 {
			t.Errorf("%d fetches, want 1", n)
		}
		// One that no key verifies has the same allowance as an unknown kid, for the key may be new.
		start := time.Now()
		for range 3 {
			if r := verify(t, keys, sign(t, "RS256", "rsa3", "")); r != "signature" {
				t.Error(r)
			}
			if r := verify(t, keys, sign(t, "ES384", "p384", "")); r != "key" {
				t.Error(r)
			}
		}
		if n, took := p.count("/keys"), time.Since(start); n != 7 || took != 40*time.Second {
			t.Errorf("%d fetches in %s, want 7 in 40 s", n, took)
		}
		p.mu.Lock()
		p.keys = append(p.keys, jwk("rsa3", ""))
		p.mu.Unlock()
		if r := verify(t, keys, sign(t, "RS256", "rsa3", "")); r != "" {
			t.Errorf("after its key was published: %s", r)
		}
	})
}

func TestKeysMayShareAKid(t *testing.T) {
	p := newOP()
	p.keys = []jose.JSONWebKey{jwk("rsa2", "k"), jwk("p256", "k"), jwk("rsa", "k"), jwk("p256b", "k")}
	keys := p.provider(t).KeySet()
	for _, c := range [][2]string{{"RS256", "rsa"}, {"PS256", "rsa2"}, {"ES256", "p256"}, {"ES256", "p256b"}} {
		if r := verify(t, keys, sign(t, c[0], c[1], "k")); r != "" {
			t.Errorf("%v: %s", c, r)
		}
	}
	if r := verify(t, keys, sign(t, "RS256", "rsa3", "k")); r != "signature" {
		t.Error(r)
	}
}

func TestTheKeysOwnAlgorithmBindsIt(t *testing.T) {
	p := newOP()
	bound := jwk("rsa", "k")
	bound.Algorithm = "PS256"
	p.keys = []jose.JSONWebKey{bound}
	keys := p.provider(t).KeySet()
	if r := verify(t, keys, sign(t, "PS256", "rsa", "k")); r != "" {
		t.Error(r)
	}
	for _, alg := range []string{"RS256", "PS384"} {
		if r := verify(t, keys, sign(t, alg, "rsa", "k")); r != "key" {
			t.Errorf("%s with a key for PS256: %s", alg, r)
		}
	}
}

func TestAKeyThatLeavesTheSetStopsVerifyingAtTheNextRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newOP("old", "new")
		keys := p.provider(t).KeySet()
		old := sign(t, "RS256", "rsa", "old")
		verify(t, keys, old)
		p.publish("new")
		time.Sleep(time.Hour + time.Second) // the default lifetime
		if r := verify(t, keys, old); r != "kid" {
			t.Errorf("a withdrawn key: %q", r)
		}
		if r := verify(t, keys, sign(t, "RS256", "rsa", "new")); r != "" {
			t.Error(r)
		}
	})
}

func TestTheSameKidWithANewKeyIsSeenAtTheNextRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newOP("k")
		keys := p.provider(t).KeySet()
		verify(t, keys, sign(t, "RS256", "rsa", "k"))
		p.mu.Lock()
		p.keys = []jose.JSONWebKey{jwk("rsa2", "k")}
		p.mu.Unlock()
		time.Sleep(time.Hour + time.Second)
		if r := verify(t, keys, sign(t, "RS256", "rsa", "k")); r != "signature" {
			t.Errorf("the old key: %q", r)
		}
		if r := verify(t, keys, sign(t, "RS256", "rsa2", "k")); r != "" {
			t.Errorf("the new key: %q", r)
		}
	})
}

func TestKeysOfAnUnknownKidAreUnavailableWhenTheyCannotBeFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newOP("k")
		keys := p.provider(t).KeySet()
		known, unknown := sign(t, "RS256", "rsa", "k"), sign(t, "RS256", "rsa", "new")
		verify(t, keys, known)
		p.set("/keys", down)
		_, err := keys.VerifySignature(t.Context(), unknown)
		e := wantUnavailable(t, err, "connection refused")
		if e.URL != issuer+"/keys" || e.RetryAfter <= 0 || e.RetryAfter > 2*time.Second {
			t.Errorf("%+v", e)
		}
		if r := verify(t, keys, known); r != "" {
			t.Errorf("a known key during the outage: %s", r)
		}
		// Until the next attempt everybody gets the answer at once, and nobody asks.
		before := p.count("/keys")
		if got := crowd(t, 100, func(int) string { return verify(t, keys, unknown) }); got["unavailable"] != 100 || p.count("/keys") != before {
			t.Errorf("outcomes %v, %d fetches", got, p.count("/keys")-before)
		}
		p.set("/keys", always(200, "application/json", jwks(jwk("rsa", "k"), jwk("rsa", "new"))))
		time.Sleep(e.RetryAfter)
		if r := verify(t, keys, unknown); r != "" {
			t.Errorf("after the outage: %s", r)
		}
	})
}

func TestTheZeroKeySetAcceptsNothing(t *testing.T) {
	raw := sign(t, "RS256", "rsa", "k")
	var none *discovery.KeySet
	for _, k := range []*discovery.KeySet{none, {}, new(discovery.Provider).KeySet()} {
		if r := verify(t, k, raw); r != "alg" {
			t.Error(r)
		}
	}
	if _, err := new(discovery.Provider).Metadata(t.Context()); !errors.Is(err, discovery.ErrUnavailable) {
		t.Error(err)
	}
}

func TestManyKeysWithoutKidAreTriedToABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newOP()
		for range 200 {
			p.keys = append(p.keys, jwk("ed", ""))
		}
		p.keys = append(p.keys, jwk("rsa", "last"), jwk("ed2", "named"))
		keys := p.provider(t).KeySet()
		for _, c := range [][3]string{{"RS256", "rsa", "last"}, {"RS256", "rsa", ""}, {"EdDSA", "ed", ""}, {"EdDSA", "ed2", "named"}} {
			if r := verify(t, keys, sign(t, c[0], c[1], c[2])); r != "" {
				t.Errorf("%v: %s", c, r)
			}
		}
		if r := verify(t, keys, sign(t, "EdDSA", "ed2", "")); r != "signature" {
			t.Errorf("a token whose key comes after 200 others: %q, want it given up", r)
		}
	})
}

// aboutToFetch has one caller wait for the end of the cool-down, half a second before which the keys are due for renewal.
func aboutToFetch(t *testing.T) (p *op, keys *discovery.KeySet, waiter chan error) {
	p = newOP("k")
	keys = p.provider(t, func(c *discovery.Config) {
		c.MinLifetime, c.MaxLifetime = 10*time.Second, 10*time.Second
		c.Metadata = &discovery.Metadata{JWKSURI: issuer + "/keys"}
	}).KeySet()
	for i := range 2 {
		verify(t, keys, sign(t, "RS256", "rsa2", fmt.Sprint("x", i)))
		verify(t, keys, sign(t, "RS256", "rsa2", fmt.Sprint("y", i)))
	}
	waiter = make(chan error, 1)
	raw := sign(t, "RS256", "rsa", "new")
	p.publish("k", "new")
	go func() {
		_, err := keys.VerifySignature(t.Context(), raw)
		waiter <- err
	}()
	synctest.Wait()
	time.Sleep(9*time.Second + 500*time.Millisecond)
	return p, keys, waiter
}

func TestAScheduledFetchWaitsForTheOneThatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, keys, waiter := aboutToFetch(t)
		before := p.count("/keys")
		p.mu.Lock()
		p.latency = 3 * time.Second
		p.mu.Unlock()
		verify(t, keys, sign(t, "RS256", "rsa", "k")) // begins a renewal, which lasts beyond the cool-down
		time.Sleep(2 * time.Second)
		if n := p.count("/keys") - before; n != 1 {
			t.Errorf("%d fetches at once", n)
		}
		time.Sleep(2 * time.Second)
		if n := p.count("/keys") - before; n != 2 {
			t.Errorf("%d fetches, want the scheduled one after the other", n)
		}
		if err := <-waiter; err != nil {
			t.Error(err)
		}
	})
}

func TestAScheduledFetchHeedsAProviderThatWantsPeace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, keys, waiter := aboutToFetch(t)
		p.set("/keys", always(503, "", "", "Retry-After", "60"))
		before := p.count("/keys")
		if r := verify(t, keys, sign(t, "RS256", "rsa", "k")); r != "" {
			t.Error(r)
		}
		e := wantUnavailable(t, <-waiter, "503")
		if n := p.count("/keys") - before; n != 1 || e.RetryAfter < 59*time.Second {
			t.Errorf("%d fetches, RetryAfter %s", n, e.RetryAfter)
		}
	})
}

func TestACallerThatLeavesIsToldWhatItWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newOP("k")
		p.latency = time.Second
		ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errors.New("the visitor left"))
		defer cancel()
		raw := sign(t, "RS256", "rsa", "k")
		_, err := p.provider(t).KeySet().VerifySignature(ctx, raw)
		wantUnavailable(t, err, "jwks_uri of "+issuer)
		wantUnavailable(t, err, "the visitor left")
		_, err = p.provider(t, func(c *discovery.Config) { c.Metadata = &discovery.Metadata{JWKSURI: issuer + "/keys?x=hush"} }).KeySet().VerifySignature(ctx, raw)
		if e := wantUnavailable(t, err, "left"); e.URL != issuer+"/keys" {
			t.Error(err)
		}
		time.Sleep(time.Minute)
	})
}
