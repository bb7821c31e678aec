package bearer_test

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
	"github.com/latchkey-go/latchkey/middleware/bearer"
)

// fuzzed is an API whose keys are given, so that no kid waits for a fetch, and a draft of a token that is good for as long as anybody fuzzes.
func fuzzed(f *testing.F) (*corpus, *draft) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	c := newCorpus(f, "EdDSA", dialects[0]).with(func(cfg *bearer.Config) {
		cfg.Issuer, cfg.Issuers = "", []bearer.Issuer{{
			Issuer: cfg.Issuer, Discovery: discovery.Config{Keys: []discovery.Key{{ID: "EdDSA", Public: key.Public()}}},
		}}
	})
	d := c.draft()
	// The same in every process, so that what one finds another understands.
	d.key = key
	d.claims["iat"], d.claims["exp"] = 1_700_000_000, 250_000_000_000
	return c, d
}

// bent are the corpus's tokens, each bent from the same draft.
func bent(d *draft) (all []string) {
	for _, a := range slices.Concat(corpusHeaders, corpusEncodings, corpusClaims) {
		one := *d
		one.header, one.claims = maps.Clone(d.header), maps.Clone(d.claims)
		if a.bend(&one); len(one.rawClaims) > 16<<10 {
			continue
		}
		if raw := one.token(); len(raw) <= 16<<10 {
			all = append(all, raw)
		}
	}
	return all
}

// FuzzVerify: whatever is made of a good token, only a text that the key signed as it stands is good, which nobody makes without the key. The rest is
// refused with 401, without saying what was in it.
func FuzzVerify(f *testing.F) {
	c, d := fuzzed(f)
	f.Add(d.token())
	for _, raw := range bent(d) {
		f.Add(raw)
	}
	public := d.key.Public().(ed25519.PublicKey)
	f.Fuzz(func(t *testing.T, raw string) {
		tok, err := c.api.Verify(t.Context(), raw)
		if err == nil {
			cut := max(0, strings.LastIndexByte(raw, '.'))
			header, claims, _ := strings.Cut(raw[:cut], ".")
			if again := b64(unb64(header)) + "." + b64(unb64(claims)) + "." + b64(unb64(raw[cut+1:])); tok == nil || again != raw {
				t.Fatalf("%q passes, %q is the token", raw, again)
			}
			if !ed25519.Verify(public, []byte(raw[:cut]), []byte(unb64(raw[cut+1:]))) {
				t.Fatalf("%q passes", raw)
			}
			return
		}
		if tok != nil || !errors.Is(err, bearer.ErrInvalidToken) {
			t.Fatalf("%v and %v", tok, err)
		}
		if f := c.api.Failure(err); f.Status != http.StatusUnauthorized || f.Detail == "" {
			t.Fatalf("answered %+v", f)
		}
		if text := err.Error(); len(text) > 1<<10 || len(raw) > 80 && strings.Contains(text, raw[len(raw)-80:]) {
			t.Fatalf("%q is shown: %v", raw, err)
		}
	})
}

// FuzzSignedClaims: of claims that are validly signed, whatever they are, only those pass that another reader finds good as well.
func FuzzSignedClaims(f *testing.F) {
	c, d := fuzzed(f)
	for _, a := range corpusClaims {
		one := *d
		one.claims = maps.Clone(d.claims)
		if a.bend(&one); one.rawClaims == "" {
			one.rawClaims = jsonOf(one.claims)
		}
		f.Add(one.rawClaims)
	}
	f.Fuzz(func(t *testing.T, claims string) {
		one := *d
		if one.rawClaims = claims; claims == "" {
			return
		}
		tok, err := c.api.Verify(t.Context(), one.token())
		if err != nil {
			if tok != nil || !errors.Is(err, bearer.ErrInvalidToken) {
				t.Fatalf("%v and %v", tok, err)
			}
			return
		}
		var m map[string]any
		reader := json.NewDecoder(strings.NewReader(claims))
		reader.UseNumber() // a claim that nobody reads may be 1e400
		if err := reader.Decode(&m); err != nil {
			t.Fatalf("%q passes: %v", claims, err)
		}
		number := func(name string) float64 {
			n, _ := m[name].(json.Number)
			f, err := n.Float64()
			if err != nil && n != "" {
				t.Fatalf("%q passes: %v", claims, err)
			}
			return f
		}
		now := float64(time.Now().Unix())
		exp, iat, nbf := number("exp"), number("iat"), number("nbf")
		aud, _ := m["aud"].([]any)
		if m["iss"] != c.op.Issuer() || m["aud"] != audience && !slices.Contains(aud, any(audience)) || exp < now-61 || iat > now+61 || nbf > now+61 || m["iat"] == nil {
			t.Fatalf("%q passes", claims)
		}
		if m["sub"] != tok.Subject || m["client_id"] != tok.ClientID || m["jti"] != tok.ID || tok.Subject == "" || tok.ClientID == "" || tok.ID == "" {
			t.Fatalf("%q is read as %q of %q", claims, tok.Subject, tok.ClientID)
		}
		for _, name := range []string{"nonce", "at_hash", "c_hash", "s_hash", "events", "cnf"} {
			if m[name] != nil {
				t.Fatalf("%q passes", claims)
			}
		}
	})
}
