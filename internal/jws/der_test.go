package jws

import (
	"bytes"
	"encoding/asn1"
	"math/big"
	"testing"
)

func TestDERIsWhatEncodingASN1Makes(t *testing.T) {
	for _, size := range []int{32, 48, 66} {
		one := func(at int, b byte) []byte { n := make([]byte, size); n[at] = b; return n }
		full := bytes.Repeat([]byte{0xff}, size)
		numbers := [][]byte{
			make([]byte, size), one(size-1, 1), one(size-1, 0x7f), one(size-1, 0x80), one(size-2, 1), one(size-2, 0x80), one(1, 0x7f), one(1, 0x80), one(0, 1), one(0, 0x7f), one(0, 0x80), full,
			append([]byte{0, 0, 0x80}, full[3:]...), append([]byte{0x7f}, full[1:]...), append([]byte{0}, full[1:]...), append([]byte{0, 0x7f}, full[2:]...),
		}
		for _, r := range numbers {
			for _, s := range numbers {
				want, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(r), new(big.Int).SetBytes(s)})
				if err != nil {
					t.Fatal(err)
				}
				var space [maxDER]byte
				if got := der(&space, r, s); !bytes.Equal(got, want) {
					t.Fatalf("r %x, s %x: %x, want %x", r, s, got, want)
				}
			}
		}
	}
}
