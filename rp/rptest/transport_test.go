package rptest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp/rptest"
)

func serve(t *testing.T, h http.HandlerFunc) *http.Client {
	t.Helper()
	p := newRig(t, rptest.Options{}).p
	p.HandleHost("App.example:8443", h)
	return p.Client()
}

const app = "https://app.example:8443/"

func TestUnknownHostsAreRefusedByName(t *testing.T) {
	c := serve(t, nil)
	if _, err := c.Get("https://other.example/secret?token=x"); err == nil || !strings.Contains(err.Error(), `"other.example"`) || !strings.Contains(err.Error(), "HandleHost") {
		t.Errorf("%v", err)
	}
	if _, err := c.Get("https://app.example/"); err == nil {
		t.Error("the port does not count")
	}
}

func TestHandlersSeeAServersRequest(t *testing.T) {
	var got *http.Request
	var body []byte
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusTeapot)
	})
	resp, err := c.Post(app+"a?b=c", "text/plain", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusTeapot || string(body) != "hello" || got.Host != "app.example:8443" || got.RequestURI != "/a?b=c" || got.TLS == nil || got.RemoteAddr == "" {
		t.Errorf("%s %q %+v", resp.Status, body, got)
	}
}

func TestAnswersAreReadWhileTheyAreWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "one")
			time.Sleep(time.Minute)
			io.WriteString(w, "two")
		})
		began := time.Now()
		resp, err := c.Get(app)
		if err != nil {
			t.Fatal(err)
		}
		part := make([]byte, 10)
		if n, err := resp.Body.Read(part); string(part[:n]) != "one" || err != nil || time.Since(began) != 0 {
			t.Errorf("%q %v after %v", part[:n], err, time.Since(began))
		}
		if rest, err := io.ReadAll(resp.Body); string(rest) != "two" || err != nil || time.Since(began) != time.Minute {
			t.Errorf("%q %v after %v", rest, err, time.Since(began))
		}
	})
}

func TestAHandlerEndsWhenItsClientHasGone(t *testing.T) {
	for name, leave := range map[string]func(*http.Response, context.CancelFunc){
		"closed":    func(r *http.Response, _ context.CancelFunc) { r.Body.Close() },
		"cancelled": func(_ *http.Response, cancel context.CancelFunc) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // a handler left behind is a deadlock here
				c := serve(t, func(w http.ResponseWriter, r *http.Request) {
					for {
						if _, err := w.Write(bytes.Repeat([]byte("x"), 1<<10)); err != nil {
							<-r.Context().Done()
							return
						}
					}
				})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, app, nil)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := c.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				leave(resp, cancel)
				synctest.Wait()
				if _, err := io.ReadAll(resp.Body); err == nil {
					t.Error("the body can still be read")
				}
			})
		})
	}
}

func TestPanicsAndShortBodiesAreErrors(t *testing.T) {
	if _, err := serve(t, func(http.ResponseWriter, *http.Request) { panic("oops") }).Get(app); err == nil || !strings.Contains(err.Error(), "oops") {
		t.Errorf("panic: %v", err)
	}
	resp, err := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		io.WriteString(w, "short")
	}).Get(app)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); string(body) != "short" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("short body: %q %v", body, err)
	}
	resp, err = serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "10") }).Head(app)
	if err != nil || resp.ContentLength != 10 {
		t.Errorf("HEAD: %v %v", resp, err)
	}
}
