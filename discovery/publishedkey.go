package discovery

import (
	"crypto"
	"sync/atomic"
	"time"

	"github.com/latchkey-go/latchkey/internal/jws"
)

// PublishedKey is a key that has verified a signature. It is safe for concurrent use.
//
// It stays the same through every renewal of the set that lists it again with the same kid, alg and material, so that whatever was
// verified with it can be kept as long as it lives, and no longer.
type PublishedKey struct {
	id     string // kid; empty: none
	alg    string // empty: any that fits
	issuer string // empty: the provider's
	public crypto.PublicKey

	until atomic.Int64 // nanoseconds since 1970
}

// ID is its kid, empty for a key without.
func (k *PublishedKey) ID() string { return k.id }

// Issuer is whose tokens the key signs, where the set says so for each key: Microsoft Entra's sets of many tenants do, with
// {tenantid} in the place of a tenant. Empty: the set's own issuer.
func (k *PublishedKey) Issuer() string { return k.issuer }

// Live reports whether the key still verifies at now: it has not left the published set, and the set is not older than Config.MaxStale
// allows. Static keys live for ever.
func (k *PublishedKey) Live(now time.Time) bool { return now.UnixNano() < k.until.Load() }

func (k *PublishedKey) fits(alg string) bool {
	if k.alg != "" && k.alg != alg && !(edwards(k.alg) && edwards(alg)) {
		return false
	}
	return jws.Fits(alg, k.public)
}

// edwards knows both names of one algorithm: RFC 8037's, and RFC 9864's which names the curve too.
func edwards(alg string) bool { return alg == "EdDSA" || alg == "Ed25519" }

func (k *PublishedKey) same(other *PublishedKey) bool {
	public, ok := k.public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.id == other.id && k.alg == other.alg && k.issuer == other.issuer && public.Equal(other.public)
}

// succeedKeys lets the keys that are listed again live on, and ends the others, before the new set is published: a result kept for
// a withdrawn key must not outlive the moment we know of it.
func succeedKeys(old, next *snapshot[*keys]) {
	ended := map[*PublishedKey]bool{}
	if old != nil {
		for _, k := range old.value.all {
			ended[k] = true
		}
		next.value.inherit(old.value, ended)
	}
	for _, k := range next.value.all {
		k.until.Store(next.stale.UnixNano())
	}
	for k := range ended {
		k.until.Store(0)
	}
}

// inherit puts old's keys in the place of equal ones and strikes them off ended.
func (s *keys) inherit(old *keys, ended map[*PublishedKey]bool) {
	for i, k := range s.all {
		for _, known := range old.byID[k.id] {
			if known.same(k) {
				s.all[i] = known
				delete(ended, known)
				break
			}
		}
	}
	clear(s.byID)
	for _, k := range s.all {
		s.byID[k.id] = append(s.byID[k.id], k)
	}
}
