package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"strconv"
)

// Sizes of RSA moduli in bits: shorter ones are too weak (RFC 8725 section 3.2), longer ones too dear.
const minRSA, maxRSA = 2048, 16384

type family uint8

const (
	pkcs1 family = iota + 1
	pss
	ecdsaP
	eddsa
)

type algorithm struct {
	family family
	hash   crypto.Hash
	curve  elliptic.Curve // of ECDSA: RFC 7518 section 3.4 ties one to each algorithm
}

func algorithmOf(alg string) (algorithm, bool) {
	switch alg {
	case "RS256":
		return algorithm{family: pkcs1, hash: crypto.SHA256}, true
	case "RS384":
		return algorithm{family: pkcs1, hash: crypto.SHA384}, true
	case "RS512":
		return algorithm{family: pkcs1, hash: crypto.SHA512}, true
	case "PS256":
		return algorithm{family: pss, hash: crypto.SHA256}, true
	case "PS384":
		return algorithm{family: pss, hash: crypto.SHA384}, true
	case "PS512":
		return algorithm{family: pss, hash: crypto.SHA512}, true
	case "ES256":
		return algorithm{ecdsaP, crypto.SHA256, elliptic.P256()}, true
	case "ES384":
		return algorithm{ecdsaP, crypto.SHA384, elliptic.P384()}, true
	case "ES512":
		return algorithm{ecdsaP, crypto.SHA512, elliptic.P521()}, true
	case "EdDSA", "Ed25519": // one algorithm: RFC 9864 section 2.2 gives it a name that tells the curve
		return algorithm{family: eddsa}, true
	}
	return algorithm{}, false
}

// Asymmetric reports whether alg is one of RS/PS/ES 256/384/512 or EdDSA, which RFC 9864 names Ed25519; no other
// curve of EdDSA is known here.
func Asymmetric(alg string) bool {
	_, ok := algorithmOf(alg)
	return ok
}

// CheckKey reports why key can verify no signature here: it is of another kind or curve, or an RSA key of under 2048 or over 16384
// bits, or not a proper one.
func CheckKey(key crypto.PublicKey) error {
	if err := checkShape(key); err != nil {
		return err
	}
	if k, ok := key.(*ecdsa.PublicKey); ok {
		if _, err := k.Bytes(); err != nil {
			return errors.New("an EC key that is no point of its curve")
		}
	}
	return nil
}

// checkShape is CheckKey but for the point, which crypto/ecdsa looks at whenever it verifies.
func checkShape(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k == nil || k.N == nil || k.N.Sign() <= 0 {
			return errors.New("an RSA key without modulus")
		}
		if n := k.N.BitLen(); n < minRSA || n > maxRSA {
			return fmt.Errorf("an RSA key of %d bits; %d to %d are accepted", n, minRSA, maxRSA)
		}
		// E over 31 bits is refused by crypto/rsa as well.
		if k.N.Bit(0) == 0 || k.E < 3 || k.E&1 == 0 || int64(k.E) > 1<<31-1 {
			return errors.New("an RSA key with an even modulus or a bad exponent")
		}
		return nil
	case *ecdsa.PublicKey:
		if k == nil || k.Curve == nil {
			return errors.New("an EC key without curve")
		}
		switch k.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
		default:
			return fmt.Errorf("an EC key on %s; P-256, P-384 and P-521 are accepted", k.Curve.Params().Name)
		}
		return nil
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return fmt.Errorf("an Ed25519 key of %d bytes", len(k))
		}
		return nil
	}
	return fmt.Errorf("a key of type %T; *rsa.PublicKey, *ecdsa.PublicKey and ed25519.PublicKey are accepted", key)
}

// Fits reports whether key, which has passed CheckKey, is of the kind and curve that alg needs.
func Fits(alg string, key crypto.PublicKey) bool {
	a, _ := algorithmOf(alg)
	switch k := key.(type) {
	case *rsa.PublicKey:
		return a.family == pkcs1 || a.family == pss
	case *ecdsa.PublicKey:
		return a.family == ecdsaP && k != nil && k.Curve == a.curve
	case ed25519.PublicKey:
		return a.family == eddsa
	}
	return false
}

// Verify checks the signature with key: *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey; alg is Header.Alg and must fit the key.
// Errors are *Error: "alg", "key" or "signature".
func (t *Token) Verify(key crypto.PublicKey) error {
	a, ok := algorithmOf(t.Header.Alg)
	if !ok {
		return &Error{"alg", "RS, PS or ES with 256, 384 or 512, EdDSA or Ed25519", strconv.Quote(clip(t.Header.Alg))}
	}
	if !Fits(t.Header.Alg, key) {
		return &Error{"key", "one for " + t.Header.Alg, fmt.Sprintf("%T", key)}
	}
	if err := checkShape(key); err != nil {
		return &Error{"key", "one for " + t.Header.Alg, err.Error()}
	}
	if len(t.Signature) == 0 {
		return &Error{"signature", "one by " + t.Header.Alg, "none"}
	}
	if !t.valid(a, key) {
		return &Error{"signature", "one by " + t.Header.Alg + " with the key tried", "another"}
	}
	return nil
}

func (t *Token) valid(a algorithm, key crypto.PublicKey) bool {
	if a.family == eddsa {
		return ed25519.Verify(key.(ed25519.PublicKey), t.input, t.Signature)
	}
	var digest []byte
	switch a.hash { // the sums need no hash.Hash from the heap
	case crypto.SHA256:
		sum := sha256.Sum256(t.input)
		digest = sum[:]
	case crypto.SHA384:
		sum := sha512.Sum384(t.input)
		digest = sum[:]
	case crypto.SHA512:
		sum := sha512.Sum512(t.input)
		digest = sum[:]
	}
	switch a.family {
	case pkcs1:
		return rsa.VerifyPKCS1v15(key.(*rsa.PublicKey), a.hash, digest, t.Signature) == nil
	case pss:
		return rsa.VerifyPSS(key.(*rsa.PublicKey), a.hash, digest, t.Signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	}
	// r and s of exactly the curve's size each (RFC 7518 section 3.4): DER, or a shortened half, is another spelling.
	size := (a.curve.Params().BitSize + 7) / 8
	if len(t.Signature) != 2*size {
		return false
	}
	var space [maxDER]byte
	return ecdsa.VerifyASN1(key.(*ecdsa.PublicKey), digest, der(&space, t.Signature[:size], t.Signature[size:]))
}

// maxDER is the longest signature on P-521, whose r and s have 66 bytes each and may need one more for their sign.
const maxDER = 3 + 2*(2+1+66)

// der spells r and s as crypto/ecdsa takes them: a SEQUENCE of two INTEGERs (RFC 3279 section 2.2.3). Two big.Int and ecdsa.Verify
// come to the same by way of the heap.
func der(space *[maxDER]byte, r, s []byte) []byte {
	body := appendInteger(appendInteger(space[3:3], r), s)
	head := space[1:3]
	if len(body) > 0x7f {
		head = space[:3]
		head[1] = 0x81
	}
	head[0], head[len(head)-1] = 0x30, byte(len(body))
	return space[3-len(head) : 3+len(body)]
}

// appendInteger appends the shortest INTEGER of the unsigned number n.
func appendInteger(to, n []byte) []byte {
	for len(n) > 1 && n[0] == 0 {
		n = n[1:]
	}
	if n[0] < 0x80 {
		to = append(to, 2, byte(len(n)))
	} else {
		to = append(to, 2, byte(len(n)+1), 0) // or it would be negative
	}
	return append(to, n...)
}

// clip keeps a hostile header parameter from filling a log.
func clip(s string) string {
	if len(s) > 32 {
		return s[:32] + "..."
	}
	return s
}
