package middleware

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i+1 < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

const htmlAccept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

func TestWhoIsTakenForANavigation(t *testing.T) {
	nav := func(more ...string) http.Header {
		return header(append([]string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "none", "Accept", htmlAccept}, more...)...)
	}
	for name, c := range map[string]struct {
		method string
		header http.Header
		want   visit
	}{
		"a typed address":                {"GET", nav(), navigate},
		"a link check":                   {"HEAD", nav(), navigate},
		"a form":                         {"POST", nav(), submit},
		"a PUT of a page":                {"PUT", nav(), submit},
		"a prefetch":                     {"GET", nav("Sec-Purpose", "prefetch"), prefetch},
		"a prerender":                    {"GET", nav("Sec-Purpose", "prefetch;prerender"), prefetch},
		"an old prefetch":                {"GET", header("Purpose", "prefetch", "Accept", htmlAccept), prefetch},
		"an old Firefox prefetch":        {"GET", header("X-Moz", "prefetch", "Accept", htmlAccept), prefetch},
		"an iframe":                      {"GET", header("Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Accept", htmlAccept), frame},
		"a frame":                        {"GET", header("Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "frame"), frame},
		"an embed":                       {"GET", header("Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "embed"), frame},
		"an object":                      {"GET", header("Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "object"), frame},
		"no destination":                 {"GET", header("Sec-Fetch-Mode", "navigate"), frame},
		"fetch()":                        {"GET", header("Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Accept", "*/*"), script},
		"fetch() that accepts pages":     {"GET", header("Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Accept", htmlAccept), script},
		"same-origin fetch()":            {"GET", header("Sec-Fetch-Mode", "same-origin", "Accept", htmlAccept), script},
		"no-cors fetch()":                {"GET", header("Sec-Fetch-Mode", "no-cors"), script},
		"an image":                       {"GET", header("Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"), script},
		"a script":                       {"GET", header("Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "script"), script},
		"a style sheet":                  {"GET", header("Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "style"), script},
		"a font":                         {"GET", header("Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "font"), script},
		"a worker":                       {"GET", header("Sec-Fetch-Mode", "same-origin", "Sec-Fetch-Dest", "worker"), script},
		"a service worker":               {"GET", header("Sec-Fetch-Mode", "same-origin", "Sec-Fetch-Dest", "serviceworker"), script},
		"a manifest":                     {"GET", header("Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "manifest"), script},
		"a video":                        {"GET", header("Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "video"), script},
		"a beacon":                       {"POST", header("Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "empty"), script},
		"an old browser's page":          {"GET", header("Accept", htmlAccept), navigate},
		"an old browser's form":          {"POST", header("Accept", htmlAccept), submit},
		"an old browser's XHR":           {"GET", header("Accept", htmlAccept, "X-Requested-With", "XMLHttpRequest"), script},
		"an old browser's JSON":          {"GET", header("Accept", "application/json"), script},
		"a program":                      {"GET", header(), script},
		"curl":                           {"GET", header("Accept", "*/*"), script},
		"a WebSocket":                    {"GET", header("Connection", "Upgrade", "Upgrade", "websocket", "Sec-Fetch-Mode", "websocket"), websocket},
		"a WebSocket beside keep-alive":  {"GET", header("Connection", "keep-alive, Upgrade", "Upgrade", "WebSocket"), websocket},
		"a WebSocket that accepts pages": {"GET", header("Connection", "upgrade", "Upgrade", "websocket", "Accept", htmlAccept), websocket},
		"Upgrade without Connection":     {"GET", header("Upgrade", "websocket", "Accept", htmlAccept), navigate},
		"upgrade-insecure-requests":      {"GET", nav("Upgrade-Insecure-Requests", "1"), navigate},
		"an odd mode":                    {"GET", header("Sec-Fetch-Mode", "NAVIGATE", "Sec-Fetch-Dest", "document", "Accept", htmlAccept), script},
		"a navigation with XRW":          {"GET", nav("X-Requested-With", "com.example.app"), navigate},
		"an event stream":                {"GET", header("Sec-Fetch-Mode", "cors", "Accept", "text/event-stream"), script},
	} {
		r := httptest.NewRequest(c.method, "https://shop.example/", nil)
		r.Header = c.header
		if got := classify(r); got != c.want {
			t.Errorf("%s is %d, want %d", name, got, c.want)
		}
	}
}
