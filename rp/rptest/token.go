package rptest

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// grant is what one login, or one client_credentials request, allowed.
type grant struct {
	client    *Client
	sub, sid  string // sid is empty without a user
	scopes    []string
	claims    claimsRequest
	nonce     string
	authTime  time.Time
	acr       string
	amr       []string
	resources []string
	actor     map[string]any // act, of an exchanged token
	revoked   bool
}

type code struct {
	grant       *grant
	redirectURI string
	challenge   string
	expires     time.Time
	used        bool
}

type accessToken struct {
	grant    *grant
	scopes   []string
	audience []string
	issued   time.Time
	expires  time.Time
	revoked  bool
}

type refreshToken struct {
	grant   *grant
	issued  time.Time
	expires time.Time
	rotated time.Time // zero: not yet
}

func (p *Provider) serveToken(w http.ResponseWriter, r *http.Request) {
	client, form, perr := p.authenticated(w, r)
	if perr != nil {
		writeError(w, perr)
		return
	}
	var answer map[string]any
	switch form.Get("grant_type") {
	case "authorization_code":
		answer, perr = p.redeem(client, form)
	case "refresh_token":
		answer, perr = p.renew(client, form)
	case "client_credentials":
		answer, perr = p.credentials(client, form)
	case deviceGrant, cibaGrant:
		answer, perr = p.poll(client, form)
	case exchangeGrant:
		answer, perr = p.exchange(client, form)
	case jwtBearerGrant:
		answer, perr = p.jwtBearer(client, form)
	case samlBearerGrant:
		answer, perr = p.samlBearer(client, form)
	case "password":
		answer, perr = p.password(client, form)
	case "":
		perr = refuse(400, "invalid_request", "grant_type is missing")
	default:
		perr = refuse(400, "unsupported_grant_type", "")
	}
	if perr != nil {
		writeError(w, perr)
		return
	}
	noStore(w)
	writeJSON(w, http.StatusOK, answer)
}

func noStore(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
}

func writeError(w http.ResponseWriter, e *protocolError) {
	noStore(w)
	body := map[string]any{"error": e.code}
	if e.description != "" {
		body["error_description"] = e.description
	}
	writeJSON(w, e.status, body)
}

// authenticated reads a form POST and finds out which client sent it (RFC 6749 section 2.3).
func (p *Provider) authenticated(w http.ResponseWriter, r *http.Request) (*Client, url.Values, *protocolError) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		return nil, nil, refuse(405, "invalid_request", "the method must be POST")
	}
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	if err := r.ParseForm(); err != nil || len(r.PostForm) == 0 {
		return nil, nil, refuse(400, "invalid_request", "the body must be a form")
	}
	for name, values := range r.PostForm {
		if len(values) > 1 && name != "resource" && name != "audience" {
			return nil, nil, refuse(400, "invalid_request", "parameter "+name+" was sent twice")
		}
	}
	if r.PostForm.Has("client_assertion") || r.PostForm.Has("client_assertion_type") {
		client, perr := p.asserted(w, r)
		return client, r.PostForm, perr
	}
	id, secret, method := r.PostForm.Get("client_id"), r.PostForm.Get("client_secret"), "none"
	if r.PostForm.Has("client_secret") {
		method = "client_secret_post"
	}
	if rawID, rawSecret, ok := r.BasicAuth(); ok {
		if method == "client_secret_post" {
			return nil, nil, refuse(400, "invalid_request", "two client authentications at once")
		}
		basicID, err1 := url.QueryUnescape(rawID)
		basicSecret, err2 := url.QueryUnescape(rawSecret)
		if err1 != nil || err2 != nil || (id != "" && id != basicID) {
			return nil, nil, p.invalidClient(w, "the Basic credentials are malformed, or of another client than client_id")
		}
		id, secret, method = basicID, basicSecret, "client_secret_basic"
	} else if r.Header.Get("Authorization") != "" {
		return nil, nil, p.invalidClient(w, "the Authorization header is not understood")
	}
	client := p.client(id)
	switch {
	case client == nil:
		return nil, nil, p.invalidClient(w, "the client is unknown")
	case client.AuthMethod != "" && client.AuthMethod != method:
		return nil, nil, p.invalidClient(w, "the client is registered for "+client.AuthMethod+", but used "+method)
	case client.AuthMethod == "" && method == "none", method != "none" && subtle.ConstantTimeCompare([]byte(secret), []byte(client.Secret)) != 1:
		return nil, nil, p.invalidClient(w, "the client secret is missing or wrong")
	}
	return client, r.PostForm, nil
}

func (p *Provider) invalidClient(w http.ResponseWriter, description string) *protocolError {
	w.Header().Set("WWW-Authenticate", `Basic realm="`+p.opts.Issuer+`"`)
	return refuse(401, "invalid_client", description)
}

// redeem is the authorization_code grant. A code that comes twice revokes what the first one gave (RFC 6749 section 4.1.2).
func (p *Provider) redeem(client *Client, form url.Values) (map[string]any, *protocolError) {
	if form.Get("code") == "" {
		return nil, refuse(400, "invalid_request", "code is missing")
	}
	p.mu.Lock()
	c := p.codes[form.Get("code")]
	perr := c.check(client, form, time.Now())
	if perr == nil {
		perr = c.grant.checkResources(form["resource"])
	}
	if c != nil && c.grant.client == client {
		if c.used {
			c.grant.revoked = true
		}
		c.used = true
	}
	p.mu.Unlock()
	if perr != nil {
		return nil, perr
	}
	return p.issue(c.grant, c.grant.scopes, issuance{resources: form["resource"]}), nil
}

// checkResources lets a token request choose among the resources of the authorization request, or name some where that did not (RFC 8707 section 2.2).
func (g *grant) checkResources(resources []string) *protocolError {
	for _, r := range resources {
		if len(g.resources) > 0 && !slices.Contains(g.resources, r) {
			return refuse(400, "invalid_target", "the resource was not granted")
		}
	}
	return nil
}

func (c *code) check(client *Client, form url.Values, now time.Time) *protocolError {
	switch {
	case c == nil:
		return refuse(400, "invalid_grant", "the code is unknown")
	case c.grant.client != client:
		return refuse(400, "invalid_grant", "the code was issued to another client")
	case c.used:
		return refuse(400, "invalid_grant", "the code was used before; its tokens are revoked now")
	case now.After(c.expires):
		return refuse(400, "invalid_grant", "the code has expired")
	case c.redirectURI != form.Get("redirect_uri"):
		return refuse(400, "invalid_grant", "the redirect_uri is not the one of the authorization request")
	case c.challenge == "" && form.Has("code_verifier"):
		return refuse(400, "invalid_grant", "a code_verifier came, but no code_challenge had been sent")
	case c.challenge != "" && !verifies(form.Get("code_verifier"), c.challenge):
		return refuse(400, "invalid_grant", "the code_verifier does not fit the code_challenge")
	}
	return nil
}

// verifies is RFC 7636 section 4.6, with the length that section 4.1 demands.
func verifies(verifier, challenge string) bool {
	sum := sha256.Sum256([]byte(verifier))
	return len(verifier) >= 43 && len(verifier) <= 128 && base64.RawURLEncoding.EncodeToString(sum[:]) == challenge
}

// renew is the refresh_token grant. A rotated token that comes again revokes its whole family (RFC 9700 section 4.14.2).
func (p *Provider) renew(client *Client, form url.Values) (map[string]any, *protocolError) {
	value := form.Get("refresh_token")
	if value == "" {
		return nil, refuse(400, "invalid_request", "refresh_token is missing")
	}
	p.mu.Lock()
	now := time.Now()
	t := p.refresh[value]
	scopes, perr := p.checkRefreshLocked(t, client, form, now)
	if perr == nil {
		p.refreshes++
		if !p.opts.KeepRefreshTokens && t.rotated.IsZero() {
			t.rotated = now
		}
	}
	p.mu.Unlock()
	if perr != nil {
		return nil, perr
	}
	keep := ""
	if p.opts.KeepRefreshTokens {
		keep = value
	}
	return p.issue(t.grant, scopes, issuance{refresh: true, keep: keep, expires: t.expires, resources: form["resource"]}), nil
}

func (p *Provider) checkRefreshLocked(t *refreshToken, client *Client, form url.Values, now time.Time) ([]string, *protocolError) {
	switch {
	case t == nil:
		return nil, refuse(400, "invalid_grant", "the refresh token is unknown")
	case t.grant.client != client:
		return nil, refuse(400, "invalid_grant", "the refresh token was issued to another client")
	case !t.rotated.IsZero() && (p.opts.RefreshGrace == 0 || now.Sub(t.rotated) > p.opts.RefreshGrace):
		p.reuses++
		t.grant.revoked = true
		return nil, refuse(400, "invalid_grant", "the refresh token was used before; its family is revoked now")
	case t.grant.revoked:
		return nil, refuse(400, "invalid_grant", "the refresh token was revoked")
	case now.After(t.expires):
		return nil, refuse(400, "invalid_grant", "the refresh token has expired")
	}
	scopes := t.grant.scopes
	if form.Has("scope") {
		scopes = strings.Fields(form.Get("scope"))
		for _, s := range scopes {
			if !slices.Contains(t.grant.scopes, s) {
				return nil, refuse(400, "invalid_scope", "scope "+s+" was not granted")
			}
		}
	}
	return scopes, t.grant.checkResources(form["resource"])
}

// credentials is the client_credentials grant: no user, no refresh token, no ID token.
func (p *Provider) credentials(client *Client, form url.Values) (map[string]any, *protocolError) {
	if !client.confidential() {
		return nil, refuse(400, "unauthorized_client", "a public client has no credentials")
	}
	scopes := slices.DeleteFunc(strings.Fields(form.Get("scope")), func(s string) bool { return s == "openid" || s == "offline_access" })
	return p.issue(&grant{client: client, sub: client.ID, scopes: scopes, resources: form["resource"]}, scopes, issuance{resources: form["resource"]}), nil
}

// RefreshReuses is how often a refresh token was presented again after its rotation.
func (p *Provider) RefreshReuses() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reuses
}

// Refreshes is how many refresh_token grants were answered with tokens.
func (p *Provider) Refreshes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refreshes
}
