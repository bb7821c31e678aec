package session

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/rp"
)

// maxCallback bounds a form_post answer, in bytes.
const maxCallback = 64 << 10

// Begin starts a login: it sets the attempt's cookie (at most 5 live ones, the oldest is dropped) and returns the URL to send the browser to.
// returnTo is kept sealed; it must be a local path, checked by the caller (package middleware). One too long for a cookie is left out: Finish then returns "".
// Errors: those of rp.Client.Begin; ErrTooLarge when the parameters alone don't fit.
func (m *Manager) Begin(w http.ResponseWriter, r *http.Request, returnTo string, p rp.AuthParams) (url string, err error) {
	private(w)
	login, err := m.client.Begin(r.Context(), p)
	if err != nil {
		return "", err
	}
	a := &attempt{Login: login, ReturnTo: returnTo, Old: m.toReplace(r)}
	if l := m.readLoop(r); l.Count > 0 && !m.readable(r) {
		a.Loops, a.LoopedAt = l.Count, l.Since
	}
	if err := m.writeAttempt(w, r, a); err != nil {
		return "", err
	}
	return login.URL, nil
}

// readable reports whether the session cookie that a login left can be read back.
func (m *Manager) readable(r *http.Request) bool {
	rec, _ := m.carried(r)
	return rec != nil
}

// carried is the record of the session that r carries, whatever its state, and its keeper's name for it; nil: none.
func (m *Manager) carried(r *http.Request) (*record, keptID) {
	var k kept
	rec := &record{}
	if m.keep.load(r, &k) != nil || m.decode(k.data, rec) != nil {
		return nil, keptID{}
	}
	return rec, k.id
}

// Accept decides on a login that passed every check of the protocol, before a session exists: app is data of the application's to
// keep with the session (marshalled to JSON; nil: none), an error refuses the login and is returned by Finish as it is.
type Accept func(ctx context.Context, s *Session) (app any, err error)

// Finish ends a login at the callback: r is the callback request (GET query, or POST form when the client's response mode is form_post), and the attempt
// that its state names is used up, whatever comes of it. A new session under a new identifier replaces the one r carries, if any, or the one that Begin's request
// carried where browsers keep the session's cookie from the callback (form_post, SameSite Strict). accept may be nil.
// returnTo is set whenever the attempt was found, also with an error. The tokens of a login that fails after they came, as when accept refuses it, are revoked
// at the provider when that has a revocation endpoint, in 3 seconds at most, and failing that is only logged.
// Errors: ErrNoLogin (*LoginError with its reason), those of rp.Client.Finish and UserInfo, accept's own, ErrTooLarge, ErrStore.
func (m *Manager) Finish(w http.ResponseWriter, r *http.Request, accept Accept) (s *Session, returnTo string, err error) {
	private(w)
	answer, err := m.answer(w, r)
	if err != nil {
		return nil, "", err
	}
	if len(answer["state"]) != 1 || answer.Get("state") == "" {
		return nil, "", &LoginError{Reason: "no-state"}
	}
	a, err := m.takeAttempt(w, r, answer.Get("state"))
	if err != nil {
		var known *LoginError
		if errors.As(err, &known) {
			returnTo = known.ReturnTo
		}
		return nil, returnTo, err
	}
	if a.Loops >= maxLoops {
		m.dropLoop(w, r)
		return nil, a.ReturnTo, &LoginError{Reason: "loop", ReturnTo: a.ReturnTo}
	}
	old, _ := m.carried(r)
	if a.Check != "" && (old == nil || old.root() != a.Check) {
		return nil, a.ReturnTo, &LoginError{Reason: "superseded", ReturnTo: a.ReturnTo}
	}
	tokens, err := m.client.Finish(r.Context(), a.Login, answer)
	if err != nil {
		return nil, a.ReturnTo, m.unanswered(w, r, a, err)
	}
	defer func() {
		if s == nil { // a panic of accept counts
			m.giveBack(r.Context(), tokens.OAuth2)
		}
	}()
	if a.Check != "" && (tokens.IDToken.Issuer != old.Issuer || tokens.IDToken.Subject != old.Subject) {
		return nil, a.ReturnTo, m.unanswered(w, r, a, errOther)
	}
	if s, err = m.establish(r.Context(), tokens, accept); err != nil {
		return nil, a.ReturnTo, err
	}
	if err := m.create(w, r, s); err != nil {
		return nil, a.ReturnTo, err
	}
	if err := m.replace(r, old, a); err != nil {
		m.log.LogAttrs(r.Context(), slog.LevelError, "session: copies of a replaced session's cookie live on", slog.Any("error", err))
	}
	m.afterLogin(w, a)
	return s, a.ReturnTo, nil
}

// create keeps a new session, and says whose it is to a store that lists sessions.
func (m *Manager) create(w http.ResponseWriter, r *http.Request, s *Session) error {
	rec := &s.rec
	k, ok := m.keep.(*serverKeeper)
	if !ok {
		return m.keep.create(w, r, m.encode(rec), s.ExpiresAt)
	}
	whose := &owned{owner: m.ownerOf(rec.Issuer, rec.Subject), user: ledgerName("sub", rec.Issuer, rec.Subject)}
	if rec.SID != "" {
		whose.sid = ledgerName("sid", rec.Issuer, rec.SID)
	}
	made, err := k.createFor(w, r, m.encode(rec), s.ExpiresAt, whose)
	if err != nil {
		return err
	}
	if err := m.limit(r, whose.owner, made); err != nil {
		// No bound holds that an outage, or who is refused, gets around.
		return errors.Join(err, k.discard(context.WithoutCancel(r.Context()), keptID(made)), k.remove(w, r, nil))
	}
	return nil
}

// answer reads the callback's parameters from where the client asked for them.
func (m *Manager) answer(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	method := http.MethodGet
	if m.client.ResponseMode() == "form_post" {
		method = http.MethodPost
	}
	if r.Method != method { // a HEAD of a link scanner above all: the attempt is for the visit itself
		return nil, &LoginError{Reason: "malformed"}
	}
	if method == http.MethodGet {
		answer, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return nil, &LoginError{Reason: "malformed"}
		}
		return answer, nil
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		return nil, &LoginError{Reason: "malformed"}
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxCallback)
	if err := r.ParseForm(); err != nil || r.URL.Query().Has("state") { // two answers in one
		return nil, &LoginError{Reason: "malformed"}
	}
	return r.PostForm, nil
}

// establish makes the session of verified tokens; nothing is kept yet.
func (m *Manager) establish(ctx context.Context, tokens *rp.Tokens, accept Accept) (*Session, error) {
	now := time.Now()
	id := tokens.IDToken
	s := &Session{client: m.client, inside: &inside{rec: record{
		ID:          rand.Text(),
		Version:     1,
		Issuer:      id.Issuer,
		Subject:     id.Subject,
		SID:         id.SessionID,
		ACR:         id.ACR,
		AccessToken: tokens.OAuth2.AccessToken,
		TokenType:   tokens.OAuth2.TokenType,
		IDToken:     tokens.RawIDToken,
		Scope:       strings.Join(tokens.Scope, " "),
		LoginAt:     now.Unix(),
		IssuedAt:    id.IssuedAt.Unix(),
		SeenAt:      now.Unix(),
		ExpiresAt:   now.Add(m.cfg.Lifetime).Unix(),

		SessionState: tokens.SessionState,
	}}}
	rec := &s.rec
	if !id.AuthTime.IsZero() {
		rec.AuthTime = id.AuthTime.Unix()
	}
	if m.mayRefresh {
		rec.RefreshToken = tokens.OAuth2.RefreshToken
	}
	if rec.RefreshToken != "" && !tokens.RefreshExpiry.IsZero() {
		rec.ExpiresAt = min(rec.ExpiresAt, tokens.RefreshExpiry.Unix())
	}
	rec.schedule(now, tokens.OAuth2.Expiry, rec.ExpiresAt < rec.lastEnd(m.cfg.Lifetime))
	if rec.RefreshToken == "" && !m.cfg.OutliveTokens {
		// A session must not outlive its grounds: nobody could tell any more whether the provider still stands by it.
		rec.ExpiresAt = min(rec.ExpiresAt, id.Expiry.Unix())
		if rec.TokenExpiry > 0 {
			rec.ExpiresAt = min(rec.ExpiresAt, rec.TokenExpiry)
		}
	}
	if err := m.admit(ctx, rec); err != nil {
		return nil, err
	}
	if m.cfg.UserInfo {
		info, err := m.client.UserInfo(ctx, rec.AccessToken, rec.Subject)
		if err != nil && !errors.Is(err, rp.ErrNoEndpoint) {
			return nil, err
		}
		rec.UserInfo = info.Raw()
	}
	s.show(m.cfg.Idle, rec.SeenAt)
	if accept == nil {
		return s, nil
	}
	app, err := accept(ctx, s)
	if err != nil {
		return nil, err
	}
	if app != nil {
		if rec.App, err = json.Marshal(app); err != nil {
			return nil, fmt.Errorf("session: what Accept returned can't be kept: %w", err)
		}
	}
	return s, nil
}

// schedule sets when the access token ends and when to refresh it: at 80 % of its life, or a minute before its end if that is sooner, and
// up to a twentieth of its life earlier, so that sessions made together don't refresh together. slides: the session's end is its refresh token's, and a refresh is
// believed to move it, so the token that ends first counts.
func (rec *record) schedule(now, expiry time.Time, slides bool) {
	rec.TokenExpiry, rec.RefreshAt = 0, 0
	if !expiry.IsZero() {
		rec.TokenExpiry = expiry.Unix()
	}
	if end := unix(rec.ExpiresAt); slides && (expiry.IsZero() || end.Before(expiry)) {
		expiry = end
	}
	if rec.RefreshToken == "" || expiry.IsZero() {
		return
	}
	life := expiry.Sub(now)
	ahead := life / 5
	if life >= 2*time.Minute {
		ahead = max(ahead, time.Minute)
	}
	ahead += time.Duration(mathrand.Int64N(int64(max(life/20, 1))))
	rec.RefreshAt = max(expiry.Add(-ahead).Unix(), now.Unix()+1)
}

// lastEnd is the end that no refresh can move any more.
func (rec *record) lastEnd(lifetime time.Duration) int64 {
	return unix(rec.LoginAt).Add(lifetime).Unix()
}

// latestEnd is how long any copy of the session may last that was renewed, or will be, elsewhere.
func (rec *record) latestEnd(lifetime time.Duration) int64 {
	if rec.RefreshToken == "" {
		return rec.ExpiresAt
	}
	return max(rec.ExpiresAt, rec.lastEnd(lifetime))
}

// minMove is from where on a later end of a refresh token is not the rounding of the same one.
const minMove = 5

// moveEnd takes over what a refresh said of the end of the refresh token it brought; spent is the one that was sent. It reports whether the next refresh can be
// believed to move the end again. An answer that says nothing leaves a token that stays with the end it had, and gives a new one none.
func (rec *record) moveEnd(tokens *rp.Tokens, spent string, lifetime time.Duration) (slides bool) {
	if tokens.RefreshExpiry.IsZero() && tokens.OAuth2.RefreshToken == spent {
		return false
	}
	was, last := rec.ExpiresAt, rec.lastEnd(lifetime)
	if rec.ExpiresAt = last; !tokens.RefreshExpiry.IsZero() {
		rec.ExpiresAt = min(last, tokens.RefreshExpiry.Unix())
	}
	return rec.ExpiresAt < last && rec.ExpiresAt >= was+minMove
}

// admit refuses a login whose ID token was issued before a logout that is known by now. One issued in the same second has come
// after it, or it would have been refused at the provider.
func (m *Manager) admit(ctx context.Context, rec *record) error {
	at, err := m.ledger.RevokedAt(ctx, rec.ledgerKeys()...)
	switch {
	case err != nil:
		return ledgerError(ctx, err)
	case at.IsZero():
		return nil
	case at.Unix() > rec.IssuedAt:
		return ErrRevoked
	}
	rec.IssuedAt = max(rec.IssuedAt, at.Unix()+1)
	rec.LoginAt = max(rec.LoginAt, at.Unix()+1) // our clock may be behind the one that at was read from
	return nil
}

// afterLogin counts the login for the loop breaker. Attempts of other tabs stay: each comes back to its own page.
func (m *Manager) afterLogin(w http.ResponseWriter, a *attempt) {
	l := loop{Count: a.Loops + 1, Since: a.LoopedAt}
	if l.Since == 0 {
		l.Since = time.Now().Unix()
	}
	m.writeLoop(w, l)
}
