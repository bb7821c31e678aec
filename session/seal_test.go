package session

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func sealerOf(t testing.TB, purpose string, keys ...[]byte) *sealer {
	t.Helper()
	s, err := newSealer(ringOf(t, keys...), "", purpose)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealerRefusesWeakKeys(t *testing.T) {
	for name, test := range map[string]struct {
		keys [][]byte
		want string
	}{
		"none":     {nil, "no key"},
		"short":    {[][]byte{key(1)[:31]}, "key 0 has 31 bytes"},
		"repeated": {[][]byte{key(1), bytes.Repeat([]byte{7}, 64)}, "key 1 is one byte repeated"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewKeyring(test.keys...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
		})
	}
	sealerOf(t, "x", key(1), append(key(2), 1, 2, 3))
}

func TestSealerOpensNothingThatWasAltered(t *testing.T) {
	s := sealerOf(t, "session", key(1))
	sealed := s.seal(nil, []byte("a record"), "cookie")
	if plain, err := s.open(nil, sealed, "cookie"); err != nil || string(plain) != "a record" {
		t.Fatalf("untouched: %q, %v", plain, err)
	}
	refuses := func(what string, altered []byte, bound string) {
		t.Helper()
		if plain, err := s.open(nil, altered, bound); !errors.Is(err, errNoRecord) || plain != nil {
			t.Fatalf("%s: %q, %v", what, plain, err)
		}
	}
	for i := range sealed {
		for bit := range 8 {
			altered := bytes.Clone(sealed)
			altered[i] ^= 1 << bit
			refuses(fmt.Sprintf("byte %d bit %d flipped", i, bit), altered, "cookie")
		}
		refuses(fmt.Sprintf("cut to %d", i), sealed[:i], "cookie")
		refuses(fmt.Sprintf("extended at %d", i), append(append(bytes.Clone(sealed[:i]), 0), sealed[i:]...), "cookie")
	}
	refuses("extended", append(bytes.Clone(sealed), 0), "cookie")
	refuses("another name", sealed, "cookies")
	refuses("no name", sealed, "")
}

func TestSealerSeparatesPurposes(t *testing.T) {
	purposes := []string{"session", "attempt", "seen", "logout", "values", "store"}
	for _, from := range purposes {
		sealed := sealerOf(t, from, key(1)).seal(nil, []byte("x"), "name")
		for _, to := range purposes {
			_, err := sealerOf(t, to, key(1)).open(nil, sealed, "name")
			if (err == nil) != (from == to) {
				t.Errorf("sealed for %s, opened for %s: %v", from, to, err)
			}
		}
	}
}

func TestSealerSealsNeverTwiceAlike(t *testing.T) {
	s := sealerOf(t, "session", key(1))
	seen := map[string]bool{}
	for range 10_000 {
		seen[string(s.seal(nil, []byte("x"), "n"))] = true
	}
	if len(seen) != 10_000 {
		t.Fatalf("%d different values of 10,000", len(seen))
	}
}

// TestKeyRotationDrill walks through the steps Config.Keys prescribes, with two replicas that are not at the same step.
func TestKeyRotationDrill(t *testing.T) {
	steps := [][][]byte{{key(1)}, {key(1), key(2)}, {key(2), key(1)}, {key(2)}}
	for i := range len(steps) - 1 {
		before, after := sealerOf(t, "s", steps[i]...), sealerOf(t, "s", steps[i+1]...)
		if _, err := after.open(nil, before.seal(nil, []byte("x"), "n"), "n"); err != nil {
			t.Errorf("step %d to %d: the newer replica doesn't open: %v", i, i+1, err)
		}
		if _, err := before.open(nil, after.seal(nil, []byte("x"), "n"), "n"); err != nil {
			t.Errorf("step %d to %d: the older replica doesn't open: %v", i, i+1, err)
		}
	}
	retired := sealerOf(t, "s", key(1)).seal(nil, []byte("x"), "n")
	if _, err := sealerOf(t, "s", key(2)).open(nil, retired, "n"); !errors.Is(err, errNoRecord) {
		t.Errorf("a retired key: %v", err)
	}
}

const goldenSealed = "01d3916ede64cea78412afb8d659d8c3608d7e51def7e95af4e59b21ef32df6e1d38f853185a14"

// TestSealerStillOpensWhatOlderReleasesSealed holds the format: a change of it signs everybody out.
func TestSealerStillOpensWhatOlderReleasesSealed(t *testing.T) {
	sealed, err := hex.DecodeString(goldenSealed)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := sealerOf(t, "session", key(1)).open(nil, sealed, "latchkey"); err != nil || string(plain) != "golden" {
		t.Fatalf("%q, %v", plain, err)
	}
}

func TestSealerAndStoresPrintNoKey(t *testing.T) {
	secret := append([]byte("marked-secret-key-of-this-test-"), key(1)...)
	cookies, err := NewCookieStore(secret)
	if err != nil {
		t.Fatal(err)
	}
	memory, err := NewMemoryStore(MemoryConfig{})
	if err != nil {
		t.Fatal(err)
	}
	rec := record{AccessToken: "marked-secret"}
	for _, v := range []any{sealerOf(t, "s", secret), cookies, memory, rec, &rec, kept{data: []byte("marked-secret")}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			wantNoSecret(t, fmt.Sprintf(verb, v), "marked-secret", hex.EncodeToString([]byte("marked")), fmt.Sprint([]byte("marked"))[1:10])
		}
		var out strings.Builder
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		wantNoSecret(t, out.String(), "marked-secret", "bWFya2Vk")
	}
}
