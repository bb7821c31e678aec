package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
)

// SecretSealer is a Sealer whose values open only with a secret of the caller's as well, which is kept elsewhere: with a browser, say. Whoever has the
// keys and the values then still opens nothing. The zero SecretSealer opens and seals nothing. It is safe for concurrent use.
type SecretSealer struct{ roots *derived[secretRoot] }

// secretRoot makes the keys of values: one for each secret.
type secretRoot struct {
	id   [keyIDLength]byte
	root []byte
}

// SecretSealer returns one for the values of one purpose. The error is that k is empty.
func (k *Keyring) SecretSealer(purpose string) (*SecretSealer, error) {
	roots, err := derive(k, func(master []byte) (root secretRoot, err error) {
		key, err := deriveKey(master, purpose)
		if err != nil {
			return root, err
		}
		root.id = key.id
		root.root, err = hkdf.Extract(sha256.New, master, []byte("latchkey v1 "+purpose))
		return root, err
	})
	if err != nil {
		return nil, err
	}
	return &SecretSealer{roots}, nil
}

// aead has a key that nothing else is sealed under, so random nonces can't run out.
func (r *secretRoot) aead(secret []byte) (cipher.AEAD, error) {
	key, err := hkdf.Expand(sha256.New, r.root, string(secret), 32)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return aead, nil
}

// Seal seals plain; bound is authenticated too.
func (s *SecretSealer) Seal(plain, bound, secret []byte) ([]byte, error) {
	roots := s.roots.all()
	if len(roots) == 0 {
		return nil, errEmptySealer
	}
	root := &roots[0]
	aead, err := root.aead(secret)
	if err != nil {
		return nil, err
	}
	sealed := append(make([]byte, 0, len(plain)+Overhead), sealVersion)
	sealed = append(sealed, root.id[:]...)
	return aead.Seal(sealed, nil, plain, bound), nil
}

// Open returns the plaintext. Unknown keys, another secret and anything altered: ErrSealed.
func (s *SecretSealer) Open(sealed, bound, secret []byte) ([]byte, error) {
	if len(sealed) < Overhead || sealed[0] != sealVersion {
		return nil, ErrSealed
	}
	roots := s.roots.all()
	for i := range roots {
		if string(sealed[1:sealHeader]) != string(roots[i].id[:]) {
			continue
		}
		aead, err := roots[i].aead(secret)
		if err != nil {
			return nil, err
		}
		if plain, err := aead.Open(nil, nil, sealed[sealHeader:], bound); err == nil {
			return plain, nil
		}
	}
	return nil, ErrSealed
}

// String tells the number of keys.
func (s *SecretSealer) String() string {
	return fmt.Sprintf("store.SecretSealer(%d keys)", len(s.roots.all()))
}

// GoString is String.
func (s *SecretSealer) GoString() string { return s.String() }
