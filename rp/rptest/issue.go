package rptest

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// issuance is what differs between the grants that issue tokens.
type issuance struct {
	refresh   bool      // for a refresh token
	keep      string    // the refresh token to hand out again
	expires   time.Time // of the refresh token before
	resources []string  // nil: those of the grant
	jwt       bool      // the access token, whatever Options say
	authReqID string    // pushed: the ID token names it, and the refresh token (CIBA Core section 10.3.1)
}

// issue makes the token response.
func (p *Provider) issue(g *grant, scopes []string, is issuance) map[string]any {
	now := time.Now()
	if is.resources == nil {
		is.resources = g.resources
	}
	t := &accessToken{grant: g, scopes: scopes, audience: is.resources, issued: now, expires: now.Add(p.opts.AccessTokenLifetime)}
	if len(t.audience) == 0 {
		t.audience = []string{p.opts.Issuer}
		if p.opts.Audience != "" {
			t.audience = []string{p.opts.Audience}
		}
	}
	access := random() + random()
	if p.opts.JWTAccessTokens || is.jwt {
		access = p.accessJWT(t)
	}
	answer := map[string]any{
		"access_token": access, "token_type": "Bearer", "expires_in": int(p.opts.AccessTokenLifetime / time.Second),
	}
	if len(scopes) > 0 {
		answer["scope"] = strings.Join(scopes, " ")
	}
	p.mu.Lock()
	p.access[access] = t
	if g.sid != "" && p.refreshable(g) {
		value := is.keep
		if value == "" {
			value = random() + random()
			p.refresh[value] = &refreshToken{grant: g, issued: now, expires: now.Add(p.opts.RefreshTokenLifetime)}
			if !is.expires.IsZero() {
				p.refresh[value].expires = is.expires // the family ends as a whole
			}
		}
		answer["refresh_token"] = value
	}
	p.sweepLocked(now)
	p.mu.Unlock()
	if g.sid != "" && slices.Contains(scopes, "openid") {
		answer["id_token"] = p.idToken(g, access, is, now, answer["refresh_token"])
	}
	return answer
}

func (p *Provider) refreshable(g *grant) bool {
	return !p.opts.NoRefreshTokens && (!p.opts.OfflineAccessOnly || slices.Contains(g.scopes, "offline_access"))
}

// audience is a string for one member, as most providers send it.
func audience(list []string) any {
	if len(list) == 1 {
		return list[0]
	}
	return list
}

// accessJWT is the access token of RFC 9068 section 2.
func (p *Provider) accessJWT(t *accessToken) string {
	g := t.grant
	claims := map[string]any{
		"iss": p.opts.Issuer, "sub": g.sub, "aud": audience(t.audience), "client_id": g.client.ID, "jti": random(),
		"iat": t.issued.Unix(), "exp": t.expires.Unix(),
	}
	if len(t.scopes) > 0 {
		claims["scope"] = strings.Join(t.scopes, " ")
	}
	if g.actor != nil {
		claims["act"] = g.actor
	}
	if g.sid != "" {
		claims["sid"] = g.sid
		addAuthentication(claims, g)
		for name, value := range p.claimsOf(g.sub) {
			if name == "groups" || name == "roles" || name == "entitlements" {
				claims[name] = value
			}
		}
	}
	j := p.newJWT("at+jwt", p.opts.SigningAlg, g.client, claims)
	p.faults.bend(&p.faults.access, j)
	return p.seal(j)
}

func addAuthentication(claims map[string]any, g *grant) {
	claims["auth_time"] = g.authTime.Unix()
	claims["amr"] = g.amr
	if g.acr != "" {
		claims["acr"] = g.acr
	}
}

// idToken is Core section 2, with 12.2 for refreshed ones: the same iss, sub, aud, auth_time, and no nonce.
func (p *Provider) idToken(g *grant, access string, is issuance, now time.Time, refresh any) string {
	alg := g.client.SigningAlg
	if alg == "" {
		alg = p.opts.SigningAlg
	}
	claims := p.released(g, g.claims.IDToken)
	if p.opts.LeanIDTokens {
		for name := range claims {
			if _, asked := g.claims.IDToken[name]; !asked && standardClaim(name) {
				delete(claims, name)
			}
		}
	}
	maps.Copy(claims, map[string]any{
		"iss": p.opts.Issuer, "sub": g.sub, "aud": g.client.ID, "iat": now.Unix(), "exp": now.Add(p.opts.IDTokenLifetime).Unix(),
		"sid": g.sid, "at_hash": halfHash(alg, access),
	})
	addAuthentication(claims, g)
	if g.nonce != "" && !is.refresh {
		claims["nonce"] = g.nonce
	}
	if is.authReqID != "" {
		claims["urn:openid:params:jwt:claim:auth_req_id"] = is.authReqID
		if value, ok := refresh.(string); ok {
			claims["urn:openid:params:jwt:claim:rt_hash"] = halfHash(alg, value)
		}
	}
	j := p.newJWT("JWT", alg, g.client, claims)
	j.Refresh = is.refresh
	p.faults.bend(&p.faults.idTokens, j)
	return p.seal(j)
}

func (p *Provider) newJWT(typ, alg string, c *Client, claims map[string]any) *JWT {
	j := &JWT{Header: map[string]any{"typ": typ}, Claims: claims, provider: p, secret: []byte(c.Secret)}
	j.SetAlg(alg)
	return j
}

// SetAlg signs with alg and the provider's own key for it, which is published from now on if it was not.
// HS256, HS384 and HS512 sign with the client's secret; with "none" there is no signature.
func (j *JWT) SetAlg(alg string) {
	j.Header["alg"] = alg
	delete(j.Header, "kid")
	if asymmetric(alg) {
		kid := j.provider.keys.key(alg).kid
		if !j.provider.keys.noKID() {
			j.Header["kid"] = kid
		}
	}
}

func (r *keyring) noKID() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.shape.NoKID
}

// Sign signs claims as they are with the current key. Pairs of header members and values replace the usual typ, alg and kid:
// Sign(claims, "typ", "at+jwt").
func (p *Provider) Sign(claims map[string]any, header ...string) string {
	j := p.newJWT("JWT", p.opts.SigningAlg, &p.opts.Clients[0], claims)
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "alg" {
			j.SetAlg(header[i+1])
		}
		j.Header[header[i]] = header[i+1]
	}
	return p.seal(j)
}

// SignBent signs claims with the current key after faults have had their way.
func (p *Provider) SignBent(claims map[string]any, faults ...TokenFault) string {
	j := p.newJWT("JWT", p.opts.SigningAlg, &p.opts.Clients[0], claims)
	inTurn(faults)(j)
	return p.seal(j)
}
