package redisbackend

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/latchkey-go/latchkey/rp/store"
)

// What stands under an item's key:
//
//	1   form: 1 nobody's, 2 with an owner
//	8   version      big-endian, as all numbers
//	8   end          Unix milliseconds
//	8   nonce        random, of the Put
//	32  owner        in form 2 only
//	    data
//
// The scripts read the first 25 bytes.
const (
	formPlain = 1
	formOwned = 2
	headSize  = 1 + 8 + 8 + 8
	ownerSize = headSize + 32
)

// nonce tells a Put's value from every other, even of the same item: a Put that is repeated because its answer was lost finds its own.
type nonce [8]byte

// errForeign is returned for what none of our forms is: it may be of a newer version of this module, so it is neither taken for absent nor overwritten.
var errForeign = errors.New("what is in Redis under this key was not written by this version of redisbackend")

// maxMillis keeps times exact as Lua numbers; it is the year 144683.
const maxMillis = 1 << 52

// millis is t as items have it. What lies before 1970 has ended, and so has zero.
func millis(t time.Time) int64 {
	switch s := t.Unix(); { // UnixMilli overflows where this doesn't
	case s < 0:
		return 0
	case s >= maxMillis/1000:
		return maxMillis
	}
	return t.UnixMilli()
}

// wire is a version as the scripts compare it, byte by byte: Lua's numbers have 53 bits.
func wire(version uint64) []byte { return binary.BigEndian.AppendUint64(nil, version) }

func encode(item store.Item, n nonce) []byte {
	b := append(make([]byte, 0, ownerSize+len(item.Data)), formPlain)
	b = binary.BigEndian.AppendUint64(b, item.Version)
	b = binary.BigEndian.AppendUint64(b, uint64(millis(item.Expires)))
	b = append(b, n[:]...)
	if item.Owner != (store.Key{}) {
		b[0] = formOwned
		b = append(b, item.Owner[:]...)
	}
	return append(b, item.Data...)
}

// decode returns the item in b, whose data it shares; the zero Item if it has ended at now.
func decode(b []byte, now time.Time) (store.Item, error) {
	if len(b) < headSize || b[0] != formPlain && b[0] != formOwned || b[0] == formOwned && len(b) < ownerSize {
		return store.Item{}, errForeign
	}
	item := store.Item{Version: binary.BigEndian.Uint64(b[1:])}
	end := binary.BigEndian.Uint64(b[9:])
	if item.Version == 0 || end > maxMillis {
		return store.Item{}, errForeign
	}
	if int64(end) <= now.UnixMilli() {
		return store.Item{}, nil
	}
	item.Expires = time.UnixMilli(int64(end))
	item.Data = b[headSize:len(b):len(b)]
	if b[0] == formOwned {
		item.Owner = store.Key(b[headSize:])
		item.Data = b[ownerSize:len(b):len(b)]
	}
	return item, nil
}
