package rp

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// These look at call and at the error texts, which UserInfo, Revoke and the token endpoint share.

type wire func(*http.Request) (*http.Response, error)

func (f wire) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func page(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), ProtoMajor: 1, ProtoMinor: 1}
}

func calling(t *testing.T, answer func(r *http.Request, form url.Values) (*http.Response, error)) (*Client, *int) {
	t.Helper()
	calls := 0
	c, err := New(Config{
		Issuer: "https://op.example", ClientID: "id", ClientSecret: "secret-0123",
		HTTPClient: &http.Client{Transport: wire(func(r *http.Request) (*http.Response, error) {
			if strings.HasPrefix(r.URL.Path, "/.well-known/") {
				b, _ := json.Marshal(map[string]any{
					"issuer": "https://op.example", "jwks_uri": "https://op.example/jwks", "token_endpoint": "https://op.example/token",
					"authorization_endpoint": "https://op.example/authorize", "response_types_supported": []string{"code"},
				})
				return page(200, string(b)), nil
			}
			calls++
			raw, err := io.ReadAll(r.Body)
			if err != nil {
				return nil, err
			}
			form, err := url.ParseQuery(string(raw))
			if err != nil {
				return nil, err
			}
			return answer(r, form)
		})},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, &calls
}

func TestCallPostsAFormAsThisClient(t *testing.T) {
	c, calls := calling(t, func(r *http.Request, form url.Values) (*http.Response, error) {
		if r.Method != http.MethodPost || form.Get("token") != "t" || !strings.HasPrefix(r.Header.Get("Authorization"), "Basic ") || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
			t.Errorf("sent %s %v %v", r.Method, r.Header, form)
		}
		return page(204, ""), nil
	})
	answer, err := c.call(t.Context(), "revocation", "https://op.example/revoke", url.Values{"token": {"t"}})
	if err != nil || answer.Status != 204 || *calls != 1 {
		t.Errorf("%v, %v", answer, err)
	}
}

func TestCallTellsFailuresApart(t *testing.T) {
	for name, x := range map[string]struct {
		resp        *http.Response
		err         error
		provider    bool
		unavailable bool
	}{
		"oauth error": {resp: page(400, `{"error":"x","error_description":"no token-0123 for secret-0123"}`), provider: true},
		"redirect":    {resp: page(307, ""), provider: true},
		"500":         {resp: page(500, ""), provider: true, unavailable: true},
		"too long":    {resp: page(200, strings.Repeat(" ", maxAnswer+1)), provider: true},
		"unreachable": {err: io.ErrUnexpectedEOF, unavailable: true},
	} {
		t.Run(name, func(t *testing.T) {
			c, calls := calling(t, func(*http.Request, url.Values) (*http.Response, error) { return x.resp, x.err })
			answer, err := c.call(t.Context(), "revocation", "https://op.example/revoke?k=query-0123", url.Values{"token": {"token-0123"}})
			e, provider := errors.AsType[*ProviderError](err)
			if answer != nil || provider != x.provider || errors.Is(err, ErrUnavailable) != x.unavailable || *calls != 1 {
				t.Errorf("%v after %d calls", err, *calls)
			}
			if provider && e.Endpoint != "revocation" {
				t.Errorf("blames %q", e.Endpoint)
			}
			if err != nil && strings.Contains(err.Error(), "-0123") {
				t.Errorf("the error tells a secret: %v", err)
			}
		})
	}
}

func TestCallRefusesAnEndpointInTheClear(t *testing.T) {
	c, calls := calling(t, func(*http.Request, url.Values) (*http.Response, error) { return page(200, ""), nil })
	if _, err := c.call(t.Context(), "revocation", "http://op.example/revoke", url.Values{}); err == nil || *calls != 0 {
		t.Errorf("%v after %d calls", err, *calls)
	}
}

func TestErrorsSayWhatHappened(t *testing.T) {
	for _, x := range []struct {
		err  error
		want string
	}{
		{&MismatchError{"state", "none came"}, "rp: the answer does not belong to this login: state: none came"},
		{&TokenError{Token: "ID token", Check: "exp", Want: "later", Got: "earlier"}, "rp: invalid ID token: exp: want later, got earlier"},
		{&TokenError{Token: "UserInfo", Check: "json", Err: errors.New("odd")}, "rp: invalid UserInfo: json: odd"},
		{&ProviderError{Endpoint: "token", Status: 400, Code: "invalid_grant", Description: "spent"}, `rp: the provider's token endpoint answered 400 error "invalid_grant" ("spent")`},
		{&ProviderError{Endpoint: "authorization", Code: "access_denied"}, `rp: the provider's authorization endpoint answered error "access_denied"`},
		{&ProviderError{Endpoint: "token", Status: 200, Err: errors.New("no access_token")}, "rp: the provider's token endpoint answered 200: no access_token"},
		{&ProviderError{Endpoint: "token", Status: 403}, "rp: the provider's token endpoint answered 403"},
		{&UnsupportedError{"PKCE S256", "not listed"}, "rp: PKCE S256: not listed"},
	} {
		if x.err.Error() != x.want {
			t.Errorf("%q, want %q", x.err, x.want)
		}
	}
	if cause := errors.New("x"); !errors.Is(&ProviderError{Err: cause}, cause) || !errors.Is(&TokenError{Err: cause}, cause) {
		t.Error("a cause is out of reach")
	}
}
