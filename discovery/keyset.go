package discovery

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/latchkey-go/latchkey/internal/jws"
)

// maxTries bounds the keys tried for one token: many keys without kid must not make every false token dear.
const maxTries = 32

// KeySet verifies signatures with the provider's published keys. It is go-oidc's oidc.KeySet and safe for concurrent use.
// The zero KeySet accepts nothing; Provider.KeySet makes one.
//
// The keys are chosen by kid, key type, curve and alg, so that a token never decides how it is checked. jku, x5u and x5c in a
// token's header are not looked at, and a token with jwk, crit or b64 is refused.
type KeySet struct {
	provider *Provider
	algs     []string
}

// KeySet returns a view of the provider's keys which accepts the given algorithms only; none given means every asymmetric one
// known here: RS, PS and ES with 256, 384 and 512, and EdDSA with Ed25519. Other names, such as none and HS256, are never accepted.
func (p *Provider) KeySet(algs ...string) *KeySet {
	if len(algs) == 0 {
		algs = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
	}
	return &KeySet{provider: p, algs: slices.Clone(algs)}
}

// VerifySignature checks the compact JWS jwt and returns its payload. Errors: *SignatureError, or one that is ErrUnavailable.
//
// A kid the key set lacks, or a token without kid that no key verifies, has the set fetched again: at most twice, and then once in
// Config.Cooldown for all callers together. A caller that has to wait for that leaves when its ctx ends. A bad signature
// under a known kid costs no fetch.
func (k *KeySet) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	t, err := jws.Parse(jwt)
	if err != nil {
		return nil, signatureError(err)
	}
	if _, err := k.Check(ctx, t, nil); err != nil {
		return nil, err
	}
	return t.Payload, nil
}

// Turn bounds the signatures that are checked at once: it is called before each check, and what it returns after it. While keys are
// fetched no turn is held. An error refuses the check.
type Turn func(ctx context.Context) (done func(), err error)

// Check is VerifySignature for the packages of this module that have parsed the token themselves. It says which key verified the
// token, so that a result that is kept can end with its key. turn may be nil. Errors: those of VerifySignature and of turn.
func (k *KeySet) Check(ctx context.Context, t *jws.Token, turn Turn) (*PublishedKey, error) {
	if k == nil || k.provider == nil || k.provider.keys == nil {
		return nil, &SignatureError{Check: "alg", Want: "a KeySet made by Provider.KeySet", Got: "an empty one, which accepts nothing"}
	}
	if alg := t.Header.Alg; !jws.Asymmetric(alg) || !slices.Contains(k.algs, alg) {
		return nil, &SignatureError{Check: "alg", Want: strings.Join(k.algs, " or "), Got: quote(alg)}
	}
	if static := k.provider.static; static != nil {
		key, _, err := static.verify(ctx, t, turn)
		return key, err
	}
	doc := k.provider.keys
	since := doc.started.Load()
	s, err := doc.get(ctx)
	if err != nil {
		return nil, err
	}
	for final := false; ; {
		key, unknown, err := s.value.verify(ctx, t, turn)
		if err == nil || !unknown || final {
			return key, err
		}
		if s, final, err = doc.newer(ctx, s, since); err != nil {
			return nil, err
		}
	}
}

// verify tries the keys that fit t. unknown: a key we have not seen yet might verify it.
func (s *keys) verify(ctx context.Context, t *jws.Token, turn Turn) (verified *PublishedKey, unknown bool, err error) {
	h := &t.Header
	candidates := s.all
	if h.Kid != "" {
		if candidates = s.byID[h.Kid]; len(candidates) == 0 {
			return nil, true, &SignatureError{Check: "kid", Want: "the kid of a published key", Got: quote(h.Kid)}
		}
	}
	var refused *SignatureError
	tries := 0
	for _, key := range candidates {
		if !key.fits(h.Alg) {
			continue
		}
		if tries == 0 && turn != nil {
			done, err := turn(ctx)
			if err != nil {
				return nil, false, err
			}
			defer done()
		}
		err := t.Verify(key.public)
		if err == nil {
			return key, false, nil
		}
		refused = signatureError(err)
		if tries++; tries == maxTries {
			break
		}
	}
	if refused == nil {
		refused = &SignatureError{Check: "key", Want: "a key for " + h.Alg, Got: "none that fits"}
		if h.Kid != "" {
			refused.Got = "none that fits under kid " + quote(h.Kid)
		}
	}
	return nil, h.Kid == "", refused
}

func signatureError(err error) *SignatureError {
	if e, ok := errors.AsType[*jws.Error](err); ok {
		return &SignatureError{Check: e.Check, Want: e.Want, Got: e.Got}
	}
	return &SignatureError{Check: "signature", Got: err.Error()}
}
