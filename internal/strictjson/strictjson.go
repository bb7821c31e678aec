// Package strictjson reads JSON of strangers: what two parsers could read differently is refused (RFC 7493 sections 2.1 and 2.3,
// RFC 8725 section 3.7). encoding/json alone takes the last of two equal names, ignores the case of names and mends broken UTF-8,
// so that one token could name two subjects.
package strictjson

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
)

// MaxDepth is how many objects and arrays may be open around a value.
const MaxDepth = 32

// Error says which rule the JSON breaks.
type Error struct {
	Rule   string // "grammar", "utf8", "surrogate", "duplicate", "case", "depth", "object"
	Name   string // of the member, where the rule is about one
	Detail string
}

func (e *Error) Error() string {
	switch e.Rule {
	case "duplicate":
		return fmt.Sprintf("member %.64q occurs twice", e.Name)
	case "case":
		return fmt.Sprintf("member %.64q differs from another in case only", e.Name)
	case "object":
		return "not a JSON object"
	case "depth":
		return fmt.Sprintf("nested deeper than %d levels", MaxDepth)
	}
	return e.Detail
}

// Check reports why data is not exactly one JSON value that every parser reads alike: invalid UTF-8, a lone surrogate escape,
// a member name that occurs twice in an object (any depth), top-level member names that differ only in case (strings.EqualFold),
// more than MaxDepth levels, bytes after the value. Errors are *Error.
func Check(data []byte) error { return check(data, nil) }

// Each checks data, which must be an object, and calls f for each of its members in order, with the name free of escapes.
// f sees members before the whole has been checked: use nothing of them unless Each returns nil. name and value are parts of data.
// Errors are *Error or f's.
func Each(data []byte, f func(name, value []byte) error) error {
	if !isObject(data) {
		if err := check(data, nil); err != nil {
			return err
		}
		return &Error{Rule: "object"}
	}
	return check(data, f)
}

func isObject(data []byte) bool {
	for _, c := range data {
		if c > ' ' {
			return c == '{'
		}
	}
	return false
}

// Object checks data, which must be an object, and returns its members by their exact names. The values are parts of data.
func Object(data []byte) (map[string]json.RawMessage, error) {
	members := map[string]json.RawMessage{}
	err := Each(data, func(name, value []byte) error {
		members[string(name)] = value
		return nil
	})
	if err != nil {
		return nil, err
	}
	return members, nil
}

// Unmarshal checks data, an object, and decodes it into the struct (or map) v points to, matching top-level names exactly:
// one that equals a field's name but for its case is an error, where encoding/json would take it for the field.
func Unmarshal(data []byte, v any) error {
	fields := fieldsOf(reflect.TypeOf(v))
	if fields == nil {
		if err := Each(data, func(_, _ []byte) error { return nil }); err != nil {
			return err
		}
		return json.Unmarshal(data, v)
	}
	// What no field takes is left out: encoding/json would read all of it, twice.
	var space [512]byte
	wanted := append(space[:0], '{')
	err := Each(data, func(name, value []byte) error {
		if quoted, found := fields.exact[string(name)]; found {
			wanted = append(append(append(append(wanted, quoted...), ':'), value...), ',')
			return nil
		}
		return fields.near(name)
	})
	if err != nil {
		return err
	}
	if _, whole := v.(json.Unmarshaler); whole {
		return json.Unmarshal(data, v)
	}
	if last := len(wanted) - 1; wanted[last] == ',' {
		wanted = wanted[:last]
	}
	return json.Unmarshal(append(wanted, '}'), v)
}

// fields are the member names encoding/json would look for in a struct.
type fields struct {
	exact  map[string]string // to the name in quotes
	folded map[string]string // from foldKey to the name
	hashes map[uint64]bool   // hashOf each: an ASCII name that is not here is near none
	beyond bool              // a name has letters beyond ASCII, which hashOf does not fold
}

// near reports a name that is a field's but for its case.
func (f *fields) near(name []byte) error {
	if hash, ascii := hashOf(name); ascii && !f.beyond && !f.hashes[hash] {
		return nil
	}
	if known, near := f.folded[foldKey(string(name))]; near {
		return &Error{Rule: "case", Name: string(name), Detail: known}
	}
	return nil
}

// known remembers fields by type, as encoding/json does: a program has a fixed number of them.
var known sync.Map // reflect.Type to *fields

func fieldsOf(t reflect.Type) *fields {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	if f, ok := known.Load(t); ok {
		return f.(*fields)
	}
	f := &fields{exact: map[string]string{}, folded: map[string]string{}, hashes: map[uint64]bool{}}
	f.collect(t, map[reflect.Type]bool{})
	known.Store(t, f)
	return f
}

func (f *fields) collect(t reflect.Type, seen map[reflect.Type]bool) {
	if seen[t] {
		return
	}
	seen[t] = true
	for i := range t.NumField() {
		field := t.Field(i)
		tag := field.Tag.Get("json")
		name, _, _ := strings.Cut(tag, ",")
		if tag == "-" {
			continue
		}
		if inner := field.Type; field.Anonymous && name == "" {
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct {
				f.collect(inner, seen)
				continue
			}
		}
		if !field.IsExported() {
			continue
		}
		if name == "" {
			name = field.Name
		}
		quoted, err := json.Marshal(name)
		if err != nil {
			continue // cannot be: it is a string
		}
		f.exact[name] = string(quoted)
		hash, ascii := hashOf([]byte(name))
		f.hashes[hash], f.beyond = true, f.beyond || !ascii
		f.folded[foldKey(name)] = name
	}
}
