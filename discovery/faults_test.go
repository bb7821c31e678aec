package discovery_test

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
)

type blanks struct{}

func (blanks) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// faulty is a provider on loopback whose documents are served by fault, once it is set.
type faulty struct {
	*httptest.Server
	fault atomic.Pointer[http.HandlerFunc]
	on    string // the path the fault is on
}

func newFaulty(t *testing.T, on string) *faulty {
	t.Helper()
	f := &faulty{on: on}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fault := f.fault.Load(); fault != nil && r.URL.Path == f.on {
			(*fault)(w, r)
			return
		}
		switch r.URL.Path {
		case openid:
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, strings.ReplaceAll(metadata(nil), issuer, f.URL))
		case "/keys":
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, jwks(jwk("rsa", "k")))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(f.Close)
	return f
}

func TestFaultsOnTheWireEndInATypedErrorAndCostNoMemory(t *testing.T) {
	var strange atomic.Int32
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { strange.Add(1) }))
	defer stranger.Close()
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	if _, err := io.CopyN(z, blanks{}, 64<<20); err != nil {
		t.Fatal(err)
	}
	z.Close()
	type fault struct {
		serve  http.HandlerFunc
		reason string
	}
	faults := map[string]fault{
		"1 GiB": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(1<<30))
			io.CopyN(w, blanks{}, 1<<30)
		}, "too large"},
		"endless chunks": {func(w http.ResponseWriter, _ *http.Request) { io.Copy(w, blanks{}) }, "too large"},
		"gzip bomb": {func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept-Encoding") != "gzip" {
				t.Error("gzip was not asked for: the test proves nothing")
			}
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(bomb.Bytes())
		}, "too large"},
		"a megabyte of header": {func(w http.ResponseWriter, _ *http.Request) {
			for i := range 16 {
				w.Header().Set(fmt.Sprint("X-", i), strings.Repeat("x", 64<<10))
			}
		}, "too large"},
		"EOF before the header": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"EOF in the body": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, "{")
			panic(http.ErrAbortHandler)
		}, "EOF"},
		"reset": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				conn.(*net.TCPConn).SetLinger(0)
				conn.Close()
			}
		}, ""},
		"no HTTP": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				io.WriteString(conn, "SSH-2.0-OpenSSH_9.9\r\n")
				conn.Close()
			}
		}, "malformed HTTP response"},
		"slow header": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "exceeded"},
		"a byte now and then": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				io.WriteString(w, " ")
				http.NewResponseController(w).Flush()
				time.Sleep(20 * time.Millisecond)
			}
		}, "exceeded"},
	}
	for _, status := range []int{301, 302, 303, 307, 308} {
		faults[fmt.Sprint("redirect ", status)] = fault{func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, stranger.URL, status)
		}, "redirects"}
	}
	for _, path := range []string{openid, "/keys"} {
		for name, c := range faults {
			t.Run(strings.TrimPrefix(path, "/.well-known/")+" "+name, func(t *testing.T) {
				server := newFaulty(t, path)
				server.fault.Store(&c.serve)
				timeout := 10 * time.Second
				if c.reason == "exceeded" {
					timeout = 200 * time.Millisecond
				}
				transport := &http.Transport{}
				defer transport.CloseIdleConnections()
				provider, err := discovery.New(discovery.Config{Issuer: server.URL, InsecureLoopbackHTTP: true,
					HTTPClient: &http.Client{Transport: transport, Timeout: timeout}})
				if err != nil {
					t.Fatal(err)
				}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				_, err = provider.KeySet().VerifySignature(t.Context(), sign(t, "RS256", "rsa", "k"))
				runtime.ReadMemStats(&after)
				if e := wantUnavailable(t, err, c.reason); e.URL != server.URL+path {
					t.Errorf("the endpoint is not named: %v", err)
				}
				// All that was ever allocated, by the server too: less is not to be told in one process.
				if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
					t.Errorf("%d bytes were allocated", used)
				}
				server.fault.Store(nil)
			})
		}
	}
	if n := strange.Load(); n != 0 {
		t.Errorf("the stranger was called %d times", n)
	}
}

// certificate is one for the given name, by the given parent (nil: itself).
func certificate(t *testing.T, host string, until time.Time, parent *tls.Certificate) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until,
		BasicConstraintsValid: true, IsCA: parent == nil, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	issuer, signer := template, any(key)
	if parent != nil {
		issuer, signer = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func TestTLSFaultsAreNamedAndNeverPassedOver(t *testing.T) {
	root := certificate(t, "root", time.Now().Add(time.Hour), nil)
	trusted := x509.NewCertPool()
	trusted.AddCert(root.Leaf)
	soon := time.Now().Add(time.Hour)
	for name, c := range map[string]struct {
		cert   *tls.Certificate
		max    uint16
		pool   *x509.CertPool
		reason string
	}{
		"good":       {certificate(t, "127.0.0.1", soon, root), 0, trusted, ""},
		"expired":    {certificate(t, "127.0.0.1", time.Now().Add(-time.Hour), root), 0, trusted, "certificate has expired"},
		"wrong host": {certificate(t, "other.example", soon, root), 0, trusted, "certificate"},
		"unknown CA": {certificate(t, "127.0.0.1", soon, root), 0, x509.NewCertPool(), "unknown authority"},
		"TLS 1.1":    {certificate(t, "127.0.0.1", soon, root), tls.VersionTLS11, trusted, "protocol version"},
	} {
		t.Run(name, func(t *testing.T) {
			var server *httptest.Server
			served := 0
			server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				served++
				w.Header().Set("Content-Type", "application/json")
				io.WriteString(w, strings.ReplaceAll(metadata(nil), issuer, server.URL))
			}))
			server.TLS = &tls.Config{Certificates: []tls.Certificate{*c.cert}, MinVersion: tls.VersionTLS10, MaxVersion: c.max}
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.StartTLS()
			defer server.Close()
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.pool}}
			defer transport.CloseIdleConnections()
			provider, err := discovery.New(discovery.Config{Issuer: server.URL, HTTPClient: &http.Client{Transport: transport}})
			if err != nil {
				t.Fatal(err)
			}
			_, err = provider.Metadata(t.Context())
			if c.reason == "" && err != nil {
				t.Error(err)
			} else if c.reason != "" {
				if wantUnavailable(t, err, c.reason); served != 0 {
					t.Error("the provider was asked all the same")
				}
			}
		})
	}
}
