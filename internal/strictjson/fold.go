package strictjson

import (
	"strings"
	"unicode"
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
