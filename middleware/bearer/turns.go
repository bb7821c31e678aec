package bearer

import (
	"context"
	"errors"
	"hash/maphash"
	"sync/atomic"

	"github.com/latchkey-go/latchkey/discovery"
)

// turns bounds the signatures that are checked at once. Parties whose token has verified before have a lane of their own: a flood of
// forged tokens fills the strangers' lane, and who forges in a known party's name only moves that party to the strangers.
type turns struct {
	known, strangers lane
	ofKnown          discovery.Turn
	ofStrangers      discovery.Turn
	refused          atomic.Uint64

	seed maphash.Seed
	seen [1 << 13]place
}

// place is where a party is remembered: the one that the last bits of its hash say.
type place struct {
	party  atomic.Uint64 // the whole hash
	inside atomic.Int64  // its tokens in the lane of known parties
}

func (p *place) leave() {
	if p != nil {
		p.inside.Add(-1)
	}
}

// lane is as many checks as slots has room for, and a queue that is short enough to be worth waiting in.
type lane struct {
	slots   chan struct{}
	waiting atomic.Int64
	most    int64
}

// queue is how many may wait for each slot: at some 50 µs a check this is 50 ms. A thousand requests that waited for one new key fit in.
const queue = 1024

func newTurns(slots int) *turns {
	t := &turns{seed: maphash.MakeSeed()}
	strangers := max(1, slots/2)
	t.strangers = lane{slots: make(chan struct{}, strangers), most: queue * int64(strangers)}
	t.known = lane{slots: make(chan struct{}, slots-strangers), most: queue * int64(slots-strangers)}
	t.ofKnown, t.ofStrangers = t.turn(&t.known), t.turn(&t.strangers)
	return t
}

func (t *turns) turn(l *lane) discovery.Turn {
	leave := func() { <-l.slots }
	return func(ctx context.Context) (func(), error) {
		select {
		case l.slots <- struct{}{}:
			return leave, nil
		default:
		}
		if l.waiting.Add(1) > l.most {
			l.waiting.Add(-1)
			t.refused.Add(1)
			return nil, ErrBusy
		}
		defer l.waiting.Add(-1)
		select {
		case l.slots <- struct{}{}:
			return leave, nil
		case <-ctx.Done():
			return nil, &discovery.UnavailableError{URL: "the queue of tokens to verify", Err: context.Cause(ctx)}
		}
	}
}

// party is who a token claims to be of, as a hash that nobody outside can foresee; never zero.
func (t *turns) party(tok *Token) uint64 {
	var h maphash.Hash
	h.SetSeed(t.seed)
	for _, s := range [...]string{tok.Issuer, tok.ClientID, tok.Subject} {
		h.WriteString(s)
		h.WriteByte(0)
	}
	return h.Sum64() | 1<<63
}

func (t *turns) place(party uint64) *place { return &t.seen[party%uint64(len(t.seen))] }

// of is the lane for a token of party, and what to leave after its check. A party's tokens take a quarter of the known parties' lane at most, and the others
// go with the strangers: a flood of tokens forged in the name of a party that has just sent a good one must leave room for the rest.
func (t *turns) of(party uint64) (turn discovery.Turn, at *place) {
	at = t.place(party)
	if at.party.Load() != party {
		return t.ofStrangers, nil
	}
	if at.inside.Add(1) > t.known.most/4 {
		at.leave()
		return t.ofStrangers, nil
	}
	return t.ofKnown, at
}

func (t *turns) succeeded(party uint64) {
	if p := t.place(party); p.party.Load() != party {
		p.party.Store(party)
	}
}

// failed takes a party's privilege away if its token was forged; an outage says nothing of it.
func (t *turns) failed(party uint64, err error) {
	if e, ok := errors.AsType[*discovery.SignatureError](err); ok && e.Check == "signature" {
		t.place(party).party.CompareAndSwap(party, 0)
	}
}
