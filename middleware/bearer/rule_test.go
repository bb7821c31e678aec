package bearer_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/middleware/bearer"
)

func TestEachRuleHasATokenThatKeepsItAndOneThatDoesNot(t *testing.T) {
	f := setUp(t)
	roles := []string{"realm_access", "roles"}
	for _, c := range []struct {
		name      string
		rule      bearer.Rule
		good, bad []any // changes of the claims
		status    int
		challenge string
	}{
		{"all scopes", bearer.Scopes("a", "b"), []any{"scope", "b c a"}, []any{"scope", "a c"}, 403, `error="insufficient_scope", error_description="The token lacks a scope that this needs.", scope="a b"`},
		{"no scopes", bearer.Scopes("a"), []any{"scope", "a"}, []any{"scope", nil}, 403, `scope="a"`},
		{"a scope's name only", bearer.Scopes("a"), []any{"scope", "a"}, []any{"scope", "aa a2 A"}, 403, `scope="a"`},
		{"any scope", bearer.AnyScope("a", "b"), []any{"scope", "b"}, []any{"scope", "c"}, 403, `scope="a"`},
		{"role", bearer.Role(roles, "admin", "editor"), []any{"realm_access", map[string]any{"roles": []string{"x", "editor"}}}, []any{"realm_access", map[string]any{"roles": []string{"x"}}}, 403, `error="insufficient_scope"`},
		{"role in no list", bearer.Role(roles, "admin"), []any{"realm_access", map[string]any{"roles": "admin"}}, []any{"realm_access", "admin"}, 403, ""},
		{"role at the top", bearer.Role([]string{"https://shop.example/roles"}, "admin"), []any{"https://shop.example/roles", []string{"admin"}}, []any{"roles", []string{"admin"}}, 403, ""},
		{"audience", bearer.Audience("https://reports.example"), []any{"aud", []string{audience, "https://reports.example"}}, []any{"aud", []string{audience}}, 401, `error="invalid_token", error_description="The token is for another audience."`},
		{"acr", bearer.ACR("gold", "platinum"), []any{"acr", "platinum"}, []any{"acr", "silver"}, 401, `error="insufficient_user_authentication", error_description="Have the user authenticate as the challenge says, and send the new token.", acr_values="gold platinum"`},
		{"no acr", bearer.ACR("gold"), []any{"acr", "gold"}, nil, 401, `acr_values="gold"`},
		{"max_age", bearer.MaxAge(time.Hour), []any{"auth_time", time.Now().Unix() - 3590}, []any{"auth_time", time.Now().Unix() - 3610}, 401, `error="insufficient_user_authentication", error_description="Have the user authenticate as the challenge says, and send the new token.", max_age="3600"`},
		{"auth_time to come", bearer.MaxAge(time.Hour), []any{"auth_time", time.Now().Unix() + 50}, []any{"auth_time", time.Now().Unix() + 400}, 401, `max_age="3600"`},
		{"no auth_time", bearer.MaxAge(time.Hour), []any{"auth_time", time.Now().Unix()}, nil, 401, `max_age="3600"`},
		{"allow", bearer.Allow(func(t *bearer.Token) bool { return t.Subject == "alice" }), nil, []any{"sub", "bob"}, 403, `error="insufficient_scope"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := f.api.Require(reached, c.rule)
			if w := get(h, "Authorization", "Bearer "+f.token(c.good...)); w.Code != http.StatusOK {
				t.Errorf("the good token: %d %s", w.Code, w.Body)
			}
			w := get(h, "Authorization", "Bearer "+f.token(c.bad...))
			if w.Code != c.status || !strings.Contains(w.Header().Get("WWW-Authenticate"), c.challenge) {
				t.Errorf("the other: %d %s", w.Code, w.Header().Get("WWW-Authenticate"))
			}
		})
	}
}

func TestAllRulesMustBeKept(t *testing.T) {
	f := setUp(t)
	h := f.api.Require(reached, bearer.Scopes("orders:read"), bearer.ACR("gold"))
	for want, changes := range map[int][]any{200: {"acr", "gold"}, 403: {"acr", "gold", "scope", "x"}, 401: nil} {
		if w := get(h, "Authorization", "Bearer "+f.token(changes...)); w.Code != want {
			t.Errorf("%v: %d, want %d", changes, w.Code, want)
		}
	}
	if w := get(f.api.Require(reached), "Authorization", "Bearer "+f.token()); w.Code != 200 {
		t.Errorf("no rules: %d", w.Code)
	}
}

func TestEmptyRulesAllowNobody(t *testing.T) {
	f := setUp(t)
	for name, rule := range map[string]bearer.Rule{"the zero Rule": {}, "AnyScope of none": bearer.AnyScope(), "Role of none": bearer.Role([]string{"roles"}), "Audience of none": bearer.Audience(), "ACR of none": bearer.ACR()} {
		if w := get(f.api.Require(reached, rule), "Authorization", "Bearer "+f.token("acr", "", "roles", []string{""})); w.Code == 200 {
			t.Errorf("%s lets everybody through", name)
		}
	}
	if err := bearer.Authorize(nil); !errors.Is(err, bearer.ErrNoToken) {
		t.Errorf("no token: %v", err)
	}
	if err := bearer.Authorize(&bearer.Token{}); err != nil {
		t.Errorf("no rules: %v", err)
	}
}

func TestMaxAgeCountsWholeSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tok := &bearer.Token{AuthTime: time.Now()}
		time.Sleep(60*time.Second + 999*time.Millisecond)
		if err := bearer.Authorize(tok, bearer.MaxAge(time.Minute)); err != nil {
			t.Errorf("within the second: %v", err)
		}
		time.Sleep(time.Millisecond)
		err := bearer.Authorize(tok, bearer.MaxAge(time.Minute))
		if stepUp, ok := errors.AsType[*bearer.StepUpError](err); !ok || stepUp.MaxAge != time.Minute {
			t.Errorf("after it: %v", err)
		}
	})
}

func TestFailureKnowsEveryErrorAndNoErrorFails(t *testing.T) {
	f := setUp(t)
	if f.api.Failure(nil) != nil {
		t.Error("nil is a failure")
	}
	got := f.api.Failure(errors.New("a secret of ours"))
	if got.Status != 500 || got.Kind != "internal" || got.Challenge != "" || strings.Contains(got.Title+got.Detail, "secret") {
		t.Errorf("%+v", got)
	}
	if got := f.api.Failure(bearer.ErrBusy); got.Status != 503 || got.RetryAfter != time.Second || got.Challenge != "" {
		t.Errorf("%+v", got)
	}
	if got := f.api.Failure(bearer.ErrNoToken, bearer.AnyScope("a", "b"), bearer.Scopes("c")); got.Status != 401 || !strings.HasSuffix(got.Challenge, `scope="a c"`) {
		t.Errorf("%+v", got)
	}
}
