package session

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/latchkey-go/latchkey/rp/store"
)

const (
	maxChunks = 4
	// maxCookie bounds a whole Set-Cookie line. Browsers bound name and value at 4096 bytes (RFC 6265bis, 5.6); counting the attributes too keeps a margin for those that do so.
	maxCookie     = 4096
	maxAttributes = 96 // of ours: "; Path=/; Max-Age=2147483647; HttpOnly; Secure; SameSite=Strict" and some
	seenSuffix    = "-seen"
)

var cookieEncoding = base64.RawURLEncoding.Strict()

// chunkName names the cookie that holds part i of a value: the first has the plain name.
func chunkName(name string, i int) string {
	if i == 0 {
		return name
	}
	return name + "." + string(rune('0'+i))
}

// chunkLength is how many base64 characters one cookie of this name takes: a multiple of 4, so that each part decodes alone.
func chunkLength(name string, attributes int) int {
	return max(0, maxCookie-len(name)-len(".0=")-attributes) &^ 3
}

// chunkedCookie is one value sealed as a whole and laid over up to four cookies: name, name.1, name.2, name.3.
// The count of cookies is the value's first byte and authenticated with it, so a part missing, moved or left over from an older value opens nothing.
type chunkedCookie struct {
	name   string
	names  [maxChunks]string
	bounds [maxChunks][]byte // what is authenticated with 1, 2, ... chunks
	seal   *sealer
}

func newChunkedCookie(name string, seal *sealer) *chunkedCookie {
	c := &chunkedCookie{name: name, seal: seal}
	for i := range maxChunks {
		c.names[i] = chunkName(name, i)
		c.bounds[i] = append([]byte(name), 0, byte(i+1))
	}
	return c
}

// cookieParts are the cookies of one name, its chunks and its last-seen mark, as a request carries them.
type cookieParts struct {
	chunk  [maxChunks]string
	times  [maxChunks]uint8 // how often each came: 0, 1, 2 for more
	seen   string
	seenIn uint8
}

// scan collects the parts in one pass and without memory of its own.
func (p *cookieParts) scan(r *http.Request, name string) {
	for _, line := range r.Header["Cookie"] {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			pair = strings.Trim(pair, " ")
			if strings.HasPrefix(pair, name) {
				p.add(pair[len(name):])
			}
		}
	}
}

// add takes the rest of a pair behind the name.
func (p *cookieParts) add(rest string) {
	switch {
	case strings.HasPrefix(rest, "="):
		p.put(0, rest[1:])
	case len(rest) > 2 && rest[0] == '.' && rest[1] > '0' && rest[1] < '0'+maxChunks && rest[2] == '=':
		p.put(int(rest[1]-'0'), rest[3:])
	case strings.HasPrefix(rest, seenSuffix+"="):
		p.seen = rest[len(seenSuffix)+1:]
		p.seenIn = min(p.seenIn+1, 2)
	}
}

func (p *cookieParts) put(i int, value string) {
	p.chunk[i] = value
	p.times[i] = min(p.times[i]+1, 2)
}

// scratch is memory for one load or save, reused so that what a request leaves behind is its record alone.
type scratch struct{ plain, sealed, text []byte }

var scratchPool = sync.Pool{New: func() any { return new(scratch) }}

// release clears what was secret before another request gets the memory. What grew for a value too large for cookies isn't held on to.
func (s *scratch) release() {
	if cap(s.plain) > 2*maxChunks*maxCookie {
		return
	}
	clear(s.plain[:cap(s.plain)])
	s.plain = s.plain[:0]
	scratchPool.Put(s)
}

// open returns the value in memory of its own, or errNoRecord.
func (c *chunkedCookie) open(p *cookieParts) ([]byte, error) {
	if p.times[0] != 1 {
		return nil, errNoRecord
	}
	s := scratchPool.Get().(*scratch)
	defer s.release()
	var ok bool
	if s.sealed, ok = s.decode(s.sealed[:0], p.chunk[0]); !ok {
		return nil, errNoRecord
	}
	if len(s.sealed) == 0 {
		return nil, errNoRecord // one line end, which Go's decoder skips, decodes to no bytes without an error
	}
	count := int(s.sealed[0])
	if count < 1 || count > maxChunks {
		return nil, errNoRecord
	}
	for i := 1; i < count; i++ {
		if p.times[i] != 1 {
			return nil, errNoRecord
		}
		if s.sealed, ok = s.decode(s.sealed, p.chunk[i]); !ok {
			return nil, errNoRecord
		}
	}
	plain := make([]byte, 0, max(0, len(s.sealed)-1-store.Overhead))
	return c.seal.openBound(plain, s.sealed[1:], c.bounds[count-1])
}

// decode appends what text encodes to dst: base64url with no padding, no loose bits and (Go's decoder skips them even when strict) no line ends.
func (s *scratch) decode(dst []byte, text string) ([]byte, bool) {
	if text == "" || len(text) > maxCookie {
		return dst, false
	}
	s.text = append(s.text[:0], text...)
	before := len(dst)
	dst, err := cookieEncoding.AppendDecode(dst, s.text)
	return dst, err == nil && len(dst)-before == cookieEncoding.DecodedLen(len(text))
}

// write seals plain and sets its cookies by set, then deletes by drop the parts of p that are left over from a longer value.
// A value that doesn't fit is ErrTooLarge and nothing is written: the older value stays whole in the browser.
func (c *chunkedCookie) write(p *cookieParts, s *scratch, plain []byte, attributes int, set func(name string, text []byte), drop func(name string)) error {
	per := chunkLength(c.name, attributes)
	length := cookieEncoding.EncodedLen(1 + store.Overhead + len(plain))
	if length > per*maxChunks {
		return tooLarge(c.name, len(plain), per)
	}
	count := (length + per - 1) / per
	s.sealed = c.seal.Seal(append(s.sealed[:0], byte(count)), plain, c.bounds[count-1])
	s.text = cookieEncoding.AppendEncode(s.text[:0], s.sealed)
	for i := range count {
		set(c.names[i], s.text[i*per:min((i+1)*per, length)])
	}
	for i := count; i < maxChunks; i++ {
		if p.times[i] > 0 {
			drop(c.names[i])
		}
	}
	return nil
}

func tooLarge(name string, have, per int) error {
	bound := max(0, cookieEncoding.DecodedLen(per*maxChunks)-1-store.Overhead)
	return fmt.Errorf("%w: %q has %d bytes and at most %d fit into %d cookies; use a server-side store such as NewMemoryStore, or keep less in the session",
		ErrTooLarge, name, have, bound, maxChunks)
}

// drop deletes every part that p has, and takes back those this response sets.
func (c *chunkedCookie) drop(w http.ResponseWriter, p *cookieParts, drop func(name string)) {
	for i, n := range p.times {
		dropSetCookie(w, c.names[i])
		if n > 0 {
			drop(c.names[i])
		}
	}
}

// ends tells whether a value that must not be used from expires on has come to it.
func ends(expires time.Time) bool { return !time.Now().Before(expires) }
