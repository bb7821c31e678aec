package rptest

import (
	"fmt"
	"hash/fnv"
	"html/template"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
)

// scopeClaims is the table of Core 5.4.
var scopeClaims = map[string][]string{
	"profile": {"name", "family_name", "given_name", "middle_name", "nickname", "preferred_username", "profile", "picture", "website", "gender", "birthdate", "zoneinfo", "locale", "updated_at"},
	"email":   {"email", "email_verified"},
	"address": {"address"},
	"phone":   {"phone_number", "phone_number_verified"},
}

func standardClaim(name string) bool {
	for _, names := range scopeClaims {
		if slices.Contains(names, name) {
			return true
		}
	}
	return false
}

// claimsOf is a copy of what is known of a user; nil for one that is gone.
func (p *Provider) claimsOf(sub string) map[string]any {
	p.mu.Lock()
	defer p.mu.Unlock()
	if u := p.userBySubject(sub); u != nil {
		return maps.Clone(u.Claims)
	}
	return nil
}

// released is what the grant's scopes, and requested by name, let out.
func (p *Provider) released(g *grant, requested map[string]*claimRequest) map[string]any {
	claims := p.claimsOf(g.sub)
	if claims == nil {
		claims = map[string]any{}
	}
	for scope, names := range scopeClaims {
		for _, name := range names {
			if _, asked := requested[name]; !asked && !slices.Contains(g.scopes, scope) {
				delete(claims, name)
			}
		}
	}
	return claims
}

// bearer finds the access token of a request (RFC 6750 section 2), and what it is.
func (p *Provider) bearer(r *http.Request) (*accessToken, bool) {
	scheme, value, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if ok && !strings.EqualFold(scheme, "Bearer") {
		return nil, false
	}
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); !ok && r.Method == http.MethodPost && media == "application/x-www-form-urlencoded" {
		r.Body = http.MaxBytesReader(nil, r.Body, 1<<20)
		value = r.PostFormValue("access_token")
	}
	if value == "" {
		return nil, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.access[value]
	if t == nil || !t.live(time.Now()) {
		return nil, true
	}
	return t, true
}

func (t *accessToken) live(now time.Time) bool {
	return !t.revoked && !t.grant.revoked && now.Before(t.expires)
}

func (p *Provider) serveUserInfo(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		methodNotAllowed(w, "GET, POST")
		return
	}
	noStore(w)
	t, given := p.bearer(r)
	switch {
	case !given:
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+p.opts.Issuer+`"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	case t == nil:
		challenge(w, http.StatusUnauthorized, "invalid_token", "the access token is unknown, has expired or was revoked")
		return
	case t.grant.sid == "" || !slices.Contains(t.scopes, "openid"):
		challenge(w, http.StatusForbidden, "insufficient_scope", "scope openid is needed")
		return
	}
	g := *t.grant
	g.scopes = t.scopes
	claims := p.released(&g, g.claims.UserInfo)
	claims["sub"] = g.sub
	alg := g.client.UserInfoSignedAlg
	if alg == "" {
		writeJSON(w, http.StatusOK, claims)
		return
	}
	claims["iss"], claims["aud"] = p.opts.Issuer, g.client.ID
	signed := p.seal(p.newJWT("JWT", alg, g.client, claims))
	w.Header().Set("Content-Type", "application/jwt")
	w.Write([]byte(signed))
}

// challenge is RFC 6750 section 3.
func challenge(w http.ResponseWriter, status int, code, description string) {
	w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer error=%q, error_description=%q", code, description))
	writeJSON(w, status, map[string]any{"error": code, "error_description": description})
}

var picture = template.Must(template.New("picture").Parse(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96" width="96" height="96" role="img">
<defs><linearGradient id="g" x1="0" y1="0" x2="1" y2="1"><stop offset="0" stop-color="hsl({{.Hue}} 70% 62%)"/><stop offset="1" stop-color="hsl({{.Hue2}} 65% 42%)"/></linearGradient></defs>
<rect width="96" height="96" fill="url(#g)"/><text x="48" y="50" font-family="system-ui, sans-serif" font-size="44" font-weight="600" fill="#fff" text-anchor="middle" dominant-baseline="central">{{.Letter}}</text></svg>
`))

// servePicture draws a user's initial.
func (p *Provider) servePicture(w http.ResponseWriter, r *http.Request) {
	sub, ok := strings.CutSuffix(r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:], ".svg")
	p.mu.Lock()
	u := p.userBySubject(sub)
	p.mu.Unlock()
	if !ok || u == nil {
		http.NotFound(w, r)
		return
	}
	hash := fnv.New32a() // neighbours in the alphabet get colours far apart
	hash.Write([]byte(sub))
	hue := int(hash.Sum32() % 360)
	letter := strings.ToUpper(string([]rune(sub)[:1]))
	w.Header().Set("Content-Type", "image/svg+xml")
	w.Header().Set("Cache-Control", "public, max-age=3600")
	w.Header().Set("Content-Security-Policy", "default-src 'none'")
	_ = picture.Execute(w, map[string]any{"Hue": hue, "Hue2": (hue + 40) % 360, "Letter": letter})
}
