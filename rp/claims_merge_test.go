package rp_test

import (
	"testing"

	"github.com/latchkey-go/latchkey/rp"
)

func TestAVerifiedFlagStaysWithTheAddressItWasSaidOf(t *testing.T) {
	for _, c := range []struct{ name, id, info, email, verified string }{
		{"both from UserInfo", `{"email":"a@x.example","email_verified":false}`, `{"email":"b@x.example","email_verified":true}`, "b@x.example", "b@x.example"},
		{"another address without a flag", `{"email":"a@x.example","email_verified":true}`, `{"email":"b@x.example"}`, "b@x.example", ""},
		{"another address with no known flag", `{"email":"a@x.example","email_verified":true}`, `{"email":"b@x.example","email_verified":null}`, "b@x.example", ""},
		{"the same address without a flag", `{"email":"a@x.example","email_verified":true}`, `{"email":"a@x.example"}`, "a@x.example", "a@x.example"},
		{"a flag without its address", `{"email":"a@x.example","email_verified":false}`, `{"email_verified":true}`, "a@x.example", ""},
		{"a flag without any address before", `{"email":"a@x.example"}`, `{"email_verified":true}`, "a@x.example", ""},
		{"the address in the ID token only", `{"email":"a@x.example","email_verified":true}`, `{"name":"A"}`, "a@x.example", "a@x.example"},
		{"the address in UserInfo only", `{"name":"A"}`, `{"email":"a@x.example","email_verified":true}`, "a@x.example", "a@x.example"},
		{"an address emptied", `{"email":"a@x.example","email_verified":true}`, `{"email":""}`, "", ""},
	} {
		merged := claims(t, c.id).Merge(claims(t, c.info))
		if got, _ := merged.VerifiedEmail(); merged.Email() != c.email || got != c.verified {
			t.Errorf("%s: %q, verified %q, want %q, %q", c.name, merged.Email(), got, c.email, c.verified)
		}
	}
	phone := claims(t, `{"phone_number":"+1","phone_number_verified":true}`).Merge(claims(t, `{"phone_number":"+2"}`))
	if phone.PhoneNumber() != "+2" || phone.PhoneNumberVerified() {
		t.Errorf("another number took over the flag: %s", phone.Raw())
	}
}

func TestUserInfoAddsNothingToWhatWasVerified(t *testing.T) {
	id := claims(t, `{"iss":"i","sub":"s","name":"old"}`)
	for _, info := range []string{`{"acr":"gold"}`, `{"amr":["mfa"]}`, `{"auth_time":1}`, `{"sid":"x"}`, `{"SUB":"evil"}`, `{"\u017fub":"evil"}`} {
		merged := id.Merge(claims(t, info)).Merge(claims(t, `{"nickname":"n"}`))
		if got := len(merged.Names()); got != 4 || merged.Nickname() != "n" {
			t.Errorf("%s: merged %s", info, merged.Raw())
		}
		var user struct {
			Sub string `json:"sub"`
		}
		if err := merged.Decode(&user); err != nil || user.Sub != "s" {
			t.Errorf("%s: decoded %q, %v", info, user.Sub, err)
		}
	}
	if all := (rp.Claims{}).Merge(id); all.Subject() != "s" || all.Name() != "old" {
		t.Errorf("over nothing: %s", all.Raw())
	}
}
