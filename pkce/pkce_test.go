package pkce_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/pkce"
)

func TestChallengeIsTheOneOfRFC7636AppendixB(t *testing.T) {
	v, err := pkce.Parse("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := v.Challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"; got != want {
		t.Errorf("challenge %q, want %q", got, want)
	}
}

func TestNewVerifiersAreValidAndNeverRepeat(t *testing.T) {
	seen := map[pkce.Verifier]bool{}
	for range 10_000 {
		v := pkce.New()
		if len(string(v)) != 43 {
			t.Fatalf("a verifier of %d characters, want 43", len(string(v)))
		}
		if _, err := pkce.Parse(string(v)); err != nil {
			t.Fatal(err)
		}
		if seen[v] {
			t.Fatal("a verifier came twice")
		}
		seen[v] = true
	}
}

func TestParseRefusesWhatRFC7636DoesNotAllow(t *testing.T) {
	long := strings.Repeat("aZ0-._~", 20)
	for _, c := range []struct {
		name, good, bad, reason string
	}{
		{"too short", long[:43], long[:42], "not 42"},
		{"too long", long[:128], long[:129], "not 129"},
		{"empty", long[:43], "", "not 0"},
		{"padding", long[:43], long[:43] + "=", "characters A-Z"},
		{"standard alphabet", long[:43], long[:43] + "+/", "characters A-Z"},
		{"blank", long[:43], long[:43] + " ", "characters A-Z"},
		{"letters outside ASCII", long[:43], long[:42] + "é", "characters A-Z"},
		{"line break", long[:43], long[:43] + "\n", "characters A-Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if v, err := pkce.Parse(c.good); err != nil || string(v) != c.good {
				t.Errorf("the neighbour that should pass: %v", err)
			}
			_, err := pkce.Parse(c.bad)
			if err == nil || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("error %v, want one with %q", err, c.reason)
			}
			if err != nil && len(c.bad) > 10 && strings.Contains(err.Error(), c.bad[:10]) {
				t.Errorf("the error shows the verifier: %v", err)
			}
		})
	}
}

func TestVerifierIsRedactedWhereverItIsPrinted(t *testing.T) {
	v := pkce.New()
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v, "in", struct{ V pkce.Verifier }{v})
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", []any{v})
	for _, text := range []string{
		fmt.Sprint(v), fmt.Sprintf("%s %q %v %+v %#v %x %d", v, v, v, v, v, v, v), v.String(),
		fmt.Sprintf("%v %+v", struct{ V pkce.Verifier }{v}, &struct{ V pkce.Verifier }{v}), log.String(),
	} {
		if strings.Contains(text, string(v)) || !strings.Contains(text, "[redacted]") {
			t.Error("a verifier is printed")
		}
	}
}

func TestJSONKeepsTheVerifierWhole(t *testing.T) {
	type attempt struct{ V pkce.Verifier }
	want := attempt{pkce.New()}
	stored, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got attempt
	if err := json.Unmarshal(stored, &got); err != nil || got != want {
		t.Errorf("it came back changed (%v)", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
	f.Add(strings.Repeat("~", 128))
	f.Add(strings.Repeat("a", 43) + "\x00")
	syntax := regexp.MustCompile(`\A[A-Za-z0-9._~-]{43,128}\z`)
	f.Fuzz(func(t *testing.T, s string) {
		v, err := pkce.Parse(s)
		if (err == nil) != syntax.MatchString(s) {
			t.Fatalf("%q: %v", s, err)
		}
		if err == nil && len(v.Challenge()) != 43 {
			t.Fatal("a challenge that is no base64url of 32 bytes")
		}
	})
}

func Example() {
	verifier := pkce.New()
	// What goes to the provider with the browser:
	query := url.Values{"code_challenge": {verifier.Challenge()}, "code_challenge_method": {pkce.Method}}
	// What goes to the token endpoint later:
	form := url.Values{"code_verifier": {string(verifier)}}
	fmt.Println(query.Get("code_challenge_method"), len(form.Get("code_verifier")), verifier)
	// Output: S256 43 [redacted]
}
