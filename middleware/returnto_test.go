package middleware

import (
	"net/url"
	"strings"
	"testing"
)

// payloads are ways out: the parts below in all combinations, each of which some parser has taken for more than a path.
func payloads() []string {
	starts := []string{"", "/", "//", "///", "/\\", "\\", "\\\\", "/\t/", "/\n/", "\t//", " //", "/ /", "/./", "/../", "/.//", "/%2f", "/%5c", "/%2e%2e/", "/%09/", "/%0a", "/%00", "/\x00/", "/\u2028/", "/\ufffd/", "/\u0085/", "/;//", "https:", "https:/", "https://", "//https://", "http:", "javascript:", "JaVaScRiPt:", "data:text/html,", "vbscript:", "?", "#", "/?//", "/#//", "/@", "//@", "https://shop.example@", "/%252f%252f", "/%255c", "/%25%32%66", "/a/..//", "/a/%2e%2e//", ":", "/:", "/\r\nLocation:", "blob:", "file:///"}
	hosts := []string{"evil.example", "evil.example/", "evil.example/..", "evil.example\\@shop.example", "evil.example%00", "evil.example?x=1", "evil.example#x", "@evil.example", "shop.example.evil.example", "[::1]", "127.0.0.1", "2130706433", "evil。example", "evil.example:80/%2f..", "xn--evil-", "alert(1)", "/evil.example", "\\evil.example", "%2fevil.example", "%5cevil.example", ".evil.example", "evil.example\t", "evil.example\u00a0"}
	var all []string
	for _, start := range starts {
		for _, host := range hosts {
			all = append(all, start+host)
		}
	}
	return all
}

// browserURL resolves a Location as browsers do (the WHATWG URL Standard): tabs and line ends vanish, leading blanks and controls too, a
// backslash is a slash.
func browserURL(base, location string) (*url.URL, error) {
	location = strings.TrimLeft(location, "\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f ")
	location = strings.NewReplacer("\t", "", "\r", "", "\n", "", "\\", "/").Replace(location)
	from, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	return from.Parse(location)
}

func stays(t *testing.T, payload, to string) {
	t.Helper()
	if to[0] != '/' || len(to) > 1 && (to[1] == '/' || to[1] == '\\') {
		t.Errorf("%q became %q", payload, to)
	}
	for i := range len(to) {
		if to[i] <= ' ' || to[i] >= 0x7f || to[i] == '\\' {
			t.Errorf("%q became %q, which is not fit for a header", payload, to)
		}
	}
	u, err := browserURL("https://shop.example/auth/callback", to)
	if err != nil || u.Scheme != "https" || u.Host != "shop.example" || u.User != nil {
		t.Errorf("%q became %q, which leads to %v (%v)", payload, to, u, err)
	}
}

func TestNoWayBackLeavesTheApplication(t *testing.T) {
	accepted, refused := 0, 0
	for _, payload := range payloads() {
		to, ok := localPath(payload)
		if !ok {
			refused++
			continue
		}
		accepted++
		stays(t, payload, to)
	}
	if accepted+refused < 1000 || accepted == 0 || refused < 700 {
		t.Errorf("%d accepted, %d refused: the generator is not what it was", accepted, refused)
	}
}

func TestHonestWaysBackSurvive(t *testing.T) {
	for _, way := range []string{
		"/", "/orders", "/orders/42?view=full&sort=-date", "/a%20b?q=a+b%2Bc", "/%C3%BC", "/a;b=c/d", "/~user/", "/search?q=//evil.example", "/p?next=https%3A%2F%2Fa.example%2F",
		"/100%25", "/a:b", "/@alice", "/x?y", "/?", "/a/b.c/...",
	} {
		if to, ok := localPath(way); !ok || to != way {
			t.Errorf("%q became %q, %t", way, to, ok)
		}
	}
	for way, want := range map[string]string{"/a#fragment": "/a", "/ü?ö=ä": "/%C3%BC?%C3%B6=%C3%A4", "/a b": "/a%20b", "/x?a=\"<>": "/x?a=%22%3C%3E"} {
		if to, ok := localPath(way); !ok || to != want {
			t.Errorf("%q became %q, want %q", way, to, want)
		}
	}
}

func TestWaysBackThatAreRefused(t *testing.T) {
	for _, way := range []string{"", "orders", "//x", "/\\x", "/a\\b", "/a/../b", "/a/./b", "/..", "/%2e%2e/b", "/%252e%252e/b", "/a\x7fb", "/\xff", "/%zz", "/%00", "/a%0d%0ab", "/" + strings.Repeat("a", maxReturnTo), "https://shop.example/a"} {
		if to, ok := localPath(way); ok {
			t.Errorf("%q became %q", way, to)
		}
	}
}

func FuzzReturnPath(f *testing.F) {
	for _, p := range payloads()[:200] {
		f.Add(p)
	}
	f.Add("/orders/42?view=full")
	f.Fuzz(func(t *testing.T, raw string) {
		to, ok := localPath(raw)
		if !ok {
			return
		}
		stays(t, raw, to)
		if again, ok := localPath(to); !ok || again != to {
			t.Errorf("%q became %q and then %q, %t", raw, to, again, ok)
		}
	})
}
