// Package visitor is a browser without a screen: cookies, redirects and forms, with the headers a browser sends on a navigation.
package visitor

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"golang.org/x/net/publicsuffix"
)

// Visitor is one browser profile.
type Visitor struct {
	t      testing.TB
	client *http.Client
	Jar    *cookiejar.Jar
	// Hops are the requests of the last navigation in order.
	Hops []*url.URL
	// Halt, when it returns true, stops before the next redirect is followed; the page is then the redirect itself.
	Halt func(next *url.URL) bool
}

// New makes a profile without cookies; transport nil is http.DefaultTransport.
func New(t testing.TB, transport http.RoundTripper) *Visitor {
	jar, err := cookiejar.New(&cookiejar.Options{PublicSuffixList: publicsuffix.List})
	if err != nil {
		t.Fatal(err)
	}
	return &Visitor{t: t, Jar: jar, client: &http.Client{
		Transport:     transport,
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Page is what a navigation ended at.
type Page struct {
	v      *Visitor
	URL    *url.URL
	Status int
	Header http.Header
	Body   string
	Forms  []*Form
	Links  []string // hrefs, absolute
}

// Form is one form of a page.
type Form struct {
	Method string
	Action *url.URL
	Values url.Values // the fields' own values; a named button's stands under its name
}

// Open navigates to address as if it was typed in.
func (v *Visitor) Open(address string) *Page {
	v.t.Helper()
	return v.navigate(http.MethodGet, v.parse(address), nil, "none", "")
}

// Follow navigates to address by a link on p.
func (p *Page) Follow(address string) *Page {
	p.v.t.Helper()
	u := p.URL.ResolveReference(p.v.parse(address))
	return p.v.navigate(http.MethodGet, u, nil, site(p.URL, u), "")
}

// Submit sends the form of p that has every field of values, with them filled in.
func (p *Page) Submit(values map[string]string) *Page {
	p.v.t.Helper()
	for _, form := range p.Forms {
		if !hasAll(form.Values, values) {
			continue
		}
		filled := maps.Clone(form.Values)
		for name, value := range values {
			filled.Set(name, value)
		}
		if form.Method == http.MethodGet {
			u := *form.Action
			u.RawQuery = filled.Encode()
			return p.v.navigate(http.MethodGet, &u, nil, site(p.URL, &u), "")
		}
		return p.v.navigate(http.MethodPost, form.Action, filled, site(p.URL, form.Action), p.URL.Scheme+"://"+p.URL.Host)
	}
	p.v.t.Fatalf("%s has no form with %v:\n%s", p.URL, slices.Collect(maps.Keys(values)), p.Body)
	return nil
}

// Post sends values to address as a form of p would.
func (p *Page) Post(address string, values url.Values) *Page {
	p.v.t.Helper()
	u := p.URL.ResolveReference(p.v.parse(address))
	return p.v.navigate(http.MethodPost, u, values, site(p.URL, u), p.URL.Scheme+"://"+p.URL.Host)
}

// Fetch is a script's fetch() on p: no redirect is followed.
func (p *Page) Fetch(address string) *Page {
	p.v.t.Helper()
	u := p.URL.ResolveReference(p.v.parse(address))
	req := p.v.request(http.MethodGet, u, nil)
	req.Header.Set("Accept", "*/*")
	req.Header.Set("Sec-Fetch-Mode", "cors")
	req.Header.Set("Sec-Fetch-Dest", "empty")
	req.Header.Set("Sec-Fetch-Site", site(p.URL, u))
	page, _ := p.v.send(req)
	return page
}

func (v *Visitor) navigate(method string, u *url.URL, form url.Values, fetchSite, origin string) *Page {
	v.t.Helper()
	v.Hops = nil
	for range 20 {
		req := v.request(method, u, form)
		req.Header.Set("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
		req.Header.Set("Sec-Fetch-Mode", "navigate")
		req.Header.Set("Sec-Fetch-Dest", "document")
		req.Header.Set("Sec-Fetch-User", "?1")
		req.Header.Set("Sec-Fetch-Site", fetchSite)
		if origin != "" {
			req.Header.Set("Origin", origin)
		}
		v.Hops = append(v.Hops, u)
		page, next := v.send(req)
		if next == nil || (v.Halt != nil && v.Halt(next)) {
			return page
		}
		// A redirect that leaves an origin once makes the rest of the chain cross-site.
		if fetchSite != "none" && fetchSite != "cross-site" {
			fetchSite = site(u, next)
		}
		if page.Status != http.StatusTemporaryRedirect && page.Status != http.StatusPermanentRedirect {
			method, form, origin = http.MethodGet, nil, ""
		}
		u = next
	}
	v.t.Fatalf("redirected more than 20 times: %v", v.Hops)
	return nil
}

func (v *Visitor) request(method string, u *url.URL, form url.Values) *http.Request {
	v.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequest(method, u.String(), body)
	if err != nil {
		v.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.Header.Set("User-Agent", "visitor")
	return req
}

func (v *Visitor) send(req *http.Request) (*Page, *url.URL) {
	v.t.Helper()
	res, err := v.client.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		v.t.Fatal(err)
	}
	page := &Page{v: v, URL: req.URL, Status: res.StatusCode, Header: res.Header, Body: string(body)}
	page.parse()
	if location := res.Header.Get("Location"); location != "" && res.StatusCode/100 == 3 {
		return page, req.URL.ResolveReference(v.parse(location))
	}
	return page, nil
}

func (v *Visitor) parse(address string) *url.URL {
	v.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		v.t.Fatal(err)
	}
	return u
}

// Cookies are the ones that would be sent to address, by name.
func (v *Visitor) Cookies(address string) map[string]string {
	found := map[string]string{}
	for _, c := range v.Jar.Cookies(v.parse(address)) {
		found[c.Name] = c.Value
	}
	return found
}

func (p *Page) String() string {
	return fmt.Sprintf("%s answered %d %s\n%s", p.URL.Redacted(), p.Status, p.Header.Get("Content-Type"), p.Body)
}

func (p *Page) parse() {
	if !strings.HasPrefix(p.Header.Get("Content-Type"), "text/html") {
		return
	}
	doc, err := html.Parse(strings.NewReader(p.Body))
	if err != nil {
		return
	}
	byID := map[string]*Form{}
	current := map[*html.Node]*Form{}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch n.Data {
		case "a":
			if href, err := p.URL.Parse(attr(n, "href")); err == nil {
				p.Links = append(p.Links, href.String())
			}
		case "form":
			action, err := p.URL.Parse(attr(n, "action"))
			if err != nil {
				continue
			}
			form := &Form{Method: strings.ToUpper(attr(n, "method")), Action: action, Values: url.Values{}}
			if form.Method == "" {
				form.Method = http.MethodGet
			}
			p.Forms = append(p.Forms, form)
			current[n] = form
			byID[attr(n, "id")] = form
		case "input", "button":
			form := byID[attr(n, "form")]
			for a := range n.Ancestors() {
				if current[a] != nil {
					form = current[a]
				}
			}
			if name := attr(n, "name"); name != "" && form != nil && attr(n, "type") != "checkbox" {
				form.Values.Add(name, attr(n, "value"))
			}
		}
	}
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func hasAll(fields url.Values, wanted map[string]string) bool {
	for name := range wanted {
		if !fields.Has(name) {
			return false
		}
	}
	return true
}

func site(from, to *url.URL) string {
	if from.Scheme == to.Scheme && from.Host == to.Host {
		return "same-origin"
	}
	if from.Scheme == to.Scheme && from.Hostname() == to.Hostname() {
		return "same-site"
	}
	return "cross-site"
}
