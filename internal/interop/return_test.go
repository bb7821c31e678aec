package interop_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/interop/app"
	"github.com/latchkey-go/latchkey/internal/interop/chrome"
	"github.com/latchkey-go/latchkey/middleware"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

// hostile are return paths which lead elsewhere in some URL parser, and some which only look so.
func hostile() []string {
	prefixes := []string{
		"", "/", "//", "///", "////", `\`, `\\`, `/\`, `\/`, `/\/`, `//\`, `/\\`, "/\t/", "/\n/", "/\r/", "/\r\n/", "/ /", "/\x00/", "/\x0b/", "/\u00a0/", "/\u2028/", "/\u200b/",
		"\t//", "\n//", " //", "\x00//", "\u00a0//", "\u2028//", "\ufeff//", "\x01//", "/./", "/.//", "/..//", "/a/..//", "/%2e%2e//", "/%2f", "/%5c", "/%09/", "/%0a/", "/%0d%0a/", "%2f%2f", "%5c%5c", "/%252f",
		"https:", "https:/", "https://", "https:///", `https:\\`, `https:/\`, "HTTPS://", "hTTp:", "http://", "h\tttps://", "java\tscript:", "javascript:", "data:text/html,", "blob:", "file://", "ftp://", "about:", "x:", ":", "://",
		"@", "/@", "//@", "//:@", "//a:b@", "?", "#", ";//", "/;//", "/..;//", "．/", "／／", "⁄⁄", "//。", "/\u202e//", "//[", "/%E3%80%82", "/%ef%bc%8f", "?//", "#//", "/?//", "/#//", "/auth/callback/..//", "/auth/login?return_to=//",
	}
	hosts := []string{
		"evil.example", "evil.example/", "evil.example:443/x", "evil.example?x=1", "evil.example#x", "127.0.0.1@evil.example", `evil.example\@127.0.0.1`, "evil.example%2f..", "%65vil.example", "evil。example", "evil.example%00.127.0.0.1", "[::1]",
	}
	var all []string
	for _, prefix := range prefixes {
		for _, host := range hosts {
			all = append(all, prefix+host)
		}
	}
	return append(all, "", "/", "//", `/\`, "/account", "/account?next=//evil.example", "/account#//evil.example", "/a b", "/ü", strings.Repeat("/", 3000), "/"+strings.Repeat("a", 9000), "alert(1)", "\xff\xfe//evil.example", "/\xff")
}

// TestReturnPathsStayHere asks the browser's own URL parser where every redirect of the guard would lead.
func TestReturnPathsStayHere(t *testing.T) {
	browser := chrome.Start(t)
	provider := rptest.Start(t, rptest.Options{})
	a := app.Listen(t, false)
	a.Serve(t, app.Options{
		Issuer: provider.Issuer(), ClientID: provider.ClientID(), Secret: provider.ClientSecret(),
		Wrap: func(g *middleware.Guard, _ http.Handler) http.Handler {
			return g.Handler(g.Require(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "in") })))
		},
	})
	payloads := hostile()
	if len(payloads) < 1000 {
		t.Fatalf("%d payloads, want a thousand", len(payloads))
	}
	var ask raw
	ask.host = strings.TrimPrefix(a.URL, "http://")
	var locations []string
	landed := map[string]int{}
	for i, payload := range payloads {
		for _, target := range []string{"/auth/login?return_to=" + url.QueryEscape(payload), payload} {
			if !strings.HasPrefix(target, "/") || strings.ContainsAny(target, " \r\n\t\x00\x0b") {
				continue // no server gets to see such a request line
			}
			for _, location := range ask.login(t, a, target) {
				locations = append(locations, location)
				landed[location]++
			}
		}
		if i == 0 && len(locations) == 0 {
			t.Fatal("no login came to its end, and the test shows nothing")
		}
	}
	if len(locations) < len(payloads) {
		t.Errorf("%d redirects for %d payloads, want one at least for each", len(locations), len(payloads))
	}
	if landed["/account?next=//evil.example"] == 0 {
		t.Error("an honest return path was not kept")
	}

	tab := browser.Profile(t).Tab()
	tab.Open(a.URL + "/auth/login/nothing")
	origins := func(list []string) []string {
		encoded, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		return chrome.Eval[[]string](tab, fmt.Sprintf(`%s.map(l => { try { return new URL(l, %q).origin } catch { return "invalid" } })`, encoded, a.Callback))
	}
	elsewhere := 0
	for _, origin := range origins(payloads) {
		if origin != a.URL {
			elsewhere++
		}
	}
	if elsewhere < 300 {
		t.Errorf("only %d of the payloads lead elsewhere in this browser: the test shows little", elsewhere)
	}
	for i, origin := range origins(locations) {
		if origin != a.URL {
			t.Errorf("the redirect to %q leads to %s", locations[i], origin)
		}
	}
	t.Logf("%d payloads, of which %d lead elsewhere in this browser; %d redirects, %d of them different", len(payloads), elsewhere, len(locations), len(landed))
}

// raw sends request lines as they are, which an HTTP client would not.
type raw struct{ host string }

// get returns the answer's Location and cookies.
func (q raw) get(t *testing.T, target string, cookies []*http.Cookie) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", q.host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Site: none\r\nConnection: close\r\n", target, q.host)
	for _, c := range cookies {
		fmt.Fprintf(conn, "Cookie: %s=%s\r\n", c.Name, c.Value)
	}
	io.WriteString(conn, "\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%.80q: %v", target, err)
	}
	io.Copy(io.Discard, res.Body)
	res.Body.Close()
	return res
}

// login goes from target through the provider to the end, and returns every Location that points to the application, as it was written.
func (q raw) login(t *testing.T, a *app.App, target string) []string {
	t.Helper()
	first := q.get(t, target, nil)
	location := first.Header.Get("Location")
	if location == "" {
		return nil
	}
	if !strings.HasPrefix(location, a.Client.Issuer()) {
		return []string{location}
	}
	provider := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := provider.Get(location)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	callback, ok := strings.CutPrefix(res.Header.Get("Location"), a.URL)
	if !ok {
		t.Fatalf("the provider sent the browser to %q", res.Header.Get("Location"))
	}
	last := q.get(t, callback, first.Cookies()).Header.Get("Location")
	if last == "" {
		t.Fatalf("a login from %.80q came to no redirect", target)
	}
	return []string{last}
}
