package bearer

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey-go/latchkey/internal/jws"
)

// maxForm is the longest body looked through for a token, in bytes.
const maxForm = 1 << 20

// FromAuthorization returns the token of a request's Authorization values (RFC 6750 section 2.1), for transports whose headers are not
// net/http's. Errors: ErrNoToken when there is none, or credentials of another scheme; ErrMalformed.
func FromAuthorization(values []string) (string, error) {
	switch len(values) {
	case 0:
		return "", ErrNoToken
	case 1:
	default:
		return "", fmt.Errorf("%w: more than one Authorization header", ErrMalformed)
	}
	scheme, token, found := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", ErrNoToken
	}
	token = strings.TrimLeft(token, " ")
	switch {
	case !found || token == "":
		return "", fmt.Errorf("%w: the Authorization header has no token", ErrMalformed)
	case len(token) > jws.MaxToken:
		return "", fmt.Errorf("%w: the token is longer than 16 KiB", ErrMalformed)
	case !b64token(token):
		return "", fmt.Errorf("%w: the Authorization header holds something else than one token", ErrMalformed)
	}
	return token, nil
}

// b64token is RFC 6750's grammar of a token, which RFC 9110 calls token68.
func b64token(s string) bool {
	end := len(strings.TrimRight(s, "="))
	for i := range end {
		if !tokenByte[s[i]] {
			return false
		}
	}
	return end > 0
}

var tokenByte = func() (t [256]bool) {
	for _, b := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/") {
		t[b] = true
	}
	return t
}()

// fromRequest returns the request's one token.
func (v *Verifier) fromRequest(r *http.Request) (string, error) {
	token, err := FromAuthorization(r.Header["Authorization"])
	if err == ErrNoToken && !v.cfg.FormBody { // the query is not even looked at
		return "", err
	}
	if err != nil && err != ErrNoToken {
		return "", err
	}
	inForm, formErr := v.fromForm(r)
	if formErr != nil {
		return "", formErr
	}
	switch {
	case token != "" && inForm != "", token != "" && inQuery(r.URL):
		return "", fmt.Errorf("%w: a token in more than one place", ErrMalformed)
	case inForm != "":
		return inForm, nil
	}
	return token, err
}

// inQuery reports whether a token is in the query as well, which RFC 6750 section 2 forbids.
func inQuery(u *url.URL) bool {
	if !strings.Contains(u.RawQuery, "access_token") {
		return false
	}
	query, err := url.ParseQuery(u.RawQuery)
	return err != nil || query.Has("access_token")
}

// fromForm returns the token in the body (RFC 6750 section 2.2), "" for none, and puts the body back.
func (v *Verifier) fromForm(r *http.Request) (string, error) {
	if !v.cfg.FormBody || r.Body == nil || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return "", nil
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/x-www-form-urlencoded" {
		return "", nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxForm+1))
	if err != nil {
		return "", fmt.Errorf("%w: the body can't be read", ErrMalformed)
	}
	if len(body) > maxForm {
		return "", fmt.Errorf("%w: the form is longer than 1 MiB", ErrMalformed)
	}
	rest := r.Body
	r.Body = struct {
		io.Reader
		io.Closer
	}{bytes.NewReader(body), rest}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return "", fmt.Errorf("%w: the form can't be read", ErrMalformed)
	}
	tokens := form["access_token"]
	switch {
	case len(tokens) == 0:
		return "", nil
	case len(tokens) > 1:
		return "", fmt.Errorf("%w: more than one access_token in the form", ErrMalformed)
	case len(tokens[0]) > jws.MaxToken || !b64token(tokens[0]):
		return "", fmt.Errorf("%w: access_token in the form is no token", ErrMalformed)
	}
	return tokens[0], nil
}
