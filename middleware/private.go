package middleware

import (
	"bufio"
	"net"
	"net/http"
)

// private serves a page that knows the session. Where the response sets cookies it stays uncacheable, whatever next says: with a shared cache in between, the next
// visitor would be given this one's session. A handler for files says "public" of its files without a thought of cookies, and net/http takes Cache-Control off its error pages.
// Without cookies the word is the handler's.
func private(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if len(w.Header()["Set-Cookie"]) == 0 {
		next.ServeHTTP(w, r)
		return
	}
	p := &privateWriter{ResponseWriter: w}
	defer p.settle() // after a panic, too: who recovers further out answers under these headers
	next.ServeHTTP(p, r)
}

// privateWriter has the last word on Cache-Control.
type privateWriter struct {
	http.ResponseWriter
	settled bool
}

func (p *privateWriter) settle() {
	if !p.settled {
		p.settled = true
		p.Header().Set("Cache-Control", "no-store")
	}
}

func (p *privateWriter) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		p.settle()
	}
	p.ResponseWriter.WriteHeader(status)
}

func (p *privateWriter) Write(b []byte) (int, error) {
	p.settle()
	return p.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (p *privateWriter) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// FlushError and Hijack are what streams and WebSockets ask for by type assertion: they must not lose them once a minute.
func (p *privateWriter) FlushError() error {
	p.settle()
	return http.NewResponseController(p.ResponseWriter).Flush()
}

func (p *privateWriter) Flush() { _ = p.FlushError() }

func (p *privateWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(p.ResponseWriter).Hijack()
}
