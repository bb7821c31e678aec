package rptest

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

// The grants whose user answers on another device.
const (
	deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"
	cibaGrant   = "urn:openid:params:grant-type:ciba"
)

// slowDown is what a poll that comes too soon adds to the interval (RFC 8628 section 3.5).
const slowDown = 5 * time.Second

// pending is a login that its user has yet to answer: by device code, or by backchannel request.
type pending struct {
	grantType string
	id        string // device_code or auth_req_id
	client    *Client
	scopes    []string
	resources []string
	acrValues []string
	expires   time.Time
	interval  time.Duration
	polled    time.Time // zero: not yet

	userCode     string // device
	sub          string // backchannel: who was hinted at
	message      string // binding_message
	notification string // client_notification_token

	grant  *grant // approved
	denied bool
	used   bool
}

func (l *pending) open(now time.Time) bool {
	return l.grant == nil && !l.denied && now.Before(l.expires)
}

// waitLocked adds a login with an id of its own.
func (p *Provider) waitLocked(l *pending) {
	now := time.Now()
	l.id, l.interval = random()+random(), p.opts.PollInterval
	if l.expires.IsZero() {
		l.expires = now.Add(p.opts.PendingLifetime)
	}
	for id, old := range p.waiting {
		if now.After(old.expires.Add(time.Hour)) {
			delete(p.waiting, id)
		}
	}
	p.waiting[l.id] = l
}

// approveLocked makes the grant that u gives.
func (p *Provider) approveLocked(l *pending, u *User) {
	g := &grant{
		client: l.client, sub: u.Subject, sid: random(), scopes: l.scopes, resources: l.resources,
		authTime: time.Now(), acr: u.ACR, amr: u.AMR,
	}
	if len(l.acrValues) > 0 && !p.opts.NoStepUp && !slices.Contains(l.acrValues, g.acr) {
		g.acr, g.amr = l.acrValues[0], append(slices.Clone(g.amr), "mfa")
	}
	l.grant = g
}

// poll answers a token request of either grant (RFC 8628 section 3.5, CIBA Core section 11).
func (p *Provider) poll(client *Client, form url.Values) (map[string]any, *protocolError) {
	name := "device_code"
	if form.Get("grant_type") == cibaGrant {
		name = "auth_req_id"
	}
	if form.Get(name) == "" {
		return nil, refuse(400, "invalid_request", name+" is missing")
	}
	p.mu.Lock()
	l := p.waiting[form.Get(name)]
	perr := l.pollLocked(client, form, name, time.Now())
	p.mu.Unlock()
	if perr != nil {
		return nil, perr
	}
	return p.issue(l.grant, l.scopes, issuance{resources: form["resource"]}), nil
}

func (l *pending) pollLocked(client *Client, form url.Values, name string, now time.Time) *protocolError {
	if l == nil || l.grantType != form.Get("grant_type") || l.client != client {
		return refuse(400, "invalid_grant", "the "+name+" is unknown, or another client's")
	}
	early := !l.polled.IsZero() && now.Sub(l.polled) < l.interval
	l.polled = now
	switch {
	case l.notification != "" && client.TokenDelivery == "push":
		return refuse(400, "unauthorized_client", "the client is registered for push")
	case l.used:
		return refuse(400, "invalid_grant", "the "+name+" was used before")
	case !now.Before(l.expires):
		return refuse(400, "expired_token", "")
	case early:
		l.interval += slowDown
		return refuse(400, "slow_down", "")
	case l.denied:
		return refuse(400, "access_denied", "")
	case l.grant == nil:
		return refuse(400, "authorization_pending", "")
	}
	if perr := l.grant.checkResources(form["resource"]); perr != nil {
		return perr
	}
	l.used = true
	return nil
}

// pendingScopes reads scope for a request that names its resources as well.
func pendingScopes(form url.Values) ([]string, *protocolError) {
	for _, r := range form["resource"] {
		if u, err := url.Parse(r); err != nil || !u.IsAbs() || u.Fragment != "" {
			return nil, refuse(400, "invalid_target", "a resource must be an absolute URI without fragment")
		}
	}
	return strings.Fields(form.Get("scope")), nil
}
