package bearer_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/middleware/bearer"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

// odd makes the keys once.
var odd = sync.OnceValue(rptest.OddKeys)

// oddKeys is a key set in which no odd key may cost the good ones their place.
func oddKeys(alg string) []map[string]any {
	n := corpusKeys()["RS256"].Public().(*rsa.PublicKey).N
	point := published("off-curve")
	y := []byte(unb64(point["y"].(string)))
	y[31] ^= 1
	return slices.Concat(odd(), []map[string]any{
		nil, {}, {"kty": "oct", "kid": alg, "k": "AAAA"},
		published("small"),
		published("RS256", "kid", "exponent-1", "e", "AQ"),
		published("RS256", "kid", "even", "n", b64(string(new(big.Int).Lsh(n, 1).Bytes()))),
		published("off-curve", "y", b64(string(y))),
		published("short", "x", b64(unb64(published("short")["x"].(string))[:31])),
		published("for-encryption", "use", "enc"),
		published("ops-encrypt", "use", nil, "key_ops", []string{"encrypt"}),
		published("ops-verify", "use", nil, "key_ops", []string{"verify"}),
		published("private", "d", b64(strings.Repeat("d", 48))),
		published("only-ps256", "alg", "PS256"), published("any-rsa"), published("ES384"), published("other-okp"),
		published(alg),
	})
}

// encodedPKCS1 is what an RS256 signature of input is under the key's exponent (RFC 8017 section 9.2), size bytes long.
func encodedPKCS1(input string, size int) *big.Int {
	prefix, _ := hex.DecodeString("3031300d060960864801650304020105000420")
	digest := sha256.Sum256([]byte(input))
	tail := slices.Concat([]byte{0}, prefix, digest[:])
	return new(big.Int).SetBytes(slices.Concat([]byte{0, 1}, bytes.Repeat([]byte{0xff}, size-2-len(tail)), tail))
}

// forgedRSA signs by root, which finds a root of the encoded digest under a weak key; nil: that is the digest itself, as under exponent 1.
func forgedRSA(kid, longer string, root func(*rsa.PrivateKey, *big.Int) *big.Int) func(*draft) {
	return func(d *draft) {
		d.header["alg"], d.header["kid"] = "RS256", kid
		d.sign = func(input string) string {
			size := 256 + len(longer)
			digest := encodedPKCS1(input, size)
			if s := root(corpusKeys()["RS256"].(*rsa.PrivateKey), digest); s != nil {
				digest = s
			}
			return string(digest.FillBytes(make([]byte, size)))
		}
	}
}

// evenRoot takes the root modulo 2n: modulo n with the private exponent, and modulo 2 by its last bit.
func evenRoot(key *rsa.PrivateKey, digest *big.Int) *big.Int {
	s := new(big.Int).Exp(digest, key.D, key.N)
	if s.Bit(0) != digest.Bit(0) {
		s.Add(s, key.N)
	}
	even := new(big.Int).Lsh(key.N, 1)
	if new(big.Int).Exp(s, big.NewInt(int64(key.E)), even).Cmp(digest) != 0 {
		panic("this is no forgery")
	}
	return s
}

// withCertificate puts a certificate of the signing key into the header.
func withCertificate(d *draft) {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "op.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, d.key.Public(), d.key)
	if err != nil {
		panic(err)
	}
	d.header["x5c"] = []string{base64.StdEncoding.EncodeToString(der)}
}

// canary counts who comes.
type canary struct{ hits atomic.Int64 }

func (c *canary) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	c.hits.Add(1)
	_, _ = w.Write(keySet(published("stranger-EC")).Raw)
}

// transport counts every request that would leave.
type transport struct {
	next http.RoundTripper
	sent atomic.Int64
}

func (c *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	c.sent.Add(1)
	return c.next.RoundTrip(r)
}

func TestKeysThatATokenPointsAtAreNeverFetched(t *testing.T) {
	bird := &canary{}
	server := httptest.NewServer(bird)
	defer server.Close()
	for _, member := range []string{"jku", "x5u", "JKU", "url", "iss"} {
		for _, d := range dialects {
			t.Run(d.name+"/"+member, func(t *testing.T) {
				c := newCorpus(t, "ES256", d)
				point := func(d *draft) { d.header[member] = server.URL }
				c.accepts(t, c.mint(point)) // it says nothing, so it changes nothing
				c.refuses(t, c.mint(func(d *draft) { point(d); stranger(d) }), "signature")
			})
		}
	}
	if n := bird.hits.Load(); n != 0 {
		t.Errorf("the canary was visited %d times", n)
	}
}

func TestAnUnknownIssuerCostsNoRequest(t *testing.T) {
	bird := &canary{}
	server := httptest.NewServer(bird)
	defer server.Close()
	for _, d := range dialects {
		out := &transport{next: http.DefaultTransport}
		c := newCorpus(t, "ES256", d).with(func(cfg *bearer.Config) { cfg.HTTPClient = &http.Client{Transport: out} })
		for _, iss := range []string{
			server.URL, server.URL + "/", "http://169.254.169.254/latest", "file:///etc/passwd", "gopher://127.0.0.1:1", "https://user:pw@op.example",
			"https://op.example/.well-known/openid-configuration?", "https://op.example#", "//op.example", "", "https://self-issued.me",
		} {
			c.refuses(t, c.mint(func(d *draft) { d.claims["iss"] = iss }), "iss")
		}
		if n := out.sent.Load() + bird.hits.Load(); n != 0 {
			t.Errorf("%d requests were sent", n)
		}
	}
}

func TestAForgedSignatureUnderAKnownKidCostsNoFetch(t *testing.T) {
	for _, alg := range corpusAlgs {
		t.Run(alg, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCorpus(t, alg, dialects[0])
				c.accepts(t, c.mint(nil))
				forged := c.mint(stranger)
				for range 20 {
					c.refuses(t, forged, "signature")
				}
				if n := c.op.Hits(rptest.JWKS); n != 1 {
					t.Errorf("the key set was fetched %d times", n)
				}
			})
		})
	}
}

func TestTokensWithoutKidFindTheirKeyAmongMany(t *testing.T) {
	for _, alg := range corpusAlgs {
		t.Run(alg, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCorpus(t, alg, dialects[0], oddKeys(alg)...)
				nameless := func(d *draft) { delete(d.header, "kid") }
				c.accepts(t, c.mint(nameless))
				c.refuses(t, c.mint(func(d *draft) {
					nameless(d)
					d.after = func(s string) string { return s[:len(s)-8] + "AAAAAAAA" }
				}), "signature")
				if n := c.op.Hits(rptest.JWKS); n > 3 { // the first, and a burst of two for keys that might be new
					t.Errorf("the key set was fetched %d times", n)
				}
			})
		})
	}
}

func TestAnIssuersAlgorithmsAreTheOnlyOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCorpus(t, "ES256", dialects[0], published("ES256"), published("ES384"), published("RS256")).with(func(cfg *bearer.Config) {
			cfg.Issuers = []bearer.Issuer{{Issuer: cfg.Issuer, Algorithms: []string{"ES256", "PS256"}}}
			cfg.Issuer = ""
		})
		for _, a := range []attack{
			{name: "alg-not-allowed", bend: under("ES384", "ES384", "ES384"), check: "alg"},
			{name: "alg-rs256-where-ps256", bend: under("RS256", "RS256", "RS256"), check: "alg", near: under("RS256", "PS256", "PS256")},
			{name: "alg-says-what-is-allowed", bend: under("RS256", "RS256", "PS256"), check: "signature"},
		} {
			c.try(t, a)
		}
	})
}
