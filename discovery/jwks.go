package discovery

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/internal/jws"
	"github.com/latchkey-go/latchkey/internal/strictjson"
)

// maxKeys is how many keys a set may list; no honest provider comes near.
const maxKeys = 1000

// keys is a set of published keys, never changed once it is in use.
type keys struct {
	all  []*PublishedKey
	byID map[string][]*PublishedKey // several keys may share a kid (RFC 7517 section 4.5)
}

func (s *keys) add(k *PublishedKey) {
	s.all = append(s.all, k)
	s.byID[k.id] = append(s.byID[k.id], k)
}

// fetchKeys gets the key set from where the metadata says it is.
func (p *Provider) fetchKeys(ctx context.Context) (*keys, time.Duration, error) {
	m, err := p.Metadata(ctx)
	if err != nil {
		return nil, 0, err
	}
	resp, err := p.getJSON(ctx, m.JWKSURI, "application/jwk-set+json, application/json")
	if err != nil {
		if errors.Is(err, errNotFound) {
			err = &UnavailableError{URL: name(m.JWKSURI), Err: errors.New("it answered 404 Not Found")}
		}
		return nil, 0, err
	}
	set, passed, err := parseKeys(resp.Body)
	if err != nil {
		return nil, 0, &UnavailableError{URL: name(m.JWKSURI), Err: err}
	}
	if len(passed) > 0 {
		p.cfg.Logger.LogAttrs(ctx, slog.LevelDebug, "discovery: keys passed over", slog.String("url", name(m.JWKSURI)),
			slog.Int("used", len(set.all)), slog.Int("passed_over", len(passed)), slog.Any("reasons", passed[:min(len(passed), 10)]))
	}
	return set, p.lifetime(resp.Header), nil
}

// parseKeys reads a JWK Set key by key (RFC 7517 section 5): one that is unknown, broken or for another use is passed over and
// costs no other. A set without any key to use is an error, so that it replaces nothing.
func parseKeys(raw []byte) (set *keys, passed []string, err error) {
	members, err := strictjson.Object(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("the key set is refused: %w", err)
	}
	var list []json.RawMessage
	if err := json.Unmarshal(members["keys"], &list); err != nil || members["keys"] == nil {
		return nil, nil, errors.New("the key set has no array \"keys\"")
	}
	if len(list) > maxKeys {
		return nil, nil, fmt.Errorf("the key set has %d keys, more than %d", len(list), maxKeys)
	}
	set = &keys{byID: map[string][]*PublishedKey{}}
	for _, raw := range list {
		k, err := parseKey(raw)
		if err != nil {
			passed = append(passed, err.Error())
			continue
		}
		set.add(k)
	}
	if len(set.all) == 0 {
		why := "it is empty"
		if len(passed) > 0 {
			why = fmt.Sprintf("all %d are passed over, the first because %s", len(passed), passed[0])
		}
		return nil, nil, errors.New("the key set has no key that verifies signatures: " + why)
	}
	return set, passed, nil
}

// jwk is a key as RFC 7517, RFC 7518 section 6 and RFC 8037 section 2 write it. x5c and x5u are not looked at: the trust is in
// the issuer's own document.
type jwk struct {
	Kty    string   `json:"kty"`
	Kid    string   `json:"kid"`
	Use    string   `json:"use"`
	KeyOps []string `json:"key_ops"`
	Alg    string   `json:"alg"`
	Crv    string   `json:"crv"`
	N      string   `json:"n"`
	E      string   `json:"e"`
	X      string   `json:"x"`
	Y      string   `json:"y"`
	Issuer string   `json:"issuer"` // whose tokens it signs, in a set of many tenants (Microsoft Entra)

	D any `json:"d"` // private
	K any `json:"k"` // symmetric
}

func parseKey(raw json.RawMessage) (*PublishedKey, error) {
	var j jwk
	if err := strictjson.Unmarshal(raw, &j); err != nil {
		return nil, errors.New("a key is no proper JWK")
	}
	switch {
	case j.D != nil || j.K != nil:
		return nil, errors.New("a key is private or symmetric and should not be published")
	case j.Use != "" && j.Use != "sig":
		return nil, fmt.Errorf("a key is for use %s", quote(j.Use))
	case j.KeyOps != nil && !slices.Contains(j.KeyOps, "verify"):
		return nil, errors.New("a key is not for verifying (key_ops)")
	case j.Alg != "" && !jws.Asymmetric(j.Alg):
		return nil, fmt.Errorf("a key is for algorithm %s", quote(j.Alg))
	}
	public, err := j.public()
	if err != nil {
		return nil, err
	}
	if err := jws.CheckKey(public); err != nil {
		return nil, err
	}
	if j.Alg != "" && !jws.Fits(j.Alg, public) {
		return nil, fmt.Errorf("a key's alg %s does not fit its kty or crv", quote(j.Alg))
	}
	return &PublishedKey{id: j.Kid, alg: j.Alg, issuer: j.Issuer, public: public}, nil
}

func (j *jwk) public() (crypto.PublicKey, error) {
	switch j.Kty {
	case "RSA":
		n, err1 := octets(j.N)
		e, err2 := octets(j.E)
		exponent := new(big.Int).SetBytes(e)
		if err1 != nil || err2 != nil || exponent.BitLen() > 31 {
			return nil, errors.New("an RSA key is broken")
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent.Int64())}, nil
	case "EC":
		return j.ec()
	case "OKP":
		x, err := octets(j.X)
		if err != nil || j.Crv != "Ed25519" {
			return nil, fmt.Errorf("an OKP key is on the unknown curve %s or broken", quote(j.Crv))
		}
		return ed25519.PublicKey(x), nil
	}
	return nil, fmt.Errorf("a key is of the unknown type %s", quote(j.Kty))
}

func (j *jwk) ec() (crypto.PublicKey, error) {
	curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[j.Crv]
	if curve == nil {
		return nil, fmt.Errorf("an EC key is on the unknown curve %s", quote(j.Crv))
	}
	x, err1 := octets(j.X)
	y, err2 := octets(j.Y)
	size := (curve.Params().BitSize + 7) / 8
	// Both halves are of full length, leading zeros included (RFC 7518 section 6.2.1.2).
	if err1 != nil || err2 != nil || len(x) != size || len(y) != size {
		return nil, errors.New("an EC key is broken")
	}
	public, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, errors.New("an EC key is no point of its curve")
	}
	return public, nil
}

// octets reads base64url; padding, which some providers add, changes nothing.
func octets(s string) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
	if err == nil && len(b) == 0 {
		err = errors.New("empty")
	}
	return b, err
}
