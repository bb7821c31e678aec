package rptest

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const interactionLifetime = 30 * time.Minute

// authRequest is a checked authorization request (OpenID Connect Core 3.1.2.1).
type authRequest struct {
	client       *Client
	redirectURI  string
	formPost     bool
	state        string
	nonce        string
	challenge    string
	scopes       []string
	prompt       []string
	maxAge       time.Duration // negative: not asked for
	acrValues    []string
	loginHint    string
	hintSub      string // from id_token_hint
	claims       claimsRequest
	resources    []string
	redirectHost string
}

// claimsRequest is the claims parameter (Core 5.5).
type claimsRequest struct {
	IDToken  map[string]*claimRequest `json:"id_token"`
	UserInfo map[string]*claimRequest `json:"userinfo"`
}

type claimRequest struct {
	Essential bool  `json:"essential"`
	Value     any   `json:"value"`
	Values    []any `json:"values"`
}

// protocolError is an error answer of OAuth.
type protocolError struct {
	status            int
	code, description string
}

func refuse(status int, code, description string) *protocolError {
	return &protocolError{status, code, description}
}

// parseAuthRequest checks a request. sendable says whether the error may go back to the client: its id and redirect URI were good.
func (p *Provider) parseAuthRequest(v url.Values) (req *authRequest, sendable bool, err *protocolError) {
	for name, values := range v {
		if len(values) > 1 && name != "resource" {
			return nil, false, refuse(400, "invalid_request", "parameter "+name+" was sent twice")
		}
	}
	client := p.client(v.Get("client_id"))
	if client == nil {
		return nil, false, refuse(400, "invalid_client", "no client has the client_id "+strconv.Quote(v.Get("client_id")))
	}
	req = &authRequest{
		client: client, redirectURI: v.Get("redirect_uri"), state: v.Get("state"), nonce: v.Get("nonce"),
		challenge: v.Get("code_challenge"), scopes: strings.Fields(v.Get("scope")), prompt: strings.Fields(v.Get("prompt")), maxAge: -1,
		acrValues: strings.Fields(v.Get("acr_values")), loginHint: v.Get("login_hint"), resources: v["resource"],
	}
	if !p.allows(client.RedirectURIs, req.redirectURI) {
		return nil, false, refuse(400, "invalid_request", "the redirect_uri "+strconv.Quote(req.redirectURI)+" is not registered for client "+client.ID)
	}
	if u, err := url.Parse(req.redirectURI); err == nil {
		req.redirectHost = u.Host
	}
	switch v.Get("response_mode") {
	case "form_post":
		req.formPost = true
	case "", "query":
	default:
		return req, true, refuse(400, "invalid_request", "response_mode must be query or form_post")
	}
	return req, true, p.checkAuthRequest(req, v)
}

func (p *Provider) checkAuthRequest(req *authRequest, v url.Values) *protocolError {
	switch {
	case v.Has("request"):
		return refuse(400, "request_not_supported", "")
	case v.Has("request_uri"):
		return refuse(400, "request_uri_not_supported", "")
	case v.Get("response_type") != "code":
		return refuse(400, "unsupported_response_type", "only the code flow is supported")
	case len(req.prompt) > 1 && slices.Contains(req.prompt, "none"):
		return refuse(400, "invalid_request", "prompt none goes with no other value")
	case req.challenge == "" && !req.client.AllowNoPKCE:
		return refuse(400, "invalid_request", "code_challenge is missing: PKCE is required")
	case req.challenge != "" && v.Get("code_challenge_method") != "S256":
		return refuse(400, "invalid_request", "code_challenge_method must be S256")
	case req.challenge != "" && !validChallenge(req.challenge):
		return refuse(400, "invalid_request", "code_challenge is no SHA-256 in base64url")
	}
	if v.Has("max_age") {
		seconds, err := strconv.ParseUint(v.Get("max_age"), 10, 31)
		if err != nil {
			return refuse(400, "invalid_request", "max_age is no number of seconds")
		}
		req.maxAge = time.Duration(seconds) * time.Second
	}
	if raw := v.Get("claims"); raw != "" {
		if err := json.Unmarshal([]byte(raw), &req.claims); err != nil {
			return refuse(400, "invalid_request", "the claims parameter is malformed")
		}
		req.acrValues = append(req.acrValues, req.claims.wanted("acr")...)
	}
	if v.Has("id_token_hint") {
		claims := p.hinted(v.Get("id_token_hint"))
		if claims == nil {
			return refuse(400, "invalid_request", "the id_token_hint was not issued here")
		}
		req.hintSub, _ = claims["sub"].(string)
	}
	for _, r := range req.resources {
		if u, err := url.Parse(r); err != nil || !u.IsAbs() || u.Fragment != "" {
			return refuse(400, "invalid_target", "a resource must be an absolute URI without fragment")
		}
	}
	return nil
}

// wanted are the values asked for of an ID token claim.
func (c claimsRequest) wanted(name string) []string {
	r := c.IDToken[name]
	if r == nil {
		return nil
	}
	var out []string
	for _, v := range append([]any{r.Value}, r.Values...) {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// unmet reports whether an acr was demanded, not merely wished for, and is another (Core 5.5.1.1).
func (c claimsRequest) unmet(acr string) bool {
	r := c.IDToken["acr"]
	return r != nil && r.Essential && len(c.wanted("acr")) > 0 && !slices.Contains(c.wanted("acr"), acr)
}

func validChallenge(s string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == 32
}

func (p *Provider) client(id string) *Client {
	for i := range p.opts.Clients {
		if p.opts.Clients[i].ID == id {
			return &p.opts.Clients[i]
		}
	}
	return nil
}

func (p *Provider) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		methodNotAllowed(w, "GET, POST")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	if err := r.ParseForm(); err != nil {
		p.errorPage(w, refuse(400, "invalid_request", "the request is malformed"))
		return
	}
	req, sendable, err := p.parseAuthRequest(r.Form)
	switch {
	case err != nil && !sendable:
		p.errorPage(w, err)
		return
	case err != nil:
		p.answer(w, r, req, url.Values{"error": {err.code}, "error_description": {err.description}})
		return
	}
	it := &interaction{
		id: random(), browser: p.browserID(w, r), req: req, created: time.Now(),
		fresh: slices.Contains(req.prompt, "login") || slices.Contains(req.prompt, "select_account") || req.maxAge == 0,
	}
	p.mu.Lock()
	p.interactions[it.id] = it
	p.sweepLocked(it.created)
	p.mu.Unlock()
	p.advance(w, r, it)
}

// answer sends the browser back to the client (RFC 6749 section 4.1.2, RFC 9207).
func (p *Provider) answer(w http.ResponseWriter, r *http.Request, req *authRequest, v url.Values) {
	if v.Get("error_description") == "" {
		v.Del("error_description")
	}
	if req.state != "" {
		v.Set("state", req.state)
	}
	if !p.opts.NoIssParameter {
		v.Set("iss", p.opts.Issuer)
	}
	p.faults.answer(v)
	w.Header().Set("Cache-Control", "no-store")
	if req.formPost {
		p.formPostPage(w, req, v)
		return
	}
	target, err := url.Parse(req.redirectURI)
	if err != nil {
		p.errorPage(w, refuse(400, "invalid_request", "the redirect_uri is no URL"))
		return
	}
	if target.RawQuery != "" {
		target.RawQuery += "&"
	}
	target.RawQuery += v.Encode()
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, target.String(), http.StatusSeeOther)
}

func (p *Provider) answerError(w http.ResponseWriter, r *http.Request, it *interaction, code, description string) {
	p.mu.Lock()
	delete(p.interactions, it.id)
	p.mu.Unlock()
	p.answer(w, r, it.req, url.Values{"error": {code}, "error_description": {description}})
}

// answerCode ends an interaction well.
func (p *Provider) answerCode(w http.ResponseWriter, r *http.Request, it *interaction, s opSession) {
	c := &code{
		grant: &grant{
			client: it.req.client, sub: s.sub, sid: s.sid, scopes: it.req.scopes, claims: it.req.claims, nonce: it.req.nonce,
			authTime: s.authTime, acr: s.acr, amr: s.amr, resources: it.req.resources,
		},
		redirectURI: it.req.redirectURI, challenge: it.req.challenge, expires: time.Now().Add(p.opts.CodeLifetime),
	}
	value := random()
	p.mu.Lock()
	delete(p.interactions, it.id)
	p.codes[value] = c
	p.mu.Unlock()
	v := url.Values{"code": {value}}
	if p.opts.SessionManagement {
		v.Set("session_state", sessionState(it.req, s))
	}
	p.answer(w, r, it.req, v)
}

func methodNotAllowed(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
}
