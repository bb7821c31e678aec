package rptest

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// serveDeviceAuthorization is RFC 8628 section 3.1.
func (p *Provider) serveDeviceAuthorization(w http.ResponseWriter, r *http.Request) {
	client, form, perr := p.authenticated(w, r)
	var scopes []string
	if perr == nil {
		scopes, perr = pendingScopes(form)
	}
	if perr != nil {
		writeError(w, perr)
		return
	}
	l := &pending{grantType: deviceGrant, client: client, scopes: scopes, resources: form["resource"], userCode: newUserCode()}
	p.mu.Lock()
	p.waitLocked(l)
	p.mu.Unlock()
	noStore(w)
	writeJSON(w, http.StatusOK, map[string]any{
		"device_code": l.id, "user_code": l.userCode, "verification_uri": p.base + "/device",
		"verification_uri_complete": p.base + "/device?user_code=" + url.QueryEscape(l.userCode),
		"expires_in":                int(time.Until(l.expires) / time.Second), "interval": int(l.interval / time.Second),
	})
}

// newUserCode is eight of the letters of RFC 8628 section 6.1, which make no words.
func newUserCode() string {
	const letters = "BCDFGHJKLMNPQRSTVWXZ"
	var code []byte
	var b [1]byte
	for len(code) < 8 {
		rand.Read(b[:])
		if b[0] < 240 {
			code = append(code, letters[b[0]%20])
		}
	}
	return string(code[:4]) + "-" + string(code[4:])
}

// userCodeLocked finds the login that waits for code, however it was typed.
func (p *Provider) userCodeLocked(code string) *pending {
	plain := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r < 'A' || r > 'Z' {
				return -1
			}
			return r
		}, strings.ToUpper(s))
	}
	for _, l := range p.waiting {
		if l.grantType == deviceGrant && l.open(time.Now()) && plain(l.userCode) == plain(code) {
			return l
		}
	}
	return nil
}

// ApproveDevice does what the user of that name does on the page: enters a device's user code and allows the login.
func (p *Provider) ApproveDevice(userCode, user string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, u := p.userCodeLocked(userCode), p.userByName(user)
	switch {
	case l == nil:
		return fmt.Errorf("rptest: no device waits with the user code %q", userCode)
	case u == nil:
		return fmt.Errorf("rptest: no user has the name %q", user)
	}
	p.approveLocked(l, u)
	return nil
}

// DenyDevice refuses a device's login.
func (p *Provider) DenyDevice(userCode string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.userCodeLocked(userCode)
	if l == nil {
		return fmt.Errorf("rptest: no device waits with the user code %q", userCode)
	}
	l.denied = true
	return nil
}

// serveDevice is the page where the user enters the code and answers (RFC 8628 section 3.3).
func (p *Provider) serveDevice(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		methodNotAllowed(w, "GET, POST")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	_ = r.ParseForm() // a malformed form has no code
	code := r.Form.Get("user_code")
	p.mu.Lock()
	l := p.userCodeLocked(code)
	p.mu.Unlock()
	browser := p.browserID(w, r)
	data := page{Title: "Connect a device", Action: p.base + "/device", Interaction: browser}
	if l == nil {
		status := http.StatusOK
		if code != "" {
			status, data.Mistake = http.StatusNotFound, "No device waits with that code. It may be too old."
		}
		render(w, status, "device_code", data, "")
		return
	}
	data.Client, data.Code = l.client.Name, l.userCode
	action := r.PostForm.Get("action")
	// Nobody's device is approved by a stranger's form.
	if r.Method == http.MethodGet || (action != "allow" && action != "deny") || r.PostForm.Get("interaction") != browser {
		p.devicePage(w, http.StatusOK, data)
		return
	}
	if action == "deny" {
		p.DenyDevice(l.userCode)
		render(w, http.StatusOK, "message", page{Title: "Not connected", Text: "The device was refused. You may close this page."}, "")
		return
	}
	name, ok := p.deviceUser(r)
	if !ok {
		data.Mistake, data.Username = "That name and password do not belong together.", r.PostForm.Get("username")
		p.devicePage(w, http.StatusUnauthorized, data)
		return
	}
	if err := p.ApproveDevice(l.userCode, name); err != nil {
		p.errorPage(w, refuse(400, "This page is no longer valid", "The code has ended, or nobody is signed in."))
		return
	}
	render(w, http.StatusOK, "message", page{Title: "Connected", Text: "Your device goes on by itself. You may close this page."}, "")
}

func (p *Provider) devicePage(w http.ResponseWriter, status int, data page) {
	name := "device"
	if p.opts.Interactive {
		name = "device_login"
	}
	if p.opts.ShowHints {
		p.mu.Lock()
		for _, u := range p.users {
			data.Hints = append(data.Hints, hintOf(p, u))
		}
		p.mu.Unlock()
	}
	render(w, status, name, data, "")
}

// deviceUser is the name of whoever sent the form.
func (p *Provider) deviceUser(r *http.Request) (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.opts.Interactive {
		if p.signedIn == "" {
			return p.users[0].Name, true
		}
		return p.signedIn, true
	}
	u := p.userByName(strings.TrimSpace(r.PostForm.Get("username")))
	if u == nil || !same(u.Password, r.PostForm.Get("password")) {
		return "", false
	}
	return u.Name, true
}
