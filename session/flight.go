package session

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	// resultLife is how long a finished refresh is remembered. Requests that were sent with the old cookie, and a browser that never got the new one,
	// are given the winner's tokens in that time; the old refresh token is not sent again.
	resultLife = 5 * time.Minute
	// maxFlights bounds what is remembered, of saved and of unsaved ones each.
	maxFlights = 20_000
	// refreshTimeout bounds a refresh with its save, whatever its caller does.
	refreshTimeout = 30*time.Second + userInfoTimeout
	// patience is how long a request waits for a refresh while its access token is still good.
	patience = 2 * time.Second
)

// refresher makes one refresh of many: a refresh token is spent by being used, and a provider that sees it twice ends the whole grant.
type refresher struct {
	m       *Manager
	mu      sync.Mutex
	flights map[[32]byte]*flight
	settled []*flight // that have ended, the longest ago first
	unsaved []*flight // whose tokens are in memory only: forgetting one would mean sending its spent token again
}

// flight is one use of one refresh token. Its first fields are set before done is closed, the last ones belong to the refresher's lock.
type flight struct {
	done    chan struct{}
	rec     record      // the renewed session, when err is nil
	cookies http.Header // what saving it set
	err     error
	// unchecked is why what came could not be judged, when only its refresh token was taken over: rec's access token is the old one.
	unchecked error
	over      bool      // err ended the session
	retryAt   time.Time // when a failed flight may be followed by another
	fails     int

	follows *flight // a failed one that this one, of a rotation, has pushed aside

	without *record // what to save when rec does not fit with the UserInfo it was given

	key       [32]byte
	settledAt time.Time
	saved     bool
}

func newRefresher(m *Manager) *refresher {
	return &refresher{m: m, flights: make(map[[32]byte]*flight)}
}

// flightKey names one use of one session's refresh token. The version tells the uses apart where the provider doesn't rotate it.
func flightKey(rec *record) [32]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%s %d %s", rec.ID, rec.Version, rec.RefreshToken))
}

// join returns the flight that spends rec's refresh token: one under way, one that has ended, or a new one.
func (f *refresher) join(r *http.Request, k *kept, rec *record) *flight {
	key, now := flightKey(rec), time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	fails := 0
	if known := f.flights[key]; known != nil {
		if !known.landed() || known.err == nil || known.over || now.Before(known.retryAt) {
			return known
		}
		fails = known.fails
	}
	f.forget(now)
	flight := &flight{done: make(chan struct{}), fails: fails, key: key}
	f.flights[key] = flight
	// The request may end, and its handler change it, before the refresh does.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), refreshTimeout)
	apart := r.Clone(ctx)
	apart.Body = http.NoBody
	old, from := *rec, *k
	go func() {
		defer cancel()
		f.fly(ctx, apart, flight, &from, old)
	}()
	return flight
}

func (f *flight) landed() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// wait waits for the flight or for the caller's end. A caller with a spare, an access token that is still good, waits for patience only:
// a slow provider shall not slow down every page, and the next request gets what comes.
func (f *flight) wait(ctx context.Context, spare bool) (arrived bool, err error) {
	var enough <-chan time.Time
	if spare {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		enough = timer.C
	}
	select {
	case <-f.done:
		return true, nil
	case <-enough:
		return false, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

// latest is the last of the refreshes that rec has been through since, as far as this process remembers; nil: none.
func (f *refresher) latest(rec *record) (last *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for { // ends: each record has a higher version than the one before
		next := f.flights[flightKey(rec)]
		if next == nil || !next.landed() || next.err != nil {
			return last
		}
		last, rec = next, &next.rec
	}
}

// land lets everyone see what came.
func (f *refresher) land(flight *flight, saved bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if saved {
		f.settle(flight)
	} else {
		f.unsaved = append(f.unsaved, flight)
	}
	close(flight.done)
}

// savedLate marks a flight whose tokens have found their way into the store.
func (f *refresher) savedLate(flight *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settle(flight)
}

func (f *refresher) settle(flight *flight) {
	flight.saved, flight.settledAt = true, time.Now()
	f.settled = append(f.settled, flight)
}

// forget drops what nobody can ask for any more, and the oldest of too many.
func (f *refresher) forget(now time.Time) {
	for len(f.settled) > 0 && (len(f.settled) > maxFlights || now.Sub(f.settled[0].settledAt) > resultLife) {
		f.drop(f.settled[0])
		f.settled[0], f.settled = nil, f.settled[1:]
	}
	for len(f.unsaved) > 0 {
		first := f.unsaved[0]
		if !first.saved { // or else it is among the settled by now
			if len(f.unsaved) <= maxFlights && now.Unix() < first.rec.ExpiresAt {
				return
			}
			f.drop(first)
		}
		f.unsaved[0], f.unsaved = nil, f.unsaved[1:]
	}
}

// drop leaves the flight alone that has followed a failed one under the same key.
func (f *refresher) drop(flight *flight) {
	if f.flights[flight.key] == flight {
		delete(f.flights, flight.key)
	}
}
