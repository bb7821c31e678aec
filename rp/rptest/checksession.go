package rptest

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"strings"
)

//go:embed checksession.js
var checkSessionScript string

var checkSessionPage = template.Must(template.New("check session").Parse(`<!doctype html>
<html data-cookie="{{.Cookie}}">
<meta charset="utf-8">
<title>Session</title>
<script>{{.Script}}</script>
`))

// sessionState is Session Management 1.0 section 4.2: the client, where it is, what the browser's cookie says, and a salt.
func sessionState(req *authRequest, s opSession) string {
	origin := ""
	if u, err := url.Parse(req.redirectURI); err == nil {
		origin = u.Scheme + "://" + hostOf(u.Scheme, u.Host)
	}
	salt := random()
	sum := sha256.Sum256([]byte(req.client.ID + " " + origin + " " + s.state + " " + salt))
	return base64.RawURLEncoding.EncodeToString(sum[:]) + "." + salt
}

func (p *Provider) stateCookie() string { return "rptest_state_" + p.cookie }

// setBrowserState lets the check_session_iframe see that logins come and go: its script reads the cookie.
func (p *Provider) setBrowserState(w http.ResponseWriter, state string) {
	if p.opts.SessionManagement {
		p.set(w, &http.Cookie{Name: p.stateCookie(), Value: state, Path: "/", Secure: strings.HasPrefix(p.base, "https:"), SameSite: http.SameSiteLaxMode})
	}
}

// serveCheckSession is the check_session_iframe (Session Management 1.0 section 3.3). Any application may frame it.
func (p *Provider) serveCheckSession(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; script-src "+hashSource(checkSessionScript)+"; base-uri 'none'")
	if err := checkSessionPage.Execute(w, map[string]any{"Cookie": p.stateCookie(), "Script": template.JS(checkSessionScript)}); err != nil {
		http.Error(w, "rptest: "+err.Error(), http.StatusInternalServerError)
	}
}
