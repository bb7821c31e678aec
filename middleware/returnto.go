package middleware

import (
	"net/http"
	"net/url"
	"path"
	"strings"
	"unicode/utf8"
)

// maxReturnTo bounds a way back, in bytes: it travels in a cookie.
const maxReturnTo = 1500

// localPath checks that raw leads nowhere but into this application: a path, from its first slash on, and a query. What a browser might read as a host
// ("//evil", "/\evil", "/<TAB>/evil"), what only looks like a path after decoding, and dot segments are refused. The fragment is dropped.
func localPath(raw string) (string, bool) {
	if raw == "" || len(raw) > maxReturnTo || raw[0] != '/' || !clean(raw) {
		return "", false
	}
	if len(raw) > 1 && raw[1] == '/' {
		return "", false
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" {
		return "", false
	}
	// A second reader may decode once more than we do: neither the path as it is, nor decoded, nor decoded twice may mean anything else.
	for decoded, n := u.Path, 0; n < 2; n++ {
		if !plainPath(decoded) {
			return "", false
		}
		again, err := url.PathUnescape(decoded)
		if err != nil {
			break // a percent sign that is just that
		}
		if again == decoded {
			break
		}
		decoded = again
		if !plainPath(decoded) {
			return "", false
		}
	}
	back := (&url.URL{Path: u.Path, RawPath: u.RawPath}).EscapedPath()
	if u.RawQuery != "" || u.ForceQuery {
		back += "?" + escapeQuery(u.RawQuery)
	}
	// The last word: put behind an origin, it must stay there.
	there, err := url.Parse("https://self.invalid" + back)
	if err != nil || there.Host != "self.invalid" || there.Scheme != "https" || there.User != nil || there.Path != u.Path || len(back) > 2*maxReturnTo {
		return "", false
	}
	return back, true
}

// clean reports that s holds nothing that parsers strip, turn or stumble over.
func clean(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == '\\' || r == utf8.RuneError || 0x80 <= r && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return false
		}
	}
	return true
}

func plainPath(p string) bool {
	if !strings.HasPrefix(p, "/") || strings.HasPrefix(p, "//") || !clean(p) {
		return false
	}
	for segment := range strings.SplitSeq(p, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// escapeQuery makes a query fit for a header: what is not plain ASCII is percent-encoded, the rest stays.
func escapeQuery(q string) string {
	var b strings.Builder
	for i := range len(q) {
		if c := q[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>`{}|^", c) >= 0 {
			const hex = "0123456789ABCDEF"
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// back is raw if it is a way back that may be taken, else the page after login. Routes of our own are none: they would lead in circles.
func (g *Guard) back(raw string) string {
	to, ok := localPath(raw)
	if !ok || g.ours(to) {
		return g.afterLogin()
	}
	return to
}

func (g *Guard) ours(to string) bool {
	u, err := url.Parse(to)
	if err != nil {
		return true
	}
	switch path.Clean(u.Path) {
	case g.loginPath(), g.logoutPath(), g.sessionPath(), pathOf(g.Sessions.Client().RedirectURL()), g.goodbyePath(), g.SessionFramePath, g.backchannelPath(), g.frontchannelPath():
		return true
	}
	return false
}

// referer is the path of the page the request came from, if that is a page of ours.
func (g *Guard) referer(r *http.Request) string {
	u, err := url.Parse(r.Header.Get("Referer"))
	if err != nil || u.Scheme+"://"+u.Host != g.origin() {
		return g.afterLogin()
	}
	return g.back(u.RequestURI())
}

// loginURL leads to a login that comes back to to.
func (g *Guard) loginURL(to string) string {
	if to == "" || to == g.afterLogin() {
		return g.loginPath()
	}
	return g.loginPath() + "?return_to=" + url.QueryEscape(to)
}
