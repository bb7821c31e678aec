package session

import (
	"net/http"
	"time"
)

// cookieKeeper keeps the record sealed in the browser's own cookies. It can't compare and swap, nor tell a copied cookie from the first:
// what has to end everywhere at once needs the ledger or a server-side store.
type cookieKeeper struct {
	cookieAttributes
	record *chunkedCookie
	seen   seenCookie
}

func newCookieKeeper(s *CookieStore, a cookieAttributes) *cookieKeeper {
	return &cookieKeeper{
		cookieAttributes: a,
		record:           newChunkedCookie(a.name, s.records),
		seen:             seenCookie{cookieAttributes: a, full: a.name + seenSuffix, seal: s.seen},
	}
}

func (c *cookieKeeper) load(r *http.Request, k *kept) error {
	var p cookieParts
	p.scan(r, c.name)
	plain, err := c.record.open(&p)
	if err != nil {
		return err
	}
	if err := openEnvelope(plain, k); err != nil {
		return err
	}
	k.seen = c.seen.read(&p, k.id)
	return nil
}

func (c *cookieKeeper) create(w http.ResponseWriter, r *http.Request, data []byte, expires time.Time) error {
	var p cookieParts
	p.scan(r, c.name)
	if err := c.write(w, &p, newEnvelopeID(), data, expires); err != nil {
		return err
	}
	c.seen.drop(w, &p)
	return nil
}

func (c *cookieKeeper) update(w http.ResponseWriter, r *http.Request, k *kept, data []byte, expires time.Time) error {
	var p cookieParts
	p.scan(r, c.name)
	return c.write(w, &p, k.id, data, expires)
}

func (c *cookieKeeper) write(w http.ResponseWriter, p *cookieParts, id keptID, data []byte, expires time.Time) error {
	s := scratchPool.Get().(*scratch)
	defer s.release()
	s.plain = appendEnvelope(s.plain[:0], id, expires, data)
	return c.record.write(p, s, s.plain, maxAttributes,
		func(name string, text []byte) { c.setEncoded(w, name, text, expires) },
		func(name string) { c.delete(w, name) })
}

func (c *cookieKeeper) touch(w http.ResponseWriter, _ *http.Request, k *kept, t time.Time) error {
	c.seen.write(w, k, t)
	return nil
}

func (c *cookieKeeper) remove(w http.ResponseWriter, r *http.Request, _ *kept) error {
	var p cookieParts
	p.scan(r, c.name)
	c.record.drop(w, &p, func(name string) { c.delete(w, name) })
	c.seen.drop(w, &p)
	return nil
}

func (c *cookieKeeper) exclusive() bool { return false }

func (c *cookieKeeper) final() bool { return false }
