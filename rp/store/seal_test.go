package store

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func sealerOf(t testing.TB, purpose string, keys ...[]byte) *Sealer {
	t.Helper()
	s, err := ringOf(t, keys...).Sealer("", purpose)
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
	sealed := s.Seal(nil, []byte("a record"), []byte("cookie"))
	if plain, err := s.Open(nil, sealed, []byte("cookie")); err != nil || string(plain) != "a record" {
		t.Fatalf("untouched: %q, %v", plain, err)
	}
	refuses := func(what string, altered []byte, bound string) {
		t.Helper()
		if plain, err := s.Open(nil, altered, []byte(bound)); !errors.Is(err, ErrSealed) || plain != nil {
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
		sealed := sealerOf(t, from, key(1)).Seal(nil, []byte("x"), []byte("name"))
		for _, to := range purposes {
			_, err := sealerOf(t, to, key(1)).Open(nil, sealed, []byte("name"))
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
		seen[string(s.Seal(nil, []byte("x"), []byte("n")))] = true
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
		if _, err := after.Open(nil, before.Seal(nil, []byte("x"), []byte("n")), []byte("n")); err != nil {
			t.Errorf("step %d to %d: the newer replica doesn't open: %v", i, i+1, err)
		}
		if _, err := before.Open(nil, after.Seal(nil, []byte("x"), []byte("n")), []byte("n")); err != nil {
			t.Errorf("step %d to %d: the older replica doesn't open: %v", i, i+1, err)
		}
	}
	retired := sealerOf(t, "s", key(1)).Seal(nil, []byte("x"), []byte("n"))
	if _, err := sealerOf(t, "s", key(2)).Open(nil, retired, []byte("n")); !errors.Is(err, ErrSealed) {
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
	if plain, err := sealerOf(t, "session", key(1)).Open(nil, sealed, []byte("latchkey")); err != nil || string(plain) != "golden" {
		t.Fatalf("%q, %v", plain, err)
	}
}

func TestSealersPrintNoKey(t *testing.T) {
	secret := append([]byte("marked-secret-key-of-this-test-"), key(1)...)
	bodies, err := ringOf(t, secret).SecretSealer("s")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{sealerOf(t, "s", secret), bodies, ringOf(t, secret)} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			printed := fmt.Sprintf(verb, v)
			for _, marked := range []string{"marked-secret", hex.EncodeToString([]byte("marked")), fmt.Sprint([]byte("marked"))[1:10]} {
				if strings.Contains(printed, marked) {
					t.Errorf("%T with %s prints %s", v, verb, printed)
				}
			}
		}
		var out strings.Builder
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		if strings.Contains(out.String(), "marked") || strings.Contains(out.String(), "bWFya2Vk") {
			t.Errorf("%T is logged as %s", v, out.String())
		}
	}
}

func TestASecretSealerNeedsTheSecretToo(t *testing.T) {
	s, err := ringOf(t, key(1)).SecretSealer("server body")
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := s.Seal([]byte("a record"), []byte("its key"), []byte("the browser's secret"))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := s.Open(sealed, []byte("its key"), []byte("the browser's secret")); err != nil || string(plain) != "a record" {
		t.Fatalf("untouched: %q, %v", plain, err)
	}
	altered := bytes.Clone(sealed)
	altered[len(altered)-1] ^= 1
	for what, in := range map[string][3]string{
		"another secret": {string(sealed), "its key", "the browser's secre7"}, "another place": {string(sealed), "its kez", "the browser's secret"},
		"altered": {string(altered), "its key", "the browser's secret"}, "cut": {string(sealed[:Overhead-1]), "its key", "the browser's secret"},
	} {
		if plain, err := s.Open([]byte(in[0]), []byte(in[1]), []byte(in[2])); !errors.Is(err, ErrSealed) || plain != nil {
			t.Errorf("%s: %q, %v", what, plain, err)
		}
	}
}

func key(n byte) []byte {
	k := make([]byte, 32)
	for i := range k {
		k[i] = n + byte(i)
	}
	return k
}

func ringOf(t testing.TB, keys ...[]byte) *Keyring {
	t.Helper()
	ring, err := NewKeyring(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func TestAnEmptySealerSaysSo(t *testing.T) {
	sealed := sealerOf(t, "purpose", key(1)).Seal(nil, []byte("plain"), nil)
	zero := &Sealer{}
	if _, err := zero.Open(nil, sealed, nil); !errors.Is(err, ErrSealed) {
		t.Errorf("Open: %v", err)
	}
	if zero.Knows(sealed) || zero.Len() != 0 || zero.String() != "store.Sealer(0 keys)" {
		t.Errorf("%s knows a key", zero)
	}
	secret := &SecretSealer{}
	if _, err := secret.Seal(nil, nil, nil); !errors.Is(err, errEmptySealer) {
		t.Errorf("SecretSealer.Seal: %v", err)
	}
	if _, err := secret.Open(sealed, nil, nil); !errors.Is(err, ErrSealed) {
		t.Errorf("SecretSealer.Open: %v", err)
	}
	defer func() {
		if got := recover(); got != errEmptySealer {
			t.Errorf("Seal: %v", got)
		}
	}()
	zero.Seal(nil, nil, nil)
}
