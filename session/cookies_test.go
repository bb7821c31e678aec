package session

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func requestWith(lines ...string) *http.Request {
	return &http.Request{Method: http.MethodGet, Header: http.Header{"Cookie": lines}}
}

func TestReadCookieTakesTheExactNameOnce(t *testing.T) {
	const name = "__Host-Http-latchkey"
	for header, want := range map[string]string{
		name + "=v":                             "v",
		"a=b; " + name + "=v; c=d":              "v",
		"a=b;" + name + "=v":                    "v",
		name + "=v=w":                           "v=w",
		name + `="v"`:                           `"v"`, // not unquoted: no value of ours has quotes
		name + "=":                              "",
		name + "=v; " + name + "=v":             "none",
		name + "=v; " + name + "=":              "none",
		name:                                    "none",
		name + " =v":                            "none",
		strings.ToUpper(name) + "=v":            "none",
		strings.ToLower(name) + "=v":            "none",
		name + "x=v":                            "none",
		"x" + name + "=v":                       "none",
		"\u2000" + name + "=v":                  "none", // the Unicode spaces that servers trim and browsers don't
		"\u00a0" + name + "=v":                  "none",
		"\u0085" + name + "=v":                  "none",
		"\v" + name + "=v":                      "none",
		"\t" + name + "=v":                      "none",
		"%5f_Host-Http-latchkey=v":              "none",
		"$Version=1, " + name + "=v":            "none",
		"$Version=1; a=b, " + name + "=v":       "none",
		"=" + name + "=v":                       "none",
		"":                                      "none",
		";;; ; =; ==;":                          "none",
		`a="x; b=y", ` + name + `=v`:            "none",
		strings.Repeat(" ", 5000) + name + "=v": "v",
	} {
		got, ok := readCookie(requestWith(header), name)
		if !ok {
			got = "none"
		}
		if got != want {
			t.Errorf("%.60q: %q, want %q", header, got, want)
		}
		var p cookieParts
		p.scan(requestWith(header), name)
		if (p.times[0] == 1) != (want != "none") || want != "none" && p.chunk[0] != want {
			t.Errorf("%.60q: scan found %d, %q", header, p.times[0], p.chunk[0])
		}
	}
	if got, ok := readCookie(requestWith("a=b", name+"=v"), name); !ok || got != "v" {
		t.Error("a second Cookie line is not read")
	}
	if _, ok := readCookie(requestWith(name+"=v", name+"=w"), name); ok {
		t.Error("a duplicate on a second line is not seen")
	}
}

// TestACookieFloodDoesNotHideTheSession: net/http gives no cookie at all above 3,000.
func TestACookieFloodDoesNotHideTheSession(t *testing.T) {
	var line strings.Builder
	for i := range 4000 {
		fmt.Fprintf(&line, "c%d=v; ", i)
	}
	eachKeeper(t, func(t *testing.T, k keeper) {
		b := newBrowser()
		b.create(t, k, "data", hour())
		r := b.request()
		r.Header.Set("Cookie", line.String()+r.Header.Get("Cookie"))
		var have kept
		if err := k.load(r, &have); err != nil || string(have.data) != "data" {
			t.Error(err)
		}
		w := httptest.NewRecorder()
		if err := k.remove(w, r, &have); err != nil || len(w.Header()) == 0 {
			t.Error("not removed", err)
		}
	})
}

func TestACookieThatComesTwiceIsNoSession(t *testing.T) {
	eachKeeper(t, func(t *testing.T, k keeper) {
		b := newBrowser()
		b.create(t, k, "data", hour())
		r := b.request()
		for _, planted := range []string{"planted", b.jar[testAttributes.name], ""} {
			for _, line := range []string{
				r.Header.Get("Cookie") + "; " + testAttributes.name + "=" + planted,
				testAttributes.name + "=" + planted + "; " + r.Header.Get("Cookie"),
			} {
				var have kept
				if err := k.load(requestWith(line), &have); err == nil {
					t.Errorf("loaded %q although the name came twice", have.data)
				}
			}
		}
	})
}

// TestSetCookieGolden: a deletion must have the attributes of the cookie it deletes.
func TestSetCookieGolden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loopback := cookieAttributes{name: "latchkey", sameSite: http.SameSiteStrictMode}
		w := httptest.NewRecorder()
		testAttributes.set(w, testAttributes.name, "v", time.Now().Add(12*time.Hour))
		testAttributes.setEncoded(w, testAttributes.name+".1", []byte("abc"), time.Now().Add(1500*time.Millisecond))
		testAttributes.set(w, "past", "v", time.Now().Add(-time.Hour))
		testAttributes.delete(w, "gone")
		loopback.set(w, "latchkey", "v", time.Now().Add(time.Minute))
		loopback.delete(w, "latchkey-seen")
		want := []string{
			"__Host-Http-latchkey=v; Path=/; Max-Age=43200; HttpOnly; Secure; SameSite=Lax",
			"__Host-Http-latchkey.1=abc; Path=/; Max-Age=2; HttpOnly; Secure; SameSite=Lax",
			"past=v; Path=/; Max-Age=1; HttpOnly; Secure; SameSite=Lax",
			"gone=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax",
			"latchkey=v; Path=/; Max-Age=60; HttpOnly; SameSite=Strict",
			"latchkey-seen=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict",
		}
		if got := w.Header()["Set-Cookie"]; strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// TestEveryCookieOfAKeeperIsProtected looks at what each keeper sets and deletes, foreign stores with unsafe defaults included.
func TestEveryCookieOfAKeeperIsProtected(t *testing.T) {
	eachKeeper(t, func(t *testing.T, k keeper) {
		b, lines := newBrowser(), 0
		check := func(w *httptest.ResponseRecorder) {
			t.Helper()
			for _, line := range w.Header()["Set-Cookie"] {
				lines++
				for _, part := range []string{"; Path=/;", "; HttpOnly", "; Secure", "; SameSite=Lax", "; Max-Age="} {
					if !strings.Contains(line, part) {
						t.Errorf("%.40q... has no %q", line, part)
					}
				}
				if strings.Contains(line, "Domain") || !strings.HasPrefix(line, "__Host-Http-latchkey") {
					t.Errorf("%.40q... breaks the __Host- rules", line)
				}
			}
			b.take(w)
		}
		do := func(f func(w http.ResponseWriter, r *http.Request) error) {
			t.Helper()
			w := httptest.NewRecorder()
			if err := f(w, b.request()); err != nil {
				t.Fatal(err)
			}
			check(w)
		}
		do(func(w http.ResponseWriter, r *http.Request) error { return k.create(w, r, []byte("data"), hour()) })
		have := b.load(t, k)
		do(func(w http.ResponseWriter, r *http.Request) error { return k.touch(w, r, &have, time.Now()) })
		do(func(w http.ResponseWriter, r *http.Request) error {
			return k.update(w, r, &have, []byte("more"), time.Now().Add(2*time.Hour))
		})
		do(func(w http.ResponseWriter, r *http.Request) error { return k.remove(w, r, &have) })
		if lines < 3 {
			t.Fatalf("only %d cookies were looked at", lines)
		}
	})
}

func TestRemoveTakesBackWhatTheResponseHasSet(t *testing.T) {
	eachKeeper(t, func(t *testing.T, k keeper) {
		w, r := httptest.NewRecorder(), requestWith()
		if err := k.create(w, r, random(1_000, 1), hour()); err != nil {
			t.Fatal(err)
		}
		if err := k.remove(w, r, nil); err != nil {
			t.Fatal(err)
		}
		if lines := w.Header()["Set-Cookie"]; len(lines) != 0 {
			t.Errorf("%.40q", lines)
		}
	})
}

func TestAResponseSaysOneThingOfEachCookie(t *testing.T) {
	eachKeeper(t, func(t *testing.T, k keeper) {
		b, w := newBrowser(), httptest.NewRecorder()
		b.jar[testAttributes.name] = "junk"
		w.Header().Add("Set-Cookie", "theme=dark")
		w.Header().Add("Set-Cookie", testAttributes.name+"x=other")
		if err := k.remove(w, b.request(), nil); err != nil {
			t.Fatal(err)
		}
		for _, data := range []string{"one", "two"} {
			if err := k.create(w, b.request(), []byte(data), hour()); err != nil {
				t.Fatal(err)
			}
		}
		if lines := w.Header()["Set-Cookie"]; len(lines) != 3 || lines[0] != "theme=dark" || !strings.HasPrefix(lines[1], testAttributes.name+"x=") {
			t.Fatalf("%d lines: %.30q", len(lines), lines)
		}
		b.take(w)
		if got := b.load(t, k); string(got.data) != "two" {
			t.Fatalf("%q", got.data)
		}
	})
}
