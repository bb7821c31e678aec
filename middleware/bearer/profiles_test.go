package bearer_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/middleware/bearer"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

// vendor is a provider as its documents and its users show it; every value is invented.
type vendor struct {
	profile  bearer.Profile
	issuer   bearer.Issuer // but for Profile and Audiences
	document string        // where the discovery document lies; empty: under the issuer
	audience string
	typ      string // header of access tokens; "": none
	claims   map[string]any

	client, scopes string                     // as read
	roles          func(*bearer.Token) string // what else an API would look at
	wantRoles      string
	zero           string // the check by which the zero Profile refuses it; "": it accepts it
	also           map[string]variant
	refused        map[string]variant
}

// variant is another token of the same provider. Its claims are those of the vendor with changes, unless claims is set.
type variant struct {
	typ     string // "": the vendor's; "none": none
	claims  map[string]any
	changes []any
	check   string // that refuses it
}

const (
	tenant = "11111111-2222-3333-4444-555555555555"
	apiID  = "aaaaaaaa-0000-0000-0000-00000000000a"
	appID  = "bbbbbbbb-0000-0000-0000-00000000000b"
)

func list(items ...string) []string { return items }

func sorted(m map[string]any) string { return fmt.Sprint(slices.Sorted(maps.Keys(m))) }

func TestEachProvidersAccessTokensAreReadRightAndItsOtherTokensRefused(t *testing.T) {
	op, err := rptest.New(rptest.Options{Issuer: "https://signer.example"})
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]vendor{
		"Keycloak": keycloak(), "Entra": entra(), "Entra v1.0": entraV1(), "Azure AD B2C": azureB2C(), "AD FS": adfs(), "Okta": okta(), "Auth0": auth0(), "Cognito": cognito(), "Hydra": hydra(),
		"ZITADEL": zitadel(), "Kubernetes": kubernetes(), "GitHub Actions": githubActions(), "Duende IdentityServer": duende(), "OpenIddict": openiddict(), "Authelia": authelia(),
	} {
		t.Run(name, func(t *testing.T) {
			preset, zero := d.verifier(t, op, d.profile), d.verifier(t, op, bearer.Profile{})
			raw := d.sign(op, variant{})
			token, err := preset.Verify(t.Context(), raw)
			if err != nil {
				t.Fatal(err)
			}
			subject, _ := d.claims["sub"].(string)
			if token.Issuer != d.issuer.Issuer || token.ClientID != d.client || fmt.Sprint(token.Scopes) != d.scopes || token.Subject != subject || token.Expiry.IsZero() || token.IssuedAt.IsZero() {
				t.Errorf("read as %+v with scopes %v", token, token.Scopes)
			}
			if got := d.roles(token); got != d.wantRoles {
				t.Errorf("roles %s, want %s", got, d.wantRoles)
			}
			if _, err := zero.Verify(t.Context(), raw); checkOf(err) != d.zero {
				t.Errorf("the zero profile: %v, want %q", err, d.zero)
			}
			for name, v := range d.also {
				if token, err := preset.Verify(t.Context(), d.sign(op, v)); err != nil {
					t.Errorf("%s: %v", name, err)
				} else if token.ClientID == "" && d.client != "" {
					t.Errorf("%s: no client", name)
				}
			}
			for name, v := range d.refused {
				_, err := preset.Verify(t.Context(), d.sign(op, v))
				if checkOf(err) != v.check || !errors.Is(err, bearer.ErrInvalidToken) {
					t.Errorf("%s: %v, want %q", name, err, v.check)
				}
			}
		})
	}
}

func (d *vendor) verifier(t *testing.T, op *rptest.Provider, profile bearer.Profile) *bearer.Verifier {
	t.Helper()
	is := d.issuer
	is.Profile, is.Audiences = profile, []string{d.audience}
	documented := is.Discovery.Issuer
	if documented == "" {
		documented = is.Issuer
	}
	net := &web{}
	if is.Discovery.DiscoveryURL = d.document; d.document == "" {
		net.publish(t, op, strings.TrimSuffix(documented, "/")+"/.well-known/openid-configuration", documented)
	} else {
		net.publish(t, op, d.document, documented)
	}
	v, err := bearer.New(bearer.Config{Issuers: []bearer.Issuer{is}, HTTPClient: net.client()})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (d *vendor) sign(op *rptest.Provider, v variant) string {
	now := time.Now().Unix()
	claims := map[string]any{"iss": d.issuer.Issuer, "aud": d.audience, "iat": now, "nbf": now, "exp": now + 300}
	if v.claims != nil {
		claims = with(claims, pairs(v.claims)...)
	} else {
		claims = with(claims, append(pairs(d.claims), v.changes...)...)
	}
	typ := v.typ
	if typ == "" {
		typ = d.typ
	}
	header := rptest.WithHeader("typ", typ)
	if typ == "" || typ == "none" {
		header = rptest.WithoutHeader("typ")
	}
	return op.SignBent(claims, header, rptest.WithHeader("x5t", "invented"))
}

func pairs(m map[string]any) (all []any) {
	for name, value := range m {
		all = append(all, name, value)
	}
	return all
}
