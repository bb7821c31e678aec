package rp_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// logoutClaims are those of a good logout token, with changes: pairs of names and values, nil for none.
func logoutClaims(p *rptest.Provider, changes ...any) map[string]any {
	now := time.Now().Unix()
	c := map[string]any{
		"iss": p.Issuer(), "sub": "alice", "aud": p.ClientID(), "iat": now, "exp": now + 120, "jti": "t1", "sid": "s1",
		"events": map[string]any{logoutEvent: map[string]any{}}, "unknown": "ignored",
	}
	for i := 0; i < len(changes); i += 2 {
		if name := fmt.Sprint(changes[i]); changes[i+1] == nil {
			delete(c, name)
		} else {
			c[name] = changes[i+1]
		}
	}
	return c
}

func logoutProvider(t testing.TB) (*rptest.Provider, *rp.Client) {
	t.Helper()
	p, err := rptest.New(rptest.Options{Issuer: "https://op.example", SigningAlg: "RS256"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := rp.New(rp.Config{Issuer: p.Issuer(), ClientID: p.ClientID(), ClientSecret: p.ClientSecret(), HTTPClient: p.Client()})
	if err != nil {
		t.Fatal(err)
	}
	return p, c
}

// The names are those of the conformance suite's modules where there is one.
func TestLogoutTokensAreCheckedOneByOne(t *testing.T) {
	p, c := logoutProvider(t)
	now := time.Now().Unix()
	event := func(v any) map[string]any { return map[string]any{logoutEvent: v} }
	for _, row := range []struct {
		name   string
		claims []any
		header []string
		check  string // "" for a good one
	}{
		{"rp-backchannel-rpinitlogout", nil, nil, ""},
		{"typ logout+jwt", nil, []string{"typ", "logout+jwt"}, ""},
		{"typ in capitals", nil, []string{"typ", "application/LOGOUT+JWT"}, ""},
		{"sid alone", []any{"sub", nil}, nil, ""},
		{"sub alone", []any{"sid", nil}, nil, ""},
		{"aud as a list", []any{"aud", []string{p.ClientID()}}, nil, ""},
		{"another event beside", []any{"events", map[string]any{logoutEvent: map[string]any{"reason": "x"}, "other": map[string]any{}}}, nil, ""},
		{"rp-backchannel-rpinitlogout-alg-none", nil, []string{"alg", "none"}, "alg"},
		{"wrong-alg", nil, []string{"alg", "ES256"}, "alg"},
		{"wrong-issuer", []any{"iss", "https://op.example/other"}, nil, "iss"},
		{"wrong-aud", []any{"aud", "another"}, nil, "aud"},
		{"a foreign audience beside", []any{"aud", []string{p.ClientID(), "another"}}, nil, "aud"},
		{"no-event", []any{"events", nil}, nil, "events"},
		{"wrong-event", []any{"events", map[string]any{"http://schemas.openid.net/event/other": map[string]any{}}}, nil, "events"},
		{"event that is no object", []any{"events", event("x")}, nil, "events"},
		{"event that is null", []any{"events", event(nil)}, nil, "events"},
		{"events as a list", []any{"events", []string{logoutEvent}}, nil, "events"},
		{"nonce", []any{"nonce", "n"}, nil, "nonce"},
		{"no-sub-nor-sid", []any{"sub", nil, "sid", nil}, nil, "sub"},
		{"empty sub and sid", []any{"sub", nil, "sid", ""}, nil, "sub"},
		{"no jti", []any{"jti", nil}, nil, "jti"},
		{"no iat", []any{"iat", nil}, nil, "iat"},
		{"no exp", []any{"exp", nil}, nil, "exp"},
		{"expired", []any{"exp", now - 61}, nil, "exp"},
		{"from the future", []any{"iat", now + 120}, nil, "iat"},
		{"old", []any{"iat", now - 25*3600}, nil, "iat"},
		{"exp as text", []any{"exp", "never"}, nil, "exp"},
		{"an access token's typ", nil, []string{"typ", "at+jwt"}, "typ"},
		{"a security event's typ", nil, []string{"typ", "secevent+jwt"}, "typ"},
		{"nested", nil, []string{"cty", "JWT"}, "cty"},
		{"SUB beside sub", []any{"SUB", "bob"}, nil, "json"},
		{"an unknown key", nil, []string{"kid", "unknown"}, "kid"},
	} {
		t.Run(row.name, func(t *testing.T) {
			raw := p.Sign(logoutClaims(p, row.claims...), row.header...)
			if row.name == "rp-backchannel-rpinitlogout-alg-none" {
				raw = p.SignBent(logoutClaims(p), rptest.AlgNone)
			}
			got, err := c.VerifyLogoutToken(t.Context(), raw)
			var refused *rp.TokenError
			if errors.As(err, &refused) != (row.check != "") || refused != nil && refused.Check != row.check {
				t.Fatalf("%v, want check %q", err, row.check)
			}
			if err == nil && (got.Issuer != p.Issuer() || got.ID != "t1" || got.Subject+got.SID == "") {
				t.Errorf("%+v", *got)
			}
			if err != nil && (strings.Contains(err.Error(), raw) || !errors.Is(err, rp.ErrInvalidToken)) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestAnIDTokenIsNoLogoutTokenAndTheOtherWayRound(t *testing.T) {
	p, c := logoutProvider(t)
	now := time.Now().Unix()
	id := p.Sign(map[string]any{"iss": p.Issuer(), "sub": "alice", "aud": p.ClientID(), "iat": now, "exp": now + 60, "jti": "x"})
	if _, err := c.VerifyLogoutToken(t.Context(), id); err == nil || !strings.Contains(err.Error(), "events") {
		t.Errorf("an ID token: %v", err)
	}
}

func TestLogoutTokensWithoutEndAreTakenForTwoMinutesWhereThatIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, strict := logoutProvider(t)
		lenient, err := rp.New(rp.Config{Issuer: p.Issuer(), ClientID: p.ClientID(), HTTPClient: p.Client(), Quirks: rp.Quirks{LogoutTokensWithoutExp: true}})
		if err != nil {
			t.Fatal(err)
		}
		raw := p.Sign(logoutClaims(p, "exp", nil))
		if _, err := strict.VerifyLogoutToken(t.Context(), raw); err == nil {
			t.Error("a strict client takes it")
		}
		time.Sleep(3*time.Minute - time.Second) // the leeway is a minute
		if _, err := lenient.VerifyLogoutToken(t.Context(), raw); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if _, err := lenient.VerifyLogoutToken(t.Context(), raw); err == nil {
			t.Error("it is taken after its time")
		}
	})
}
