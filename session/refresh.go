package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/latchkey-go/latchkey/rp"
)

const (
	// resultLife is how long a finished refresh is remembered. Requests that were sent with the old cookie, and a browser that never got the new one,
	// are given the winner's tokens in that time; the old refresh token is not sent again.
	resultLife = 5 * time.Minute
	// maxFlights bounds what is remembered.
	maxFlights = 20_000
	// refreshTimeout bounds a refresh with its save, whatever its caller does.
	refreshTimeout = 30 * time.Second
	// patience is how long a request waits for a refresh while its access token is still good.
	patience   = 2 * time.Second
	firstRetry = 5 * time.Second
	lastRetry  = time.Minute
)

// refresher makes one refresh of many: a refresh token is spent by being used, and a provider that sees it twice ends the whole grant.
type refresher struct {
	m       *Manager
	mu      sync.Mutex
	flights map[[32]byte]*flight
	swept   time.Time
}

// flight is one use of one refresh token. Its fields but done are set before done is closed.
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
	endedAt   time.Time
}

func newRefresher(m *Manager) *refresher {
	return &refresher{m: m, flights: make(map[[32]byte]*flight)}
}

// flightKey names one use of one session's refresh token. The version tells the uses apart where the provider doesn't rotate it.
func flightKey(rec *record) [32]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%s %d %s", rec.ID, rec.Version, rec.RefreshToken))
}

// join returns the flight that spends rec's refresh token: one under way, one that has ended, or a new one. fresh: it was started by this call.
func (f *refresher) join(r *http.Request, k *kept, rec *record) *flight {
	key, now := flightKey(rec), time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	fails := 0
	if known := f.flights[key]; known != nil {
		select {
		case <-known.done:
			if known.err == nil || known.over || now.Before(known.retryAt) {
				return known
			}
			fails = known.fails
		default:
			return known
		}
	}
	f.sweep(now)
	flight := &flight{done: make(chan struct{}), fails: fails}
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

// newest is what rec has become by refreshes that this process remembers.
func (f *refresher) newest(rec *record) *record {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range 16 {
		flight := f.flights[flightKey(rec)]
		if flight == nil {
			break
		}
		select {
		case <-flight.done:
			if flight.err != nil {
				return rec
			}
			rec = &flight.rec
		default:
			return rec
		}
	}
	return rec
}

// sweep forgets what nobody can ask for any more, at most once a second, and the oldest results when there are too many.
func (f *refresher) sweep(now time.Time) {
	if len(f.flights) < maxFlights && now.Sub(f.swept) < time.Second {
		return
	}
	f.swept = now
	spare := len(f.flights) - maxFlights + 1
	for key, flight := range f.flights {
		select {
		case <-flight.done:
			if spare > 0 || now.Sub(flight.endedAt) > resultLife {
				delete(f.flights, key)
				spare--
			}
		default: // under way: never forgotten
		}
	}
}

// fly sends the refresh token once, saves what comes, and only then lets anyone see it.
func (f *refresher) fly(ctx context.Context, r *http.Request, flight *flight, k *kept, old record) {
	unsaved := f.spend(ctx, r, flight, k, old)
	flight.endedAt = time.Now()
	close(flight.done)
	if flight.over && flight.rec.RefreshToken != "" {
		f.m.revokeTokens(ctx, &flight.rec) // the logout that came between could not know it
	}
	if unsaved != nil {
		f.saveLater(r, flight, unsaved)
	}
}

// spend fills flight. It returns the record it was loaded from when the new one is not saved yet.
func (f *refresher) spend(ctx context.Context, r *http.Request, flight *flight, k *kept, old record) (unsaved *kept) {
	prev, err := rp.ParseIDToken(old.IDToken)
	if err != nil {
		flight.err, flight.over = ErrNone, true
		return nil
	}
	tokens, err := f.m.client.Refresh(ctx, old.RefreshToken, prev)
	if err != nil && (tokens == nil || tokens.OAuth2 == nil || tokens.OAuth2.RefreshToken == "" || tokens.OAuth2.RefreshToken == old.RefreshToken) {
		f.fail(ctx, flight, &old, err)
		return nil
	}
	rec := old
	rec.Version++
	rec.UserInfo, rec.App = old.UserInfo, old.App
	if err != nil {
		// The token was rotated, but the new ID token can't be judged now: keep the new refresh token and nothing else, and come back soon.
		rec.RefreshToken = tokens.OAuth2.RefreshToken
		rec.RefreshAt = time.Now().Add(firstRetry).Unix()
		flight.unchecked = err
	} else {
		rec.renew(tokens)
	}
	if err := f.m.revoked(ctx, &rec); errors.Is(err, ErrRevoked) {
		flight.rec, flight.err, flight.over = rec, err, true
		return nil
	}
	return f.save(r, flight, k, rec)
}

// renew takes over what a refresh brought.
func (rec *record) renew(tokens *rp.Tokens) {
	rec.AccessToken, rec.TokenType = tokens.OAuth2.AccessToken, tokens.OAuth2.TokenType
	rec.RefreshToken = tokens.OAuth2.RefreshToken
	if len(tokens.Scope) > 0 {
		rec.Scope = joinScope(tokens.Scope)
	}
	if id := tokens.IDToken; id != nil {
		rec.IDToken = tokens.RawIDToken
		if id.ACR != "" {
			rec.ACR = id.ACR
		}
		if !id.AuthTime.IsZero() {
			rec.AuthTime = id.AuthTime.Unix()
		}
	}
	now := time.Now()
	rec.SeenAt = max(rec.SeenAt, now.Unix())
	rec.schedule(now, tokens.OAuth2.Expiry)
}

// fail sorts a failure: the session is over, or the provider is to be asked again later.
func (f *refresher) fail(ctx context.Context, flight *flight, old *record, err error) {
	flight.err = err
	flight.fails++
	id := slog.String("session", shortID(old))
	switch {
	case rp.IsInvalidGrant(err):
		flight.over = true
		f.m.log.LogAttrs(ctx, slog.LevelInfo, "session: ended by the provider", id, slog.Any("error", err))
	case errors.Is(err, rp.ErrInvalidToken):
		flight.over = true
		f.m.log.LogAttrs(ctx, slog.LevelError, "session: ended, the refreshed ID token was refused", id, slog.Any("error", err))
	case errors.Is(err, rp.ErrUnavailable):
		flight.retryAt = time.Now().Add(min(firstRetry<<min(flight.fails-1, 6), lastRetry))
		f.m.log.LogAttrs(ctx, slog.LevelWarn, "session: refresh postponed, the provider is out of reach", id, slog.Any("error", err))
	default:
		flight.retryAt = time.Now().Add(lastRetry)
		f.m.log.LogAttrs(ctx, slog.LevelError, "session: refresh failed; check the client's registration", id, slog.Any("error", err))
	}
}

// save writes the renewed record where the session was loaded from. A store that can't be reached does not lose it: it stays in the flight.
func (f *refresher) save(r *http.Request, flight *flight, k *kept, rec record) (unsaved *kept) {
	flight.rec = rec
	made := headersOnly{http.Header{}}
	for range 3 {
		err := f.m.keep.update(made, r, k, f.m.encode(&rec), unix(rec.ExpiresAt))
		switch {
		case err == nil:
			flight.cookies = made.h
			return nil
		case errors.Is(err, errNoRecord):
			// Logged out meanwhile: what came is not for anyone. A removed session is never revived.
			flight.err, flight.over = ErrNone, true
			return nil
		case errors.Is(err, ErrTooLarge):
			flight.err, flight.retryAt = err, time.Now().Add(resultLife)
			return nil
		case errors.Is(err, errConflict):
			fresh := &kept{}
			if f.m.keep.load(r, fresh) != nil {
				continue
			}
			var stored record
			if f.m.decode(fresh.data, &stored) == nil && stored.RefreshToken != rec.RefreshToken && stored.Version > rec.Version {
				flight.rec = stored // another one was faster
				return nil
			}
			k = fresh
		default:
			f.m.log.LogAttrs(r.Context(), slog.LevelError, "session: renewed tokens are kept in memory, the store does not take them",
				slog.String("session", shortID(&rec)), slog.Any("error", err))
			return k
		}
	}
	return k
}

// saveLater goes on trying until the access token ends. The provider is not asked again: the flight serves who comes.
func (f *refresher) saveLater(r *http.Request, done *flight, k *kept) {
	until := unix(done.rec.TokenExpiry)
	if most := time.Now().Add(resultLife); until.IsZero() || until.After(most) {
		until = most
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(r.Context()), until)
	defer cancel()
	r = r.Clone(ctx)
	for wait := firstRetry / 10; time.Now().Add(wait).Before(until); wait = min(2*wait, lastRetry) {
		time.Sleep(wait)
		attempt := &flight{}
		if f.save(r, attempt, k, done.rec) == nil {
			return
		}
	}
}

// renew refreshes s, or adopts the tokens of whoever did, and gives the browser what it needs to go on.
func (m *Manager) renew(w http.ResponseWriter, r *http.Request, s *Session, forced bool) (*Session, error) {
	rec, cookies, unchecked := &s.rec, http.Header(nil), error(nil)
	for range 16 { // a very old cookie may be many refreshes behind
		flight := m.refresh.join(r, &s.from, rec)
		arrived, err := flight.wait(r.Context(), !forced && !rec.ended(time.Now()))
		if err != nil {
			return nil, err
		}
		if !arrived {
			pass(w, cookies)
			if err := m.revoked(r.Context(), rec); err != nil {
				return nil, err // what was found out while waiting counts
			}
			return m.show(s, rec), nil
		}
		if flight.err != nil {
			pass(w, cookies) // of the refreshes before it, which may not be known here any more when the browser comes back
			return m.withoutRefresh(w, r, s, rec, flight)
		}
		rec, cookies, unchecked = &flight.rec, flight.cookies, flight.unchecked
		if forced || !rec.due(time.Now()) {
			break
		}
	}
	pass(w, cookies)
	if unchecked != nil && rec.ended(time.Now()) {
		return nil, unchecked
	}
	return m.show(s, rec), nil
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

// show is a snapshot of rec: s itself when that is where it comes from.
func (m *Manager) show(s *Session, rec *record) *Session {
	if rec == &s.rec {
		return s
	}
	renewed := &Session{rec: *rec, client: m.client}
	renewed.show(m.cfg.Idle, max(rec.SeenAt, time.Now().Unix()))
	return renewed
}

// withoutRefresh says what a failed refresh means for this request.
func (m *Manager) withoutRefresh(w http.ResponseWriter, r *http.Request, s *Session, rec *record, flight *flight) (*Session, error) {
	switch {
	case flight.over:
		if err := m.keep.remove(w, r, &s.from); err != nil {
			m.log.LogAttrs(r.Context(), slog.LevelError, "session: an ended session could not be removed", slog.Any("error", err))
		}
		if errors.Is(flight.err, ErrNone) {
			return nil, flight.err
		}
		return nil, ErrExpired
	case errors.Is(flight.err, ErrTooLarge):
		return nil, flight.err
	case rec.ended(time.Now()):
		return nil, flight.err
	}
	return m.show(s, rec), nil
}

// shortID names a session in logs: a hash, since the identifier itself is nobody's business.
func shortID(rec *record) string {
	sum := sha256.Sum256([]byte(rec.ID))
	return cookieEncoding.EncodeToString(sum[:6])
}
