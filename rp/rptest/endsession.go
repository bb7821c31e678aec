package rptest

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// serveEndSession is RP-Initiated Logout 1.0 section 2. A request without id_token_hint could come from anyone, so in
// interactive mode the user is asked first.
func (p *Provider) serveEndSession(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		methodNotAllowed(w, "GET, POST")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	if err := r.ParseForm(); err != nil {
		p.errorPage(w, refuse(400, "invalid_request", "the request is malformed"))
		return
	}
	req, perr := p.parseEndSession(r.Form)
	if perr != nil {
		p.errorPage(w, perr)
		return
	}
	s, signedIn := p.session(r, nil)
	if p.opts.Interactive && signedIn && (req.sub == "" || req.sub != s.sub) && !p.mayEnd(r) {
		p.signOutPage(w, r, req, s)
		return
	}
	if r.PostForm.Get("action") == "stay" {
		render(w, http.StatusOK, "message", page{Title: "You are still signed in", Text: "Nothing was changed."}, "")
		return
	}
	sids := map[string]bool{}
	if req.sid != "" {
		sids[req.sid] = true
	}
	if signedIn {
		sids[s.sid] = true
	}
	p.endSids(sids)
	p.setCookie(w, "session", "")
	p.setBrowserState(w, "")
	frames := p.notify(r.Context(), sids)
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case len(frames) > 0:
		p.framesPage(w, frames, req.next)
	case req.next != "":
		http.Redirect(w, r, req.next, http.StatusSeeOther)
	default:
		render(w, http.StatusOK, "message", page{Title: "You are signed out", Text: "You can close this page."}, "")
	}
}

type endSessionRequest struct {
	client   *Client // nil: not stated
	sub, sid string  // of the hint
	next     string  // where to go afterwards, with state
}

func (p *Provider) parseEndSession(v url.Values) (*endSessionRequest, *protocolError) {
	req := &endSessionRequest{}
	if v.Has("id_token_hint") {
		claims := p.hinted(v.Get("id_token_hint"))
		if claims == nil {
			return nil, refuse(400, "invalid_request", "the id_token_hint was not issued here")
		}
		req.sub, _ = claims["sub"].(string)
		req.sid, _ = claims["sid"].(string)
		aud, _ := claims["aud"].(string)
		req.client = p.client(aud)
	}
	if v.Has("client_id") {
		client := p.client(v.Get("client_id"))
		if client == nil || (req.client != nil && client != req.client) {
			return nil, refuse(400, "invalid_request", "the client_id is unknown, or not the audience of the id_token_hint")
		}
		req.client = client
	}
	to := v.Get("post_logout_redirect_uri")
	if to == "" {
		return req, nil
	}
	if req.client == nil {
		return nil, refuse(400, "invalid_request", "post_logout_redirect_uri needs id_token_hint or client_id")
	}
	if !p.allows(req.client.PostLogoutRedirectURIs, to) {
		return nil, refuse(400, "invalid_request", "the post_logout_redirect_uri is not registered for client "+req.client.ID)
	}
	req.next = to
	if v.Has("state") {
		u, err := url.Parse(to)
		if err != nil {
			return nil, refuse(400, "invalid_request", "the post_logout_redirect_uri is no URL")
		}
		if u.RawQuery != "" {
			u.RawQuery += "&"
		}
		u.RawQuery += url.Values{"state": {v.Get("state")}}.Encode()
		req.next = u.String()
	}
	return req, nil
}

// endSids forgets browser sessions and revokes what was granted in them, but for offline access.
func (p *Provider) endSids(sids map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, s := range p.sessions {
		if sids[s.sid] {
			delete(p.sessions, id)
		}
	}
	for g := range p.grantsLocked() {
		if g.sid != "" && sids[g.sid] && !slices.Contains(g.scopes, "offline_access") {
			g.revoked = true
		}
	}
}

// mayEnd is the proof that this browser was shown the question: the form carries what its own cookie says.
func (p *Provider) mayEnd(r *http.Request) bool {
	c, err := r.Cookie("rptest_browser_" + p.cookie)
	return r.Method == http.MethodPost && err == nil && r.PostForm.Get("interaction") == c.Value
}

func (p *Provider) signOutPage(w http.ResponseWriter, r *http.Request, req *endSessionRequest, s opSession) {
	data := page{Title: "Sign out?", Action: p.base + "/end_session", Interaction: p.browserID(w, r)}
	if req.client != nil {
		data.Client = req.client.Name
	}
	p.person(&data, s.sub)
	for _, name := range []string{"id_token_hint", "client_id", "post_logout_redirect_uri", "state"} {
		if r.Form.Has(name) {
			data.Fields = append(data.Fields, field{name, r.Form.Get(name)})
		}
	}
	render(w, http.StatusOK, "sign_out", data, "")
}

// framesPage signs out the applications that asked for it (Front-Channel Logout 1.0 section 3), then goes on.
func (p *Provider) framesPage(w http.ResponseWriter, frames []string, next string) {
	var sources strings.Builder
	for _, f := range frames {
		if u, err := url.Parse(f); err == nil {
			sources.WriteString(" " + u.Scheme + "://" + u.Host)
		}
	}
	render(w, http.StatusOK, "message", page{Title: "Signing you out", Text: "Your applications are told.", Frames: frames, Next: next}, "; frame-src"+sources.String())
}

// LogoutToken is a signed logout token for the first client (Back-Channel Logout 1.0 section 2.4), bent by faults.
// sub or sid may be empty.
func (p *Provider) LogoutToken(sub, sid string, faults ...TokenFault) string {
	return p.logoutToken(&p.opts.Clients[0], sub, sid, faults...)
}

func (p *Provider) logoutToken(c *Client, sub, sid string, faults ...TokenFault) string {
	now := time.Now()
	claims := map[string]any{
		"iss": p.opts.Issuer, "aud": c.ID, "iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(), "jti": random(),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	if sub != "" {
		claims["sub"] = sub
	}
	if sid != "" {
		claims["sid"] = sid
	}
	alg := c.SigningAlg
	if alg == "" {
		alg = p.opts.SigningAlg
	}
	j := p.newJWT("logout+jwt", alg, c, claims)
	inTurn(faults)(j)
	return p.seal(j)
}
