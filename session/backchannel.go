package session

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Errors of logouts that the provider asks for.
var (
	// ErrNoLedger: BackchannelLogout was called without Config.BackchannelLogout, so nothing is sure to keep what it says.
	ErrNoLedger = errors.New("session: logout tokens are not accepted; set Config.BackchannelLogout")
	// ErrReplayed: the logout token has been accepted before.
	ErrReplayed = errors.New("session: the logout token was used before")
)

// BackchannelLogout takes a logout token from the provider (Back-Channel Logout 1.0): the sessions it names that began before it are over, in every process that shares
// the ledger, from the next request on. A token that names a provider's session (sid) ends that one, another all of its user. A token for sessions that nobody here
// knows is accepted as well. When it returns nil the logout is written down.
// Errors: *rp.TokenError, ErrReplayed: the token is refused, and nothing is changed. ErrStore, rp.ErrUnavailable: try again. ErrNoLedger.
func (m *Manager) BackchannelLogout(ctx context.Context, raw string) error {
	if !m.cfg.BackchannelLogout {
		return ErrNoLedger
	}
	t, err := m.client.VerifyLogoutToken(ctx, raw)
	if err != nil {
		return err
	}
	// The repetition is noted last: a token whose logout could not be written must be good for another try. Two deliveries at once both
	// pass, and say the same.
	used := ledgerName("jti", t.Issuer, t.ID)
	switch at, err := m.ledger.RevokedAt(ctx, used); {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrStore, err)
	case !at.IsZero():
		return ErrReplayed
	}
	by := Revocation{Issuer: t.Issuer, Subject: t.Subject, SID: t.SID, Before: t.IssuedAt}
	if by.SID != "" {
		by.Subject = "" // one session of many
	}
	if err := m.Revoke(ctx, by); err != nil {
		return err
	}
	if err := m.ledger.Revoke(ctx, used, time.Now(), t.Expiry.Add(m.client.Leeway()+time.Minute)); err != nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	return nil
}

// FrontchannelLogout ends the session of r when its issuer and its session at the provider are those named: the request of a frame that the provider shows
// (Front-Channel Logout 1.0 section 2). Anybody can make such a request, so one that names nothing, or something else, ends nothing; nor does it
// ask the provider anything. ended reports whether there was such a session. It works where the application is
// on the provider's site; elsewhere only with Config.SameSite None, and in a browser that sends cookies from foreign frames: rely on BackchannelLogout.
func (m *Manager) FrontchannelLogout(w http.ResponseWriter, r *http.Request, issuer, sid string) (ended bool, err error) {
	private(w)
	if issuer == "" || sid == "" {
		return false, nil
	}
	s, err := m.find(r, time.Now())
	if errors.Is(err, ErrNone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if s.Issuer != issuer || s.SID != sid {
		return false, nil
	}
	return true, m.endFound(w, r, s)
}

// endFound ends the session that find found in r, here and in the ledger, and asks the provider nothing but to revoke its refresh token.
func (m *Manager) endFound(w http.ResponseWriter, r *http.Request, s *Session) error {
	err := errors.Join(m.keep.remove(w, r, &s.from), m.forget(r.Context(), &s.rec))
	newest := &s.rec
	if known := m.refresh.latest(newest); known != nil {
		newest = &known.rec
	}
	m.revokeTokens(r.Context(), newest)
	return err
}
