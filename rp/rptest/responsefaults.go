package rptest

import (
	"net/http"
	"net/url"
	"strconv"
)

// The faults of a token response.

// NoIDToken leaves id_token out of a token response.
func NoIDToken(honest http.Handler) http.Handler { return WithoutMember("id_token")(honest) }

// NoAccessToken leaves access_token out of a token response.
func NoAccessToken(honest http.Handler) http.Handler { return WithoutMember("access_token")(honest) }

// NoRefreshToken leaves refresh_token out of a token response; the one before was rotated all the same.
func NoRefreshToken(honest http.Handler) http.Handler { return WithoutMember("refresh_token")(honest) }

// NoExpiresIn leaves expires_in out of a token response, as RFC 6749 section 5.1 allows.
func NoExpiresIn(honest http.Handler) http.Handler { return WithoutMember("expires_in")(honest) }

// NoTokenType leaves token_type out of a token response.
func NoTokenType(honest http.Handler) http.Handler { return WithoutMember("token_type")(honest) }

// WrongTokenType says token_type "mac".
func WrongTokenType(honest http.Handler) http.Handler {
	return WithMember("token_type", "mac")(honest)
}

// ExpiresInString sends expires_in as a string.
func ExpiresInString(honest http.Handler) http.Handler {
	return ModifyJSON(func(m map[string]any) {
		if n, ok := m["expires_in"].(float64); ok {
			m["expires_in"] = strconv.Itoa(int(n))
		}
	})(honest)
}

// InvalidGrant answers that code or refresh token is no good.
func InvalidGrant(honest http.Handler) http.Handler {
	return Status(http.StatusBadRequest, `{"error":"invalid_grant"}`)(honest)
}

// InvalidClient answers that the client could not be authenticated.
func InvalidClient(honest http.Handler) http.Handler {
	return Status(http.StatusUnauthorized, `{"error":"invalid_client"}`)(honest)
}

// WithMember sets a member of the honest JSON answer; WithoutMember removes it.
func WithMember(name string, value any) Fault {
	return ModifyJSON(func(m map[string]any) { m[name] = value })
}

// WithoutMember removes a member of the honest JSON answer.
func WithoutMember(name string) Fault { return ModifyJSON(func(m map[string]any) { delete(m, name) }) }

// The faults of an authorization answer.

// AnswerWith sets a parameter: AnswerWith("state", "another"), AnswerWith("iss", "https://evil.example").
func AnswerWith(name, value string) AnswerFault {
	return func(v url.Values) { v.Set(name, value) }
}

// AnswerWithout drops a parameter.
func AnswerWithout(name string) AnswerFault { return func(v url.Values) { v.Del(name) } }

// AnswerTwice sends a parameter twice, the second time with value.
func AnswerTwice(name, value string) AnswerFault { return func(v url.Values) { v.Add(name, value) } }

// AnswerError is an error in place of the code, such as access_denied; description may be empty.
func AnswerError(code, description string) AnswerFault {
	return func(v url.Values) {
		v.Del("code")
		v.Set("error", code)
		v.Del("error_description")
		if description != "" {
			v.Set("error_description", description)
		}
	}
}
