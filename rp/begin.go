package rp

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/internal/strictjson"
	"github.com/latchkey-go/latchkey/pkce"
)

// AuthParams are the parameters of one login (OpenID Connect Core 3.1.2.1). The zero value is a plain login.
// Fill it from your own code, never from a request's query: who may choose acr_values or scope may weaken the login.
type AuthParams struct {
	Prompt       string        // "none", "login", "consent", "select_account" or several, separated by spaces
	MaxAge       time.Duration // zero: not sent; negative: max_age=0, log in anew. The ID token's auth_time is checked against it
	ACRValues    []string      // acr_values; the ID token's acr must be one of them (unless ACRVoluntary)
	ACRVoluntary bool          // a wish only: acr is not checked
	LoginHint    string
	IDTokenHint  string // raw ID token
	UILocales    []string
	Claims       json.RawMessage // the claims parameter, a JSON object (Core 5.5)
	Resource     []string        // RFC 8707
	Scopes       []string        // in addition to Config.Scopes
	Extra        url.Values      // further parameters (access_type, audience, ...); a parameter the protocol owns is an error
}

// UnsupportedError: the provider demands, or lacks, something this client can't do without. The configuration or the provider must change;
// trying again does not help.
type UnsupportedError struct {
	Feature string // "PKCE S256", "pushed authorization requests", "signing algorithm"
	Reason  string
}

func (e *UnsupportedError) Error() string { return "rp: " + e.Feature + ": " + e.Reason }

// owned are the authorization request's parameters which AuthParams.Extra can't set: the protocol's own, and those with a field.
var owned = map[string]bool{
	"response_type": true, "response_mode": true, "client_id": true, "redirect_uri": true, "scope": true,
	"state": true, "nonce": true, "code_challenge": true, "code_challenge_method": true,
	"prompt": true, "max_age": true, "acr_values": true, "login_hint": true, "id_token_hint": true,
	"ui_locales": true, "claims": true, "resource": true, "request": true, "request_uri": true,
	"code": true, "code_verifier": true, "client_secret": true, "client_assertion": true, "client_assertion_type": true,
}

// Begin prepares a login: fresh state, nonce and PKCE verifier (S256, RFC 7636), for confidential clients too.
// Send the browser to Login.URL and keep the Login sealed for that browser alone, until it returns.
// Errors: discovery.ErrUnavailable when the metadata can't be had; *UnsupportedError; ErrNoEndpoint when the issuer has no login;
// any other is a mistake in p or Config.
func (c *Client) Begin(ctx context.Context, p AuthParams) (*Login, error) {
	if c.cfg.RedirectURL == "" {
		return nil, errors.New("rp: Config.RedirectURL is missing; a login needs it")
	}
	params, err := p.values()
	if err != nil {
		return nil, err
	}
	md, err := c.provider.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	target, err := c.endpoint("authorization_endpoint", md.AuthorizationEndpoint)
	if err != nil {
		return nil, err
	}
	if md.RequirePushedAuthorizationRequests {
		return nil, &UnsupportedError{"pushed authorization requests", "the provider demands them (RFC 9126), and this version can't send them yet; have the requirement lifted for the client"}
	}
	login := &Login{
		State:       random(),
		Nonce:       random(),
		Issuer:      c.cfg.Issuer,
		ClientID:    c.cfg.ClientID,
		RedirectURL: c.cfg.RedirectURL,
		Scopes:      scopeList(c.cfg.Scopes, p.Scopes),
		StartedAt:   time.Now(),
	}
	if p.MaxAge != 0 {
		seconds := max(int64(p.MaxAge/time.Second), 0)
		login.MaxAge = &seconds
	}
	if !p.ACRVoluntary {
		login.ACRValues = slices.Clone(p.ACRValues)
	}
	params.Set("response_type", "code")
	params.Set("client_id", login.ClientID)
	params.Set("redirect_uri", login.RedirectURL)
	params.Set("scope", strings.Join(login.Scopes, " "))
	params.Set("state", login.State)
	params.Set("nonce", login.Nonce)
	if c.cfg.ResponseMode != "" {
		params.Set("response_mode", c.cfg.ResponseMode)
	}
	if !c.cfg.Quirks.InsecureSkipPKCE {
		// Absence of the list means unknown, not unsupported (RFC 8414 section 2); Entra is silent and takes S256.
		if m := md.CodeChallengeMethodsSupported; m != nil && !slices.Contains(m, "S256") {
			return nil, &UnsupportedError{"PKCE S256", "the provider's code_challenge_methods_supported does not list it, and plain protects nothing (RFC 9700 section 2.1.1)"}
		}
		login.Verifier = pkce.New()
		params.Set("code_challenge", login.Verifier.Challenge())
		params.Set("code_challenge_method", "S256")
	}
	login.URL, err = withParams(target, params)
	if err != nil {
		return nil, err
	}
	return login, nil
}

// values checks p and returns the parameters which do not depend on the client.
func (p *AuthParams) values() (url.Values, error) {
	v := url.Values{}
	for name, vals := range p.Extra {
		if owned[name] || name == "" {
			return nil, fmt.Errorf("rp: AuthParams.Extra: %q belongs to the protocol or has a field of its own", name)
		}
		v[name] = slices.Clone(vals)
	}
	if prompt := strings.Fields(p.Prompt); len(prompt) > 0 {
		if len(prompt) > 1 && slices.Contains(prompt, "none") {
			return nil, errors.New("rp: AuthParams.Prompt: none goes with no other value (OpenID Connect Core 3.1.2.1)")
		}
		v.Set("prompt", strings.Join(prompt, " "))
	}
	if p.MaxAge != 0 {
		v.Set("max_age", strconv.FormatInt(max(int64(p.MaxAge/time.Second), 0), 10))
	}
	for name, list := range map[string][]string{"acr_values": p.ACRValues, "ui_locales": p.UILocales} {
		for _, s := range list {
			if s == "" || strings.ContainsAny(s, " \t\r\n") {
				return nil, fmt.Errorf("rp: AuthParams: %q is no member of %s; list each in a string of its own", s, name)
			}
		}
		if len(list) > 0 {
			v.Set(name, strings.Join(list, " "))
		}
	}
	for _, s := range p.Scopes {
		if !validScope(s) {
			return nil, fmt.Errorf("rp: AuthParams.Scopes: %q is no scope (RFC 6749 section 3.3)", s)
		}
	}
	if p.LoginHint != "" {
		v.Set("login_hint", p.LoginHint)
	}
	if p.IDTokenHint != "" {
		v.Set("id_token_hint", p.IDTokenHint)
	}
	if len(p.Claims) > 0 {
		if _, err := strictjson.Object(p.Claims); err != nil {
			return nil, fmt.Errorf("rp: AuthParams.Claims: %w", err)
		}
		v.Set("claims", string(p.Claims))
	}
	for _, r := range p.Resource {
		u, err := url.Parse(r)
		if err != nil || !u.IsAbs() || u.Fragment != "" {
			return nil, fmt.Errorf("rp: AuthParams.Resource: %q is no absolute URI without fragment (RFC 8707 section 2)", r)
		}
		v.Add("resource", r)
	}
	return v, nil
}

// withParams adds params to an endpoint, whose own query stays as it is (RFC 6749 section 3.1; Azure AD B2C names its policy there).
func withParams(endpoint string, params url.Values) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", errors.New("rp: the authorization_endpoint is no URL")
	}
	for name := range u.Query() {
		if params.Has(name) {
			return "", fmt.Errorf("rp: the authorization_endpoint holds %q already; a parameter sent twice is refused or misread", name)
		}
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += params.Encode()
	return u.String(), nil
}

// random is 256 bits as 43 characters of base64url: what providers with limits on state and nonce still take.
func random() string {
	var b [32]byte
	rand.Read(b[:]) // never fails: the runtime aborts instead
	return base64.RawURLEncoding.EncodeToString(b[:])
}
