package session

import (
	"encoding/binary"
	"net/http"
	"time"
)

// seenCookie notes the last use of a record in a small sealed cookie of its own. Writing it back with the record would let a slow response, sealed before a refresh
// and delivered after it, put spent tokens back into the browser. It is bound to the record's id: beside another record it says nothing.
type seenCookie struct {
	cookieAttributes
	full string // the cookie's name
	seal *sealer
}

const seenLength = 8

// read returns the noted time, zero when there is none that opens and belongs to id.
func (c *seenCookie) read(p *cookieParts, id keptID) time.Time {
	if p.seenIn != 1 {
		return time.Time{}
	}
	s := scratchPool.Get().(*scratch)
	defer s.release()
	var ok bool
	if s.sealed, ok = s.decode(s.sealed[:0], p.seen); !ok {
		return time.Time{}
	}
	s.text = c.bound(s.text[:0], id)
	plain, err := c.seal.openBound(s.plain[:0], s.sealed, s.text)
	if err != nil || len(plain) != seenLength {
		return time.Time{}
	}
	return time.Unix(int64(binary.BigEndian.Uint64(plain)), 0)
}

// write notes t until the record's end.
func (c *seenCookie) write(w http.ResponseWriter, k *kept, t time.Time) {
	plain := binary.BigEndian.AppendUint64(nil, uint64(t.Unix()))
	sealed := c.seal.Seal(nil, plain, c.bound(nil, k.id))
	c.set(w, c.full, cookieEncoding.EncodeToString(sealed), k.expires)
}

// drop deletes the mark when p has one, and takes back one this response sets.
func (c *seenCookie) drop(w http.ResponseWriter, p *cookieParts) {
	dropSetCookie(w, c.full)
	if p.seenIn > 0 {
		c.delete(w, c.full)
	}
}

// bound ends with the id, whose length is fixed, so no two pairs of name and id read alike.
func (c *seenCookie) bound(b []byte, id keptID) []byte {
	return append(append(b, c.full...), id[:]...)
}
