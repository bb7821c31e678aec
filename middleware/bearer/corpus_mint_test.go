package bearer_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"sync"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey-go/latchkey/rp/rptest"
)

// corpusKeys are what the provider of the corpus signs with, by kid, and "stranger-" keys that are published nowhere.
var corpusKeys = sync.OnceValue(func() map[string]crypto.Signer {
	all := map[string]crypto.Signer{}
	for kid, size := range map[string]int{"RS256": 2048, "PS256": 2048, "stranger-RSA": 2048, "any-rsa": 2048, "small": 1024} {
		all[kid], _ = rsa.GenerateKey(rand.Reader, size)
	}
	for kid, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "stranger-EC": elliptic.P256(), "off-curve": elliptic.P256(), "ES384": elliptic.P384()} {
		all[kid], _ = ecdsa.GenerateKey(curve, rand.Reader)
	}
	for _, kid := range []string{"EdDSA", "stranger-OKP", "other-okp", "short"} {
		_, all[kid], _ = ed25519.GenerateKey(rand.Reader)
	}
	all["only-ps256"] = all["any-rsa"]
	for _, kid := range []string{"for-encryption", "ops-encrypt", "ops-verify", "private"} {
		all[kid] = all["ES384"]
	}
	return all
})

// published is the JWK of a key of corpusKeys, with changes: pairs of names and values, nil for none.
func published(kid string, changes ...any) map[string]any {
	var m map[string]any
	raw, err := json.Marshal(jose.JSONWebKey{Key: corpusKeys()[kid].Public(), KeyID: kid, Use: "sig"})
	if err != nil || json.Unmarshal(raw, &m) != nil {
		panic(err)
	}
	for i := 0; i < len(changes); i += 2 {
		if m[changes[i].(string)] = changes[i+1]; changes[i+1] == nil {
			delete(m, changes[i].(string))
		}
	}
	return m
}

// keySet publishes keys of corpusKeys.
func keySet(keys ...map[string]any) rptest.Keys {
	raw, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	return rptest.Keys{Raw: raw}
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func unb64(s string) string {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// mac is HMAC-SHA-256, for the tokens that take a public key for a secret.
func mac(key []byte, input string) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(input))
	return string(h.Sum(nil))
}

// signature signs by the standard library, so that nothing stands in an attack's way.
func signature(alg string, key crypto.Signer, input string) string {
	message, opts := []byte(input), crypto.SignerOpts(crypto.Hash(0))
	if hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[alg[2:]]; hash != 0 {
		digest := hash.New()
		digest.Write(message)
		message, opts = digest.Sum(nil), hash
		if alg[0] == 'P' {
			opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
		}
	}
	raw, err := key.Sign(rand.Reader, message, opts)
	if err != nil {
		panic(err)
	}
	if public, ok := key.Public().(*ecdsa.PublicKey); ok {
		var points struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(raw, &points); err != nil {
			panic(err)
		}
		raw = rawECDSA(points.R, points.S, (public.Params().BitSize+7)/8)
	}
	return string(raw)
}

func rawECDSA(r, s *big.Int, size int) []byte {
	return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
}

// draft is a token before it is signed.
type draft struct {
	header, claims       map[string]any
	rawHeader, rawClaims string                    // not empty: in place of the maps
	alg                  string                    // to sign with, whatever the header says
	key                  crypto.Signer             // to sign with
	sign                 func(input string) string // in place of alg and key
	after                func(token string) string // changes the finished token
}

func (d *draft) token() string {
	text := func(raw string, m map[string]any) string {
		if raw != "" {
			return raw
		}
		b, err := json.Marshal(m)
		if err != nil {
			panic(err)
		}
		return string(b)
	}
	input := b64(text(d.rawHeader, d.header)) + "." + b64(text(d.rawClaims, d.claims))
	sign := d.sign
	if sign == nil {
		sign = func(input string) string { return signature(d.alg, d.key, input) }
	}
	token := input + "." + b64(sign(input))
	if d.after != nil {
		token = d.after(token)
	}
	return token
}
