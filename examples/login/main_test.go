package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/examples/internal/program"
)

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i+1 < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestMistakesOnTheCommandLineAreOneClearLine(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		env  func(string) string
		want string
	}{
		{[]string{"-addr", "nonsense"}, env(), "-addr"},
		{[]string{"-session", "disk"}, env(), "choose cookie or memory"},
		{[]string{"-issuer", "https://login.example"}, env(), "-client-id"},
		{[]string{"-client-id", "x"}, env(), "need -issuer"},
		{[]string{"-issuer", "http://127.0.0.1:1", "-client-id", "x"}, env(), "-insecure-http"},
		{[]string{"-issuer", "nonsense", "-client-id", "x"}, env(), "no URL"},
		{[]string{"-ca-file", "/does/not/exist"}, env(), "-ca-file"},
		{[]string{"-ca-file", empty}, env(), "no PEM certificate"},
		{[]string{"-unknown"}, env(), "-h"},
		{[]string{"stray"}, env(), "unexpected argument"},
		{nil, env("LOGIN_SESSION_KEY", "short"), "openssl rand"},
		{nil, env("OIDC_ISSUER", "https://login.example"), "-client-id"},
	} {
		_, err := configure(c.args, c.env, io.Discard)
		var usage program.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: %v, want one line with %q", c.args, err, c.want)
		}
	}
}

func TestInsecureHTTPReachesNoFurtherThanLoopback(t *testing.T) {
	cfg, err := configure([]string{"-issuer", "http://login.example", "-client-id", "x", "-insecure-http"}, env(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	cfg.settle(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080})
	if _, err := application(cfg); err == nil || !strings.Contains(err.Error(), "https") {
		t.Errorf("an http issuer on another host: %v", err)
	}
}

func TestSettingsComeFromTheEnvironment(t *testing.T) {
	cfg, err := configure([]string{"-scopes", "openid email", "-session", "memory"}, env("OIDC_ISSUER", "https://login.example", "OIDC_CLIENT_ID", "id", "OIDC_CLIENT_SECRET", "secret"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.issuer != "https://login.example" || cfg.clientID != "id" || cfg.clientSecret != "secret" || len(cfg.scopes) != 2 || cfg.store == nil || cfg.embedded {
		t.Errorf("%+v", cfg.scopes)
	}
}

// start runs the program on a free port and returns where it is.
func start(t *testing.T, args ...string) string {
	t.Helper()
	out := &lines{first: make(chan string, 1)}
	cfg, err := configure(append([]string{"-addr", "127.0.0.1:0"}, args...), env(), out)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, cfg) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case line := <-out.first:
		return strings.TrimSuffix(strings.TrimSpace(strings.TrimPrefix(line, "Open ")), "/")
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	case <-time.After(20 * time.Second):
		t.Fatal("the program did not say where it is")
	}
	return ""
}

type lines struct{ first chan string }

func (l *lines) Write(p []byte) (int, error) {
	select {
	case l.first <- string(p):
	default:
	}
	return len(p), nil
}

var field = regexp.MustCompile(`<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"`)

// TestSomebodyLogsInAndOut walks the whole way on the embedded provider, as a browser without scripts would, with each kind of session.
func TestSomebodyLogsInAndOut(t *testing.T) {
	for _, store := range []string{"cookie", "memory"} {
		t.Run(store, func(t *testing.T) {
			origin := start(t, "-session", store)
			jar, err := cookiejar.New(nil)
			if err != nil {
				t.Fatal(err)
			}
			browser := &http.Client{Jar: jar, Timeout: 20 * time.Second}
			page := func(resp *http.Response, err error) (string, string) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				return resp.Request.URL.String(), string(body)
			}
			get := func(path string) (string, string) {
				t.Helper()
				req, err := http.NewRequest(http.MethodGet, path, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Accept", "text/html")
				return page(browser.Do(req))
			}
			submit := func(at, body string, also url.Values) (string, string) {
				t.Helper()
				form := url.Values{}
				for _, m := range field.FindAllStringSubmatch(body, -1) {
					form.Set(m[1], m[2])
				}
				for name, v := range also {
					form[name] = v
				}
				action := regexp.MustCompile(`<form[^>]*action="([^"]*)"`).FindStringSubmatch(body)
				to, err := url.Parse(at)
				if err != nil {
					t.Fatal(err)
				}
				if action != nil && action[1] != "" {
					if to, err = to.Parse(strings.ReplaceAll(action[1], "&amp;", "&")); err != nil {
						t.Fatal(err)
					}
				}
				req, err := http.NewRequest(http.MethodPost, to.String(), strings.NewReader(form.Encode()))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				req.Header.Set("Accept", "text/html")
				req.Header.Set("Origin", to.Scheme+"://"+to.Host)
				return page(browser.Do(req))
			}
			if _, body := get(origin + "/"); !strings.Contains(body, "The password is the name") {
				t.Error("the public page does not tell who may sign in")
			}
			at, body := get(origin + "/private")
			if !strings.Contains(body, `name="password"`) {
				t.Fatalf("no login page at %s", at)
			}
			at, body = submit(at, body, url.Values{"username": {"alice"}, "password": {"alice"}})
			if strings.Contains(body, `id="allow"`) {
				button := regexp.MustCompile(`<button[^>]*id="allow"[^>]*>`).FindString(body)
				also := url.Values{}
				if m := regexp.MustCompile(`name="([^"]+)"[^>]*value="([^"]*)"`).FindStringSubmatch(button); m != nil {
					also.Set(m[1], m[2])
				}
				at, body = submit(at, body, also)
			}
			if at != origin+"/private" || !strings.Contains(body, "alice@") {
				t.Fatalf("after login at %s: %s", at, body)
			}
			if _, body := get(origin + "/private/api"); !strings.Contains(body, "brass latchkey") {
				t.Errorf("the API page: %s", body)
			}
			if _, body := page(browser.Get(origin + "/auth/session")); !strings.Contains(body, `"subject":"alice"`) || strings.Contains(body, "token\":") {
				t.Errorf("the session route: %s", body)
			}
			req, _ := http.NewRequest(http.MethodPost, origin+"/auth/logout", strings.NewReader("local=1"))
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if at, _ := page(browser.Do(req)); at != origin+"/" {
				t.Errorf("after logout at %s", at)
			}
			if resp, err := browser.Get(origin + "/auth/session"); err != nil || resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("still signed in: %v %v", resp, err)
			}
		})
	}
}

func TestTheOrdersServiceWantsAToken(t *testing.T) {
	origin := start(t)
	for _, authorization := range []string{"", "Bearer made-up", "Basic YTpi"} {
		req, err := http.NewRequest(http.MethodGet, origin+"/orders", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", authorization)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%q: %s", authorization, resp.Status)
		}
	}
}

func TestHelpListsTheFlags(t *testing.T) {
	var out bytes.Buffer
	if _, err := configure([]string{"-h"}, env(), &out); !errors.Is(err, program.ErrHelp) || !strings.Contains(out.String(), "-issuer") {
		t.Errorf("%v\n%s", err, out.String())
	}
}
