package bearer_test

import (
	"fmt"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
	"github.com/latchkey-go/latchkey/middleware/bearer"
)

func entra() vendor {
	idToken := map[string]any{"aio": "A", "name": "Alice Archer", "oid": "o-1", "preferred_username": "alice@shop.example", "rh": "0.A", "sub": "s-2", "tid": tenant, "uti": "u", "ver": "2.0"}
	return vendor{
		profile: bearer.Entra(), issuer: bearer.Issuer{Issuer: "https://login.microsoftonline.com/" + tenant + "/v2.0"}, audience: apiID, typ: "JWT",
		claims: map[string]any{
			"aio": "AVQAq", "azp": appID, "azpacr": "1", "name": "Alice Archer", "oid": "o-1", "preferred_username": "alice@shop.example", "rh": "0.AAAA", "scp": "Orders.Read Orders.List",
			"sid": "s-1", "sub": "pairwise", "tid": tenant, "uti": "u-1", "ver": "2.0", "xms_ftd": "x",
		},
		client: appID, scopes: "[Orders.Read Orders.List]", zero: "typ",
		roles:     func(t *bearer.Token) string { return t.Text("oid") + " " + t.Text("tid") },
		wantRoles: "o-1 " + tenant,
		also: map[string]variant{
			"of an application":              {changes: []any{"scp", nil, "roles", list("Orders.Read.All"), "sub", "o-2", "oid", "o-2", "idtyp", "app", "sid", nil, "name", nil, "preferred_username", nil}},
			"of an API that is its own user": {changes: []any{"azp", apiID}},
		},
		refused: map[string]variant{
			"ID token":           {claims: with(idToken, "nonce", "n-1"), check: "kind"},
			"bare ID token":      {claims: idToken, check: "azp"},
			"v1.0":               {changes: []any{"ver", "1.0", "appid", appID, "azp", nil}, check: "ver"},
			"no version":         {changes: []any{"ver", nil}, check: "ver"},
			"version as number":  {changes: []any{"ver", 2.0}, check: "ver"},
			"for Graph":          {changes: []any{"aud", "00000003-0000-0000-c000-000000000000"}, check: "aud"},
			"by its App ID URI":  {changes: []any{"aud", "api://" + apiID}, check: "aud"},
			"bound to a key":     {changes: []any{"cnf", map[string]any{"kid": "x"}}, check: "cnf"},
			"of another tenant":  {changes: []any{"iss", "https://login.microsoftonline.com/99999999-2222-3333-4444-555555555555/v2.0"}, check: "iss"},
			"of a v1.0 endpoint": {changes: []any{"iss", "https://sts.windows.net/" + tenant + "/"}, check: "iss"},
		},
	}
}

func entraV1() vendor {
	const uri = "api://orders.example"
	return vendor{
		profile: bearer.EntraV1(), issuer: bearer.Issuer{Issuer: "https://sts.windows.net/" + tenant + "/"}, audience: uri, typ: "JWT",
		document: "https://login.microsoftonline.com/" + tenant + "/.well-known/openid-configuration",
		claims: map[string]any{
			"acr": "1", "aio": "E2", "amr": list("pwd", "mfa"), "appid": appID, "appidacr": "0", "family_name": "Archer", "given_name": "Alice", "ipaddr": "192.0.2.1", "name": "Alice Archer",
			"oid": "o-1", "rh": "0.A", "scp": "user_impersonation", "sub": "pairwise", "tid": tenant, "unique_name": "alice@shop.example", "upn": "alice@shop.example", "uti": "u-1", "ver": "1.0",
		},
		client: appID, scopes: "[user_impersonation]", zero: "typ",
		roles:     func(t *bearer.Token) string { return fmt.Sprint(t.Text("upn"), t.AMR, t.ACR) },
		wantRoles: "alice@shop.example[pwd mfa]1",
		also:      map[string]variant{"of an application": {changes: []any{"scp", nil, "roles", list("Orders.Read.All"), "idp", "https://sts.windows.net/" + tenant + "/", "acr", nil, "amr", nil}}},
		refused: map[string]variant{
			"ID token":      {claims: map[string]any{"amr": list("pwd"), "nonce": "n-1", "oid": "o-1", "sub": "s", "tid": tenant, "unique_name": "alice", "ver": "1.0"}, check: "kind"},
			"bare ID token": {claims: map[string]any{"amr": list("pwd"), "oid": "o-1", "sub": "s", "tid": tenant, "unique_name": "alice", "ver": "1.0"}, check: "appid"},
			"v2.0":          {changes: []any{"ver", "2.0", "azp", appID, "appid", nil}, check: "ver"},
			"a trap of typ": {typ: "dpop+jwt", check: "typ"},
		},
	}
}

func azureB2C() vendor {
	idToken := map[string]any{"ver": "1.0", "sub": "o-1", "auth_time": 1767225600, "name": "Alice", "idp": "facebook.com", "emails": list("alice@shop.example"), "tfp": "B2C_1_signin"}
	return vendor{
		profile: bearer.AzureB2C(), issuer: bearer.Issuer{Issuer: "https://shop.b2clogin.com/" + tenant + "/v2.0/"}, audience: apiID, typ: "JWT",
		document: "https://shop.b2clogin.com/shop.onmicrosoft.com/B2C_1_signin/v2.0/.well-known/openid-configuration",
		claims: map[string]any{
			"oid": "o-1", "sub": "o-1", "name": "Alice", "emails": list("alice@shop.example"), "tfp": "B2C_1_signin", "nonce": "anyRandomValue", "scp": "read write", "azp": appID, "ver": "1.0",
		},
		client: appID, scopes: "[read write]", zero: "typ",
		roles:     func(t *bearer.Token) string { return t.Text("tfp") + fmt.Sprint(t.Strings("emails")) },
		wantRoles: "B2C_1_signin[alice@shop.example]",
		also:      map[string]variant{"of a client": {changes: []any{"sub", "principal", "scp", "app.read app.write", "nonce", nil, "tfp", nil, "emails", nil, "name", nil, "oid", nil}}},
		refused: map[string]variant{
			"ID token of the hybrid flow": {claims: with(idToken, "nonce", "n-1", "c_hash", "x"), check: "kind"},
			"ID token":                    {claims: with(idToken, "nonce", "n-1"), check: "scp"},
			"no scp":                      {changes: []any{"scp", nil}, check: "scp"},
			"no azp":                      {changes: []any{"azp", nil}, check: "azp"},
		},
	}
}

func adfs() vendor {
	const trust = "http://sts.example/adfs/services/trust"
	return vendor{
		profile: bearer.ADFS(), audience: "microsoft:identityserver:" + apiID, typ: "JWT",
		issuer: bearer.Issuer{Issuer: trust, Discovery: discovery.Config{Issuer: "https://sts.example/adfs"}},
		claims: map[string]any{
			"upn": "alice@shop.example", "apptype": "Confidential", "appid": appID, "authmethod": "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport",
			"auth_time": "2026-01-01T00:00:00.566Z", "ver": "1.0", "scp": "openid orders", "group": list("Editors", "Readers"),
		},
		client: appID, scopes: "[openid orders]", zero: "typ",
		roles: func(t *bearer.Token) string {
			return fmt.Sprint(t.Text("upn"), t.Strings("group"), t.AuthTime.UTC().Format(time.RFC3339Nano))
		},
		wantRoles: "alice@shop.example[Editors Readers]2026-01-01T00:00:00.566Z",
		also:      map[string]variant{"sub and jti by a claim rule": {changes: []any{"sub", "alice", "jti", "j-1"}}},
		refused: map[string]variant{
			"ID token": {check: "iss", claims: map[string]any{"iss": "https://sts.example/adfs", "auth_time": 1767225600, "sub": "x", "upn": "alice@shop.example", "unique_name": "SHOP\\alice",
				"sid": "S-1-5-21", "apptype": "Confidential", "appid": appID, "authmethod": "x", "ver": "1.0", "scp": "openid"}},
			"ID token with nonce": {check: "kind", claims: map[string]any{"auth_time": 1767225600, "nonce": "n-1", "sub": "x", "apptype": "Confidential", "appid": appID, "ver": "1.0", "scp": "openid"}},
			"no apptype":          {changes: []any{"apptype", nil}, check: "apptype"},
			"no appid":            {changes: []any{"appid", nil}, check: "appid"},
			"a time that is none": {changes: []any{"auth_time", "yesterday"}, check: "auth_time"},
			"exp as text":         {changes: []any{"exp", "2036-01-01T00:00:00Z"}, check: "exp"},
		},
	}
}
