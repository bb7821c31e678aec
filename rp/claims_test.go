package rp_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/rp"
)

func claims(t testing.TB, raw string) rp.Claims {
	t.Helper()
	c, err := rp.NewClaims([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func tolerant(t *testing.T, raw string) rp.Claims {
	t.Helper()
	client, err := rp.New(rp.Config{Issuer: "https://op.example", ClientID: "c", Quirks: rp.Quirks{StringBooleans: true}})
	if err != nil {
		t.Fatal(err)
	}
	return client.Tolerate(claims(t, raw))
}

func TestEmailVerifiedNeedsJSONTrue(t *testing.T) {
	for value, want := range map[string]bool{`true`: true, `false`: false, `"true"`: false, `"false"`: false, `1`: false, `[true]`: false, `{}`: false, `null`: false, `"TRUE"`: false, `"yes"`: false} {
		c := claims(t, `{"email":"a@b.example","email_verified":`+value+`}`)
		if _, ok := c.VerifiedEmail(); c.EmailVerified() != want || ok != want {
			t.Errorf("%s counts as %t", value, c.EmailVerified())
		}
	}
	if claims(t, `{"email":"a@b.example"}`).EmailVerified() {
		t.Error("absent counts as verified")
	}
}

// Cognito, PayPal, JumpCloud and Apple send strings; the client must have been told.
func TestProviderCognitoEmailVerifiedStringCountsOnlyWhenNamed(t *testing.T) {
	if !tolerant(t, `{"email":"a@b.example","email_verified":"true"}`).EmailVerified() {
		t.Error("Quirks.StringBooleans has no effect")
	}
	for _, value := range []string{`"false"`, `"True"`, `1`, `"1"`} {
		if tolerant(t, `{"email":"a@b.example","email_verified":`+value+`}`).EmailVerified() {
			t.Errorf("%s counts as verified", value)
		}
	}
}

func TestEmailInDomainIsExact(t *testing.T) {
	for email, want := range map[string]bool{
		"a@corp.example": true, "A.b+c@CORP.example": true, "a@evilcorp.example": false, "a@corp.example.evil": false, "a@sub.corp.example": false, "a@b@corp.example": false,
		"a@evil.example@corp.example": false, "a＠corp.example": false, "a@corp。example": false, "corp.example": false, "@corp.example": false, "a@": false, "": false,
		"\"a@evil.example\"@corp.example": false, "a b@corp.example": false, "a@corp.example\n": false, "a@corp.example ": false, "ä@corp.example": false, "<a@corp.example>": false,
	} {
		if got := rp.EmailInDomain(email, "corp.example"); got != want {
			t.Errorf("%q: %t", email, got)
		}
	}
	if rp.EmailInDomain("a@", "") || rp.EmailInDomain("a@b", "") {
		t.Error("an empty domain matches")
	}
}

func TestTypedClaimsReadAsZeroWhenAbsentOrOfAnotherType(t *testing.T) {
	c := claims(t, `{"name":7,"email":[],"address":[],"updated_at":{},"groups":{},"picture":null,"zoneinfo":"","amr":[1,"pwd",null]}`)
	if c.Name() != "" || c.Email() != "" || c.Address() != (rp.Address{}) || !c.UpdatedAt().IsZero() || c.Strings("groups") != nil || c.Picture() != "" || c.Has("picture") || !c.Has("name") {
		t.Error("a claim of the wrong type was read")
	}
	if got := c.Strings("amr"); !slices.Equal(got, []string{"pwd"}) {
		t.Errorf("amr %q", got)
	}
	var zero rp.Claims
	if zero.Name() != "" || zero.Has("sub") || string(zero.Raw()) != "{}" || zero.Sources() != nil || zero.Names() != nil {
		t.Error("the zero value is not empty")
	}
}

func TestStandardClaims(t *testing.T) {
	c := claims(t, `{"sub":"s","name":"n","given_name":"g","family_name":"f","middle_name":"m","nickname":"k","preferred_username":"u","profile":"p","picture":"i","website":"w","email":"e@x.example",
		"gender":"x","birthdate":"0000-02-29","zoneinfo":"Europe/Berlin","locale":"de-DE","phone_number":"+49","phone_number_verified":true,"updated_at":1700000000.5,"name#de":"Name","name#ja-Kana-JP":"ナ",
		"address":{"formatted":"a","street_address":"b","locality":"c","region":"d","postal_code":"e","country":"f"}}`)
	for got, want := range map[string]string{
		c.Subject(): "s", c.Name(): "n", c.GivenName(): "g", c.FamilyName(): "f", c.MiddleName(): "m", c.Nickname(): "k", c.PreferredUsername(): "u", c.Profile(): "p", c.Picture(): "i", c.Website(): "w",
		c.Email(): "e@x.example", c.Gender(): "x", c.Birthdate(): "0000-02-29", c.Zoneinfo(): "Europe/Berlin", c.Locale(): "de-DE", c.PhoneNumber(): "+49",
		c.Localized("name", "DE"): "Name", c.Localized("name", "ja-Kana-JP"): "ナ", c.Localized("nickname", "fr"): "k",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if !c.PhoneNumberVerified() || c.Address() != (rp.Address{"a", "b", "c", "d", "e", "f"}) || !c.UpdatedAt().Equal(time.Unix(1700000000, 5e8)) {
		t.Errorf("%v %v", c.Address(), c.UpdatedAt())
	}
}

func TestProviderTimesAsTheyCome(t *testing.T) {
	want := time.Unix(1700000000, 0)
	for name, value := range map[string]string{
		"a number": `1700000000`, "Auth0 in ID tokens": `"2023-11-14T22:13:20Z"`, "Auth0 at UserInfo": `"1700000000"`, "WSO2, milliseconds": `1700000000000`, "an offset": `"2023-11-14T23:13:20+01:00"`,
	} {
		if got := claims(t, `{"updated_at":`+value+`}`).UpdatedAt(); !got.Equal(want) {
			t.Errorf("%s: %v", name, got)
		}
	}
	for _, value := range []string{`0`, `-5`, `1e300`, `"yesterday"`, `true`, `"NaN"`, `"Inf"`, `""`} {
		if got := claims(t, `{"updated_at":`+value+`}`).UpdatedAt(); !got.IsZero() {
			t.Errorf("%s: %v", value, got)
		}
	}
}

func TestRolesAreFoundByTheirPath(t *testing.T) {
	c := claims(t, `{"groups":"one","realm_access":{"roles":["a","b"]},"resource_access":{"shop":{"roles":["c"]}},"https://x.example/roles":["d"]}`)
	for _, row := range []struct {
		path []string
		want []string
	}{
		{[]string{"groups"}, []string{"one"}}, {[]string{"realm_access", "roles"}, []string{"a", "b"}}, {[]string{"resource_access", "shop", "roles"}, []string{"c"}},
		{[]string{"https://x.example/roles"}, []string{"d"}}, {[]string{"realm_access", "nothing"}, nil}, {[]string{"groups", "roles"}, nil}, {nil, nil}, {[]string{"Groups"}, nil},
	} {
		if got := c.Strings(row.path...); !slices.Equal(got, row.want) {
			t.Errorf("%q: %q", row.path, got)
		}
	}
}

func TestClaimsDecodeIntoTheCallersTypes(t *testing.T) {
	c := claims(t, `{"tenant":{"id":7},"level":"high"}`)
	var all struct {
		Tenant struct{ ID int } `json:"tenant"`
		Level  string           `json:"level"`
	}
	if err := c.Decode(&all); err != nil || all.Tenant.ID != 7 || all.Level != "high" {
		t.Errorf("%+v %v", all, err)
	}
	var level int
	if err := c.DecodeClaim("level", &level); err == nil || strings.Contains(err.Error(), "high") {
		t.Errorf("%v", err)
	}
	if err := c.DecodeClaim("none", &level); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("%v", err)
	}
	if n, ok := claims(t, `{"n":12}`).Int64("n"); !ok || n != 12 {
		t.Error(n, ok)
	}
	if _, ok := claims(t, `{"n":1.5}`).Int64("n"); ok {
		t.Error("1.5 is whole")
	}
}

func TestClaimsAreReadStrictly(t *testing.T) {
	for _, raw := range []string{`{"sub":"a","sub":"b"}`, `{"sub":"a","SUB":"b"}`, `[]`, `"x"`, ``, `{"a":"\ud800"}`, "{\"a\":\"\xff\"}", `{"a":1}{}`} {
		if c, err := rp.NewClaims([]byte(raw)); err == nil {
			t.Errorf("%q: %v", raw, c)
		}
	}
}

func TestUserInfoLaidOverIDTokenChangesNoIdentity(t *testing.T) {
	c := claims(t, `{"iss":"i","sub":"s","name":"old"}`).Merge(claims(t, `{"iss":"evil","sub":"evil","name":"new","email":"e@x.example"}`))
	if c.Subject() != "s" || c.Text("iss") != "i" || c.Name() != "new" || c.Email() != "e@x.example" {
		t.Errorf("%s", c.Raw())
	}
	var back map[string]any
	if err := json.Unmarshal(c.Raw(), &back); err != nil || len(back) != 4 {
		t.Errorf("%v %v", back, err)
	}
}

func TestPrintedClaimsShowNames(t *testing.T) {
	c := claims(t, `{"email":"marked@x.example","_claim_names":{"a":"s"},"_claim_sources":{"s":{"endpoint":"https://x.example","access_token":"marked"}}}`)
	for _, v := range []any{c, &c, c.Sources(), c.Sources()[0]} {
		if text := fmt.Sprintf("%v %+v %#v %s", v, v, v, v); strings.Contains(text, "marked") {
			t.Error(text)
		}
	}
}

func TestOIDCCClientTestAggregatedAndDistributedClaims(t *testing.T) {
	c := claims(t, `{"_claim_names":{"address":"src1","phone_number":"src1","credit_score":"src2","lost":"src9","odd":7},
		"_claim_sources":{"src1":{"JWT":"header.payload."},"src2":{"endpoint":"https://bank.example/claims","access_token":"ksj3n283dke"},"src3":{"JWT":7},"src4":{}}}`)
	got := c.Sources()
	if len(got) != 2 || got[0].JWT != "header.payload." || !slices.Equal(got[0].Names, []string{"address", "phone_number"}) ||
		got[1].Endpoint != "https://bank.example/claims" || got[1].AccessToken != "ksj3n283dke" || !slices.Equal(got[1].Names, []string{"credit_score"}) {
		t.Errorf("%+q", got)
	}
	if c.Address() != (rp.Address{}) || c.PhoneNumber() != "" {
		t.Error("an unverified source was believed")
	}
	for _, raw := range []string{`{"_claim_names":[],"_claim_sources":{}}`, `{"_claim_names":{"a":"b"}}`, `{"_claim_sources":7,"_claim_names":{"a":"b"}}`} {
		if got := claims(t, raw).Sources(); got != nil {
			t.Errorf("%s: %v", raw, got)
		}
	}
	// Entra, more than 200 groups.
	if got := claims(t, `{"_claim_names":{"groups":"src1"},"_claim_sources":{"src1":{"endpoint":"https://graph.example/getMemberObjects"}}}`).Sources(); len(got) != 1 || got[0].Names[0] != "groups" {
		t.Errorf("%v", got)
	}
}

func FuzzClaims(f *testing.F) {
	for _, seed := range []string{`{"sub":"s","email":"a@b.c","email_verified":true}`, `{"_claim_names":{"a":"b"},"_claim_sources":{"b":{"JWT":"x"}}}`, `{"updated_at":"1e9","address":{"country":"x"}}`, `{"a":{"b":{"c":["d"]}}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := rp.NewClaims(raw)
		if err != nil {
			return
		}
		_, _, _, _, _ = c.Name(), c.Address(), c.UpdatedAt(), c.Sources(), c.Strings("a", "b", "c")
		if email, ok := c.VerifiedEmail(); ok && (strings.Count(email, "@") != 1 || !strings.Contains(string(raw), "true")) {
			t.Errorf("%q is a verified address", email)
		}
		if again, err := rp.NewClaims(c.Merge(c).Raw()); err != nil || len(again.Names()) != len(c.Names()) {
			t.Errorf("merged: %v", err)
		}
	})
}

func ExampleClaims() {
	c, err := rp.NewClaims([]byte(`{"sub":"248289761001","name":"Jane Doe","email":"jane@example.com","email_verified":true,"realm_access":{"roles":["buyer"]}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	email, ok := c.VerifiedEmail()
	fmt.Println(c.Name(), email, ok, c.Strings("realm_access", "roles"))
	// Output: Jane Doe jane@example.com true [buyer]
}

func ExampleClaims_Decode() {
	c, err := rp.NewClaims([]byte(`{"sub":"1","tenant":{"id":7,"plan":"gold"}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	var mine struct {
		Tenant struct {
			ID   int    `json:"id"`
			Plan string `json:"plan"`
		} `json:"tenant"`
	}
	if err := c.Decode(&mine); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(mine.Tenant.ID, mine.Tenant.Plan)
	// Output: 7 gold
}
