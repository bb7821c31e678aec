package bench

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/go-jose/go-jose/v4"
)

const audience = "https://api.example"

// application is what a handler reads of a token.
type application struct {
	Email  string   `json:"email"`
	Groups []string `json:"groups"`
	Plan   string   `json:"plan"`
}

// issuer publishes one key over HTTP and signs with it.
type issuer struct {
	url, alg string
	key      crypto.Signer
}

func newIssuer(tb testing.TB, alg string) *issuer {
	tb.Helper()
	is := &issuer{alg: alg}
	var err error
	switch alg {
	case "ES256":
		is.key, err = ecdsa.GenerateKey(elliptic.P256(), random)
	case "EdDSA":
		_, is.key, err = ed25519.GenerateKey(random)
	default:
		is.key, err = rsa.GenerateKey(random, 2048)
	}
	if err != nil {
		tb.Fatal(err)
	}
	mux := http.NewServeMux()
	reply := func(v any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(v)
		}
	}
	server := httptest.NewServer(mux)
	tb.Cleanup(server.Close)
	is.url = server.URL + "/"
	mux.Handle("/keys", reply(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: is.key.Public(), KeyID: "key-1", Algorithm: alg, Use: "sig"}}}))
	mux.Handle("/.well-known/openid-configuration", reply(map[string]any{
		"issuer": is.url, "jwks_uri": is.url + "keys", "authorization_endpoint": is.url + "authorize", "token_endpoint": is.url + "token",
		"id_token_signing_alg_values_supported": []string{alg}, "response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
	}))
	return is
}

// token is of about 1.2 KB, 760 bytes of claims, as providers issue them.
func (is *issuer) token(change func(map[string]any)) string {
	now := time.Now().Unix()
	claims := map[string]any{
		"iss": is.url, "aud": audience, "sub": "f7d2b9c1-6c0e-4b0a-9d0e-2f1a6d1f3b77", "client_id": "shop-frontend", "jti": "0d3f1e1c-1f0b-4b5c-9a55-6f1f0a5be0c1",
		"iat": now, "nbf": now, "exp": now + 3600, "auth_time": now - 60, "acr": "1", "amr": []string{"pwd", "otp"}, "sid": "5f1d7a84-7db7-4d92-8a0f-3c1d9f6f0a11",
		"scope": "openid profile email orders:read orders:write", "email": "alice@example.com", "email_verified": true, "name": "Alice Archer",
		"preferred_username": "alice", "given_name": "Alice", "family_name": "Archer", "locale": "en-GB", "plan": "professional",
		"groups": []string{"engineering", "on-call", "administrators"}, "realm_access": map[string]any{"roles": []string{"offline_access", "uma_authorization", "editor"}},
	}
	if change != nil {
		change(claims)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	input := encode([]byte(`{"alg":"`+is.alg+`","typ":"at+jwt","kid":"key-1"}`)) + "." + encode(payload)
	return input + "." + encode(is.sign(input))
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func (is *issuer) sign(input string) []byte {
	sum := sha256.Sum256([]byte(input))
	var sig []byte
	var err error
	switch key := is.key.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(key, []byte(input))
	case *ecdsa.PrivateKey:
		var r, s *big.Int
		if r, s, err = ecdsa.Sign(random, key, sum[:]); err == nil {
			sig = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		}
	case *rsa.PrivateKey:
		if is.alg == "PS256" {
			sig, err = rsa.SignPSS(random, key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			sig, err = rsa.SignPKCS1v15(random, key, crypto.SHA256, sum[:])
		}
	}
	if err != nil {
		panic(err)
	}
	return sig
}

// bare is the least any verifier does: one hash and one signature check.
func (is *issuer) bare(raw string) func() error {
	dot := strings.LastIndexByte(raw, '.')
	input := []byte(raw[:dot])
	sig, err := base64.RawURLEncoding.DecodeString(raw[dot+1:])
	if err != nil {
		panic(err)
	}
	bad := errors.New("the signature is another's")
	judge := func(ok bool) error {
		if !ok {
			return bad
		}
		return nil
	}
	switch public := is.key.Public().(type) {
	case ed25519.PublicKey:
		return func() error { return judge(ed25519.Verify(public, input, sig)) }
	case *ecdsa.PublicKey:
		r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
		return func() error {
			sum := sha256.Sum256(input)
			return judge(ecdsa.Verify(public, sum[:], r, s))
		}
	case *rsa.PublicKey:
		if is.alg == "PS256" {
			return func() error {
				sum := sha256.Sum256(input)
				return rsa.VerifyPSS(public, crypto.SHA256, sum[:], sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
			}
		}
		return func() error {
			sum := sha256.Sum256(input)
			return rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], sig)
		}
	}
	panic("no such key")
}

// hash without a copy, as the verifier does it.
func hash(raw string) [32]byte { return sha256.Sum256(unsafe.Slice(unsafe.StringData(raw), len(raw))) }
