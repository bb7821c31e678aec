package bearer

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"time"
	"unsafe"

	"github.com/latchkey-go/latchkey/discovery"
	"github.com/latchkey-go/latchkey/internal/jws"
)

// Verifier verifies the access tokens of one API. It is safe for concurrent use, and there is nothing to close. New makes one.
type Verifier struct {
	cfg     Config
	issuers *issuers
	cache   *cache // nil: off
	turns   *turns
	realm   string // of challenges, quoted
	about   *about // nil: Config.Resource is
}

// New checks cfg and does no I/O, so that a provider that is down never stops a program from starting.
func New(cfg Config) (*Verifier, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	v := &Verifier{cfg: cfg, turns: newTurns(cfg.MaxVerifying)}
	var err error
	if v.issuers, err = newIssuers(&v.cfg); err != nil {
		return nil, err
	}
	if v.realm, err = quotedString(cfg.Realm); err != nil {
		return nil, errors.New("bearer: Config.Realm has characters that a header can't carry")
	}
	if v.about, err = newAbout(&v.cfg); err != nil {
		return nil, err
	}
	if !cfg.Cache.Off {
		v.cache = newCache(cfg.Cache.MaxEntries, cfg.Cache.MaxBytes)
	}
	return v, nil
}

// Verify checks a token as it came from its client and returns what it says. It is what Handler does, for other transports than HTTP.
// Errors: *TokenError, which is ErrInvalidToken; ErrUnavailable and ErrBusy, which say nothing against the token; Failure tells them apart.
func (v *Verifier) Verify(ctx context.Context, raw string) (*Token, error) {
	if len(raw) > jws.MaxToken {
		return nil, &TokenError{Check: "size", Want: "at most 16 KiB", Got: "more"}
	}
	// Safe, because the hash only reads them: a copy of the token would cost a tenth of a hit.
	sum := sha256.Sum256(unsafe.Slice(unsafe.StringData(raw), len(raw)))
	now := time.Now()
	t := v.cache.get(&sum, now)
	if t == nil {
		var err error
		if t, err = v.verify(ctx, raw, &sum, now); err != nil {
			return nil, err
		}
	}
	if v.cfg.Revoked == nil {
		return t, nil
	}
	switch revoked, err := v.cfg.Revoked(ctx, t); {
	case err != nil:
		return nil, &discovery.UnavailableError{URL: "Config.Revoked", Err: err}
	case revoked:
		return nil, ErrRevoked
	}
	return t, nil
}

// Deadline is when t stops being accepted, for what goes on longer than a request: its expiry and Config.Leeway. ok is false for one that
// never does. It is safe for concurrent use.
func (v *Verifier) Deadline(t *Token) (deadline time.Time, ok bool) {
	if t.Expiry.IsZero() {
		return time.Time{}, false
	}
	return t.Expiry.Add(v.cfg.Leeway), true
}

// verify checks a token that the cache does not have.
func (v *Verifier) verify(ctx context.Context, raw string, sum *[sha256.Size]byte, now time.Time) (*Token, error) {
	if !looksLikeJWT(raw) {
		if v.issuers.opaque == nil {
			return nil, opaqueError(raw)
		}
		return v.introspect(ctx, v.issuers.opaque, raw, sum)
	}
	j, err := jws.Parse(raw)
	if err != nil {
		return nil, signatureError(err)
	}
	c, err := readClaims(j.Payload)
	if err != nil {
		return nil, err
	}
	defer c.release()
	iss, err := c.text("iss")
	if err != nil {
		return nil, err
	}
	is, err := v.issuers.find(ctx, iss)
	if err != nil {
		return nil, err
	}
	// What the claims refuse costs no signature check. Nothing is accepted before it.
	t, err := is.read(&j.Header, c, now)
	if err != nil {
		return nil, err
	}
	party := v.turns.party(t)
	turn, at := v.turns.of(party)
	key, err := is.keys.Check(ctx, j, turn)
	at.leave()
	if err != nil {
		v.turns.failed(party, err)
		return nil, signatureError(err)
	}
	if err := is.checkKey(key, t); err != nil {
		return nil, err
	}
	v.turns.succeeded(party)
	t.claims = j.Payload
	until := earlier(t.Expiry, now.Add(v.cfg.Cache.MaxAge))
	if is.introspector != nil && is.introspector.cfg.JWTs {
		answer, fresh, err := is.introspector.ask(ctx, raw, sum)
		if err != nil {
			return nil, err
		}
		if t, err = is.confirmed(t, answer, now); err != nil {
			return nil, err
		}
		until = earlier(until, fresh)
	}
	v.cache.put(sum, t, key, until)
	return t, nil
}

// read checks all that a JWT says of itself.
func (is *issuer) read(h *jws.Header, c *claims, now time.Time) (*Token, error) {
	if err := is.rules.checkKind(h, c); err != nil {
		return nil, err
	}
	t, err := is.token(c, now)
	if err != nil {
		return nil, err
	}
	return t, is.checkComplete(t)
}

// introspect asks the issuer about a token that is no JWT.
func (v *Verifier) introspect(ctx context.Context, is *issuer, raw string, sum *[sha256.Size]byte) (*Token, error) {
	t, until, err := is.introspector.ask(ctx, raw, sum)
	if err != nil {
		return nil, err
	}
	v.cache.put(sum, t, nil, until)
	return t, nil
}

// looksLikeJWT: three parts, of which the first is base64url of something that begins with a brace and a quote, or a blank.
func looksLikeJWT(raw string) bool {
	return (strings.HasPrefix(raw, "ey") || strings.HasPrefix(raw, "ew")) && strings.Count(raw, ".") == 2
}

func opaqueError(raw string) error {
	switch {
	case raw == "":
		return &TokenError{Check: "compact", Want: "a token", Got: "none"}
	case strings.Count(raw, ".") == 4 && strings.HasPrefix(raw, "ey"):
		return &TokenError{Check: "jwe", Want: "a signed token", Got: "an encrypted one; have the provider sign only, or set Introspection"}
	case strings.Count(raw, ".") == 2:
		_, err := jws.Parse(raw) // says what is wrong
		if err != nil {
			return signatureError(err)
		}
	}
	return &TokenError{Check: "opaque", Want: "a JWT", Got: "something else; set Introspection if the provider issues reference tokens"}
}

// signatureError makes a *TokenError of what the gate or the key set says; an unreachable provider stays what it is.
func signatureError(err error) error {
	if e, ok := errors.AsType[*discovery.SignatureError](err); ok {
		return &TokenError{Check: e.Check, Want: e.Want, Got: e.Got, Err: err}
	}
	if e, ok := errors.AsType[*jws.Error](err); ok {
		return &TokenError{Check: e.Check, Want: e.Want, Got: e.Got, Err: err}
	}
	return err
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Stats are counters since New.
type Stats struct {
	Hits, Misses uint64 // of the cache: a miss is a token that had to be verified or asked about
	Evicted      uint64 // entries that had to go for others
	Entries      int    // in the cache now
	Bytes        int64  // their size, roughly
	Busy         uint64 // tokens refused by MaxVerifying
}

// Stats returns the counters. Without a cache all but Busy are zero.
func (v *Verifier) Stats() Stats {
	s := v.cache.stats()
	s.Busy = v.turns.refused.Load()
	return s
}
