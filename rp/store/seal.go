package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
)

const (
	sealVersion  = 1
	keyIDLength  = 4
	sealHeader   = 1 + keyIDLength
	minKeyLength = 32
)

// Overhead is how much longer than its plaintext a sealed value is, in bytes: version, key id, nonce, tag.
const Overhead = sealHeader + 12 + 16

// Sealer is authenticated encryption under rotating keys for one purpose (session record, attempt, last-seen, logout): AES-256-GCM with random nonces,
// under a key derived by HKDF-SHA-256 from each master key and the purpose, so that nothing sealed for one purpose opens for another.
//
// A random nonce may repeat: below 2^32 messages under one key the odds stay under 2^-32 (NIST SP 800-38D, 8.3). Keys must be rotated before that:
// a site that seals 100 values a second every second gets there in 16 months. Without randomness the process ends (crypto/rand): nothing is sealed under a weak nonce.
//
// A Sealer is safe for concurrent use. The zero Sealer opens nothing, and its Seal panics.
type Sealer struct{ keys *derived[sealKey] }

// sealKey has an id so that the right key is found without trying each: it comes from another HKDF output, so it says nothing about the key.
type sealKey struct {
	id   [keyIDLength]byte
	aead cipher.AEAD
}

// Sealer returns one for the values of one purpose, which another purpose or another owner can't open. The owner may be empty; name one where
// several could share the keys (an issuer and a client id). The error is that k is empty.
func (k *Keyring) Sealer(owner, purpose string) (*Sealer, error) {
	keys, err := derive(k, func(master []byte) (key sealKey, err error) {
		if master, err = ownedBy(owner, master); err != nil {
			return key, err
		}
		return deriveKey(master, purpose)
	})
	if err != nil {
		return nil, err
	}
	return &Sealer{keys}, nil
}

func checkKey(i int, master []byte) error {
	if len(master) < minKeyLength {
		return fmt.Errorf("key %d has %d bytes: use at least %d random ones (crypto/rand)", i, len(master), minKeyLength)
	}
	for _, b := range master {
		if b != master[0] {
			return nil
		}
	}
	return fmt.Errorf("key %d is one byte repeated: use %d random bytes (crypto/rand)", i, minKeyLength)
}

func deriveKey(master []byte, purpose string) (key sealKey, err error) {
	root, err := hkdf.Extract(sha256.New, master, nil)
	if err != nil {
		return key, err
	}
	secret, err := hkdf.Expand(sha256.New, root, "latchkey v1 key: "+purpose, 32)
	if err != nil {
		return key, err
	}
	id, err := hkdf.Expand(sha256.New, root, "latchkey v1 id: "+purpose, keyIDLength)
	if err != nil {
		return key, err
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return key, err
	}
	copy(key.id[:], id)
	key.aead, err = cipher.NewGCMWithRandomNonce(block)
	return key, err
}

// Seal appends version, key id, nonce and ciphertext of plain to dst; bound is authenticated too: where the value belongs (a cookie's name, a key).
// It panics on a zero Sealer, which has no key: there is nothing safe to return.
func (s *Sealer) Seal(dst, plain, bound []byte) []byte {
	keys := s.keys.all()
	if len(keys) == 0 {
		panic(errEmptySealer)
	}
	key := &keys[0]
	dst = append(dst, sealVersion)
	dst = append(dst, key.id[:]...)
	return key.aead.Seal(dst, nil, plain, bound)
}

// Open appends the plaintext to dst. Unknown keys and anything altered: ErrSealed.
func (s *Sealer) Open(dst, sealed, bound []byte) ([]byte, error) {
	if len(sealed) < Overhead || sealed[0] != sealVersion {
		return nil, ErrSealed
	}
	keys := s.keys.all()
	for i := range keys {
		// Two keys can share an id by chance, so a match that doesn't open isn't the last word.
		if string(sealed[1:sealHeader]) != string(keys[i].id[:]) {
			continue
		}
		if plain, err := keys[i].aead.Open(dst, nil, sealed[sealHeader:], bound); err == nil {
			return plain, nil
		}
	}
	return nil, ErrSealed
}

// Knows reports whether sealed names one of the keys, to tell a retired key from an altered value.
func (s *Sealer) Knows(sealed []byte) bool {
	if len(sealed) < Overhead || sealed[0] != sealVersion {
		return false
	}
	keys := s.keys.all()
	for i := range keys {
		if string(sealed[1:sealHeader]) == string(keys[i].id[:]) {
			return true
		}
	}
	return false
}

var errEmptySealer = errors.New("store: an empty Sealer: make it with Keyring.Sealer or Keyring.SecretSealer")

// ErrSealed is the error of Open.
var ErrSealed = errors.New("store: it does not open: altered, cut short, of another place, or sealed under a key this process has not")

// Len returns how many keys there are now.
func (s *Sealer) Len() int { return len(s.keys.all()) }

// String tells the number of keys.
func (s *Sealer) String() string { return fmt.Sprintf("store.Sealer(%d keys)", len(s.keys.all())) }

// GoString is String.
func (s *Sealer) GoString() string { return s.String() }

// LogValue is String.
func (s *Sealer) LogValue() slog.Value { return slog.StringValue(s.String()) }
