package strictjson

import (
	"bytes"
	"encoding/binary"
)

// nameSet holds the names of one object, to find those that occur twice. Case counts only at the top: that is where claims and
// parameters live that some reader takes by name.
type nameSet struct {
	top  bool
	seen uint64 // a bit for each hash in few: most names are new, and this tells so at once
	few  []name
	many map[string]struct{}
}

// name is a member's name without its escapes.
type name struct {
	hash uint64
	text []byte
}

// limit is how many names are compared one by one before a map takes over: a hostile object must not cost its square.
const limit = 64

// add returns the rule that text breaks, or nothing. While there is no map, the caller puts text into few.
func (s *nameSet) add(text []byte) (hash uint64, rule string) {
	hash, ascii := hashOf(text)
	if s.many != nil || len(s.few) == limit || s.top && !ascii {
		return hash, s.addMany(text)
	}
	bit := uint64(1) << (hash >> 58)
	if s.seen&bit == 0 {
		s.seen |= bit
		return hash, ""
	}
	for i := range s.few {
		other := &s.few[i]
		if other.hash != hash {
			continue
		}
		if bytes.Equal(other.text, text) {
			return hash, "duplicate"
		}
		if s.top && bytes.EqualFold(other.text, text) {
			return hash, "case"
		}
	}
	return hash, ""
}

// addMany also serves names beyond ASCII at the top, which hashOf does not fold: "ſub" equals "sub" to strings.EqualFold.
func (s *nameSet) addMany(text []byte) (rule string) {
	if s.many == nil {
		s.many = make(map[string]struct{}, 2*len(s.few))
		for _, n := range s.few {
			s.many[s.key(n.text)] = struct{}{}
		}
	}
	key := s.key(text)
	if _, found := s.many[key]; !found {
		s.many[key] = struct{}{}
		return ""
	}
	if s.top {
		return "case"
	}
	return "duplicate"
}

func (s *nameSet) key(text []byte) string {
	if s.top {
		return foldKey(string(text))
	}
	return string(text)
}

// hashOf is equal for ASCII names that differ in case only, and for equal names. It only saves comparisons, so a collision costs
// time and nothing else, and limit bounds that.
func hashOf(text []byte) (hash uint64, ascii bool) {
	const lower, high, prime = 0x2020202020202020, 0x8080808080808080, 0x9E3779B97F4A7C15
	hash = uint64(len(text))
	var all uint64
	mix := func(x uint64) {
		all |= x
		hash = (hash ^ (x | lower)) * prime
	}
	rest := text
	for ; len(rest) >= 8; rest = rest[8:] {
		mix(binary.LittleEndian.Uint64(rest))
	}
	switch n := len(rest); {
	case n >= 4:
		mix(uint64(binary.LittleEndian.Uint32(rest))<<32 | uint64(binary.LittleEndian.Uint32(rest[n-4:])))
	case n > 0:
		mix(uint64(rest[0])<<16 | uint64(rest[n/2])<<8 | uint64(rest[n-1]))
	}
	return hash, all&high == 0
}
