package strictjson

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// foldRune maps the runes that strings.EqualFold equates to one of them: the smallest of the folding orbit.
func foldRune(r rune) rune {
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		least = min(least, next)
	}
	return least
}

// foldKey is equal for names that strings.EqualFold equates, and for no others.
func foldKey(name string) string { return strings.Map(foldRune, name) }

// foldHash is equal for names that strings.EqualFold equates; it only saves comparisons, so a collision costs time and nothing else.
func foldHash(name []byte) uint32 {
	h := uint32(2166136261)
	for i := 0; i < len(name); {
		c := rune(name[i])
		size := 1
		switch {
		case 'a' <= c && c <= 'z':
			c -= 'a' - 'A' // what foldRune does, without its search
		case c >= utf8.RuneSelf:
			c, size = utf8.DecodeRune(name[i:])
			c = foldRune(c)
		}
		h = (h ^ uint32(c)) * 16777619
		i += size
	}
	return h
}
