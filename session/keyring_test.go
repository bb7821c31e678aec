package session_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/sessions"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

func keyText(keys ...byte) string {
	var lines strings.Builder
	lines.WriteString("# the first seals\n\n")
	for _, k := range keys {
		fmt.Fprintf(&lines, "  %s # of a day\n", base64.StdEncoding.EncodeToString(testKey(k)))
	}
	return lines.String()
}

// keyFile is a file of keys that is replaced as a whole.
type keyFile struct {
	t    testing.TB
	path string
}

func newKeyFile(t testing.TB, keys ...byte) *keyFile {
	f := &keyFile{t, filepath.Join(t.TempDir(), "keys")}
	f.write(keyText(keys...))
	return f
}

func (f *keyFile) write(text string) {
	f.t.Helper()
	if err := errors.Join(os.WriteFile(f.path+".new", []byte(text), 0o600), os.Rename(f.path+".new", f.path)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *keyFile) ring() *session.Keyring {
	f.t.Helper()
	ring, err := session.KeyringFromFile(f.path)
	if err != nil {
		f.t.Fatal(err)
	}
	return ring
}

// onRing are the stores whose sessions a Keyring seals, over what two replicas share.
func onRing(t *testing.T) map[string]func(ring *session.Keyring) session.Config {
	backend, foreign := session.NewMemoryBackend(0), sessions.NewFilesystemStore(t.TempDir(), testKey(30))
	foreign.MaxLength(0)
	return map[string]func(ring *session.Keyring) session.Config{
		"cookies": func(ring *session.Keyring) session.Config { return session.Config{} },
		"own cookie store": func(ring *session.Keyring) session.Config {
			store, err := session.NewCookieStoreWithKeyring(ring)
			if err != nil {
				t.Fatal(err)
			}
			return session.Config{Store: store}
		},
		"server": func(ring *session.Keyring) session.Config {
			store, err := session.NewServerStoreWithKeyring(backend, ring)
			if err != nil {
				t.Fatal(err)
			}
			return session.Config{Store: store}
		},
		"gorilla": func(*session.Keyring) session.Config { return session.Config{Store: foreign} },
	}
}

// TestARotationLosesNobody walks two replicas through a rotation, one after the other, and back.
func TestARotationLosesNobody(t *testing.T) {
	for name, config := range onRing(t) {
		t.Run(name, func(t *testing.T) {
			p := newProvider(t, rptest.Options{})
			client := newClient(t, p, nil)
			var files [2]*keyFile
			var rings [2]*session.Keyring
			var sites [2]*site
			for i := range sites {
				files[i] = newKeyFile(t, 1)
				rings[i] = files[i].ring()
				c := config(rings[i])
				c.Keyring, c.Keys = rings[i], nil
				m, err := session.New(client, c)
				if err != nil {
					t.Fatal(err)
				}
				sites[i] = &site{t: t, provider: p, client: client, Manager: m}
			}
			type begun struct {
				v  *visitor
				to string
			}
			var signedIn []*visitor
			var onTheirWay []begun
			arrive := func() {
				for _, s := range sites {
					v := s.visitor()
					v.login()
					signedIn = append(signedIn, v)
					v = s.visitor()
					onTheirWay = append(onTheirWay, begun{v, v.begin("/")})
				}
			}
			nobodyIsLost := func(step string) {
				t.Helper()
				for i, s := range sites {
					for n, v := range signedIn {
						if _, err := v.at(s).load(); err != nil {
							t.Errorf("%s: session %d at replica %d: %v", step, n, i, err)
						}
					}
					for n, b := range onTheirWay {
						if _, _, err := b.v.at(s).finish(s.authorize(b.to)); err != nil {
							t.Errorf("%s: login %d at replica %d: %v", step, n, i, err)
						}
					}
				}
				onTheirWay = nil
			}
			to := func(replica int, keys ...byte) {
				t.Helper()
				arrive()
				files[replica].write(keyText(keys...))
				if err := rings[replica].Reload(); err != nil {
					t.Fatal(err)
				}
				nobodyIsLost(fmt.Sprintf("replica %d has %v", replica, keys))
			}
			for _, keys := range [][]byte{{1, 2}, {2, 1}, {1, 2}, {2, 1}} {
				to(0, keys...)
				to(1, keys...)
			}
			old := sites[0].visitor()
			if err := rings[0].Replace(testKey(1)); err != nil {
				t.Fatal(err)
			}
			old.login()
			attempt := old.begin("/")
			for i := range rings {
				files[i].write(keyText(2))
				if err := rings[i].Reload(); err != nil {
					t.Fatal(err)
				}
			}
			for i, s := range sites {
				if _, err := old.at(s).load(); !errors.Is(err, session.ErrNone) {
					t.Errorf("replica %d: a session of a dropped key: %v", i, err)
				}
				if _, _, err := old.at(s).finish(s.authorize(attempt)); reason(err) != "unknown-key" {
					t.Errorf("replica %d: an attempt of a dropped key: %v", i, err)
				}
			}
		})
	}
}

func TestABadReloadChangesNothing(t *testing.T) {
	file := newKeyFile(t, 1)
	ring := file.ring()
	s := newSite(t, setup{})
	m, err := session.New(s.client, session.Config{Keyring: ring})
	if err != nil {
		t.Fatal(err)
	}
	s.Manager = m
	v := s.visitor()
	v.login()
	secret := base64.StdEncoding.EncodeToString(testKey(9))
	for name, c := range map[string]struct{ text, want string }{
		"empty":           {"", "no key"},
		"comments alone":  {"# " + secret + "\n", "no key"},
		"not base64":      {secret + "\n" + secret + "!\n", "line 2 is not one key"},
		"two in a line":   {secret + " " + secret, "line 1 is not one key"},
		"half a key":      {base64.StdEncoding.EncodeToString(testKey(9)[:31]), "key 0 has 31 bytes"},
		"one byte only":   {secret + "\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)), "key 1 is one byte repeated"},
		"a hundred pages": {strings.Repeat("#"+strings.Repeat("x", 1000)+"\n", 66), "longer than 65536 bytes"},
	} {
		file.write(c.text)
		err := ring.Reload()
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), file.path) {
			t.Errorf("%s: %v, want %q with the file's path", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), secret[:8]) {
			t.Errorf("%s: the error shows a key: %v", name, err)
		}
		if v.mustLoad(); ring.Len() != 1 {
			t.Errorf("%s: %d keys", name, ring.Len())
		}
		if _, err := session.KeyringFromFile(file.path); err == nil {
			t.Errorf("%s: was read", name)
		}
	}
	if err := ring.Replace(); err == nil {
		t.Error("no key was taken")
	}
	if err := ring.Replace(testKey(1)[:16]); err == nil || ring.Len() != 1 {
		t.Error("a short key was taken")
	}
	if err := os.Remove(file.path); err != nil {
		t.Fatal(err)
	}
	if err := ring.Reload(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is gone: %v", err)
	}
	v.mustLoad()
}

func TestAKeyFileIsForNobodyElse(t *testing.T) {
	file := newKeyFile(t, 1)
	for mode, good := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: true, 0o440: true, 0o644: false, 0o604: false, 0o660: false, 0o602: false} {
		if err := os.Chmod(file.path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := session.KeyringFromFile(file.path)
		if good && err != nil || !good && (err == nil || !strings.Contains(err.Error(), "chmod 600")) {
			t.Errorf("%#o: %v", mode, err)
		}
	}
	if _, err := session.KeyringFromFile(filepath.Dir(file.path)); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a folder: %v", err)
	}
	link := file.path + ".link"
	if err := errors.Join(os.Chmod(file.path, 0o600), os.Symlink(file.path, link)); err != nil {
		t.Fatal(err)
	}
	if _, err := session.KeyringFromFile(link); err != nil {
		t.Errorf("a link: %v", err)
	}
}

func TestKeysComeFromAVariable(t *testing.T) {
	const name = "LATCHKEY_TEST_KEYS"
	one, two := base64.StdEncoding.EncodeToString(testKey(1)), base64.RawURLEncoding.EncodeToString(testKey(250))
	t.Setenv(name, one)
	ring, err := session.KeyringFromEnv(name)
	if err != nil || ring.Len() != 1 {
		t.Fatal(ring, err)
	}
	for text, want := range map[string]int{one + "," + two: 2, one + "\n" + two + "\t" + one: 3, " , " + two + ", ": 1} {
		t.Setenv(name, text)
		if err := ring.Reload(); err != nil || ring.Len() != want {
			t.Errorf("%d keys, %v; want %d", ring.Len(), err, want)
		}
	}
	for _, text := range []string{"", " , ", one + ";" + two, one + ",short", "=" + one} {
		t.Setenv(name, text)
		if err := ring.Reload(); err == nil || ring.Len() != 1 && ring.Len() != 2 && ring.Len() != 3 || strings.Contains(err.Error(), one) {
			t.Errorf("%d characters: %v", len(text), err)
		}
	}
	if err := os.Unsetenv(name); err != nil {
		t.Fatal(err)
	}
	if _, err := session.KeyringFromEnv(name); err == nil || !strings.Contains(err.Error(), "not set") {
		t.Errorf("without the variable: %v", err)
	}
}

func TestKeysAreGivenInOnePlace(t *testing.T) {
	client := newSite(t, setup{}).client
	ring, err := session.NewKeyring(testKey(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Reload(); err == nil || !strings.Contains(err.Error(), "Replace") {
		t.Errorf("a reload of what has no source: %v", err)
	}
	if _, err := session.New(client, session.Config{Keyring: ring, Keys: [][]byte{testKey(1)}}); err == nil || !strings.Contains(err.Error(), "Keyring are both set") {
		t.Errorf("both: %v", err)
	}
	var none *session.Keyring
	for empty, want := range map[*session.Keyring]string{none: "no key", {}: "empty Keyring"} {
		if err := empty.Reload(); err == nil {
			t.Error("an empty one has a source")
		}
		if _, err := session.NewCookieStoreWithKeyring(empty); err == nil {
			t.Error("a store without keys")
		}
		if _, err := session.NewServerStoreWithKeyring(session.NewMemoryBackend(0), empty); err == nil {
			t.Error("a store without keys")
		}
		if _, err := session.New(client, session.Config{Keyring: empty}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a manager without keys: %v", err)
		}
	}
	if _, err := session.NewServerStoreWithKeyring(nil, ring); err == nil {
		t.Error("a store without backend")
	}
}

// Under the race detector: whoever seals and opens while keys change their order never fails, and each request costs what it did.
func TestKeysChangeUnderTraffic(t *testing.T) {
	for name, config := range onRing(t) {
		t.Run(name, func(t *testing.T) {
			ring, err := session.NewKeyring(testKey(1), testKey(2))
			if err != nil {
				t.Fatal(err)
			}
			s := newSite(t, setup{})
			c := config(ring)
			c.Keyring = ring
			if s.Manager, err = session.New(s.client, c); err != nil {
				t.Fatal(err)
			}
			v := s.visitor()
			v.login()
			stop := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
						keys := [2][]byte{testKey(1), testKey(2)}
						if err := ring.Replace(keys[i%2], keys[1-i%2]); err != nil {
							t.Error(err)
						}
					}
				}
			})
			var readers sync.WaitGroup
			for range 4 {
				readers.Go(func() {
					for range 50 {
						v.mustLoad()
						b := s.visitor()
						to := b.begin("/")
						if _, _, err := b.finish(s.authorize(to)); err != nil {
							t.Error(err)
						}
					}
				})
			}
			readers.Wait()
			close(stop)
			wg.Wait()
		})
	}
}

func TestALoadCostsNoMoreAfterAReload(t *testing.T) {
	ring, err := session.NewKeyring(testKey(1))
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, setup{})
	if s.Manager, err = session.New(s.client, session.Config{Keyring: ring}); err != nil {
		t.Fatal(err)
	}
	v := s.visitor()
	v.login()
	if err := ring.Replace(testKey(2), testKey(1)); err != nil {
		t.Fatal(err)
	}
	r, w := v.get(shop), httptest.NewRecorder()
	if n := testing.AllocsPerRun(200, func() {
		clear(w.Header())
		if _, err := s.Load(w, r); err != nil {
			t.Fatal(err)
		}
	}); n > 6 {
		t.Errorf("%v allocations, want 6 at most", n)
	}
}

func TestAKeyringPrintsNoKey(t *testing.T) {
	file := newKeyFile(t, 1, 2)
	ring := file.ring()
	key := testKey(1)
	secrets := []string{string(key), strings.Trim(fmt.Sprint(key), "[]"), fmt.Sprintf("%x", key), fmt.Sprintf("%X", key), base64.StdEncoding.EncodeToString(key)}
	type holder struct {
		ring *session.Keyring
		Ring *session.Keyring
	}
	h := holder{ring, ring}
	if h.ring == nil {
		t.Fatal("no input")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%t"} {
		for _, v := range []any{ring, h, &h, []*session.Keyring{ring}, session.Config{Keyring: ring}} {
			wantNone(t, verb, fmt.Sprintf(verb, v), secrets)
		}
	}
	var text strings.Builder
	for _, log := range []*slog.Logger{slog.New(slog.NewTextHandler(&text, nil)), slog.New(slog.NewJSONHandler(&text, nil))} {
		log.Info("keys", "ring", ring, "config", session.Config{Keyring: ring}, "at", time.Now())
	}
	wantNone(t, "slog", text.String(), secrets)
	if got := fmt.Sprint(ring); got != "store.Keyring(2 keys from "+file.path+")" {
		t.Errorf("printed as %s", got)
	}
}

// What is read from a file never panics, and what is taken is keys.
func FuzzKeyFile(f *testing.F) {
	f.Add([]byte(keyText(1, 2)))
	f.Add([]byte("# nothing\n"))
	f.Add([]byte(base64.RawURLEncoding.EncodeToString(testKey(250)) + "\r\n"))
	path := filepath.Join(f.TempDir(), "keys")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if ring, err := session.KeyringFromFile(path); (err == nil) != (ring.Len() > 0) {
			t.Errorf("%v and %v", ring, err)
		}
	})
}
