package session

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// random returns n bytes that don't compress or repeat.
func random(n int, seed uint64) []byte {
	b := make([]byte, n)
	c := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	_, _ = c.Read(b)
	return b
}

// TestEveryLengthFitsOrIsRefused takes a record of every length from 0 to 16,000: read back whole, each line within the bound, or refused with nothing written.
func TestEveryLengthFitsOrIsRefused(t *testing.T) {
	const lengths, workers = 16_001, 4
	k, end, all := cookieKeeperOf(t, key(1)), hour(), random(lengths, 1)
	var lines [lengths]int // the longest line for each length, 0: refused
	var wg sync.WaitGroup
	for from := range workers {
		wg.Go(func() {
			for n := from; n < lengths; n += workers {
				var err error
				if lines[n], err = writeAndRead(k, all[:n], end); err != nil {
					t.Errorf("%d bytes: %v", n, err)
					return
				}
			}
		})
	}
	wg.Wait()
	largest := slices.Index(lines[:], 0) - 1
	if slices.Max(lines[largest+1:]) != 0 {
		t.Errorf("%d bytes are refused and some more are not", largest+1)
	}
	most := slices.Max(lines[:])
	if most > maxCookie {
		t.Errorf("a Set-Cookie line of %d bytes", most)
	}
	if largest < 11_800 || most < maxCookie-60 {
		t.Errorf("largest record %d, longest line %d: room is wasted", largest, most)
	}
}

// writeAndRead returns the length of the longest Set-Cookie line, 0 when data was refused as it should be.
func writeAndRead(k keeper, data []byte, end time.Time) (longest int, err error) {
	w := httptest.NewRecorder()
	err = k.create(w, requestWith(), data, end)
	lines := w.Header()["Set-Cookie"]
	if err != nil {
		if !errors.Is(err, ErrTooLarge) || len(lines) != 0 {
			return 0, fmt.Errorf("%w with %d cookies written", err, len(lines))
		}
		return 0, nil
	}
	var cookies []string
	for _, line := range lines {
		longest = max(longest, len(line))
		pair, _, _ := strings.Cut(line, ";")
		cookies = append(cookies, pair)
	}
	var have kept
	if err := k.load(requestWith(strings.Join(cookies, "; ")), &have); err != nil {
		return 0, err
	}
	if !bytes.Equal(have.data, data) {
		return 0, errors.New("read back differently")
	}
	return longest, nil
}

func TestARecordTooLargeSaysWhatToDoAndLeavesTheOldOne(t *testing.T) {
	k, b := cookieKeeperOf(t, key(1)), newBrowser()
	b.create(t, k, "old", hour())
	have := b.load(t, k)
	for name, save := range map[string]func(w *httptest.ResponseRecorder) error{
		"create": func(w *httptest.ResponseRecorder) error {
			return k.create(w, b.request(), make([]byte, 20_000), hour())
		},
		"update": func(w *httptest.ResponseRecorder) error {
			return k.update(w, b.request(), &have, make([]byte, 20_000), hour())
		},
	} {
		w := httptest.NewRecorder()
		err := save(w)
		if !errors.Is(err, ErrTooLarge) {
			t.Fatalf("%s: %v", name, err)
		}
		for _, part := range []string{"20025 bytes", "at most 118", "4 cookies", "NewMemoryStore"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q doesn't say %q", name, err, part)
			}
		}
		if len(w.Header()) != 0 {
			t.Errorf("%s wrote %d headers", name, len(w.Header()))
		}
		b.take(w)
		if got := b.load(t, k); string(got.data) != "old" {
			t.Errorf("%s: the old record is %q", name, got.data)
		}
	}
}

func TestChunksLeftOverFromALongerRecordAreDeleted(t *testing.T) {
	k, b := cookieKeeperOf(t, key(1)), newBrowser()
	for _, step := range []struct{ size, cookies int }{{11_000, 4}, {5_000, 2}, {8_000, 3}, {10, 1}} {
		b.create(t, k, string(random(step.size, 2)), hour())
		if len(b.jar) != step.cookies {
			t.Fatalf("%d bytes: %d cookies, want %d", step.size, len(b.jar), step.cookies)
		}
		if got := b.load(t, k); len(got.data) != step.size {
			t.Fatalf("read back %d bytes", len(got.data))
		}
	}
}

func TestAChunkLeftOverDoesNoHarm(t *testing.T) {
	k, long := cookieKeeperOf(t, key(1)), newBrowser()
	long.create(t, k, string(random(11_000, 3)), hour())
	short := newBrowser()
	short.create(t, k, string(random(5_000, 4)), hour())
	short.jar[testAttributes.name+".2"] = long.jar[testAttributes.name+".2"]
	short.jar[testAttributes.name+".3"] = "junk"
	if got := short.load(t, k); !bytes.Equal(got.data, random(5_000, 4)) {
		t.Fatal("not the record that was written")
	}
}

// TestChunkGames: a part missing, empty, cut, moved, doubled, or from an older write of the same session opens nothing.
func TestChunkGames(t *testing.T) {
	k, b := cookieKeeperOf(t, key(1)), newBrowser()
	b.create(t, k, string(random(11_500, 5)), hour())
	older := maps.Clone(b.jar)
	b.update(t, k, b.load(t, k), string(random(11_500, 6)), hour())
	names := slices.Sorted(maps.Keys(b.jar))
	if len(names) != maxChunks {
		t.Fatalf("%d cookies", len(names))
	}
	games := 0
	none := func(what string, change func(jar map[string]string)) {
		t.Helper()
		changed := &browser{jar: maps.Clone(b.jar)}
		change(changed.jar)
		changed.none(t, k)
		games++
	}
	for i, name := range names {
		value := b.jar[name]
		none("missing", func(jar map[string]string) { delete(jar, name) })
		none("empty", func(jar map[string]string) { jar[name] = "" })
		none("cut", func(jar map[string]string) { jar[name] = value[:len(value)-1] })
		none("cut by four", func(jar map[string]string) { jar[name] = value[:len(value)-4] })
		none("longer", func(jar map[string]string) { jar[name] = value + "AAAA" })
		none("older", func(jar map[string]string) { jar[name] = older[name] })
		none("quoted", func(jar map[string]string) { jar[name] = `"` + value + `"` })
		none("padded", func(jar map[string]string) { jar[name] = value + "=" })
		none("very long", func(jar map[string]string) { jar[name] = strings.Repeat("A", 1<<16) })
		none("another name", func(jar map[string]string) { delete(jar, name); jar["other"+name] = value })
		for j, other := range names {
			if i != j {
				none("in place of another", func(jar map[string]string) { jar[other] = value })
				none("swapped", func(jar map[string]string) { jar[other], jar[name] = jar[name], jar[other] })
			}
		}
		line := name + "=" + value
		for n, v := range b.jar {
			line += "; " + n + "=" + v
		}
		var have kept
		if err := k.load(requestWith(line), &have); !errors.Is(err, errNoRecord) {
			t.Errorf("%s twice: %v", name, err)
		}
	}
	none("the count alone", func(jar map[string]string) { clear(jar); jar[names[0]] = "BA" })
	none("first chunk alone", func(jar map[string]string) {
		for _, name := range names[1:] {
			delete(jar, name)
		}
	})
	if games < 50 {
		t.Fatalf("only %d games were played", games)
	}
	b.load(t, k)
}

// TestTheCountIsAuthenticated stays inside: altering the count alters the length read as well, so from outside the two can't be told apart.
func TestTheCountIsAuthenticated(t *testing.T) {
	c := newChunkedCookie("latchkey", sealerOf(t, "session", key(1)))
	for i := range maxChunks {
		sealed := c.seal.Seal(nil, []byte("x"), c.bounds[i])
		for j := range maxChunks {
			if _, err := c.seal.openBound(nil, sealed, c.bounds[j]); (err == nil) != (i == j) {
				t.Errorf("sealed for %d cookies, opened for %d: %v", i+1, j+1, err)
			}
		}
	}
}

// FuzzChunks seals, splits and shuffles: what opens is the original or nothing.
func FuzzChunks(f *testing.F) {
	f.Add(uint16(100), uint64(1), []byte{0})
	f.Add(uint16(9_000), uint64(2), []byte{1, 0, 2, 3})
	f.Add(uint16(11_500), uint64(3), []byte{0, 1, 2, 3})
	f.Add(uint16(3_000), uint64(4), []byte{0, 17, 4, 250})
	c := newChunkedCookie("latchkey", sealerOf(f, "session", key(1)))
	f.Fuzz(func(t *testing.T, size uint16, seed uint64, moves []byte) {
		plain := random(int(size), seed)
		var texts []string
		var p cookieParts
		err := c.write(&p, new(scratch), plain, maxAttributes, func(_ string, text []byte) { texts = append(texts, string(text)) }, func(string) {})
		if err != nil {
			if !errors.Is(err, ErrTooLarge) || texts != nil {
				t.Fatal(err)
			}
			return
		}
		whole := true
		for i := range texts {
			move := i
			if i < len(moves) {
				move = int(moves[i])
			}
			whole = whole && move == i
			switch {
			case move < len(texts):
				p.put(i, texts[move])
			case move%3 == 0:
				p.put(i, texts[i][:move%len(texts[i])])
			case move%3 == 1:
				p.put(i, texts[i])
				p.put(i, texts[i])
			}
		}
		got, err := c.open(&p)
		switch {
		case whole && (err != nil || !bytes.Equal(got, plain)):
			t.Fatalf("%d bytes in %d chunks: %v", size, len(texts), err)
		case err == nil && !bytes.Equal(got, plain):
			t.Fatal("opened something else")
		case !whole && err == nil:
			t.Fatal(fmt.Sprint("opened although it was moved: ", moves))
		}
	})
}
