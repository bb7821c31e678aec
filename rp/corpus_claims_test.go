package rp_test

import (
	"crypto/sha256"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp"
)

// corpusClaims are changes of the claims: the nearest passing neighbour and the nearest failing one.
var corpusClaims = []struct {
	name       string
	pass, fail func(c map[string]any)
	check      string
	params     rp.AuthParams
}{
	{name: "iss-missing", fail: func(c map[string]any) { delete(c, "iss") }, check: "iss"},
	{name: "iss-slash", fail: func(c map[string]any) { c["iss"] = strings.TrimSuffix(testIssuer, "/") }, check: "iss"},
	{name: "iss-case", fail: func(c map[string]any) { c["iss"] = "https://OP.example/" }, check: "iss"},
	{name: "iss-prefix", fail: func(c map[string]any) { c["iss"] = testIssuer + "evil" }, check: "iss"},
	{name: "iss-http", fail: func(c map[string]any) { c["iss"] = "http://op.example/" }, check: "iss"},
	{name: "iss-array", fail: func(c map[string]any) { c["iss"] = []string{testIssuer} }, check: "iss"},
	{name: "iss-null", fail: func(c map[string]any) { c["iss"] = nil }, check: "iss"},
	{name: "iss-noscheme", fail: func(c map[string]any) { c["iss"] = "op.example/" }, check: "iss"},
	{name: "self-issued", fail: func(c map[string]any) { c["iss"], c["sub_jwk"] = "https://self-issued.me", map[string]any{} }, check: "iss"},

	{name: "aud-missing", fail: func(c map[string]any) { delete(c, "aud") }, check: "aud"},
	{name: "aud-null", fail: func(c map[string]any) { c["aud"] = nil }, check: "aud"},
	{name: "aud-empty-array", pass: func(c map[string]any) { c["aud"] = []string{testClient} }, fail: func(c map[string]any) { c["aud"] = []string{} }, check: "aud"},
	{name: "aud-null-member", pass: func(c map[string]any) { c["aud"] = []string{testClient, testClient} }, fail: func(c map[string]any) { c["aud"] = []any{testClient, nil} }, check: "aud"},
	{name: "aud-other", fail: func(c map[string]any) { c["aud"] = "other" }, check: "aud"},
	{name: "aud-substring", fail: func(c map[string]any) { c["aud"] = testClient + "1" }, check: "aud"},
	{name: "aud-case", fail: func(c map[string]any) { c["aud"] = strings.ToUpper(testClient) }, check: "aud"},
	{name: "aud-object", fail: func(c map[string]any) { c["aud"] = map[string]any{testClient: true} }, check: "aud"},
	{name: "aud-multi-no-azp", pass: func(c map[string]any) { c["aud"], c["azp"] = []string{"x", testClient}, testClient }, fail: func(c map[string]any) { c["aud"] = []string{"x", testClient} }, check: "aud"},
	{name: "azp-other", pass: func(c map[string]any) { c["azp"] = testClient }, fail: func(c map[string]any) { c["azp"] = "other" }, check: "azp"},
	{name: "azp-empty", fail: func(c map[string]any) { c["azp"] = "" }, check: "azp"},
	{name: "azp-array", fail: func(c map[string]any) { c["azp"] = []string{testClient} }, check: "azp"},
	{name: "azp-ours-aud-not", fail: func(c map[string]any) { c["aud"], c["azp"] = "x", testClient }, check: "aud"},

	{name: "sub-missing", fail: func(c map[string]any) { delete(c, "sub") }, check: "sub"},
	{name: "sub-empty", fail: func(c map[string]any) { c["sub"] = "" }, check: "sub"},
	{name: "sub-null", fail: func(c map[string]any) { c["sub"] = nil }, check: "sub"},
	{name: "sub-number", pass: func(c map[string]any) { c["sub"] = "1" }, fail: func(c map[string]any) { c["sub"] = 1 }, check: "sub"},
	{name: "sub-256", pass: func(c map[string]any) { c["sub"] = strings.Repeat("s", 255) }, fail: func(c map[string]any) { c["sub"] = strings.Repeat("s", 256) }, check: "sub"},
	{name: "sub-not-ascii", pass: func(c map[string]any) { c["sub"] = "a b|~" }, fail: func(c map[string]any) { c["sub"] = "аlice" }, check: "sub"},
	{name: "u0000", fail: func(c map[string]any) { c["sub"] = "user-1\x00" }, check: "sub"},

	{name: "exp-missing", fail: func(c map[string]any) { delete(c, "exp") }, check: "exp"},
	{name: "exp-null", fail: func(c map[string]any) { c["exp"] = nil }, check: "exp"},
	{name: "exp-past", pass: func(c map[string]any) { c["exp"] = now(-30) }, fail: func(c map[string]any) { c["exp"] = now(-61) }, check: "exp"},
	{name: "exp-6-minutes-ago", fail: func(c map[string]any) { c["exp"] = now(-360) }, check: "exp"},
	{name: "exp-string", fail: func(c map[string]any) { c["exp"] = "9999999999" }, check: "exp"},
	{name: "exp-float", pass: func(c map[string]any) { c["exp"] = float64(now(60)) + 0.5 }, fail: func(c map[string]any) { c["exp"] = float64(now(-120)) + 0.5 }, check: "exp"},
	{name: "exp-1e300", pass: func(c map[string]any) { c["exp"] = json.Number("2.5e9") }, fail: func(c map[string]any) { c["exp"] = json.Number("1e300") }, check: "exp"},
	{name: "number-huge", fail: func(c map[string]any) { c["exp"] = json.Number("1e400") }, check: "exp"},
	{name: "exp-digits", fail: func(c map[string]any) { c["exp"] = json.Number(strings.Repeat("9", 400)) }, check: "exp"},
	{name: "exp-negative", fail: func(c map[string]any) { c["exp"] = -1 }, check: "exp"},
	{name: "exp-zero", fail: func(c map[string]any) { c["exp"] = 0 }, check: "exp"},
	{name: "exp-ms", fail: func(c map[string]any) { c["exp"] = now(300) * 1000 }, check: "exp"},
	{name: "exp-bool", fail: func(c map[string]any) { c["exp"] = true }, check: "exp"},

	{name: "iat-missing", fail: func(c map[string]any) { delete(c, "iat") }, check: "iat"},
	{name: "iat-future", pass: func(c map[string]any) { c["iat"] = now(30) }, fail: func(c map[string]any) { c["iat"] = now(90) }, check: "iat"},
	{name: "iat-is-week-in-past", pass: func(c map[string]any) { c["iat"] = now(-86400) }, fail: func(c map[string]any) { c["iat"] = now(-7 * 86400) }, check: "iat"},
	{name: "iat-day-and-leeway", fail: func(c map[string]any) { c["iat"] = now(-86400 - 90) }, check: "iat"},
	{name: "iat-string", fail: func(c map[string]any) { c["iat"] = "1" }, check: "iat"},
	{name: "nbf-future", pass: func(c map[string]any) { c["nbf"] = now(30) }, fail: func(c map[string]any) { c["nbf"] = now(90) }, check: "nbf"},
	{name: "nbf-negative", pass: func(c map[string]any) { c["nbf"] = 0 }, fail: func(c map[string]any) { c["nbf"] = -1 }, check: "nbf"},
	{name: "nbf-string", pass: func(c map[string]any) { c["nbf"] = nil }, fail: func(c map[string]any) { c["nbf"] = "1" }, check: "nbf"},

	{name: "nonce-missing", fail: func(c map[string]any) { delete(c, "nonce") }, check: "nonce"},
	{name: "nonce-empty", fail: func(c map[string]any) { c["nonce"] = "" }, check: "nonce"},
	{name: "nonce-null", fail: func(c map[string]any) { c["nonce"] = nil }, check: "nonce"},
	{name: "nonce-other", fail: func(c map[string]any) { c["nonce"] = c["nonce"].(string) + "1" }, check: "nonce"},
	{name: "nonce-case", fail: func(c map[string]any) { c["nonce"] = swapCase(c["nonce"].(string)) }, check: "nonce"},
	{name: "nonce-array", fail: func(c map[string]any) { c["nonce"] = []any{c["nonce"]} }, check: "nonce"},
	{name: "nonce-optout-claim", pass: func(c map[string]any) { c["nonce_supported"] = true }, fail: func(c map[string]any) { delete(c, "nonce"); c["nonce_supported"] = false }, check: "nonce"},

	{name: "at_hash-wrong", pass: func(c map[string]any) { delete(c, "at_hash") }, fail: func(c map[string]any) { c["at_hash"] = c["at_hash"].(string) + "1" }, check: "at_hash"},
	{name: "at_hash-empty", pass: func(c map[string]any) { c["at_hash"] = nil }, fail: func(c map[string]any) { c["at_hash"] = "" }, check: "at_hash"},
	{name: "at_hash-number", fail: func(c map[string]any) { c["at_hash"] = 1 }, check: "at_hash"},
	{name: "at_hash-other-token", fail: func(c map[string]any) { c["at_hash"] = half("RS256", "access-2") }, check: "at_hash"},
	{name: "c_hash-wrong", pass: func(c map[string]any) { delete(c, "c_hash") }, fail: func(c map[string]any) { c["c_hash"] = half("RS256", "other") }, check: "c_hash"},
	{name: "s_hash-wrong", fail: func(c map[string]any) { c["s_hash"] = half("RS256", "other") }, check: "s_hash"},

	{name: "auth_time-old", pass: func(c map[string]any) { c["auth_time"] = now(-3600) }, fail: func(c map[string]any) { c["auth_time"] = now(-3600 - 90) }, check: "auth_time", params: rp.AuthParams{MaxAge: time.Hour}},
	{name: "auth_time-missing-max_age", pass: func(c map[string]any) { c["auth_time"] = now(0) }, fail: func(c map[string]any) {}, check: "auth_time", params: rp.AuthParams{MaxAge: time.Hour}},
	{name: "auth_time-zero", fail: func(c map[string]any) { c["auth_time"] = 0 }, check: "auth_time", params: rp.AuthParams{MaxAge: time.Hour}},
	{name: "auth_time-string", fail: func(c map[string]any) { c["auth_time"] = "1" }, check: "auth_time"},
	{name: "auth_time-future", pass: func(c map[string]any) { c["auth_time"] = now(30) }, fail: func(c map[string]any) { c["auth_time"] = now(90) }, check: "auth_time", params: rp.AuthParams{MaxAge: time.Hour}},
	{name: "auth_time-login-anew", pass: func(c map[string]any) { c["auth_time"] = now(0) }, fail: func(c map[string]any) { c["auth_time"] = now(-90) }, check: "auth_time", params: rp.AuthParams{MaxAge: -1}},
	{name: "acr-weak", pass: func(c map[string]any) { c["acr"] = "gold" }, fail: func(c map[string]any) { c["acr"] = "bronze" }, check: "acr", params: rp.AuthParams{ACRValues: []string{"silver", "gold"}}},
	{name: "acr-missing", pass: func(c map[string]any) { c["acr"] = "silver" }, fail: func(c map[string]any) {}, check: "acr", params: rp.AuthParams{ACRValues: []string{"silver", "gold"}}},
	{name: "acr-array", pass: func(c map[string]any) { c["acr"] = "silver" }, fail: func(c map[string]any) { c["acr"] = []string{"silver"} }, check: "acr", params: rp.AuthParams{ACRValues: []string{"silver"}}},

	{name: "case-SUB", fail: func(c map[string]any) { c["SUB"] = "admin" }, check: "json"},
	{name: "case-ISS", fail: func(c map[string]any) { c["ISS"] = testIssuer; delete(c, "iss") }, check: "json"},
	{name: "case-EXP", fail: func(c map[string]any) { c["EXP"] = 1 }, check: "json"},
	{name: "case-Aud", fail: func(c map[string]any) { c["Aud"] = testClient; delete(c, "aud") }, check: "json"},
	{name: "case-long-s", fail: func(c map[string]any) { c["i\u017f\u017f"] = testIssuer }, check: "json"},
	{name: "case-of-unregistered", pass: func(c map[string]any) { c["Email"] = "a" }, fail: func(c map[string]any) { c["Email"], c["email"] = "a", "b" }, check: "json"},
	{name: "logout-as-id", fail: func(c map[string]any) {
		c["events"] = map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}
	}, check: "events"},

	{name: "acr-voluntary", pass: func(c map[string]any) { c["acr"] = "bronze" }, params: rp.AuthParams{ACRValues: []string{"gold"}, ACRVoluntary: true}},
	{name: "auth_time-zero-unasked", pass: func(c map[string]any) { c["auth_time"] = 0 }},
	{name: "odd-optional-claims", pass: func(c map[string]any) {
		c["amr"], c["sid"], c["acr"], c["address"], c["groups"] = "pwd", 7, 1, []string{}, []string{}
	}},
	{name: "claim-sources", pass: func(c map[string]any) {
		c["_claim_names"], c["_claim_sources"] = map[string]any{"groups": "src1"}, map[string]any{}
	}},
	{name: "cnf-unasked", pass: func(c map[string]any) { c["cnf"] = map[string]any{"jkt": "x"} }},
}

func now(seconds int64) int64 { return time.Now().Unix() + seconds }

func TestTheCorpusOfClaims(t *testing.T) {
	for _, x := range corpusClaims {
		t.Run(x.name, func(t *testing.T) {
			p := newOP()
			p.edit = x.pass
			if x.pass == nil && x.params.MaxAge != 0 {
				p.edit = func(c map[string]any) { c["auth_time"] = now(0) }
			}
			c := p.client(t)
			if _, err := p.login(t, c, x.params); err != nil {
				t.Errorf("the neighbour that should pass: %v", err)
			}
			if x.fail != nil {
				p.edit = x.fail
				refused(t, p, c, x.params, x.check)
			}
		})
	}
}

// corpusPayload are payloads which are not the JSON of a map.
var corpusPayload = []struct {
	name   string
	change func(honest string) string
	check  string
}{
	{"dup-sub", func(s string) string { return strings.Replace(s, `{`, `{"sub":"admin",`, 1) }, "json"},
	{"dup-aud", func(s string) string { return strings.TrimSuffix(s, "}") + `,"aud":"other"}` }, "json"},
	{"dup-escaped", func(s string) string { return strings.Replace(s, `{`, `{"s\u0075b":"admin",`, 1) }, "json"},
	{"dup-nested", func(s string) string { return strings.Replace(s, `{`, `{"x":{"a":1,"a":2},`, 1) }, "json"},
	{"bad-utf8", func(s string) string { return strings.Replace(s, "user-1", "user-\xff", 1) }, "json"},
	{"lone-surrogate", func(s string) string { return strings.Replace(s, "user-1", `user-\ud800`, 1) }, "json"},
	{"deep-9000", func(s string) string {
		return strings.Replace(s, `{`, `{"x":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+`,`, 1)
	}, "json"},
	{"payload-array", func(s string) string { return "[" + s + "]" }, "json"},
	{"payload-not-json", func(string) string { return "hello" }, "json"},
	{"payload-empty", func(string) string { return "" }, "json"},
	{"payload-null", func(string) string { return "null" }, "json"},
	{"payload-trailing", func(s string) string { return s + "{}" }, "json"},
	{"bom", func(s string) string { return "\ufeff" + s }, "json"},
	{"utf16", func(s string) string {
		var b strings.Builder
		for i := range len(s) {
			b.WriteByte(0)
			b.WriteByte(s[i])
		}
		return b.String()
	}, "json"},
	{"nan", func(s string) string { return strings.Replace(s, `{`, `{"x":NaN,`, 1) }, "json"},
}

func TestTheCorpusOfPayloads(t *testing.T) {
	for _, alg := range honestAlgs {
		for _, x := range corpusPayload {
			t.Run(alg+"/"+x.name, func(t *testing.T) {
				p := newOP()
				p.use(alg)
				p.wrap = func(raw string) string { return p.resign(raw, nil, x.change) }
				refused(t, p, p.client(t), rp.AuthParams{}, x.check, "compact", "payload")
			})
		}
	}
}

func TestTheHashOfAHashClaimFollowsTheAlgorithm(t *testing.T) {
	for _, alg := range honestAlgs {
		p := newOP()
		p.use(alg)
		sum := sha256.Sum256([]byte("access-1"))
		p.edit = func(c map[string]any) { c["at_hash"] = b64(sum[:]) } // the whole hash, not its half
		refused(t, p, p.client(t), rp.AuthParams{}, "at_hash")
	}
}

// The edges to the second, on a clock that stands still.
func TestTheLeewayIsExact(t *testing.T) {
	keys()
	for name, x := range map[string]struct {
		claim      string
		pass, fail time.Duration // from now
	}{
		"exp":      {"exp", -59 * time.Second, -60 * time.Second},
		"iat":      {"iat", 60 * time.Second, 61 * time.Second},
		"iat past": {"iat", -24*time.Hour - 60*time.Second, -24*time.Hour - 61*time.Second},
		"nbf":      {"nbf", 60 * time.Second, 61 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newOP()
				c := p.client(t)
				at := x.pass
				p.edit = func(m map[string]any) { m[x.claim] = time.Now().Add(at).Unix() }
				if _, err := p.login(t, c, rp.AuthParams{}); err != nil {
					t.Errorf("the neighbour that should pass: %v", err)
				}
				at = x.fail
				refused(t, p, c, rp.AuthParams{}, x.claim)
			})
		})
	}
}

func TestALoginWithoutAStartIsJudgedByTheClock(t *testing.T) {
	p := newOP()
	c := p.client(t)
	for _, start := range []time.Time{{}, time.Now().Add(48 * time.Hour)} {
		for _, x := range []struct {
			age int64
			ok  bool
		}{{-3000, true}, {-7200, false}} {
			login, err := c.Begin(t.Context(), rp.AuthParams{MaxAge: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			login.StartedAt = start
			p.edit = func(m map[string]any) { m["auth_time"] = now(x.age) }
			if _, err := c.Finish(t.Context(), login, p.authorize(t, login)); (err == nil) != x.ok {
				t.Errorf("authenticated %d seconds ago, start %v: %v", -x.age, start, err)
			}
		}
	}
}

// A minute at a consent page makes no old authentication of a fresh one.
func TestMaxAgeIsCountedToTheStartOfTheLogin(t *testing.T) {
	keys()
	synctest.Test(t, func(t *testing.T) {
		p := newOP()
		c := p.client(t)
		login, err := c.Begin(t.Context(), rp.AuthParams{MaxAge: -1})
		if err != nil {
			t.Fatal(err)
		}
		at := time.Now().Unix()
		p.edit = func(m map[string]any) { m["auth_time"] = at }
		time.Sleep(5 * time.Minute)
		if _, err := c.Finish(t.Context(), login, p.authorize(t, login)); err != nil {
			t.Error(err)
		}
	})
}

func TestAStateHashThatIsRightPasses(t *testing.T) {
	p := newOP()
	c := p.client(t)
	login, err := c.Begin(t.Context(), rp.AuthParams{})
	if err != nil {
		t.Fatal(err)
	}
	p.edit = func(c map[string]any) { c["s_hash"] = half("RS256", login.State) }
	if _, err := c.Finish(t.Context(), login, p.authorize(t, login)); err != nil {
		t.Error(err)
	}
}
