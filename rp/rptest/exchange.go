package rptest

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange"
	tokenTypes    = "urn:ietf:params:oauth:token-type:"
)

// presented is a token that was given to an exchange.
type presented struct {
	sub, iss string         // iss is empty for this provider
	actor    map[string]any // act
	scopes   []string
	anyScope bool // it says nothing of scopes
}

// exchange is RFC 8693, for confidential clients. Without an actor token the new token is the subject's own; with one it says who acts.
//
// A subject or actor token must be active: an access, refresh or ID token of this provider, or a JWT of a TrustedIssuer which is for this provider. What is issued is an access token, a JWT
// access token (jwt) or an ID token for its audience (id_token, "N_A"). An audience is the ID of a client or Options.Audience; scopes are those of the subject token or fewer.
func (p *Provider) exchange(client *Client, form url.Values) (map[string]any, *protocolError) {
	if !client.confidential() {
		return nil, refuse(400, "unauthorized_client", "a public client may not exchange tokens")
	}
	if form.Has("actor_token") != form.Has("actor_token_type") {
		return nil, refuse(400, "invalid_request", "actor_token and actor_token_type come together")
	}
	subject, perr := p.presented(client, form, "subject_token")
	if perr != nil {
		return nil, perr
	}
	if issuer := form.Get("requested_issuer"); issuer != "" {
		return p.kept(issuer, subject, form)
	}
	actor := subject.actor
	if form.Has("actor_token") {
		by, perr := p.presented(client, form, "actor_token")
		if perr != nil {
			return nil, perr
		}
		actor = map[string]any{"sub": by.sub}
		if by.iss != "" {
			actor["iss"] = by.iss
		}
		if subject.actor != nil {
			actor["act"] = subject.actor // who acted before (RFC 8693 section 4.1)
		}
	}
	scopes, perr := pendingScopes(form)
	if perr != nil {
		return nil, perr
	}
	if !form.Has("scope") {
		scopes = subject.scopes
	}
	for _, s := range scopes {
		if !subject.anyScope && !slices.Contains(subject.scopes, s) {
			return nil, refuse(400, "invalid_scope", "the subject token has no scope "+s)
		}
	}
	for _, name := range form["audience"] {
		if p.client(name) == nil && (p.opts.Audience == "" || name != p.opts.Audience) {
			return nil, refuse(400, "invalid_target", "the audience is unknown")
		}
	}
	targets := slices.Concat(form["audience"], form["resource"])
	// No session: neither a refresh token nor an ID token beside it.
	g := &grant{client: client, sub: subject.sub, scopes: scopes, actor: actor, authTime: time.Now()}
	kind := form.Get("requested_token_type")
	var answer map[string]any
	switch kind {
	case "", tokenTypes + "access_token":
		kind = tokenTypes + "access_token"
		answer = p.issue(g, scopes, issuance{resources: targets})
	case tokenTypes + "jwt":
		answer = p.issue(g, scopes, issuance{resources: targets, jwt: true})
	case tokenTypes + "id_token":
		if len(targets) > 1 || len(form["resource"]) > 0 || len(targets) == 1 && p.client(targets[0]) == nil {
			return nil, refuse(400, "invalid_target", "an ID token is for one client")
		}
		if len(targets) == 1 {
			g.client = p.client(targets[0])
		}
		answer = map[string]any{"access_token": p.exchangedIDToken(g), "token_type": "N_A", "expires_in": int(p.opts.IDTokenLifetime / time.Second)}
	default:
		return nil, refuse(400, "invalid_request", "the requested_token_type is not issued here")
	}
	answer["issued_token_type"] = kind
	return answer, nil
}

// kept is the token of another issuer that the user has there, in Keycloak's way.
func (p *Provider) kept(issuer string, subject *presented, form url.Values) (map[string]any, *protocolError) {
	kind := form.Get("requested_token_type")
	switch t := p.trusted(issuer); {
	case kind != "" && kind != tokenTypes+"access_token":
		return nil, refuse(400, "invalid_request", "only an access token of another issuer can be had")
	case t == nil:
		return nil, refuse(400, "invalid_request", "requested_issuer is unknown")
	case t.Kept[subject.sub] == "":
		return nil, refuse(400, "not_linked", "no token of that issuer is kept for the user")
	default:
		return map[string]any{"access_token": t.Kept[subject.sub], "token_type": "Bearer", "issued_token_type": tokenTypes + "access_token"}, nil
	}
}

// exchangedIDToken has no at_hash: no access token comes with it.
func (p *Provider) exchangedIDToken(g *grant) string {
	now := time.Now()
	claims := p.released(g, nil)
	for name, value := range map[string]any{
		"iss": p.opts.Issuer, "sub": g.sub, "aud": g.client.ID, "iat": now.Unix(), "exp": now.Add(p.opts.IDTokenLifetime).Unix(),
	} {
		claims[name] = value
	}
	if g.actor != nil {
		claims["act"] = g.actor
	}
	alg := g.client.SigningAlg
	if alg == "" {
		alg = p.opts.SigningAlg
	}
	return p.seal(p.newJWT("JWT", alg, g.client, claims))
}

// presented reads and checks one of the two tokens of a request.
func (p *Provider) presented(client *Client, form url.Values, name string) (*presented, *protocolError) {
	raw, kind := form.Get(name), form.Get(name+"_type")
	if raw == "" || kind == "" {
		return nil, refuse(400, "invalid_request", name+" or "+name+"_type is missing")
	}
	short, known := strings.CutPrefix(kind, tokenTypes)
	bad := func(what string) (*presented, *protocolError) {
		return nil, refuse(400, "invalid_request", "the "+name+" "+what)
	}
	if form.Get("subject_issuer") != "" && name == "subject_token" && (short == "jwt" || short == "access_token") {
		return p.external(form, raw, name)
	}
	now := time.Now()
	p.mu.Lock()
	access, refresh := p.access[raw], p.refresh[raw]
	ours := access != nil && access.live(now)
	fresh := refresh != nil && refresh.grant.client == client && refresh.live(now)
	p.mu.Unlock()
	switch {
	case !known:
	case (short == "access_token" || short == "jwt" && strings.Count(raw, ".") == 2) && ours:
		return &presented{sub: access.grant.sub, actor: access.grant.actor, scopes: access.scopes}, nil
	case short == "refresh_token" && fresh:
		return &presented{sub: refresh.grant.sub, actor: refresh.grant.actor, scopes: refresh.grant.scopes}, nil
	case short == "id_token":
		claims := p.hinted(raw)
		exp, _ := claims["exp"].(float64)
		sub, _ := claims["sub"].(string)
		actor, _ := claims["act"].(map[string]any)
		// An access token is signed by the same key; its kind tells.
		if claims["client_id"] != nil || claims["aud"] != client.ID || int64(exp) <= now.Unix() {
			return bad("is no active ID token of this client")
		}
		return &presented{sub: sub, actor: actor, anyScope: true}, nil
	case access == nil && (short == "jwt" || short == "access_token" && strings.Count(raw, ".") == 2):
		return p.external(form, raw, name)
	case short == "jwt" || short == "access_token" || short == "refresh_token":
		return bad("is not active, or another client's, or of another type")
	}
	return nil, refuse(400, "invalid_request", "the "+name+"_type is not taken here")
}

// external is a JWT of a trusted issuer, made for this provider.
func (p *Provider) external(form url.Values, raw, name string) (*presented, *protocolError) {
	a, what := readAssertion(raw, p.trustedKeys, time.Now())
	if a == nil {
		return nil, refuse(400, "invalid_request", "the "+name+" "+what)
	}
	if !slices.Contains(a.aud, p.opts.Issuer) && !slices.Contains(a.aud, p.base+"/token") {
		return nil, refuse(400, "invalid_request", "the "+name+" is for another audience")
	}
	t := p.trusted(a.Issuer)
	if alias := form.Get("subject_issuer"); name == "subject_token" && alias != "" && alias != t.Alias && alias != t.Issuer {
		return nil, refuse(400, "invalid_request", "the subject_token is of another issuer than subject_issuer")
	}
	return &presented{sub: a.Subject, iss: a.Issuer, actor: a.Actor, scopes: strings.Fields(a.Scope), anyScope: a.Scope == ""}, nil
}
