package session

import (
	"errors"
	"net/http"
	"time"

	"github.com/latchkey-go/latchkey/rp"
)

// ErrSignedOut: a login that BeginCheck began found no session of the same user at the provider. The session here is over.
var ErrSignedOut = errors.New("session: the user's session at the provider is over, and the one here with it")

var errOther = errors.New("somebody else is signed in there")

// gone are the answers to prompt=none which say that the user is not there any more, as far as the provider tells without a page
// (Core 3.1.2.6). Errors of another kind say nothing of the user.
var gone = map[string]bool{
	"login_required": true, "interaction_required": true, "account_selection_required": true, "consent_required": true, "access_denied": true,
}

// SessionState is the session_state that came with the login (Session Management 1.0 section 2), "" for none.
func (s *Session) SessionState() string { return s.record().SessionState }

// BeginCheck starts a login without pages (prompt=none, with the ID token as a hint) that asks the provider whether the user of r's session is still signed in there, and returns
// the URL to send the browser to: what Session Management 1.0 section 3.1 demands when the provider's frame says "changed". Finish ends it as any login: when the same user is there, a new
// session replaces the old one. When nobody is, or somebody else, the session ends and the error is ErrSignedOut; an answer that says neither, such as temporarily_unavailable,
// leaves it alone. p is as of an ordinary login; its prompt, hints and MaxAge are set aside. ErrNone: r carries no session. Other errors as of Begin.
func (m *Manager) BeginCheck(w http.ResponseWriter, r *http.Request, returnTo string, p rp.AuthParams) (url string, err error) {
	private(w)
	s, err := m.find(r, time.Now())
	if err != nil {
		return "", err
	}
	p.Prompt, p.IDTokenHint, p.LoginHint, p.MaxAge = "none", s.rec.IDToken, "", 0
	login, err := m.client.Begin(r.Context(), p)
	if err != nil {
		return "", err
	}
	if err := m.writeAttempt(w, r, &attempt{Login: login, ReturnTo: returnTo, Old: m.toReplace(r), Check: s.rec.root()}); err != nil {
		return "", err
	}
	return login.URL, nil
}

// unanswered ends the session that a asked about where why says that its user is not at the provider any more.
func (m *Manager) unanswered(w http.ResponseWriter, r *http.Request, a *attempt, why error) error {
	var refused *rp.ProviderError
	if a.Check == "" || why != errOther && !(errors.As(why, &refused) && refused.Endpoint == "authorization" && gone[refused.Code]) {
		return why
	}
	s, err := m.find(r, time.Now())
	if err == nil {
		err = m.endFound(w, r, s)
	}
	if err != nil && !errors.Is(err, ErrNone) {
		return err // nobody is told of a logout that may not have been written down
	}
	return errors.Join(ErrSignedOut, why)
}
