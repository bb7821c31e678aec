package rptest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
)

// Browser is a browser without a screen: it keeps cookies, follows redirects between application and provider, sends the
// headers of a navigation, and carries form_post answers to the client as their script would. It reaches the provider and
// the hosts of HandleHost in memory, any other by http.DefaultTransport.
//
// Like a real one it counts http on a loopback host as secure, and withholds SameSite cookies from requests that come from another site.
// The site of a host is its last two labels, or the whole of an IP address.
//
// One Browser is one visitor: it is not safe for concurrent use.
type Browser struct {
	// Transport may be replaced before the first request.
	Transport http.RoundTripper
	// StopAt, not nil, ends a navigation before the request for which it returns true: Page.Location is then that URL.
	StopAt func(*url.URL) bool

	jar      *cookiejar.Jar
	mu       sync.Mutex
	sameSite map[string]http.SameSite
}

// Page is what a navigation ended at.
type Page struct {
	URL    *url.URL
	Status int
	Header http.Header
	Body   string
	// Forms are the page's forms in order.
	Forms []Form
	// Location is where a redirect points which was not followed, because of StopAt.
	Location *url.URL
	// Visited are the URLs that were requested on the way, without StopAt's, the page's own last.
	Visited []*url.URL
}

// maxRedirects is what browsers allow.
const maxRedirects = 20

// maxPage is the longest page that is read, in bytes.
const maxPage = 4 << 20

// Browser makes a browser without cookies.
func (p *Provider) Browser() *Browser {
	jar, _ := cookiejar.New(nil) // never fails
	return &Browser{Transport: &memory{&p.hosts, http.DefaultTransport}, jar: jar, sameSite: map[string]http.SameSite{}}
}

// String says nothing of the cookies.
func (b *Browser) String() string { return "rptest.Browser" }

// Format prints String for every verb.
func (b *Browser) Format(f fmt.State, _ rune) { io.WriteString(f, b.String()) }

// Get opens a URL as if it was typed in.
func (b *Browser) Get(rawURL string) (*Page, error) {
	return b.navigate(http.MethodGet, rawURL, nil, nil)
}

// PostForm sends a form as if a page of the URL's own origin had held it.
func (b *Browser) PostForm(rawURL string, values url.Values) (*Page, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, err
	}
	return b.navigate(http.MethodPost, rawURL, values, u)
}

// Follow opens a URL, which may be relative, as a link on page.
func (b *Browser) Follow(page *Page, ref string) (*Page, error) {
	u, err := page.URL.Parse(ref)
	if err != nil {
		return nil, err
	}
	return b.navigate(http.MethodGet, u.String(), nil, page.URL)
}

// Submit fills in the first form of page which has every field of values, and sends it by the button named, or by the form's
// first one when that is empty: Submit(page, "sign-in", url.Values{"username": {"alice"}, "password": {"alice"}}).
func (b *Browser) Submit(page *Page, buttonID string, values url.Values) (*Page, error) {
	for _, form := range page.Forms {
		filled, ok := form.fill(buttonID, values)
		if !ok {
			continue
		}
		u, err := page.URL.Parse(form.Action)
		if err != nil {
			return nil, err
		}
		if !strings.EqualFold(form.Method, http.MethodPost) {
			u.RawQuery = filled.Encode()
			return b.navigate(http.MethodGet, u.String(), nil, page.URL)
		}
		return b.navigate(http.MethodPost, u.String(), filled, page.URL)
	}
	return nil, fmt.Errorf("rptest: %s has no form with button %q and these fields", page.URL, buttonID)
}

// Cookies are the cookies that would be sent to a URL of the same site.
func (b *Browser) Cookies(rawURL string) []*http.Cookie {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil
	}
	return b.jar.Cookies(asSecure(u))
}

// navigate is one navigation, from the page at from; nil: typed in.
func (b *Browser) navigate(method, rawURL string, form url.Values, from *url.URL) (*Page, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, err
	}
	fetchSite, origin := "none", ""
	if from != nil {
		fetchSite = siteOf(from, u)
		if method == http.MethodPost {
			origin = from.Scheme + "://" + from.Host
		}
	}
	var visited []*url.URL
	for range maxRedirects {
		page, err := b.send(method, u, form, fetchSite, origin)
		if err != nil {
			return nil, err
		}
		visited = append(visited, u)
		page.Visited = visited
		target, again := page.next()
		if target == nil {
			return page, nil
		}
		if b.StopAt != nil && b.StopAt(target.url) {
			page.Location = target.url
			return page, nil
		}
		// A navigation that has left a site once stays cross-site to the end.
		switch site := siteOf(u, target.url); {
		case fetchSite == "none" && !again:
		case fetchSite != "cross-site":
			fetchSite = site
		}
		if again {
			fetchSite = siteOf(u, target.url)
			origin = u.Scheme + "://" + u.Host
		}
		if !target.keep {
			method, form = target.method, target.form
			if method == http.MethodGet {
				origin = ""
			}
		}
		u = target.url
	}
	return nil, fmt.Errorf("rptest: %s redirected more than %d times", rawURL, maxRedirects)
}

// hop is where a page leads by itself.
type hop struct {
	url    *url.URL
	method string
	form   url.Values
	keep   bool // method and form stay as they were
}

// next is the redirect or the form_post answer of a page; byForm tells the latter.
func (page *Page) next() (to *hop, byForm bool) {
	if location := page.Header.Get("Location"); location != "" && page.Status/100 == 3 {
		u, err := page.URL.Parse(location)
		if err != nil {
			return nil, false
		}
		if u.Fragment == "" {
			u.Fragment = page.URL.Fragment
		}
		keep := page.Status == http.StatusTemporaryRedirect || page.Status == http.StatusPermanentRedirect
		return &hop{url: u, method: http.MethodGet, keep: keep}, false
	}
	if strings.Contains(page.Body, "<script>"+autoSubmit+"</script>") && len(page.Forms) == 1 {
		u, err := page.URL.Parse(page.Forms[0].Action)
		if err != nil {
			return nil, false
		}
		return &hop{url: u, method: http.MethodPost, form: page.Forms[0].Values}, true
	}
	return nil, false
}

func (b *Browser) send(method string, u *url.URL, form url.Values, fetchSite, origin string) (*Page, error) {
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequest(method, u.String(), body)
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{
		"User-Agent": "rptest", "Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Sec-Fetch-Mode": "navigate",
		"Sec-Fetch-Dest": "document", "Sec-Fetch-User": "?1", "Sec-Fetch-Site": fetchSite, "Origin": origin,
	} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	b.addCookies(req, fetchSite)
	resp, err := b.Transport.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("rptest: %s %s: %w", method, u.Redacted(), err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxPage+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxPage {
		return nil, errors.New("rptest: the page is too long")
	}
	b.keepCookies(u, resp.Cookies())
	page := &Page{URL: u, Status: resp.StatusCode, Header: resp.Header, Body: string(text)}
	page.Forms = parseForms(page.Body)
	return page, nil
}
