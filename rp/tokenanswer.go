package rp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey-go/latchkey/internal/fetch"
	"github.com/latchkey-go/latchkey/internal/strictjson"
)

// tokenAnswers reads the token endpoint's answers strictly (RFC 6749 sections 5.1 and 5.2, OpenID Connect Core 3.1.3.3) and
// passes on a clean copy. x/oauth2 by itself takes form encoding and text/plain, any token_type, "ACCESS_TOKEN" for
// "access_token", an expiry of 0 for never, and keeps a failure's whole body in its error.
type tokenAnswers struct {
	base  http.RoundTripper
	sent  *proofs  // by base
	types []string // of tokens taken, besides Bearer
}

func (t *tokenAnswers) RoundTrip(req *http.Request) (*http.Response, error) {
	out := req.Clone(req.Context())
	out.Header.Set("Accept", "application/json")
	resp, err := t.base.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		e := providerError("token", &fetch.Response{Status: resp.StatusCode, Header: resp.Header, Body: body}, t.sent.secrets...)
		return answer(resp.StatusCode, cleanHeader(resp.Header), e.body()), nil
	}
	clean, err := cleanTokens(resp.Header.Get("Content-Type"), body, t.types)
	if err != nil {
		return nil, &ProviderError{Endpoint: "token", Status: resp.StatusCode, Err: err}
	}
	var failed struct {
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(clean, &failed) == nil && failed.Error != nil {
		// An error under a 200, as some providers answer.
		e := providerError("token", &fetch.Response{Status: resp.StatusCode, Body: clean}, t.sent.secrets...)
		if e.Code == "" {
			e.Err = errors.New("its error is no string")
			return nil, e
		}
		clean = e.body()
	}
	return answer(resp.StatusCode, cleanHeader(resp.Header), clean), nil
}

// cleanHeader keeps what a caller of a RetrieveError may use; cookies and the like end here.
func cleanHeader(h http.Header) http.Header {
	clean := http.Header{"Content-Type": {"application/json"}}
	for _, name := range []string{"Date", "Retry-After", "Www-Authenticate"} {
		if v := h.Values(name); len(v) > 0 {
			clean[name] = v
		}
	}
	return clean
}

// tokenMembers are the answer's members somebody acts on; the same name in other letters is refused, since encoding/json
// would take it for the real one.
type tokenMembers struct {
	AccessToken  json.RawMessage `json:"access_token"`
	TokenType    json.RawMessage `json:"token_type"`
	RefreshToken json.RawMessage `json:"refresh_token"`
	IDToken      json.RawMessage `json:"id_token"`
	ExpiresIn    json.RawMessage `json:"expires_in"`
	Scope        json.RawMessage `json:"scope"`
	Error        json.RawMessage `json:"error"`
	Description  json.RawMessage `json:"error_description"`
	URI          json.RawMessage `json:"error_uri"`
}

// cleanTokens checks a successful answer and writes it anew: known members in their one form, unknown ones as they came.
func cleanTokens(contentType string, body []byte, types []string) ([]byte, error) {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil || media != "application/json" && !(strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")) {
		return nil, fmt.Errorf("the answer is %.64q, not application/json (RFC 6749 section 5.1)", contentType)
	}
	var m tokenMembers
	if err := strictjson.Unmarshal(body, &m); err != nil {
		return nil, fmt.Errorf("the answer is not acceptable JSON: %w", err)
	}
	members, err := strictjson.Object(body)
	if err != nil {
		return nil, fmt.Errorf("the answer is not acceptable JSON: %w", err)
	}
	for name, v := range members {
		if string(v) == "null" {
			delete(members, name)
		}
	}
	if members["error"] != nil {
		return json.Marshal(members)
	}
	for _, name := range []string{"access_token", "token_type", "refresh_token", "id_token"} {
		v, present := members[name]
		if !present {
			continue
		}
		var s string
		if err := json.Unmarshal(v, &s); err != nil {
			return nil, fmt.Errorf("%s is not a string", name)
		}
		if s == "" {
			delete(members, name)
		}
	}
	if members["access_token"] == nil {
		return nil, errors.New("the answer has no access_token")
	}
	var kind string
	json.Unmarshal(members["token_type"], &kind)
	if !strings.EqualFold(kind, "Bearer") && !slices.ContainsFunc(types, func(t string) bool { return strings.EqualFold(kind, t) }) {
		return nil, fmt.Errorf("token_type is %.32q, not Bearer (RFC 6749 section 7.1: a client must not use a type it does not know)", kind)
	}
	if v, present := members["expires_in"]; present {
		seconds, err := expiresIn(v)
		if err != nil {
			return nil, err
		}
		members["expires_in"] = strconv.AppendInt(nil, seconds, 10)
	}
	if v, present := members["scope"]; present {
		scope, err := scopeText(v)
		if err != nil {
			return nil, err
		}
		members["scope"], _ = json.Marshal(scope)
	}
	return json.Marshal(members)
}

// expiresIn reads a lifetime in seconds: a number, or a string holding one (PayPal). Zero would mean "never" to x/oauth2, so
// a token that is over already is an error; what x/oauth2 can't count (68 years) is shortened to that.
func expiresIn(v json.RawMessage) (int64, error) {
	text := string(v)
	var s string
	if json.Unmarshal(v, &s) == nil {
		text = s
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, errors.New("expires_in is not a number of seconds")
	}
	if f < 1 {
		return 0, fmt.Errorf("expires_in is %v: the token is over already", f)
	}
	return int64(min(f, math.MaxInt32)), nil
}

// scopeText reads scope: a string, or a list of them (Twitch).
func scopeText(v json.RawMessage) (string, error) {
	var s string
	if json.Unmarshal(v, &s) == nil {
		return s, nil
	}
	var list []string
	if json.Unmarshal(v, &list) == nil {
		return strings.Join(list, " "), nil
	}
	return "", errors.New("scope is not a string")
}

// providerError reads a failure's body: an OAuth error object, or nothing that can be used (empty, HTML, a proxy's page).
// secrets are what was sent: a server that quotes them back does not get them into a log.
func providerError(endpoint string, r *fetch.Response, secrets ...string) *ProviderError {
	e := &ProviderError{Endpoint: endpoint, Status: r.Status}
	members, err := strictjson.Object(r.Body)
	if err != nil {
		return e
	}
	text := func(name string, most int) string {
		var s string
		if json.Unmarshal(members[name], &s) != nil {
			return ""
		}
		if name == "error" && slices.Contains(codes, s) {
			return s
		}
		for _, secret := range secrets {
			if secret != "" {
				s = strings.ReplaceAll(s, secret, "[redacted]")
				s = strings.ReplaceAll(s, url.QueryEscape(secret), "[redacted]") // as it was on the wire
			}
		}
		return printable(s, most)
	}
	e.Code = text("error", 64)
	e.Description = text("error_description", 256)
	e.URI = text("error_uri", 256)
	return e
}

// body is the error as an OAuth error object and nothing else.
func (e *ProviderError) body() []byte {
	b, _ := json.Marshal(struct {
		Error       string `json:"error,omitempty"`
		Description string `json:"error_description,omitempty"`
		URI         string `json:"error_uri,omitempty"`
	}{e.Code, e.Description, e.URI})
	return b
}

// telling are the parameters whose values may come back in an error, and help whoever reads it.
var telling = []string{
	"grant_type", "scope", "resource", "audience", "client_id", "redirect_uri", "response_type", "token_type_hint", "client_assertion_type",
	"subject_token_type", "actor_token_type", "requested_token_type", "subject_issuer", "requested_issuer", "requested_token_use",
	"acr_values", "binding_message", "requested_expiry",
}

// leastSecret is how many bytes a value of a parameter unknown here must have to count as a secret: "true" is none.
const leastSecret = 6

// secretsOf are the values of a form that must not come back in an error: those known as secrets, and what a grant sends that nobody here knows.
func secretsOf(form url.Values) []string {
	var s []string
	for _, name := range []string{
		"code", "code_verifier", "refresh_token", "token", "client_secret", "client_assertion", // and of the grants without a browser:
		"assertion", "subject_token", "actor_token", "device_code", "auth_req_id", "password", "client_notification_token", "login_hint_token", "id_token_hint", "user_code",
	} {
		s = append(s, form[name]...)
	}
	for name, values := range form {
		if slices.Contains(telling, name) {
			continue
		}
		for _, v := range values {
			if len(v) >= leastSecret && !slices.Contains(s, v) {
				s = append(s, v)
			}
		}
	}
	// A secret that begins another one must not leave the other's end behind.
	slices.SortFunc(s, func(a, b string) int { return len(b) - len(a) })
	return s
}

// codes are the values of error that are nobody's secret, even where a password is a part of one.
var codes = []string{
	"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_target", "access_denied",
	"authorization_pending", "slow_down", "expired_token", "server_error", "temporarily_unavailable", "invalid_token", "unsupported_token_type",
}

// printable cuts s to most bytes and drops what does not print, line ends above all.
func printable(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	if len(s) > most {
		s = s[:most]
		for !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
	}
	return string(bytes.TrimSpace([]byte(s)))
}
