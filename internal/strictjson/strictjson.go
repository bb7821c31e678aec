// Package strictjson reads a stranger's JSON: what two parsers could read differently is refused
// (RFC 7493 sections 2.1 and 2.3, RFC 8725 section 3.7). encoding/json alone takes the last of two equal names, ignores the case of
// names, and mends broken UTF-8, so that a token could carry two subjects.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"
)

// MaxDepth is how deep objects and arrays may be nested.
const MaxDepth = 32

// Check reports why data is not exactly one JSON value that every parser reads alike: invalid UTF-8, a lone surrogate escape,
// a member name that occurs twice in an object (at any depth), top-level names that differ only in case, more than MaxDepth levels, bytes after the value.
func Check(data []byte) error {
	_, err := scan(data, nil)
	return err
}

// Each checks data, which must be an object, then calls f for each of its members in order; name and value must not be kept or changed.
func Each(data []byte, f func(name string, value []byte) error) error {
	members, err := object(data)
	if err != nil {
		return err
	}
	for _, m := range members {
		if err := f(m.name, m.value); err != nil {
			return err
		}
	}
	return nil
}

// Object checks data, which must be an object, and returns its members by their exact names.
func Object(data []byte) (map[string]json.RawMessage, error) {
	members, err := object(data)
	if err != nil {
		return nil, err
	}
	m := make(map[string]json.RawMessage, len(members))
	for _, member := range members {
		m[member.name] = member.value
	}
	return m, nil
}

// Unmarshal checks data, an object, and decodes it into the struct v points to. A top-level name that equals a field's name but for
// its case is an error, where encoding/json would take it for the field.
func Unmarshal(data []byte, v any) error {
	members, err := object(data)
	if err != nil {
		return err
	}
	names := fieldNames(reflect.TypeOf(v), nil)
	for _, m := range members {
		for _, name := range names {
			if m.name != name && strings.EqualFold(m.name, name) {
				return fmt.Errorf("member %.40q differs from %q in case only", m.name, name)
			}
		}
	}
	return json.Unmarshal(data, v)
}

func fieldNames(t reflect.Type, names []string) []string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return names
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case f.Anonymous && name == "":
			names = fieldNames(f.Type, names)
		case !f.IsExported():
		case name == "":
			names = append(names, f.Name)
		default:
			names = append(names, name)
		}
	}
	return names
}

type member struct {
	name  string
	value json.RawMessage
}

func object(data []byte) ([]member, error) {
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	if len(trimmed) == 0 {
		return nil, errors.New("empty, not a JSON object")
	}
	if trimmed[0] != '{' {
		return nil, errors.New("not a JSON object")
	}
	return scan(data, make([]member, 0, 24))
}

// scan checks data; with a non-nil top it collects the members of the outermost object. The grammar is encoding/json's to judge,
// so what follows walks text that is known to be valid.
func scan(data []byte, top []member) ([]member, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not valid UTF-8")
	}
	if bytes.HasPrefix(data, []byte("\xef\xbb\xbf")) {
		return nil, errors.New("begins with a byte order mark")
	}
	if !json.Valid(data) {
		return nil, errors.New("not valid JSON")
	}
	s := scanner{data: data, top: top, collect: top != nil}
	if err := s.value(0); err != nil {
		return nil, err
	}
	return s.top, nil
}

type scanner struct {
	data    []byte
	at      int
	top     []member
	collect bool
}

func (s *scanner) blank() {
	for s.at < len(s.data) {
		switch s.data[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

func (s *scanner) value(depth int) error {
	s.blank()
	switch s.data[s.at] {
	case '{':
		return s.object(depth + 1)
	case '[':
		return s.array(depth + 1)
	case '"':
		_, err := s.text()
		return err
	}
	for s.at < len(s.data) && !strings.ContainsRune(",]} \t\r\n", rune(s.data[s.at])) {
		s.at++
	}
	return nil
}

func (s *scanner) array(depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("nested deeper than %d levels", MaxDepth)
	}
	s.at++
	for s.blank(); s.data[s.at] != ']'; s.blank() {
		if err := s.value(depth); err != nil {
			return err
		}
		if s.blank(); s.data[s.at] == ',' {
			s.at++
		}
	}
	s.at++
	return nil
}

func (s *scanner) object(depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("nested deeper than %d levels", MaxDepth)
	}
	s.at++
	var few [16]string
	seen := names{list: few[:0], fold: depth == 1}
	for s.blank(); s.data[s.at] != '}'; s.blank() {
		name, err := s.text()
		if err != nil {
			return err
		}
		if err := seen.add(name); err != nil {
			return err
		}
		s.blank()
		s.at++ // the colon
		s.blank()
		start := s.at
		if err := s.value(depth); err != nil {
			return err
		}
		if depth == 1 && s.collect {
			s.top = append(s.top, member{name, s.data[start:s.at:s.at]})
		}
		if s.blank(); s.data[s.at] == ',' {
			s.at++
		}
	}
	s.at++
	return nil
}

// text reads a string; one without escapes is returned as it stands.
func (s *scanner) text() (string, error) {
	start := s.at
	escaped := false
	for s.at++; s.data[s.at] != '"'; s.at++ {
		if s.data[s.at] == '\\' {
			escaped = true
			s.at++
		}
	}
	s.at++
	quoted := s.data[start:s.at]
	if !escaped {
		return string(quoted[1 : len(quoted)-1]), nil
	}
	if err := surrogates(quoted); err != nil {
		return "", err
	}
	var text string
	if err := json.Unmarshal(quoted, &text); err != nil {
		return "", err
	}
	return text, nil
}

// surrogates refuses \uD800 to \uDFFF outside a pair: decoders replace them, each in its own way.
func surrogates(quoted []byte) error {
	lone := errors.New("half of a surrogate pair")
	high := false
	for i := 1; i < len(quoted)-1; i++ {
		if quoted[i] != '\\' {
			if high {
				return lone
			}
			continue
		}
		i++
		unit := rune(0)
		if quoted[i] == 'u' {
			for _, c := range quoted[i+1 : i+5] {
				unit = unit<<4 | rune(strings.IndexByte("0123456789abcdef", c|0x20))
			}
			i += 4
		}
		low := 0xDC00 <= unit && unit <= 0xDFFF
		if high != low {
			return lone
		}
		high = 0xD800 <= unit && unit <= 0xDBFF
	}
	if high {
		return lone
	}
	return nil
}

// names finds repetitions: by comparing while there are few, by a map when there are many.
type names struct {
	list []string
	set  map[string]struct{}
	fold bool
}

func (n *names) add(name string) error {
	if n.set == nil && len(n.list) < cap(n.list) {
		for _, other := range n.list {
			if other == name {
				return twice(name)
			}
			if n.fold && len(other) <= 3*len(name) && strings.EqualFold(other, name) {
				return caseOnly(name)
			}
		}
		n.list = append(n.list, name)
		return nil
	}
	if n.set == nil {
		n.set = make(map[string]struct{}, 4*len(n.list))
		for _, other := range n.list {
			n.set[n.key(other)] = struct{}{}
		}
	}
	key := n.key(name)
	if _, ok := n.set[key]; ok {
		return twice(name)
	}
	n.set[key] = struct{}{}
	return nil
}

func (n *names) key(name string) string {
	if !n.fold {
		return name
	}
	return foldKey(name)
}

func twice(name string) error { return fmt.Errorf("member %.40q occurs twice", name) }
func caseOnly(name string) error {
	return fmt.Errorf("member %.40q occurs twice but for its case", name)
}
