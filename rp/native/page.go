package native

import (
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
)

type page struct{ Title, Text, Detail string }

const style = `:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}body{max-width:34rem;margin:18vh auto 0;padding:0 1.5rem}h1{font-size:1.5rem;margin:0 0 .5rem}.detail{opacity:.75;overflow-wrap:anywhere}`

var pages = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{.Title}}</title>
<style>` + style + `</style>
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
{{with .Detail}}<p class="detail">The provider says: {{.}}</p>
{{end}}</html>
`))

var policy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}()

func show(w http.ResponseWriter, status int, p page) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", policy)
	w.WriteHeader(status)
	_ = pages.Execute(w, p)
}
