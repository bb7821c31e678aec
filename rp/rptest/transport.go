package rptest

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// hosts are the in-memory hosts.
type hosts struct {
	mu sync.RWMutex
	m  map[string]http.Handler
}

func (h *hosts) add(host string, handler http.Handler) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.m == nil {
		h.m = map[string]http.Handler{}
	}
	h.m[host] = handler
}

func (h *hosts) handler(host string) http.Handler {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.m[strings.ToLower(host)]
}

// HandleHost makes h answer for host (with its port, if URLs have one) in Client and Browser: the application under test,
// an API, a second provider.
func (p *Provider) HandleHost(host string, h http.Handler) { p.hosts.add(strings.ToLower(host), h) }

// Client returns an HTTP client that reaches the provider, and the hosts of HandleHost, in memory; any other host is an error.
// It opens no socket and starts no goroutine that outlives its request, so that it works in a bubble of testing/synctest.
func (p *Provider) Client() *http.Client { return &http.Client{Transport: p.Transport()} }

// Transport is the transport of Client.
func (p *Provider) Transport() http.RoundTripper { return &memory{hosts: &p.hosts} }

type memory struct {
	hosts    *hosts
	fallback http.RoundTripper // for other hosts; nil: an error
}

// RoundTrip runs the handler beside the caller and hands over its answer as it is written, so that slow, endless and broken
// answers look as they do on a socket.
func (m *memory) RoundTrip(r *http.Request) (*http.Response, error) {
	handler := m.hosts.handler(hostOf(r.URL.Scheme, r.URL.Host))
	if handler == nil {
		if m.fallback != nil {
			return m.fallback.RoundTrip(r)
		}
		closeBody(r)
		return nil, fmt.Errorf("rptest: nothing answers for %q in memory; add it with HandleHost", r.URL.Host)
	}
	if err := r.Context().Err(); err != nil {
		closeBody(r)
		return nil, err
	}
	ctx, cancel := context.WithCancel(r.Context())
	in := r.Clone(ctx)
	in.RequestURI, in.RemoteAddr = r.URL.RequestURI(), "192.0.2.1:1234"
	in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/1.1", 1, 1
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	if r.URL.Scheme == "https" {
		in.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true}
	}
	gunzip := false
	if in.Header.Get("Accept-Encoding") == "" && in.Header.Get("Range") == "" {
		in.Header.Set("Accept-Encoding", "gzip") // and undone below, as net/http's transport does
		gunzip = true
	}
	a := newAnswer()
	go func() {
		defer closeBody(r)
		defer func() {
			v := recover()
			switch {
			case ctx.Err() != nil: // whatever the handler made of it
				a.finish(ctx.Err())
			case v == nil:
				a.finish(nil)
			case v == http.ErrAbortHandler:
				a.finish(io.ErrUnexpectedEOF)
			default:
				a.finish(fmt.Errorf("rptest: the handler of %s panicked: %v", r.URL.Host, v))
			}
		}()
		handler.ServeHTTP(a, in)
	}()
	select {
	case <-a.ready:
	case <-ctx.Done():
		cancel()
		a.finish(ctx.Err())
		return nil, r.Context().Err()
	}
	if a.status == 0 {
		cancel()
		return nil, a.err
	}
	stop := context.AfterFunc(ctx, func() { a.finish(ctx.Err()) })
	resp := &http.Response{
		Status: fmt.Sprintf("%d %s", a.status, http.StatusText(a.status)), StatusCode: a.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: a.sent, ContentLength: -1, Request: r, TLS: in.TLS,
		Body: &answerBody{answer: a, done: func() { stop(); cancel() }},
	}
	if n, err := strconv.ParseInt(a.sent.Get("Content-Length"), 10, 64); err == nil {
		resp.ContentLength = n
	}
	switch {
	case r.Method == http.MethodHead || a.status == http.StatusNoContent || a.status == http.StatusNotModified:
		resp.Body.Close()
		resp.Body = http.NoBody
	case gunzip && strings.EqualFold(a.sent.Get("Content-Encoding"), "gzip"):
		a.sent.Del("Content-Encoding")
		a.sent.Del("Content-Length")
		resp.ContentLength, resp.Uncompressed = -1, true
		resp.Body = &gunzipBody{raw: resp.Body}
	}
	return resp, nil
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		r.Body.Close()
	}
}

// maxBuffered is how far a handler may run ahead of its reader, in bytes.
const maxBuffered = 64 << 10

// answer is a ResponseWriter whose body is read while it is written.
type answer struct {
	header http.Header
	ready  chan struct{} // closed when status or err is set

	mu      sync.Mutex
	change  *sync.Cond
	status  int
	sent    http.Header
	buf     []byte
	written int64
	over    bool
	err     error // why it is over; nil: complete
}

func newAnswer() *answer {
	a := &answer{header: http.Header{}, ready: make(chan struct{})}
	a.change = sync.NewCond(&a.mu)
	return a
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if status < 200 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.writeHeader(status)
}

func (a *answer) writeHeader(status int) {
	if a.status != 0 || a.over {
		return
	}
	a.status, a.sent = status, maps.Clone(a.header)
	if _, ok := a.sent["Content-Type"]; ok && len(a.sent["Content-Type"]) == 0 {
		a.sent.Del("Content-Type")
	}
	close(a.ready)
}

func (a *answer) Write(b []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.status == 0 {
		if _, set := a.header["Content-Type"]; !set && len(b) > 0 {
			a.header.Set("Content-Type", http.DetectContentType(b))
		}
		a.writeHeader(http.StatusOK)
	}
	for len(a.buf) >= maxBuffered && !a.over {
		a.change.Wait()
	}
	if a.over {
		return 0, errors.New("rptest: the client has gone")
	}
	a.buf = append(a.buf, b...)
	a.written += int64(len(b))
	a.change.Broadcast()
	return len(b), nil
}

// Flush is there for handlers that ask for an http.Flusher; nothing is held back.
func (a *answer) Flush() { a.WriteHeader(http.StatusOK) }

// finish ends the answer, by the handler or by the client.
func (a *answer) finish(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return
	}
	if err == nil {
		a.writeHeader(http.StatusOK)
		if n, convErr := strconv.ParseInt(a.sent.Get("Content-Length"), 10, 64); convErr == nil && n > a.written {
			err = io.ErrUnexpectedEOF
		}
	}
	a.over, a.err = true, err
	if a.status == 0 {
		close(a.ready)
	}
	a.change.Broadcast()
}

type answerBody struct {
	answer *answer
	done   func()
	closed sync.Once
}

func (b *answerBody) Read(p []byte) (int, error) {
	a := b.answer
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.buf) == 0 && !a.over {
		a.change.Wait()
	}
	if len(a.buf) > 0 && (a.err == nil || a.err == io.ErrUnexpectedEOF) {
		n := copy(p, a.buf)
		a.buf = a.buf[n:]
		a.change.Broadcast()
		return n, nil
	}
	if a.err != nil {
		return 0, a.err
	}
	return 0, io.EOF
}

func (b *answerBody) Close() error {
	b.closed.Do(func() {
		b.answer.finish(errors.New("rptest: read of a closed body"))
		b.done()
	})
	return nil
}

type gunzipBody struct {
	raw io.ReadCloser
	zip *gzip.Reader
}

func (g *gunzipBody) Read(p []byte) (int, error) {
	if g.zip == nil {
		zip, err := gzip.NewReader(g.raw)
		if err != nil {
			return 0, err
		}
		g.zip = zip
	}
	return g.zip.Read(p)
}

func (g *gunzipBody) Close() error { return g.raw.Close() }
