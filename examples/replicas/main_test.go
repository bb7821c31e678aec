package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// browser follows redirects, keeps cookies and fills in forms.
type browser struct {
	t      *testing.T
	client *http.Client
}

func newBrowser(t *testing.T) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, &http.Client{Jar: jar, Timeout: 20 * time.Second}}
}

func (b *browser) open(method, target, body string) (at *url.URL, page string) {
	b.t.Helper()
	req, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", req.URL.Scheme+"://"+req.URL.Host)
	}
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.Request.URL, string(raw)
}

var (
	field  = regexp.MustCompile(`<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"`)
	action = regexp.MustCompile(`<form[^>]*action="([^"]*)"`)
)

// signIn fills in the provider's page.
func (b *browser) signIn(origin, user string) string {
	b.t.Helper()
	at, page := b.open(http.MethodGet, origin+"/", "")
	if !strings.Contains(page, `name="password"`) {
		b.t.Fatalf("no login page at %s", at)
	}
	form := url.Values{}
	for _, m := range field.FindAllStringSubmatch(page, -1) {
		form.Set(m[1], m[2])
	}
	form.Set("username", user)
	form.Set("password", user)
	if m := action.FindStringSubmatch(page); m != nil && m[1] != "" {
		var err error
		if at, err = at.Parse(strings.ReplaceAll(m[1], "&amp;", "&")); err != nil {
			b.t.Fatal(err)
		}
	}
	_, page = b.open(http.MethodPost, at.String(), form.Encode())
	return page
}

var replicaName = regexp.MustCompile(`from replica (.)`)

func start(t *testing.T, args ...string) (origin string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, append([]string{"-addr", "127.0.0.1:0"}, args...), write) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	printed := make(chan string, 1)
	go func() {
		line := make([]byte, 1024)
		n, _ := read.Read(line)
		printed <- string(line[:n])
	}()
	select {
	case line := <-printed:
		return regexp.MustCompile(`http://[^/ ]+`).FindString(line)
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	case <-time.After(20 * time.Second):
		t.Fatal("the program did not say where it is")
	}
	return ""
}

// redisServer starts a Redis of the test's own.
func redisServer(t *testing.T) (addr string) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("LATCHKEY_REQUIRE_SERVICES") != "" {
			t.Fatal(err)
		}
		t.Skipf("redis-server is needed (Debian: apt-get install redis-server): %v", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = listener.Addr().String()
	listener.Close()
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for range 100 {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return addr
		}
		time.Sleep(50 * time.Millisecond) // for another process
	}
	t.Fatal("redis-server does not listen")
	return ""
}

func TestBothReplicasKnowWhoIsSignedInAndWhoIsNoLonger(t *testing.T) {
	for _, c := range []struct {
		name string
		args func(t *testing.T) []string
	}{
		{"memory", func(*testing.T) []string { return []string{"-memory"} }},
		{"redis", func(t *testing.T) []string { return []string{"-redis", redisServer(t)} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			origin := start(t, c.args(t)...)
			alice, bob := newBrowser(t), newBrowser(t)
			if page := alice.signIn(origin, "alice"); !strings.Contains(page, "Hello Alice") {
				t.Fatalf("after login: %s", page)
			}
			if page := bob.signIn(origin, "bob"); !strings.Contains(page, "Hello Bob") {
				t.Fatalf("after login: %s", page)
			}
			seen := map[string]int{}
			for range 4 {
				_, page := alice.open(http.MethodGet, origin+"/", "")
				m := replicaName.FindStringSubmatch(page)
				if m == nil || !strings.Contains(page, "Hello Alice") || !strings.Contains(page, "(this one)") {
					t.Fatalf("not signed in: %s", page)
				}
				seen[m[1]]++
			}
			if fmt.Sprint(seen) != "map[A:2 B:2]" {
				t.Errorf("answered by %v", seen)
			}
			time.Sleep(1100 * time.Millisecond) // a login of the same second would have been after the logout
			alice.open(http.MethodPost, origin+"/provider-logout", "user=alice")
			for range 4 {
				if at, page := alice.open(http.MethodGet, origin+"/", ""); strings.Contains(page, "Hello Alice") {
					t.Fatalf("still signed in at %s", at)
				}
				if _, page := bob.open(http.MethodGet, origin+"/", ""); !strings.Contains(page, "Hello Bob") {
					t.Fatal("somebody else was logged out")
				}
			}
		})
	}
}

func TestARedisThatIsNotThereIsSaidClearly(t *testing.T) {
	err := run(t.Context(), []string{"-addr", "127.0.0.1:0", "-redis", "127.0.0.1:1"}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "redis-server --port") {
		t.Errorf("%v", err)
	}
}
