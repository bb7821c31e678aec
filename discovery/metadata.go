package discovery

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/latchkey-go/latchkey/internal/fetch"
	"github.com/latchkey-go/latchkey/internal/strictjson"
)

// Metadata is a provider's document: OpenID Connect Discovery 1.0 section 3, RFC 8414 section 2, and the members which the
// specifications of logout, device grant, pushed requests and others add. What a provider leaves out is empty here; the
// specifications' defaults are for the reader to apply. Decode gives members that have no field.
type Metadata struct {
	Issuer                                     string   `json:"issuer"`
	AuthorizationEndpoint                      string   `json:"authorization_endpoint,omitempty"`
	TokenEndpoint                              string   `json:"token_endpoint,omitempty"`
	UserinfoEndpoint                           string   `json:"userinfo_endpoint,omitempty"`
	JWKSURI                                    string   `json:"jwks_uri,omitempty"`
	RegistrationEndpoint                       string   `json:"registration_endpoint,omitempty"`
	RevocationEndpoint                         string   `json:"revocation_endpoint,omitempty"`
	IntrospectionEndpoint                      string   `json:"introspection_endpoint,omitempty"`
	EndSessionEndpoint                         string   `json:"end_session_endpoint,omitempty"`
	CheckSessionIframe                         string   `json:"check_session_iframe,omitempty"`
	DeviceAuthorizationEndpoint                string   `json:"device_authorization_endpoint,omitempty"`
	PushedAuthorizationRequestEndpoint         string   `json:"pushed_authorization_request_endpoint,omitempty"`
	BackchannelAuthenticationEndpoint          string   `json:"backchannel_authentication_endpoint,omitempty"`
	ScopesSupported                            []string `json:"scopes_supported,omitempty"`
	ResponseTypesSupported                     []string `json:"response_types_supported,omitempty"`
	ResponseModesSupported                     []string `json:"response_modes_supported,omitempty"`
	GrantTypesSupported                        []string `json:"grant_types_supported,omitempty"`
	ACRValuesSupported                         []string `json:"acr_values_supported,omitempty"`
	SubjectTypesSupported                      []string `json:"subject_types_supported,omitempty"`
	IDTokenSigningAlgValuesSupported           []string `json:"id_token_signing_alg_values_supported,omitempty"`
	UserinfoSigningAlgValuesSupported          []string `json:"userinfo_signing_alg_values_supported,omitempty"`
	TokenEndpointAuthMethodsSupported          []string `json:"token_endpoint_auth_methods_supported,omitempty"`
	RevocationEndpointAuthMethodsSupported     []string `json:"revocation_endpoint_auth_methods_supported,omitempty"`
	IntrospectionEndpointAuthMethodsSupported  []string `json:"introspection_endpoint_auth_methods_supported,omitempty"`
	CodeChallengeMethodsSupported              []string `json:"code_challenge_methods_supported,omitempty"`
	PromptValuesSupported                      []string `json:"prompt_values_supported,omitempty"`
	ClaimsSupported                            []string `json:"claims_supported,omitempty"`
	BackchannelTokenDeliveryModesSupported     []string `json:"backchannel_token_delivery_modes_supported,omitempty"`
	UILocalesSupported                         []string `json:"ui_locales_supported,omitempty"`
	AuthorizationResponseIssParameterSupported bool     `json:"authorization_response_iss_parameter_supported,omitempty"`
	RequirePushedAuthorizationRequests         bool     `json:"require_pushed_authorization_requests,omitempty"`
	BackchannelUserCodeParameterSupported      bool     `json:"backchannel_user_code_parameter_supported,omitempty"`
	BackchannelLogoutSupported                 bool     `json:"backchannel_logout_supported,omitempty"`
	BackchannelLogoutSessionSupported          bool     `json:"backchannel_logout_session_supported,omitempty"`
	FrontchannelLogoutSupported                bool     `json:"frontchannel_logout_supported,omitempty"`
	FrontchannelLogoutSessionSupported         bool     `json:"frontchannel_logout_session_supported,omitempty"`
	raw                                        []byte   // the document; nil for one that was not fetched
}

// Decode decodes the whole document, unknown members included, into v: a pointer to a struct or a map. Names match exactly.
func (m *Metadata) Decode(v any) error {
	raw := m.raw
	if raw == nil {
		var err error
		if raw, err = json.Marshal(m); err != nil {
			return fmt.Errorf("discovery: %w", err)
		}
	}
	if err := strictjson.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("discovery: decoding the metadata: %w", err)
	}
	return nil
}

// parseMetadata reads a document member by member, so that a slip in one that nobody needs costs that one only. odd names those.
// A string member of another type is fatal: it is the issuer or an address.
func parseMetadata(raw []byte) (m *Metadata, odd []string, err error) {
	members, err := strictjson.Object(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("the document is refused: %w", err)
	}
	m = &Metadata{raw: raw}
	for name, field := range m.fields() {
		value, present := members[name]
		if !present || string(value) == "null" {
			continue
		}
		switch dst := field.Addr().Interface().(type) {
		case *string:
			if err := json.Unmarshal(value, dst); err != nil {
				return nil, nil, fmt.Errorf("%s is not a string", name)
			}
		case *[]string:
			if json.Unmarshal(value, dst) != nil {
				*dst = nil
				odd = append(odd, name)
			}
		case *bool:
			if json.Unmarshal(value, dst) != nil {
				odd = append(odd, name)
			}
		}
	}
	return m, odd, nil
}

// fields yields the exported fields by their member names.
func (m *Metadata) fields() func(yield func(string, reflect.Value) bool) {
	return func(yield func(string, reflect.Value) bool) {
		v := reflect.ValueOf(m).Elem()
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			if name != "" && !yield(name, v.Field(i)) {
				return
			}
		}
	}
}

// check holds m against what we know and need: the issuer, identical (RFC 8414 section 3.3, Discovery section 4.3), the place of
// the keys, and https everywhere. A workload issuer has no other endpoint, so no other is required here.
func (m *Metadata) check(issuer string, needKeys, loopbackHTTP bool) error {
	if m.Issuer != issuer {
		return fmt.Errorf("its issuer is %s, not %q: the two must be identical%s", quote(m.Issuer), issuer, m.issuerHint(issuer))
	}
	if needKeys && m.JWKSURI == "" {
		return errors.New("it has no jwks_uri; set Config.Keys if the keys are known otherwise")
	}
	for name, field := range m.fields() {
		if name == "issuer" || field.Kind() != reflect.String || field.String() == "" {
			continue
		}
		if err := fetch.CheckURL(field.String(), loopbackHTTP); err != nil {
			return fmt.Errorf("its %s: %w", name, err)
		}
	}
	return nil
}

func (m *Metadata) issuerHint(issuer string) string {
	switch {
	case m.Issuer == "":
		return ""
	case strings.TrimSuffix(m.Issuer, "/") == strings.TrimSuffix(issuer, "/"):
		return " (they differ in the final slash only: copy the provider's spelling into Config.Issuer)"
	}
	return " (if the document lies elsewhere than under its issuer, set Config.Issuer to the one in the document and Config.DiscoveryURL)"
}

// quote shows a piece of foreign text.
func quote(s string) string {
	if len(s) > 128 {
		return fmt.Sprintf("%.128q...", s)
	}
	return fmt.Sprintf("%q", s)
}
