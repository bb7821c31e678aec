package session

import (
	"encoding/binary"
	"testing"
	"testing/synctest"
	"time"
)

func TestRecentKeysAreBoundedAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 100
		r := newRecent(most)
		named := func(n uint32) (key [32]byte) {
			binary.BigEndian.PutUint32(key[:], n)
			return key
		}
		if !r.first(named(0), time.Now().Add(time.Minute)) || r.first(named(0), time.Now().Add(time.Minute)) || !r.has(named(0)) || r.has(named(1)) {
			t.Error("a key is new once")
		}
		time.Sleep(time.Minute)
		if r.has(named(0)) || !r.first(named(0), time.Now()) {
			t.Error("a key that has ended is new again")
		}
		end := time.Now().Add(time.Hour)
		for n := range uint32(10 * most) {
			if !r.first(named(n+1), end) {
				t.Fatalf("key %d is not new", n)
			}
			if !r.has(named(n + 1)) {
				t.Fatalf("key %d was forgotten at once", n)
			}
			if len(r.until) > most {
				t.Fatalf("%d keys are kept, %d at most", len(r.until), most)
			}
		}
	})
}
