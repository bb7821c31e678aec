package strictjson

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/bits"
	"unicode/utf8"
)

// scanner checks everything in one walk: whoever verifies a token per request pays for this per request. Its methods take the index
// of a token and return the index behind it, or bad.
type scanner struct {
	data []byte
	err  error // why, if it is more than the grammar
}

const bad = -1

// check does not keep each in the scanner, so that the caller's closure can stay on its stack. The same goes for names.
func check(data []byte, each func(name, value []byte) error) error {
	var space [32]name
	s := scanner{data: data}
	i, c := next(data, 0)
	if c == '{' {
		i = s.object(i, 1, space[:0], each)
	} else {
		i = s.value(i, c, 0, space[:0])
	}
	if i != bad {
		if i, _ = next(data, i); i == len(data) {
			return nil
		}
	}
	switch { // what is wrong with the whole comes before what is wrong with a part, wherever the walk stopped
	case s.err == nil || !json.Valid(data):
		return grammar(data)
	case !utf8.Valid(data):
		return &Error{Rule: "utf8", Detail: "invalid UTF-8"}
	}
	return s.err
}

// grammar says what is wrong in words that name the usual causes.
func grammar(data []byte) error {
	switch text := bytes.TrimLeft(data, " \t\r\n"); {
	case len(text) == 0:
		return &Error{Rule: "grammar", Detail: "empty"}
	case bytes.HasPrefix(text, []byte("\xef\xbb\xbf")), bytes.HasPrefix(text, []byte("\xfe\xff")), bytes.HasPrefix(text, []byte("\xff\xfe")):
		return &Error{Rule: "grammar", Detail: "a byte order mark before the JSON"}
	case bytes.HasPrefix(text, []byte(")]}")), bytes.HasPrefix(text, []byte("for(")), bytes.HasPrefix(text, []byte("while(")):
		return &Error{Rule: "grammar", Detail: "a script guard before the JSON"}
	case text[0] == '<':
		return &Error{Rule: "grammar", Detail: "HTML or XML, not JSON"}
	}
	detail := "not JSON"
	var value json.RawMessage
	if err := json.Unmarshal(data, &value); err != nil {
		detail = err.Error() // names an offset and at most one character
	}
	return &Error{Rule: "grammar", Detail: detail}
}

func (s *scanner) fail(rule, detail string) int {
	s.err = &Error{Rule: rule, Detail: detail}
	return bad
}

// next skips blanks. At the end it returns 0 as well as for a NUL: no token begins with either.
func next(data []byte, i int) (int, byte) {
	const blanks = 1<<' ' | 1<<'\t' | 1<<'\n' | 1<<'\r'
	for ; i < len(data); i++ {
		if c := data[i]; c > ' ' || blanks>>c&1 == 0 {
			return i, c
		}
	}
	return i, 0
}

// value begins with c at i; depth counts the objects and arrays open around it; free is room for names.
func (s *scanner) value(i int, c byte, depth int, free []name) int {
	switch c {
	case '"':
		i, _ = s.text(i)
		return i
	case '{':
		return s.object(i, depth+1, free, nil)
	case '[':
		return s.array(i, depth+1, free)
	case 't':
		return s.literal(i, "true")
	case 'f':
		return s.literal(i, "false")
	case 'n':
		return s.literal(i, "null")
	}
	return s.number(i)
}

func (s *scanner) literal(i int, word string) int {
	if end := i + len(word); end <= len(s.data) && string(s.data[i:end]) == word {
		return end
	}
	return bad
}

// number stops at the first byte that can't belong to it; that no other token follows is for the caller to see.
func (s *scanner) number(i int) int {
	data := s.data
	if i < len(data) && data[i] == '-' {
		i++
	}
	if i < len(data) && data[i] == '0' {
		i++
	} else if i = digits(data, i); i == bad {
		return bad
	}
	if i < len(data) && data[i] == '.' {
		if i = digits(data, i+1); i == bad {
			return bad
		}
	}
	if i < len(data) && data[i]|0x20 == 'e' {
		if i++; i < len(data) && (data[i] == '+' || data[i] == '-') {
			i++
		}
		return digits(data, i)
	}
	return i
}

// digits wants one at least.
func digits(data []byte, i int) int {
	start := i
	for i < len(data) && data[i]-'0' <= 9 {
		i++
	}
	if i == start {
		return bad
	}
	return i
}

func (s *scanner) array(i, depth int, free []name) int {
	if depth > MaxDepth {
		return s.fail("depth", "")
	}
	i, c := next(s.data, i+1)
	if c == ']' {
		return i + 1
	}
	for {
		if i = s.value(i, c, depth, free); i == bad {
			return bad
		}
		switch i, c = next(s.data, i); c {
		case ',':
			i, c = next(s.data, i+1)
		case ']':
			return i + 1
		default:
			return bad
		}
	}
}

func (s *scanner) object(i, depth int, free []name, each func(name, value []byte) error) int {
	if depth > MaxDepth {
		return s.fail("depth", "")
	}
	data := s.data
	i, c := next(data, i+1)
	if c == '}' {
		return i + 1
	}
	names := nameSet{few: free, top: depth == 1}
	for {
		if c != '"' {
			return bad
		}
		start := i
		var escaped bool
		if i, escaped = s.text(i); i == bad {
			return bad
		}
		text := data[start+1 : i-1 : i-1]
		if escaped {
			var plain string
			if s.err = json.Unmarshal(data[start:i], &plain); s.err != nil {
				return bad
			}
			text = []byte(plain)
		}
		hash, rule := names.add(text)
		if rule != "" {
			s.err = &Error{Rule: rule, Name: string(text)}
			return bad
		}
		if names.many == nil { // here and not in add, which would have the room leave the stack
			names.few = append(names.few, name{hash, text})
		}
		if i, c = next(data, i); c != ':' {
			return bad
		}
		i, c = next(data, i+1)
		start = i
		if i = s.value(i, c, depth, names.few[len(names.few):]); i == bad {
			return bad
		}
		if each != nil {
			if s.err = each(text, data[start:i:i]); s.err != nil {
				return bad
			}
		}
		switch i, c = next(data, i); c {
		case ',':
			i, c = next(data, i+1)
		case '}':
			return i + 1
		default:
			return bad
		}
	}
}

// text walks over the string whose quote is at i.
func (s *scanner) text(i int) (end int, escaped bool) {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	data := s.data
	for i++; i < len(data); {
		if i+8 <= len(data) {
			// Eight bytes at once: the high bit of a byte of odd tells that it is over 0x7f, under 0x20, a quote or a backslash. A borrow
			// can taint only the bytes after such a one, and the first is what counts.
			x := binary.LittleEndian.Uint64(data[i:])
			odd := (x | (x - ones*' ') | (x ^ ones*'"' - ones) | (x ^ ones*'\\' - ones)) & high
			if odd == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(odd) / 8
		}
		switch c := data[i]; {
		case c == '"':
			return i + 1, escaped
		case c == '\\':
			if i = s.escape(i); i == bad {
				return bad, true
			}
			escaped = true
		case c < ' ':
			return bad, false
		case c < utf8.RuneSelf:
			i++
		default:
			r, size := utf8.DecodeRune(data[i:])
			if r == utf8.RuneError && size == 1 {
				return s.fail("utf8", ""), false // check has the words
			}
			i += size
		}
	}
	return bad, false
}

// escape refuses \uD800 to \uDFFF outside a pair: decoders replace them, each in its own way.
func (s *scanner) escape(i int) int {
	if i+1 >= len(s.data) {
		return bad
	}
	switch s.data[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2
	}
	unit := s.unit(i)
	if unit == bad {
		return bad
	}
	if unit&^0x7ff != 0xD800 {
		return i + 6
	}
	if unit < 0xDC00 {
		if low := s.unit(i + 6); low != bad && low&^0x3ff == 0xDC00 {
			return i + 12
		}
	}
	return s.fail("surrogate", "half of a surrogate pair")
}

// unit is the number in an escape like \u00e9, or bad.
func (s *scanner) unit(i int) int {
	if i+6 > len(s.data) || s.data[i] != '\\' || s.data[i+1] != 'u' {
		return bad
	}
	n := 0
	for _, c := range s.data[i+2 : i+6] {
		switch lower := c | 0x20; {
		case '0' <= c && c <= '9':
			n = n<<4 | int(c-'0')
		case 'a' <= lower && lower <= 'f':
			n = n<<4 | int(lower-'a'+10)
		default:
			return bad
		}
	}
	return n
}
