package session

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/sessions"
	"github.com/latchkey-go/latchkey/rp"
)

const (
	defaultLifetime        = 12 * time.Hour
	defaultIdle            = time.Hour
	defaultAttemptLifetime = 10 * time.Minute
	defaultRefreshInterval = 10 * time.Second
	defaultName            = "latchkey"
	// hostPrefix makes browsers keep the cookie Secure, HttpOnly, on Path=/ and to this host alone; those that don't know __Host-Http- know __Host-.
	hostPrefix = "__Host-Http-"
)

// Config configures New. Only Keys, or Keyring, is required. Printed, it shows no key; but fmt prints an unexported field of a struct of yours past this: keep the Manager there instead.
type Config struct {
	// Keys seal cookies: at least 32 random bytes each, the same on every replica. The first seals, all open. To rotate: add the new key at the end
	// everywhere, move it first, drop the old one after Lifetime.
	Keys [][]byte
	// Keyring holds keys that change while the program runs, in place of Keys; having both is an error. The manager follows it, and so does a store made of it.
	Keyring *Keyring
	// Store keeps the sessions; nil: cookies sealed under Keys. Any gorilla store works; what such a store can't promise stands in the package documentation.
	Store sessions.Store
	// Ledger remembers what was revoked; nil: the one in a ServerStore's backend, else a bounded one in memory, which is the truth for one process.
	Ledger Ledger
	// Lifetime is the absolute end of a session counted from login; zero: 12 hours. A session ends before it with its refresh token, where the provider says when that ends
	// (rp.Tokens.RefreshExpiry); a refresh that brings a later end moves the session's.
	Lifetime time.Duration
	// Idle ends a session that is not used; zero: 1 hour, or Lifetime if that is shorter; negative: no idle end.
	Idle time.Duration
	// AttemptLifetime is how long a login may take; zero: 10 minutes; at most an hour.
	AttemptLifetime time.Duration
	// CookieName is the name without prefix; empty: "latchkey". Under an https RedirectURL the cookie is __Host-Http-<name>; on loopback http plain <name>.
	CookieName string
	// SameSite of the session cookie; zero: Lax. Strict keeps it from the first request after the provider's redirect, so that a page in between must navigate (see NeedsPage);
	// None is for pages in foreign frames and needs https. Attempt cookies are Lax, or None when the response mode is form_post (Lax on loopback http,
	// where browsers refuse None: form_post works there only when the provider is on the same site).
	SameSite http.SameSite
	// SingleProcess says that this process serves all requests of these sessions, so that one refresh in the process is one refresh. Without it a store that can't take a lease across
	// replicas (cookies, gorilla's stores) keeps no refresh token: the session ends with its tokens; and asking for offline_access is an error of New.
	SingleProcess bool
	// OutliveTokens keeps a session without a refresh token until Lifetime although its tokens have expired. Zero: it ends with the earlier of access and ID token.
	OutliveTokens bool
	// RefreshInterval is the least time between two refreshes of a session of which the later one is not due: users can ask for them, and the provider limits
	// all of them together. Zero: 10 seconds; negative: none.
	RefreshInterval time.Duration
	// MaxSessions bounds the sessions one user has at a time; zero: no bound. A login above it ends the session used least lately, or with RefuseMore is refused
	// (ErrTooMany). Two logins at the same moment may end, or refuse, each other. It needs a store that lists sessions: NewServerStore's.
	MaxSessions int
	RefuseMore  bool
	// BackchannelLogout accepts logout tokens from the provider. Every process that serves these sessions must learn of them: New refuses it
	// for a store that is not shared, without a Ledger that is, unless SingleProcess is set.
	BackchannelLogout bool
	// UserInfo fetches the UserInfo claims at login and at each refresh; Session.Claims shows them over the ID token's. An endpoint that can't be reached fails the login; a refresh it does
	// not fail: Session.Claims then shows what the ID token says, and of the UserInfo before it what the ID token is silent about, until the next refresh.
	UserInfo bool
	// Logger gets refreshes that fail and stores that don't answer, never a token; nil: discarded.
	Logger *slog.Logger
}

// String tells the lifetimes and the number of keys.
func (c Config) String() string {
	return fmt.Sprintf("session.Config{Keys: %d, Store: %T, Lifetime: %v, Idle: %v, CookieName: %q}", len(c.Keys)+c.Keyring.Len(), c.Store, c.Lifetime, c.Idle, c.CookieName)
}

// Format prints String for every verb.
func (c Config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue is String.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Manager moves one browser through Begin, Finish, Load and End. It is safe for concurrent use.
type Manager struct {
	cfg     *Config // not by value: see Session.inside
	client  *rp.Client
	keep    keeper
	ledger  Ledger
	log     *slog.Logger
	refresh *refresher

	bound      []byte           // what every record begins with: whose it is
	name       string           // of the session cookie, prefix included
	ours       cookieAttributes // of the small cookies: loop breaker, logout
	attempt    cookieAttributes // of attempt cookies
	attempts   *sealer
	logouts    *sealer
	loops      *sealer
	redeemed   *recent
	touchEvery int64 // seconds; zero: never
	mayRefresh bool  // refresh tokens are kept
}

// New checks cfg against what the store can keep; no I/O.
func New(client *rp.Client, cfg Config) (*Manager, error) {
	if client == nil {
		return nil, errors.New("session: New needs an rp.Client")
	}
	redirect, err := url.Parse(client.RedirectURL())
	if err != nil || redirect.Host == "" {
		return nil, errors.New("session: the client has no RedirectURL; sessions begin with a login, set rp.Config.RedirectURL")
	}
	secure := redirect.Scheme == "https"
	cfg.settle()
	if err := cfg.check(client, redirect, secure); err != nil {
		return nil, err
	}
	m := &Manager{
		cfg: &cfg, client: client, ledger: cfg.Ledger, log: cfg.Logger,
		name:     cookieName(cfg.CookieName, secure),
		redeemed: newRecent(10_000),
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if own, ok := cfg.Store.(*ServerStore); ok && m.ledger == nil && own != nil {
		m.ledger = NewBackendLedger(own.backend)
	}
	if m.ledger == nil {
		m.ledger = NewMemoryLedger(0)
	}
	if cfg.Idle > 0 {
		m.touchEvery = max(1, int64(min(time.Minute, cfg.Idle/4)/time.Second))
	}
	m.ours = cookieAttributes{name: m.name, secure: secure, sameSite: http.SameSiteLaxMode}
	m.attempt = m.ours
	if client.ResponseMode() == "form_post" && secure {
		m.attempt.sameSite = http.SameSiteNoneMode
	}
	if err := m.openStores(secure); err != nil {
		return nil, err
	}
	_, leases := m.keep.(leaser)
	m.mayRefresh = leases || m.keep.exclusive() || cfg.SingleProcess
	if !m.mayRefresh && slices.Contains(client.Scopes(), "offline_access") {
		return nil, errors.New("session: the client asks for offline_access, but this store can't take a lease, so two replicas would spend one refresh token twice: " +
			"set Config.SingleProcess if this process serves all sessions, use NewMemoryStore, or drop the scope")
	}
	if _, lists := m.keep.(*serverKeeper); cfg.MaxSessions != 0 && !lists {
		return nil, fmt.Errorf("session: Config.MaxSessions: %w", ErrNotListed)
	}
	if cfg.MaxSessions < 0 || cfg.RefuseMore && cfg.MaxSessions == 0 {
		return nil, errors.New("session: Config.MaxSessions is negative, or missing beside RefuseMore")
	}
	if _, alone := m.ledger.(*MemoryLedger); cfg.BackchannelLogout && alone && !m.keep.exclusive() && !cfg.SingleProcess {
		return nil, errors.New("session: Config.BackchannelLogout needs a Ledger that all processes share, or the provider's logouts would count in one of them only: " +
			"set Config.Ledger, use NewServerStore, or set SingleProcess if this process serves all sessions")
	}
	m.refresh = newRefresher(m)
	return m, nil
}

// settle fills in the defaults.
func (c *Config) settle() {
	c.Lifetime = cmp.Or(c.Lifetime, defaultLifetime)
	if c.Idle == 0 {
		c.Idle = min(defaultIdle, c.Lifetime)
	}
	c.RefreshInterval = cmp.Or(c.RefreshInterval, defaultRefreshInterval)
	c.AttemptLifetime = cmp.Or(c.AttemptLifetime, defaultAttemptLifetime)
	c.CookieName = cmp.Or(c.CookieName, defaultName)
	c.SameSite = cmp.Or(c.SameSite, http.SameSiteLaxMode)
}

// check reports all that is wrong at once.
func (c *Config) check(client *rp.Client, redirect *url.URL, secure bool) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("session: Config."+format, args...)) }
	if c.Keyring != nil && c.Keys != nil {
		bad("Keys and Config.Keyring are both set; keep one of them")
	}
	if c.Lifetime < time.Minute {
		bad("Lifetime is %v; it must be at least a minute", c.Lifetime)
	}
	if c.Idle > c.Lifetime {
		bad("Idle (%v) is longer than Lifetime (%v), so it would never end a session", c.Idle, c.Lifetime)
	}
	if c.Idle > 0 && c.Idle < 10*time.Second {
		bad("Idle is %v; it must be at least 10 seconds", c.Idle)
	}
	if c.AttemptLifetime < 30*time.Second || c.AttemptLifetime > time.Hour {
		bad("AttemptLifetime is %v; people need between 30 seconds and an hour", c.AttemptLifetime)
	}
	for _, r := range c.CookieName {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", r) {
			bad("CookieName %q: use letters, digits, - and _", c.CookieName)
			break
		}
	}
	if strings.HasPrefix(c.CookieName, "__") {
		bad("CookieName %q: browsers give names with __ in front a meaning, and New adds the prefix that is right", c.CookieName)
	}
	if len(c.CookieName) > 64 {
		bad("CookieName is longer than 64 characters")
	}
	if c.SameSite == http.SameSiteNoneMode && !secure {
		bad("SameSite None needs an https RedirectURL")
	}
	if c.SameSite == http.SameSiteDefaultMode {
		bad("SameSite: the default mode leaves it to the browser; leave the field zero for Lax")
	}
	if back := client.PostLogoutRedirectURL(); back != "" {
		if u, err := url.Parse(back); err != nil || u.Scheme != redirect.Scheme || u.Host != redirect.Host {
			errs = append(errs, errors.New("session: PostLogoutRedirectURL and RedirectURL have different origins; the logout's cookie would not be sent there"))
		}
	}
	return errors.Join(errs...)
}

// openStores derives the keys and the keeper. Keys and records are bound to client and issuer, so that two applications which share keys by
// mistake share no session.
func (m *Manager) openStores(secure bool) error {
	owner := boundTo(m.client.Issuer(), m.client.ClientID())
	sum := sha256.Sum256([]byte(owner))
	m.bound = sum[:16]
	ring := m.cfg.Keyring
	if ring == nil {
		var err error
		if ring, err = NewKeyring(m.cfg.Keys...); err != nil {
			return err
		}
	}
	if err := sealers(ring, owner, map[string]**sealer{"attempt": &m.attempts, "logout": &m.logouts, "loop": &m.loops}); err != nil {
		return err
	}
	store := m.cfg.Store
	if store == nil {
		own, err := newCookieStore(ring, owner)
		if err != nil {
			return err
		}
		store = own
	}
	var err error
	m.keep, err = newKeeper(store, cookieAttributes{name: m.name, secure: secure, sameSite: m.cfg.SameSite}, ring, owner)
	if s, ok := m.keep.(*serverKeeper); ok {
		s.idle = m.cfg.Idle
	}
	return err
}

func boundTo(issuer, clientID string) string {
	b := []byte("latchkey v1 client: ")
	b = binary.AppendUvarint(b, uint64(len(issuer)))
	return string(b) + issuer + clientID
}

// encode writes rec behind whose it is. Keys alone don't tell: a store that two managers share was made before either.
func (m *Manager) encode(rec *record) []byte { return rec.append(slices.Clip(m.bound)) }

// decode reads what encode of a manager of the same client wrote; errors are errNoRecord.
func (m *Manager) decode(b []byte, rec *record) error {
	if !bytes.HasPrefix(b, m.bound) {
		return errNoRecord
	}
	return rec.parse(b[len(m.bound):])
}

func cookieName(name string, secure bool) string {
	if secure {
		return hostPrefix + name
	}
	return name
}

// String names the client and its cookie.
func (m *Manager) String() string {
	if m == nil || m.client == nil {
		return "session.Manager(empty)"
	}
	return fmt.Sprintf("session.Manager{Issuer: %q, ClientID: %q, Cookie: %q}", m.client.Issuer(), m.client.ClientID(), m.name)
}

// Format prints String for every verb: fmt does not ask the fields, which hold keys and secrets.
func (m *Manager) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, m.String()) }

// LogValue is String.
func (m *Manager) LogValue() slog.Value { return slog.StringValue(m.String()) }

// Client returns the client the manager logs in with.
func (m *Manager) Client() *rp.Client { return m.client }

// NeedsPage reports whether a browser would keep the session's cookie from the page that a redirect at the callback leads to, as with SameSite Strict. The callback
// must then end in a page that navigates; package middleware's does.
func (m *Manager) NeedsPage() bool { return m.cfg.SameSite == http.SameSiteStrictMode }

// Ledger remembers "everything of this key that began before at is over". Implementations are safe for concurrent use.
type Ledger interface {
	// Revoke records at for key and may forget it after until. An error means that nothing durable was written.
	Revoke(ctx context.Context, key string, at, until time.Time) error
	// RevokedAt returns the latest at recorded for any of keys; zero: none.
	RevokedAt(ctx context.Context, keys ...string) (time.Time, error)
}

// private marks a response that reads or writes a session: no cache may give it to anyone else.
func private(w http.ResponseWriter) {
	h := w.Header()
	// One piece of memory for both values, of this response alone: a handler may change its header in place.
	values := &[2]string{"no-store", "Cookie"}
	h["Cache-Control"] = values[0:1:1]
	if vary := h["Vary"]; len(vary) == 0 {
		h["Vary"] = values[1:2:2]
	} else if !slices.ContainsFunc(vary, namesCookie) {
		h["Vary"] = append(slices.Clip(vary), "Cookie")
	}
}

// namesCookie reports whether a line of Vary has Cookie on its list.
func namesCookie(line string) bool {
	for name := range strings.SplitSeq(line, ",") {
		if strings.EqualFold(strings.TrimSpace(name), "Cookie") {
			return true
		}
	}
	return false
}

// Owns reports whether s is a session of this manager's client: one that another manager put into a context opens nothing here.
func (m *Manager) Owns(s *Session) bool { return s != nil && s.client == m.client }
