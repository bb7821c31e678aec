package middleware_test

import (
	"bytes"
	"context"
	"errors"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/session"
)

func TestLogoutEverywhereIsHeardInEveryEncodingOrNotAtAll(t *testing.T) {
	var parts bytes.Buffer
	form := multipart.NewWriter(&parts)
	form.WriteField("everywhere", "1")
	form.WriteField("local", "1")
	form.Close()
	for name, c := range map[string]struct {
		kind, body string
		want       int
		others     int // what the user's other browser gets afterwards
	}{
		"a form":              {"application/x-www-form-urlencoded", "everywhere=1&local=1", 303, 401},
		"FormData":            {form.FormDataContentType(), parts.String(), 303, 401},
		"JSON":                {"application/json", `{"everywhere":"1"}`, 400, 200},
		"a form without name": {"", "everywhere=1", 400, 200},
		"a mangled type":      {"application/x-www-form-urlencoded; =", "everywhere=1", 400, 200},
		"a FormData cut off":  {form.FormDataContentType(), parts.String()[:parts.Len()/2], 400, 200},
		"FormData too large":  {form.FormDataContentType(), strings.Replace(parts.String(), "\r\n1\r\n", "\r\n"+strings.Repeat("1", 20<<10)+"\r\n", 1), 400, 200},
		"no form":             {"", "", 303, 200},
		"an empty text":       {"text/plain;charset=UTF-8", "", 303, 200},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, setup{})
			one, two := s.provider.Browser(), s.provider.Browser()
			s.open(one, "/orders")
			s.open(two, "/orders")
			r := httptest.NewRequest("POST", shop+"/auth/logout", strings.NewReader(c.body))
			if name == "an empty text" {
				r.ContentLength = -1 // chunked
			}
			if c.kind != "" {
				r.Header.Set("Content-Type", c.kind)
			}
			for _, cookie := range one.Cookies(shop + "/") {
				r.AddCookie(cookie)
			}
			w := httptest.NewRecorder()
			s.handler().ServeHTTP(w, r)
			if w.Code != c.want || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%d, want %d; %v", w.Code, c.want, w.Header())
			}
			if got := s.do(two, "GET", "/auth/session", "").StatusCode; got != c.others {
				t.Errorf("the other browser: %d, want %d", got, c.others)
			}
			if w.Code == 400 && s.do(one, "GET", "/auth/session", "").StatusCode != 200 {
				t.Error("a form that was refused has ended the session")
			}
		})
	}
}

// brokenLedger takes nothing while it is broken.
type brokenLedger struct {
	session.Ledger
	broken atomic.Bool
}

func (l *brokenLedger) Revoke(ctx context.Context, key string, at, until time.Time) error {
	if l.broken.Load() {
		return errors.New("disk full")
	}
	return l.Ledger.Revoke(ctx, key, at, until)
}

func TestLogoutEverywhereThatWasNotWrittenDownCanBeTriedAgain(t *testing.T) {
	ledger := &brokenLedger{Ledger: session.NewMemoryLedger(0)}
	s := newSite(t, setup{session: session.Config{Ledger: ledger}})
	one, two := s.provider.Browser(), s.provider.Browser()
	s.open(one, "/orders")
	s.open(two, "/orders")
	everywhere := map[string][]string{"everywhere": {"1"}, "local": {"1"}}
	ledger.broken.Store(true)
	if page := s.post(one, "/auth/logout", everywhere); page.Status != 503 || !strings.Contains(page.Body, "You are not signed out") {
		t.Fatalf("while the ledger is broken: %d %s", page.Status, page.Body)
	}
	ledger.broken.Store(false)
	if page := s.post(one, "/auth/logout", everywhere); page.Body != "goodbye" {
		t.Fatalf("the second try: %d %s", page.Status, page.Body)
	}
	for name, b := range map[string]interface{ Cookies(string) []*http.Cookie }{"the one": one, "the other": two} {
		r := httptest.NewRequest("GET", shop+"/auth/session", nil)
		for _, c := range b.Cookies(shop + "/") {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		if s.handler().ServeHTTP(w, r); w.Code != 401 {
			t.Errorf("%s browser after a logout everywhere that succeeded: %d", name, w.Code)
		}
	}
}

func TestALogoutThatWasNotWrittenDownSaysWhatItDid(t *testing.T) {
	ledger := &brokenLedger{Ledger: session.NewMemoryLedger(0)}
	s := newSite(t, setup{session: session.Config{Ledger: ledger}})
	b := s.provider.Browser()
	s.open(b, "/orders")
	ledger.broken.Store(true)
	page := s.post(b, "/auth/logout", map[string][]string{"local": {"1"}})
	if page.Status != 503 || !strings.Contains(page.Body, "You are signed out in this browser") || strings.Contains(page.Body, "not signed out") {
		t.Errorf("%d %s", page.Status, page.Body)
	}
	if got := s.do(b, "GET", "/auth/session", "").StatusCode; got != 401 {
		t.Errorf("afterwards: %d", got)
	}
}

// A page whose policy is no-referrer posts its form with "Origin: null", which is nobody's.
func TestTheFormThatConfirmsALogoutIsSentWithAnOrigin(t *testing.T) {
	s := newSite(t, setup{})
	if got := s.do(nil, "GET", "/auth/logout", "", navigation...).Header.Get("Referrer-Policy"); got != "same-origin" {
		t.Errorf("Referrer-Policy %q", got)
	}
}

func TestALoginAboveTheBoundIsTheUsersToMend(t *testing.T) {
	store, err := session.NewServerStore(session.NewMemoryBackend(0), []byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, setup{session: session.Config{Store: store, MaxSessions: 1, RefuseMore: true}})
	one, two := s.provider.Browser(), s.provider.Browser()
	s.open(one, "/orders")
	if page := s.open(two, "/orders"); page.Status != 403 || !strings.Contains(page.Body, "Sign out in another browser") {
		t.Errorf("%d %s", page.Status, page.Body)
	}
	if got := s.do(one, "GET", "/auth/session", "").StatusCode; got != 200 {
		t.Errorf("the first browser: %d", got)
	}
}

func TestLogoutEverywhereBySomebodyNobodyKnowsAnyMoreIsNoSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{session: session.Config{Idle: 10 * time.Minute}})
		one, two := s.provider.Browser(), s.provider.Browser()
		s.open(one, "/orders")
		s.open(two, "/orders")
		for range 3 {
			time.Sleep(4 * time.Minute)
			s.open(two, "/orders")
		}
		page := s.post(one, "/auth/logout", map[string][]string{"everywhere": {"1"}, "local": {"1"}})
		if page.Status != 401 || !strings.Contains(page.Body, "the session has ended") {
			t.Errorf("%d %s", page.Status, page.Body)
		}
		if got := s.do(two, "GET", "/auth/session", "").StatusCode; got != 200 {
			t.Errorf("the other browser: %d", got)
		}
		// Who is signed out already, and clicks once more, has what was asked for.
		fresh := s.provider.Browser()
		s.open(fresh, "/orders")
		for range 2 {
			if page := s.post(fresh, "/auth/logout", map[string][]string{"everywhere": {"1"}, "local": {"1"}}); page.Body != "goodbye" {
				t.Errorf("%d %s", page.Status, page.Body)
			}
		}
	})
}
