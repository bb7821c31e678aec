package strictjson

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// scanner walks text whose grammar encoding/json has judged good, so it looks only for what that lets pass.
type scanner struct {
	data  []byte
	at    int
	names []name                         // of every object open at this moment, innermost last
	each  func(name, value []byte) error // members of the outermost object; nil when nobody asks
}

// name is a member's name without its escapes.
type name struct {
	text []byte
	hash uint32 // equal for names that strings.EqualFold equates
}

// few is how many names are compared one by one before a map takes over: a hostile object must not cost its square.
const few = 64

// check walks data once. Depth counts objects and arrays open around a value.
func check(data []byte, each func(name, value []byte) error) error {
	if !json.Valid(data) {
		return grammar(data)
	}
	if !utf8.Valid(data) {
		return &Error{Rule: "utf8", Detail: "invalid UTF-8"}
	}
	var space [16]name
	s := scanner{data: data, names: space[:0], each: each}
	return s.value(0)
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

func (s *scanner) blanks() {
	for s.at < len(s.data) && s.data[s.at] <= ' ' {
		s.at++
	}
}

func (s *scanner) value(depth int) error {
	s.blanks()
	switch s.data[s.at] {
	case '{':
		return s.object(depth + 1)
	case '[':
		return s.array(depth + 1)
	case '"':
		_, err := s.text()
		return err
	}
	for s.at < len(s.data) { // a number, true, false or null
		switch c := s.data[s.at]; {
		case c <= ' ', c == ',', c == ']', c == '}':
			return nil
		}
		s.at++
	}
	return nil
}

var errDepth = &Error{Rule: "depth", Detail: "nested too deep"}

func (s *scanner) array(depth int) error {
	if depth > MaxDepth {
		return errDepth
	}
	s.at++
	for s.blanks(); s.data[s.at] != ']'; s.blanks() {
		if err := s.value(depth); err != nil {
			return err
		}
		if s.blanks(); s.data[s.at] == ',' {
			s.at++
		}
	}
	s.at++
	return nil
}

func (s *scanner) object(depth int) error {
	if depth > MaxDepth {
		return errDepth
	}
	s.at++
	first := len(s.names)
	var many map[string]struct{}
	for s.blanks(); s.data[s.at] != '}'; s.blanks() {
		text, err := s.text()
		if err != nil {
			return err
		}
		if many == nil && len(s.names)-first < few {
			err = s.addFew(first, text, depth == 1)
		} else {
			many, err = s.addMany(many, first, text, depth == 1)
		}
		if err != nil {
			return err
		}
		s.blanks()
		s.at++ // the colon
		s.blanks()
		start := s.at
		if err := s.value(depth); err != nil {
			return err
		}
		if depth == 1 && s.each != nil {
			if err := s.each(text, s.data[start:s.at:s.at]); err != nil {
				return err
			}
		}
		if s.blanks(); s.data[s.at] == ',' {
			s.at++
		}
	}
	s.at++
	s.names = s.names[:first]
	return nil
}

// addFew compares text with the names of the object that begins at first. Case counts only at the top: that is where claims
// and parameters live that some reader takes by name.
func (s *scanner) addFew(first int, text []byte, top bool) error {
	n := name{text, foldHash(text)}
	for _, other := range s.names[first:] {
		if other.hash != n.hash {
			continue
		}
		if bytes.Equal(other.text, text) {
			return &Error{Rule: "duplicate", Name: string(text)}
		}
		if top && bytes.EqualFold(other.text, text) {
			return &Error{Rule: "case", Name: string(text)}
		}
	}
	s.names = append(s.names, n)
	return nil
}

func (s *scanner) addMany(many map[string]struct{}, first int, text []byte, top bool) (map[string]struct{}, error) {
	key := func(text []byte) string {
		if top {
			return foldKey(string(text))
		}
		return string(text)
	}
	if many == nil {
		many = make(map[string]struct{}, 2*few)
		for _, n := range s.names[first:] {
			many[key(n.text)] = struct{}{}
		}
	}
	k := key(text)
	if _, found := many[k]; found {
		if top {
			return nil, &Error{Rule: "case", Name: string(text)}
		}
		return nil, &Error{Rule: "duplicate", Name: string(text)}
	}
	many[k] = struct{}{}
	return many, nil
}

// text reads a string and returns it without its escapes: a part of data if it has none.
func (s *scanner) text() ([]byte, error) {
	data, start, end := s.data, s.at, s.at+1
	for data[end] != '"' && data[end] != '\\' {
		end++
	}
	if s.at = end; data[end] == '\\' {
		return s.escaped(start)
	}
	s.at++
	return data[start+1 : end], nil
}

func (s *scanner) escaped(start int) ([]byte, error) {
	for ; s.data[s.at] != '"'; s.at++ {
		if s.data[s.at] == '\\' {
			s.at++
		}
	}
	s.at++
	quoted := s.data[start:s.at]
	if loneSurrogate(quoted) {
		return nil, &Error{Rule: "surrogate", Detail: "half of a surrogate pair"}
	}
	var text string
	if err := json.Unmarshal(quoted, &text); err != nil {
		return nil, &Error{Rule: "grammar", Detail: err.Error()}
	}
	return []byte(text), nil
}

// loneSurrogate finds \uD800 to \uDFFF outside a pair: decoders replace them, each in its own way.
func loneSurrogate(quoted []byte) bool {
	high := false
	for i := 0; i < len(quoted); i++ {
		unit := rune(0)
		if quoted[i] == '\\' {
			if i++; quoted[i] == 'u' {
				for _, c := range quoted[i+1 : i+5] {
					unit = unit<<4 | rune(strings.IndexByte("0123456789abcdef", c|0x20))
				}
				i += 4
			}
		}
		if low := 0xDC00 <= unit && unit <= 0xDFFF; low != high {
			return true
		}
		high = 0xD800 <= unit && unit <= 0xDBFF
	}
	return high
}
