package rptest_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/rp/rptest"
)

func TestIntrospectionIsSignedForAClientThatAsks(t *testing.T) {
	r := newRig(t, rptest.Options{})
	token := fmt.Sprint(r.login()["access_token"])
	ask := func() (contentType string, parts []string) {
		t.Helper()
		form := url.Values{"token": {token}, "client_id": {r.p.ClientID()}, "client_secret": {r.p.ClientSecret()}}
		req, err := http.NewRequest(http.MethodPost, r.p.Issuer()+"/introspect", strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Accept", "application/token-introspection+jwt")
		resp, err := r.p.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split(string(body), ".")[:2] {
			text, err := base64.RawURLEncoding.DecodeString(part)
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, string(text))
		}
		return resp.Header.Get("Content-Type"), parts
	}
	contentType, parts := ask()
	var claims map[string]any
	if err := json.Unmarshal([]byte(parts[1]), &claims); err != nil {
		t.Fatal(err)
	}
	inner, _ := claims["token_introspection"].(map[string]any)
	if contentType != "application/token-introspection+jwt" || !strings.Contains(parts[0], `"typ":"token-introspection+jwt"`) ||
		claims["aud"] != r.p.ClientID() || claims["iss"] != r.p.Issuer() || claims["sub"] != nil || claims["exp"] != nil || inner["active"] != true {
		t.Errorf("%s %s", contentType, parts)
	}
	r.p.IntrospectionFault(rptest.NoIAT)
	if _, bent := ask(); strings.Contains(strings.Split(bent[1], `"token_introspection"`)[0], `"iat"`) || !strings.Contains(parts[1], `"iat"`) {
		t.Errorf("not bent: %s", bent[1])
	}
	r.p.ClearFaults()
	if _, honest := ask(); len(honest[1]) != len(parts[1]) {
		t.Errorf("bent still: %s", honest[1])
	}
}
