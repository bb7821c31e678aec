package rptest

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// opSession is one browser's session at the provider.
type opSession struct {
	sub, sid, acr string
	amr           []string
	authTime      time.Time
	state         string // what scripts of the provider's own see of it; another with each login
}

// interaction is one authorization request on its way through the pages.
type interaction struct {
	id, browser string // browser is the cookie of the browser that began it: no other may go on with it
	req         *authRequest
	created     time.Time
	fresh       bool // a login must happen within this interaction
	loggedIn    bool
	confirmed   bool
	consented   bool
	session     *opSession // begun within this interaction
}

// step is what the browser must do next.
type step int

const (
	finished step = iota
	login
	confirm
	consent
)

// next says what is missing before the code; s is nil when nobody is signed in. The provider's lock is held.
func (p *Provider) next(it *interaction, s *opSession) step {
	req := it.req
	switch {
	case s == nil,
		it.fresh && !it.loggedIn,
		req.maxAge >= 0 && !it.loggedIn && time.Since(s.authTime) > req.maxAge,
		req.hintSub != "" && s.sub != req.hintSub,
		// The hint stands for a user that the session is not of; one that nobody has is ignored.
		!it.loggedIn && p.hintedUser(req.loginHint) != "" && p.hintedUser(req.loginHint) != s.sub:
		return login
	case len(req.acrValues) > 0 && !p.opts.NoStepUp && !it.confirmed && !slices.Contains(req.acrValues, s.acr):
		return confirm
	case p.opts.Interactive && !it.consented &&
		(slices.Contains(req.prompt, "consent") || p.opts.Consent && !p.consents[consentKey(s.sub, req)]):
		return consent
	}
	return finished
}

func consentKey(sub string, req *authRequest) string {
	scopes := slices.Sorted(slices.Values(req.scopes))
	return strings.Join(append([]string{sub, req.client.ID}, slices.Compact(scopes)...), "\x00")
}

// advance sends the browser to the next page, or back to the client.
func (p *Provider) advance(w http.ResponseWriter, r *http.Request, it *interaction) {
	for {
		p.mu.Lock()
		s := p.sessionLocked(r, it)
		todo := p.next(it, s)
		silent := slices.Contains(it.req.prompt, "none")
		var snapshot opSession
		if s != nil {
			snapshot = *s
		}
		p.mu.Unlock()
		switch {
		case todo == finished && it.req.claims.unmet(snapshot.acr):
			p.answerError(w, r, it, "unmet_authentication_requirements", "the acr that was demanded can't be had")
			return
		case todo == finished:
			p.answerCode(w, r, it, snapshot)
			return
		case silent && (todo != login || p.opts.Interactive || s != nil || it.fresh):
			code := map[step]string{login: "login_required", confirm: "interaction_required", consent: "consent_required"}[todo]
			if todo == confirm && !p.opts.Interactive {
				break // granted without a page
			}
			p.answerError(w, r, it, code, "")
			return
		case p.opts.Interactive:
			page := map[step]string{login: "/login", confirm: "/confirm", consent: "/consent"}[todo]
			http.Redirect(w, r, p.base+page+"?interaction="+it.id, http.StatusSeeOther)
			return
		}
		if err := p.play(w, it, todo, s); err != nil {
			code := "access_denied"
			if silent {
				code = "login_required"
			}
			p.answerError(w, r, it, code, err.Error())
			return
		}
	}
}

// play does at once what the browser's user would have done on a page.
func (p *Provider) play(w http.ResponseWriter, it *interaction, todo step, s *opSession) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if todo == confirm {
		p.confirmLocked(it, s)
		return nil
	}
	var user *User
	switch hint := p.hintedUser(it.req.loginHint); {
	case p.signedIn == "-":
		return errors.New("nobody is signed in")
	case it.req.hintSub != "":
		user = p.userBySubject(it.req.hintSub)
	case hint != "":
		user = p.userBySubject(hint)
	case p.signedIn != "":
		user = p.userByName(p.signedIn)
	default:
		user = &p.users[0]
	}
	if user == nil {
		return errors.New("the user is unknown")
	}
	p.signInLocked(w, it, user, s)
	return nil
}

// signInLocked begins a session; the same user's keeps its sid.
func (p *Provider) signInLocked(w http.ResponseWriter, it *interaction, u *User, old *opSession) {
	s := &opSession{sub: u.Subject, sid: random(), acr: u.ACR, amr: u.AMR, authTime: time.Now(), state: random()}
	if old != nil && old.sub == u.Subject {
		s.sid = old.sid
	}
	for id, other := range p.sessions {
		if other == old {
			delete(p.sessions, id) // the cookie is renewed: a planted one gains nothing
		}
	}
	id := random()
	p.sessions[id] = s
	it.loggedIn, it.session = true, s
	p.setCookie(w, "session", id)
	p.setBrowserState(w, s.state)
}

func (p *Provider) confirmLocked(it *interaction, s *opSession) {
	s.acr, s.authTime, it.confirmed = it.req.acrValues[0], time.Now(), true
	if !slices.Contains(s.amr, "mfa") {
		s.amr = append(slices.Clone(s.amr), "mfa")
	}
}

// sessionLocked is the session of the browser, or the one that just began in answer to r.
func (p *Provider) sessionLocked(r *http.Request, it *interaction) *opSession {
	if it != nil && it.session != nil {
		return it.session
	}
	if c, err := r.Cookie("rptest_session_" + p.cookie); err == nil {
		return p.sessions[c.Value]
	}
	return nil
}

// browserID is the cookie that binds interactions to a browser.
func (p *Provider) browserID(w http.ResponseWriter, r *http.Request) string {
	if c, err := r.Cookie("rptest_browser_" + p.cookie); err == nil && len(c.Value) == len(random()) {
		return c.Value
	}
	id := random()
	p.setCookie(w, "browser", id)
	return id
}

func (p *Provider) setCookie(w http.ResponseWriter, kind, value string) {
	c := &http.Cookie{
		Name: "rptest_" + kind + "_" + p.cookie, Value: value, Path: "/", HttpOnly: true,
		Secure: strings.HasPrefix(p.base, "https:"), SameSite: http.SameSiteLaxMode,
	}
	p.set(w, c)
}

func (p *Provider) set(w http.ResponseWriter, c *http.Cookie) {
	if p.opts.SessionManagement && c.Secure {
		c.SameSite = http.SameSiteNoneMode
	}
	if c.Value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// hintedUser is the subject that a login_hint means: a name, a subject or an e-mail address.
func (p *Provider) hintedUser(hint string) string {
	if hint == "" {
		return ""
	}
	for _, u := range p.users {
		if u.Name == hint || u.Subject == hint || u.Claims["email"] == hint {
			return u.Subject
		}
	}
	return ""
}

func (p *Provider) userByName(name string) *User {
	for i := range p.users {
		if p.users[i].Name == name {
			return &p.users[i]
		}
	}
	return nil
}

func (p *Provider) userBySubject(sub string) *User {
	for i := range p.users {
		if p.users[i].Subject == sub {
			return &p.users[i]
		}
	}
	return nil
}

// SignInAs names the user who is signed in when Options.Interactive is false and the request hints at none.
// With "" nobody is: prompt=none is answered with login_required and anything else with access_denied, but for browsers
// that are signed in already.
func (p *Provider) SignInAs(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.signedIn = name; name == "" {
		p.signedIn = "-"
	}
}

// SetUser adds u, or replaces the user with its Name.
func (p *Provider) SetUser(u User) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u = u.filled()
	if old := p.userByName(u.Name); old != nil {
		*old = u
		return
	}
	p.users = append(p.users, u)
}

// SetClaim sets a claim of the user with that name, for tokens and UserInfo answers from now on. An unknown user is left unknown.
func (p *Provider) SetClaim(user, name string, value any) {
	p.changeClaims(user, func(claims map[string]any) { claims[name] = value })
}

// DeleteClaim removes a claim of the user with that name.
func (p *Provider) DeleteClaim(user, name string) {
	p.changeClaims(user, func(claims map[string]any) { delete(claims, name) })
}

// changeClaims works on a copy, since answers may be reading the old claims.
func (p *Provider) changeClaims(user string, change func(map[string]any)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if u := p.userByName(user); u != nil {
		u.Claims = maps.Clone(u.Claims)
		change(u.Claims)
	}
}

// EndUserSessions forgets the user's browser sessions and revokes what was granted in the user's name.
func (p *Provider) EndUserSessions(user string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.userByName(user)
	if u == nil {
		return
	}
	for id, s := range p.sessions {
		if s.sub == u.Subject {
			delete(p.sessions, id)
		}
	}
	for g := range p.grantsLocked() {
		if g.sub == u.Subject {
			g.revoked = true
		}
	}
}
