package rp

import (
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/internal/strictjson"
)

// The standard claims of OpenID Connect Core 5.1. Each is "" or zero when the provider does not send it.

// Subject is sub: with the issuer, the user's identity.
func (c Claims) Subject() string { return c.Text("sub") }

// Name is the full name as shown.
func (c Claims) Name() string { return c.Text("name") }

// GivenName is given_name.
func (c Claims) GivenName() string { return c.Text("given_name") }

// FamilyName is family_name.
func (c Claims) FamilyName() string { return c.Text("family_name") }

// MiddleName is middle_name.
func (c Claims) MiddleName() string { return c.Text("middle_name") }

// Nickname is nickname.
func (c Claims) Nickname() string { return c.Text("nickname") }

// PreferredUsername is preferred_username: for showing; it is not unique and may change.
func (c Claims) PreferredUsername() string { return c.Text("preferred_username") }

// Profile is the URL of the profile page. Like every URL in claims it is the user's or provider's word: fetching it is your risk.
func (c Claims) Profile() string { return c.Text("profile") }

// Picture is the URL of a picture.
func (c Claims) Picture() string { return c.Text("picture") }

// Website is the URL of the user's page.
func (c Claims) Website() string { return c.Text("website") }

// Email is the preferred address; see VerifiedEmail before you act on it.
func (c Claims) Email() string { return c.Text("email") }

// EmailVerified reports whether the provider says that the user controls Email: JSON true, see Bool.
func (c Claims) EmailVerified() bool { return c.Bool("email_verified") }

// VerifiedEmail returns Email if EmailVerified and if it has the form of one address.
func (c Claims) VerifiedEmail() (string, bool) {
	email := c.Email()
	if _, _, ok := splitEmail(email); !ok || !c.EmailVerified() {
		return "", false
	}
	return email, true
}

// Gender is gender.
func (c Claims) Gender() string { return c.Text("gender") }

// Birthdate is YYYY-MM-DD, 0000-MM-DD or YYYY.
func (c Claims) Birthdate() string { return c.Text("birthdate") }

// Zoneinfo is a name of the time zone database.
func (c Claims) Zoneinfo() string { return c.Text("zoneinfo") }

// Locale is a BCP 47 language tag.
func (c Claims) Locale() string { return c.Text("locale") }

// PhoneNumber is phone_number, E.164 as a rule.
func (c Claims) PhoneNumber() string { return c.Text("phone_number") }

// PhoneNumberVerified is phone_number_verified: JSON true, see Bool.
func (c Claims) PhoneNumberVerified() bool { return c.Bool("phone_number_verified") }

// UpdatedAt is updated_at, see Time.
func (c Claims) UpdatedAt() time.Time { return c.Time("updated_at") }

// Localized is the claim in the given language (name#de, Core 5.2), or without a tag when there is none.
func (c Claims) Localized(name, language string) string {
	for member := range c.members() {
		base, tag, ok := strings.Cut(member, "#")
		if ok && base == name && strings.EqualFold(tag, language) {
			return c.Text(member)
		}
	}
	return c.Text(name)
}

// Address is the address claim (Core 5.1.1).
type Address struct {
	Formatted, StreetAddress, Locality, Region, PostalCode, Country string
}

// Address is the address claim; empty when it is absent or, as some providers send it, no object.
func (c Claims) Address() Address {
	members, err := strictjson.Object(c.members()["address"])
	if err != nil {
		return Address{}
	}
	a := newClaims(nil, members)
	return Address{
		Formatted: a.Text("formatted"), StreetAddress: a.Text("street_address"), Locality: a.Text("locality"),
		Region: a.Text("region"), PostalCode: a.Text("postal_code"), Country: a.Text("country"),
	}
}

// EmailInDomain reports whether email is one plain address in exactly this domain, no subdomain of it: for rules such as "our staff". Case of the domain does
// not count. Anything odd (a second @, characters outside ASCII, blanks) is in no domain.
func EmailInDomain(email, domain string) bool {
	_, have, ok := splitEmail(email)
	return ok && domain != "" && strings.EqualFold(have, domain)
}

// splitEmail takes an address apart that has one @ and nothing that two readers could take differently.
func splitEmail(email string) (local, domain string, ok bool) {
	local, domain, _ = strings.Cut(email, "@")
	if local == "" || domain == "" || len(email) > 254 {
		return "", "", false
	}
	for i := range len(email) {
		if b := email[i]; b <= ' ' || b > '~' || strings.IndexByte(`"(),:;<>[\]`, b) >= 0 {
			return "", "", false
		}
	}
	return local, domain, !strings.Contains(domain, "@")
}
