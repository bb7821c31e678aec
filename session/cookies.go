package session

import (
	"iter"
	"net/http"
	"strings"
	"time"
)

// eachCookie yields the pairs of r's Cookie headers as they were sent. net/http's own parser is not used: it allocates for every cookie, gives none at all above
// 3,000 of them, and takes quotes off values. Only the ASCII space is trimmed, so that no other white space can dress up a name as ours.
func eachCookie(r *http.Request) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for _, line := range r.Header["Cookie"] {
			for line != "" {
				var pair string
				pair, line, _ = strings.Cut(line, ";")
				name, value, ok := strings.Cut(strings.Trim(pair, " "), "=")
				if ok && !yield(name, value) {
					return
				}
			}
		}
	}
}

// readCookie returns the value of the cookie of exactly this name. A name that comes twice is none: one of the two was put there by someone else, and nothing tells which.
func readCookie(r *http.Request, name string) (value string, ok bool) {
	n := 0
	for have, v := range eachCookie(r) {
		if have == name {
			value = v
			n++
		}
	}
	if n != 1 {
		return "", false
	}
	return value, true
}

// hasCookie reports whether r carries the name at all, once or more often.
func hasCookie(r *http.Request, name string) bool {
	for have := range eachCookie(r) {
		if have == name {
			return true
		}
	}
	return false
}

// set writes a cookie of the given name until expires, in place of what this response already says of that name.
func (a cookieAttributes) set(w http.ResponseWriter, name, value string, expires time.Time) {
	c := a.cookie(name, maxAge(expires))
	c.Value = value
	writeCookie(w, c)
}

// setEncoded is set for a long value in base64url.
func (a cookieAttributes) setEncoded(w http.ResponseWriter, name string, text []byte, expires time.Time) {
	writeEncoded(w, a.cookie(name, maxAge(expires)), text)
}

// delete writes a deletion with the attributes of set: a browser ignores a deletion of a __Host- cookie without them.
func (a cookieAttributes) delete(w http.ResponseWriter, name string) {
	writeCookie(w, a.cookie(name, -1))
}

func (a cookieAttributes) cookie(name string, maxAge int) *http.Cookie {
	return &http.Cookie{Name: name, Path: "/", MaxAge: maxAge, Secure: a.secure, HttpOnly: true, SameSite: a.sameSite}
}

// maxAge is the whole seconds until expires, a started one counted, and at least one: 0 would mean until the browser closes.
func maxAge(expires time.Time) int {
	return max(1, int((time.Until(expires)+time.Second-1)/time.Second))
}

// writeCookie leaves one Set-Cookie for each name in a response: which of two a browser or proxy obeys is not certain (RFC 6265, 4.1.1).
func writeCookie(w http.ResponseWriter, c *http.Cookie) {
	dropSetCookie(w, c.Name)
	http.SetCookie(w, c)
}

// writeEncoded is writeCookie for a value in base64url, put into the finished line: net/http would look at each of its bytes three times.
func writeEncoded(w http.ResponseWriter, c *http.Cookie, text []byte) {
	line := c.String()
	if line == "" {
		return // a name that http.SetCookie would drop too
	}
	var b strings.Builder
	b.Grow(len(line) + len(text))
	at := len(c.Name) + 1
	b.WriteString(line[:at])
	b.Write(text)
	b.WriteString(line[at:])
	dropSetCookie(w, c.Name)
	w.Header().Add("Set-Cookie", b.String())
}

func dropSetCookie(w http.ResponseWriter, name string) {
	lines := w.Header()["Set-Cookie"]
	keep := lines[:0]
	for _, line := range lines {
		if !strings.HasPrefix(line, name) || !strings.HasPrefix(line[len(name):], "=") {
			keep = append(keep, line)
		}
	}
	switch {
	case len(keep) == len(lines):
	case len(keep) == 0:
		w.Header().Del("Set-Cookie")
	default:
		w.Header()["Set-Cookie"] = keep
	}
}
