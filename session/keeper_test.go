package session

import (
	"errors"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/sessions"
)

// eachKeeper runs test for all ways to keep a record.
func eachKeeper(t *testing.T, test func(t *testing.T, k keeper)) {
	t.Helper()
	for _, name := range []string{"CookieStore", "MemoryStore", "ServerStore", "gorilla CookieStore", "gorilla FilesystemStore"} {
		t.Run(name, func(t *testing.T) { test(t, keeperNamed(t, name)) })
	}
}

func keeperNamed(t testing.TB, name string) keeper {
	t.Helper()
	var store sessions.Store
	var err error
	switch name {
	case "CookieStore":
		store, err = NewCookieStore(key(1))
	case "MemoryStore":
		store, err = NewMemoryStore(MemoryConfig{})
	case "ServerStore":
		store, err = NewServerStore(NewMemoryBackend(0), key(1))
	case "gorilla CookieStore":
		store = sessions.NewCookieStore(key(2))
	case "gorilla FilesystemStore":
		store = sessions.NewFilesystemStore(t.TempDir(), key(2))
	}
	if err != nil {
		t.Fatal(err)
	}
	k, err := newKeeper(store, testAttributes, ringOf(t, key(1)), "")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeepersKeepARecordThroughItsLife(t *testing.T) {
	eachKeeper(t, func(t *testing.T, k keeper) {
		synctest.Test(t, func(t *testing.T) {
			b := newBrowser()
			b.none(t, k)
			end := time.Now().Add(time.Hour).Truncate(time.Second)
			b.create(t, k, "one", end)
			first := b.load(t, k)
			if string(first.data) != "one" || !first.expires.Equal(end) || !first.seen.IsZero() {
				t.Fatalf("got %q until %v, seen %v", first.data, first.expires, first.seen)
			}

			seen := time.Now().Add(time.Minute).Truncate(time.Second)
			b.touch(t, k, first, seen)
			if got := b.load(t, k); !got.seen.Equal(seen) || string(got.data) != "one" {
				t.Fatalf("after touch: %q seen %v, want %v", got.data, got.seen, seen)
			}

			later := end.Add(time.Hour)
			b.update(t, k, b.load(t, k), "two", later)
			second := b.load(t, k)
			if string(second.data) != "two" || !second.expires.Equal(later) || second.id != first.id {
				t.Fatalf("after update: %q until %v", second.data, second.expires)
			}
			if !second.seen.Equal(seen) {
				t.Fatalf("after update: seen %v, want %v", second.seen, seen)
			}

			b.remove(t, k, &second)
			if len(b.jar) != 0 {
				t.Fatalf("after remove the browser still has %d cookies", len(b.jar))
			}
			b.none(t, k)
		})
	})
}

func TestKeepersEndARecordAtItsEndWhateverTheBrowserSends(t *testing.T) {
	eachKeeper(t, func(t *testing.T, k keeper) {
		synctest.Test(t, func(t *testing.T) {
			b := newBrowser()
			b.create(t, k, "data", time.Now().Add(time.Hour))
			time.Sleep(time.Hour - time.Second)
			b.load(t, k)
			time.Sleep(time.Second)
			var have kept
			if err := k.load(b.request(), &have); !errors.Is(err, errNoRecord) || !errors.Is(err, ErrExpired) {
				t.Fatalf("load at the end: %v, want ErrExpired", err)
			}
		})
	})
}

func TestCreateGivesAFreshIdentifierWhateverCookieCame(t *testing.T) {
	eachKeeper(t, func(t *testing.T, k keeper) {
		b := newBrowser()
		b.create(t, k, "planted", hour())
		planted := newBrowser()
		for name, value := range b.jar {
			planted.jar[name] = value
		}
		before := b.load(t, k)
		b.create(t, k, "own", hour())
		after := b.load(t, k)
		if before.id == after.id || string(after.data) != "own" {
			t.Fatalf("create kept the id of the cookie that came")
		}
		switch k := k.(type) {
		case *memoryKeeper:
			planted.none(t, k)
		case *gorillaKeeper:
			if _, ok := k.store.(*sessions.FilesystemStore); ok {
				planted.none(t, k)
			}
		}
	})
}

func TestRemoveWithoutARecordDeletesWhatCame(t *testing.T) {
	eachKeeper(t, func(t *testing.T, k keeper) {
		b := newBrowser()
		b.jar[testAttributes.name] = "junk"
		b.remove(t, k, nil)
		if len(b.jar) != 0 {
			t.Fatal("the cookie stayed")
		}
		b.create(t, k, "data", hour())
		old := b.request()
		b.remove(t, k, nil)
		var have kept
		if _, ok := k.(*memoryKeeper); ok && !errors.Is(k.load(old, &have), errNoRecord) {
			t.Error("the record stayed")
		}
		w := httptest.NewRecorder()
		if err := k.remove(w, newBrowser().request(), nil); err != nil || len(w.Header()) != 0 {
			t.Fatalf("with no cookie: %v, headers %v", err, w.Header())
		}
	})
}
