package bearer_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
	"github.com/latchkey-go/latchkey/middleware/bearer"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

const wellKnown = "/.well-known/openid-configuration"

func signer(t testing.TB) *rptest.Provider {
	t.Helper()
	op, err := rptest.New(rptest.Options{Issuer: "https://signer.example", SigningAlg: "ES256"})
	if err != nil {
		t.Fatal(err)
	}
	return op
}

// signed is a good token of RFC 9068 of issuer, with changes.
func signed(op *rptest.Provider, issuer string, changes ...any) string {
	now := time.Now().Unix()
	return op.Sign(with(map[string]any{
		"iss": issuer, "aud": audience, "sub": "alice", "client_id": "shop", "jti": "id-1", "iat": now, "exp": now + 300,
	}, changes...), "typ", "at+jwt")
}

func newVerifier(t testing.TB, cfg bearer.Config) *bearer.Verifier {
	t.Helper()
	if cfg.Audience == "" {
		cfg.Audience = audience
	}
	cfg.Logger = slog.New(slog.DiscardHandler)
	v, err := bearer.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// wantCheck asserts the check that refuses raw, "" for none.
func wantCheck(t testing.TB, v *bearer.Verifier, name, raw, check string) *bearer.Token {
	t.Helper()
	token, err := v.Verify(t.Context(), raw)
	if checkOf(err) != check {
		t.Errorf("%s: %v, want %q", name, err, check)
	}
	return token
}

func TestEachOfSeveralIssuersHasItsOwnKeysProfileAndAudience(t *testing.T) {
	net, a, b := &web{}, signer(t), signer(t)
	const one, two, three = "https://one.example", "https://two.example/tenant/", "https://three.example"
	net.publish(t, a, one+wellKnown, one)
	net.publish(t, b, "https://two.example/tenant"+wellKnown, two)
	net.publish(t, a, three+wellKnown, three)
	v := newVerifier(t, bearer.Config{
		Issuer: one, HTTPClient: net.client(),
		Issuers: []bearer.Issuer{
			{Issuer: two, Profile: bearer.Okta(), Audiences: []string{"api://two"}},
			{Issuer: three, Algorithms: []string{"RS256"}},
		},
	})
	okta := func(op *rptest.Provider, changes ...any) string {
		now := time.Now().Unix()
		return op.Sign(with(map[string]any{"iss": two, "aud": "api://two", "sub": "bob", "cid": "desk", "jti": "AT.1", "iat": now, "exp": now + 300, "scp": list("x")}, changes...), "typ", "JWT")
	}
	if got := wantCheck(t, v, "of the first", signed(a, one), ""); got != nil && (got.Issuer != one || got.ClientID != "shop") {
		t.Errorf("%+v", got)
	}
	if got := wantCheck(t, v, "of the second", okta(b), ""); got != nil && (got.Issuer != two || got.ClientID != "desk" || len(got.Scopes) != 1) {
		t.Errorf("%+v", got)
	}
	wantCheck(t, v, "in the first one's name with the second one's key", signed(b, one), "kid")
	wantCheck(t, v, "in the second one's name with the first one's key", okta(a), "kid")
	wantCheck(t, v, "of the first in the second one's dialect", okta(a, "iss", one), "typ")
	wantCheck(t, v, "of the second in the first one's dialect", signed(b, two, "aud", "api://two"), "cid")
	wantCheck(t, v, "of the second for the first one's audience", okta(b, "aud", audience), "aud")
	wantCheck(t, v, "of the first for the second one's audience", signed(a, one, "aud", "api://two"), "aud")
	wantCheck(t, v, "of the third in an algorithm that is another's", signed(a, three), "alg")
}

func TestTheSameKeyIDAtTwoIssuersIsTwoKeys(t *testing.T) {
	net, a, b := &web{}, signer(t), signer(t)
	const one, two = "https://one.example", "https://two.example"
	for issuer, op := range map[string]*rptest.Provider{one: a, two: b} {
		net.publish(t, op, issuer+wellKnown, issuer)
		set := keysOf(t, op)
		set["keys"].([]any)[0].(map[string]any)["kid"] = "1"
		net.set(issuer+wellKnown+"/keys", set)
	}
	v := newVerifier(t, bearer.Config{Issuer: one, Issuers: []bearer.Issuer{{Issuer: two}}, HTTPClient: net.client()})
	sign := func(op *rptest.Provider, iss string) string {
		now := time.Now().Unix()
		return op.Sign(map[string]any{"iss": iss, "aud": audience, "sub": "alice", "client_id": "shop", "jti": "id-1", "iat": now, "exp": now + 300}, "typ", "at+jwt", "kid", "1")
	}
	for range 2 { // and the cache changes nothing
		wantCheck(t, v, "of the first", sign(a, one), "")
		wantCheck(t, v, "of the second", sign(b, two), "")
		wantCheck(t, v, "in the first one's name with the second one's key", sign(b, one), "signature")
		wantCheck(t, v, "in the second one's name with the first one's key", sign(a, two), "signature")
	}
	if urls := net.asked("/keys"); len(urls) != 2 {
		t.Errorf("fetched %v", urls)
	}
}

func TestNothingIsFetchedForAnIssuerThatIsNotAllowed(t *testing.T) {
	net, op := &web{}, signer(t)
	const one, template = "https://one.example", "https://login.example/{tenantid}/v2.0"
	net.publish(t, op, one+wellKnown, one)
	net.publish(t, op, "https://login.example/common/v2.0"+wellKnown, template)
	asked := 0
	v := newVerifier(t, bearer.Config{
		Issuer: one, HTTPClient: net.client(),
		Issuers:   []bearer.Issuer{{Issuer: template, Tenants: []string{"t-1"}, Discovery: discovery.Config{DiscoveryURL: "https://login.example/common/v2.0" + wellKnown}}},
		IssuerFor: func(context.Context, string) (*bearer.Issuer, error) { asked++; return nil, nil },
	})
	for iss, check := range map[string]string{
		"https://evil.example": "iss", "https://one.example/": "iss", "https://ONE.example": "iss", "https://one.example:443": "iss", "https://one.example.evil.example": "iss", "https://one.exampl": "iss",
		"https://one.example#": "iss", "https://one.example?x": "iss", "http://one.example": "iss", "https://one.example@evil.example": "iss", " https://one.example": "iss", "": "iss",
		"https://login.example/t-2/v2.0": "tid", "https://login.example/{tenantid}/v2.0": "tid", "https://login.example//v2.0": "iss", "https://login.example/common/v2.0": "tid",
		"file:///etc/passwd": "iss", "http://169.254.169.254/latest": "iss",
	} {
		wantCheck(t, v, iss, signed(op, iss, "tid", "t-2"), check)
	}
	wantCheck(t, v, "no iss", signed(op, "", "iss", nil), "iss")
	wantCheck(t, v, "iss as list", signed(op, "", "iss", list(one)), "iss")
	if urls := net.asked(""); len(urls) != 0 {
		t.Errorf("fetched %v", urls)
	}
	if asked == 0 {
		t.Error("IssuerFor was never asked")
	}
	wantCheck(t, v, "the neighbour that is allowed", signed(op, one), "")
	if urls := net.asked("one.example"); len(urls) != 2 || len(net.asked("")) != 2 {
		t.Errorf("fetched %v", net.asked(""))
	}
}

func TestAnIssuerThatIsDownHurtsNoOther(t *testing.T) {
	net, op := &web{}, signer(t)
	const up, down, gone = "https://up.example", "https://down.example", "https://gone.example"
	net.publish(t, op, up+wellKnown, up)
	net.publish(t, op, gone+wellKnown, gone)
	v := newVerifier(t, bearer.Config{Issuer: up, Issuers: []bearer.Issuer{{Issuer: down}, {Issuer: gone}}, HTTPClient: net.client()})
	wantCheck(t, v, "of the one that will go", signed(op, gone), "")
	net.drop(gone + wellKnown)
	net.drop(gone + wellKnown + "/keys")
	for i := range 3 {
		if _, err := v.Verify(t.Context(), signed(op, down)); !errors.Is(err, bearer.ErrUnavailable) || errors.Is(err, bearer.ErrInvalidToken) {
			t.Errorf("of the one that is down: %v", err)
		}
		wantCheck(t, v, "of the one that is up", signed(op, up, "jti", string(rune('a'+i))), "")
		wantCheck(t, v, "of the one that has gone, by a known key", signed(op, gone, "jti", string(rune('a'+i))), "")
	}
}

func TestTheTenantRuleAllowsTheTenantsThatAreNamedAndNoOther(t *testing.T) {
	net, op := &web{}, signer(t)
	const template, document = "https://login.example/{tenantid}/v2.0", "https://login.example/common/v2.0" + wellKnown
	net.publish(t, op, document, template)
	verifier := func(any bool, tenants ...string) *bearer.Verifier {
		return newVerifier(t, bearer.Config{
			HTTPClient: net.client(), Issuers: []bearer.Issuer{{Issuer: template, Tenants: tenants, AnyTenant: any, Discovery: discovery.Config{DiscoveryURL: document}}},
		})
	}
	named, every := verifier(false, "t-1", "t-2"), verifier(true)
	of := func(tid string) string { return "https://login.example/" + tid + "/v2.0" }
	for name, c := range map[string]struct {
		iss          string
		tid          any
		named, every string // the check that refuses it
	}{
		"the first":                      {of("t-1"), "t-1", "", ""},
		"the second":                     {of("t-2"), "t-2", "", ""},
		"another":                        {of("t-3"), "t-3", "tid", ""},
		"another case":                   {of("T-1"), "T-1", "tid", ""},
		"tid of a tenant, iss of one":    {of("t-1"), "t-2", "iss", "iss"},
		"no tid":                         {of("t-1"), nil, "tid", "tid"},
		"an empty tid":                   {of("t-1"), "", "tid", "tid"},
		"tid as number":                  {of("1"), 1, "tid", "tid"},
		"tid as list":                    {of("t-1"), list("t-1"), "tid", "tid"},
		"dots":                           {of(".."), "..", "tid", "tid"},
		"a slash":                        {of("t-1/x"), "t-1/x", "tid", "tid"},
		"an escaped slash":               {of("t-1%2fx"), "t-1%2fx", "tid", "tid"},
		"a query":                        {of("t-1?x="), "t-1?x=", "tid", "tid"},
		"an at sign":                     {of("t-1@evil.example"), "t-1@evil.example", "tid", "tid"},
		"the placeholder":                {of("{tenantid}"), "{tenantid}", "tid", "tid"},
		"no letter but one like it":      {of("t-１"), "t-１", "tid", "tid"},
		"another suffix":                 {"https://login.example/t-1/v3.0", "t-1", "iss", "iss"},
		"no suffix":                      {"https://login.example/t-1", "t-1", "iss", "iss"},
		"another host":                   {"https://login.example.evil/t-1/v2.0", "t-1", "iss", "iss"},
		"prefix and suffix that overlap": {"https://login.example/v2.0", "t-1", "iss", "iss"},
	} {
		raw := signed(op, c.iss, "tid", c.tid)
		if got := wantCheck(t, named, name+", named", raw, c.named); got != nil && got.Issuer != c.iss {
			t.Errorf("%s: issuer %s", name, got.Issuer)
		}
		wantCheck(t, every, name+", any", raw, c.every)
	}
}

func TestAKeyThatIsPublishedForAnotherTenantIsRefused(t *testing.T) {
	const template, document = "https://login.example/{tenantid}/v2.0", "https://login.example/common/v2.0" + wellKnown
	for name, c := range map[string]struct {
		owner any
		check string
	}{
		"for nobody in particular":            {nil, ""},
		"for every tenant":                    {template, ""},
		"for its tenant":                      {"https://login.example/t-1/v2.0", ""},
		"for its tenant by the other version": {"https://sts.example/t-1/", ""},
		"for another tenant":                  {"https://login.example/t-2/v2.0", "key"},
		"for a tenant whose name begins so":   {"https://login.example/t-10/v2.0", "key"},
		"for another place":                   {"https://evil.example/", "key"},
	} {
		net, op := &web{}, signer(t)
		net.publish(t, op, document, template)
		set := keysOf(t, op)
		for _, k := range set["keys"].([]any) {
			if key := k.(map[string]any); c.owner != nil {
				key["issuer"] = c.owner
			}
		}
		net.set(document+"/keys", set)
		v := newVerifier(t, bearer.Config{
			HTTPClient: net.client(), Issuers: []bearer.Issuer{{Issuer: template, AnyTenant: true, Discovery: discovery.Config{DiscoveryURL: document}}},
		})
		raw := signed(op, "https://login.example/t-1/v2.0", "tid", "t-1")
		wantCheck(t, v, name, raw, c.check)
		wantCheck(t, v, name+", once more", raw, c.check)
	}
}

func TestIssuerForDecidesForEachTokenAnew(t *testing.T) {
	net, op := &web{}, signer(t)
	const one, two = "https://one.example", "https://two.example"
	net.publish(t, op, one+wellKnown, one)
	net.publish(t, op, two+wellKnown, two)
	var answer *bearer.Issuer
	var down error
	var asked []string
	v := newVerifier(t, bearer.Config{
		HTTPClient: net.client(), Issuer: two,
		IssuerFor: func(_ context.Context, iss string) (*bearer.Issuer, error) {
			asked = append(asked, iss)
			return answer, down
		},
	})
	n := 0
	fresh := func(iss string, changes ...any) string { // one that the cache does not have
		n++
		return signed(op, iss, append([]any{"jti", string(rune('a' + n))}, changes...)...)
	}
	unavailable := func(name string) {
		t.Helper()
		raw := fresh(one)
		if _, err := v.Verify(t.Context(), raw); !errors.Is(err, bearer.ErrUnavailable) || errors.Is(err, bearer.ErrInvalidToken) {
			t.Errorf("%s: %v", name, err)
		}
		if w := get(v.Handler(reached), "Authorization", "Bearer "+raw); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	fetches := func(want int) {
		t.Helper()
		if urls := net.asked(one + wellKnown + "/keys"); len(urls) != want {
			t.Errorf("%d fetches of its keys, want %d", len(urls), want)
		}
	}

	wantCheck(t, v, "nil", fresh(one), "iss")
	down = errors.New("no answer from the tenants")
	unavailable("an error")
	down = nil
	answer = &bearer.Issuer{Issuer: two}
	unavailable("the answer to another question")
	answer = &bearer.Issuer{Issuer: one, Introspection: &bearer.Introspection{ClientID: "x", ClientSecret: "s3cret"}}
	unavailable("an answer with introspection")
	answer = &bearer.Issuer{Issuer: one, Algorithms: []string{"none"}}
	unavailable("an answer that New would refuse")
	fetches(0)

	for range 5 {
		answer = &bearer.Issuer{Issuer: one} // equal, not identical
		wantCheck(t, v, "allowed", fresh(one), "")
	}
	fetches(1)
	answer = &bearer.Issuer{Issuer: one, Audiences: []string{"api://new"}}
	wantCheck(t, v, "changed, old audience", fresh(one), "aud")
	kept := fresh(one, "aud", "api://new")
	wantCheck(t, v, "changed, new audience", kept, "")
	fetches(2)

	answer = nil
	wantCheck(t, v, "gone", fresh(one, "aud", "api://new"), "iss")
	wantCheck(t, v, "gone, and in the cache", kept, "")
	answer = &bearer.Issuer{Issuer: one, Audiences: []string{"api://new"}}
	wantCheck(t, v, "come back", fresh(one, "aud", "api://new"), "")
	fetches(2)

	before := len(asked)
	wantCheck(t, v, "configured", fresh(two), "")
	wantCheck(t, v, "no iss", fresh(one, "iss", nil), "iss")
	if len(asked) != before {
		t.Errorf("asked about %v", asked[before:])
	}
}

func TestNewRefusesIssuersThatContradictEachOther(t *testing.T) {
	asking := &bearer.Introspection{ClientID: "api", ClientSecret: "s3cret"}
	for name, c := range map[string]struct {
		bad, good []bearer.Issuer
		want      string
	}{
		"two that are asked about opaque tokens": {
			[]bearer.Issuer{{Issuer: "https://one.example", Introspection: asking}, {Issuer: "https://two.example", Introspection: asking}},
			[]bearer.Issuer{{Issuer: "https://one.example", Introspection: asking}, {Issuer: "https://two.example"}},
			"more than one issuer has Introspection",
		},
		"the same rule twice": {
			[]bearer.Issuer{{Issuer: "https://login.example/{tenantid}/v2.0", Tenants: []string{"a"}}, {Issuer: "https://login.example/{tenantid}/v2.0", AnyTenant: true}},
			[]bearer.Issuer{{Issuer: "https://login.example/{tenantid}/v2.0", Tenants: []string{"a"}}, {Issuer: "https://login.example/{tenantid}/", AnyTenant: true}},
			"listed twice",
		},
		"two places for a tenant": {
			[]bearer.Issuer{{Issuer: "https://login.example/{tenantid}/{tenantid}", AnyTenant: true}},
			[]bearer.Issuer{{Issuer: "https://login.example/{tenantid}/tenantid", AnyTenant: true}},
			"{tenantid} stands in Issuer more than once",
		},
	} {
		if _, err := bearer.New(bearer.Config{Audience: audience, Issuers: c.good}); err != nil {
			t.Errorf("%s: the neighbour that should pass: %v", name, err)
		}
		if _, err := bearer.New(bearer.Config{Audience: audience, Issuers: c.bad}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
