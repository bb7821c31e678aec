package session

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"
)

// TestValuesRefuseWhatIsMalformed stays inside because such bytes come only from a key holder's other software.
func TestValuesRefuseWhatIsMalformed(t *testing.T) {
	end := func(t time.Time) []byte { return binary.BigEndian.AppendUint64([]byte{valuesForm}, uint64(t.Unix())) }
	good := append(end(hour()), kindString, 1, 'k', 1, 'v')
	if values := map[any]any{}; parseValues(good, values) != nil || values["k"] != "v" {
		t.Fatalf("%v", values)
	}
	bad := map[string][]byte{
		"nothing":         {},
		"another form":    append([]byte{2}, good[1:]...),
		"at its end":      append(end(time.Now()), good[valuesHeader:]...),
		"unknown kind":    append(end(hour()), 99, 1, 'k', 1, 'v'),
		"bool of 2 bytes": append(end(hour()), kindBool, 1, 'k', 2, 1, 1),
		"int of 2":        append(end(hour()), kindInt, 1, 'k', 2, 2, 2),
		"int64 of none":   append(end(hour()), kindInt64, 1, 'k', 0),
		"float of 7":      append(end(hour()), kindFloat64, 1, 'k', 7, 1, 2, 3, 4, 5, 6, 7),
		"absurd length":   binary.AppendUvarint(append(end(hour()), kindString, 1, 'k'), 1<<63),
	}
	for i := range len(good) - 1 {
		if i != valuesHeader-1 {
			bad["cut to "+string(rune('a'+i))] = good[:i+1]
		}
	}
	for name, b := range bad {
		if err := parseValues(b, map[any]any{}); !errors.Is(err, errNoRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
