package rp

import (
	"net/http"
	"strings"
)

// challenge is one of WWW-Authenticate (RFC 9110 section 11.6.1).
type challenge struct {
	scheme string            // in lower case
	params map[string]string // names in lower case, values unquoted; nil: none, or a token68
}

// challenges reads every challenge of every WWW-Authenticate header. Of a header that breaks the grammar it takes what is whole before the break: a guess at the rest could take
// a piece of one challenge's text for another challenge.
func challenges(h http.Header) []challenge {
	var all []challenge
	for _, value := range h.Values("WWW-Authenticate") {
		all = append(all, challengesOf(value)...)
	}
	return all
}

func challengesOf(s string) (all []challenge) {
	for {
		s = strings.TrimLeft(s, " \t,")
		scheme, rest := leading(s, isTokenChar)
		if scheme == "" {
			return all
		}
		c := challenge{scheme: strings.ToLower(scheme)}
		s = strings.TrimLeft(rest, " \t")
		if len(s) == len(rest) && s != "" && s[0] != ',' {
			return all // nothing but a space or a comma ends a scheme
		}
		if _, after := leading(s, isToken68Char); len(after) < len(s) {
			if after = strings.TrimLeft(strings.TrimLeft(after, "="), " \t"); after == "" || after[0] == ',' {
				all, s = append(all, c), after
				continue
			}
		}
		whole := true
		if s, whole = c.readParams(s); !whole {
			return all
		}
		all = append(all, c)
	}
}

// readParams reads auth-params up to what begins the next challenge. false: they break the grammar, or one comes twice.
func (c *challenge) readParams(s string) (rest string, whole bool) {
	for {
		s = strings.TrimLeft(s, " \t,")
		name, after := leading(s, isTokenChar)
		after = strings.TrimLeft(after, " \t")
		if !strings.HasPrefix(after, "=") {
			return s, true // the end, or the next scheme
		}
		value, after, ok := paramValue(strings.TrimLeft(after[1:], " \t"))
		after = strings.TrimLeft(after, " \t")
		name = strings.ToLower(name)
		if _, twice := c.params[name]; !ok || name == "" || twice || after != "" && after[0] != ',' {
			return "", false
		}
		if c.params == nil {
			c.params = map[string]string{}
		}
		c.params[name], s = value, after
	}
}

// paramValue reads a token or a quoted-string (RFC 9110 section 5.6.4).
func paramValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		value, rest = leading(s, isTokenChar)
		return value, rest, value != ""
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false // it never ends
}

func leading(s string, is func(byte) bool) (head, rest string) {
	i := 0
	for i < len(s) && is(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

func isAlnum(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9'
}

func isTokenChar(b byte) bool { return isAlnum(b) || strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0 }

func isToken68Char(b byte) bool { return isAlnum(b) || strings.IndexByte("-._~+/", b) >= 0 }
