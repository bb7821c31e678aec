package session

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// key returns 32 bytes that differ for each n.
func key(n byte) []byte {
	k := bytes.Repeat([]byte{n}, 32)
	for i := range k {
		k[i] += byte(i)
	}
	return k
}

var testAttributes = cookieAttributes{name: "__Host-Http-latchkey", secure: true, sameSite: http.SameSiteLaxMode}

// browser keeps cookies by name as they were set, without the rules of a real one: what a test plants stays.
type browser struct{ jar map[string]string }

func newBrowser() *browser { return &browser{jar: map[string]string{}} }

func (b *browser) request() *http.Request {
	var lines []string
	for name, value := range b.jar {
		lines = append(lines, name+"="+value)
	}
	return requestWith(lines...)
}

func (b *browser) take(w *httptest.ResponseRecorder) {
	for _, c := range w.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(b.jar, c.Name)
			continue
		}
		b.jar[c.Name] = c.Value
	}
}

func (b *browser) create(t testing.TB, k keeper, data string, expires time.Time) {
	t.Helper()
	w := httptest.NewRecorder()
	if err := k.create(w, b.request(), []byte(data), expires); err != nil {
		t.Fatalf("create: %v", err)
	}
	b.take(w)
}

func (b *browser) load(t testing.TB, k keeper) kept {
	t.Helper()
	var have kept
	if err := k.load(b.request(), &have); err != nil {
		t.Fatalf("load: %v", err)
	}
	return have
}

func (b *browser) update(t testing.TB, k keeper, have kept, data string, expires time.Time) {
	t.Helper()
	w := httptest.NewRecorder()
	if err := k.update(w, b.request(), &have, []byte(data), expires); err != nil {
		t.Fatalf("update: %v", err)
	}
	b.take(w)
}

func (b *browser) touch(t testing.TB, k keeper, have kept, at time.Time) {
	t.Helper()
	w := httptest.NewRecorder()
	if err := k.touch(w, b.request(), &have, at); err != nil {
		t.Fatalf("touch: %v", err)
	}
	b.take(w)
}

func (b *browser) remove(t testing.TB, k keeper, have *kept) {
	t.Helper()
	w := httptest.NewRecorder()
	if err := k.remove(w, b.request(), have); err != nil {
		t.Fatalf("remove: %v", err)
	}
	b.take(w)
}

func (b *browser) none(t testing.TB, k keeper) {
	t.Helper()
	var have kept
	if err := k.load(b.request(), &have); !errors.Is(err, errNoRecord) {
		t.Fatalf("load: %v with %d bytes, want no record", err, len(have.data))
	}
	if have.data != nil {
		t.Fatal("load failed and left data behind")
	}
}

func cookieKeeperOf(t testing.TB, keys ...[]byte) keeper {
	t.Helper()
	store, err := NewCookieStore(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return newCookieKeeper(store, testAttributes)
}

func hour() time.Time { return time.Now().Add(time.Hour) }

func wantNoSecret(t testing.TB, printed string, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		if strings.Contains(printed, secret) {
			t.Errorf("%q shows %q", printed, secret)
		}
	}
}

func ringOf(t testing.TB, keys ...[]byte) *Keyring {
	t.Helper()
	ring, err := NewKeyring(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func sealerOf(t testing.TB, purpose string, keys ...[]byte) *sealer {
	t.Helper()
	s, err := ringOf(t, keys...).Sealer("", purpose)
	if err != nil {
		t.Fatal(err)
	}
	return &sealer{s}
}
