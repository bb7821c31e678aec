package rptest

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
)

// WithClaim sets a claim.
func WithClaim(name string, value any) TokenFault { return func(j *JWT) { j.Claims[name] = value } }

// WithoutClaim removes a claim.
func WithoutClaim(name string) TokenFault { return func(j *JWT) { delete(j.Claims, name) } }

// WithHeader sets a header member.
func WithHeader(name string, value any) TokenFault { return func(j *JWT) { j.Header[name] = value } }

// WithoutHeader removes a header member.
func WithoutHeader(name string) TokenFault { return func(j *JWT) { delete(j.Header, name) } }

// OnRefresh applies f to tokens issued for a refresh token only: OnRefresh(WithClaim("sub", "bob")).
func OnRefresh(f TokenFault) TokenFault {
	return func(j *JWT) {
		if j.Refresh {
			f(j)
		}
	}
}

// WrongIssuer adds a character to iss.
func WrongIssuer(j *JWT) { j.Claims["iss"] = j.provider.opts.Issuer + "1" }

// WrongAudience is a token for another client.
func WrongAudience(j *JWT) { j.Claims["aud"] = "another-client" }

// ExtraAudience names a second audience, and no azp.
func ExtraAudience(j *JWT) { j.Claims["aud"] = []any{j.Claims["aud"], "another-client"} }

// WrongAZP was issued to another party.
func WrongAZP(j *JWT) { j.Claims["azp"] = "another-client" }

// WrongNonce is a token of another login.
func WrongNonce(j *JWT) { j.Claims["nonce"] = "another-nonce" }

// NoNonce has none.
func NoNonce(j *JWT) { delete(j.Claims, "nonce") }

// AlgNone is unsigned.
func AlgNone(j *JWT) { j.SetAlg("none") }

// AlgHS256PublicKey is signed by HS256 with the PEM of the public key as the secret, under that key's kid.
func AlgHS256PublicKey(j *JWT) {
	j.Header["alg"] = "HS256"
	j.secret = j.provider.keys.key(j.provider.opts.SigningAlg).publicPEM()
}

// AlgOther is signed by another algorithm than usual, with a key that is published: ES256, or EdDSA where that is the usual one.
func AlgOther(j *JWT) {
	if j.Header["alg"] == "ES256" {
		j.SetAlg("EdDSA")
		return
	}
	j.SetAlg("ES256")
}

// UnknownKID has a kid that is not published.
func UnknownKID(j *JWT) { j.Header["kid"] = "unknown-" + random()[:8] }

// NoKID has no kid. With one published key that fits it is a good token (Core 10.1).
func NoKID(j *JWT) { delete(j.Header, "kid") }

// BadSignature changes every byte of the signature.
func BadSignature(j *JWT) {
	j.After = func(compact string) string {
		dot := strings.LastIndexByte(compact, '.') + 1
		signature, err := base64.RawURLEncoding.DecodeString(compact[dot:])
		if err != nil {
			return compact
		}
		for i := range signature {
			signature[i] ^= 0x5a
		}
		return compact[:dot] + base64.RawURLEncoding.EncodeToString(signature)
	}
}

// NoSignature cuts the signature off, after the last dot.
func NoSignature(j *JWT) {
	j.After = func(compact string) string { return compact[:strings.LastIndexByte(compact, '.')+1] }
}

// JSONSerialized is a good token in the flattened JSON serialization of JWS.
func JSONSerialized(j *JWT) {
	j.After = func(compact string) string {
		part := strings.Split(compact, ".")
		return `{"protected":"` + part[0] + `","payload":"` + part[1] + `","signature":"` + part[2] + `"}`
	}
}

// WrongAtHash is a token for another access token.
func WrongAtHash(j *JWT) { j.Claims["at_hash"] = halfHash("RS256", "another token") }

// WrongCHash is a token for another code.
func WrongCHash(j *JWT) { j.Claims["c_hash"] = halfHash("RS256", "another code") }

// Expired ended six minutes ago, and was issued an hour ago.
func Expired(j *JWT) {
	j.Claims["exp"] = time.Now().Add(-6 * time.Minute).Unix()
	j.Claims["iat"] = time.Now().Add(-time.Hour).Unix()
}

// NoExp has no exp.
func NoExp(j *JWT) { delete(j.Claims, "exp") }

// FutureIAT was issued an hour from now.
func FutureIAT(j *JWT) { j.Claims["iat"] = time.Now().Add(time.Hour).Unix() }

// NoIAT has no iat.
func NoIAT(j *JWT) { delete(j.Claims, "iat") }

// OldIAT was issued a week ago; exp is good.
func OldIAT(j *JWT) { j.Claims["iat"] = time.Now().Add(-7 * 24 * time.Hour).Unix() }

// FutureNBF is not valid for another hour.
func FutureNBF(j *JWT) { j.Claims["nbf"] = time.Now().Add(time.Hour).Unix() }

// NoSub has no sub.
func NoSub(j *JWT) { delete(j.Claims, "sub") }

// EmptySub has an empty sub.
func EmptySub(j *JWT) { j.Claims["sub"] = "" }

// LongSub has a sub of 256 characters, one too many (Core section 2).
func LongSub(j *JWT) { j.Claims["sub"] = strings.Repeat("s", 256) }

// WrongType says another typ: at+jwt, logout+jwt, dpop+jwt.
func WrongType(typ string) TokenFault { return WithHeader("typ", typ) }

// Crit names an extension that nobody knows (RFC 7515 section 4.1.11).
func Crit(j *JWT) { j.Header["crit"], j.Header["rptest"] = []string{"rptest"}, true }

// WeakACR has an acr that nobody asked for.
func WeakACR(j *JWT) { j.Claims["acr"] = "0" }

// NoAuthTime has no auth_time.
func NoAuthTime(j *JWT) { delete(j.Claims, "auth_time") }

// OldAuthTime says the user signed in a month ago.
func OldAuthTime(j *JWT) { j.Claims["auth_time"] = time.Now().Add(-30 * 24 * time.Hour).Unix() }

// CaseVariant adds the claim in capitals, with another value: "SUB" beside "sub".
func CaseVariant(name string, value any) TokenFault { return WithClaim(strings.ToUpper(name), value) }

// DuplicateMember says a claim once more, last, with another value.
func DuplicateMember(name string, value any) TokenFault {
	return func(j *JWT) {
		claims, err1 := json.Marshal(j.Claims)
		key, err2 := json.Marshal(name)
		second, err3 := json.Marshal(value)
		if err1 == nil && err2 == nil && err3 == nil {
			j.Payload = strings.TrimSuffix(string(claims), "}") + "," + string(key) + ":" + string(second) + "}"
		}
	}
}

// RawPayload signs payload as it is.
func RawPayload(payload string) TokenFault { return func(j *JWT) { j.Payload = payload } }

// TokenFaults are the faults for which every relying party must refuse an ID token of the code flow, by name: range over them in a test.
// Those which depend on what was asked for (acr, auth_time), or which a good token may have (no kid), are not among them.
func TokenFaults() map[string]TokenFault {
	return map[string]TokenFault{
		"another issuer": WrongIssuer, "another audience": WrongAudience, "a second audience": ExtraAudience, "another azp": WrongAZP,
		"another nonce": WrongNonce, "no nonce": NoNonce,
		"alg none": AlgNone, "HS256 with the public key": AlgHS256PublicKey, "another algorithm": AlgOther, "an unknown kid": UnknownKID,
		"a bad signature": BadSignature, "no signature": NoSignature, "JSON serialization": JSONSerialized,
		"another at_hash": WrongAtHash, "expired": Expired, "no exp": NoExp, "iat to come": FutureIAT, "no iat": NoIAT, "iat a week old": OldIAT,
		"nbf to come": FutureNBF, "no sub": NoSub, "an empty sub": EmptySub, "a long sub": LongSub,
		"typ at+jwt": WrongType("at+jwt"), "typ logout+jwt": WrongType("logout+jwt"), "crit": Crit,
		"sub in capitals too": CaseVariant("sub", "mallory"), "sub twice": DuplicateMember("sub", "mallory"),
		"no iss": WithoutClaim("iss"), "no aud": WithoutClaim("aud"), "a payload that is an array": RawPayload("[]"), "a payload that is no JSON": RawPayload("no JSON"),
	}
}
