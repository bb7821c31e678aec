package bearer_test

import (
	"fmt"

	"github.com/latchkey-go/latchkey/middleware/bearer"
)

// What each provider issues, as its documents and its users show it.

func keycloak() vendor {
	idToken := map[string]any{
		"jti": "5b7a3c", "sub": "f3c1", "typ": "ID", "azp": "shop", "sid": "d41d", "auth_time": 0, "acr": "1", "email_verified": true, "preferred_username": "alice", "name": "Alice Archer",
	}
	return vendor{
		profile: bearer.Keycloak(), issuer: bearer.Issuer{Issuer: "https://sso.example/realms/shop"}, audience: "orders", typ: "JWT",
		claims: map[string]any{
			"auth_time": 1767225600, "jti": "onrtac:9a6e", "aud": list("orders", "account"), "sub": "f3c1", "typ": "Bearer", "azp": "shop", "sid": "d41d", "acr": "1",
			"allowed-origins": list("https://shop.example"), "realm_access": map[string]any{"roles": list("offline_access", "editor")},
			"resource_access": map[string]any{"orders": map[string]any{"roles": list("reader")}, "account": map[string]any{"roles": list("view-profile")}},
			"scope":           "openid email profile", "email_verified": true, "preferred_username": "alice",
		},
		client: "shop", scopes: "[openid email profile]", zero: "typ",
		roles: func(t *bearer.Token) string {
			return fmt.Sprint(t.Strings("realm_access", "roles"), t.Strings("resource_access", "orders", "roles"), t.Text("preferred_username"))
		},
		wantRoles: "[offline_access editor] [reader]alice",
		also: map[string]variant{
			"the client's RFC 9068 switch":              {typ: "at+jwt"},
			"nonce, before version 24":                  {changes: []any{"nonce", "n-1", "session_state", "d41d"}},
			"a service account whose client is the API": {changes: []any{"azp", "orders", "aud", "orders", "client_id", "orders", "sid", nil, "auth_time", nil}},
		},
		refused: map[string]variant{
			"no mapper for the audience": {changes: []any{"aud", "account"}, check: "aud"},
			"ID token":                   {claims: with(idToken, "at_hash", "x", "nonce", "n-1"), check: "kind"},
			"bare ID token":              {claims: idToken, check: "typ"},
			"refresh token":              {changes: []any{"typ", "Refresh"}, check: "typ"},
			"offline token":              {changes: []any{"typ", "Offline"}, check: "typ"},
			"DPoP":                       {changes: []any{"typ", "DPoP", "cnf", map[string]any{"jkt": "x"}}, check: "typ"},
			"bound by mutual TLS":        {changes: []any{"cnf", map[string]any{"x5t#S256": "x"}}, check: "cnf"},
			"no claim typ":               {changes: []any{"typ", nil}, check: "typ"},
			"no azp":                     {changes: []any{"azp", nil}, check: "azp or client_id"},
			"no sub, without basic":      {changes: []any{"sub", nil}, check: "sub"},
			"logout token": {typ: "logout+jwt", check: "typ",
				claims: map[string]any{"jti": "x", "sub": "f3c1", "sid": "d41d", "typ": "Logout", "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}},
			"logout token of typ JWT": {check: "kind",
				claims: map[string]any{"jti": "x", "sub": "f3c1", "sid": "d41d", "typ": "Logout", "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}},
		},
	}
}

func okta() vendor {
	idToken := map[string]any{"sub": "00u1", "ver": 1, "jti": "ID.abc", "amr": list("pwd"), "idp": "00o1", "auth_time": 1767225600}
	return vendor{
		profile: bearer.Okta(), issuer: bearer.Issuer{Issuer: "https://shop.okta.com/oauth2/default"}, audience: "api://default",
		claims: map[string]any{
			"ver": 1, "jti": "AT.0mP4", "cid": "0oa1", "uid": "00u1", "scp": list("openid", "orders:read"), "auth_time": 1767225600, "sub": "alice@shop.example", "groups": list("Everyone", "Editors"),
		},
		client: "0oa1", scopes: "[openid orders:read]", zero: "typ",
		roles:     func(t *bearer.Token) string { return t.Text("uid") + fmt.Sprint(t.Strings("groups")) },
		wantRoles: "00u1[Everyone Editors]",
		also: map[string]variant{
			"with a typ":   {typ: "JWT"},
			"of a service": {changes: []any{"uid", nil, "sub", "0oa1", "auth_time", nil, "groups", nil}},
		},
		refused: map[string]variant{
			"ID token":                        {claims: with(idToken, "nonce", "n-1", "at_hash", "x"), check: "kind"},
			"bare ID token":                   {claims: idToken, check: "cid"},
			"of the org authorization server": {typ: "application/okta-internal-at+jwt", check: "typ"},
			"for the client itself":           {changes: []any{"aud", "api://default", "cid", "api://default"}, check: "kind"},
			"no cid":                          {changes: []any{"cid", nil}, check: "cid"},
			"no jti":                          {changes: []any{"jti", nil}, check: "jti"},
			"scp as object":                   {changes: []any{"scp", map[string]any{"a": true}}, check: "scp"},
		},
	}
}

func auth0() vendor {
	idToken := map[string]any{"nickname": "alice", "name": "Alice", "updated_at": "2026-01-01T00:00:00.000Z", "email": "alice@shop.example", "email_verified": true, "sub": "auth0|1", "sid": "s-1"}
	return vendor{
		profile: bearer.Auth0(), issuer: bearer.Issuer{Issuer: "https://shop.eu.auth0.com/"}, audience: "https://orders.example", typ: "JWT",
		claims: map[string]any{
			"sub": "auth0|1", "aud": list("https://orders.example", "https://shop.eu.auth0.com/userinfo"), "azp": "K1AUPh", "scope": "openid orders:read",
			"permissions": list("orders:read", "orders:write"), "https://shop.example/plan": "pro",
		},
		client: "K1AUPh", scopes: "[openid orders:read]", zero: "typ",
		roles: func(t *bearer.Token) string {
			return fmt.Sprint(t.Strings("permissions"), t.Text("https://shop.example/plan"))
		},
		wantRoles: "[orders:read orders:write]pro",
		also: map[string]variant{
			"the RFC 9068 dialect": {typ: "at+jwt", changes: []any{"azp", nil, "client_id", "K1AUPh", "jti", "73Wakr"}},
			"of a machine":         {changes: []any{"sub", "K1AUPh@clients", "aud", "https://orders.example", "gty", "client-credentials"}},
		},
		refused: map[string]variant{
			"ID token":            {claims: with(idToken, "nonce", "n-1"), check: "kind"},
			"ID token, implicit":  {claims: with(idToken, "at_hash", "x"), check: "kind"},
			"bare ID token":       {claims: idToken, check: "azp or client_id"},
			"for userinfo alone":  {changes: []any{"aud", "https://shop.eu.auth0.com/userinfo"}, check: "aud"},
			"no client":           {changes: []any{"azp", nil}, check: "azp or client_id"},
			"iss without a slash": {changes: []any{"iss", "https://shop.eu.auth0.com"}, check: "iss"},
			"no typ":              {typ: "none", check: "typ"},
		},
	}
}

func cognito() vendor {
	const client = "7fjne01"
	idToken := map[string]any{
		"aud": client, "sub": "c27a", "email_verified": true, "cognito:username": "alice", "cognito:groups": list("editors"), "origin_jti": "o", "event_id": "e", "token_use": "id",
		"auth_time": 1767225600, "jti": "j-2", "email": "alice@shop.example",
	}
	return vendor{
		profile: bearer.Cognito(), issuer: bearer.Issuer{Issuer: "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Shop"}, audience: client,
		claims: map[string]any{
			"aud": nil, "sub": "c27a", "cognito:groups": list("editors"), "version": 2, "client_id": client, "origin_jti": "o", "event_id": "e", "token_use": "access", "scope": "openid orders/read",
			"auth_time": 1767225600, "jti": "j-1", "username": "alice",
		},
		client: client, scopes: "[openid orders/read]", zero: "typ",
		roles: func(t *bearer.Token) string {
			return fmt.Sprint(t.Strings("cognito:groups"), t.Text("username"), t.Audience)
		},
		wantRoles: "[editors]alice[" + client + "]",
		also: map[string]variant{
			"of a machine":              {changes: []any{"sub", client, "cognito:groups", nil, "username", nil, "event_id", nil, "origin_jti", nil}},
			"bound to a resource (aud)": {changes: []any{"aud", "https://orders.example"}},
		},
		refused: map[string]variant{
			"ID token":                          {claims: with(idToken, "at_hash", "x"), check: "kind"},
			"bare ID token":                     {claims: idToken, check: "token_use"},
			"bare ID token with a client_id":    {claims: with(idToken, "client_id", client), check: "token_use"},
			"of another client":                 {changes: []any{"client_id", "other"}, check: "client_id"},
			"aud in place of client_id":         {changes: []any{"client_id", nil, "aud", client}, check: "client_id"},
			"no token_use":                      {changes: []any{"token_use", nil}, check: "token_use"},
			"token_use in capitals":             {changes: []any{"token_use", "ACCESS"}, check: "token_use"},
			"token_use twice, once in capitals": {changes: []any{"TOKEN_USE", "access"}, check: "json"},
		},
	}
}

func hydra() vendor {
	idToken := map[string]any{"acr": "0", "auth_time": 1767225600, "jti": "j-2", "rat": 1767225600, "sid": "s-1", "sub": "alice"}
	return vendor{
		profile: bearer.Hydra(), issuer: bearer.Issuer{Issuer: "https://hydra.example/"}, audience: "orders", typ: "JWT",
		claims: map[string]any{"aud": list("orders"), "client_id": "shop", "ext": map[string]any{"roles": list("editor")}, "jti": "j-1", "scp": list("openid", "orders:read"), "sub": "alice"},
		client: "shop", scopes: "[openid orders:read]", zero: "typ",
		roles: func(t *bearer.Token) string { return fmt.Sprint(t.Strings("ext", "roles")) }, wantRoles: "[editor]",
		also: map[string]variant{
			"scopes as a string":        {changes: []any{"scp", nil, "scope", "openid orders:read"}},
			"scopes both ways":          {changes: []any{"scope", "openid orders:read"}},
			"claims at the top as well": {changes: []any{"roles", list("editor")}},
		},
		refused: map[string]variant{
			"ID token":              {claims: with(idToken, "at_hash", "x", "nonce", "n-1"), check: "kind"},
			"bare ID token":         {claims: idToken, check: "client_id"},
			"no audience asked for": {changes: []any{"aud", []string{}}, check: "aud"},
			"logout token":          {check: "kind", claims: map[string]any{"jti": "x", "sid": "s-1", "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}},
		},
	}
}

func zitadel() vendor {
	const roles = "urn:zitadel:iam:org:project:roles"
	idToken := map[string]any{"aud": list("257714@shop", "257713"), "azp": "257714@shop", "client_id": "257714@shop", "amr": list("pwd"), "auth_time": 1767225600, "sub": "257712", "sid": "V1_1"}
	return vendor{
		profile: bearer.ZITADEL(), issuer: bearer.Issuer{Issuer: "https://shop.zitadel.cloud"}, audience: "257713", typ: "JWT",
		claims: map[string]any{
			"aud": list("257714@shop", "257715@desk", "257713"), "client_id": "257714@shop", "jti": "V2_1-at_2", "sub": "257712",
			roles: map[string]any{"editor": map[string]any{"257711": "shop.example"}, "reader": map[string]any{"257711": "shop.example"}},
		},
		client: "257714@shop", scopes: "[]", zero: "typ",
		roles: func(t *bearer.Token) string {
			var all map[string]any
			if err := t.Claim(&all, roles); err != nil {
				return err.Error()
			}
			return sorted(all)
		},
		wantRoles: "[editor reader]",
		also:      map[string]variant{"with scopes": {changes: []any{"scope", "openid"}}},
		refused: map[string]variant{
			"ID token":           {claims: with(idToken, "at_hash", "x"), check: "kind"},
			"ID token, implicit": {claims: with(idToken, "nonce", "n-1"), check: "kind"},
			"bare ID token":      {claims: idToken, check: "jti"},
			"of another project": {changes: []any{"aud", list("257714@shop")}, check: "aud"},
		},
	}
}

func kubernetes() vendor {
	return vendor{
		profile: bearer.Kubernetes(), issuer: bearer.Issuer{Issuer: "https://kubernetes.default.svc.cluster.local"}, audience: "https://orders.example",
		claims: map[string]any{
			"aud": list("https://orders.example"), "jti": "0b5d", "sub": "system:serviceaccount:shop:desk",
			"kubernetes.io": map[string]any{"namespace": "shop", "node": map[string]any{"name": "n1", "uid": "u1"}, "pod": map[string]any{"name": "desk-1", "uid": "u2"},
				"serviceaccount": map[string]any{"name": "desk", "uid": "u3"}, "warnafter": 1767225600},
		},
		scopes: "[]", zero: "typ",
		roles: func(t *bearer.Token) string {
			return t.Text("kubernetes.io", "namespace") + " " + t.Text("kubernetes.io", "serviceaccount", "name") + " " + t.Subject
		},
		wantRoles: "shop desk system:serviceaccount:shop:desk",
		also:      map[string]variant{"before 1.29, without jti": {changes: []any{"jti", nil}}},
		refused: map[string]variant{
			"for the API server": {changes: []any{"aud", list("https://kubernetes.default.svc.cluster.local")}, check: "aud"},
			"of a secret, without end": {check: "iss", claims: map[string]any{"iss": "kubernetes/serviceaccount", "kubernetes.io/serviceaccount/namespace": "shop", "exp": nil, "aud": nil,
				"sub": "system:serviceaccount:shop:desk"}},
			"without the cluster's claim": {changes: []any{"kubernetes.io", nil}, check: "kubernetes.io"},
			"without end":                 {changes: []any{"exp", nil}, check: "exp"},
			"without subject":             {changes: []any{"sub", nil}, check: "sub"},
		},
	}
}

func githubActions() vendor {
	return vendor{
		profile: bearer.GitHubActions(), issuer: bearer.Issuer{Issuer: "https://token.actions.githubusercontent.com"}, audience: "https://orders.example", typ: "JWT",
		claims: map[string]any{
			"jti": "6f4a", "sub": "repo:shop/desk:environment:prod", "environment": "prod", "ref": "refs/heads/main", "sha": "ab12", "repository": "shop/desk", "repository_owner": "shop",
			"actor_id": "12", "repository_visibility": "private", "repository_id": "74", "repository_owner_id": "65", "run_id": "301", "run_number": "10", "run_attempt": "2",
			"runner_environment": "github-hosted", "actor": "alice", "workflow": "deploy", "head_ref": "", "base_ref": "", "event_name": "workflow_dispatch", "ref_type": "branch",
			"job_workflow_ref": "shop/flows/.github/workflows/deploy.yml@refs/heads/main",
		},
		scopes: "[]", zero: "typ",
		roles: func(t *bearer.Token) string {
			return t.Text("repository_id") + " " + t.Text("environment") + " " + t.Subject
		},
		wantRoles: "74 prod repo:shop/desk:environment:prod",
		refused: map[string]variant{
			"for its owner, as it is by default": {changes: []any{"aud", "https://github.com/shop"}, check: "aud"},
			"no repository":                      {changes: []any{"repository", nil}, check: "repository"},
			"of an enterprise":                   {changes: []any{"iss", "https://token.actions.githubusercontent.com/shop"}, check: "iss"},
			"no typ":                             {typ: "none", check: "typ"},
		},
	}
}

func duende() vendor {
	idToken := map[string]any{"amr": list("pwd"), "auth_time": 1767225600, "idp": "local", "sid": "7D1F", "sub": "alice"}
	return vendor{
		issuer: bearer.Issuer{Issuer: "https://identity.example"}, audience: "orders", typ: "at+jwt",
		claims: map[string]any{
			"scope": list("openid", "orders.read"), "amr": list("pwd"), "client_id": "shop", "sub": "alice", "auth_time": 1767225600, "idp": "local", "sid": "7D1F", "jti": "2A5B", "role": "editor",
		},
		client: "shop", scopes: "[openid orders.read]", roles: func(t *bearer.Token) string { return fmt.Sprint(t.Strings("role"), t.SessionID) }, wantRoles: "[editor]7D1F",
		also: map[string]variant{"the media type in full": {typ: "application/at+jwt"}, "scope as a string": {changes: []any{"scope", "openid orders.read"}}},
		refused: map[string]variant{
			"ID token":            {typ: "JWT", claims: with(idToken, "nonce", "n-1", "at_hash", "x"), check: "typ"},
			"ID token as at+jwt":  {claims: with(idToken, "at_hash", "x"), check: "kind"},
			"bare ID token":       {typ: "JWT", claims: idToken, check: "typ"},
			"no ApiResource":      {changes: []any{"aud", nil}, check: "aud"},
			"a client of itself":  {changes: []any{"sub", nil}, check: "sub"},
			"DPoP":                {changes: []any{"cnf", map[string]any{"jkt": "x"}}, check: "cnf"},
			"old IdentityServer4": {typ: "JWT", check: "typ"},
			"logout token": {typ: "logout+jwt", check: "typ",
				claims: map[string]any{"jti": "x", "sub": "alice", "sid": "7D1F", "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}},
		},
	}
}

func openiddict() vendor {
	return vendor{
		issuer: bearer.Issuer{Issuer: "https://openiddict.example/"}, audience: "orders", typ: "at+jwt",
		claims: map[string]any{
			"scope": "openid orders", "jti": "777c", "sub": "0bf0", "name": "Alice", "role": list("Editor", "Reader"), "oi_prst": "shop", "oi_au_id": "615f", "client_id": "shop", "oi_tkn_id": "0278",
		},
		client: "shop", scopes: "[openid orders]", roles: func(t *bearer.Token) string { return fmt.Sprint(t.Strings("role")) }, wantRoles: "[Editor Reader]",
		also: map[string]variant{"scope as a list": {changes: []any{"scope", list("openid", "orders")}}},
		refused: map[string]variant{
			"ID token":      {typ: "JWT", claims: map[string]any{"sub": "0bf0", "oi_au_id": "615f", "azp": "shop", "nonce": "n-1", "at_hash": "x", "oi_tkn_id": "1"}, check: "typ"},
			"refresh token": {typ: "oi_reft+jwt", check: "typ"},
		},
	}
}

func authelia() vendor {
	return vendor{
		issuer: bearer.Issuer{Issuer: "https://auth.example"}, audience: "https://orders.example", typ: "at+jwt",
		claims: map[string]any{
			"aud": list("https://orders.example"), "client_id": "shop", "jti": "3f1c", "scope": "openid orders", "scp": list("openid", "orders"), "sub": "e1d8",
		},
		client: "shop", scopes: "[openid orders]", roles: func(t *bearer.Token) string { return t.Subject }, wantRoles: "e1d8",
		refused: map[string]variant{
			"ID token":      {typ: "JWT", claims: map[string]any{"amr": list("pwd"), "at_hash": "x", "auth_time": 1767225600, "azp": "shop", "client_id": "shop", "jti": "x", "rat": 1767225600, "sub": "e1d8"}, check: "typ"},
			"bare ID token": {typ: "JWT", claims: map[string]any{"auth_time": 1767225600, "azp": "shop", "client_id": "shop", "jti": "x", "sub": "e1d8"}, check: "typ"},
		},
	}
}
