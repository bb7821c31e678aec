package session

import (
	"bytes"
	"errors"
	"maps"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// TestNoByteOfASessionCookieCanChange flips, cuts and extends the cookie at every place.
func TestNoByteOfASessionCookieCanChange(t *testing.T) {
	k, b := cookieKeeperOf(t, key(1)), newBrowser()
	b.create(t, k, "a record of some tokens", hour())
	name := testAttributes.name
	value := b.jar[name]
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	try := func(changed string) {
		t.Helper()
		(&browser{jar: map[string]string{name: changed}}).none(t, k)
	}
	for i := range value {
		for _, c := range []byte(alphabet + "+/=\"% \x00\n\r\x80") {
			if c != value[i] && (c != '\n' || i > 0) {
				try(value[:i] + string(rune(c)) + value[i+1:])
			}
		}
		try(value[:i])
		try(value[i+1:])
		try(value[:i] + "A" + value[i:])
		try(value[:i] + "\n" + value[i:]) // Go's base64 skips line ends
	}
	try(value + "A")
	try(value + value)
	b.load(t, k)
}

// TestCookiesOfOtherPurposesAreNoSession renames what is sealed for something else under the same keys.
func TestCookiesOfOtherPurposesAreNoSession(t *testing.T) {
	k, b := cookieKeeperOf(t, key(1)), newBrowser()
	b.create(t, k, "data", hour())
	session := b.jar[testAttributes.name]
	b.touch(t, k, b.load(t, k), time.Now())

	plain := appendEnvelope(nil, newEnvelopeID(), hour(), []byte("planted"))
	for _, purpose := range []string{"attempt", "seen", "logout", "values", "store"} {
		seal := sealerOf(t, purpose, key(1))
		for _, bound := range []string{testAttributes.name, testAttributes.name + "\x00\x01", ""} {
			for _, first := range [][]byte{{1}, nil} {
				planted := cookieEncoding.EncodeToString(seal.seal(first, plain, bound))
				(&browser{jar: map[string]string{testAttributes.name: planted}}).none(t, k)
			}
		}
	}
	(&browser{jar: map[string]string{testAttributes.name: b.jar[testAttributes.name+seenSuffix]}}).none(t, k)

	if _, err := sealerOf(t, "attempt", key(1)).open(nil, []byte(session), testAttributes.name); !errors.Is(err, errNoRecord) {
		t.Errorf("a session cookie opens as an attempt: %v", err)
	}
	// The same keys under another name: another application of this domain.
	store, err := NewCookieStore(key(1))
	if err != nil {
		t.Fatal(err)
	}
	other := newCookieKeeper(store, cookieAttributes{name: "__Host-Http-other", secure: true})
	(&browser{jar: map[string]string{"__Host-Http-other": session}}).none(t, other)
	// A gorilla session of the same store and name.
	r := httptest.NewRequest("GET", "/", nil)
	values, err := store.New(r, testAttributes.name)
	if err != nil {
		t.Fatal(err)
	}
	values.Values["x"] = string(plain)
	w := httptest.NewRecorder()
	if err := store.Save(r, w, values); err != nil {
		t.Fatal(err)
	}
	planted := newBrowser()
	planted.take(w)
	planted.none(t, k)
	// And back: a session cookie is no gorilla session.
	if back, err := store.New(requestWith(testAttributes.name+"="+session), testAttributes.name); err != nil || !back.IsNew || len(back.Values) != 0 {
		t.Errorf("a record opens as Values: %v, %v", back, err)
	}
}

// TestASlowResponseCannotPutAnOldRecordBack: a request that only touched the session sets the last-seen cookie alone, so it may arrive whenever it likes.
func TestASlowResponseCannotPutAnOldRecordBack(t *testing.T) {
	for _, name := range []string{"CookieStore", "MemoryStore", "gorilla CookieStore", "gorilla FilesystemStore"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, b := keeperNamed(t, name), newBrowser()
				b.create(t, k, "refresh token 1", hour())
				slow, have := b.request(), b.load(t, k)
				late := httptest.NewRecorder()
				at := time.Now().Add(time.Minute).Truncate(time.Second)
				if err := k.touch(late, slow, &have, at); err != nil {
					t.Fatal(err)
				}
				b.update(t, k, b.load(t, k), "refresh token 2", hour())
				b.take(late)
				if got := b.load(t, k); string(got.data) != "refresh token 2" || !got.seen.Equal(at) {
					t.Fatalf("%q seen %v", got.data, got.seen)
				}
			})
		})
	}
}

func TestALastSeenMarkCountsForItsOwnRecordOnly(t *testing.T) {
	for _, name := range []string{"CookieStore", "gorilla CookieStore", "gorilla FilesystemStore"} {
		t.Run(name, func(t *testing.T) {
			k, one, two := keeperNamed(t, name), newBrowser(), newBrowser()
			seen := testAttributes.name + seenSuffix
			one.create(t, k, "one", hour())
			one.touch(t, k, one.load(t, k), time.Now())
			two.create(t, k, "two", hour())
			two.jar[seen] = one.jar[seen]
			if got := two.load(t, k); !got.seen.IsZero() {
				t.Errorf("another record's mark is taken: %v", got.seen)
			}
			for _, bad := range []string{"", "junk", one.jar[seen] + "A", one.jar[testAttributes.name]} {
				changed := &browser{jar: maps.Clone(one.jar)}
				changed.jar[seen] = bad
				if got := changed.load(t, k); !got.seen.IsZero() {
					t.Errorf("%.20q is taken for a mark", bad)
				}
			}
			doubled := one.request()
			doubled.Header.Add("Cookie", seen+"="+one.jar[seen])
			var have kept
			if err := k.load(doubled, &have); err != nil || !have.seen.IsZero() {
				t.Errorf("a mark that comes twice is taken: %v, %v", have.seen, err)
			}
			two.create(t, k, "two again", hour())
			if two.jar[seen] != "" {
				t.Error("a new record left the old mark in the browser")
			}
		})
	}
}

func TestARetiredKeyIsNoSessionAndTheNextWriteReplacesIt(t *testing.T) {
	old, b := cookieKeeperOf(t, key(1)), newBrowser()
	b.create(t, old, "data", hour())
	both := cookieKeeperOf(t, key(2), key(1))
	have := b.load(t, both)
	current := cookieKeeperOf(t, key(2))
	b.none(t, current)
	b.update(t, both, have, "data", hour())
	b.load(t, current)
	b.none(t, old)
}

// TestALoadAndASaveTakeFewAllocations holds the figures the package is built for: three at load with the record's parse, three at save.
// The race detector empties pools at random, hence the slack.
func TestALoadAndASaveTakeFewAllocations(t *testing.T) {
	k, b := cookieKeeperOf(t, key(1)), newBrowser()
	b.create(t, k, string(benchRecord().append(nil)), hour())
	r, have, end := b.request(), b.load(t, k), hour()
	w := httptest.NewRecorder()
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(200, func() {
		var again kept
		var rec record
		if err := errors.Join(k.load(r, &again), rec.parse(again.data)); err != nil {
			t.Fatal(err)
		}
	}); n > 4 {
		t.Errorf("load: %v allocations", n)
	}
	rec := benchRecord()
	if n := testing.AllocsPerRun(200, func() {
		clear(w.Header())
		if err := k.update(w, r, &have, rec.append(buf), end); err != nil {
			t.Fatal(err)
		}
	}); n > 5 {
		t.Errorf("save: %v allocations", n)
	}
}

func FuzzCookieOpen(f *testing.F) {
	k, b := cookieKeeperOf(f, key(1)), newBrowser()
	data := random(5_000, 9)
	b.create(f, k, string(data), hour())
	b.touch(f, k, b.load(f, k), time.Now())
	name := testAttributes.name
	f.Add(b.jar[name], b.jar[name+".1"], b.jar[name+seenSuffix])
	f.Add(b.jar[name+".1"], b.jar[name], "")
	f.Add(`"`+b.jar[name]+`"`, b.jar[name+".1"]+"; "+name+"=x", "x")
	f.Add("AQ", "", "AQ")
	f.Add("\r", "0", "0") // a line end decodes to nothing at all
	f.Fuzz(func(t *testing.T, first, second, seen string) {
		r := requestWith(name + "=" + first + "; " + name + ".1=" + second + "; " + name + seenSuffix + "=" + seen)
		var have kept
		err := k.load(r, &have)
		if err != nil {
			if !errors.Is(err, errNoRecord) || have.data != nil {
				t.Fatalf("%v", err)
			}
			return
		}
		if !bytes.Equal(have.data, data) {
			t.Fatal("opened something that was never sealed")
		}
	})
}
