package strictjson

import (
	"strings"
	"unicode"
)

// foldKey maps names that strings.EqualFold equates to one key: each rune becomes the smallest of its folding orbit.
func foldKey(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, name)
}
