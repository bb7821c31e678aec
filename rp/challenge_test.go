package rp

import (
	"net/http"
	"testing"
)

func TestOnlyAChallengeAboutTheTokenRenewsIt(t *testing.T) {
	for name, x := range map[string]struct {
		headers []string
		want    bool
	}{
		"no challenge":                         {nil, true},
		"a bare Bearer":                        {[]string{"Bearer"}, true},
		"a Bearer with a realm":                {[]string{`bEARER realm="api"`}, true},
		"invalid_token":                        {[]string{`Bearer error="invalid_token"`}, true},
		"invalid_token as a token":             {[]string{`Bearer Error = invalid_token`}, true},
		"an escaped invalid_token":             {[]string{`Bearer error="invalid\_token"`}, true},
		"invalid_token of DPoP":                {[]string{`DPoP algs="ES256", error="invalid_token"`}, true},
		"another error":                        {[]string{`Bearer error="insufficient_scope"`}, false},
		"another error that speaks of tokens":  {[]string{`Bearer error="invalid_request", error_description="error=invalid_token"`}, false},
		"an error in a realm":                  {[]string{`Bearer realm="a, error=\"insufficient_scope\"", error="invalid_token"`}, true},
		"a Bearer in a realm":                  {[]string{`Basic realm="x, Bearer error=invalid_token"`}, false},
		"Basic alone":                          {[]string{`Basic realm="x"`}, false},
		"Basic with an error":                  {[]string{`Basic error="invalid_token"`}, false},
		"Basic before Bearer":                  {[]string{`Basic realm="x", error="other", Bearer error="invalid_token"`}, true},
		"a token68 before Bearer":              {[]string{`Negotiate abc/d==, Bearer error="invalid_token"`}, true},
		"two headers":                          {[]string{`Basic realm="x"`, `Bearer error="invalid_token"`}, true},
		"one error of two is invalid_token":    {[]string{`Bearer error="insufficient_scope"`, `DPoP error="invalid_token"`}, true},
		"a bare one beside another error":      {[]string{`Bearer`, `DPoP error="use_dpop_nonce"`}, false},
		"an empty list member":                 {[]string{`, ,Bearer error="invalid_token",`}, true},
		"a string that never ends":             {[]string{`Bearer error="invalid_token`}, false},
		"an error twice":                       {[]string{`Bearer error="invalid_token", error="insufficient_scope"`}, false},
		"a break in another header":            {[]string{`Basic realm="`, `Bearer error="invalid_token"`}, true},
		"a scheme that only begins like it":    {[]string{`BearerX error="invalid_token"`}, false},
		"an error_description alone, no error": {[]string{`Bearer error_description="insufficient_scope"`}, true},
	} {
		if got := aboutTheToken(http.Header{"Www-Authenticate": x.headers}); got != x.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func FuzzChallenges(f *testing.F) {
	for _, seed := range []string{"", "Bearer", `Bearer realm="a\"b", error=invalid_token`, `Basic realm="x", Negotiate abc==, DPoP algs="ES256"`, `Bearer error="`, `, ,a b=,c`, "Bearer \\", "a=b", "a/b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		for _, c := range challengesOf(value) {
			if head, rest := leading(c.scheme, isTokenChar); head == "" || rest != "" {
				t.Errorf("a scheme %q", c.scheme)
			}
		}
		// A whole header of its own is read whatever came before it.
		h := http.Header{"Www-Authenticate": {value, `Bearer error="invalid_token"`}}
		if !aboutTheToken(h) {
			t.Errorf("after %q the Bearer challenge is not seen", value)
		}
	})
}
