package session

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"
)

// The Values of a gorilla session as bytes: a byte of form, 8 of Unix seconds (the end), then for each value kind, length of key, key, length of value, value.
const (
	valuesForm   = 1
	valuesHeader = 1 + 8
)

const (
	kindString = iota + 1
	kindBytes
	kindBool
	kindInt
	kindInt64
	kindFloat64
)

// appendValues encodes values in the order of their keys. Errors name the key, never the value.
func appendValues(b []byte, values map[any]any, expires time.Time) ([]byte, error) {
	b = append(b, valuesForm)
	b = binary.BigEndian.AppendUint64(b, uint64(expires.Unix()))
	keys := make([]string, 0, len(values))
	for key := range values {
		text, ok := key.(string)
		if !ok {
			return nil, fmt.Errorf("session: a key of Values is a %T: this store keeps string keys only", key)
		}
		keys = append(keys, text)
	}
	slices.Sort(keys)
	for _, key := range keys {
		kind, raw, err := encodeValue(key, values[key])
		if err != nil {
			return nil, err
		}
		b = append(b, kind)
		b = binary.AppendUvarint(b, uint64(len(key)))
		b = append(b, key...)
		b = binary.AppendUvarint(b, uint64(len(raw)))
		b = append(b, raw...)
	}
	return b, nil
}

func encodeValue(key string, value any) (kind byte, raw []byte, err error) {
	switch v := value.(type) {
	case string:
		return kindString, []byte(v), nil
	case []byte:
		return kindBytes, v, nil
	case bool:
		if v {
			return kindBool, []byte{1}, nil
		}
		return kindBool, []byte{0}, nil
	case int:
		return kindInt, binary.AppendVarint(nil, int64(v)), nil
	case int64:
		return kindInt64, binary.AppendVarint(nil, v), nil
	case float64:
		return kindFloat64, binary.BigEndian.AppendUint64(nil, math.Float64bits(v)), nil
	}
	return 0, nil, fmt.Errorf("session: value %q is a %T: this store keeps string, []byte, bool, int, int64 and float64; marshal other types to []byte", key, value)
}

// parseValues reads what appendValues wrote into values. errNoRecord: it is malformed or its end has come; values may then hold a part.
func parseValues(b []byte, values map[any]any) error {
	if len(b) < valuesHeader || b[0] != valuesForm {
		return errNoRecord
	}
	if ends(time.Unix(int64(binary.BigEndian.Uint64(b[1:])), 0)) {
		return errEnded
	}
	b = b[valuesHeader:]
	for len(b) > 0 {
		kind := b[0]
		key, rest, ok := cutField(b[1:])
		if !ok {
			return errNoRecord
		}
		raw, rest, ok := cutField(rest)
		if !ok {
			return errNoRecord
		}
		b = rest
		value, ok := decodeValue(kind, raw)
		if !ok {
			return errNoRecord
		}
		values[string(key)] = value
	}
	return nil
}

func cutField(b []byte) (field, rest []byte, ok bool) {
	length, n := binary.Uvarint(b)
	if n <= 0 || length > uint64(len(b)-n) {
		return nil, nil, false
	}
	return b[n : n+int(length)], b[n+int(length):], true
}

func decodeValue(kind byte, raw []byte) (any, bool) {
	switch kind {
	case kindString:
		return string(raw), true
	case kindBytes:
		return slices.Clone(raw), true
	case kindBool:
		return len(raw) == 1 && raw[0] == 1, len(raw) == 1
	case kindInt:
		v, n := binary.Varint(raw)
		return int(v), n == len(raw) && n > 0
	case kindInt64:
		v, n := binary.Varint(raw)
		return v, n == len(raw) && n > 0
	case kindFloat64:
		if len(raw) != 8 {
			return nil, false
		}
		return math.Float64frombits(binary.BigEndian.Uint64(raw)), true
	}
	return nil, false
}
