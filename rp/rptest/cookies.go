package rptest

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// addCookies attaches the cookies that a browser would send with a navigation.
func (b *Browser) addCookies(req *http.Request, fetchSite string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.jar.Cookies(asSecure(req.URL)) {
		if fetchSite == "cross-site" {
			switch b.sameSite[siteKey(req.URL, c.Name)] {
			case http.SameSiteNoneMode:
			case http.SameSiteStrictMode:
				continue
			default: // Lax, which is what none stated means too
				if req.Method != http.MethodGet {
					continue
				}
			}
		}
		req.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value, Quoted: c.Quoted})
	}
}

// keepCookies stores what a browser would: no SameSite=None without Secure, and the __Host- and __Secure- prefixes only where they hold.
func (b *Browser) keepCookies(u *url.URL, cookies []*http.Cookie) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range cookies {
		switch {
		case c.SameSite == http.SameSiteNoneMode && !c.Secure,
			strings.HasPrefix(c.Name, "__Secure-") && !c.Secure,
			strings.HasPrefix(c.Name, "__Host-") && (!c.Secure || c.Path != "/" || c.Domain != ""),
			c.Secure && asSecure(u).Scheme != "https",
			len(c.Name)+len(c.Value) > 4096:
			continue
		}
		b.jar.SetCookies(asSecure(u), []*http.Cookie{c})
		b.sameSite[siteKey(u, c.Name)] = c.SameSite
	}
}

func siteKey(u *url.URL, name string) string { return strings.ToLower(u.Hostname()) + "\x00" + name }

// asSecure is u as the cookie jar must see it: browsers hold a loopback host to be as good as https.
func asSecure(u *url.URL) *url.URL {
	if u.Scheme != "http" || !loopback(strings.ToLower(u.Hostname())) {
		return u
	}
	secure := *u
	secure.Scheme = "https"
	return &secure
}

// siteOf is the Sec-Fetch-Site of a request from one URL to another.
func siteOf(from, to *url.URL) string {
	switch {
	case from.Scheme == to.Scheme && hostOf(from.Scheme, from.Host) == hostOf(to.Scheme, to.Host):
		return "same-origin"
	case from.Scheme == to.Scheme && site(from.Hostname()) == site(to.Hostname()):
		return "same-site"
	}
	return "cross-site"
}

// site is the registrable domain, near enough for names made up in tests.
func site(host string) string {
	host = strings.ToLower(host)
	if _, err := netip.ParseAddr(host); err == nil {
		return host
	}
	labels := strings.Split(host, ".")
	return strings.Join(labels[max(0, len(labels)-2):], ".")
}
