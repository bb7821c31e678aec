package bearer

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
	"github.com/latchkey-go/latchkey/internal/jws"
)

// Issuer is one issuer whose tokens are accepted.
type Issuer struct {
	// Issuer is the exact iss of its tokens. It may hold the literal {tenantid}, as Microsoft Entra's documents do: each token's tid
	// claim takes its place, and Tenants says which tenants those may be.
	Issuer string
	// Discovery says where its keys come from: static keys, another place of the document, other bounds. Zero: its document under Issuer.
	// Issuer, HTTPClient, InsecureLoopbackHTTP and Logger left zero are those of this Issuer and of Config.
	Discovery discovery.Config
	// Provider takes the place of Discovery: one that the program has already.
	Provider *discovery.Provider
	// Profile says where its tokens differ from RFC 9068. Zero: nowhere.
	Profile Profile
	// Audiences are the names this API has in its tokens. Nil: Config's.
	Audiences []string
	// Algorithms its tokens may be signed with. Nil: every asymmetric one, as its keys allow; see discovery.Provider.KeySet.
	Algorithms []string
	// Tenants are the tid values allowed with {tenantid}; AnyTenant allows every tenant there is, for APIs that decide by other claims.
	Tenants   []string
	AnyTenant bool
	// Introspection asks this issuer about tokens that are no JWTs; one Issuer at most may have it. Nil: such tokens are refused.
	Introspection *Introspection
}

const tenantPlaceholder = "{tenantid}"

// issuer is an Issuer made ready.
type issuer struct {
	Issuer
	rules          *rules
	provider       *discovery.Provider
	keys           *discovery.KeySet
	leeway         time.Duration
	prefix, suffix string // around {tenantid}
	tenants        bool   // Issuer has {tenantid}
	introspector   *introspector
}

// makeIssuer checks in and does no I/O.
func (cfg *Config) makeIssuer(in Issuer) (*issuer, error) {
	is := &issuer{Issuer: in, leeway: cfg.Leeway}
	fail := func(err error) (*issuer, error) {
		return nil, fmt.Errorf("bearer: issuer %q: %w", in.Issuer, err)
	}
	if in.Issuer == "" {
		return nil, errors.New("bearer: an issuer is missing; it is the exact iss of the tokens")
	}
	var err error
	if is.rules, err = in.Profile.rules(); err != nil {
		return fail(err)
	}
	if is.Audiences == nil {
		is.Audiences = cfg.audiences()
	}
	if len(is.Audiences) == 0 || slices.Contains(is.Audiences, "") {
		return fail(errors.New("no audience; set Config.Audience to the name of this API in the aud of its tokens: without it any API's token would open this one"))
	}
	for _, alg := range in.Algorithms {
		if !jws.Asymmetric(alg) {
			return fail(fmt.Errorf("%q in Algorithms is no asymmetric signature algorithm known here", alg))
		}
	}
	if is.prefix, is.suffix, is.tenants = strings.Cut(in.Issuer, tenantPlaceholder); is.tenants == (len(in.Tenants) == 0 && !in.AnyTenant) {
		return fail(errors.New("{tenantid} in Issuer needs Tenants or AnyTenant, and the other way round"))
	}
	if strings.Contains(is.suffix, tenantPlaceholder) {
		return fail(errors.New("{tenantid} stands in Issuer more than once"))
	}
	if slices.Contains(in.Tenants, "") {
		return fail(errors.New("an empty one is among Tenants"))
	}
	if is.provider = in.Provider; is.provider == nil {
		if is.provider, err = discovery.New(cfg.discovery(in)); err != nil {
			return nil, err
		}
	}
	is.keys = is.provider.KeySet(in.Algorithms...)
	if in.Introspection != nil {
		if is.introspector, err = newIntrospector(cfg, is); err != nil {
			return fail(err)
		}
	}
	return is, nil
}

func (cfg *Config) discovery(in Issuer) discovery.Config {
	d := in.Discovery
	if d.Issuer == "" {
		d.Issuer = in.Issuer
	}
	if d.HTTPClient == nil {
		d.HTTPClient = cfg.HTTPClient
	}
	if d.Logger == nil {
		d.Logger = cfg.Logger
	}
	d.InsecureLoopbackHTTP = d.InsecureLoopbackHTTP || cfg.InsecureLoopbackHTTP
	return d
}

// issuers finds the one a token names. Nothing is fetched for a name that is not allowed.
type issuers struct {
	cfg       *Config
	exact     map[string]*issuer
	templates []*issuer
	opaque    *issuer // the one that is asked about tokens that name no issuer

	mu    sync.Mutex
	asked map[string]*askedIssuer
}

// askedIssuer is what was made of an answer of Config.IssuerFor.
type askedIssuer struct {
	answer Issuer
	issuer *issuer
}

// maxAsked bounds the issuers kept that Config.IssuerFor allowed.
const maxAsked = 10_000

func newIssuers(cfg *Config) (*issuers, error) {
	list := slices.Clone(cfg.Issuers)
	if cfg.Issuer != "" {
		list = append([]Issuer{{Issuer: cfg.Issuer, Profile: cfg.Profile, Introspection: cfg.Introspection}}, list...)
	} else if !reflect.ValueOf(cfg.Profile).IsZero() || cfg.Introspection != nil {
		return nil, errors.New("bearer: Config.Profile and Config.Introspection belong to Config.Issuer, which is missing; those of Config.Issuers stand in each")
	}
	if len(list) == 0 && cfg.IssuerFor == nil {
		return nil, errors.New("bearer: Config.Issuer is missing; it is the exact iss of the tokens")
	}
	all := &issuers{cfg: cfg, exact: map[string]*issuer{}, asked: map[string]*askedIssuer{}}
	for _, in := range list {
		is, err := cfg.makeIssuer(in)
		if err != nil {
			return nil, err
		}
		if is.introspector != nil {
			if all.opaque != nil {
				return nil, errors.New("bearer: more than one issuer has Introspection; a token that is no JWT does not say whose it is")
			}
			all.opaque = is
		}
		same := func(other *issuer) bool { return other.Issuer.Issuer == in.Issuer }
		if all.exact[in.Issuer] != nil || slices.ContainsFunc(all.templates, same) {
			return nil, fmt.Errorf("bearer: issuer %q is listed twice", in.Issuer)
		}
		if is.tenants {
			all.templates = append(all.templates, is)
			continue
		}
		all.exact[in.Issuer] = is
	}
	return all, nil
}

// find returns the issuer of an unverified iss.
func (all *issuers) find(ctx context.Context, iss string) (*issuer, error) {
	if is := all.exact[iss]; is != nil {
		return is, nil
	}
	for _, is := range all.templates {
		if len(iss) > len(is.prefix)+len(is.suffix) && strings.HasPrefix(iss, is.prefix) && strings.HasSuffix(iss, is.suffix) {
			return is, nil
		}
	}
	if all.cfg.IssuerFor != nil && iss != "" {
		return all.ask(ctx, iss)
	}
	return nil, all.unknown(iss)
}

func (all *issuers) unknown(iss string) error {
	return &TokenError{Check: "iss", Want: "an issuer that is configured", Got: printable(iss)}
}

// ask lets Config.IssuerFor decide, anew for every token that is not in the cache: a tenant that has gone is refused at once. What was
// made of an equal answer is used again, with its keys.
func (all *issuers) ask(ctx context.Context, iss string) (*issuer, error) {
	in, err := all.cfg.IssuerFor(ctx, iss)
	if err != nil {
		return nil, &discovery.UnavailableError{URL: "Config.IssuerFor", Err: err}
	}
	if in == nil {
		return nil, all.unknown(iss)
	}
	if in.Issuer != iss || in.Introspection != nil {
		return nil, &discovery.UnavailableError{URL: "Config.IssuerFor", Err: errors.New("its answer is of another issuer than was asked for, or has Introspection")}
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	known := all.asked[iss]
	if known != nil && reflect.DeepEqual(known.answer, *in) {
		return known.issuer, nil
	}
	made, err := all.cfg.makeIssuer(*in)
	if err != nil {
		return nil, &discovery.UnavailableError{URL: "Config.IssuerFor", Err: err}
	}
	if known == nil && len(all.asked) >= maxAsked {
		for some := range all.asked { // any: whoever is in use comes back
			delete(all.asked, some)
			break
		}
	}
	all.asked[iss] = &askedIssuer{issuer: made, answer: *in}
	return made, nil
}

// token checks what the claims say, all but the signature.
func (is *issuer) token(c *claims, now time.Time) (*Token, error) {
	t := &Token{}
	for _, check := range [...]func(*issuer, *claims, *Token, time.Time) error{
		(*issuer).readIssuer, (*issuer).readAudience, (*issuer).readTimes, (*issuer).readParties, (*issuer).readAuthentication,
	} {
		if err := check(is, c, t, now); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (is *issuer) readIssuer(c *claims, t *Token, _ time.Time) error {
	iss, err := c.text("iss")
	if err != nil {
		return err
	}
	t.Issuer = is.Issuer.Issuer
	if is.tenants {
		tid, err := c.text("tid")
		if err != nil {
			return err
		}
		if !isTenant(tid) || !is.AnyTenant && !slices.Contains(is.Tenants, tid) {
			return &TokenError{Check: "tid", Want: "a tenant that is allowed", Got: printable(tid)}
		}
		t.Issuer = is.prefix + tid + is.suffix
	}
	if iss != t.Issuer {
		return &TokenError{Check: "iss", Want: strconv.Quote(t.Issuer), Got: printable(iss)}
	}
	return nil
}

// isTenant reports whether tid can stand in a URL's path without changing what is around it.
func isTenant(tid string) bool {
	for _, b := range []byte(tid) {
		if (b < '0' || b > '9') && (b|0x20 < 'a' || b|0x20 > 'z') && b != '-' {
			return false
		}
	}
	return tid != ""
}

func (is *issuer) readAudience(c *claims, t *Token, _ time.Time) (err error) {
	name := is.rules.Audience
	if t.Audience, err = c.list(name); err != nil {
		return err
	}
	if !meets(t.Audience, is.Audiences) {
		got := "none"
		if len(t.Audience) > 0 {
			got = printable(strings.Join(t.Audience, " "))
		}
		return &TokenError{Check: name, Want: printable(strings.Join(is.Audiences, " or ")), Got: got}
	}
	return nil
}

func meets(have, want []string) bool {
	for _, h := range have {
		if slices.Contains(want, h) {
			return true
		}
	}
	return false
}

func (is *issuer) readTimes(c *claims, t *Token, now time.Time) (err error) {
	if t.Expiry, err = c.time("exp"); err != nil {
		return err
	}
	if t.IssuedAt, err = c.time("iat"); err != nil {
		return err
	}
	if t.AuthTime, err = c.authTime(is.rules.TextAuthTime); err != nil {
		return err
	}
	notBefore, err := c.time("nbf")
	if err != nil {
		return err
	}
	clock := func(at time.Time) string { return at.UTC().Format(time.RFC3339) }
	switch {
	case !t.Expiry.IsZero() && !now.Before(t.Expiry.Add(is.leeway)):
		return &TokenError{Check: "exp", Want: "after " + clock(now), Got: clock(t.Expiry)}
	case t.IssuedAt.After(now.Add(is.leeway)):
		return &TokenError{Check: "iat", Want: "not after " + clock(now), Got: clock(t.IssuedAt)}
	case notBefore.After(now.Add(is.leeway)):
		return &TokenError{Check: "nbf", Want: "not after " + clock(now), Got: clock(notBefore)}
	}
	return nil
}

func (is *issuer) readParties(c *claims, t *Token, _ time.Time) (err error) {
	if t.Subject, err = c.text("sub"); err != nil {
		return err
	}
	if t.ID, err = c.text("jti"); err != nil {
		return err
	}
	for _, name := range is.rules.ClientID {
		if t.ClientID, err = c.text(name); err != nil {
			return err
		}
		if t.ClientID != "" {
			break
		}
	}
	t.Scopes, err = c.scopes(is.rules.Scope)
	return err
}

func (is *issuer) readAuthentication(c *claims, t *Token, _ time.Time) (err error) {
	if t.ACR, err = c.text("acr"); err != nil {
		return err
	}
	if t.SessionID, err = c.text("sid"); err != nil {
		return err
	}
	t.AMR, err = c.list("amr")
	return err
}

// checkComplete refuses a JWT that lacks what RFC 9068 section 2.2 requires and the profile does not make optional.
func (is *issuer) checkComplete(t *Token) error {
	missing := ""
	switch {
	case t.Expiry.IsZero():
		missing = "exp"
	case t.IssuedAt.IsZero() && !is.rules.optional("iat"):
		missing = "iat"
	case t.Subject == "" && !is.rules.optional("sub"):
		missing = "sub"
	case t.ClientID == "" && !is.rules.optional("client_id"):
		missing = strings.Join(is.rules.ClientID, " or ")
	case t.ID == "" && !is.rules.optional("jti"):
		missing = "jti"
	}
	if missing != "" {
		return &TokenError{Check: missing, Want: "the claim " + missing, Got: "none"}
	}
	if !is.rules.atOnly && !is.rules.ClientIsAudience && is.rules.Audience == "aud" && t.ClientID != "" && len(t.Audience) == 1 && t.Audience[0] == t.ClientID {
		return &TokenError{Check: "kind", Want: "an access token", Got: "one whose only audience is its own client, as an ID token's is"}
	}
	return nil
}

// checkKey holds the tenant a key is published for against the token's (Microsoft Entra's sets serve many tenants).
func (is *issuer) checkKey(key *discovery.PublishedKey, t *Token) error {
	owner := key.Issuer()
	if !is.tenants || owner == "" || strings.Contains(owner, tenantPlaceholder) {
		return nil
	}
	tid := strings.TrimSuffix(strings.TrimPrefix(t.Issuer, is.prefix), is.suffix)
	if slices.Contains(strings.Split(owner, "/"), tid) {
		return nil
	}
	return &TokenError{Check: "key", Want: "a key of the token's tenant", Got: "one that is published for " + printable(owner)}
}
