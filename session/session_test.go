package session_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

func TestASessionTellsWhatItsTokensSay(t *testing.T) {
	for name, config := range stores(t) {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, setup{session: config(), provider: rptest.Options{Users: []rptest.User{{Name: "alice", ACR: "gold", AMR: []string{"pwd", "otp"}}}}})
			v := s.visitor()
			made := v.login()
			for _, got := range []*session.Session{made, v.mustLoad()} {
				if got.ACR != "gold" || !slices.Equal(got.AMR(), []string{"pwd", "otp"}) || got.AuthTime.IsZero() || !slices.Contains(got.Scope(), "openid") {
					t.Errorf("ACR %q, AMR %q, AuthTime %v, Scope %q", got.ACR, got.AMR(), got.AuthTime, got.Scope())
				}
				token := got.Token()
				if token.TokenType != "Bearer" || !token.Expiry.Equal(got.TokenExpiry) || token.RefreshToken != "" {
					t.Errorf("Token of type %q until %v; the refresh token is to stay inside", token.TokenType, token.Expiry)
				}
				if parts := strings.Count(got.RawIDToken(), "."); parts != 2 {
					t.Error("RawIDToken is no token")
				}
				if err := got.App(new(int)); err != nil {
					t.Errorf("App without one: %v", err)
				}
			}
		})
	}
}

func TestASessionTravelsInAContext(t *testing.T) {
	if s := session.FromContext(t.Context()); s != nil {
		t.Errorf("an empty context has %v", s)
	}
	s := &session.Session{Subject: "alice"}
	if got := session.FromContext(session.NewContext(t.Context(), s)); got != s {
		t.Errorf("got %v", got)
	}
	if text := fmt.Sprint((*session.Session)(nil)); text != "session.Session(nobody)" {
		t.Errorf("nil prints %q", text)
	}
	empty := &session.Session{}
	if empty.Claims().Has("sub") || empty.CanRefresh() || empty.Token().AccessToken != "" || len(empty.Scope()) != 0 {
		t.Error("an empty session has something")
	}
}

func TestErrorsSayWhetherNobodyIsSignedIn(t *testing.T) {
	for _, err := range []error{session.ErrExpired, session.ErrRevoked} {
		if !errors.Is(err, session.ErrNone) {
			t.Errorf("%v is not ErrNone", err)
		}
	}
	none := fmt.Errorf("wrapped: %w", session.ErrNone)
	if errors.Is(none, session.ErrExpired) || errors.Is(none, session.ErrRevoked) || errors.Is(session.ErrStore, session.ErrNone) || errors.Is(session.ErrNoRefreshToken, session.ErrNone) {
		t.Error("two errors are taken for each other")
	}
	err := fmt.Errorf("callback: %w", &session.LoginError{Reason: "replayed", ReturnTo: "/secret-page"})
	if !errors.Is(err, session.ErrNoLogin) || strings.Contains(err.Error(), "/secret-page") || !strings.Contains(err.Error(), "replayed") {
		t.Errorf("%v", err)
	}
}

func TestALoginErrorSaysWhatItsOperatorCanDo(t *testing.T) {
	for reason, want := range map[string][]string{"loop": {"cookies", "proxy", "store", "clock"}, "unknown-key": {"Config.Keys"}} {
		for _, word := range want {
			if text := (&session.LoginError{Reason: reason}).Error(); !strings.Contains(text, word) {
				t.Errorf("%q does not name %s", text, word)
			}
		}
	}
}

// printed is all that printing and logging show of values.
func printed(values ...any) string {
	var b bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&b, nil))
	text := slog.New(slog.NewTextHandler(&b, nil))
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&b, verb+"\n", v)
		}
		log.Info("value", "v", v)
		text.Info("value", "v", v)
	}
	return b.String()
}

func TestNothingPrintedOrLoggedShowsASecret(t *testing.T) {
	inBubble(t, func(t *testing.T, config session.Config) {
		config.Keys = [][]byte{testKey(1)}
		tokens := &notes{}
		s := newSite(t, setup{session: config, client: func(c *rp.Config) { c.ClientSecret = "test-secret" }})
		watch := rptest.Both(tokens.member("access_token"), tokens.member("refresh_token"), tokens.member("id_token"))
		s.provider.Fault(rptest.Token, watch)
		v := s.visitor()
		to := v.begin("/return-to-marked")
		back := s.authorize(to)
		made, _, err := v.finishWith(back, func(context.Context, *session.Session) (any, error) { return "app-marked", nil })
		if err != nil {
			t.Fatal(err)
		}
		show := []any{made, v.mustLoad(), config, &config, s.Manager, s.client}
		fail := func(err error) { show = append(show, err) }
		// What goes wrong is logged: an outage, a bad answer, a revocation that fails.
		untilDue(made)
		s.provider.FaultTimes(rptest.Token, rptest.Down, 1)
		_, err = v.load()
		fail(err)
		time.Sleep(10 * time.Second)
		show = append(show, v.mustLoad())
		s.provider.TokenFault(rptest.BadSignature)
		time.Sleep(10 * time.Second)
		_, err = v.refresh()
		fail(err)
		s.provider.ClearFaults()
		s.provider.Fault(rptest.Token, watch)
		again := s.visitor()
		again.login()
		s.provider.Fault(rptest.Revocation, rptest.Status(500, "{}"))
		_, err = again.end()
		fail(err)
		_, _, err = again.finish(back)
		fail(err)

		text := printed(show...) + s.logs.String()
		if !strings.Contains(text, "session: refresh postponed") || !strings.Contains(text, "could not be revoked") || !strings.Contains(text, "alice") {
			t.Errorf("the test saw too little:\n%s", s.logs)
		}
		key := testKey(1)
		secrets := append(tokens.all(), "test-secret", "app-marked", query(t, back, "code"), query(t, back, "state"), query(t, to, "nonce"),
			string(key), base64.StdEncoding.EncodeToString(key), base64.RawURLEncoding.EncodeToString(key), hex.EncodeToString(key), strings.Trim(fmt.Sprint(key), "[]"), fmt.Sprintf("%#v", key)[7:30])
		if len(secrets) < 20 {
			t.Errorf("only %d secrets to look for", len(secrets))
		}
		for _, secret := range secrets {
			if secret == "" {
				continue
			}
			for _, form := range []string{secret, hex.EncodeToString([]byte(secret))} {
				if i := strings.Index(text, form); i >= 0 {
					t.Errorf("%.20q... is shown in %q", secret, text[max(0, i-80):i+20])
				}
			}
		}
	})
}

func TestASessionIsReadByManyAtOnce(t *testing.T) {
	v := newSite(t, setup{}).visitor()
	v.login()
	s := v.mustLoad()
	done := make(chan string)
	for range 20 {
		go func() { done <- claim(s, "sub") + s.String() + s.Token().AccessToken }()
	}
	want := <-done
	for range 19 {
		if got := <-done; got != want {
			t.Error("two readers saw different sessions")
		}
	}
}

func TestATokenWithoutAStatedEndServesToTheSessionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, setup{session: session.Config{Store: memoryStore(t), Idle: -1}})
		s.provider.Fault(rptest.Token, rptest.NoExpiresIn)
		v := s.visitor()
		if got := v.login(); !got.TokenExpiry.IsZero() || !got.RefreshAt.IsZero() {
			t.Errorf("token until %v, refresh at %v; neither was stated", got.TokenExpiry, got.RefreshAt)
		}
		time.Sleep(11 * time.Hour)
		if got, err := v.refresh(); err != nil || !got.CanRefresh() {
			t.Errorf("Refresh: %v", err)
		}
	})
}
