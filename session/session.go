package session

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"golang.org/x/oauth2"
)

// Session is a read-only snapshot of a session; safe for concurrent use. Printed, it shows who and until when, and no token.
type Session struct {
	Issuer, Subject string    // together the user's identity; no other claim is one (OpenID Connect Core 5.7)
	SID             string    // the provider's session, "" when it names none
	LoginAt         time.Time // when the login was finished here
	AuthTime        time.Time // when the user authenticated at the provider; zero: not stated
	ExpiresAt       time.Time // the absolute end
	IdleUntil       time.Time // the end if nothing more is requested; zero: no idle end
	TokenExpiry     time.Time // of the access token; zero: not stated
	RefreshAt       time.Time // when the next refresh is due; zero: never
	ACR             string

	*inside // nil: nobody's
	client  *rp.Client
	claims  atomic.Pointer[rp.Claims]
}

// inside is behind a pointer of its own: fmt follows unexported fields of a caller's struct past any Formatter, and with %s a pointer to a struct as well, but no second one.
type inside struct {
	rec  record
	from kept // where rec was found; zero after a login or a refresh
}

// record is empty for a Session that is no manager's.
func (s *Session) record() *record {
	if s.inside == nil {
		return &record{}
	}
	return &s.rec
}

// show fills the exported fields from the record.
func (s *Session) show(idle time.Duration, seen int64) {
	rec := &s.rec
	s.Issuer, s.Subject, s.SID, s.ACR = rec.Issuer, rec.Subject, rec.SID, rec.ACR
	s.LoginAt, s.AuthTime, s.ExpiresAt = unix(rec.LoginAt), unix(rec.AuthTime), unix(rec.ExpiresAt)
	s.TokenExpiry, s.RefreshAt = unix(rec.TokenExpiry), unix(rec.RefreshAt)
	s.IdleUntil = time.Time{}
	if idle > 0 {
		s.IdleUntil = unix(min(seen+int64(idle/time.Second), rec.ExpiresAt))
	}
}

// unix reads a record's time; zero stays zero.
func unix(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

// AMR lists how the user authenticated (the ID token's amr), nil when not stated.
func (s *Session) AMR() []string { return s.Claims().Strings("amr") }

// Scope is what was granted.
func (s *Session) Scope() []string { return strings.Fields(s.record().Scope) }

// Claims are the ID token's, with UserInfo's over them when Config.UserInfo is set; or, when a refresh brought an ID token and UserInfo could not be had, what UserInfo said before under the newer ID token's.
func (s *Session) Claims() rp.Claims {
	if known := s.claims.Load(); known != nil {
		return *known
	}
	var claims rp.Claims
	if id, err := rp.ParseIDToken(s.record().IDToken); err == nil {
		claims = id.Claims
	}
	if len(s.record().UserInfo) > 0 {
		if info, err := rp.NewClaims(s.record().UserInfo); err == nil {
			id := claims
			if claims = id.Merge(info); s.record().OldInfo != 0 {
				claims = claims.Merge(id) // over UserInfo, which still adds nothing to what was verified
			}
		}
	}
	if s.client != nil {
		claims = s.client.Tolerate(claims)
	}
	s.claims.Store(&claims)
	return claims
}

// Token is the access token, as x/oauth2 has it. The refresh token stays inside: the manager uses it, once.
func (s *Session) Token() *oauth2.Token {
	return &oauth2.Token{AccessToken: s.record().AccessToken, TokenType: s.record().TokenType, Expiry: s.TokenExpiry}
}

// RawIDToken is the ID token as it came. It is personal data; the provider's logout takes it as a hint.
func (s *Session) RawIDToken() string { return s.record().IDToken }

// CanRefresh reports whether the session has a refresh token.
func (s *Session) CanRefresh() bool { return s.record().RefreshToken != "" }

// App decodes what Accept returned at login into v; it does nothing when that was nil.
func (s *Session) App(v any) error {
	if len(s.record().App) == 0 {
		return nil
	}
	if err := json.Unmarshal(s.record().App, v); err != nil {
		return fmt.Errorf("session: App: %w", err)
	}
	return nil
}

// String names who and until when.
func (s *Session) String() string {
	if s == nil {
		return "session.Session(nobody)"
	}
	return fmt.Sprintf("session.Session{Issuer: %q, Subject: %q, ExpiresAt: %s}", s.Issuer, s.Subject, s.ExpiresAt.Format(time.RFC3339))
}

// Format prints String for every verb.
func (s *Session) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue is String.
func (s *Session) LogValue() slog.Value { return slog.StringValue(s.String()) }

type contextKey struct{}

// FromContext returns the session that package middleware put into ctx, or nil.
func FromContext(ctx context.Context) *Session {
	s, _ := ctx.Value(contextKey{}).(*Session)
	return s
}

// NewContext puts s into ctx; for middleware, and for tests of handlers.
func NewContext(ctx context.Context, s *Session) context.Context {
	return context.WithValue(ctx, contextKey{}, s)
}
