package rptest

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

//go:embed pages.html
var pagesHTML string

//go:embed pages.css
var pagesCSS string

var pages = template.Must(template.New("pages").Parse(pagesHTML))

// autoSubmit is the one script there is: what carries a form_post answer to the client.
const autoSubmit = "document.forms[0].submit()"

// page is what every template sees.
type page struct {
	Title, Client, Host string
	Action, Interaction string
	Mistake             string
	Username, Name      string
	Picture             string
	Hints               []pageHint
	Scopes              []string
	Code, Text          string
	Fields              []field
	Frames              []string
	Next                string
	CSS                 template.CSS
	Script              template.JS
}

type pageHint struct{ Name, Password, Picture string }

type field struct{ Name, Value string }

func hashSource(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// render shows a page. The policy has no form-action: browsers apply it to the redirects after a form too, and those lead to the client.
func render(w http.ResponseWriter, status int, name string, data page, policy string) {
	data.CSS, data.Script = template.CSS(pagesCSS), autoSubmit
	var body bytes.Buffer
	if err := pages.ExecuteTemplate(&body, name, data); err != nil {
		http.Error(w, "rptest: "+err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "strict-origin") // no-referrer would make the Origin of a form_post answer null
	h.Set("X-Frame-Options", "DENY")
	h.Set("Content-Security-Policy", "default-src 'none'; img-src 'self'; style-src "+hashSource(pagesCSS)+"; base-uri 'none'; frame-ancestors 'none'"+policy)
	w.WriteHeader(status)
	w.Write(body.Bytes())
}

func (p *Provider) errorPage(w http.ResponseWriter, e *protocolError) {
	render(w, e.status, "error", page{Title: "This did not work", Code: e.code, Text: e.description}, "")
}

// formPostPage is OAuth 2.0 Form Post Response Mode section 2.
func (p *Provider) formPostPage(w http.ResponseWriter, req *authRequest, v url.Values) {
	data := page{Title: "Signing you in", Client: req.client.Name, Action: req.redirectURI}
	for name, values := range v {
		for _, value := range values {
			data.Fields = append(data.Fields, field{name, value})
		}
	}
	slices.SortFunc(data.Fields, func(a, b field) int { return strings.Compare(a.Name, b.Name) })
	render(w, http.StatusOK, "form_post", data, "; script-src "+hashSource(autoSubmit))
}
