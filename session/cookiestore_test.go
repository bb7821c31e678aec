package session_test

import (
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/sessions"
	"github.com/latchkey-go/latchkey/session"
)

var storeKey = []byte("0123456789abcdefghijklmnopqrstuv")

func newCookieStore(t testing.TB) *session.CookieStore {
	t.Helper()
	store, err := session.NewCookieStore(storeKey)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func newMemoryStore(t testing.TB) *session.MemoryStore {
	t.Helper()
	store, err := session.NewMemoryStore(session.MemoryConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// eachStore runs test for both stores as what they also are: gorilla stores.
func eachStore(t *testing.T, test func(t *testing.T, store sessions.Store)) {
	t.Run("CookieStore", func(t *testing.T) { test(t, newCookieStore(t)) })
	t.Run("MemoryStore", func(t *testing.T) { test(t, newMemoryStore(t)) })
}

func requestOf(w *httptest.ResponseRecorder) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	if w != nil {
		for _, c := range w.Result().Cookies() {
			r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
		}
	}
	return r
}

func TestStoresKeepValuesWithTheirTypes(t *testing.T) {
	eachStore(t, func(t *testing.T, store sessions.Store) {
		s, err := store.New(requestOf(nil), "app")
		if err != nil || !s.IsNew {
			t.Fatal(s.IsNew, err)
		}
		want := map[any]any{
			"string": "é\x00", "empty": "", "bytes": []byte{0, 255}, "yes": true, "no": false,
			"int": -1, "int64": int64(math.MinInt64), "float": math.Pi, "": "empty key",
		}
		for key, value := range want {
			s.Values[key] = value
		}
		w := httptest.NewRecorder()
		if err := s.Save(requestOf(nil), w); err != nil {
			t.Fatal(err)
		}
		got, err := store.New(requestOf(w), "app")
		if err != nil || got.IsNew || !reflect.DeepEqual(got.Values, want) {
			t.Fatalf("%v, new %v: %v", err, got.IsNew, got.Values)
		}
	})
}

func TestStoresNameTheKeyOfAValueTheyDoNotKeep(t *testing.T) {
	eachStore(t, func(t *testing.T, store sessions.Store) {
		for name, set := range map[string]func(s *sessions.Session){
			`value "cart" is a []int`:        func(s *sessions.Session) { s.Values["cart"] = []int{1} },
			`value "none" is a <nil>`:        func(s *sessions.Session) { s.Values["none"] = nil },
			`value "_flash" is a []interf`:   func(s *sessions.Session) { s.AddFlash("marked-secret") },
			`a key of Values is a int`:       func(s *sessions.Session) { s.Values[1] = "marked-secret" },
			`value "when" is a time.Time`:    func(s *sessions.Session) { s.Values["when"] = time.Now() },
			`value "u" is a uint64: this st`: func(s *sessions.Session) { s.Values["u"] = uint64(1) },
		} {
			s, _ := store.New(requestOf(nil), "app")
			set(s)
			w := httptest.NewRecorder()
			err := s.Save(requestOf(nil), w)
			if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "marked-secret") {
				t.Errorf("got %v, want %q", err, name)
			}
			if len(w.Header()) != 0 {
				t.Errorf("%s: a cookie was set", name)
			}
		}
	})
}

// TestStoresTakeWhatDoesNotOpenForNoSession: gorilla's own stores answer with an error, which turns a changed key into status 500 for everybody.
func TestStoresTakeWhatDoesNotOpenForNoSession(t *testing.T) {
	eachStore(t, func(t *testing.T, store sessions.Store) {
		for _, value := range []string{"junk", "", strings.Repeat("A", 43), strings.Repeat("A", 5000), `"quoted"`, "MTIzfGFiY3xkZWY="} {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Cookie", "app="+value)
			for _, get := range []func(*http.Request, string) (*sessions.Session, error){store.New, store.Get} {
				s, err := get(r, "app")
				if err != nil || !s.IsNew || s.ID != "" || len(s.Values) != 0 {
					t.Errorf("%.20q: %v, new %v, id %q", value, err, s.IsNew, s.ID)
				}
			}
		}
	})
	foreign := sessions.NewCookieStore(storeKey)
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Cookie", "app=junk")
	if _, err := foreign.New(r, "app"); err == nil {
		t.Error("gorilla's CookieStore no longer fails on a cookie it can't decode: our own handling may go")
	}
}

func TestStoresSetSafeCookies(t *testing.T) {
	eachStore(t, func(t *testing.T, store sessions.Store) {
		s, _ := store.New(requestOf(nil), "app")
		s.Values["k"] = "v"
		w := httptest.NewRecorder()
		if err := s.Save(requestOf(nil), w); err != nil {
			t.Fatal(err)
		}
		const attributes = "; Path=/; Max-Age=43200; HttpOnly; Secure; SameSite=Lax"
		if line := w.Header().Get("Set-Cookie"); !strings.HasSuffix(line, attributes) {
			t.Errorf("%q", line)
		}
		saved := requestOf(w)
		s.Options.MaxAge = -1
		w = httptest.NewRecorder()
		if err := s.Save(saved, w); err != nil {
			t.Fatal(err)
		}
		if line := w.Header().Get("Set-Cookie"); line != "app=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax" {
			t.Errorf("deletion: %q", line)
		}
	})
}

func TestStoresEndValuesByTheirMaxAgeWhateverTheBrowserSends(t *testing.T) {
	eachStore(t, func(t *testing.T, store sessions.Store) {
		synctest.Test(t, func(t *testing.T) {
			for maxAge, lives := range map[int]time.Duration{60: time.Minute, 0: 12 * time.Hour} {
				s, _ := store.New(requestOf(nil), "app")
				s.Values["k"] = "v"
				s.Options.MaxAge = maxAge
				w := httptest.NewRecorder()
				if err := s.Save(requestOf(nil), w); err != nil {
					t.Fatal(err)
				}
				time.Sleep(lives - 2*time.Second)
				if got, _ := store.New(requestOf(w), "app"); got.IsNew {
					t.Errorf("MaxAge %d: gone before its end", maxAge)
				}
				time.Sleep(2 * time.Second)
				if got, _ := store.New(requestOf(w), "app"); !got.IsNew {
					t.Errorf("MaxAge %d: still there at its end", maxAge)
				}
			}
		})
	})
}

func TestCookieStoreSpreadsValuesOverCookiesAndRefusesMore(t *testing.T) {
	store := newCookieStore(t)
	s, _ := store.New(requestOf(nil), "app")
	s.Options.Domain, s.Options.Path = "shop.example", "/a/path"
	s.Values["k"] = strings.Repeat("x", 9000)
	w := httptest.NewRecorder()
	if err := s.Save(requestOf(nil), w); err != nil {
		t.Fatal(err)
	}
	lines := w.Header()["Set-Cookie"]
	for _, line := range lines {
		if len(line) > 4096 {
			t.Errorf("a cookie of %d bytes", len(line))
		}
	}
	if got, _ := store.New(requestOf(w), "app"); len(lines) != 4 || got.Values["k"] != s.Values["k"] {
		t.Fatalf("%d cookies", len(lines))
	}
	s.Values["k"] = strings.Repeat("x", 12_000)
	refused := httptest.NewRecorder()
	if err := s.Save(requestOf(w), refused); !errors.Is(err, session.ErrTooLarge) || len(refused.Header()) != 0 {
		t.Fatalf("%v, headers %d", err, len(refused.Header()))
	}
	s.Options.MaxAge = -1
	gone := httptest.NewRecorder()
	if err := s.Save(requestOf(w), gone); err != nil || len(gone.Header()["Set-Cookie"]) != 4 {
		t.Fatalf("%v, %d deletions", err, len(gone.Header()["Set-Cookie"]))
	}
}

func TestStoresGetTheSameSessionThroughoutARequest(t *testing.T) {
	eachStore(t, func(t *testing.T, store sessions.Store) {
		r := requestOf(nil)
		one, err := store.Get(r, "app")
		if err != nil {
			t.Fatal(err)
		}
		one.Values["k"] = "v"
		if two, _ := store.Get(r, "app"); two.Values["k"] != "v" {
			t.Error("Get gave another session")
		}
		if fresh, _ := store.New(r, "app"); len(fresh.Values) != 0 {
			t.Error("New gave what was not saved")
		}
	})
}

func TestNewCookieStoreRefusesBadKeys(t *testing.T) {
	for _, keys := range [][][]byte{nil, {storeKey[:31]}, {storeKey, make([]byte, 32)}} {
		if store, err := session.NewCookieStore(keys...); err == nil || store != nil {
			t.Errorf("%d keys: %v", len(keys), err)
		}
	}
}

func TestAnEmptyStoreSaysHowToMakeOne(t *testing.T) {
	for _, store := range []sessions.Store{&session.CookieStore{}, &session.MemoryStore{}} {
		s, err := store.Get(requestOf(nil), "app")
		if err == nil || s == nil || !s.Options.Secure || !s.Options.HttpOnly {
			t.Errorf("%v: Get: %v", store, err)
		}
		if err := store.Save(requestOf(nil), httptest.NewRecorder(), s); err == nil || !strings.Contains(err.Error(), "make it with New") {
			t.Errorf("%v: Save: %v", store, err)
		}
	}
}

func TestASessionWithoutOptionsGetsSafeOnes(t *testing.T) {
	cookies, memory := newCookieStore(t), newMemoryStore(t)
	cookies.Options, memory.Options = nil, nil
	for _, store := range []sessions.Store{cookies, memory} {
		s := sessions.NewSession(store, "app")
		s.Options = nil
		w := httptest.NewRecorder()
		if err := store.Save(requestOf(nil), w, s); err != nil || !strings.HasSuffix(w.Header().Get("Set-Cookie"), "; Path=/; Max-Age=43200; HttpOnly; Secure; SameSite=Lax") {
			t.Errorf("%v: %v", w.Header(), err)
		}
	}
}

func FuzzStoreValues(f *testing.F) {
	store, err := session.NewCookieStore(storeKey)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("key", "value", []byte{1}, int64(-1), 1.5)
	f.Add("", "", []byte(nil), int64(0), math.Inf(-1))
	f.Fuzz(func(t *testing.T, key, text string, raw []byte, n int64, x float64) {
		s, _ := store.New(requestOf(nil), "app")
		s.Values[key], s.Values[key+"b"], s.Values[key+"n"], s.Values[key+"x"] = text, raw, n, x
		w := httptest.NewRecorder()
		if err := s.Save(requestOf(nil), w); err != nil {
			if !errors.Is(err, session.ErrTooLarge) {
				t.Fatal(err)
			}
			return
		}
		got, _ := store.New(requestOf(w), "app")
		y, _ := got.Values[key+"x"].(float64)
		b, _ := got.Values[key+"b"].([]byte)
		if got.Values[key] != text || got.Values[key+"n"] != n || math.Float64bits(x) != math.Float64bits(y) || string(b) != string(raw) {
			t.Fatalf("got %v", got.Values)
		}
	})
}
