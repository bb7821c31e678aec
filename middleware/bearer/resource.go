package bearer

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/latchkey-go/latchkey/internal/fetch"
)

// Resource is what an API says of itself (RFC 9728 section 2), so that clients find out whom to ask for a token.
type Resource struct {
	// Resource is the API's identifier: the https URL that clients know it by, without fragment. Required.
	Resource string `json:"resource"`
	// AuthorizationServers issue its tokens. Nil: the configured issuers, but for those with {tenantid}.
	AuthorizationServers []string `json:"authorization_servers,omitempty"`
	// Scopes are the ones it knows.
	Scopes []string `json:"scopes_supported,omitempty"`
	// BearerMethods say where a token may stand. Filled in by New.
	BearerMethods []string `json:"bearer_methods_supported,omitempty"`
	// Name, Documentation, Policy and TermsOfService are for people.
	Name           string `json:"resource_name,omitempty"`
	Documentation  string `json:"resource_documentation,omitempty"`
	Policy         string `json:"resource_policy_uri,omitempty"`
	TermsOfService string `json:"resource_tos_uri,omitempty"`
}

// about is Resource made ready.
type about struct {
	url, path string // where clients look for it
	document  []byte
}

const wellKnown = "/.well-known/oauth-protected-resource"

func newAbout(cfg *Config) (*about, error) {
	if cfg.Resource == nil {
		return nil, nil
	}
	r := *cfg.Resource
	if err := fetch.CheckURL(r.Resource, cfg.InsecureLoopbackHTTP); err != nil {
		return nil, fmt.Errorf("bearer: Config.Resource.Resource: %w", err)
	}
	u, err := url.Parse(r.Resource)
	if err != nil || u.RawQuery != "" {
		return nil, errors.New("bearer: Config.Resource.Resource must be a URL without query")
	}
	if r.AuthorizationServers == nil {
		if cfg.Issuer != "" {
			r.AuthorizationServers = append(r.AuthorizationServers, cfg.Issuer)
		}
		for _, in := range cfg.Issuers {
			if !strings.Contains(in.Issuer, tenantPlaceholder) && !slices.Contains(r.AuthorizationServers, in.Issuer) {
				r.AuthorizationServers = append(r.AuthorizationServers, in.Issuer)
			}
		}
	}
	if r.BearerMethods == nil {
		if r.BearerMethods = []string{"header"}; cfg.FormBody {
			r.BearerMethods = append(r.BearerMethods, "body")
		}
	}
	document, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("bearer: Config.Resource: %w", err)
	}
	// The well-known part goes between host and path, and a path of one slash counts as none (RFC 9728 section 3.1).
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	root := url.URL{Scheme: u.Scheme, Host: u.Host}
	return &about{url: root.String() + wellKnown + path, path: wellKnown + path, document: document}, nil
}

// MetadataPath is the path where clients look for Config.Resource, to mount MetadataHandler at; "" without Config.Resource.
func (v *Verifier) MetadataPath() string {
	if v.about == nil {
		return ""
	}
	return v.about.path
}

// MetadataHandler serves Config.Resource (RFC 9728 section 3.2), to anybody and to pages of any origin:
//
//	mux.Handle("GET "+api.MetadataPath(), api.MetadataHandler())
//
// Without Config.Resource it answers 404.
func (v *Verifier) MetadataHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if v.about == nil {
			http.NotFound(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "public, max-age=3600")
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(v.about.document)
	})
}
