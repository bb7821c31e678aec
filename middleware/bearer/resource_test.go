package bearer_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/middleware/bearer"
)

func TestTheMetadataIsWhereTheChallengeSays(t *testing.T) {
	for resource, want := range map[string]string{
		"https://api.example":         "https://api.example/.well-known/oauth-protected-resource",
		"https://api.example/":        "https://api.example/.well-known/oauth-protected-resource",
		"https://api.example:8443/v1": "https://api.example:8443/.well-known/oauth-protected-resource/v1",
		"https://api.example/a%2Fb/c": "https://api.example/.well-known/oauth-protected-resource/a%2Fb/c",
	} {
		api, err := bearer.New(bearer.Config{
			Issuer: "https://login.example", Audience: "x", Resource: &bearer.Resource{Resource: resource, Scopes: []string{"read"}, Name: "Reports"}, FormBody: true,
			Issuers: []bearer.Issuer{{Issuer: "https://other.example"}, {Issuer: "https://login.many.example/{tenantid}", AnyTenant: true}},
		})
		if err != nil {
			t.Fatal(err)
		}
		f := api.Failure(bearer.ErrNoToken)
		if !strings.HasSuffix(f.Challenge, `, resource_metadata="`+want+`"`) {
			t.Errorf("%s: %s", resource, f.Challenge)
		}
		mux := http.NewServeMux()
		mux.Handle("GET "+api.MetadataPath(), api.MetadataHandler())
		w := get(mux) // "/orders"
		if w.Code != 404 {
			t.Errorf("elsewhere: %d", w.Code)
		}
		r, _ := http.NewRequest("GET", want, nil)
		w = serve(mux, r)
		var got map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
			t.Fatalf("%s: %d %v", resource, w.Code, err)
		}
		text := w.Body.String()
		for _, part := range []string{
			`"resource":"` + resource + `"`, `"authorization_servers":["https://login.example","https://other.example"]`, `"scopes_supported":["read"]`,
			`"bearer_methods_supported":["header","body"]`, `"resource_name":"Reports"`,
		} {
			if !strings.Contains(text, part) {
				t.Errorf("no %s in %s", part, text)
			}
		}
		if w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("header %v", w.Header())
		}
	}
}

func TestWithoutAResourceThereIsNoMetadata(t *testing.T) {
	api, err := bearer.New(bearer.Config{Issuer: "https://login.example", Audience: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if w := get(api.MetadataHandler()); w.Code != 404 || api.MetadataPath() != "" || strings.Contains(api.Failure(bearer.ErrNoToken).Challenge, "resource_metadata") {
		t.Errorf("%d %q", w.Code, api.MetadataPath())
	}
}
