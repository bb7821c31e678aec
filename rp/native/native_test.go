package native_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/native"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

func provider(t *testing.T) (*rptest.Provider, rp.Config) {
	t.Helper()
	op := rptest.Start(t, rptest.Options{Clients: []rptest.Client{{ID: "cli", AuthMethod: "none"}}})
	return op, rp.Config{Issuer: op.Issuer(), ClientID: "cli", InsecureLoopbackHTTP: true}
}

// visit goes where a browser would, and returns the last page; stop before the request whose path is stop.
func visit(t *testing.T, target, stop string) (status int, body string, header http.Header, last *url.URL) {
	t.Helper()
	browser := http.Client{}
	browser.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if r.URL.Path == stop {
			return http.ErrUseLastResponse
		}
		return nil
	}
	resp, err := browser.Get(target)
	if err != nil {
		t.Error(err)
		return 0, "", nil, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	last = resp.Request.URL
	if back, err := resp.Location(); err == nil {
		last = back
	}
	return resp.StatusCode, string(text), resp.Header, last
}

func TestLoginComesBackToTheLoopback(t *testing.T) {
	for _, mode := range []string{"", "form_post"} {
		op, cfg := provider(t)
		cfg.ResponseMode = mode
		shown := make(chan struct{})
		open := func(_ context.Context, target string) error {
			go func() {
				defer close(shown)
				if mode == "form_post" {
					_, _, _, back := visit(t, strings.Replace(target, "response_mode=form_post", "response_mode=query", 1), "/callback")
					if resp, err := http.Get(back.String()); err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
						t.Errorf("a GET where a POST was asked for: %v, %v", resp, err)
					}
					resp, err := http.PostForm("http://"+back.Host+"/callback", back.Query())
					if err != nil || resp.StatusCode != http.StatusOK {
						t.Errorf("form_post ends with %v, %v", resp, err)
					}
					return
				}
				status, body, header, last := visit(t, target, "")
				if status != 200 || !strings.Contains(body, "You can close this window") || last.Hostname() != "127.0.0.1" {
					t.Errorf("the page at %v is %d: %s", last, status, body)
				}
				for name, want := range map[string]string{"Content-Security-Policy": "default-src 'none'", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"} {
					if !strings.Contains(header.Get(name), want) {
						t.Errorf("%s is %q", name, header.Get(name))
					}
				}
			}()
			return nil
		}
		var out strings.Builder
		client, tokens, err := native.Login(t.Context(), cfg, native.Options{Open: open, Out: &out, Timeout: 20 * time.Second, Params: rp.AuthParams{Scopes: []string{"offline_access"}}})
		if err != nil {
			t.Fatal(err)
		}
		<-shown
		if tokens.IDToken.Subject != "alice" || tokens.OAuth2.RefreshToken == "" || !strings.HasPrefix(client.RedirectURL(), "http://127.0.0.1:") || !strings.HasPrefix(out.String(), "Log in at "+op.Issuer()) {
			t.Errorf("%v, %v, %q", client, tokens, out.String())
		}
		if _, err := http.Get(client.RedirectURL()); err == nil {
			t.Error("the listener is still there")
		}
	}
}

// Whoever can reach the port can't end the login, nor put one of theirs in its place.
func TestStrangersAtThePortChangeNothing(t *testing.T) {
	_, cfg := provider(t)
	open := func(_ context.Context, target string) error {
		go func() {
			_, _, _, back := visit(t, target, "/callback")
			query := back.Query()
			ask := func(method, where, host string, body io.Reader, want int) {
				t.Helper()
				req, err := http.NewRequest(method, where, body)
				if err != nil {
					t.Error(err)
					return
				}
				req.Host = host
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
				if resp.StatusCode != want {
					t.Errorf("%s %s as %q: %d, want %d", method, where, host, resp.StatusCode, want)
				}
			}
			with := func(name, value string) string {
				changed := url.Values{}
				for k, v := range query {
					changed[k] = v
				}
				changed.Set(name, value)
				return "http://" + back.Host + "/callback?" + changed.Encode()
			}
			ask(http.MethodGet, with("state", "another"), "", nil, http.StatusBadRequest)
			ask(http.MethodGet, with("state", ""), "", nil, http.StatusBadRequest)
			ask(http.MethodGet, "http://"+back.Host+"/callback?error=access_denied&error_description=no", "", nil, http.StatusBadRequest)
			ask(http.MethodGet, "http://"+back.Host+"/callback?%zz", "", nil, http.StatusBadRequest)
			ask(http.MethodGet, back.String(), "evil.example", nil, http.StatusMisdirectedRequest)
			ask(http.MethodGet, back.String(), "localhost:"+back.Port(), nil, http.StatusMisdirectedRequest)
			ask(http.MethodPost, back.String(), "", strings.NewReader("x"), http.StatusMethodNotAllowed)
			ask(http.MethodHead, back.String(), "", nil, http.StatusMethodNotAllowed)
			ask(http.MethodGet, "http://"+back.Host+"/favicon.ico", "", nil, http.StatusNotFound)
			ask(http.MethodGet, back.String(), "", nil, http.StatusOK)
		}()
		return nil
	}
	_, tokens, err := native.Login(t.Context(), cfg, native.Options{Open: open, Out: io.Discard, Timeout: 20 * time.Second})
	if err != nil || tokens.IDToken.Subject != "alice" {
		t.Errorf("%v, %v", tokens, err)
	}
}

func TestARefusalIsShownAndReturned(t *testing.T) {
	op, cfg := provider(t)
	open := func(_ context.Context, target string) error {
		go func() {
			_, _, _, back := visit(t, target, "/callback")
			answer := url.Values{"state": {back.Query().Get("state")}, "iss": {op.Issuer()}, "error": {"access_denied"}, "error_description": {"<script>alert(1)</script>"}}
			status, body, _, _ := visit(t, "http://"+back.Host+"/callback?"+answer.Encode(), "")
			if status != http.StatusForbidden || !strings.Contains(body, "Not logged in") || !strings.Contains(body, "&lt;script&gt;") || strings.Contains(body, "<script") {
				t.Errorf("%d: %s", status, body)
			}
		}()
		return nil
	}
	_, tokens, err := native.Login(t.Context(), cfg, native.Options{Open: open, Out: io.Discard, Timeout: 20 * time.Second})
	var refused *rp.ProviderError
	if tokens != nil || !errors.As(err, &refused) || refused.Code != "access_denied" {
		t.Errorf("%v, %v", tokens, err)
	}
}

func TestALoginEndsInTime(t *testing.T) {
	_, cfg := provider(t)
	var out strings.Builder
	began := time.Now()
	_, _, err := native.Login(t.Context(), cfg, native.Options{Open: func(context.Context, string) error { return errors.New("no browser") }, Out: &out, Timeout: 50 * time.Millisecond})
	if !errors.Is(err, native.ErrTimeout) || time.Since(began) > 30*time.Second || !strings.Contains(out.String(), "open it yourself") {
		t.Errorf("%v, %q", err, out.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, _, err = native.Login(ctx, cfg, native.Options{Open: func(context.Context, string) error { cancel(); return nil }, Out: io.Discard})
	if !errors.Is(err, context.Canceled) || errors.Is(err, native.ErrTimeout) {
		t.Errorf("%v", err)
	}
}

func TestTheListenerIsOnTheLoopback(t *testing.T) {
	_, cfg := provider(t)
	for _, address := range []string{"0.0.0.0:0", "192.0.2.1:80", "localhost:0", "127.0.0.1", ":8080", "nonsense"} {
		_, _, err := native.Login(t.Context(), cfg, native.Options{Address: address, Out: io.Discard})
		if err == nil || !strings.Contains(err.Error(), "no loopback address") {
			t.Errorf("%s: %v", address, err)
		}
	}
	cfg.Issuer = "nonsense"
	if _, _, err := native.Login(t.Context(), cfg, native.Options{Address: "127.0.0.1:0", Out: io.Discard}); err == nil {
		t.Error("a wrong issuer")
	}
}

// The system's browser is what xdg-open is on the PATH.
func TestTheSystemsBrowserIsOpened(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("puts an xdg-open of its own on the PATH")
	}
	_, cfg := provider(t)
	dir := t.TempDir()
	opened := filepath.Join(dir, "opened")
	script := "#!/bin/sh\nprintf '%s' \"$1\" > " + opened + ".new\nmv " + opened + ".new " + opened + "\n"
	if err := os.WriteFile(filepath.Join(dir, "xdg-open"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	go func() {
		for range 500 {
			if target, err := os.ReadFile(opened); err == nil {
				visit(t, string(target), "")
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Error("nothing was opened")
	}()
	if _, _, err := native.Login(t.Context(), cfg, native.Options{Out: io.Discard, Timeout: 20 * time.Second}); err != nil {
		t.Error(err)
	}
}

// A code that is being redeemed when the time is up brings its tokens to the program, as the page says.
func TestALoginThatIsAnsweredLastIsNotThrownAway(t *testing.T) {
	op, cfg := provider(t)
	op.Fault(rptest.Token, rptest.Late(time.Second))
	open := func(_ context.Context, target string) error {
		go visit(t, target, "")
		return nil
	}
	_, tokens, err := native.Login(t.Context(), cfg, native.Options{Open: open, Out: io.Discard, Timeout: 500 * time.Millisecond})
	if err != nil || tokens.IDToken.Subject != "alice" {
		t.Errorf("%v, %v", tokens, err)
	}
}

func TestASilentConnectionKeepsNobodyWaiting(t *testing.T) {
	_, cfg := provider(t)
	open := func(_ context.Context, target string) error {
		go func() {
			_, _, _, back := visit(t, target, "/callback")
			conn, err := net.Dial("tcp", back.Host)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { conn.Close() })
			visit(t, back.String(), "")
		}()
		return nil
	}
	began := time.Now()
	if _, _, err := native.Login(t.Context(), cfg, native.Options{Open: open, Out: io.Discard, Timeout: 20 * time.Second}); err != nil || time.Since(began) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}
