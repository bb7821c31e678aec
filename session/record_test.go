package session

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
)

// fullRecord has every field at a value of its own, also those a later hand adds to record.
func fullRecord(t testing.TB) *record {
	t.Helper()
	rec := new(record)
	v := reflect.ValueOf(rec).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.String:
			f.SetString(v.Type().Field(i).Name + "\x00é")
		case reflect.Slice:
			f.SetBytes([]byte(`{"field":"` + v.Type().Field(i).Name + `"}`))
		case reflect.Int64:
			f.SetInt(int64(1e9 + i))
		case reflect.Uint64:
			f.SetUint(1<<63 + uint64(i))
		default:
			t.Fatalf("record.%s has a type that append doesn't know", v.Type().Field(i).Name)
		}
	}
	return rec
}

func TestRecordReadsBackEveryField(t *testing.T) {
	for name, rec := range map[string]*record{"full": fullRecord(t), "empty": {}, "negative time": {LoginAt: -5}} {
		var got record
		if err := got.parse(rec.append(nil)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(&got, rec) {
			t.Fatalf("%s: fields differ", name)
		}
	}
	if n := reflect.TypeFor[record]().NumField(); n != tagEnd-1 {
		t.Fatalf("record has %d fields and %d tags", n, tagEnd-1)
	}
}

func TestRecordAppendsToWhatIsThere(t *testing.T) {
	b := (&record{ID: "x"}).append([]byte("before"))
	if !strings.HasPrefix(string(b), "before") {
		t.Fatalf("%q", b)
	}
}

// TestRecordFormatStays holds the bytes: a session saved by one release is read by the next.
func TestRecordFormatStays(t *testing.T) {
	rec := &record{ID: "id", Version: 2, Subject: "sub", App: []byte("{}"), LoginAt: 1_000_000_000}
	const want = "01" + "01026964" + "0403737562" + "0d027b7d" + "0e0580a8d6b907" + "020104"
	if got := hex.EncodeToString(rec.append(nil)); got != want {
		t.Fatalf("got %s\nwant %s", got, want)
	}
}

func TestRecordSkipsTagsItDoesNotKnow(t *testing.T) {
	b := (&record{ID: "id"}).append(nil)
	b = append(b, 200, 3, 'n', 'e', 'w')
	b = append(b, 0, 1, 'x')
	b = append(b, tagSubject, 3, 's', 'u', 'b')
	var rec record
	if err := rec.parse(b); err != nil || rec.ID != "id" || rec.Subject != "sub" {
		t.Fatalf("%v, %q %q", err, rec.ID, rec.Subject)
	}
}

func TestRecordRefusesWhatIsMalformed(t *testing.T) {
	full := fullRecord(t).append(nil)
	for name, b := range map[string][]byte{
		"nothing":            {},
		"version 0":          {0},
		"version 2":          append([]byte{2}, full[1:]...),
		"no length":          {1, tagID},
		"length too long":    {1, tagID, 3, 'a', 'b'},
		"absurd length":      binary.AppendUvarint([]byte{1, tagID}, 1<<63),
		"length over 64 bit": {1, tagID, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1},
		"unknown, too long":  {1, 200, 9, 1},
		"cut in the middle":  {1, tagID, 1, 'a', tagSubject, 9, 'b'},
		"twice":              {1, tagID, 1, 'a', tagID, 1, 'b'},
		"number too long":    {1, tagLoginAt, 2, 2, 2},
		"number empty":       {1, tagLoginAt, 0},
	} {
		var rec record
		if err := rec.parse(b); !errors.Is(err, errNoRecord) || !reflect.DeepEqual(rec, record{}) {
			t.Errorf("%s: %v, or a part of it stayed", name, err)
		}
	}
	for i := range full {
		var rec record
		if err := rec.parse(full[:i]); err == nil && len(rec.append(nil)) != i {
			t.Fatalf("cut to %d bytes it reads as something else", i)
		}
	}
}

func TestRecordParsesWithOneAllocation(t *testing.T) {
	b := benchRecord().append(nil)
	var rec record
	if n := testing.AllocsPerRun(100, func() {
		if err := rec.parse(b); err != nil {
			t.Fatal(err)
		}
	}); n > 1 {
		t.Fatalf("%v allocations", n)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(fullRecord(f).append(nil))
	f.Add(benchRecord().append(nil))
	f.Add([]byte{1, 200, 0, tagID, 1, 'x'})
	f.Add([]byte{1, tagID, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var rec, again record
		if err := rec.parse(b); err != nil {
			if !errors.Is(err, errNoRecord) || !reflect.DeepEqual(rec, record{}) {
				t.Fatalf("%v, or a part of it stayed", err)
			}
			return
		}
		// A field of length zero is read as empty, not as absent; written again it is left out.
		once := rec.append(nil)
		if err := again.parse(once); err != nil || string(again.append(nil)) != string(once) {
			t.Fatalf("not stable: %v", err)
		}
		if again.ID != rec.ID || again.AccessToken != rec.AccessToken || again.ExpiresAt != rec.ExpiresAt || string(again.App) != string(rec.App) {
			t.Fatal("fields differ")
		}
	})
}
func TestStoresPrintNoKey(t *testing.T) {
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
	for _, v := range []any{cookies, memory, rec, &rec, kept{data: []byte("marked-secret")}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			wantNoSecret(t, fmt.Sprintf(verb, v), "marked-secret", hex.EncodeToString([]byte("marked")), fmt.Sprint([]byte("marked"))[1:10])
		}
		var out strings.Builder
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		wantNoSecret(t, out.String(), "marked-secret", "bWFya2Vk")
	}
}
