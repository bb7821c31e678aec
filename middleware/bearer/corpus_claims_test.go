package bearer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/middleware/bearer"
)

func claim(name string, value any) func(*draft) { return func(d *draft) { d.claims[name] = value } }

func without(name string) func(*draft) { return func(d *draft) { delete(d.claims, name) } }

// in is seconds from now.
func in(seconds int64) int64 { return time.Now().Unix() + seconds }

// at sets a time, in seconds from now.
func at(name string, seconds int64) func(*draft) {
	return func(d *draft) { d.claims[name] = in(seconds) }
}

func number(text string) json.Number { return json.Number(text) }

// payload changes the claims' text, for what a map can't hold.
func payload(change func(claims string) string) func(*draft) {
	return func(d *draft) { d.rawClaims = change(jsonOf(d.claims)) }
}

// member puts a member before the others, behind puts it after them.
func member(text string) func(*draft) {
	return payload(func(claims string) string { return "{" + text + "," + claims[1:] })
}

func behind(text string) func(*draft) {
	return payload(func(claims string) string { return claims[:len(claims)-1] + "," + text + "}" })
}

// client renames the claim that names the client, which is azp in the other dialects.
func client(value any) func(*draft) {
	return func(d *draft) {
		for _, name := range []string{"client_id", "azp"} {
			if _, ok := d.claims[name]; ok {
				if d.claims[name] = value; value == nil {
					delete(d.claims, name)
				}
			}
		}
	}
}

var (
	azp        = map[string]string{"Keycloak": "azp", "Auth0": "azp"}
	noClient   = map[string]string{"Keycloak": "azp or client_id", "Auth0": "azp or client_id"}
	takesNonce = map[string]string{"Keycloak": ""}
	noJTI      = map[string]string{"Auth0": ""}
)

var corpusClaims = []attack{
	{name: "iss-missing", bend: without("iss"), check: "iss"},
	{name: "iss-null", bend: claim("iss", nil), check: "iss"},
	{name: "iss-empty", bend: claim("iss", ""), check: "iss"},
	{name: "iss-slash", bend: claim("iss", "https://op.example/"), check: "iss"},
	{name: "iss-case", bend: claim("iss", "https://OP.example"), check: "iss"},
	{name: "iss-prefix", bend: claim("iss", "https://op.example.evil.example"), check: "iss"},
	{name: "iss-substring", bend: claim("iss", "https://op.exampl"), check: "iss"},
	{name: "iss-http", bend: claim("iss", "http://op.example"), check: "iss"},
	{name: "iss-port", bend: claim("iss", "https://op.example:443"), check: "iss"},
	{name: "iss-array", bend: claim("iss", []string{"https://op.example"}), check: "iss"},
	{name: "iss-noscheme", bend: claim("iss", "op.example"), check: "iss"},
	{name: "iss-nul", bend: claim("iss", "https://op.example\x00"), check: "iss"},
	{name: "self-issued", bend: func(d *draft) {
		d.claims["iss"], d.claims["sub_jwk"] = "https://self-issued.me", map[string]any{"kty": "EC"}
	}, check: "iss"},

	{name: "aud-missing", bend: without("aud"), check: "aud"},
	{name: "aud-null", bend: claim("aud", nil), check: "aud"},
	{name: "aud-empty", bend: claim("aud", ""), check: "aud"},
	{name: "aud-empty-array", bend: claim("aud", []string{}), check: "aud", near: claim("aud", []string{audience})},
	{name: "aud-null-member", bend: claim("aud", []any{nil, audience}), check: "aud", near: claim("aud", []any{"", audience})},
	{name: "aud-number-member", bend: claim("aud", []any{audience, 1}), check: "aud", near: claim("aud", []any{audience, "1"})},
	{name: "aud-nested-array", bend: claim("aud", []any{[]string{audience}}), check: "aud"},
	{name: "aud-other", bend: claim("aud", "https://other.example"), check: "aud"},
	{name: "aud-others", bend: claim("aud", []string{"a", "b"}), check: "aud", near: claim("aud", []string{"a", audience, "b"})},
	{name: "aud-substring", bend: claim("aud", audience[:len(audience)-1]), check: "aud"},
	{name: "aud-longer", bend: claim("aud", audience+"1"), check: "aud"},
	{name: "aud-slash", bend: claim("aud", audience+"/"), check: "aud"},
	{name: "aud-blank-list", bend: claim("aud", "x "+audience), check: "aud"},
	{name: "aud-case", bend: claim("aud", strings.ToUpper(audience)), check: "aud"},
	{name: "aud-object", bend: claim("aud", map[string]any{audience: audience}), check: "aud"},
	{name: "aud-wildcard", bend: claim("aud", "*"), check: "aud"},
	{name: "aud-escaped", bend: payload(func(c string) string { return strings.Replace(c, audience, `https:\/\/\u0061pi.example1`, 1) }), check: "aud",
		near: payload(func(c string) string { return strings.Replace(c, audience, `https:\/\/\u0061pi.example`, 1) })},
	{name: "azp-ours-aud-not", bend: func(d *draft) { client(audience)(d); d.claims["aud"] = "x" }, check: "aud"},
	{name: "aud-equals-client", bend: client(audience), check: "kind", near: func(d *draft) { client(audience)(d); d.claims["aud"] = []string{audience, "x"} },
		in: map[string]string{"RFC9068": "", "Keycloak": ""}}, // at+jwt and typ=Bearer say what it is

	{name: "sub-missing", bend: without("sub"), check: "sub"},
	{name: "sub-empty", bend: claim("sub", ""), check: "sub"},
	{name: "sub-null", bend: claim("sub", nil), check: "sub"},
	{name: "sub-number", bend: claim("sub", 1), check: "sub", near: claim("sub", "1")},
	{name: "sub-array", bend: claim("sub", []string{"alice"}), check: "sub"},
	{name: "sub-object", bend: claim("sub", map[string]any{"sub": "alice"}), check: "sub"},
	{name: "u0000", bend: claim("sub", "alice\x00"), check: "sub", near: claim("sub", "alice 0")},
	{name: "sub-line-feed", bend: claim("sub", "alice\nadmin"), check: "sub"},
	{name: "jti-missing", bend: without("jti"), check: "jti", in: noJTI},
	{name: "jti-empty", bend: claim("jti", ""), check: "jti", in: noJTI},
	{name: "jti-number", bend: claim("jti", 1), check: "jti", near: claim("jti", "1")},
	{name: "client-missing", bend: client(nil), check: "client_id", in: noClient},
	{name: "client-empty", bend: client(""), check: "client_id", in: noClient},
	{name: "client-array", bend: client([]string{"shop"}), check: "client_id", in: azp},
	{name: "client-number", bend: client(7), check: "client_id", near: client("7"), in: azp},
	{name: "client-nul", bend: client("shop\x00"), check: "client_id", in: azp},
	{name: "sid-number", bend: claim("sid", 7), check: "sid", near: claim("sid", "7")},

	{name: "exp-missing", bend: without("exp"), check: "exp"},
	{name: "exp-null", bend: claim("exp", nil), check: "exp"},
	{name: "exp-past", bend: at("exp", -61), check: "exp", near: at("exp", -59)},
	{name: "exp-at-the-leeway", bend: at("exp", -60), check: "exp", near: func(d *draft) { d.claims["exp"] = float64(in(-60)) + 0.5 }},
	{name: "exp-string", bend: func(d *draft) { d.claims["exp"] = fmt.Sprint(in(300)) }, check: "exp"},
	{name: "exp-float", bend: func(d *draft) { d.claims["exp"] = float64(in(-61)) + 0.5 }, check: "exp", near: func(d *draft) { d.claims["exp"] = float64(in(1)) + 0.5 }},
	{name: "exp-1e300", bend: claim("exp", number("1e300")), check: "exp", near: claim("exp", number("2.5e9"))},
	{name: "exp-1e-300", bend: claim("exp", number("1e-300")), check: "exp"},
	{name: "exp-1e400", bend: claim("exp", number("1e400")), check: "exp"},
	{name: "exp-digits", bend: claim("exp", number(strings.Repeat("9", 400))), check: "exp"},
	{name: "exp-wraps-64-bits", bend: claim("exp", number("18446744073709551617")), check: "exp"},
	{name: "exp-overflows-nanoseconds", bend: claim("exp", number("9223372036854775807")), check: "exp"},
	{name: "exp-negative", bend: claim("exp", -1), check: "exp"},
	{name: "exp-minus-zero", bend: claim("exp", number("-0")), check: "exp"},
	{name: "exp-zero", bend: claim("exp", 0), check: "exp"},
	{name: "exp-ms", bend: func(d *draft) { d.claims["exp"] = in(300) * 1000 }, check: "exp"},
	{name: "exp-year-10000", bend: claim("exp", number("253402300800")), check: "exp", near: claim("exp", number("253402300799"))},
	{name: "exp-bool", bend: claim("exp", true), check: "exp"},
	{name: "exp-array", bend: func(d *draft) { d.claims["exp"] = []int64{in(300)} }, check: "exp"},
	{name: "exp-object", bend: func(d *draft) { d.claims["exp"] = map[string]any{"exp": in(300)} }, check: "exp"},
	{name: "iat-missing", bend: without("iat"), check: "iat"},
	{name: "iat-null", bend: claim("iat", nil), check: "iat"},
	{name: "iat-future", bend: at("iat", 61), check: "iat", near: at("iat", 59)},
	{name: "iat-string", bend: claim("iat", "1"), check: "iat", near: claim("iat", 1)},
	{name: "iat-ms", bend: func(d *draft) { d.claims["iat"] = in(0) * 1000 }, check: "iat"},
	{name: "nbf-future", bend: at("nbf", 61), check: "nbf", near: at("nbf", 59)},
	{name: "nbf-negative", bend: claim("nbf", -1), check: "nbf", near: claim("nbf", 0)},
	{name: "nbf-string", bend: claim("nbf", "1"), check: "nbf", near: claim("nbf", nil)},
	{name: "nbf-1e400", bend: claim("nbf", number("1e400")), check: "nbf"},
	{name: "auth_time-string", bend: claim("auth_time", "1"), check: "auth_time", near: claim("auth_time", 1)},
	{name: "acr-array", bend: claim("acr", []string{"gold"}), check: "acr", near: claim("acr", "gold")},
	{name: "amr-object", bend: claim("amr", map[string]any{}), check: "amr", near: claim("amr", []string{"pwd"})},

	{name: "nonce", bend: claim("nonce", "n"), check: "kind", in: takesNonce},
	{name: "nonce-array", bend: claim("nonce", []string{"n"}), check: "kind", in: takesNonce},
	{name: "at_hash", bend: claim("at_hash", "x"), check: "kind"},
	{name: "c_hash", bend: claim("c_hash", 1), check: "kind"},
	{name: "s_hash", bend: claim("s_hash", ""), check: "kind"},
	{name: "events", bend: claim("events", map[string]any{}), check: "kind"},
	{name: "cnf-without-proof", bend: claim("cnf", map[string]any{"jkt": secret}), check: "cnf", near: claim("cnf", nil)},
	{name: "cnf-x5t", bend: claim("cnf", map[string]any{"x5t#S256": secret}), check: "cnf"},
	{name: "cnf-empty", bend: claim("cnf", map[string]any{}), check: "cnf"},
	{name: "cnf-string", bend: claim("cnf", secret), check: "cnf"},

	{name: "case-SUB", bend: claim("SUB", "admin"), check: "json", near: claim("subs", "admin")},
	{name: "case-ISS", bend: func(d *draft) { d.claims["ISS"] = d.claims["iss"]; delete(d.claims, "iss") }, check: "json"},
	{name: "case-Aud", bend: claim("Aud", audience), check: "json"},
	{name: "case-EXP", bend: func(d *draft) { d.claims["EXP"] = in(9999) }, check: "json"},
	{name: "case-Scope", bend: claim("Scope", "admin"), check: "json"},
	{name: "case-Client_ID", bend: claim("Client_ID", "admin"), check: "json"},
	{name: "case-CNF", bend: claim("Cnf", 1), check: "json"},
	{name: "case-Nonce", bend: claim("Nonce", 1), check: "json"},
	{name: "case-long-s", bend: claim("i\u017f\u017f", "x"), check: "json"},
	{name: "case-kelvin", bend: claim("to\u212aen_use", "x"), check: "json"},
	{name: "case-by-escape", bend: member(`"\u0053ub":"admin"`), check: "json", near: member(`"\u0053ubs":"admin"`)},
	{name: "case-of-two-unregistered", bend: func(d *draft) { d.claims["Roles"], d.claims["roles"] = "a", "b" }, check: "json", near: claim("Roles", "a")},
	{name: "dup-sub", bend: member(`"sub":"admin"`), check: "json"},
	{name: "dup-sub-behind", bend: behind(`"sub":"admin"`), check: "json"},
	{name: "dup-sub-null", bend: behind(`"sub":null`), check: "json"},
	{name: "dup-sub-by-escape", bend: behind(`"\u0073ub":"admin"`), check: "json"},
	{name: "dup-aud", bend: behind(`"aud":"x"`), check: "json"},
	{name: "dup-exp-equal", bend: func(d *draft) { behind(fmt.Sprintf(`"exp":%d`, d.claims["exp"]))(d) }, check: "json"},
	{name: "dup-nested", bend: claim("realm_access", json.RawMessage(`{"roles":["a"],"roles":["admin"]}`)), check: "json", near: claim("realm_access", json.RawMessage(`{"roles":["a"],"Roles":["admin"]}`))},
	{name: "bad-utf8", bend: member("\"x\":\"\xff\""), check: "json", near: member(`"x":"\u00ff"`)},
	{name: "bad-utf8-sub", bend: payload(func(c string) string { return strings.Replace(c, secret+"-alice", "alice\xc0\x80", 1) }), check: "json"},
	{name: "lone-surrogate", bend: member(`"x":"\ud800"`), check: "json", near: member(`"x":"\ud83d\ude00"`)},
	{name: "raw-control-character", bend: member("\"x\":\"\x01\""), check: "json", near: member(`"x":"\u0001"`)},
	{name: "deep-10000", bend: claim("x", json.RawMessage(nested(10_000))), check: "size"},
	{name: "deep-5000", bend: claim("x", json.RawMessage(nested(5_000))), check: "json"},
	{name: "deep-32", bend: claim("x", json.RawMessage(nested(32))), check: "json", near: claim("x", json.RawMessage(nested(31)))},
	{name: "payload-array", bend: payload(func(c string) string { return "[" + c + "]" }), check: "json", near: payload(func(c string) string { return " " + c + "\n" })},
	{name: "payload-string", bend: payload(func(c string) string { return jsonOf(c) }), check: "json"},
	{name: "payload-null", bend: payload(func(string) string { return "null" }), check: "json"},
	{name: "payload-not-json", bend: payload(func(string) string { return "sub=" + secret }), check: "json"},
	{name: "payload-trailing", bend: payload(func(c string) string { return c + "{}" }), check: "json"},
	{name: "payload-bom", bend: payload(func(c string) string { return "\ufeff" + c }), check: "json"},
	{name: "payload-comment", bend: member("/**/"), check: "json"},
	{name: "payload-trailing-comma", bend: payload(func(c string) string { return c[:len(c)-1] + ",}" }), check: "json"},
	{name: "payload-nan", bend: behind(`"x":NaN`), check: "json", near: behind(`"x":1e999`)},
	{name: "payload-another-token", bend: func(d *draft) { token := d.token(); d.rawClaims = token }, check: "json"},
}

func TestTheCorpusOfClaims(t *testing.T) { run(t, corpusClaims, nil) }

func TestAKeycloakTokenIsMarkedAsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCorpus(t, "PS256", dialects[1])
		for _, a := range []attack{
			{bend: without("typ"), check: "typ"}, {bend: claim("typ", "ID"), check: "typ"}, {bend: claim("typ", "Refresh"), check: "typ"},
			{bend: claim("typ", "bearer"), check: "typ"}, {bend: claim("typ", []string{"Bearer"}), check: "typ"}, {bend: claim("Typ", "ID"), check: "json"},
		} {
			c.try(t, a)
		}
	})
}

// Scopes are divided by blanks alone (RFC 6749 section 3.3): whatever else looks like one to some reader may stand in a name that somebody registered.
func TestScopesAreDividedByBlanksAlone(t *testing.T) {
	for _, d := range dialects {
		c := newCorpus(t, "EdDSA", d)
		for value, want := range map[any]string{
			"read admin": "read,admin", " read  admin ": "read,admin", "read\u00a0admin": "read\u00a0admin", "read\u2003admin": "read\u2003admin",
			"read\tadmin": "read\tadmin", "read\nadmin": "read\nadmin", "read\u0085admin": "read\u0085admin", "read,admin": "read,admin!", "": "",
		} {
			tok := c.accepts(t, c.mint(claim("scope", value)))
			if got := strings.Join(tok.Scopes, ","); got != strings.TrimSuffix(want, "!") {
				t.Errorf("%q has the scopes %q", value, got)
			}
			if tok.HasScope("admin") != (want == "read,admin") {
				t.Errorf("%q: admin is %v", value, tok.HasScope("admin"))
			}
		}
		c.refuses(t, c.mint(claim("scope", 7)), "scope")
		c.refuses(t, c.mint(claim("scope", map[string]any{"admin": true})), "scope")
		if tok := c.accepts(t, c.mint(claim("scope", []string{"a admin"}))); tok.HasScope("admin") {
			t.Error("a member of a list is divided")
		}
	}
}

// The clock jumps by hours, as after a sleep or a correction: a token ends, and one from the time to come begins, without an error in between.
func TestTheClockMayJump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCorpus(t, "ES256", dialects[0])
		now := c.mint(func(d *draft) { d.claims["exp"] = in(3600) })
		later := c.mint(func(d *draft) { d.claims["nbf"], d.claims["iat"], d.claims["exp"] = in(7200), in(7200), in(10_800) })
		c.accepts(t, now)
		c.refuses(t, later, "iat")
		time.Sleep(2 * time.Hour)
		c.refuses(t, now, "exp")
		c.accepts(t, later)
		time.Sleep(48 * time.Hour)
		c.refuses(t, later, "exp")
		c.accepts(t, c.mint(nil))
	})
}

func TestALeewayIsItsOwnToTheSecond(t *testing.T) {
	for leeway, x := range map[time.Duration]struct{ good, bad int64 }{0: {59, 61}, time.Second: {0, 1}, 5 * time.Minute: {299, 301}} {
		synctest.Test(t, func(t *testing.T) {
			c := newCorpus(t, "EdDSA", dialects[0]).with(func(cfg *bearer.Config) { cfg.Leeway = leeway })
			c.try(t, attack{near: at("exp", -x.good), bend: at("exp", -x.bad), check: "exp"})
			c.try(t, attack{near: at("iat", x.good), bend: at("iat", x.bad+1), check: "iat"})
			c.try(t, attack{near: at("nbf", x.good), bend: at("nbf", x.bad+1), check: "nbf"})
		})
	}
}

// A deny list and a rule are asked whatever the cache knows, and a refusal by the one says no more than any other.
func TestARevokedTokenIsRefusedAlthoughRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		revoked := map[string]bool{}
		c := newCorpus(t, "EdDSA", dialects[0]).with(func(cfg *bearer.Config) {
			cfg.Revoked = func(_ context.Context, tok *bearer.Token) (bool, error) { return revoked[tok.ID], nil }
		})
		good := c.mint(nil)
		c.accepts(t, good)
		revoked[secret+"-id"] = true
		c.refuses(t, good, "revoked")
		if err := verifyError(t, c.api, good); !errors.Is(err, bearer.ErrRevoked) {
			t.Errorf("error is %v", err)
		}
	})
}

// An empty list is as good as none: it must not make the claim optional.
func TestAnEmptyListOfClientClaimsAsksForClientID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := dialects[0]
		d.profile.ClientID, d.profile.Scope = []string{}, []string{}
		c := newCorpus(t, "EdDSA", d)
		c.try(t, attack{bend: without("client_id"), check: "client_id"})
		if tok := c.accepts(t, c.mint(nil)); !tok.HasScope("orders:read") {
			t.Error("no scopes are read")
		}
	})
}
