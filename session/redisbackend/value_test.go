package redisbackend

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/session"
)

var (
	plain = session.Item{Data: []byte("data"), Version: 1<<63 | 7, Expires: time.UnixMilli(2e12)}
	owned = session.Item{Data: []byte("data"), Version: 7, Expires: time.UnixMilli(2e12), Owner: session.Key{1, 2, 3}}
)

func same(a, b session.Item) bool {
	return a.Version == b.Version && a.Expires.Equal(b.Expires) && a.Owner == b.Owner && bytes.Equal(a.Data, b.Data)
}

func TestAValueComesBackUntilItsEnd(t *testing.T) {
	for _, item := range []session.Item{plain, owned} {
		b := encode(item, nonce{9})
		got, err := decode(b, item.Expires.Add(-time.Millisecond))
		if err != nil || !same(got, item) {
			t.Errorf("a millisecond before: version %d, %v", got.Version, err)
		}
		if cap(got.Data) != len(got.Data) {
			t.Error("appending to the data writes into what is shared")
		}
		got, err = decode(b, item.Expires)
		if err != nil || !same(got, session.Item{}) || got.Data != nil {
			t.Errorf("at its end: version %d, %v", got.Version, err)
		}
	}
}

func TestTimesThatNoNumberHoldsAreBounded(t *testing.T) {
	for _, c := range []struct {
		at    time.Time
		ended bool
	}{
		{time.Time{}, true}, {time.Unix(-1, 0), true}, {time.Unix(1<<55, 0), false}, {time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), false},
	} {
		item := plain
		item.Expires = c.at
		got, err := decode(encode(item, nonce{}), time.UnixMilli(1.8e12))
		if err != nil || (got.Version == 0) != c.ended {
			t.Errorf("%s: version %d, %v", c.at, got.Version, err)
		}
	}
}

func TestValuesOfOtherFormsAreForeign(t *testing.T) {
	cut, cutOwner := encode(plain, nonce{})[:headSize-1], encode(owned, nonce{})[:ownerSize-1]
	form, version, end := encode(plain, nonce{}), encode(plain, nonce{}), encode(plain, nonce{})
	form[0] = 3
	copy(version[1:], make([]byte, 8))
	end[9] = 0xff
	for name, b := range map[string][]byte{
		"nothing": nil, "cut in its head": cut, "cut in its owner": cutOwner, "another form": form, "version zero": version, "an end that no Put writes": end,
	} {
		if got, err := decode(b, time.UnixMilli(0)); !errors.Is(err, errForeign) || !same(got, session.Item{}) {
			t.Errorf("%s: version %d, %v", name, got.Version, err)
		}
	}
	for name, b := range map[string][]byte{"no data": encode(plain, nonce{})[:headSize], "an owner and no data": encode(owned, nonce{})[:ownerSize]} {
		if got, err := decode(b, time.UnixMilli(0)); err != nil || got.Version == 0 || len(got.Data) != 0 {
			t.Errorf("%s: version %d, %v", name, got.Version, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(plain, nonce{1}), int64(0))
	f.Add(encode(owned, nonce{1}), int64(0))
	f.Add(encode(owned, nonce{1})[:ownerSize], int64(2e12))
	f.Add(encode(plain, nonce{1})[:headSize-1], int64(0))
	f.Add([]byte{formOwned}, int64(0))
	f.Fuzz(func(t *testing.T, b []byte, now int64) {
		item, err := decode(b, time.UnixMilli(now))
		if err != nil || item.Version == 0 {
			if !same(item, session.Item{}) {
				t.Fatalf("an absent item with content, and %v", err)
			}
			return
		}
		var n nonce
		copy(n[:], b[17:])
		again := encode(item, n)
		if item.Owner == (session.Key{}) && b[0] == formOwned {
			return // an owner of zeros, which no Put writes
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("%x becomes %x", b, again)
		}
	})
}
