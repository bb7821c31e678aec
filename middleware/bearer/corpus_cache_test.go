package bearer_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/middleware/bearer"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

// What one verifier has taken is nothing to another.
func TestAStricterVerifierDecidesAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCorpus(t, "ES256", dialects[1])
		raw := c.mint(func(d *draft) { d.claims["aud"] = []string{audience, "https://shared.example"} })
		for range 2 {
			c.accepts(t, raw)
		}
		if s := c.api.Stats(); s.Hits != 1 || s.Entries != 1 {
			t.Fatalf("%+v", s)
		}
		for name, x := range map[string]struct {
			change func(*bearer.Config)
			check  string
		}{
			"its audience": {func(cfg *bearer.Config) { cfg.Audience = "https://other.example" }, "aud"},
			"its profile":  {func(cfg *bearer.Config) { cfg.Profile = bearer.Profile{} }, "typ"},
			"its client":   {func(cfg *bearer.Config) { cfg.Profile.ClientID = []string{"client_id"} }, "client_id"},
			"its issuer":   {func(cfg *bearer.Config) { cfg.Issuer = "https://op2.example" }, "iss"},
			"its algorithms": {func(cfg *bearer.Config) {
				cfg.Issuers, cfg.Issuer, cfg.Profile = only(cfg, "PS256"), "", bearer.Profile{}
			}, "alg"},
		} {
			t.Log(name)
			strict := c.with(x.change)
			strict.refuses(t, raw, x.check)
			strict.refuses(t, raw, x.check) // nor after it was seen
		}
		c.accepts(t, raw)
	})
}

func only(cfg *bearer.Config, algs ...string) []bearer.Issuer {
	return []bearer.Issuer{{Issuer: cfg.Issuer, Profile: cfg.Profile, Algorithms: algs}}
}

// A token is remembered under its whole text: nothing that begins or ends like it is it.
func TestWhatIsRememberedIsTheWholeText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCorpus(t, "EdDSA", dialects[0])
		good := c.mint(nil)
		c.accepts(t, good)
		cut := strings.LastIndexByte(good, '.')
		another := c.mint(func(d *draft) { stranger(d); d.claims["jti"] = "2" })
		for _, a := range []struct{ raw, check string }{
			{good[:cut+1], "signature"}, {good[:cut+21] + strings.Repeat("A", 66), "signature"}, {good + "A", "signature"},
			{another[:strings.LastIndexByte(another, '.')] + good[cut:], "signature"},
		} {
			c.refuses(t, a.raw, a.check)
		}
		c.accepts(t, good)
		if s := c.api.Stats(); s.Entries != 1 || s.Hits != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// A remembered token ends when it ends, to the second, for every second that leads there; within the leeway it is checked anew each time.
func TestARememberedTokenEndsInItsSecond(t *testing.T) {
	for _, d := range dialects {
		synctest.Test(t, func(t *testing.T) {
			c := newCorpus(t, "EdDSA", d)
			raw := c.mint(at("exp", 120))
			c.accepts(t, raw)
			for range 179 {
				time.Sleep(time.Second)
				c.accepts(t, raw)
			}
			if s := c.api.Stats(); s.Hits != 119 {
				t.Errorf("%d hits, want one for each second until exp", s.Hits)
			}
			time.Sleep(time.Second)
			c.refuses(t, raw, "exp")
			time.Sleep(24 * time.Hour)
			c.refuses(t, raw, "exp")
		})
	}
}

func TestARememberedTokenEndsWithItsKey(t *testing.T) {
	for _, alg := range corpusAlgs {
		t.Run(alg, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCorpus(t, alg, dialects[0], published(alg), published("ES384"))
				hour := at("exp", 7200)
				old := c.mint(hour)
				still := c.mint(both(hour, under("ES384", "ES384", "ES384")))
				c.accepts(t, old)
				c.accepts(t, still)
				c.op.SetKeys(keySet(published("ES384"))) // alg's key is withdrawn
				c.accepts(t, old)                        // and nobody here knows yet
				c.refuses(t, c.mint(both(hour, header("kid", "new"))), "kid")
				// Looking for the new key, the set was fetched.
				c.refuses(t, old, "kid")
				c.accepts(t, still)
			})
		})
	}
}

// Without any unknown kid, the ordinary renewal of the key set does the same.
func TestARememberedTokenEndsWithItsKeyAtTheNextRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCorpus(t, "ES256", dialects[0])
		old := c.mint(at("exp", 48*3600))
		c.accepts(t, old)
		c.op.SetKeys(keySet(published("EdDSA")))
		var after time.Duration
		for err := error(nil); err == nil; after += time.Minute {
			time.Sleep(time.Minute)
			synctest.Wait()
			if _, err = c.api.Verify(t.Context(), old); err != nil && checkOf(err) != "kid" {
				t.Fatal(err)
			}
			if after > 2*time.Hour {
				t.Fatal("a withdrawn key still counts after two hours")
			}
		}
		t.Logf("it was refused after %s", after)
		c.refuses(t, old, "kid")
	})
}

// A key that is published anew under the old kid is another key.
func TestAReplacedKeyUnderTheSameKidEndsWhatTheOldOneSigned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCorpus(t, "ES256", dialects[0])
		old := c.mint(at("exp", 7200))
		c.accepts(t, old)
		c.op.SetKeys(keySet(published("stranger-EC", "kid", "ES256")))
		c.refuses(t, c.mint(header("kid", "x")), "kid") // has the set fetched
		c.refuses(t, old, "signature")
		c.accepts(t, c.mint(stranger))
	})
}

// Two issuers of one API publish different keys under one kid, and each signs for itself alone.
func TestAKidIsItsIssuersOwn(t *testing.T) {
	for _, alg := range corpusAlgs {
		t.Run(alg, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCorpus(t, alg, dialects[0], published(alg, "kid", "1"))
				second, err := rptest.New(rptest.Options{Issuer: "https://op2.example", SigningAlg: alg})
				if err != nil {
					t.Fatal(err)
				}
				second.SetKeys(keySet(published(strangerTo(alg), "kid", "1")))
				c.op.HandleHost("op2.example", second)
				c = c.with(func(cfg *bearer.Config) { cfg.Issuers = []bearer.Issuer{{Issuer: "https://op2.example"}} })
				one, two := header("kid", "1"), claim("iss", "https://op2.example")
				first := c.mint(one)
				c.accepts(t, first)
				if tok := c.accepts(t, c.mint(both(both(one, two), stranger))); tok.Issuer != "https://op2.example" {
					t.Errorf("issuer %q", tok.Issuer)
				}
				c.refuses(t, c.mint(both(one, two)), "signature")      // kid-other-issuer
				c.refuses(t, c.mint(both(one, stranger)), "signature") // and the other way round
				p := strings.Split(first, ".")
				other := strings.Split(c.mint(both(one, two)), ".")
				c.refuses(t, p[0]+"."+other[1]+"."+p[2], "signature")
				if n := c.op.Hits(rptest.JWKS) + second.Hits(rptest.JWKS); n != 2 {
					t.Errorf("the key sets were fetched %d times", n)
				}
			})
		})
	}
}

// While the provider is down, what is remembered passes and nothing else does; nobody is told that a token is bad.
func TestAnOutageSaysNothingAgainstAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCorpus(t, "ES256", dialects[0])
		c.op.Fault(rptest.JWKS, rptest.Status(http.StatusBadGateway, ""))
		_, err := c.api.Verify(t.Context(), c.mint(nil))
		if f := c.api.Failure(err); f == nil || f.Status != http.StatusServiceUnavailable || f.Challenge != "" || f.RetryAfter <= 0 {
			t.Errorf("%v: %+v", err, f)
		}
		if n := c.api.Stats().Entries; n != 0 {
			t.Errorf("%d tokens are remembered", n)
		}
		c.op.ClearFaults()
		time.Sleep(time.Minute)
		c.accepts(t, c.mint(nil))
	})
}
