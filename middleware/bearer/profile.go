package bearer

import (
	"fmt"
	"slices"
	"strings"
)

// Profile says where a provider's access tokens differ from RFC 9068, point by point. The zero Profile is RFC 9068 itself: typ at+jwt, and
// iss, aud, exp, iat, sub, client_id and jti all there. Nothing in it turns off signature, iss, aud or exp.
//
// Functions such as Keycloak and Entra return the profiles of known providers. Take one, and change what your configuration of
// that provider does otherwise.
type Profile struct {
	// Types are the typ headers of access tokens, compared without case; "" stands for a header without typ. Nil: at+jwt (RFC 9068 section 4).
	// ID and logout tokens are refused whatever stands here, by what only they contain.
	Types []string
	// ClientID lists the claims that may name the client; the first one present counts. Nil: client_id. Often azp, cid or appid.
	ClientID []string
	// Scope lists the claims that may hold the scopes, as a string or a list; the first one present counts. Nil: scope. Often scp.
	Scope []string
	// Audience is the claim that holds the audience. Empty: aud. Cognito has none and is told apart by client_id.
	Audience string
	// Marks are claims that every access token of the provider has, with their value ("": any value), and that its other tokens lack.
	Marks map[string]string
	// Optional lists those of sub, client_id, jti and iat that may be missing.
	Optional []string
	// ClientIsAudience accepts a token that a client got for itself: aud is the client's own id. RFC 9068 section 5 has it refused,
	// because an ID token looks like that.
	ClientIsAudience bool
	// Nonce accepts a nonce claim, which else shows an ID token.
	Nonce bool
	// TextAuthTime also reads an auth_time that is text (RFC 3339), as AD FS writes it in access tokens. Every other date is a number.
	TextAuthTime bool
}

// Keycloak's access tokens: typ JWT, azp, and the claim typ=Bearer. A client scope with an audience mapper puts the API into aud.
// Roles are at Token.Strings("realm_access", "roles") and ("resource_access", CLIENT, "roles").
func Keycloak() Profile {
	return Profile{
		Types: []string{"JWT", "at+jwt"}, ClientID: []string{"azp", "client_id"},
		Marks: map[string]string{"typ": "Bearer"}, ClientIsAudience: true, Nonce: true,
	}
}

// Entra is Microsoft Entra ID's v2.0 access token: azp, scp (delegated) or roles (application), ver=2.0, no jti. The audience is the
// API's client id. Issuer: https://login.microsoftonline.com/TENANT/v2.0, or the one with {tenantid}.
func Entra() Profile {
	return Profile{
		Types: []string{"JWT"}, ClientID: []string{"azp"}, Scope: []string{"scp"},
		Marks: map[string]string{"ver": "2.0"}, Optional: []string{"jti"}, ClientIsAudience: true,
	}
}

// EntraV1 is Microsoft Entra ID's v1.0 access token, which APIs get whose manifest says nothing else: appid, scp or roles, ver=1.0, no jti. The
// audience is the API's App ID URI. Issuer: https://sts.windows.net/TENANT/, with its document at
// https://login.microsoftonline.com/TENANT/.well-known/openid-configuration.
func EntraV1() Profile {
	return Profile{
		Types: []string{"JWT"}, ClientID: []string{"appid"}, Scope: []string{"scp"},
		Marks: map[string]string{"ver": "1.0"}, Optional: []string{"jti"}, ClientIsAudience: true,
	}
}

// AzureB2C is Azure AD B2C's access token: azp and scp, no jti. Its document lies under the policy's path: set Issuer.Discovery.DiscoveryURL.
func AzureB2C() Profile {
	return Profile{
		Types: []string{"JWT"}, ClientID: []string{"azp"}, Scope: []string{"scp"},
		Marks: map[string]string{"scp": ""}, Optional: []string{"jti"}, ClientIsAudience: true, Nonce: true,
	}
}

// ADFS is the access token of AD FS 2016 and later: appid, scp, no jti, and an auth_time that is text. Its iss is the document's access_token_issuer
// (http://HOST/adfs/services/trust), not its issuer: set Issuer.Issuer to the former and Issuer.Discovery.Issuer to the latter.
func ADFS() Profile {
	return Profile{
		Types: []string{"JWT"}, ClientID: []string{"appid"}, Scope: []string{"scp"},
		Marks: map[string]string{"apptype": ""}, Optional: []string{"sub", "jti"}, ClientIsAudience: true, TextAuthTime: true,
	}
}

// Okta is the access token of Okta's custom authorization servers: cid, scp as a list, often no typ. Those of the org
// authorization server are for Okta alone.
func Okta() Profile {
	return Profile{Types: []string{"", "JWT", "at+jwt"}, ClientID: []string{"cid"}, Scope: []string{"scp"}}
}

// Auth0 is Auth0's access token in both its dialects: azp, or client_id with typ at+jwt. Permissions are at Token.Strings("permissions").
func Auth0() Profile {
	return Profile{Types: []string{"JWT", "at+jwt"}, ClientID: []string{"azp", "client_id"}, Optional: []string{"jti"}}
}

// Cognito is Amazon Cognito's access token: token_use=access, and client_id in place of aud, so Config.Audience is the client's id.
// Groups are at Token.Strings("cognito:groups").
func Cognito() Profile {
	return Profile{Types: []string{"", "JWT"}, Audience: "client_id", Marks: map[string]string{"token_use": "access"}}
}

// Hydra is Ory Hydra's JWT access token: typ JWT and scp as a list.
func Hydra() Profile {
	return Profile{Types: []string{"JWT", "at+jwt"}, Scope: []string{"scp", "scope"}}
}

// ZITADEL is ZITADEL's JWT access token: typ JWT. Roles are the member names of the claim urn:zitadel:iam:org:project:roles.
func ZITADEL() Profile {
	return Profile{Types: []string{"JWT", "at+jwt"}, ClientID: []string{"client_id", "azp"}}
}

// Kubernetes is a projected service-account token: no typ, no client_id, the subject system:serviceaccount:NAMESPACE:NAME, and the claim
// kubernetes.io, for instance at Token.Text("kubernetes.io", "namespace"). Its keys need authentication by default: set Config.HTTPClient.
func Kubernetes() Profile {
	return Profile{Types: []string{"", "JWT"}, Optional: []string{"client_id", "jti"}, Marks: map[string]string{"kubernetes.io": ""}}
}

// GitHubActions is a workflow's token of https://token.actions.githubusercontent.com: no client_id. Anybody's workflow gets one for any
// audience, so compare Token.Subject, or repository_id and the like, with what you allow.
func GitHubActions() Profile {
	return Profile{Types: []string{"JWT"}, Optional: []string{"client_id"}, Marks: map[string]string{"repository": ""}}
}

// rules is a Profile with its zeros filled in.
type rules struct {
	Profile
	atOnly bool // nothing but at+jwt, which no ID token is
}

var optional = []string{"sub", "client_id", "jti", "iat"}

func (p Profile) rules() (*rules, error) {
	for _, name := range p.Optional {
		if !slices.Contains(optional, name) {
			return nil, fmt.Errorf("Profile.Optional: %q can't be optional; only %s can", name, strings.Join(optional, ", "))
		}
	}
	if p.Types != nil && len(p.Types) == 0 {
		return nil, fmt.Errorf("Profile.Types is empty, which accepts nothing; nil means at+jwt")
	}
	r := &rules{Profile: p}
	if p.Types == nil {
		r.Types = []string{"at+jwt"}
	}
	r.atOnly = true
	for _, typ := range r.Types {
		r.atOnly = r.atOnly && isAccessType(typ)
		if forbiddenType(typ) {
			return nil, fmt.Errorf("Profile.Types: %q is the type of another kind of token", typ)
		}
	}
	if len(p.ClientID) == 0 {
		r.ClientID = []string{"client_id"}
	}
	if len(p.Scope) == 0 {
		r.Scope = []string{"scope"}
	}
	if p.Audience == "" {
		r.Audience = "aud"
	}
	return r, nil
}

// mediaType drops what RFC 7515 section 4.1.9 lets a typ leave out.
func mediaType(typ string) string {
	const prefix = "application/"
	if len(typ) > len(prefix) && strings.EqualFold(typ[:len(prefix)], prefix) {
		return typ[len(prefix):]
	}
	return typ
}

func isAccessType(typ string) bool { return strings.EqualFold(mediaType(typ), "at+jwt") }

// forbiddenType knows the types of JWTs that were made for something else (RFC 8725 section 3.11).
func forbiddenType(typ string) bool {
	switch strings.ToLower(mediaType(typ)) {
	case "logout+jwt", "dpop+jwt", "secevent+jwt", "token-introspection+jwt", "oauth-authz-req+jwt", "client-authentication+jwt", "id+jwt":
		return true
	}
	return false
}

func (r *rules) accepts(typ string) bool {
	typ = mediaType(typ)
	for _, t := range r.Types {
		if strings.EqualFold(typ, mediaType(t)) {
			return true
		}
	}
	return false
}

func (r *rules) optional(name string) bool { return slices.Contains(r.Optional, name) }
