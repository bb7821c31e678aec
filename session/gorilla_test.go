package session

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
)

func gorillaOf(t testing.TB, store sessions.Store) keeper {
	t.Helper()
	k, err := newKeeper(store, testAttributes, ringOf(t, key(1)), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := k.(*gorillaKeeper); !ok {
		t.Fatalf("%T is kept by %T", store, k)
	}
	if k.exclusive() {
		t.Fatal("a foreign store is said to be this process's own")
	}
	return k
}

func TestKeepersNeedGoodKeysAndAStore(t *testing.T) {
	if _, err := newKeeper(sessions.NewCookieStore(key(2)), testAttributes, &Keyring{}, ""); err == nil {
		t.Fatal("sealed under a key of 8 bytes")
	}
	for _, store := range []sessions.Store{nil, &CookieStore{}, &MemoryStore{}} {
		if k, err := newKeeper(store, testAttributes, ringOf(t, key(1)), ""); err == nil {
			t.Errorf("%T is kept by %T", store, k)
		}
	}
}

// TestAFileStoreHoldsNoPlainToken reads what a thief of the directory would read.
func TestAFileStoreHoldsNoPlainToken(t *testing.T) {
	dir := t.TempDir()
	k, b := gorillaOf(t, sessions.NewFilesystemStore(dir, key(2))), newBrowser()
	b.create(t, k, "marked-token", hour())
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	layers := string(content)
	for range 3 { // securecookie encodes twice
		wantNoSecret(t, layers, "marked-token", hex.EncodeToString([]byte("marked")), base64.StdEncoding.EncodeToString([]byte("marked")))
		once, err := base64.URLEncoding.DecodeString(strings.Split(layers, "|")[0])
		if err != nil {
			break
		}
		layers = string(once)
		if parts := strings.Split(layers, "|"); len(parts) > 1 {
			layers = parts[1]
		}
	}
	b.load(t, k)
}

// TestAPlainGorillaCookieHoldsNoPlainToken: sessions.NewCookieStore with one key signs and doesn't encrypt.
func TestAPlainGorillaCookieHoldsNoPlainToken(t *testing.T) {
	foreign := sessions.NewCookieStore(key(2))
	k, b := gorillaOf(t, foreign), newBrowser()
	b.create(t, k, "marked-token", hour())
	s, err := foreign.New(b.request(), testAttributes.name)
	if err != nil || len(s.Values) != 1 {
		t.Fatalf("%v: %d values", err, len(s.Values))
	}
	stored, ok := s.Values[gorillaValue].([]byte)
	if !ok {
		t.Fatalf("stored as %T", s.Values[gorillaValue])
	}
	wantNoSecret(t, string(stored), "marked-token")
}

func TestALoginDeletesTheFileOfTheSessionBefore(t *testing.T) {
	dir := t.TempDir()
	k, b := gorillaOf(t, sessions.NewFilesystemStore(dir, key(2))), newBrowser()
	names := map[string]bool{}
	for range 3 {
		b.create(t, k, "data", hour())
		files, _ := filepath.Glob(filepath.Join(dir, "*"))
		if len(files) != 1 || names[files[0]] {
			t.Fatalf("files: %d, or the same again", len(files))
		}
		names[files[0]] = true
	}
	have := b.load(t, k)
	b.remove(t, k, &have)
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 0 {
		t.Fatalf("%d files after the end", len(files))
	}
}

func TestAForeignRecordThatIsGoneIsNotRevived(t *testing.T) {
	k, b := gorillaOf(t, sessions.NewFilesystemStore(t.TempDir(), key(2))), newBrowser()
	b.create(t, k, "data", hour())
	have, r := b.load(t, k), b.request()
	b.remove(t, k, &have)
	w := httptest.NewRecorder()
	if err := k.update(w, r, &have, []byte("revived"), hour()); !errors.Is(err, errNoRecord) || len(w.Header()) != 0 {
		t.Fatalf("%v", err)
	}
	var again kept
	if err := k.load(r, &again); !errors.Is(err, errNoRecord) {
		t.Fatalf("%v", err)
	}
}

// TestALogoutDuringAForeignSaveWins lets the logout come between the save's look and its write.
func TestALogoutDuringAForeignSaveWins(t *testing.T) {
	store := &brokenStore{Store: sessions.NewFilesystemStore(t.TempDir(), key(2))}
	k, b := gorillaOf(t, store), newBrowser()
	b.create(t, k, "data", hour())
	have, r := b.load(t, k), b.request()
	var logout sync.WaitGroup
	store.beforeSave = func() {
		logout.Go(func() {
			if err := k.remove(httptest.NewRecorder(), r, &have); err != nil {
				t.Error(err)
			}
		})
		for range 10_000 {
			runtime.Gosched() // as much time as the logout would need
		}
	}
	if err := k.update(httptest.NewRecorder(), b.request(), &have, []byte("revived"), hour()); err != nil {
		t.Fatal(err)
	}
	logout.Wait()
	b.none(t, k)
}

func TestAForeignRecordThatChangedIsAConflict(t *testing.T) {
	k, b := gorillaOf(t, sessions.NewFilesystemStore(t.TempDir(), key(2))), newBrowser()
	b.create(t, k, "one", hour())
	first, second := b.load(t, k), b.load(t, k)
	b.update(t, k, first, "two", hour())
	if err := k.update(httptest.NewRecorder(), b.request(), &second, []byte("lost"), hour()); !errors.Is(err, errConflict) {
		t.Fatalf("%v", err)
	}
	if got := b.load(t, k); string(got.data) != "two" {
		t.Fatalf("%q", got.data)
	}
}

// TestAForeignReadSeesOtherWriters: Store.Get answers from the registry of the request, once filled.
func TestAForeignReadSeesOtherWriters(t *testing.T) {
	store := sessions.NewFilesystemStore(t.TempDir(), key(2))
	k, b := gorillaOf(t, store), newBrowser()
	b.create(t, k, "one", hour())
	r := b.request()
	if _, err := store.Get(r, testAttributes.name); err != nil {
		t.Fatal(err)
	}
	b.update(t, k, b.load(t, k), "two", hour())
	var have kept
	if err := k.load(r, &have); err != nil || string(have.data) != "two" {
		t.Fatalf("%q, %v", have.data, err)
	}
}

func TestAForeignBoundIsExplained(t *testing.T) {
	for name, test := range map[string]struct {
		store sessions.Store
		size  int
		want  string
	}{
		"cookie":              {sessions.NewCookieStore(key(2)), 4000, "use NewCookieStore"},
		"file":                {sessions.NewFilesystemStore(t.TempDir(), key(2)), 4000, "MaxLength(65536)"},
		"cookie, by its name": {cookieStoreWithoutBound(), 2300, "browsers take 4096"},
	} {
		t.Run(name, func(t *testing.T) {
			k, b, w := gorillaOf(t, test.store), newBrowser(), httptest.NewRecorder()
			b.create(t, k, "small", hour())
			have := b.load(t, k)
			err := k.create(w, b.request(), make([]byte, test.size), hour())
			if !errors.Is(err, ErrTooLarge) || errors.Is(err, ErrStore) || !strings.Contains(err.Error(), test.want) || len(w.Header()) != 0 {
				t.Errorf("create: %v, %d headers", err, len(w.Header()))
			}
			if err := k.update(w, b.request(), &have, make([]byte, test.size), hour()); !errors.Is(err, ErrTooLarge) || len(w.Header()) != 0 {
				t.Errorf("update: %v", err)
			}
			if got := b.load(t, k); string(got.data) != "small" {
				t.Errorf("the old record is %q", got.data)
			}
		})
	}
	large := sessions.NewFilesystemStore(t.TempDir(), key(2))
	large.MaxLength(65536)
	k, b := gorillaOf(t, large), newBrowser()
	b.create(t, k, string(random(20_000, 1)), hour())
	if got := b.load(t, k); string(got.data) != string(random(20_000, 1)) {
		t.Error("not read back")
	}
}

func cookieStoreWithoutBound() sessions.Store {
	store := sessions.NewCookieStore(key(2))
	for _, codec := range store.Codecs {
		codec.(*securecookie.SecureCookie).MaxLength(0)
	}
	return store
}

// brokenStore fails where it is told to, as gorilla stores do: with an error and a session.
type brokenStore struct {
	sessions.Store
	onNew, onSave error
	session       *sessions.Session
	without       bool // of a session, even
	beforeSave    func()
}

func (s *brokenStore) New(r *http.Request, name string) (*sessions.Session, error) {
	if s.without {
		return nil, s.onNew
	}
	if s.session != nil {
		return s.session, s.onNew
	}
	fresh, err := s.Store.New(r, name)
	if s.onNew != nil {
		err = s.onNew
	}
	return fresh, err
}

func (s *brokenStore) Save(r *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	if s.onSave != nil {
		http.SetCookie(w, &http.Cookie{Name: testAttributes.name, Value: "half"})
		return s.onSave
	}
	if s.beforeSave != nil && session.Options.MaxAge > 0 {
		s.beforeSave()
	}
	return s.Store.Save(r, w, session)
}

func TestAForeignOutageIsNoSessionAndNoLogout(t *testing.T) {
	outage := &fs.PathError{Op: "open", Path: "/var/session_MARKEDID", Err: fs.ErrPermission}
	store := &brokenStore{Store: sessions.NewFilesystemStore(t.TempDir(), key(2))}
	k, b := gorillaOf(t, store), newBrowser()
	b.create(t, k, "data", hour())
	have := b.load(t, k)

	wantOutage := func(what string, err error, w *httptest.ResponseRecorder) {
		t.Helper()
		if !errors.Is(err, ErrStore) || errors.Is(err, errNoRecord) || !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v", what, err)
		}
		wantNoSecret(t, err.Error(), "MARKEDID")
		if len(w.Header()) != 0 {
			t.Errorf("%s set %d headers", what, len(w.Header()))
		}
	}
	store.onNew = outage
	var got kept
	wantOutage("load", k.load(b.request(), &got), httptest.NewRecorder())
	if got.data != nil {
		t.Error("a session that came with an error was taken")
	}
	w := httptest.NewRecorder()
	wantOutage("create", k.create(w, b.request(), nil, hour()), w)
	wantOutage("update", k.update(w, b.request(), &have, nil, hour()), w)
	store.onNew, store.onSave = nil, outage
	wantOutage("create, saving", k.create(w, b.request(), nil, hour()), w)
	wantOutage("update, saving", k.update(w, b.request(), &have, nil, hour()), w)
	// The browser is signed out even when the store can't be told.
	if err := k.remove(w, b.request(), &have); !errors.Is(err, ErrStore) {
		t.Errorf("remove: %v", err)
	}
	if line := w.Header().Get("Set-Cookie"); !strings.HasPrefix(line, testAttributes.name+"=; ") || !strings.Contains(line, "Max-Age=0") {
		t.Errorf("remove during an outage: %q", line)
	}
	store.onSave = nil
	b.load(t, k)
}

func TestAStrangeForeignStoreDoesNoHarm(t *testing.T) {
	for name, store := range map[string]*brokenStore{
		"nil session":     {without: true},
		"nil and error":   {without: true, onNew: errors.New("down")},
		"never new":       {session: &sessions.Session{ID: "fixed", Values: map[any]any{}, Options: &sessions.Options{}}},
		"foreign value":   {session: &sessions.Session{Values: map[any]any{gorillaValue: 7}, Options: &sessions.Options{}}},
		"foreign text":    {session: &sessions.Session{Values: map[any]any{gorillaValue: "?"}, Options: &sessions.Options{}}},
		"plain record":    {session: &sessions.Session{Values: map[any]any{gorillaValue: appendEnvelope(nil, keptID{}, hour(), []byte("x"))}, Options: &sessions.Options{}}},
		"nil values, new": {session: &sessions.Session{IsNew: true}},
	} {
		t.Run(name, func(t *testing.T) {
			store.Store = sessions.NewCookieStore(key(2))
			k, b := gorillaOf(t, store), newBrowser()
			b.jar[testAttributes.name] = "x"
			var have kept
			if err := k.load(b.request(), &have); err == nil || have.data != nil {
				t.Errorf("load: %v", err)
			}
			w := httptest.NewRecorder()
			if err := k.create(w, b.request(), []byte("data"), hour()); name != "nil values, new" && !errors.Is(err, ErrStore) {
				t.Errorf("create: %v", err)
			}
			_ = k.update(w, b.request(), &kept{}, []byte("data"), hour())
			_ = k.remove(w, b.request(), nil)
		})
	}
}

// TestAStoreThatKeepsJSONIsRead: such stores give a []byte back as base64 text.
func TestAStoreThatKeepsJSONIsRead(t *testing.T) {
	store := &brokenStore{Store: sessions.NewCookieStore(key(2))}
	k := gorillaOf(t, store)
	sealed := sealerOf(t, "store", key(1)).seal(nil, appendEnvelope(nil, newEnvelopeID(), hour(), []byte("data")), testAttributes.name)
	store.session = &sessions.Session{Values: map[any]any{gorillaValue: base64.StdEncoding.EncodeToString(sealed)}}
	b := newBrowser()
	b.jar[testAttributes.name] = "x"
	if got := b.load(t, k); string(got.data) != "data" {
		t.Fatalf("%q", got.data)
	}
	// What such a store calls new isn't ours, whatever is in it; nor is what comes with an error.
	store.session.IsNew = true
	b.none(t, k)
	store.session.IsNew, store.onNew = false, errors.New("half read")
	var have kept
	if err := k.load(b.request(), &have); !errors.Is(err, ErrStore) || have.data != nil {
		t.Errorf("%v", err)
	}
}

// TestWhatGorillaLeavesOpen pins the facts our handling rests on; one that changes may spare us code.
func TestWhatGorillaLeavesOpen(t *testing.T) {
	store := sessions.NewCookieStore(key(2))
	if o := store.Options; o.HttpOnly || o.SameSite != http.SameSiteNoneMode || o.MaxAge != 86400*30 {
		t.Errorf("CookieStore's defaults are safer now: %+v", o)
	}
	if o := sessions.NewFilesystemStore(t.TempDir(), key(2)).Options; o.HttpOnly || o.Secure || o.SameSite != 0 {
		t.Errorf("FilesystemStore's defaults are safer now: %+v", o)
	}
	s, err := store.New(requestWith("x=junk"), "x")
	if err == nil || s == nil {
		t.Error("an undecodable cookie no longer gives an error and a session")
	}
	s, _ = store.New(requestWith(), "x")
	s.Values["v"] = make([]byte, 4096)
	if err := store.Save(requestWith(), httptest.NewRecorder(), s); err == nil {
		t.Error("securecookie's 4096 bytes are no bound any more")
	}
}

// net/http trims a tab from a name, and would hand the store the cookie beside ours.
func TestAForeignStoreIsGivenNoCookieWhoseNameIsTrimmedToOurs(t *testing.T) {
	k := gorillaOf(t, sessions.NewFilesystemStore(t.TempDir(), key(2)))
	own, planted := newBrowser(), newBrowser()
	own.create(t, k, "own", hour())
	planted.create(t, k, "planted", hour())
	name := testAttributes.name
	for _, blank := range []string{"\t", " ", " \t "} {
		r := requestWith(name + blank + "=" + planted.jar[name] + "; " + name + "=" + own.jar[name])
		var got kept
		if err := k.load(r, &got); err != nil || string(got.data) != "own" {
			t.Errorf("%q: %q, %v", blank, got.data, err)
		}
	}
}
