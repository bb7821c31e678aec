package rptest

import (
	"crypto/subtle"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// interaction finds the authorization request that a page belongs to. Only the browser which began it may go on with it,
// so that nobody can be signed in by a stranger's form.
func (p *Provider) interaction(w http.ResponseWriter, r *http.Request) *interaction {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		methodNotAllowed(w, "GET, POST")
		return nil
	}
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	_ = r.ParseForm() // a malformed form has no interaction
	p.mu.Lock()
	it := p.interactions[r.Form.Get("interaction")]
	p.mu.Unlock()
	c, err := r.Cookie("rptest_browser_" + p.cookie)
	if it == nil || time.Since(it.created) > interactionLifetime || err != nil || c.Value != it.browser {
		p.errorPage(w, refuse(400, "This page is no longer valid", "It was used before, is too old, or belongs to another browser. Go back to the application and sign in again."))
		return nil
	}
	if r.Method == http.MethodPost && r.PostForm.Get("action") == "cancel" {
		p.answerError(w, r, it, "access_denied", "the user cancelled")
		return nil
	}
	return it
}

// session is a copy of the browser's session.
func (p *Provider) session(r *http.Request, it *interaction) (opSession, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.sessionLocked(r, it); s != nil {
		return *s, true
	}
	return opSession{}, false
}

func (p *Provider) serveLogin(w http.ResponseWriter, r *http.Request) {
	it := p.interaction(w, r)
	if it == nil {
		return
	}
	if r.Method == http.MethodGet {
		p.loginPage(w, it, "", "")
		return
	}
	p.mu.Lock()
	user := p.userByName(strings.TrimSpace(r.PostForm.Get("username")))
	good := user != nil && same(user.Password, r.PostForm.Get("password"))
	mistake := "That name and password do not belong together."
	if good && it.req.hintSub != "" && user.Subject != it.req.hintSub {
		good, mistake = false, "The application asks for the user who was signed in before."
	}
	if good {
		p.signInLocked(w, it, user, p.sessionLocked(r, it))
	}
	p.mu.Unlock()
	if !good {
		p.loginPage(w, it, mistake, r.PostForm.Get("username"))
		return
	}
	p.advance(w, r, it)
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// serveConfirm is the step-up: the password once more, for which the acr that was asked for is granted.
func (p *Provider) serveConfirm(w http.ResponseWriter, r *http.Request) {
	it := p.interaction(w, r)
	if it == nil {
		return
	}
	s, ok := p.session(r, it)
	if !ok || len(it.req.acrValues) == 0 {
		p.advance(w, r, it)
		return
	}
	p.mu.Lock()
	user := p.userBySubject(s.sub)
	good := r.Method == http.MethodPost && user != nil && same(user.Password, r.PostForm.Get("password"))
	if good {
		p.confirmLocked(it, p.sessionLocked(r, it))
	}
	p.mu.Unlock()
	switch {
	case good:
		p.advance(w, r, it)
	case r.Method == http.MethodPost:
		p.confirmPage(w, it, s.sub, "That is not the password.")
	default:
		p.confirmPage(w, it, s.sub, "")
	}
}

func (p *Provider) serveConsent(w http.ResponseWriter, r *http.Request) {
	it := p.interaction(w, r)
	if it == nil {
		return
	}
	s, ok := p.session(r, it)
	if !ok {
		p.advance(w, r, it)
		return
	}
	if r.Method == http.MethodGet {
		p.consentPage(w, it, s.sub)
		return
	}
	if r.PostForm.Get("action") != "allow" {
		p.answerError(w, r, it, "access_denied", "the user did not allow it")
		return
	}
	p.mu.Lock()
	it.consented = true
	p.consents[consentKey(s.sub, it.req)] = true
	p.mu.Unlock()
	p.advance(w, r, it)
}

// loginPage shows the form again after a mistake, with what was typed in.
func (p *Provider) loginPage(w http.ResponseWriter, it *interaction, mistake, typed string) {
	data := page{Title: "Sign in", Client: it.req.client.Name, Host: it.req.redirectHost, Action: p.base + "/login", Interaction: it.id, Mistake: mistake}
	p.mu.Lock()
	hint := p.hintedUser(it.req.loginHint)
	if it.req.hintSub != "" {
		hint = it.req.hintSub
	}
	if u := p.userBySubject(hint); u != nil {
		data.Username = u.Name
	}
	if typed != "" {
		data.Username = typed
	}
	if p.opts.ShowHints {
		for _, u := range p.users {
			data.Hints = append(data.Hints, hintOf(p, u))
		}
	}
	p.mu.Unlock()
	status := http.StatusOK
	if mistake != "" {
		status = http.StatusUnauthorized
	}
	render(w, status, "login", data, "")
}

// hintOf is a line of the list of accounts.
func hintOf(p *Provider, u User) pageHint {
	return pageHint{Name: u.Name, Password: u.Password, Picture: p.base + "/picture/" + url.PathEscape(u.Subject) + ".svg"}
}

func (p *Provider) person(data *page, sub string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	data.Picture = p.base + "/picture/" + url.PathEscape(sub) + ".svg"
	if u := p.userBySubject(sub); u != nil {
		data.Username, data.Name = u.Name, u.Name
		if name, ok := u.Claims["name"].(string); ok {
			data.Name = name
		}
		if p.opts.ShowHints {
			data.Hints = []pageHint{hintOf(p, *u)}
		}
	}
}

func (p *Provider) confirmPage(w http.ResponseWriter, it *interaction, sub, mistake string) {
	data := page{Title: "Confirm it’s you", Client: it.req.client.Name, Host: it.req.redirectHost, Action: p.base + "/confirm", Interaction: it.id, Mistake: mistake}
	p.person(&data, sub)
	status := http.StatusOK
	if mistake != "" {
		status = http.StatusUnauthorized
	}
	render(w, status, "confirm", data, "")
}

// scopeTexts say what a scope lets the application see.
var scopeTexts = []struct{ scope, text string }{
	{"openid", "Know who you are"},
	{"profile", "See your name, picture and language"},
	{"email", "See your e-mail address"},
	{"address", "See your postal address"},
	{"phone", "See your phone number"},
	{"offline_access", "Keep access while you are away"},
}

func (p *Provider) consentPage(w http.ResponseWriter, it *interaction, sub string) {
	data := page{Title: "Allow access?", Client: it.req.client.Name, Host: it.req.redirectHost, Action: p.base + "/consent", Interaction: it.id}
	p.person(&data, sub)
	known := map[string]bool{}
	for _, s := range scopeTexts {
		known[s.scope] = true
		if slices.Contains(it.req.scopes, s.scope) {
			data.Scopes = append(data.Scopes, s.text)
		}
	}
	for _, s := range it.req.scopes {
		if !known[s] {
			data.Scopes = append(data.Scopes, "Use “"+s+"”")
		}
	}
	render(w, http.StatusOK, "consent", data, "")
}
