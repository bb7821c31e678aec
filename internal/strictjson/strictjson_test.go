package strictjson_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/strictjson"
)

func rule(err error) string {
	if e, ok := errors.AsType[*strictjson.Error](err); ok {
		return e.Rule
	}
	return fmt.Sprint(err)
}

func TestCheckRefusesWhatTwoParsersCouldReadDifferently(t *testing.T) {
	nested := func(n int) string { return strings.Repeat(`{"a":[`, n/2) + strings.Repeat(`]}`, n/2) }
	for _, c := range []struct{ name, good, bad, rule string }{
		{"duplicate", `{"a":1,"b":2}`, `{"a":1,"a":2}`, "duplicate"},
		{"duplicate deep", `[{"x":{"a":1},"y":{"a":1}}]`, `[{"x":{"a":1,"b":2,"a":1}}]`, "duplicate"},
		{"duplicate after an object", `{"a":{"b":1},"b":1}`, `{"b":{"c":1},"b":1}`, "duplicate"},
		{"duplicate by escape", `{"a":1,"\u0062":2}`, `{"a":1,"\u0061":2}`, "duplicate"},
		{"duplicate empty name", `{"":1,"a":2}`, `{"":1,"":2}`, "duplicate"},
		{"case", `{"sub":1,"sup":2}`, `{"sub":1,"SUB":2}`, "case"},
		{"case by escape", `{"sub":1,"x":2}`, `{"sub":1,"\u0053ub":2}`, "case"},
		{"case beyond ASCII: the Kelvin sign", `{"kid":1,"Åid":2}`, "{\"kid\":1,\"\u212aid\":2}", "case"},
		{"case beyond ASCII: the long s", `{"iss":1}`, "{\"iss\":1,\"iſs\":2}", "case"},
		{"invalid UTF-8", `{"a":"é"}`, "{\"a\":\"\xff\"}", "utf8"},
		{"invalid UTF-8 in a name", `{"é":1}`, "{\"\xc3\":1}", "utf8"},
		{"UTF-8 of a surrogate", "\"\ud7ff\"", "\"\xed\xa0\x80\"", "utf8"},
		{"high surrogate alone", `"\ud83d\ude00"`, `"\ud83d"`, "surrogate"},
		{"low surrogate alone", `"\uD83D\uDE00"`, `"\ude00"`, "surrogate"},
		{"two high surrogates", `"\ud83d\ude00\ud83d\ude00"`, `"\ud83d\ud83d\ude00"`, "surrogate"},
		{"surrogates with text between", `"\ud83d\ude00x"`, `"\ud83dx\ude00"`, "surrogate"},
		{"surrogates with an escape between", `"\ud83d\ude00\n"`, `"\ud83d\n\ude00"`, "surrogate"},
		{"surrogate in a name", `{"\ud83d\ude00":1}`, `{"\ud83d":1}`, "surrogate"},
		{"an escaped backslash is no surrogate", `"\\ud83d"`, `"\\\ud83d"`, "surrogate"},
		{"depth", nested(32), nested(34), "depth"},
		{"depth of arrays", strings.Repeat("[", 32) + strings.Repeat("]", 32), strings.Repeat("[", 33) + strings.Repeat("]", 33), "depth"},
		{"depth of 10,000", nested(32), nested(10_000), "depth"},
		{"trailing garbage", `{} `, `{} x`, "grammar"},
		{"two values", `{}`, `{}{}`, "grammar"},
		{"truncated", `{"a":1}`, `{"a":1`, "grammar"},
		{"empty", `0`, ``, "grammar"},
		{"byte order mark", `{}`, "\xef\xbb\xbf{}", "grammar"},
		{"UTF-16", `{}`, "\xff\xfe{\x00}\x00", "grammar"},
		{"script guard", `{}`, ")]}'\n{}", "grammar"},
		{"HTML", `{}`, "<!doctype html>", "grammar"},
		{"NaN", `1e308`, `NaN`, "grammar"},
		{"comment", `{}`, `{}//`, "grammar"},
		{"single quotes", `"a"`, `'a'`, "grammar"},
		{"control character", `"\u0000"`, "\"\x00\"", "grammar"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := strictjson.Check([]byte(c.good)); err != nil {
				t.Errorf("the neighbour that should pass: %v", err)
			}
			if err := strictjson.Check([]byte(c.bad)); rule(err) != c.rule {
				t.Errorf("error %v (rule %s), want rule %s", err, rule(err), c.rule)
			}
		})
	}
}

func TestGrammarErrorsNameTheUsualCauses(t *testing.T) {
	for bad, want := range map[string]string{
		"\xef\xbb\xbf{}":   "byte order mark",
		")]}'\n{}":         "script guard",
		" \n<html>":        "HTML",
		"":                 "empty",
		`{"secret":"hush}`: "unexpected end",
	} {
		err := strictjson.Check([]byte(bad))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: %v, want %q and nothing of the values", bad, err, want)
		}
	}
}

func TestCaseMattersAtTheTopOnly(t *testing.T) {
	if err := strictjson.Check([]byte(`{"x":{"a":1,"A":2}}`)); err != nil {
		t.Error(err)
	}
	if err := strictjson.Check([]byte(`[{"a":1,"A":2}]`)); rule(err) != "<nil>" {
		t.Error(err)
	}
}

func TestManyNamesAreComparedToo(t *testing.T) {
	object := func(n int, last string) []byte {
		var b strings.Builder
		b.WriteString("{")
		for i := range n {
			fmt.Fprintf(&b, `"name%d":%d,`, i, i)
		}
		fmt.Fprintf(&b, `"%s":0}`, last)
		return []byte(b.String())
	}
	for _, n := range []int{2, 31, 32, 33, 63, 64, 65, 66, 1000} {
		if err := strictjson.Check(object(n, "other")); err != nil {
			t.Errorf("%d names: %v", n, err)
		}
		for _, last := range []string{"name0", fmt.Sprintf("name%d", n-1), "NAME1"} {
			if r := rule(strictjson.Check(object(n, last))); r != "duplicate" && r != "case" {
				t.Errorf("%d names and %s again: rule %s", n, last, r)
			}
		}
		deep := append(append([]byte(`{"x":`), object(n, "name1")...), '}')
		if r := rule(strictjson.Check(deep)); r != "duplicate" {
			t.Errorf("%d names in an inner object: rule %s", n, r)
		}
	}
}

func TestAHostileObjectCostsNoMoreThanItsLength(t *testing.T) {
	var b strings.Builder
	b.WriteString("{")
	for i := range 100_000 {
		fmt.Fprintf(&b, `"%x":0,`, i)
	}
	b.WriteString(`"":0}`)
	start := time.Now()
	if err := strictjson.Check([]byte(b.String())); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("a megabyte of names took %s", took)
	}
}

func TestObjectReturnsMembersByTheirExactNames(t *testing.T) {
	got, err := strictjson.Object([]byte(" {\"a\" : [1, 2] ,\"\\u0062\":{\"c\":\"}\"}, \"n\":-1.5e3,\"z\":null}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]json.RawMessage{"a": json.RawMessage("[1, 2]"), "b": json.RawMessage(`{"c":"}"}`), "n": json.RawMessage("-1.5e3"), "z": json.RawMessage("null")}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %s", got)
	}
	for _, bad := range []string{`[]`, `null`, `"{}"`, `1`} {
		if m, err := strictjson.Object([]byte(bad)); rule(err) != "object" || m != nil {
			t.Errorf("%s: %v, want rule object", bad, err)
		}
	}
	if _, err := strictjson.Object([]byte(`{"a":1,"a":1}`)); rule(err) != "duplicate" {
		t.Errorf("error %v, want rule duplicate", err)
	}
	if _, err := strictjson.Object([]byte(`nonsense`)); rule(err) != "grammar" {
		t.Errorf("error %v, want rule grammar", err)
	}
}

type inner struct {
	Sub string `json:"sub"`
}
type Outer struct {
	Aud string `json:"aud,omitempty"`
}
type claims struct {
	inner
	*Outer
	Iss     string `json:"iss"`
	Skipped string `json:"-"`
	Plain   string
	hidden  string
	Loop    *claims `json:"loop"`
}

func TestUnmarshalMatchesNamesExactly(t *testing.T) {
	var c claims
	if err := strictjson.Unmarshal([]byte(`{"iss":"i","sub":"s","aud":"a","Plain":"p","-":"d","more":1,"skipped":1,"HIDDEN":1}`), &c); err != nil {
		t.Fatal(err)
	}
	if c.Iss != "i" || c.Sub != "s" || c.Outer == nil || c.Aud != "a" || c.Plain != "p" || c.hidden != "" || c.Skipped != "" {
		t.Errorf("got %+v", c)
	}
	for _, bad := range []string{`{"ISS":"i"}`, `{"Sub":"s"}`, `{"AUD":"a"}`, `{"plain":"p"}`, `{"i\u0073S":"i"}`, "{\"i\u017fs\":\"i\"}", `{"Loop":null}`} {
		var c claims
		if err := strictjson.Unmarshal([]byte(bad), &c); rule(err) != "case" {
			t.Errorf("%s: %v, want rule case", bad, err)
		}
		if c != (claims{}) {
			t.Errorf("%s: a refused object left something behind: %+v", bad, c)
		}
	}
	if err := strictjson.Unmarshal([]byte(`[]`), &c); rule(err) != "object" {
		t.Errorf("error %v, want rule object", err)
	}
	m := map[string]any{}
	if err := strictjson.Unmarshal([]byte(`{"ISS":1,"x":null}`), &m); err != nil || len(m) != 2 {
		t.Errorf("a map: %v %v", m, err)
	}
	if err := strictjson.Unmarshal([]byte(`{}`), nil); err == nil {
		t.Error("decoding into nothing passed")
	}
}

func TestEachStopsAtTheFirstError(t *testing.T) {
	stop := errors.New("stop")
	calls := 0
	err := strictjson.Each([]byte(`{"a":1,"b":2}`), func(_, _ []byte) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

// FuzzStrictJSON: the difference to encoding/json is in refusing only.
func FuzzStrictJSON(f *testing.F) {
	for _, seed := range []string{
		`{"iss":"https://op.example","sub":"1","aud":["a","b"],"exp":1.5e9,"ok":true,"no":null}`,
		`{"a":1,"A":2}`, `{"a":{"b":[{"c":"\ud83d\ude00"}]}}`, `"\ud800"`, `[[[[]]]]`, "{\"\xff\":1}", `{"a":1,"a":1}`, ")]}'{}", "\xef\xbb\xbf{}", ` { } `, `-0`, `{"":""}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		err := strictjson.Check(data)
		if err == nil && !json.Valid(data) {
			t.Fatalf("%q is accepted and is no JSON", data)
		}
		got, objectErr := strictjson.Object(data)
		if objectErr == nil && err != nil {
			t.Fatalf("%q: Object accepts what Check refuses: %v", data, err)
		}
		if objectErr != nil {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) {
			t.Fatalf("%q: members %q, want %q", data, got, want)
		}
		for name, value := range want {
			if string(got[name]) != string(value) {
				t.Fatalf("%q: member %q is %q, want %q", data, name, got[name], value)
			}
		}
	})
}
