package rptest

import (
	"io"
	"iter"
	"net/http"
	"strings"
	"time"
)

// serveRevoke is RFC 7009: a refresh token takes its whole grant along, an access token goes alone.
func (p *Provider) serveRevoke(w http.ResponseWriter, r *http.Request) {
	client, form, perr := p.authenticated(w, r)
	if perr == nil && form.Get("token") == "" {
		perr = refuse(400, "invalid_request", "token is missing")
	}
	if perr != nil {
		writeError(w, perr)
		return
	}
	p.mu.Lock()
	if t := p.refresh[form.Get("token")]; t != nil && t.grant.client == client {
		t.grant.revoked = true
	}
	if t := p.access[form.Get("token")]; t != nil && t.grant.client == client {
		t.revoked = true
	}
	p.mu.Unlock()
	noStore(w)
	w.WriteHeader(http.StatusOK)
}

// signedIntrospection is the media type of RFC 9701.
const signedIntrospection = "application/token-introspection+jwt"

// serveIntrospect is RFC 7662, for any client which authenticates with a secret, and RFC 9701 for one that asks for a signed answer.
func (p *Provider) serveIntrospect(w http.ResponseWriter, r *http.Request) {
	client, form, perr := p.authenticated(w, r)
	switch {
	case perr != nil:
	case !client.confidential():
		perr = p.invalidClient(w, "a public client may not introspect")
	case form.Get("token") == "":
		perr = refuse(400, "invalid_request", "token is missing")
	}
	if perr != nil {
		writeError(w, perr)
		return
	}
	answer := map[string]any{"active": false}
	p.mu.Lock()
	now := time.Now()
	if t := p.access[form.Get("token")]; t != nil && t.live(now) {
		answer = map[string]any{
			"active": true, "token_type": "Bearer", "iss": p.opts.Issuer, "sub": t.grant.sub, "aud": audience(t.audience), "client_id": t.grant.client.ID,
			"scope": strings.Join(t.scopes, " "), "iat": t.issued.Unix(), "exp": t.expires.Unix(),
		}
		if u := p.userBySubject(t.grant.sub); u != nil && t.grant.sid != "" {
			answer["username"] = u.Name
		}
	}
	if t := p.refresh[form.Get("token")]; t != nil && t.grant.client == client && t.live(now) {
		answer = map[string]any{"active": true, "iss": p.opts.Issuer, "sub": t.grant.sub, "client_id": client.ID, "iat": t.issued.Unix(), "exp": t.expires.Unix()}
	}
	p.mu.Unlock()
	noStore(w)
	if strings.Contains(r.Header.Get("Accept"), signedIntrospection) {
		p.writeSignedIntrospection(w, client, answer)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

// writeSignedIntrospection wraps answer as RFC 9701 section 5 has it: neither sub nor exp outside, so that nobody takes it for a token.
func (p *Provider) writeSignedIntrospection(w http.ResponseWriter, client *Client, answer map[string]any) {
	j := p.newJWT("token-introspection+jwt", p.opts.SigningAlg, client, map[string]any{
		"iss": p.opts.Issuer, "aud": client.ID, "iat": time.Now().Unix(), "token_introspection": answer,
	})
	p.faults.bend(&p.faults.introspections, j)
	w.Header().Set("Content-Type", signedIntrospection)
	io.WriteString(w, p.seal(j))
}

func (t *refreshToken) live(now time.Time) bool {
	return t.rotated.IsZero() && !t.grant.revoked && now.Before(t.expires)
}

// Grants is how many logins have a refresh token that still works.
func (p *Provider) Grants() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	live := map[*grant]bool{}
	for _, t := range p.refresh {
		if t.live(time.Now()) {
			live[t.grant] = true
		}
	}
	return len(live)
}

// grantsLocked yields every grant that may still be used, some more than once.
func (p *Provider) grantsLocked() iter.Seq[*grant] {
	return func(yield func(*grant) bool) {
		for _, c := range p.codes {
			if !yield(c.grant) {
				return
			}
		}
		for _, t := range p.access {
			if !yield(t.grant) {
				return
			}
		}
		for _, t := range p.refresh {
			if !yield(t.grant) {
				return
			}
		}
	}
}
