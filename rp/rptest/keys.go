package rptest

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

// Keys says how the key set is published.
type Keys struct {
	// Extra are raw JWKs published before the provider's own: see OddKeys.
	Extra []map[string]any
	// Decoys is how many further keys of the same algorithm are published, which sign nothing.
	Decoys int
	// SameKID gives every decoy the kid of the key that signs.
	SameKID bool
	// NoKID leaves kid out of keys and tokens; NoAlg and NoUse leave alg and use out of keys.
	NoKID, NoAlg, NoUse bool
	// Raw, not empty, is the whole document.
	Raw json.RawMessage
}

// OddKeys are JWKs which real providers publish and a verifier must survive: a curve and a key type without support anywhere,
// encryption keys, a symmetric key, members of a wrong type. None of them signs anything.
func OddKeys() []map[string]any {
	public := func(k *signingKey, alg string) map[string]any {
		raw, _ := json.Marshal(jose.JSONWebKey{Key: k.private.Public(), KeyID: "enc-" + k.kid, Algorithm: alg, Use: "enc"})
		var m map[string]any
		_ = json.Unmarshal(raw, &m)
		return m
	}
	return []map[string]any{
		{"kty": "EC", "crv": "secp256k1", "use": "sig", "kid": "koblitz", "x": "eb5mfvncu6xVoGKVzocLBwKb_NstzijZWfKBWxb4F5g", "y": "SDradyajxGVdpPv8DhEIqP0XtEimhVQZnEfQj_sQ1Lg"},
		{"kty": "OKP", "crv": "Ed448", "use": "sig", "kid": "ed448", "x": "X9dEm1m0Yf0s54fsYWrUah2hNCSFpw4fig6nXYDpZ3jt8SR2m0bHBhvWeD3x5Q9s0foavq_oJWGA"},
		{"kty": "AKP", "alg": "ML-DSA-44", "kid": "later", "pub": "AAAA"},
		{"kty": "oct", "kid": "symmetric", "k": "c2VjcmV0"},
		{"kty": "RSA", "kid": 7, "n": true},
		public(newKey("RS256"), "RSA-OAEP"),
		public(newKey("ES256"), "ECDH-ES"),
	}
}

// keyring holds the keys; they are made on first use, since an RSA key takes a while.
type keyring struct {
	mu      sync.Mutex
	alg     string
	current map[string]*signingKey // by algorithm; one that only a token fault asked for too
	old     []*signingKey          // still published
	gone    []*signingKey          // no longer; good for id_token_hint alone
	decoys  []*signingKey
	shape   Keys
}

func (r *keyring) key(alg string) *signingKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keyLocked(alg)
}

func (r *keyring) keyLocked(alg string) *signingKey {
	if r.current[alg] == nil {
		r.current[alg] = newKey(alg)
	}
	return r.current[alg]
}

// RotateKeys replaces the signing keys. The old ones leave the key set at once, or stay in it with RotateKeys(true).
func (p *Provider) RotateKeys(keepOld ...bool) {
	r := &p.keys
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.current) == 0 {
		r.keyLocked(r.alg) // a set which nobody has seen is rotated all the same
	}
	if len(keepOld) > 0 && keepOld[0] {
		r.old = slices.AppendSeq(r.old, maps.Values(r.current))
	} else {
		r.gone = slices.AppendSeq(append(r.gone, r.old...), maps.Values(r.current))
		r.old = nil
	}
	clear(r.current)
	r.decoys = nil
}

// SetKeys changes how the key set is published; the zero Keys is the usual way. It makes no new signing key.
func (p *Provider) SetKeys(k Keys) {
	p.keys.mu.Lock()
	defer p.keys.mu.Unlock()
	p.keys.shape, p.keys.decoys = k, nil
}

// KeyID is the kid of the key that signs now.
func (p *Provider) KeyID() string { return p.keys.key(p.opts.SigningAlg).kid }

func (p *Provider) serveJWKS(w http.ResponseWriter, _ *http.Request) {
	r := &p.keys
	r.mu.Lock()
	defer r.mu.Unlock()
	w.Header().Set("Content-Type", "application/jwk-set+json")
	if len(r.shape.Raw) > 0 {
		w.Write(r.shape.Raw)
		return
	}
	main := r.keyLocked(r.alg)
	for len(r.decoys) < r.shape.Decoys {
		r.decoys = append(r.decoys, newKey(r.alg))
	}
	keys := []any{}
	for _, extra := range r.shape.Extra {
		keys = append(keys, extra)
	}
	for _, k := range r.decoys {
		kid := k.kid
		if r.shape.SameKID {
			kid = main.kid
		}
		keys = append(keys, r.published(k, kid))
	}
	for _, alg := range asymmetricAlgs {
		if k := r.current[alg]; k != nil {
			keys = append(keys, r.published(k, k.kid))
		}
	}
	for _, k := range r.old {
		keys = append(keys, r.published(k, k.kid))
	}
	writeJSON(w, http.StatusOK, map[string]any{"keys": keys})
}

func (r *keyring) published(k *signingKey, kid string) jose.JSONWebKey {
	jwk := jose.JSONWebKey{Key: k.private.Public(), KeyID: kid, Algorithm: k.alg, Use: "sig"}
	if r.shape.NoKID {
		jwk.KeyID = ""
	}
	if r.shape.NoAlg {
		jwk.Algorithm = ""
	}
	if r.shape.NoUse {
		jwk.Use = ""
	}
	return jwk
}

// hinted verifies an id_token_hint and returns its claims; an expired one is good (Core 3.1.2.1), one of another provider is not.
func (p *Provider) hinted(raw string) map[string]any {
	if raw == "" {
		return nil
	}
	p.keys.mu.Lock()
	known := slices.Concat(p.keys.old, p.keys.gone)
	for _, k := range p.keys.current {
		known = append(known, k)
	}
	p.keys.mu.Unlock()
	var algs []jose.SignatureAlgorithm
	for _, alg := range append([]string{"HS256", "HS384", "HS512"}, asymmetricAlgs...) {
		algs = append(algs, jose.SignatureAlgorithm(alg))
	}
	jws, err := jose.ParseSignedCompact(raw, algs)
	if err != nil {
		return nil
	}
	var candidates []any
	if symmetric(jws.Signatures[0].Header.Algorithm) {
		for _, c := range p.opts.Clients {
			candidates = append(candidates, []byte(c.Secret))
		}
	} else {
		for _, k := range known {
			candidates = append(candidates, k.private.Public())
		}
	}
	for _, key := range candidates {
		payload, err := jws.Verify(key)
		if err != nil {
			continue
		}
		var claims map[string]any
		if json.Unmarshal(payload, &claims) == nil && claims["iss"] == p.opts.Issuer {
			return claims
		}
	}
	return nil
}
