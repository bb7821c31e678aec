package middleware

import (
	"net/http"
	"strings"
)

// visit is who asks, as far as the request tells.
type visit int

const (
	script    visit = iota // fetch, XHR, a program: it can't follow a redirect to a login page
	navigate               // the browser loads a page, by GET or HEAD
	submit                 // the browser sends a form
	frame                  // a page inside a page: the provider would refuse to be framed, and rightly
	prefetch               // nobody has asked for the page yet
	websocket              // a handshake
)

// read lists the header fields that classify looks at, for Vary.
const read = "Accept, Sec-Fetch-Dest, Sec-Fetch-Mode, Sec-Purpose, X-Requested-With"

// classify tells navigations from the rest. Fetch metadata is the browser's own word, which no page can change; without it Accept and the header of XHR libraries must do.
func classify(r *http.Request) visit {
	h := r.Header
	if containsToken(h, "Connection", "upgrade") && h.Get("Upgrade") != "" || r.Method == http.MethodConnect { // the latter by HTTP/2 (RFC 8441)
		return websocket
	}
	if h.Get("Sec-Purpose") != "" || strings.EqualFold(h.Get("Purpose"), "prefetch") || strings.EqualFold(h.Get("X-Moz"), "prefetch") {
		return prefetch
	}
	if mode := h.Get("Sec-Fetch-Mode"); mode != "" {
		if mode != "navigate" {
			return script
		}
		if dest := h.Get("Sec-Fetch-Dest"); dest != "document" {
			return frame
		}
		return page(r)
	}
	if strings.Contains(h.Get("Accept"), "text/html") && h.Get("X-Requested-With") == "" {
		return page(r)
	}
	return script
}

func page(r *http.Request) visit {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return navigate
	}
	return submit
}

// html reports whether a page is what the visitor can show.
func (v visit) html() bool { return v == navigate || v == submit || v == frame }

func containsToken(h http.Header, name, token string) bool {
	for _, line := range h.Values(name) {
		for part := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}
