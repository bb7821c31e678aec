package rp

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// respite is how long a provider wants to be left alone: a 503 with Retry-After, whichever key's request got it, is about the server, not about who asked (RFC 9110 sections 10.2.3 and
// 15.6.4), so it holds for all tokens that are fetched in the background. When it is over one request goes first, and the others follow if that is answered. A 429 is about who asked (RFC 6585
// section 4): it holds for its key, since a provider may count for each user.
type respite struct {
	mu    sync.Mutex
	until time.Time // zero: none
	cause error     // what asked for it
	first bool      // the first request after it is under way
}

// maxSpread bounds how much later than another a key comes back.
const maxSpread = 10 * time.Second

// errUnsent is what came of a request that was not sent after all.
var errUnsent = errors.New("rp: nothing was sent")

// enter asks whether a request may be sent now. leave must be called with what came of it.
func (r *respite) enter() (leave func(error), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	switch {
	case r.until.IsZero():
		return func(err error) { r.left(err, false) }, nil
	case now.Before(r.until):
		spread := min(r.until.Sub(now)/8, maxSpread)
		return nil, &laterError{r.until.Add(rand.N(max(spread, 1))), r.cause}
	case r.first:
		return nil, &laterError{now.Add(firstPause), r.cause}
	}
	r.first = true
	return func(err error) { r.left(err, true) }, nil
}

func (r *respite) left(err error, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if first {
		r.first = false
		if !errors.Is(err, errUnsent) {
			r.until, r.cause = time.Time{}, nil
		}
	}
	e, ok := errors.AsType[*ProviderError](err)
	if !ok || e.Status != http.StatusServiceUnavailable || e.RetryAfter <= 0 {
		return
	}
	if until := time.Now().Add(min(max(e.RetryAfter, firstPause), longPause)); until.After(r.until) {
		r.until, r.cause = until, err
	}
}
