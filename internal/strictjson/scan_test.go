package strictjson_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/latchkey-go/latchkey/internal/strictjson"
)

// broken names the rules data breaks, slowly and with encoding/json: what the one walk of the package is measured by.
func broken(data []byte) (rules []string) {
	if !json.Valid(data) {
		return []string{"grammar"}
	}
	if !utf8.Valid(data) {
		rules = append(rules, "utf8")
	}
	for _, s := range quoted.FindAll(data, -1) {
		if loneSurrogate(s[1 : len(s)-1]) {
			rules = append(rules, "surrogate")
		}
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var walk func(depth int)
	walk = func(depth int) {
		token, err := d.Token()
		if err != nil {
			panic(err)
		}
		open, ok := token.(json.Delim)
		if !ok {
			return
		}
		if depth++; depth > strictjson.MaxDepth {
			rules = append(rules, "depth")
		}
		var names []string
		for d.More() {
			if open == '{' {
				token, err := d.Token()
				if err != nil {
					panic(err)
				}
				name := token.(string)
				same := func(other string) bool { return strings.EqualFold(name, other) }
				if slices.Contains(names, name) {
					rules = append(rules, "duplicate")
				}
				if depth == 1 && slices.ContainsFunc(names, same) {
					rules = append(rules, "case")
				}
				names = append(names, name)
			}
			walk(depth)
		}
		if _, err := d.Token(); err != nil {
			panic(err)
		}
	}
	walk(0)
	return rules
}

var (
	quoted = regexp.MustCompile(`(?s)"(\\.|[^"\\])*"`)
	unit   = regexp.MustCompile(`(?s)\\u[0-9a-fA-F]{4}|\\.|.`)
)

func loneSurrogate(inside []byte) bool {
	kinds := unit.ReplaceAllFunc(inside, func(u []byte) []byte {
		if len(u) == 6 && u[0] == '\\' {
			switch n, _ := strconv.ParseUint(string(u[2:]), 16, 16); {
			case 0xD800 <= n && n < 0xDC00:
				return []byte("h")
			case 0xDC00 <= n && n < 0xE000:
				return []byte("l")
			}
		}
		return []byte(".")
	})
	return strings.ContainsAny(strings.ReplaceAll(string(kinds), "hl", ""), "hl")
}

func agree(t *testing.T, data []byte) {
	t.Helper()
	want := broken(data)
	err := strictjson.Check(data)
	switch {
	case err == nil && want != nil:
		t.Fatalf("%q is accepted; it breaks %q", data, want)
	case err != nil && want == nil:
		t.Fatalf("%q is refused: %v", data, err)
	case err != nil && (want[0] == "grammar" || want[0] == "utf8") && rule(err) != want[0], err != nil && !slices.Contains(want, rule(err)):
		t.Fatalf("%q breaks %q; the error is about %s: %v", data, want, rule(err), err)
	}
}

// The texts are put at each offset from a word's beginning, in front of each rest of a word, and cut at each byte.
var texts = []string{
	``, ` `, "\x00", `{}`, `[]`, `""`, `0`, `null`, "\t\n\r {\t\n\r } \t\n\r", "\v{}", "\f[]", "{}\x00", "[\x00]", "\u00a0{}", "[1\u00a0]",
	`true`, `false`, `tru`, `truE`, `nulll`, `True`, `nul`, `[true,false,null]`, `truefalse`, `NaN`, `Infinity`, `undefined`,
	`-`, `-0`, `00`, `01`, `-01`, `+1`, `.5`, `1.`, `1.5`, `1.e1`, `1e`, `1e+`, `1e+5`, `1E-05`, `1e5.5`, `0.0`, `0x1`, `1_0`, `1a`, `--1`, `1-`, `-a`, `0e0`, `9.99e999`, `[1 2]`, `[-]`,
	`[`, `]`, `[,]`, `[1,]`, `[,1]`, `[1,,2]`, `[1;2]`, `[[]`, `[]]`, `[}`, `[1}`, `[1:2]`,
	`{`, `}`, `{,}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,"a":1}`, `{"a":1,,"b":2}`, `{"a" 1}`, `{"a"::1}`, `{a:1}`, `{1:1}`, `{'a':1}`, `{"a":1]`, `{"a":1 "b":2}`, `{null:1}`, `{"a":1}{}`, `{}[]`, `{} x`, `{},`, `{}//`, `{}/**/`,
	`"`, `"a`, `'a'`, `"\`, `"\"`, `"\\"`, `"\"\\\/\b\f\n\r\t"`, `"\a"`, `"\'"`, `"\x41"`, `"\U0041"`, `"\u"`, `"\u0"`, `"\u00"`, `"\u004"`, `"\u0041"`, `"\u00e9"`, `"\u00E9"`, `"\u00g1"`, `"\u 041"`, `"\u+041"`, `"\u004`, "\"\\\n\"", `"a""b"`,
	"\"\x00\"", "\"\x1f\"", "\"\t\"", "\"\n\"", "\"\x20\x7f\"", "\"\x80\"", "\"\xff\"", "\"é\"", "\"\xc3\"", "\"\xc3(\"", "\"\xe2\x82\"", "\"€\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\xf0\x9f\x98\x80\"", "\"\xf4\x90\x80\x80\"", "\"\ufffd\"", "\"\u2028\"", "\"\xef\xbb\xbf\"", "\xef\xbb\xbf{}", "é", "\xff",
	`"\ud83d\ude00"`, `"\uD83D\uDE00"`, `"\ud83d"`, `"\ude00"`, `"\ud83d\ud83d\ude00"`, `"\ud83dx\ude00"`, `"\ud83d\n\ude00"`, `"\\ud83d"`, `"\\\ud83d"`, `"\udbff\udfff"`, `"\ud800\udc00"`, `"\ud7ff\ue000"`, `"\ud83d\u0041"`, `"\ud83d\ude0"`, `"\ud83d\\ude00"`, `"\ud83d/ude00"`,
	`{"a":1,"a":2}`, `{"a":1,"A":2}`, `{"a":1,"\u0061":2}`, `{"a":1,"\u0041":2}`, `{"":1,"":2}`, `{"x":{"a":1,"A":2}}`, `{"x":{"a":1,"a":2}}`, `[{"a":1,"A":2}]`, `[{"a":1,"a":2}]`, `{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}`,
	"{\"k\":1,\"\u212a\":2}", "{\"\u212a\":1,\"k\":2}", "{\"s\":1,\"\u017f\":2}", "{\"ſ\":1,\"S\":2}", "{\"é\":1,\"É\":2}", "{\"é\":1,\"e\":2}", "{\"é\":1,\"é\":2}", "{\"x\":{\"é\":1,\"É\":2}}", "{\"x\":{\"é\":1,\"é\":2}}", `{"a":1,"\u00e9":2,"É":3}`, "{\"ß\":1,\"ss\":2,\"\u1e9e\":3}", "{\"i\":1,\"\u0130\":2,\"\u0131\":3}",
	`{"@":1,"` + "`" + `":2}`, `{"[":1,"{":2}`, `{"a_b":1,"a\u007fb":2}`, `{"name1234":1,"NAME1234":2}`, `{"name1234x":1,"name1234X":2}`, `{"name1234abcd":1,"name1234abCd":2}`, `{"abcd":1,"abcdabcd":2,"ab":3,"abc":4,"abcde":5}`,
	`{"iss":"https://op.example","sub":"1","aud":["a","b"],"exp":1.5e9,"ok":true,"no":null,"address":{"street_address":"Straße 1\nBerlin","x":[[],{},""]}}`,
	strings.Repeat("[", 32) + strings.Repeat("]", 32), strings.Repeat("[", 33) + strings.Repeat("]", 33), strings.Repeat(`{"a":`, 32) + "1" + strings.Repeat("}", 32), strings.Repeat(`{"a":`, 33) + "1" + strings.Repeat("}", 33),
}

func TestTheWalkAgreesWithEncodingJSON(t *testing.T) {
	for _, text := range texts {
		for n := range 9 {
			pad := strings.Repeat(" ", n)
			agree(t, []byte(pad+text+pad))
			agree(t, []byte(`["`+strings.Repeat("x", n)+`",`+text+`]`))
			agree(t, []byte(`{"`+strings.Repeat("x", n)+`":`+text+`}`))
			if inner, ok := strings.CutPrefix(text, `"`); ok {
				agree(t, []byte(`"`+strings.Repeat("x", n)+inner))
				agree(t, []byte(`"`+strings.Repeat("é", n)+inner))
			}
		}
		for n := range len(text) {
			agree(t, []byte(text[:n]))
			agree(t, []byte(text[n:]))
		}
	}
}

// Every byte at every place of a text that has something of everything.
func TestTheWalkAgreesWhateverByteIsChanged(t *testing.T) {
	text := []byte(`{"a":[-1.5e+3,0,{"b\n":"\u00e9\ud83d\ude00é€x"}, true,false ,null],"sub":"0123456789"}`)
	for i, old := range text {
		for c := range 256 {
			text[i] = byte(c)
			agree(t, text)
		}
		text[i] = old
	}
}

func TestGrammarErrorsAreSoNamed(t *testing.T) {
	for good, bad := range map[string]string{
		`{"a":1}`: `{"a":01}`, `[0.5]`: `[.5]`, `[1.5]`: `[1.]`, `[1e5]`: `[1e]`, `[-1]`: `[+1]`, `[-0]`: `[-]`, `true`: `True`, `[null]`: `[nul]`, `"\n"`: `"\a"`, `"\u0041"`: `"\u00g1"`,
		"\"\x7f\"": "\"\x1f\"", ` {}`: "\f{}", `[1,2]`: `[1,2,]`, `{"b":1}`: `{"b":1,}`, `{"c":1}`: `{"c" 1}`, `{"d":1}`: `{d:1}`, `[]`: `[}`, `{}`: `{]`, `{} `: `{},`, `"a"`: `"a`, `"\\"`: `"\"`, `[1, 2]`: `[1 2]`, `[0]`: `[0`, `{"e":[]}`: `{"e":[]`,
	} {
		if err := strictjson.Check([]byte(good)); err != nil {
			t.Errorf("%q: %v", good, err)
		}
		err := strictjson.Check([]byte(bad))
		if rule(err) != "grammar" || err.Error() == "" {
			t.Errorf("%q: %v (rule %s), want one of the grammar", bad, err, rule(err))
		}
	}
}

func TestClaimsCostNoAllocation(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() {
		if err := strictjson.Check(claimsSet); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Check allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		members := 0
		if err := strictjson.Each(claimsSet, func(_, _ []byte) error { members++; return nil }); err != nil || members == 0 {
			t.Fatal(members, err)
		}
	}); n != 0 {
		t.Errorf("Each allocates %v times", n)
	}
}

func TestTheGrammarOfTheWholeComesFirst(t *testing.T) {
	for bad, want := range map[string]string{
		`{"a":1,"a":2}x`: "grammar", "{\"a\":1,\"a\":\"\xff\"}": "utf8", `["\ud83d",]`: "grammar", "[\"\xff\"": "grammar", strings.Repeat("[", 33): "grammar", "[\"\\ud83d\xff\"]": "utf8",
	} {
		if err := strictjson.Check([]byte(bad)); rule(err) != want || err.Error() == "" {
			t.Errorf("%q: %v, want rule %s", bad, err, want)
		}
	}
	own := errors.New("the caller's")
	refuse := func(_, _ []byte) error { return own }
	if err := strictjson.Each([]byte(`{"a":1}`), refuse); !errors.Is(err, own) {
		t.Error(err)
	}
	if err := strictjson.Each([]byte(`{"a":1}x`), refuse); rule(err) != "grammar" {
		t.Errorf("%v, want rule grammar", err)
	}
}

func FuzzTheWalkAgreesWithEncodingJSON(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(text))
	}
	f.Add(claimsSet)
	f.Fuzz(agree)
}

var claimsSet = []byte(`{"iss":"https://login.example.com/realms/shop","sub":"248289761001-aaaa-bbbb","aud":["https://api.example.com","account"],"exp":1793433600,"iat":1793430000,"nbf":1793430000,"jti":"0e9f1b0c-5d5e-4b9d-9a64-7d1a3b9d6a11","azp":"shop-web","client_id":"shop-web","scope":"openid profile email offline_access reports.read","auth_time":1793429999,"acr":"urn:mace:incommon:iap:silver","amr":["pwd","otp"],"sid":"08a5019c-17e1-4977-8f42-65a12843ea02","email":"jane.doe@example.com","email_verified":true,"name":"Jane Doe","given_name":"Jane","family_name":"Doe","preferred_username":"jane","realm_access":{"roles":["offline_access","uma_authorization","default-roles-shop","auditor"]},"resource_access":{"account":{"roles":["manage-account","manage-account-links","view-profile"]}},"groups":["/staff","/staff/finance","/staff/finance/reporting"],"locale":"de-DE","updated_at":1793420000}`)

func BenchmarkCheckClaims(b *testing.B) {
	b.SetBytes(int64(len(claimsSet)))
	b.ReportAllocs()
	for b.Loop() {
		if err := strictjson.Check(claimsSet); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEachClaim(b *testing.B) {
	b.SetBytes(int64(len(claimsSet)))
	b.ReportAllocs()
	members := 0
	for b.Loop() {
		if err := strictjson.Each(claimsSet, func(_, _ []byte) error { members++; return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
