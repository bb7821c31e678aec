package rptest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // for crypto.Hash.New
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
)

var asymmetricAlgs = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

func asymmetric(alg string) bool { return slices.Contains(asymmetricAlgs, alg) }

func symmetric(alg string) bool { return alg == "HS256" || alg == "HS384" || alg == "HS512" }

// hashOf is the hash of a JWS algorithm. EdDSA over Ed25519 has SHA-512 inside, which at_hash takes over.
func hashOf(alg string) crypto.Hash {
	switch {
	case strings.HasSuffix(alg, "384"):
		return crypto.SHA384
	case strings.HasSuffix(alg, "512"), alg == "EdDSA":
		return crypto.SHA512
	}
	return crypto.SHA256
}

// halfHash is the at_hash or c_hash of value (OpenID Connect Core 3.1.3.6).
func halfHash(alg, value string) string {
	h := hashOf(alg).New()
	h.Write([]byte(value))
	sum := h.Sum(nil)
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

type signingKey struct {
	kid, alg string
	private  crypto.Signer
}

func newKey(alg string) *signingKey {
	k := &signingKey{kid: rand.Text()[:12], alg: alg}
	var err error
	switch alg[:2] {
	case "RS", "PS":
		k.private, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ES":
		curve := map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}[alg]
		k.private, err = ecdsa.GenerateKey(curve, rand.Reader)
	default:
		_, k.private, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		panic("rptest: no key could be made: " + err.Error()) // fixed sizes and a random source which never fails
	}
	return k
}

// sign makes the signature part of a JWS. The parts are put together here, not by go-jose, because a bent header must be signed as it is.
func (k *signingKey) sign(alg, input string) ([]byte, error) {
	hash := hashOf(alg)
	sum := hash.New()
	sum.Write([]byte(input))
	digest := sum.Sum(nil)
	switch private := k.private.(type) {
	case *rsa.PrivateKey:
		if strings.HasPrefix(alg, "PS") {
			return rsa.SignPSS(rand.Reader, private, hash, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		return rsa.SignPKCS1v15(nil, private, hash, digest)
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, private, digest)
		if err != nil {
			return nil, err
		}
		size := (private.Curve.Params().BitSize + 7) / 8
		signature := make([]byte, 2*size)
		r.FillBytes(signature[:size])
		s.FillBytes(signature[size:])
		return signature, nil
	case ed25519.PrivateKey:
		return ed25519.Sign(private, []byte(input)), nil
	}
	return nil, errors.New("rptest: unknown kind of key")
}

func (k *signingKey) publicPEM() []byte {
	der, err := x509.MarshalPKIXPublicKey(k.private.Public())
	if err != nil {
		panic("rptest: " + err.Error()) // every kind that newKey makes can be marshalled
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// seal signs j as its header says; an algorithm unknown here is signed with the provider's own key.
func (p *Provider) seal(j *JWT) string {
	header, err := json.Marshal(j.Header)
	if err != nil {
		panic("rptest: a token's header cannot be JSON: " + err.Error())
	}
	payload := []byte(j.Payload)
	if j.Payload == "" {
		if payload, err = json.Marshal(j.Claims); err != nil {
			panic("rptest: a token's claims cannot be JSON: " + err.Error())
		}
	}
	b64 := base64.RawURLEncoding
	input := b64.EncodeToString(header) + "." + b64.EncodeToString(payload)
	alg, _ := j.Header["alg"].(string)
	var signature []byte
	switch {
	case alg == "none":
	case symmetric(alg):
		mac := hmac.New(hashOf(alg).New, j.secret)
		mac.Write([]byte(input))
		signature = mac.Sum(nil)
	case asymmetric(alg):
		signature, err = p.keys.key(alg).sign(alg, input)
	default:
		signature, err = p.keys.key(p.opts.SigningAlg).sign(p.opts.SigningAlg, input)
	}
	if err != nil {
		panic("rptest: signing failed: " + err.Error())
	}
	compact := input + "." + b64.EncodeToString(signature)
	if j.After != nil {
		compact = j.After(compact)
	}
	return compact
}
