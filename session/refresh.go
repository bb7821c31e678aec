package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/store"
)

const (
	firstRetry = 5 * time.Second
	lastRetry  = time.Minute
	// lastSave is the longest wait between two tries to save what other replicas wait for: less than they wait, see settleTime.
	lastSave = 2 * time.Second
	// saveFor is how long a save is tried again at least: while it is not done, other replicas have nothing but a spent token.
	saveFor = 10 * time.Minute
	// userInfoTimeout bounds what UserInfo may add to a refresh, whose tokens are not saved before.
	userInfoTimeout = 5 * time.Second
)

// fly sends the refresh token once, saves what comes, and only then lets anyone see it.
func (f *refresher) fly(ctx context.Context, r *http.Request, flight *flight, k *kept, old record) {
	var held *store.Lease // nil: the store is this process's own
	var unsaved *kept
	if !contained(ctx, f.m.log, func() { unsaved = f.spend(ctx, r, flight, k, old, &held) }) {
		unsaved = f.crashed(flight, k)
	}
	release := func() {
		if held != nil {
			contained(ctx, f.m.log, func() { held.Release(ctx, flight.err == nil || flight.over, flight.retryAt) })
		}
	}
	if unsaved == nil {
		release()
	}
	f.land(flight, unsaved == nil)
	if flight.over && flight.rec.RefreshToken != "" && !errors.Is(flight.err, errMoved) { // the rotated session lives on what was granted
		contained(ctx, f.m.log, func() { f.m.revokeTokens(ctx, &flight.rec) }) // the logout that came between could not know it
	}
	if unsaved != nil {
		most := lastRetry
		if held != nil {
			most = lastSave
		}
		f.saveLater(r, flight, unsaved, most)
		release()
	}
}

// crashed sorts a panic: tokens that had come by then are kept like those that a store does not take.
func (f *refresher) crashed(flight *flight, k *kept) (unsaved *kept) {
	if flight.rec.ID != "" && flight.err == nil {
		return k
	}
	flight.over, flight.err, flight.retryAt = false, errPanic, time.Now().Add(lastRetry)
	return nil
}

// spend fills flight. It returns the record it was loaded from when the new one is not saved yet.
func (f *refresher) spend(ctx context.Context, r *http.Request, flight *flight, k *kept, old record, held **store.Lease) (unsaved *kept) {
	prev, err := rp.ParseIDToken(old.IDToken)
	if err != nil {
		flight.err, flight.over = ErrNone, true
		return nil
	}
	if l, ok := f.m.keep.(leaser); ok {
		if *held = f.take(ctx, r, flight, l, k, &old); *held == nil {
			return nil
		}
	}
	if k = f.reread(ctx, r, flight, k, &old); k == nil {
		return nil
	}
	if *held != nil && !f.intend(ctx, r, flight, *held, &old) {
		return nil
	}
	tokens, err := f.m.client.Refresh(ctx, old.RefreshToken, prev)
	if *held != nil && rp.IsInvalidGrant(err) && f.adopt(r, flight, &old) {
		return nil // a replica that was believed dead had won
	}
	if err != nil && (tokens == nil || tokens.OAuth2 == nil || tokens.OAuth2.RefreshToken == "" || tokens.OAuth2.RefreshToken == old.RefreshToken) {
		f.fail(ctx, flight, &old, err)
		return nil
	}
	rec := old
	rec.Version++
	rec.UserInfo, rec.App = old.UserInfo, old.App
	rec.RefreshedAt = time.Now().Unix()
	if err != nil {
		// The token was rotated, but the new ID token can't be judged now: keep the new refresh token and nothing else, and come back soon.
		rec.moveEnd(tokens, old.RefreshToken, f.m.cfg.Lifetime)
		rec.RefreshToken = tokens.OAuth2.RefreshToken
		rec.RefreshAt = time.Now().Add(firstRetry).Unix()
		flight.unchecked = err
	} else {
		rec.renew(tokens, f.m.cfg.Lifetime)
		contained(ctx, f.m.log, func() { f.ask(ctx, flight, &rec) })
	}
	contained(ctx, f.m.log, func() { err = f.m.revoked(ctx, &rec) })
	if errors.Is(err, ErrRevoked) {
		flight.rec, flight.err, flight.over = rec, err, true
		return nil
	}
	return f.save(r, flight, k, rec)
}

// reread looks once more where the session was loaded from, right before the token is spent: a session that was ended meanwhile spends nothing,
// what another refresh has stored is adopted, and a store that can't be read would not take what comes. It returns nil when flight is filled.
func (f *refresher) reread(ctx context.Context, r *http.Request, flight *flight, k *kept, old *record) *kept {
	fresh := &kept{}
	switch err := f.m.keep.load(r, fresh); {
	case errors.Is(err, errNoRecord):
		flight.err, flight.over = loadError(err), true
		return nil
	case err != nil:
		flight.err, flight.retryAt = loadError(err), time.Now().Add(firstRetry)
		f.m.log.LogAttrs(ctx, slog.LevelWarn, "session: refresh postponed, the store is out of reach", slog.String("session", shortID(old)), slog.Any("error", err))
		return nil
	}
	var stored record
	if f.m.decode(fresh.data, &stored) != nil || stored.ID != old.ID || stored.Version < old.Version {
		return k // an old cookie, or a store that still waits for what this process has in memory
	}
	if stored.Version > old.Version {
		flight.rec = stored
		return nil
	}
	return fresh
}

// renew takes over what a refresh brought.
func (rec *record) renew(tokens *rp.Tokens, lifetime time.Duration) {
	slides := rec.moveEnd(tokens, rec.RefreshToken, lifetime)
	rec.AccessToken, rec.TokenType = tokens.OAuth2.AccessToken, tokens.OAuth2.TokenType
	rec.RefreshToken = tokens.OAuth2.RefreshToken
	if len(tokens.Scope) > 0 {
		rec.Scope = joinScope(tokens.Scope)
	}
	if id := tokens.IDToken; id != nil {
		rec.IDToken, rec.OldInfo = tokens.RawIDToken, 1
		if id.ACR != "" {
			rec.ACR = id.ACR
		}
		if !id.AuthTime.IsZero() {
			rec.AuthTime = id.AuthTime.Unix()
		}
	}
	now := time.Now()
	rec.SeenAt = max(rec.SeenAt, now.Unix())
	rec.schedule(now, tokens.OAuth2.Expiry, slides)
}

// ask fetches UserInfo for the new tokens. They are worth more than it: when it can't be had, what is known stays, under the newer ID token.
func (f *refresher) ask(ctx context.Context, flight *flight, rec *record) {
	if !f.m.cfg.UserInfo {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, userInfoTimeout)
	defer cancel()
	info, err := f.m.client.UserInfo(ctx, rec.AccessToken, rec.Subject)
	switch {
	case errors.Is(err, rp.ErrNoEndpoint):
	case err != nil:
		f.m.log.LogAttrs(ctx, slog.LevelWarn, "session: refreshed without UserInfo", slog.String("session", shortID(rec)), slog.Any("error", err))
	default:
		without := *rec
		flight.without = &without
		rec.UserInfo, rec.OldInfo = info.Raw(), 0
	}
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
		case errors.Is(err, errMoved):
			// This process was believed dead. What came is for nobody: only the new cookie opens the session now.
			f.m.log.LogAttrs(r.Context(), slog.LevelWarn, "session: renewed tokens are lost, the session was rotated while this process was stopped", slog.String("session", shortID(&rec)))
			flight.err, flight.over = errMoved, true
			return nil
		case errors.Is(err, errNoRecord):
			// Logged out meanwhile: what came is not for anyone. A removed session is never revived.
			flight.err, flight.over = ErrNone, true
			return nil
		case errors.Is(err, ErrTooLarge) && flight.without != nil:
			f.m.log.LogAttrs(r.Context(), slog.LevelError, "session: refreshed without UserInfo, which does not fit any more", slog.String("session", shortID(&rec)), slog.Any("error", err))
			rec, flight.without = *flight.without, nil
			flight.rec = rec
		case errors.Is(err, ErrTooLarge):
			// Its token is spent and the new one can't be kept: nothing is left to go on with.
			flight.err, flight.over = err, true
			f.m.log.LogAttrs(r.Context(), slog.LevelError, "session: ended, what the refresh brought does not fit", slog.String("session", shortID(&rec)), slog.Any("error", err))
			return nil
		case errors.Is(err, errConflict):
			fresh := &kept{}
			if f.m.keep.load(r, fresh) != nil {
				continue
			}
			var stored record
			if f.m.decode(fresh.data, &stored) == nil && stored.ID == rec.ID && stored.Version >= rec.Version {
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

// saveLater goes on trying until the access token ends, and for saveFor in any case. The provider is not asked again: the flight serves who comes, and the refresh
// that follows it saves for both.
func (f *refresher) saveLater(r *http.Request, done *flight, k *kept, most time.Duration) {
	until := unix(done.rec.ExpiresAt)
	if done.rec.TokenExpiry > 0 { // the refresh token outlasts it
		until = unix(min(max(done.rec.TokenExpiry, time.Now().Add(saveFor).Unix()), done.rec.ExpiresAt))
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(r.Context()), until)
	defer cancel()
	r = r.Clone(ctx)
	for wait := firstRetry / 10; time.Now().Add(wait).Before(until); wait = min(2*wait, most) {
		time.Sleep(wait)
		left := k
		if contained(ctx, f.m.log, func() { left = f.save(r, &flight{}, k, done.rec) }); left == nil {
			f.savedLate(done)
			return
		}
	}
}

// renew refreshes s, or adopts the tokens of whoever did, and gives the browser what it needs to go on.
func (m *Manager) renew(w http.ResponseWriter, r *http.Request, s *Session, forced bool) (*Session, error) {
	rec, last := &s.rec, (*flight)(nil)
	for range 4 { // another refresh may follow the one that was waited for
		if known := m.refresh.latest(rec); known != nil {
			rec, last = &known.rec, known
		}
		if last != nil && !rec.due(time.Now()) {
			break
		}
		flight := m.refresh.join(r, &s.from, rec)
		arrived, err := flight.wait(r.Context(), !forced && !rec.ended(time.Now()))
		if err != nil {
			return nil, err
		}
		if last != nil && (!arrived || flight.err != nil) {
			pass(w, last.cookies) // which may not be known here any more when the browser comes back
		}
		if !arrived && rec.ended(time.Now()) {
			continue // there is no spare any more
		}
		if !arrived {
			if err := m.revoked(r.Context(), rec); err != nil {
				return nil, err // what was found out while waiting counts
			}
			return m.show(s, rec), nil
		}
		if flight.err != nil {
			return m.withoutRefresh(w, r, s, rec, flight)
		}
		rec, last = &flight.rec, flight
	}
	pass(w, last.cookies)
	if last.unchecked != nil && rec.ended(time.Now()) {
		return nil, last.unchecked
	}
	return m.show(s, rec), nil
}

// show is a snapshot of rec: s itself when that is where it comes from.
func (m *Manager) show(s *Session, rec *record) *Session {
	if rec == &s.rec {
		return s
	}
	renewed := &Session{inside: &inside{rec: *rec}, client: m.client}
	renewed.show(m.cfg.Idle, max(rec.SeenAt, time.Now().Unix()))
	return renewed
}

// withoutRefresh says what a failed refresh means for this request.
func (m *Manager) withoutRefresh(w http.ResponseWriter, r *http.Request, s *Session, rec *record, flight *flight) (*Session, error) {
	switch {
	case flight.over && (errors.Is(flight.err, errMoved) || flight.err == ErrNone && m.keep.final()):
		// It is not in the store under this identifier: there is nothing to remove, and the browser may have the cookie of another one by now.
		return nil, flight.err
	case flight.over:
		if err := m.keep.remove(w, r, &s.from); err != nil {
			m.log.LogAttrs(r.Context(), slog.LevelError, "session: an ended session could not be removed", slog.Any("error", err))
		}
		if errors.Is(flight.err, ErrNone) || errors.Is(flight.err, ErrTooLarge) {
			return nil, flight.err
		}
		return nil, ErrExpired
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
