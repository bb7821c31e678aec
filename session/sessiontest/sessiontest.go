// Package sessiontest checks that a gorilla sessions.Store can keep the sessions of this SDK:
//
//	func TestStore(t *testing.T) {
//		sessiontest.Run(t, func(t *testing.T) sessions.Store { return newStore(t) })
//	}
//
// It asks of a store what package session builds on: one []byte under one string key, written by Save, read by New, gone after a Save with a
// negative MaxAge, and cookies with the attributes of the session's Options. What gorilla's interface can't promise to anyone (compare-and-swap) is not asked.
package sessiontest

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/sessions"
)

const (
	name = "sessiontest"
	key  = "value"
)

// Run runs the suite. newStore returns an empty store, or one that holds nothing of earlier calls; it is called once for each check.
// The largest value that fits is logged.
func Run(t *testing.T, newStore func(t *testing.T) sessions.Store) {
	for _, check := range []struct {
		name string
		run  func(t *testing.T, store sessions.Store)
	}{
		{"a request without cookie has a new session", anonymous},
		{"a saved value is read back", readBack},
		{"bytes come back as they were", binaryValues},
		{"a later value replaces the earlier one", overwrite},
		{"New sees what another request saved", newIsNotCached},
		{"a deleted session is gone", deletion},
		{"a session made without cookies gets an id of its own", freshID},
		{"an altered cookie is no session", tampering},
		{"a foreign cookie is not adopted", adoption},
		{"two browsers are kept apart", twoBrowsers},
		{"two names are kept apart", twoNames},
		{"cookies have the attributes asked for", attributes},
		{"a failed read is never an old session", noErrorWithValues},
		{"many requests at once", concurrency},
		{"3 KB fit or are refused whole", sizes},
	} {
		t.Run(check.name, func(t *testing.T) { check.run(t, newStore(t)) })
	}
}

// browser keeps cookies between requests.
type browser map[string]string

func (b browser) request() *http.Request {
	r := httptest.NewRequest(http.MethodGet, "https://shop.example/", nil)
	for name, value := range b {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	return r
}

func (b browser) take(w *httptest.ResponseRecorder) {
	for _, c := range w.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(b, c.Name)
		} else {
			b[c.Name] = c.Value
		}
	}
}

func (b browser) clone() browser {
	c := browser{}
	for name, value := range b {
		c[name] = value
	}
	return c
}

func options(maxAge int) *sessions.Options {
	return &sessions.Options{Path: "/", MaxAge: maxAge, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
}

// save writes value through New and Save.
func (b browser) save(store sessions.Store, value []byte) error {
	r := b.request()
	s, err := store.New(r, name)
	if err != nil {
		return fmt.Errorf("reading by New: %w", err)
	}
	s.Options = options(3600)
	s.Values[key] = value
	w := httptest.NewRecorder()
	if err := store.Save(r, w, s); err != nil {
		return fmt.Errorf("saving: %w", err)
	}
	b.take(w)
	return nil
}

func (b browser) mustSave(t *testing.T, store sessions.Store, value string) {
	t.Helper()
	if err := b.save(store, []byte(value)); err != nil {
		t.Fatal(err)
	}
}

// read returns the value; ok is false for a new session, or an error. A store of JSON may give the bytes back as text.
func (b browser) read(store sessions.Store) (value any, ok bool) {
	s, err := store.New(b.request(), name)
	if err != nil || s == nil || s.IsNew {
		return nil, false
	}
	value, ok = s.Values[key]
	return value, ok
}

func (b browser) wantValue(t *testing.T, store sessions.Store, want string) {
	t.Helper()
	s, err := store.New(b.request(), name)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	if s.IsNew {
		t.Fatal("the session is new, want the saved one (IsNew must be false)")
	}
	if got, ok := s.Values[key].([]byte); !ok || string(got) != want {
		t.Fatalf("the value is a %T of other content, want []byte as saved", s.Values[key])
	}
}

func (b browser) wantNone(t *testing.T, store sessions.Store, why string) {
	t.Helper()
	if _, ok := b.read(store); ok {
		t.Fatalf("%s: a session was read, want none", why)
	}
}

func anonymous(t *testing.T, store sessions.Store) {
	s, err := store.New(browser{}.request(), name)
	if err != nil || s == nil || !s.IsNew || s.Values == nil || len(s.Values) != 0 {
		t.Fatalf("New of a request without cookies: error %v; want an empty session with IsNew", err)
	}
}

func readBack(t *testing.T, store sessions.Store) {
	b := browser{}
	b.mustSave(t, store, "value")
	if _, ok := b[name]; !ok {
		t.Fatalf("no cookie has the session's name: package session finds and deletes it by name")
	}
	b.wantValue(t, store, "value")
	b.wantValue(t, store, "value")
}

func binaryValues(t *testing.T, store sessions.Store) {
	var all [256]byte
	for i := range all {
		all[i] = byte(i)
	}
	for _, value := range []string{"", "\x00", string(all[:]), "\xff\xfe", `{"json":"<&>\u0000"}`} {
		b := browser{}
		b.mustSave(t, store, value)
		b.wantValue(t, store, value)
	}
}

func overwrite(t *testing.T, store sessions.Store) {
	b := browser{}
	for _, value := range []string{"one", "a longer second value", "3"} {
		b.mustSave(t, store, value)
		b.wantValue(t, store, value)
	}
}

// newIsNotCached: only Get may answer from the request's registry.
func newIsNotCached(t *testing.T, store sessions.Store) {
	b := browser{}
	b.mustSave(t, store, "one")
	r := b.request()
	s, err := store.New(r, name)
	if err != nil {
		t.Fatal(err)
	}
	s.Values[key] = []byte("not saved")
	again, err := store.New(r, name)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := again.Values[key].([]byte); !ok || string(got) != "one" {
		t.Fatal("New gives what was not saved: changes of one request reach another")
	}
	b.mustSave(t, store, "two")
	b.wantValue(t, store, "two")
}

func deletion(t *testing.T, store sessions.Store) {
	b := browser{}
	b.mustSave(t, store, "value")
	r := b.request()
	s, err := store.New(r, name)
	if err != nil {
		t.Fatal(err)
	}
	serverSide := s.ID != ""
	before := b.clone()
	s.Options = options(-1)
	w := httptest.NewRecorder()
	if err := store.Save(r, w, s); err != nil {
		t.Fatalf("Save with MaxAge -1: %v", err)
	}
	b.take(w)
	if _, ok := b[name]; ok {
		t.Fatal("the browser still has the cookie: Save with MaxAge -1 must delete it")
	}
	b.wantNone(t, store, "after the deletion")
	if serverSide {
		before.wantNone(t, store, "with the cookie from before the deletion")
	}
}

func freshID(t *testing.T, store sessions.Store) {
	ids := map[string]bool{}
	for range 20 {
		b := browser{}
		b.mustSave(t, store, "value")
		s, err := store.New(b.request(), name)
		if err != nil {
			t.Fatal(err)
		}
		if s.ID != "" && ids[s.ID] {
			t.Fatal("two sessions have one id")
		}
		ids[s.ID] = true
	}
}

func tampering(t *testing.T, store sessions.Store) {
	b := browser{}
	b.mustSave(t, store, "value")
	value := b[name]
	tried := 0
	for i := range value {
		for _, changed := range []string{
			value[:i] + string(other(value[i])) + value[i+1:],
			value[:i],
		} {
			altered := b.clone()
			altered[name] = changed
			// Base64 without care for its last bits has several texts for the same bytes: that one is no forgery.
			if got, ok := altered.read(store); ok && !(i >= len(value)-4 && same(got, "value")) {
				t.Fatalf("the cookie altered at byte %d of %d is still a session", i, len(value))
			}
			tried++
		}
	}
	for _, junk := range []string{"", "junk", "../../etc/passwd", strings.Repeat("A", 8000), "%00", value + value} {
		altered := browser{name: junk}
		altered.wantNone(t, store, "junk in the cookie")
		tried++
	}
	if tried < 20 {
		t.Fatalf("only %d alterations were tried", tried)
	}
}

func other(c byte) byte {
	if c == 'A' {
		return 'B'
	}
	return 'A'
}

func same(got any, want string) bool {
	b, ok := got.([]byte)
	return ok && string(b) == want
}

// adoption plants the look of a session that was never given out.
func adoption(t *testing.T, store sessions.Store) {
	for _, planted := range []string{"planted", strings.Repeat("a", 43), strings.Repeat("A", 52)} {
		b := browser{name: planted}
		b.wantNone(t, store, "a planted cookie")
		s, _ := store.New(b.request(), name)
		if s == nil {
			t.Fatal("New gave no session at all: gorilla's contract asks for one beside every error")
		}
		if s.ID == planted {
			t.Fatal("the id that came in the cookie was taken up")
		}
	}
}

func twoBrowsers(t *testing.T, store sessions.Store) {
	one, two := browser{}, browser{}
	one.mustSave(t, store, "one")
	two.mustSave(t, store, "two")
	if one[name] == two[name] {
		t.Fatal("two browsers got the same cookie")
	}
	one.wantValue(t, store, "one")
	two.wantValue(t, store, "two")
	one.mustSave(t, store, "one again")
	two.wantValue(t, store, "two")
}

func twoNames(t *testing.T, store sessions.Store) {
	b := browser{}
	b.mustSave(t, store, "value")
	renamed := browser{"another": b[name]}
	if s, err := store.New(renamed.request(), "another"); err == nil && s != nil && !s.IsNew {
		t.Fatal("a cookie under another name is still a session")
	}
}

func attributes(t *testing.T, store sessions.Store) {
	r := browser{}.request()
	s, err := store.New(r, name)
	if err != nil {
		t.Fatal(err)
	}
	for _, maxAge := range []int{600, -1} {
		s.Options = options(maxAge)
		s.Values[key] = []byte("value")
		w := httptest.NewRecorder()
		if err := store.Save(r, w, s); err != nil {
			t.Fatal(err)
		}
		b := browser{}
		b.take(w)
		if maxAge > 0 {
			r = b.request()
		}
		cookies := w.Result().Cookies()
		if len(cookies) == 0 {
			t.Fatalf("MaxAge %d: Save set no cookie", maxAge)
		}
		for _, c := range cookies {
			if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != maxAge {
				t.Errorf("MaxAge %d: cookie %q doesn't have the session's Options: %v", maxAge, c.Name, c.Raw[strings.Index(c.Raw, ";"):])
			}
		}
	}
}

func noErrorWithValues(t *testing.T, store sessions.Store) {
	b := browser{}
	b.mustSave(t, store, "value")
	b[name] += "x"
	s, err := store.New(b.request(), name)
	if err != nil && s != nil && !s.IsNew {
		t.Fatal("New gave an error together with a session that isn't new")
	}
}

func concurrency(t *testing.T, store sessions.Store) {
	var wg sync.WaitGroup
	shared := browser{}
	shared.mustSave(t, store, "shared")
	for i := range 16 {
		wg.Go(func() {
			own := browser{}
			for n := range 8 {
				value := fmt.Sprintf("browser %d, write %d", i, n)
				if err := own.save(store, []byte(value)); err != nil {
					t.Error(err)
					return
				}
				if got, ok := own.read(store); !ok || !same(got, value) {
					t.Errorf("browser %d reads something else than it saved", i)
					return
				}
				if err := shared.clone().save(store, []byte("shared")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got, ok := shared.read(store); !ok || !same(got, "shared") {
		t.Error("saves of one session at once left it damaged")
	}
}

// sizes needs 1.5 KB, which is a small provider's tokens; up to 3 KB a store has to keep a value whole or refuse it.
func sizes(t *testing.T, store sessions.Store) {
	largest := 0
	for size := 256; size <= 64<<10; size += 256 {
		b := browser{}
		b.mustSave(t, store, "before")
		value := bytes.Repeat([]byte{0xA5, byte(size)}, size/2)
		if err := b.save(store, value); err != nil {
			if size <= 1536 {
				t.Fatalf("%d bytes are refused: %v", size, err)
			}
			b.wantValue(t, store, "before")
			break
		}
		b.wantValue(t, store, string(value))
		largest = size
	}
	t.Logf("the largest value kept has %d bytes", largest)
	if largest < 3<<10 {
		t.Logf("provider tokens are often larger: with package session prefer its own stores")
	}
}
