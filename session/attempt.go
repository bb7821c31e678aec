package session

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/rp"
)

const (
	// maxAttempts live in one browser at most: a Cookie header must stay below what proxies take.
	maxAttempts = 5
	// maxAttemptBytes is what their cookies may take together; long ways back count.
	maxAttemptBytes = 3500
	// maxDrops is how many attempts one response deletes. A request may carry thousands of such names, and a header that deletes each would be longer than proxies take.
	maxDrops = 32
	// maxAttemptCookie is what one may take.
	maxAttemptCookie = maxCookie - maxAttributes
	// maxLoops completed logins within loopWindow that left no readable session are a loop.
	maxLoops   = 3
	loopWindow = time.Minute
)

// attempt is one login on its way, sealed in a cookie of its own that names its state: tabs never clobber each other, and a
// million abandoned ones cost this process nothing.
type attempt struct {
	Login    *rp.Login `json:"l"`
	ReturnTo string    `json:"r,omitempty"`
	Loops    int       `json:"n,omitempty"` // logins completed shortly before, without a session that could be read back
	LoopedAt int64     `json:"na,omitempty"`
	Old      *replaced `json:"o,omitempty"` // see blind
	Check    string    `json:"k,omitempty"` // the record's ID of the session that BeginCheck asks about
}

func (a *attempt) expired(lifetime time.Duration) bool {
	age := time.Since(a.Login.StartedAt)
	return age >= lifetime || age < -time.Minute
}

// attemptName is the cookie's: the state's hash, so that the name gives nothing away.
func (m *Manager) attemptName(state string) string {
	sum := sha256.Sum256([]byte(state))
	return m.attemptPrefix() + base64.RawURLEncoding.EncodeToString(sum[:6])
}

func (m *Manager) attemptPrefix() string { return m.name + "-login-" }

// writeAttempt seals a into its cookie and drops the oldest of too many.
func (m *Manager) writeAttempt(w http.ResponseWriter, r *http.Request, a *attempt) error {
	name := m.attemptName(a.Login.State)
	value, err := m.sealAttempt(name, attempt{m.slim(a.Login), a.ReturnTo, a.Loops, a.LoopedAt, a.Old, a.Check})
	if err == nil && len(name)+len(value) > maxAttemptCookie {
		// Browsers drop what is longer without a word, and no login would ever come to an end.
		value, err = m.sealAttempt(name, attempt{m.slim(a.Login), "", a.Loops, a.LoopedAt, a.Old, a.Check})
	}
	if err != nil {
		return err
	}
	if n := len(name) + len(value); n > maxAttemptCookie {
		return fmt.Errorf("%w: a login attempt of %d bytes, and %d fit; ask for less in rp.AuthParams", ErrTooLarge, n, maxAttemptCookie)
	}
	m.pruneAttempts(w, r, len(name)+len(value))
	m.attempt.set(w, name, value, a.Login.StartedAt.Add(m.cfg.AttemptLifetime))
	return nil
}

func (m *Manager) sealAttempt(name string, a attempt) (string, error) {
	var plain bytes.Buffer
	to := json.NewEncoder(&plain)
	to.SetEscapeHTML(false) // each & of a query would take six bytes
	if err := to.Encode(a); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(m.attempts.seal(nil, plain.Bytes(), name)), nil
}

// slim leaves out what the client knows by itself: five attempts must fit beside a session. The keys are bound to issuer and client id, so
// what is left out can't be read back as another's.
func (m *Manager) slim(login *rp.Login) *rp.Login {
	short := *login
	short.Issuer, short.ClientID = "", ""
	if short.RedirectURL == m.client.RedirectURL() {
		short.RedirectURL = ""
	}
	if slices.Equal(short.Scopes, m.client.Scopes()) {
		short.Scopes = nil
	}
	return &short
}

// fatten puts back what slim left out.
func (m *Manager) fatten(login *rp.Login) {
	login.Issuer, login.ClientID = m.client.Issuer(), m.client.ClientID()
	login.RedirectURL = cmp.Or(login.RedirectURL, m.client.RedirectURL())
	if login.Scopes == nil {
		login.Scopes = m.client.Scopes()
	}
}

// pruneAttempts leaves room for one more of the given size: what doesn't open or has expired goes, then the oldest.
func (m *Manager) pruneAttempts(w http.ResponseWriter, r *http.Request, size int) {
	type live struct {
		name string
		at   time.Time
		size int
	}
	var all []live
	drops := 0
	drop := func(name string) {
		if drops++; drops <= maxDrops {
			m.attempt.delete(w, name)
		}
	}
	for name, value := range eachCookie(r) {
		if !strings.HasPrefix(name, m.attemptPrefix()) {
			continue
		}
		if a, reason := m.openAttempt(name, value); reason == "" {
			all = append(all, live{name, a.Login.StartedAt, len(name) + len(value)})
			size += len(name) + len(value)
		} else {
			drop(name)
		}
	}
	slices.SortFunc(all, func(a, b live) int { return a.at.Compare(b.at) })
	for len(all) > 0 && (len(all) >= maxAttempts || size > maxAttemptBytes) {
		drop(all[0].name)
		size -= all[0].size
		all = all[1:]
	}
}

// openAttempt reads a cookie's value; reason is LoginError's, "" when the attempt is good. An expired one is returned too.
func (m *Manager) openAttempt(name, value string) (a *attempt, reason string) {
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		return nil, "altered"
	}
	plain, err := m.attempts.open(nil, sealed, name)
	if err != nil {
		if !m.attempts.Knows(sealed) {
			return nil, "unknown-key"
		}
		return nil, "altered"
	}
	a = &attempt{}
	if json.Unmarshal(plain, a) != nil || a.Login == nil || a.Login.State == "" {
		return nil, "altered"
	}
	m.fatten(a.Login)
	if a.expired(m.cfg.AttemptLifetime) {
		return a, "expired"
	}
	return a, ""
}

// takeAttempt finds the attempt that state names, and uses it up: its cookie is deleted, and a second delivery of the same callback
// to this process is told that it is one.
func (m *Manager) takeAttempt(w http.ResponseWriter, r *http.Request, state string) (*attempt, error) {
	name := m.attemptName(state)
	value, ok := readCookie(r, name)
	key := sha256.Sum256([]byte(state))
	if hasCookie(r, name) {
		m.attempt.delete(w, name)
	}
	if !ok {
		reason := "no-cookie"
		if m.redeemed.has(key) {
			reason = "replayed"
		}
		return nil, &LoginError{Reason: reason}
	}
	a, reason := m.openAttempt(name, value)
	if reason == "" && subtle.ConstantTimeCompare([]byte(a.Login.State), []byte(state)) != 1 {
		reason = "foreign-state"
	}
	if reason == "" && !m.redeemed.first(key, a.Login.StartedAt.Add(m.cfg.AttemptLifetime)) {
		reason = "replayed"
	}
	if reason != "" {
		e := &LoginError{Reason: reason}
		if a != nil {
			e.ReturnTo = a.ReturnTo
		}
		return nil, e
	}
	return a, nil
}

// loop is what the loop breaker remembers, in a cookie that lives for loopWindow.
type loop struct {
	Count int   `json:"n"`
	Since int64 `json:"s"`
}

func (m *Manager) loopName() string { return m.name + "-loop" }

func (m *Manager) readLoop(r *http.Request) loop {
	var l loop
	value, ok := readCookie(r, m.loopName())
	if !ok {
		return l
	}
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		return l
	}
	plain, err := m.loops.open(nil, sealed, m.loopName())
	if err != nil || json.Unmarshal(plain, &l) != nil || time.Since(unix(l.Since)) > loopWindow {
		return loop{}
	}
	return l
}

func (m *Manager) writeLoop(w http.ResponseWriter, l loop) {
	if plain, err := json.Marshal(l); err == nil {
		value := base64.RawURLEncoding.EncodeToString(m.loops.seal(nil, plain, m.loopName()))
		m.ours.set(w, m.loopName(), value, unix(l.Since).Add(loopWindow))
	}
}

func (m *Manager) dropLoop(w http.ResponseWriter, r *http.Request) {
	if hasCookie(r, m.loopName()) {
		m.ours.delete(w, m.loopName())
	}
}
