// Command keyserver is a provider that does nothing but issue access tokens (RFC 9068) and publish its keys, which lie in a file: killed at any
// moment and started again it is the same provider. It prints one line of JSON, {"issuer"}, and serves until its standard input ends.
//
// POST /token answers with a token for the form's client_id and resource. POST /rotate signs with a new key; the one before stays published until
// the next rotation, and with hard=1 none does. Both say the key's kid.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

func main() {
	address := flag.String("address", "127.0.0.1:0", "where to listen")
	state := flag.String("state", "", "file of the keys")
	flag.Parse()
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	if err := run(*address, *state); err != nil {
		fmt.Fprintln(os.Stderr, "keyserver:", err)
		os.Exit(1)
	}
}

func run(address, state string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	s := &server{issuer: "http://" + listener.Addr().String(), file: state}
	if err := s.load(); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", s.metadata)
	mux.HandleFunc("GET /jwks", s.jwks)
	mux.HandleFunc("POST /token", s.token)
	mux.HandleFunc("POST /rotate", s.rotate)
	answer(os.Stdout, map[string]string{"issuer": s.issuer})
	return http.Serve(listener, mux)
}

// server's keys are the file's: the first signs.
type server struct {
	issuer, file string
	mu           sync.Mutex
	keys         jose.JSONWebKeySet
}

func (s *server) load() error {
	raw, err := os.ReadFile(s.file)
	if errors.Is(err, os.ErrNotExist) {
		_, err := s.add(true)
		return err
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, &s.keys)
}

// add makes the key that signs from now on. It lies in the file before anybody sees it.
func (s *server) add(hard bool) (kid string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	alg := jose.ES256
	if len(s.keys.Keys) > 0 {
		turn := []string{string(jose.ES256), string(jose.RS256), string(jose.EdDSA)}
		alg = jose.SignatureAlgorithm(turn[(slices.Index(turn, s.keys.Keys[0].Algorithm)+1)%len(turn)])
	}
	private, err := newKey(alg)
	if err != nil {
		return "", err
	}
	keys := []jose.JSONWebKey{{Key: private, KeyID: rand.Text()[:12], Algorithm: string(alg), Use: "sig"}}
	if !hard {
		keys = append(keys, s.keys.Keys[:min(1, len(s.keys.Keys))]...)
	}
	next := jose.JSONWebKeySet{Keys: keys}
	raw, err := json.Marshal(next)
	if err != nil {
		return "", err
	}
	if err := errors.Join(os.WriteFile(s.file+".new", raw, 0o600), os.Rename(s.file+".new", s.file)); err != nil {
		return "", err
	}
	s.keys = next
	return keys[0].KeyID, nil
}

func newKey(alg jose.SignatureAlgorithm) (crypto.Signer, error) {
	switch alg {
	case jose.RS256:
		return rsa.GenerateKey(rand.Reader, 2048)
	case jose.EdDSA:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func (s *server) metadata(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "max-age=2")
	answer(w, map[string]any{
		"issuer": s.issuer, "jwks_uri": s.issuer + "/jwks", "token_endpoint": s.issuer + "/token",
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"},
	})
}

func (s *server) jwks(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var public jose.JSONWebKeySet
	for _, k := range s.keys.Keys {
		public.Keys = append(public.Keys, k.Public())
	}
	w.Header().Set("Cache-Control", "max-age=2")
	answer(w, public)
}

func (s *server) token(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	key := s.keys.Keys[0]
	s.mu.Unlock()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(key.Algorithm), Key: key}, new(jose.SignerOptions).WithType("at+jwt"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	now := time.Now().Unix()
	token, err := jwt.Signed(signer).Claims(map[string]any{
		"iss": s.issuer, "aud": r.FormValue("resource"), "client_id": r.FormValue("client_id"), "sub": r.FormValue("client_id"),
		"jti": rand.Text(), "iat": now, "exp": now + 300, "scope": "orders:read",
	}).Serialize()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 300, "kid": key.KeyID})
}

func (s *server) rotate(w http.ResponseWriter, r *http.Request) {
	kid, err := s.add(r.FormValue("hard") == "1")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer(w, map[string]string{"kid": kid})
}

func answer(w io.Writer, v any) {
	if h, ok := w.(http.ResponseWriter); ok {
		h.Header().Set("Content-Type", "application/json")
	}
	json.NewEncoder(w).Encode(v)
}
