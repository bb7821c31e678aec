package session

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/rp"
)

// Load returns the request's session, refreshed when due. It may set cookies, so it must run before the response is written.
// Errors: ErrNone (ErrExpired and ErrRevoked are ErrNone too); ErrStore; ErrTooLarge, which ends the session, when what a refresh brought does not fit;
// the request's context's; and, once the access token has ended, rp.ErrUnavailable while the provider can't be reached (or what else it refuses a refresh with,
// but for the token itself): the session is kept, and works again when the provider does.
func (m *Manager) Load(w http.ResponseWriter, r *http.Request) (*Session, error) {
	private(w)
	now := time.Now()
	s, err := m.find(r, now)
	if err != nil {
		return nil, err
	}
	if m.touchEvery > 0 && now.Unix()-m.seen(s) >= m.touchEvery {
		if err := m.keep.touch(w, r, &s.from, now); err != nil {
			return nil, err
		}
		s.show(m.cfg.Idle, now.Unix())
	}
	if s.rec.due(now) && (s.rec.ended(now) || m.keep.final() || !handshake(r)) {
		return m.renew(w, r, s, false)
	}
	if s.CanRefresh() && s.rec.ended(now) {
		return nil, errUnchecked
	}
	return s, nil
}

// handshake reports a WebSocket's. Libraries that take over the connection answer it without the cookies of this response, and the only copy of a renewed refresh
// token would be in those: while the access token is good, the next page does it.
func handshake(r *http.Request) bool {
	return r.Method == http.MethodConnect || strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// errUnchecked: the last refresh rotated the token, but what came with it could not be judged, and its next try is not due yet.
var errUnchecked = fmt.Errorf("session: the renewed tokens can't be checked yet: %w", rp.ErrUnavailable)

// Refresh is Load, refreshing now whether due or not, unless the session was refreshed less than Config.RefreshInterval ago: then it is returned as it is, so that no user
// can make the provider busy. ErrNoRefreshToken when the session can't be refreshed.
func (m *Manager) Refresh(w http.ResponseWriter, r *http.Request) (*Session, error) {
	private(w)
	now := time.Now()
	s, err := m.find(r, now)
	if err != nil {
		return nil, err
	}
	if !s.CanRefresh() {
		return nil, ErrNoRefreshToken
	}
	newest, known := &s.rec, m.refresh.latest(&s.rec)
	if known != nil {
		newest = &known.rec
	}
	switch {
	case newest.due(now) || !newest.refreshedSince(now.Add(-m.cfg.RefreshInterval)):
		return m.renew(w, r, s, true)
	case known != nil:
		return m.renew(w, r, s, false)
	case s.rec.ended(now):
		return nil, errUnchecked
	}
	return s, nil
}

// refreshedSince is false too for a time that a clock which was ahead has left.
func (rec *record) refreshedSince(t time.Time) bool {
	return rec.RefreshedAt > t.Unix() && rec.RefreshedAt <= time.Now().Unix()
}

// find opens the session of r and checks its ends and the ledger; it writes nothing, unless a rotation was cut off.
func (m *Manager) find(r *http.Request, at time.Time) (*Session, error) {
	s := &Session{client: m.client, inside: &inside{}}
	if err := m.keep.load(r, &s.from); err != nil {
		return nil, loadError(err)
	}
	if err := m.decode(s.from.data, &s.rec); err != nil {
		return nil, ErrNone
	}
	if err := m.settle(r, s); err != nil {
		return nil, err
	}
	if !m.mayRefresh {
		s.rec.doWithoutRefresh(m.cfg.OutliveTokens)
	}
	now, seen := at.Unix(), m.seen(s)
	if now >= s.rec.ExpiresAt || m.cfg.Idle > 0 && now >= seen+int64(m.cfg.Idle/time.Second) {
		return nil, ErrExpired
	}
	if err := m.checkLedger(r.Context(), s); err != nil {
		return nil, err
	}
	s.show(m.cfg.Idle, seen)
	return s, nil
}

// doWithoutRefresh is for a record from before the store or SingleProcess was changed: no process may spend its refresh token now, since another might.
func (rec *record) doWithoutRefresh(outlive bool) {
	if rec.RefreshToken == "" {
		return
	}
	rec.RefreshToken, rec.RefreshAt = "", 0
	if !outlive && rec.TokenExpiry > 0 {
		rec.ExpiresAt = min(rec.ExpiresAt, rec.TokenExpiry)
	}
}

// seen is the last use known, in Unix seconds.
func (m *Manager) seen(s *Session) int64 {
	if s.from.seen.IsZero() {
		return s.rec.SeenAt
	}
	return max(s.rec.SeenAt, s.from.seen.Unix())
}

func loadError(err error) error {
	switch {
	case errors.Is(err, ErrExpired):
		return ErrExpired
	case errors.Is(err, errNoRecord):
		return ErrNone
	case errors.Is(err, ErrStore):
		return err
	}
	return fmt.Errorf("%w: %w", ErrStore, err)
}

// due reports whether the tokens should be refreshed now.
func (rec *record) due(now time.Time) bool {
	return rec.RefreshToken != "" && rec.RefreshAt > 0 && now.Unix() >= rec.RefreshAt
}

// ended reports whether the access token is over.
func (rec *record) ended(now time.Time) bool {
	return rec.TokenExpiry > 0 && now.Unix() >= rec.TokenExpiry
}

// revoked compares the session's beginning with what the ledger says of its user, of the provider's session, and of itself. A time in the ledger
// is the provider's (from its logout token) or ours, and so is the beginning: the earlier of both counts, so that neither clock being ahead saves a session.
func (m *Manager) revoked(ctx context.Context, rec *record) error {
	if own, ok := m.ledger.(*MemoryLedger); ok && own.empty() {
		return nil
	}
	at, err := m.ledger.RevokedAt(ctx, rec.ledgerKeys()...)
	if err != nil {
		return ledgerError(ctx, err)
	}
	return rec.judge(at)
}

func (rec *record) judge(revokedAt time.Time) error {
	if !revokedAt.IsZero() && min(rec.IssuedAt, rec.LoginAt) <= revokedAt.Unix() {
		return ErrRevoked
	}
	return nil
}

// checkLedger is revoked for a session that was just loaded: its store may have brought what the ledger says along.
func (m *Manager) checkLedger(ctx context.Context, s *Session) error {
	if h, ok := s.from.handle.(*serverHandle); ok && m.ledgerIn(h.store) && h.cookie.marksOf(&s.rec) {
		return s.rec.judge(h.revokedAt)
	}
	return m.revoked(ctx, &s.rec)
}

// ledgerError is an outage of the ledger, unless it is only that the one who asked has left.
func ledgerError(ctx context.Context, err error) error {
	if gone := context.Cause(ctx); gone != nil {
		return gone
	}
	return fmt.Errorf("%w: %w", ErrStore, err)
}

// ledgerKeys are the names under which a session can be revoked. Lengths keep two pairs from reading alike.
func (rec *record) ledgerKeys() []string {
	keys := []string{ledgerName("id", "", rec.root()), ledgerName("old", "", rec.ID), ledgerName("sub", rec.Issuer, rec.Subject)}
	if rec.SID != "" {
		keys = append(keys, ledgerName("sid", rec.Issuer, rec.SID))
	}
	return keys
}

func ledgerName(kind, issuer, name string) string {
	return fmt.Sprintf("%s %d %s %s", kind, len(issuer), issuer, name)
}
