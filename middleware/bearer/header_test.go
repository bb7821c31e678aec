package bearer_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/middleware/bearer"
)

func TestFromAuthorizationTakesOneTokenAndNothingElse(t *testing.T) {
	for _, c := range []struct {
		values []string
		token  string
		err    error
	}{
		{[]string{"Bearer abc"}, "abc", nil},
		{[]string{"bEaReR   a-._~+/9=="}, "a-._~+/9==", nil},
		{nil, "", bearer.ErrNoToken},
		{[]string{""}, "", bearer.ErrNoToken},
		{[]string{"Basic abc"}, "", bearer.ErrNoToken},
		{[]string{"Bearerabc"}, "", bearer.ErrNoToken},
		{[]string{"Bearer\tabc"}, "", bearer.ErrNoToken},
		{[]string{" Bearer abc"}, "", bearer.ErrNoToken},
		{[]string{"Bearer"}, "", bearer.ErrMalformed},
		{[]string{"Bearer "}, "", bearer.ErrMalformed},
		{[]string{"Bearer =="}, "", bearer.ErrMalformed},
		{[]string{"Bearer a=b"}, "", bearer.ErrMalformed},
		{[]string{"Bearer a b"}, "", bearer.ErrMalformed},
		{[]string{"Bearer abc "}, "", bearer.ErrMalformed},
		{[]string{"Bearer a,b"}, "", bearer.ErrMalformed},
		{[]string{"Bearer \"a\""}, "", bearer.ErrMalformed},
		{[]string{"Bearer ä"}, "", bearer.ErrMalformed},
		{[]string{"Bearer a\x00"}, "", bearer.ErrMalformed},
		{[]string{"Bearer a", "Bearer a"}, "", bearer.ErrMalformed},
		{[]string{"Basic a", "Bearer a"}, "", bearer.ErrMalformed},
		{[]string{"Bearer " + strings.Repeat("a", 16<<10)}, strings.Repeat("a", 16<<10), nil},
		{[]string{"Bearer " + strings.Repeat("a", 16<<10+1)}, "", bearer.ErrMalformed},
	} {
		token, err := bearer.FromAuthorization(c.values)
		if token != c.token || !errors.Is(err, c.err) {
			t.Errorf("%.40q: %.20q, %v", c.values, token, err)
		}
	}
}

func FuzzAuthorizationHeader(f *testing.F) {
	for _, s := range []string{"Bearer a.b.c", "bearer  x==", "Basic YTpi", "", "Bearer", "Bearer a, Bearer b", "Bearer \x00", "DPoP x"} {
		f.Add(s)
	}
	// RFC 6750 section 2.1, with RFC 9110's "1*SP" between.
	grammar := regexp.MustCompile(`^(?i:bearer) +([A-Za-z0-9\-._~+/]+=*)$`)
	f.Fuzz(func(t *testing.T, value string) {
		if len(value) > 16<<10 {
			return
		}
		want := ""
		if m := grammar.FindStringSubmatch(value); m != nil && !strings.HasSuffix(value, "\n") {
			want = m[1]
		}
		got, err := bearer.FromAuthorization([]string{value})
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", value, got, err, want)
		}
		if err != nil && len(value) > 8 && strings.Contains(err.Error(), value[8:]) && len(value[8:]) > 12 {
			t.Errorf("the error quotes the header: %v", err)
		}
	})
}
