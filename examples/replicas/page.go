package main

import (
	"html/template"
	"net/http"

	"github.com/latchkey-go/latchkey/session"
)

// page shows who is signed in, on which replica, and from where else.
type page struct {
	replica  string
	sessions *session.Manager
}

var shown = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark"><title>Replica {{.Replica}}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem}table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.4rem .6rem;border-bottom:1px solid #ccc}td:first-child{overflow-wrap:anywhere}td+td{white-space:nowrap}button{font:inherit;padding:.4rem .8rem;margin-right:.5rem}</style>
<h1>Hello {{.Name}}, from replica {{.Replica}}</h1>
<p>Reload: the other replica answers, and you are signed in there too.</p>
<h2>Your sessions</h2>
<table><tr><th>Device<th>Since<th>Last used</tr>
{{range .Sessions}}<tr><td>{{.Device}}{{if eq .Key $.Key}} (this one){{end}}<td>{{.LoginAt.Format "15:04:05"}}<td>{{.SeenAt.Format "15:04:05"}}</tr>{{end}}</table>
<p><form method="post" action="/provider-logout" style="display:inline"><input type="hidden" name="user" value="{{.Subject}}"><button>Log out at the provider</button></form>
<form method="post" action="/auth/logout" style="display:inline"><button>Log out here</button></form></p>
</html>
`))

func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := session.FromContext(r.Context())
	list, err := p.sessions.List(r.Context(), s.Issuer, s.Subject)
	if err != nil {
		http.Error(w, "the list of sessions can't be had at the moment", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = shown.Execute(w, map[string]any{"Replica": p.replica, "Name": s.Claims().Name(), "Subject": s.Subject, "Sessions": list, "Key": s.Key()})
}
