package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/store"
)

// rotateWait is how long a rotation waits for refreshes of its session: more than a provider usually takes, less than a proxy waits.
const rotateWait = 10 * time.Second

var (
	errMoved     = error(none{"session: its identifier has been changed, and this request came with the old one"})
	errBusy      = fmt.Errorf("session: its tokens are being refreshed, so its identifier stays for now; try again: %w", rp.ErrUnavailable)
	errUnsaved   = fmt.Errorf("%w: renewed tokens wait to be saved, so the session's identifier stays for now", ErrStore)
	errUnsettled = fmt.Errorf("%w: the session has a new identifier, and whether the old one is refused is not known", ErrStore)
)

// Rotate gives the session of r a new identifier, in a new cookie, and has the old one refused from the next request on, by every process that shares the store
// (for cookies and gorilla's stores: the ledger). Call it where a user is granted more than before, ahead of granting it, and grant nothing when it fails: an identifier that somebody
// else knew by then is worth nothing afterwards (OWASP Session Management Cheat Sheet, "Renew the Session ID After Any Privilege Level Change"). Finish does as much at every login.
//
// All else stays: identity, tokens, what Accept returned, the beginning that revocations are compared with, the absolute end, the place among Config.MaxSessions. Session.Key changes
// with the identifier. A *Session that was loaded before, such as the one in r's context, stays a good snapshot for the rest of its request. r itself still carries the old cookie:
// a second Rotate, Load or Refresh with it is ErrNone. End with it, within the hour, ends the session under its new identifier too; but a gorilla store on the server forgets
// the old one, and End then only takes the browser's cookies away.
//
// There is no time of grace, since a thief would have it as well. A request of another tab that was loaded before goes on to its end, unless its tokens were just due for a refresh; one
// that comes later with the old cookie is ErrNone, and takes no cookie away: the browser's next request is signed in. Where sessions are kept in cookies, an answer that
// brings refreshed tokens under the old identifier and overtakes this one leaves the browser with a cookie that is refused, and its user has to log in again.
//
// As with any new cookie, a browser that loses the connection before it reads the answer keeps the old one, and its user has to log in again.
//
// A refresh that is under way, here or in another replica, is waited for, 10 seconds at most. A process that dies in Rotate leaves the session good under its old
// identifier; or, dying between the change and its answer, under the new one that no browser has, until the session's own end. REFRESH.md in this folder has each step.
//
// Of rotations at the same time one succeeds, and the others are ErrNone or rp.ErrUnavailable. A ledger can't decide that between processes: where sessions are kept in cookies, or in a gorilla
// store, two processes that rotate one session at the same moment both succeed, and make two of it, which a logout of either ends.
//
// Errors: those of Load, with the session still good under the old identifier unless it is ErrNone: ErrStore; rp.ErrUnavailable while a refresh takes longer, or has just failed; both are
// for trying again. When the store fails right between old and new, so that nobody knows which it has, the error is ErrStore and w has the new cookie all the same.
func (m *Manager) Rotate(w http.ResponseWriter, r *http.Request) error {
	private(w)
	ctx, cancel := context.WithTimeout(r.Context(), rotateWait)
	defer cancel()
	var err error
	if k, ok := m.keep.(*serverKeeper); ok {
		err = m.rotateShared(ctx, w, r, k)
	} else {
		err = m.rotateHere(ctx, w, r)
	}
	if gone := context.Cause(r.Context()); err != nil && gone != nil && !errors.Is(err, ErrNone) {
		return gone
	}
	return err
}

// root is the identifier that a session's end is noted under, whatever it is called by then: one that another request has just changed.
func (rec *record) root() string {
	if rec.Root != "" {
		return rec.Root
	}
	return rec.ID
}

// rotated is rec under a new identifier.
func (rec *record) rotated() *record {
	next := *rec
	next.ID, next.Root = rand.Text(), rec.root()
	next.Version++
	next.SeenAt = max(rec.SeenAt, time.Now().Unix())
	return &next
}

// rotateHere is for stores whose sessions only this process refreshes, or nobody.
func (m *Manager) rotateHere(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	s, err := m.find(r, time.Now())
	if err != nil {
		return err
	}
	own, err := m.refresh.hold(ctx, &s.rec)
	if err != nil {
		return err
	}
	outcome := errBusy // should a foreign store panic, too
	defer func() { m.refresh.letGo(own, outcome) }()
	if s, err = m.find(r, time.Now()); err != nil { // a logout or a refresh that was waited for
		return err
	}
	rec := &s.rec
	if known := m.refresh.latest(rec); known != nil {
		rec = &known.rec // r's cookie is older than what this process knows
	}
	next := rec.rotated()
	if k, ok := m.keep.(*memoryKeeper); ok {
		err = k.rotate(w, &s.from, m.encode(next), unix(next.ExpiresAt))
		switch {
		case err == nil:
			outcome = nil
		case errors.Is(err, errConflict): // another manager's refresh
			err = errBusy
		}
		return err
	}
	made := headersOnly{http.Header{}}
	g, foreign := m.keep.(*gorillaKeeper)
	if foreign {
		err = g.createBeside(made, r, m.encode(next), unix(next.ExpiresAt))
	} else {
		err = m.keep.create(made, r, m.encode(next), unix(next.ExpiresAt))
	}
	if err != nil {
		return err
	}
	if err := m.noteEnd(r.Context(), rec, ledgerName("old", "", rec.ID)); err != nil {
		if foreign {
			_, _ = g.forget(madeRequest(r, made.h)) // nobody will ever have its cookie
		}
		return err
	}
	outcome = nil
	pass(w, made.h)
	if foreign {
		if _, left := g.forget(r); left != nil {
			m.log.LogAttrs(r.Context(), slog.LevelWarn, "session: what a store keeps under a changed identifier stays there, refused", slog.Any("error", left))
		}
	}
	return nil
}

// hold keeps rec's tokens from being refreshed in this process until letGo: whoever wants to finds a flight that is under way. One that is under way already is waited for.
func (f *refresher) hold(ctx context.Context, rec *record) (*flight, error) {
	for {
		own, other, err := f.tryHold(rec)
		if other == nil {
			return own, err
		}
		select {
		case <-other.done:
		case <-ctx.Done():
			return nil, errBusy
		}
	}
}

// tryHold returns the flight to wait for, if there is one.
func (f *refresher) tryHold(rec *record) (own, other *flight, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var last *flight
	known := f.flights[flightKey(rec)]
	for known != nil && known.landed() && known.err == nil {
		last, known = known, f.flights[flightKey(&known.rec)]
	}
	switch {
	case known != nil && !known.landed():
		return nil, known, nil
	case known != nil && known.over && errors.Is(known.err, ErrNone):
		return nil, nil, known.err
	case known != nil && known.over:
		return nil, nil, ErrExpired
	case last != nil && !last.saved:
		return nil, nil, errUnsaved
	}
	f.forget(time.Now())
	if last != nil {
		rec = &last.rec
	}
	own = &flight{done: make(chan struct{}), key: flightKey(rec), follows: known}
	f.flights[own.key] = own
	return own, nil, nil
}

// letGo ends hold. A failure leaves all as it was before.
func (f *refresher) letGo(own *flight, err error) {
	if err == nil {
		own.err, own.over = errMoved, true
		f.land(own, true)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if own.err = errBusy; own.follows != nil {
		f.flights[own.key] = own.follows
	} else {
		delete(f.flights, own.key)
	}
	close(own.done)
}

// rotateShared is for sessions that other replicas refresh, too: it takes the turn of a refresh, so that none is between sending a token and saving what came for it.
func (m *Manager) rotateShared(ctx context.Context, w http.ResponseWriter, r *http.Request, k *serverKeeper) error {
	for range 4 { // another refresh may follow the one that was waited for
		s, err := m.find(r, time.Now())
		if err != nil {
			return err
		}
		if err = m.rotateRow(ctx, w, r, k, s); !errors.Is(err, errConflict) {
			return err
		}
	}
	return errBusy
}

// rotateRow is one try. errConflict: a refresh was faster.
func (m *Manager) rotateRow(ctx context.Context, w http.ResponseWriter, r *http.Request, k *serverKeeper, s *Session) (err error) {
	var held *store.Lease
	if s.CanRefresh() {
		if held = k.leaseOf(&s.from, m.log); held == nil {
			return ErrNone
		}
		if err := take(ctx, held); err != nil {
			return err
		}
		err = errUnsettled // should the backend panic
		defer func() { giveBackTurn(ctx, held, err) }()
	}
	next := s.rec.rotated()
	err = k.rotate(ctx, w, r, &s.from, m.encode(next), unix(next.ExpiresAt), held)
	return err
}

// take gets the turn to change what held is for.
func take(ctx context.Context, held *store.Lease) error {
	switch turn, _, err := held.Take(ctx); {
	case ctx.Err() != nil && err != nil:
		return errBusy
	case err != nil:
		return backendError(ctx, err)
	case turn == store.Newer:
		return errConflict
	case turn == store.Gone:
		return ErrNone
	case turn != store.Held:
		return errBusy
	}
	return nil
}

// reserve waits for a process that died in a refresh, and keeps one that is asleep from sending a token whose answer it could not save any more.
func reserve(ctx context.Context, held *store.Lease) error {
	switch turn, err := held.Reserve(ctx); {
	case errors.Is(err, ErrConflict):
		return errBusy
	case ctx.Err() != nil && err != nil:
		return errBusy
	case err != nil:
		return backendError(ctx, err)
	case turn == store.Newer, turn == store.Gone:
		return errConflict
	case turn != store.Held:
		return errOutcomeUnknown
	}
	return nil
}

// giveBackTurn ends take. The note of reserve stays for a while when the session has moved, and until the session's end when nobody knows.
func giveBackTurn(ctx context.Context, held *store.Lease, err error) {
	if errors.Is(err, errUnsettled) {
		held.Abandon(ctx)
		return
	}
	held.Release(ctx, err == nil, time.Time{})
}

// madeRequest is r as a browser would send it that has got made.
func madeRequest(r *http.Request, made http.Header) *http.Request {
	next := withoutCookies(r)
	for _, c := range (&http.Response{Header: made}).Cookies() {
		if c.MaxAge >= 0 {
			next.AddCookie(c)
		}
	}
	return next
}
