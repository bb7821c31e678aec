package session

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"log/slog"
)

const (
	sealVersion  = 1
	keyIDLength  = 4
	sealHeader   = 1 + keyIDLength
	sealOverhead = sealHeader + 12 + 16 // version, key id, nonce, tag
	minKeyLength = 32
)

// sealer is authenticated encryption under rotating keys for one purpose (session record, attempt, last-seen, logout): AES-256-GCM with random nonces,
// under a key derived by HKDF-SHA-256 from each master key and the purpose, so that nothing sealed for one purpose opens for another.
//
// A random nonce may repeat: below 2^32 messages under one key the odds stay under 2^-32 (NIST SP 800-38D, 8.3). Keys must be rotated before that:
// a site that seals 100 values a second every second gets there in 16 months. Without randomness the process ends (crypto/rand): nothing is sealed under a weak nonce.
//
// A sealer is safe for concurrent use.
type sealer struct{ derived[sealKey] }

// sealKey has an id so that the right key is found without trying each: it comes from another HKDF output, so it says nothing about the key.
type sealKey struct {
	id   [keyIDLength]byte
	aead cipher.AEAD
}

// newSealer derives the keys of ring for one purpose of one owner; the owner may be empty.
func newSealer(ring *Keyring, owner, purpose string) (*sealer, error) {
	s := &sealer{}
	return s, s.derive(ring, func(master []byte) (key sealKey, err error) {
		if master, err = ownedBy(owner, master); err != nil {
			return key, err
		}
		return deriveKey(master, purpose)
	})
}

// sealers makes several at once.
func sealers(ring *Keyring, owner string, made map[string]**sealer) error {
	for purpose, to := range made {
		var err error
		if *to, err = newSealer(ring, owner, purpose); err != nil {
			return err
		}
	}
	return nil
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

// seal appends version, key id, nonce and ciphertext of plain to dst; bound is authenticated too (the cookie's name).
func (s *sealer) seal(dst, plain []byte, bound string) []byte {
	return s.sealBound(dst, plain, []byte(bound))
}

// sealBound is seal for callers that keep bound as bytes, which saves them a copy.
func (s *sealer) sealBound(dst, plain, bound []byte) []byte {
	key := &s.all()[0]
	dst = append(dst, sealVersion)
	dst = append(dst, key.id[:]...)
	return key.aead.Seal(dst, nil, plain, bound)
}

// open appends the plaintext to dst. Unknown key ids and anything altered: errNoRecord.
func (s *sealer) open(dst, sealed []byte, bound string) ([]byte, error) {
	return s.openBound(dst, sealed, []byte(bound))
}

// openBound is open for callers that keep bound as bytes.
func (s *sealer) openBound(dst, sealed, bound []byte) ([]byte, error) {
	if len(sealed) < sealOverhead || sealed[0] != sealVersion {
		return nil, errNoRecord
	}
	keys := s.all()
	for i := range keys {
		// Two keys can share an id by chance, so a match that doesn't open isn't the last word.
		if string(sealed[1:sealHeader]) != string(keys[i].id[:]) {
			continue
		}
		if plain, err := keys[i].aead.Open(dst, nil, sealed[sealHeader:], bound); err == nil {
			return plain, nil
		}
	}
	return nil, errNoRecord
}

// knows reports whether sealed names one of the keys, to tell a retired key from an altered value.
func (s *sealer) knows(sealed []byte) bool {
	if len(sealed) < sealOverhead || sealed[0] != sealVersion {
		return false
	}
	keys := s.all()
	for i := range keys {
		if string(sealed[1:sealHeader]) == string(keys[i].id[:]) {
			return true
		}
	}
	return false
}

// String tells the number of keys.
func (s *sealer) String() string { return fmt.Sprintf("session.sealer(%d keys)", len(s.all())) }

// GoString is String.
func (s *sealer) GoString() string { return s.String() }

// LogValue is String.
func (s *sealer) LogValue() slog.Value { return slog.StringValue(s.String()) }
