package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/store"
)

// The refresh of a session that several replicas serve. A refresh token is spent by being sent, so no two may send it: store.Lease has the protocol, and REFRESH.md in this
// folder argues why nothing is lost, and what can't be helped.

var (
	errOutcomeUnknown = fmt.Errorf("%w (refresh_outcome_unknown: two processes died while they refreshed it)", ErrExpired)
	errElsewhere      = fmt.Errorf("session: another replica could not refresh it just now: %w", rp.ErrUnavailable)
)

// leaser is a keeper whose records other processes refresh as well.
type leaser interface {
	leaseOf(k *kept, log *slog.Logger) *store.Lease
}

func (s *serverKeeper) leaseOf(k *kept, log *slog.Logger) *store.Lease {
	h, ok := k.handle.(*serverHandle)
	if !ok {
		return nil
	}
	return s.leaseFor(&h.cookie.id, k.version, k.expires, log)
}

func (s *serverKeeper) leaseFor(id *[16]byte, version uint64, expires time.Time, log *slog.Logger) *store.Lease {
	return store.NewLease(s.store.backend, s.keyOf(id), itemKey("lease", s.name, id[:]), s.intentOf(id), version, expires, log)
}

func (s *serverKeeper) intentOf(id *[16]byte) Key { return itemKey("intent", s.name, id[:]) }

// take gets the lease of k's session, or fills flight with what the replica that has it brought. held nil: flight is filled.
func (f *refresher) take(ctx context.Context, r *http.Request, flight *flight, l leaser, k *kept, old *record) (held *store.Lease) {
	held = l.leaseOf(k, f.m.log)
	if held == nil {
		flight.err, flight.over = ErrNone, true
		return nil
	}
	switch turn, until, err := held.Take(ctx); {
	case ctx.Err() != nil && err != nil:
		f.postpone(ctx, flight, old, errElsewhere)
	case err != nil:
		f.postpone(ctx, flight, old, backendError(ctx, err))
	case turn == store.Held:
		return held
	case turn == store.Failed:
		flight.err, flight.retryAt = errElsewhere, until
	case !f.adopt(r, flight, old):
		f.postpone(ctx, flight, old, ErrStore)
	}
	return nil
}

// postpone fills flight for an outage of the store.
func (f *refresher) postpone(ctx context.Context, flight *flight, old *record, err error) {
	flight.err, flight.retryAt = err, time.Now().Add(firstRetry)
	f.m.log.LogAttrs(ctx, slog.LevelWarn, "session: refresh postponed, the store is out of reach", slog.String("session", shortID(old)), slog.Any("error", err))
}

// adopt fills flight with the session as another replica has renewed it, or with its end.
func (f *refresher) adopt(r *http.Request, flight *flight, old *record) bool {
	fresh, stored := &kept{}, record{}
	err := f.m.keep.load(r, fresh)
	switch {
	case errors.Is(err, errNoRecord):
		flight.err, flight.over = loadError(err), true
		return true
	case err != nil || f.m.decode(fresh.data, &stored) != nil || stored.ID != old.ID || stored.Version <= old.Version:
		return false
	}
	flight.rec = stored
	return true
}

// intend notes that old's token is about to be sent. false: flight is filled.
func (f *refresher) intend(ctx context.Context, r *http.Request, flight *flight, held *store.Lease, old *record) bool {
	id := slog.String("session", shortID(old))
	turn, again, err := held.Intend(ctx)
	switch {
	case errors.Is(err, ErrConflict): // this process was asleep, and somebody else is at it
		f.postpone(ctx, flight, old, errElsewhere)
	case err != nil:
		f.postpone(ctx, flight, old, backendError(ctx, err))
	case turn == store.Unknown:
		flight.err, flight.over = errOutcomeUnknown, true
		f.m.log.LogAttrs(ctx, slog.LevelError, "session: ended, twice a process died while it refreshed it", id)
	case turn != store.Held:
		if !f.adopt(r, flight, old) {
			f.postpone(ctx, flight, old, ErrStore)
		}
	default:
		if again {
			f.m.log.LogAttrs(ctx, slog.LevelWarn, "session: a process died while it refreshed this session; its refresh token is sent once more", id)
		}
		return true
	}
	return false
}
