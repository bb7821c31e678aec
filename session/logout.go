package session

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"golang.org/x/oauth2"
)

const (
	logoutLifetime = 10 * time.Minute
	revokeTimeout  = 3 * time.Second
	// underWay is how long a request that began before its session's end may still note a use of it.
	underWay = 5 * time.Minute
)

func joinScope(scope []string) string { return strings.Join(scope, " ") }

// goodbye is a logout on its way through the provider.
type goodbye struct {
	State     string `json:"s"`
	ReturnTo  string `json:"r,omitempty"`
	StartedAt int64  `json:"t"`
}

func (m *Manager) logoutName() string { return m.name + "-logout" }

// End ends the session of r here and returns the provider's logout URL (RP-Initiated Logout 1.0), "" when there is none or no session. returnTo is where
// FinishLogout will point. The local session is gone even when err is not nil; a copy of its cookie is refused wherever the ledger is shared.
// Its refresh token is revoked at the provider when that has a revocation endpoint, in 3 seconds at most, and failing that is only logged.
func (m *Manager) End(w http.ResponseWriter, r *http.Request, returnTo string) (logoutURL string, err error) {
	private(w)
	m.dropLoop(w, r)
	var k kept
	var rec record
	loaded := m.keep.load(r, &k)
	if loaded != nil {
		// Nothing opens: delete whatever bears our name.
		err := m.keep.remove(w, r, nil)
		if !errors.Is(loaded, errNoRecord) {
			err = errors.Join(loadError(loaded), err)
		}
		return "", err
	}
	parsed := m.decode(k.data, &rec)
	removed := m.keep.remove(w, r, &k)
	if parsed != nil {
		return "", removed
	}
	err = errors.Join(removed, m.forget(r.Context(), &rec))
	newest := &rec
	if known := m.refresh.latest(newest); known != nil {
		newest = &known.rec
	}
	m.revokeTokens(r.Context(), newest)
	logoutURL, urlErr := m.logoutURL(w, r, &rec, returnTo)
	return logoutURL, errors.Join(err, urlErr)
}

// forget writes a session's own end into the ledger: a request that was under way may yet hand the browser a renewed cookie, and copies of a cookie can't
// be taken back otherwise. A store on the server needs no such note, its record is gone.
func (m *Manager) forget(ctx context.Context, rec *record) error {
	if rec == nil || m.keep.final() {
		return nil
	}
	return m.noteEnd(ctx, rec, ledgerName("id", "", rec.root()))
}

// noteEnd writes the end of what key names into the ledger: of rec's session under any identifier, or of one identifier.
func (m *Manager) noteEnd(ctx context.Context, rec *record, key string) error {
	at := time.Now()
	if begun := unix(rec.IssuedAt); at.Before(begun) {
		at = begun // the provider's clock is ahead of ours
	}
	until := unix(rec.latestEnd(m.cfg.Lifetime))
	var err error
	if own, ok := m.ledger.(*MemoryLedger); ok {
		// What no request has touched for the idle time is over without a note. A ledger that others share may outlive this process, and with it this Config.Idle.
		if idle := at.Add(m.cfg.Idle + underWay); m.cfg.Idle > 0 && idle.Before(until) {
			until = idle
		}
		session := ledgerName("id", "", rec.root())
		if key == session {
			session = ""
		}
		err = own.end(ctx, key, ledgerName("sub", rec.Issuer, rec.Subject), session, at, until)
	} else {
		err = m.ledger.Revoke(ctx, key, at, until)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	return nil
}

func (m *Manager) revokeTokens(ctx context.Context, rec *record) {
	if rec.RefreshToken != "" {
		m.revokeToken(ctx, rec.RefreshToken, "refresh_token", "session: the refresh token of an ended session could not be revoked")
	}
}

// giveBack revokes what a login that failed after it has got: nobody has it, so nobody else can. With a refresh token its whole grant goes (RFC 7009 section 2.1).
func (m *Manager) giveBack(ctx context.Context, tokens *oauth2.Token) {
	token, hint := tokens.RefreshToken, "refresh_token"
	if token == "" {
		token, hint = tokens.AccessToken, "access_token"
	}
	m.revokeToken(ctx, token, hint, "session: the tokens of a login that failed could not be revoked")
}

// revokeToken does not depend on who asks still being there, and does not keep them for long.
func (m *Manager) revokeToken(ctx context.Context, token, hint, complaint string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	if err := m.client.Revoke(ctx, token, hint); err != nil && !errors.Is(err, rp.ErrNoEndpoint) {
		m.log.LogAttrs(ctx, slog.LevelWarn, complaint, slog.Any("error", err))
	}
}

func (m *Manager) logoutURL(w http.ResponseWriter, r *http.Request, rec *record, returnTo string) (string, error) {
	state := ""
	if m.client.PostLogoutRedirectURL() != "" {
		state = rand.Text()
	}
	to, err := m.client.EndSessionURL(r.Context(), rec.IDToken, state)
	if err != nil || to == "" || state == "" {
		return to, err
	}
	plain, err := json.Marshal(goodbye{State: state, ReturnTo: returnTo, StartedAt: time.Now().Unix()})
	if err != nil {
		return to, err
	}
	value := base64.RawURLEncoding.EncodeToString(m.logouts.seal(nil, plain, m.logoutName()))
	m.ours.set(w, m.logoutName(), value, time.Now().Add(logoutLifetime))
	return to, nil
}

// FinishLogout handles the browser's return from the provider's logout: returnTo, or ErrNoLogin when state is missing, foreign or late; nothing is changed then.
func (m *Manager) FinishLogout(w http.ResponseWriter, r *http.Request) (returnTo string, err error) {
	private(w)
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return "", &LoginError{Reason: "malformed"}
	}
	if len(query["state"]) != 1 || query.Get("state") == "" {
		return "", &LoginError{Reason: "no-state"}
	}
	value, ok := readCookie(r, m.logoutName())
	if !ok {
		return "", &LoginError{Reason: "no-cookie"}
	}
	var g goodbye
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		return "", &LoginError{Reason: "altered"}
	}
	plain, err := m.logouts.open(nil, sealed, m.logoutName())
	if err != nil || json.Unmarshal(plain, &g) != nil {
		return "", &LoginError{Reason: "altered"}
	}
	if time.Since(unix(g.StartedAt)) >= logoutLifetime {
		return "", &LoginError{Reason: "expired"}
	}
	if subtle.ConstantTimeCompare([]byte(g.State), []byte(query.Get("state"))) != 1 {
		return "", &LoginError{Reason: "foreign-state"}
	}
	m.ours.delete(w, m.logoutName())
	return g.ReturnTo, nil
}

// RevokeAll ends all sessions of the user whose session r carries, as Revoke does. It asks the provider nothing, so that an outage there stops nobody.
// ErrNone: r carries no session that is still good, and nobody is known by it. ErrStore: nothing durable was written; try again.
func (m *Manager) RevokeAll(r *http.Request) error {
	s, err := m.find(r, time.Now())
	if err != nil {
		return err
	}
	return m.Revoke(r.Context(), Revocation{Issuer: s.Issuer, Subject: s.Subject})
}

// Revocation names sessions: all of Subject, or those of the provider's session SID (or both), which began before Before.
type Revocation struct {
	Issuer       string // empty: the client's
	Subject, SID string
	Before       time.Time // on the provider's clock, to the second; zero: now
}

// Revoke ends the sessions that by names, in every process that shares the ledger, from the next request on. A session began when its login's ID token
// was issued or when the login was finished here, whichever is earlier; one of the same second counts as before. ErrStore: nothing durable was written; try again.
func (m *Manager) Revoke(ctx context.Context, by Revocation) error {
	if by.Subject == "" && by.SID == "" {
		return errors.New("session: Revoke needs a Subject or a SID")
	}
	at := by.Before
	if at.IsZero() {
		at = time.Now()
	}
	// at is the provider's: a session that began before it there may have begun later by our clock, and ends as much later.
	until := at.Add(m.cfg.Lifetime + m.client.Leeway() + time.Minute)
	issuer := cmp.Or(by.Issuer, m.client.Issuer())
	var errs []error
	for kind, name := range map[string]string{"sub": by.Subject, "sid": by.SID} {
		if name == "" {
			continue
		}
		if err := m.ledger.Revoke(ctx, ledgerName(kind, issuer, name), at, until); err != nil {
			errs = append(errs, fmt.Errorf("%w: %w", ErrStore, err))
		}
	}
	return errors.Join(errs...)
}
