// Package session keeps one browser signed in: cookies, lifetimes, refresh and revocation around an rp.Client.
package session

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/gorilla/sessions"
	"github.com/latchkey-go/latchkey/rp"
	"golang.org/x/oauth2"
)

// Config configures New. Only Keys is required.
type Config struct {
	// Keys seal cookies: at least 32 random bytes each. The first seals, all open. To rotate: add the new key at the end on every replica, move it first, drop the old one after Lifetime.
	Keys [][]byte
	// Store keeps the sessions; nil: NewCookieStore(Keys). Any gorilla store works; what such a store can't promise stands in the package documentation.
	Store sessions.Store
	// Ledger remembers what was revoked; nil: a bounded one in memory, true for a single process.
	Ledger Ledger
	// Lifetime is the absolute end of a session counted from login; zero: 12 hours. Idle ends it when unused; zero: 1 hour; negative: no idle end.
	Lifetime, Idle time.Duration
	// AttemptLifetime is how long a login may take; zero: 10 minutes.
	AttemptLifetime time.Duration
	// CookieName is the name without prefix; empty: "latchkey". Under an https RedirectURL the cookie is __Host-Http-<name>; on loopback http plain <name>.
	CookieName string
	// SameSite of the session cookie; zero: Lax. Attempt cookies are Lax, or None when the response mode is form_post.
	SameSite http.SameSite
	// SingleProcess says that this process serves all requests of these sessions, so that refresh in one process is refresh once. Without it a store that can't take a lease across
	// replicas (cookies, gorilla's stores) keeps no refresh token: the session ends with its tokens; and asking for offline_access is an error of New.
	SingleProcess bool
	// OutliveTokens keeps a session without a refresh token until Lifetime although its tokens have expired. Zero: it ends with the earlier of access and ID token.
	OutliveTokens bool
	// UserInfo fetches the UserInfo claims at login; Session.Claims shows them over the ID token's.
	UserInfo bool
	// KeepClaims, when set, is which claims to keep (cookie size); nil keeps all.
	Logger *slog.Logger
}

// Manager moves one browser through Begin, Finish, Load and End. It is safe for concurrent use.
type Manager struct{}

// New checks cfg against what the store can keep; no I/O.
func New(client *rp.Client, cfg Config) (*Manager, error) { panic("todo") }

// Client returns the client the manager logs in with.
func (m *Manager) Client() *rp.Client { panic("todo") }

// Begin starts a login: it sets the attempt's cookie (at most 5 live ones, the oldest is dropped) and returns the URL to send the browser to.
// returnTo is kept sealed; it must be a local path, checked by the caller (package middleware). Errors: rp.ErrUnavailable...
func (m *Manager) Begin(w http.ResponseWriter, r *http.Request, returnTo string, p rp.AuthParams) (url string, err error) {
	panic("todo")
}

// Accept decides on a login that passed every check of the protocol, before a session exists: app is data of the application's to
// keep with the session (marshalled to JSON; nil: none), an error refuses the login and is returned by Finish as it is.
type Accept func(ctx context.Context, s *Session) (app any, err error)

// Finish ends a login at the callback: r is the callback request (GET query or POST form), the attempt named by its state is consumed.
// A new session id is made, whatever cookie came. returnTo is set whenever the attempt was found, also with an error.
// Errors: ErrNoLogin (*LoginError with its reason) and those of rp.Client.Finish.
func (m *Manager) Finish(w http.ResponseWriter, r *http.Request, accept Accept) (s *Session, returnTo string, err error) {
	panic("todo")
}

// Load returns the request's session, refreshed when due, or ErrNone (ErrExpired and ErrRevoked are ErrNone too), or ErrStore.
// It may set cookies, so it must run before the response is written. It never fails because the provider is down while the access token lives.
func (m *Manager) Load(w http.ResponseWriter, r *http.Request) (*Session, error) { panic("todo") }

// Refresh is Load, refreshing now whether due or not (ErrNoRefreshToken when there is none).
func (m *Manager) Refresh(w http.ResponseWriter, r *http.Request) (*Session, error) { panic("todo") }

// End ends the session of r here and returns the provider's logout URL, "" when there is none or no session. returnTo is where FinishLogout will point.
// The local session is gone even when err is not nil. Its refresh token is revoked at the provider when that has a revocation endpoint (best effort, bounded).
func (m *Manager) End(w http.ResponseWriter, r *http.Request, returnTo string) (logoutURL string, err error) {
	panic("todo")
}

// FinishLogout handles the browser's return from the provider's logout: returnTo, or ErrNoLogin when state is missing or foreign: nothing is changed then.
func (m *Manager) FinishLogout(w http.ResponseWriter, r *http.Request) (returnTo string, err error) {
	panic("todo")
}

// Revocation names sessions: all of Subject, or the ones of the provider's session SID (or both), which began before Before (zero: now).
type Revocation struct {
	Subject, SID string
	Before       time.Time
}

// Revoke ends the sessions that by names, on every replica that shares the ledger, from the next request on.
func (m *Manager) Revoke(ctx context.Context, by Revocation) error { panic("todo") }

// Ledger remembers "everything of this key that began before at is over". Implementations are safe for concurrent use.
type Ledger interface {
	// Revoke records at for key and may forget it after until.
	Revoke(ctx context.Context, key string, at, until time.Time) error
	// RevokedAt returns the latest at recorded for any of keys; zero: none.
	RevokedAt(ctx context.Context, keys ...string) (time.Time, error)
}

// Session is a read-only snapshot; printed, it shows no token.
type Session struct {
	Issuer, Subject, SID string
	LoginAt              time.Time // when the login was finished here
	AuthTime             time.Time // when the user authenticated at the provider; zero: not stated
	ExpiresAt            time.Time // the absolute end
	IdleUntil            time.Time // the end if nothing more is requested; zero: no idle end
	TokenExpiry          time.Time // of the access token; zero: not stated
	RefreshAt            time.Time // when the next refresh is due; zero: never
	ACR                  string
	// unexported: record
}

func (s *Session) AMR() []string        { panic("todo") }
func (s *Session) Scope() []string      { panic("todo") }
func (s *Session) Claims() rp.Claims    { panic("todo") } // ID token's, with UserInfo's over them
func (s *Session) Token() *oauth2.Token { panic("todo") } // access token without the refresh token
func (s *Session) RawIDToken() string   { panic("todo") }
func (s *Session) CanRefresh() bool     { panic("todo") }
func (s *Session) App(v any) error      { panic("todo") } // decodes what Accept returned

// FromContext returns the session package middleware put there, or nil.
func FromContext(ctx context.Context) *Session { panic("todo") }

// NewContext puts s into ctx; for middleware and for tests of handlers.
func NewContext(ctx context.Context, s *Session) context.Context { panic("todo") }

// Test support: NewTest... see sessiontest.

var (
	ErrNone           = errors.New("session: nobody is signed in")
	ErrExpired        = errors.New("session: expired") // is ErrNone
	ErrRevoked        = errors.New("session: revoked") // is ErrNone
	ErrNoLogin        = errors.New("session: the callback belongs to no login of this browser")
	ErrStore          = errors.New("session: store unavailable")
	ErrNoRefreshToken = errors.New("session: no refresh token")
	ErrTooLarge       = errors.New("session: too large for a cookie")
)

// LoginError is ErrNoLogin with the reason and what was known of the attempt.
type LoginError struct {
	Reason   string // "no-cookie", "expired", "replayed", "no-state", "sealed-by-unknown-key", "loop"
	ReturnTo string
}
