package session_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

var errRefused = errors.New("not on the list")

func TestALoginThatFailsAfterItsTokensCameRevokesThem(t *testing.T) {
	for name, c := range map[string]struct {
		fail   func(s *site, config *session.Config)
		accept session.Accept
		want   error
	}{
		"UserInfo down": {fail: func(s *site, _ *session.Config) { s.provider.Fault(rptest.UserInfo, rptest.Down) }, want: rp.ErrUnavailable},
		"refused":       {accept: func(context.Context, *session.Session) (any, error) { return nil, errRefused }, want: errRefused},
		"unkeepable":    {accept: func(context.Context, *session.Session) (any, error) { return make(chan int), nil }, want: errAny},
		"too large": {accept: func(context.Context, *session.Session) (any, error) { return strings.Repeat("x", 2<<20), nil },
			want: session.ErrTooLarge},
		"ledger down": {fail: func(_ *site, c *session.Config) { c.Ledger.(*awayLedger).away = true }, want: session.ErrStore},
	} {
		for _, refreshes := range []bool{true, false} {
			hint := "refresh_token"
			if !refreshes {
				hint = "access_token"
			}
			t.Run(name+", "+hint, func(t *testing.T) {
				inBubble(t, func(t *testing.T, config session.Config) {
					config.UserInfo, config.Ledger = true, &awayLedger{Ledger: session.NewMemoryLedger(0)}
					s := newSite(t, setup{session: config, provider: rptest.Options{NoRefreshTokens: !refreshes}})
					issued, revoked, hints := &notes{}, &notes{}, &notes{}
					s.provider.Fault(rptest.Token, issued.member(hint))
					s.provider.Fault(rptest.Revocation, rptest.Both(revoked.form("token"), hints.form("token_type_hint")))
					v := s.visitor()
					back := s.authorize(v.begin("/"))
					if c.fail != nil {
						c.fail(s, &config)
					}
					if _, _, err := v.finishWith(back, c.accept); err == nil || c.want != errAny && !errors.Is(err, c.want) {
						t.Fatalf("Finish: %v, want %v", err, c.want)
					}
					synctest.Wait()
					if got := revoked.all(); len(issued.all()) != 1 || !slices.Equal(got, issued.all()) || !slices.Equal(hints.all(), []string{hint}) {
						t.Errorf("%d tokens came, and revoked were %d as %q", len(issued.all()), len(got), hints.all())
					}
				})
			})
		}
	}
}

func TestALoginWhoseClientLeavesRevokesItsTokens(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		config.UserInfo = true
		s := newSite(t, setup{session: config})
		s.provider.Fault(rptest.Token, rptest.Late(2*time.Second))
		revoked := &notes{}
		s.provider.Fault(rptest.Revocation, revoked.form("token"))
		v := s.visitor()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := s.Finish(httptest.NewRecorder(), v.get(s.authorize(v.begin("/"))).WithContext(ctx), nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Finish: %v, want DeadlineExceeded", err)
		}
		if n := len(revoked.all()); n != 1 {
			t.Errorf("%d tokens were revoked, want 1", n)
		}
	})
}

// Giving tokens back is a courtesy: it changes neither the answer nor, beyond a bound, the time it takes, and a login that succeeds keeps its tokens.
func TestGivingTokensBackIsBounded(t *testing.T) {
	refuse := func(context.Context, *session.Session) (any, error) { return nil, errRefused }
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		for name, fault := range map[string]rptest.Fault{"hanging": rptest.Hang, "down": rptest.Down, "refused": rptest.Status(400, `{"error":"unsupported_token_type"}`)} {
			s.provider.Fault(rptest.Revocation, fault)
			v, begun := s.visitor(), time.Now()
			if _, _, err := v.finishWith(s.authorize(v.begin("/")), refuse); err != errRefused || time.Since(begun) > 5*time.Second {
				t.Errorf("%s: %v after %v", name, err, time.Since(begun))
			}
			if !strings.Contains(s.logs.String(), "could not be revoked") {
				t.Errorf("%s: nothing was logged", name)
			}
		}
		s.provider.ClearFaults()
		s.provider.ResetHits()
		s.visitor().login()
		if n := s.provider.Hits(rptest.Revocation); n != 0 {
			t.Errorf("a login that succeeded revoked %d tokens", n)
		}
	})
	inBubble(t, func(t *testing.T, config session.Config) {
		s := newSite(t, setup{session: config})
		s.provider.Fault(rptest.Discovery, rptest.ModifyJSON(func(md map[string]any) { delete(md, "revocation_endpoint") }))
		v := s.visitor()
		if _, _, err := v.finishWith(s.authorize(v.begin("/")), refuse); err != errRefused || strings.Contains(s.logs.String(), "revoked") {
			t.Errorf("without an endpoint: %v, and %s", err, s.logs)
		}
	})
}
