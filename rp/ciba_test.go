package rp_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

const notified = "https://shop.example/notified"

// shop is a station registered for delivery, whose notifications are kept.
type shop struct {
	*station
	bearer string
	body   []byte
	count  int
}

func newShop(t *testing.T, delivery rp.Delivery, change ...func(*rp.Config)) *shop {
	t.Helper()
	s := &shop{station: newStation(t, rptest.Options{
		Clients: []rptest.Client{{ID: "shop", Secret: "secret", TokenDelivery: string(delivery), NotificationURI: notified}},
		Users:   []rptest.User{{Name: "alice", ACR: "low"}, {Name: "bob", UserCode: "1234"}},
	}, change...)}
	s.HandleHost("shop.example", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.bearer = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		s.body, _ = io.ReadAll(r.Body)
		s.count++
		w.WriteHeader(http.StatusNoContent)
	}))
	return s
}

func (s *shop) begin(t *testing.T, req rp.BackchannelRequest) *rp.BackchannelLogin {
	t.Helper()
	if req.LoginHint == "" && req.IDTokenHint == "" && req.LoginHintToken == "" {
		req.LoginHint = "alice"
	}
	l, err := s.client.Backchannel(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// pushed is a login whose tokens have been pushed.
func (s *shop) pushed(t *testing.T) *rp.BackchannelLogin {
	t.Helper()
	l := s.begin(t, rp.BackchannelRequest{Delivery: rp.Push})
	if err := s.ApproveBackchannel(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if !l.CheckNotificationToken(s.bearer) {
		t.Fatal("the notification has another bearer token")
	}
	return l
}

func TestABackchannelLoginIsPolledForUntilTheUserHasAllowedIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, rp.Poll)
		l := s.begin(t, rp.BackchannelRequest{BindingMessage: "W4SCT"})
		if l.Interval != 5*time.Second || time.Until(l.Expires) != 5*time.Minute || l.NotificationToken != "" || l.CheckNotificationToken("") {
			t.Fatalf("%+v, %s, %q", l, l.Interval, l.NotificationToken)
		}
		if got := fmt.Sprint(s.BindingMessages("alice")); got != "[W4SCT]" {
			t.Errorf("the telephone shows %s", got)
		}
		start := time.Now()
		later(12*time.Second, func() {
			if err := s.ApproveBackchannel(context.Background(), "alice"); err != nil {
				t.Error(err)
			}
		})
		tokens, err := s.client.FinishBackchannel(t.Context(), remarshal(t, l))
		if err != nil || tokens.IDToken.Subject != "alice" || tokens.Scope[0] != "openid" {
			t.Fatalf("%v, %v", tokens, err)
		}
		if got := fmt.Sprint(s.waits(start)); got != "[5s 5s 5s]" || s.count != 0 {
			t.Errorf("polled after %s, %d notifications", got, s.count)
		}
	})
}

func TestABackchannelLoginEndsWithNoOrWithItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, rp.Poll)
		l := s.begin(t, rp.BackchannelRequest{Expiry: 30 * time.Second})
		if time.Until(l.Expires) != 30*time.Second {
			t.Errorf("ends in %s", time.Until(l.Expires))
		}
		s.DenyBackchannel(t.Context(), "alice")
		if _, err := s.client.FinishBackchannel(t.Context(), l); !errors.Is(err, rp.ErrDenied) || s.Hits(rptest.Token) != 1 {
			t.Errorf("refused: %v after %d polls", err, s.Hits(rptest.Token))
		}
		l = s.begin(t, rp.BackchannelRequest{Expiry: 12 * time.Second})
		if _, err := s.client.FinishBackchannel(t.Context(), l); !errors.Is(err, rp.ErrExpired) || s.Hits(rptest.Token) != 3 {
			t.Errorf("unanswered: %v after %d polls", err, s.Hits(rptest.Token))
		}
	})
}

// fapi-ciba-id1-client-respects-interval-test and -slow-down-test.
func TestABackchannelLoginKeepsToTheProvidersPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, rp.Poll)
		l := s.begin(t, rp.BackchannelRequest{})
		l.Interval = 31 * time.Second
		s.FaultTimes(rptest.Token, rptest.Status(400, `{"error":"authorization_pending"}`), 1)
		s.FaultTimes(rptest.Token, rptest.Status(400, `{"error":"slow_down"}`), 1)
		start := time.Now()
		s.ApproveBackchannel(t.Context(), "alice")
		if _, err := s.client.FinishBackchannel(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(s.waits(start)); got != "[31s 31s 36s]" {
			t.Errorf("polled after %s", got)
		}
	})
}

func TestAnAnswerThatTheProviderHoldsBackIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, rp.Poll)
		l := s.begin(t, rp.BackchannelRequest{})
		s.ApproveBackchannel(t.Context(), "alice")
		s.FaultTimes(rptest.Token, rptest.Late(30*time.Second), 1)
		if tokens, err := s.client.FinishBackchannel(t.Context(), l); err != nil || tokens.IDToken.Subject != "alice" {
			t.Error(err)
		}
		// Who sets Config.Timeout means it.
		s = newShop(t, rp.Poll, func(c *rp.Config) { c.Timeout = 2 * time.Second })
		l = s.begin(t, rp.BackchannelRequest{})
		s.FaultTimes(rptest.Token, rptest.Hang, 1)
		start := time.Now()
		s.ApproveBackchannel(t.Context(), "alice")
		if _, err := s.client.FinishBackchannel(t.Context(), l); err != nil {
			t.Error(err)
		}
		if got := fmt.Sprint(s.waits(start)); got != "[5s 12s]" {
			t.Errorf("polled after %s", got)
		}
	})
}

func TestAPingIsFollowedByOneTokenRequestAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, rp.Ping)
		l := s.begin(t, rp.BackchannelRequest{Delivery: rp.Ping})
		if len(l.NotificationToken) < 43 {
			t.Errorf("a notification token of %d characters", len(l.NotificationToken))
		}
		other := s.begin(t, rp.BackchannelRequest{Delivery: rp.Ping, LoginHint: "alice"})
		if other.NotificationToken == l.NotificationToken {
			t.Error("two logins have one notification token")
		}
		time.Sleep(40 * time.Second)
		if err := s.ApproveBackchannel(t.Context(), "alice"); err != nil || s.count != 2 {
			t.Fatal(err, s.count)
		}
		id, err := rp.ParseNotification(s.body)
		if err != nil {
			t.Fatal(err)
		}
		if id == other.AuthReqID {
			l, other = other, l
		}
		if id != l.AuthReqID || !l.CheckNotificationToken(s.bearer) || other.CheckNotificationToken(s.bearer) || l.CheckNotificationToken(s.bearer+"x") || l.CheckNotificationToken("") {
			t.Error("the notification is of the wrong login")
		}
		start := time.Now()
		tokens, err := s.client.FinishBackchannel(t.Context(), l)
		if err != nil || tokens.IDToken.Subject != "alice" || time.Since(start) != 0 || s.Hits(rptest.Token) != 1 {
			t.Errorf("%v after %s and %d requests", err, time.Since(start), s.Hits(rptest.Token))
		}
	})
}

func TestPushedTokensAreTakenWhenTheirIDTokenBindsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, rp.Push)
		l := s.pushed(t)
		tokens, err := s.client.FinishPush(t.Context(), remarshal(t, l), s.body)
		if err != nil {
			t.Fatal(err)
		}
		if tokens.IDToken.Subject != "alice" || tokens.OAuth2.AccessToken == "" || tokens.OAuth2.RefreshToken == "" || tokens.OAuth2.Type() != "Bearer" ||
			time.Until(tokens.OAuth2.Expiry) != 5*time.Minute || strings.Join(tokens.Scope, " ") != "openid profile email" {
			t.Errorf("%v", tokens)
		}
		if s.Hits(rptest.Token) != 0 {
			t.Error("the token endpoint was asked")
		}
		if _, err := s.client.Refresh(t.Context(), tokens.OAuth2.RefreshToken, tokens.IDToken); err != nil {
			t.Errorf("the refresh: %v", err)
		}
	})
}

// Each token of a push is bound to the login by the ID token: what is missing or another is refused, for that reason.
func TestPushedTokensThatAreNotBoundAreRefused(t *testing.T) {
	const request, rtHash = "urn:openid:params:jwt:claim:auth_req_id", "urn:openid:params:jwt:claim:rt_hash"
	without := func(name string) rptest.TokenFault { return func(j *rptest.JWT) { delete(j.Claims, name) } }
	with := func(name string, v any) rptest.TokenFault { return func(j *rptest.JWT) { j.Claims[name] = v } }
	member := func(name string, v any) func(map[string]any) {
		return func(m map[string]any) {
			if m[name] = v; v == nil {
				delete(m, name)
			}
		}
	}
	for _, x := range []struct {
		name  string
		fault rptest.TokenFault
		body  func(map[string]any)
		check string // of the ID token; empty: accepted
	}{
		{name: "as it should be"},
		{name: "no request id", fault: without(request), check: request},
		{name: "request id null", fault: with(request, nil), check: request},
		{name: "another's request id", fault: with(request, "another"), check: request},
		{name: "request id a number", fault: with(request, 1), check: request},
		{name: "no at_hash", fault: without("at_hash"), check: "at_hash"},
		{name: "another access token", body: member("access_token", "stolen"), check: "at_hash"},
		{name: "no rt_hash", fault: without(rtHash), check: rtHash},
		{name: "another refresh token", body: member("refresh_token", "stolen"), check: rtHash},
		{name: "no rt_hash and no refresh token", fault: without(rtHash), body: member("refresh_token", nil)},
		{name: "no ID token", body: member("id_token", nil), check: "missing"},
		{name: "another issuer", fault: with("iss", "https://other.example"), check: "iss"},
		{name: "another client", fault: with("aud", "other"), check: "aud"},
		{name: "unsigned", fault: rptest.AlgNone, check: "alg"},
		{name: "over", fault: with("exp", 1), check: "exp"},
		{name: "a scope less", body: member("scope", "openid")},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := newShop(t, rp.Push)
			if x.fault != nil {
				s.TokenFault(x.fault)
			}
			l := s.pushed(t)
			var m map[string]any
			if err := json.Unmarshal(s.body, &m); err != nil {
				t.Fatal(err)
			}
			if x.body != nil {
				x.body(m)
			}
			body, _ := json.Marshal(m)
			tokens, err := s.client.FinishPush(t.Context(), l, body)
			if x.check == "" {
				if err != nil || tokens.IDToken.Subject != "alice" {
					t.Error(err)
				}
				return
			}
			if e, ok := errors.AsType[*rp.TokenError](err); !ok || e.Check != x.check || tokens != nil {
				t.Errorf("error is %v, want a failed %s", err, x.check)
			}
		})
	}
}

// "expiry" is no member of a token answer: x/oauth2's own form of a token has one, which nobody but its storage may write.
func TestPushedTokensEndWhenExpiresInSays(t *testing.T) {
	for name, body := range map[string]func(map[string]any){
		"a far expiry":         func(m map[string]any) { m["expiry"] = "2999-01-01T00:00:00Z" },
		"one in other letters": func(m map[string]any) { m["Expiry"] = "2999-01-01T00:00:00Z" },
		"one that is no time":  func(m map[string]any) { m["expiry"] = 7 },
	} {
		s := newShop(t, rp.Push)
		l := s.pushed(t)
		var m map[string]any
		if err := json.Unmarshal(s.body, &m); err != nil {
			t.Fatal(err)
		}
		for _, lasts := range []bool{true, false} {
			if body(m); !lasts {
				delete(m, "expires_in")
			}
			raw, _ := json.Marshal(m)
			tokens, err := s.client.FinishPush(t.Context(), l, raw)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if end := tokens.OAuth2.Expiry; end.IsZero() == lasts || time.Until(end) > 25*time.Hour {
				t.Errorf("%s, expires_in %t: ends %s", name, lasts, end)
			}
		}
	}
}

func TestANotificationThatIsNoneOfThisLoginsIsRefused(t *testing.T) {
	s := newShop(t, rp.Push)
	l := s.pushed(t)
	other := *l
	other.AuthReqID = "another"
	if _, err := s.client.FinishPush(t.Context(), &other, s.body); !errors.Is(err, rp.ErrMismatch) {
		t.Errorf("another login's: %v", err)
	}
	for _, body := range []string{"", "{}", "null", "[]", `{"auth_req_id":""}`, `{"auth_req_id":7}`, `{"auth_req_id":"a","auth_req_id":"b"}`, `{"auth_req_id":"a"`, `{"Auth_Req_Id":"a"}`, strings.Repeat("[", 10000)} {
		if id, err := rp.ParseNotification([]byte(body)); err == nil {
			t.Errorf("%.40s: parsed as %q", body, id)
		}
		if _, err := s.client.FinishPush(t.Context(), l, []byte(body)); err == nil {
			t.Errorf("%.40s: accepted", body)
		}
	}
	// A ping where tokens are due.
	ping := fmt.Sprintf(`{"auth_req_id":%q}`, l.AuthReqID)
	_, err := s.client.FinishPush(t.Context(), l, []byte(ping))
	if e, ok := errors.AsType[*rp.ProviderError](err); !ok || e.Endpoint != "notification" || !strings.Contains(err.Error(), "access_token") {
		t.Errorf("no tokens: %v", err)
	}
	if _, err := s.client.FinishPush(t.Context(), l, s.body); err != nil {
		t.Errorf("the one it should take: %v", err)
	}
}

func TestAPushedErrorEndsTheLogin(t *testing.T) {
	s := newShop(t, rp.Push)
	l := s.begin(t, rp.BackchannelRequest{Delivery: rp.Push})
	s.DenyBackchannel(t.Context(), "alice")
	if _, err := s.client.FinishPush(t.Context(), l, s.body); !errors.Is(err, rp.ErrDenied) {
		t.Errorf("denied: %v", err)
	}
	for code, want := range map[string]error{"expired_token": rp.ErrExpired, "transaction_failed": nil} {
		body := fmt.Sprintf(`{"auth_req_id":%q,"error":%q,"error_description":%q}`, l.AuthReqID, code, "no "+l.AuthReqID+" by "+l.NotificationToken)
		_, err := s.client.FinishPush(t.Context(), l, []byte(body))
		e, ok := errors.AsType[*rp.ProviderError](err)
		if !ok || e.Code != code || e.Endpoint != "notification" || want != nil && !errors.Is(err, want) || errors.Is(err, rp.ErrDenied) {
			t.Errorf("%s: %v", code, err)
		}
		if strings.Contains(printed(err), l.AuthReqID) || strings.Contains(printed(err), l.NotificationToken) {
			t.Errorf("%s: tells a secret: %v", code, err)
		}
	}
}

func TestAPushAfterTheLoginsEndIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, rp.Push)
		l := s.pushed(t)
		l.Expires = time.Now().Add(-30 * time.Second)
		if _, err := s.client.FinishPush(t.Context(), l, s.body); err != nil {
			t.Errorf("within the leeway: %v", err)
		}
		l.Expires = time.Now().Add(-61 * time.Second)
		if _, err := s.client.FinishPush(t.Context(), l, s.body); !errors.Is(err, rp.ErrExpired) {
			t.Errorf("after it: %v", err)
		}
	})
}

func TestAPushWhoseKeysAreOutOfReachMayBeTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, rp.Push)
		l := s.pushed(t)
		s.FaultTimes(rptest.JWKS, rptest.Down, 1)
		if _, err := s.client.FinishPush(t.Context(), l, s.body); !errors.Is(err, rp.ErrUnavailable) {
			t.Fatalf("error is %v", err)
		}
		time.Sleep(time.Minute)
		if _, err := s.client.FinishPush(t.Context(), l, s.body); err != nil {
			t.Error(err)
		}
	})
}

func TestEachDeliveryHasItsOwnFinish(t *testing.T) {
	s := newShop(t, rp.Push)
	l := s.pushed(t)
	if _, err := s.client.FinishBackchannel(t.Context(), l); !errors.Is(err, rp.ErrMismatch) || s.Hits(rptest.Token) != 0 {
		t.Errorf("polling for pushed tokens: %v", err)
	}
	poll := *l
	poll.Delivery = rp.Poll
	if _, err := s.client.FinishPush(t.Context(), &poll, s.body); !errors.Is(err, rp.ErrMismatch) {
		t.Errorf("pushed to a login that polls: %v", err)
	}
	for name, bend := range map[string]func(*rp.BackchannelLogin){
		"issuer": func(l *rp.BackchannelLogin) { l.Issuer += "/" },
		"client": func(l *rp.BackchannelLogin) { l.ClientID = "other" },
		"empty":  func(l *rp.BackchannelLogin) { *l = rp.BackchannelLogin{} },
	} {
		bent := *l
		bend(&bent)
		if _, err := s.client.FinishPush(t.Context(), &bent, s.body); !errors.Is(err, rp.ErrMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheHintedUserAloneMayLogIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, rp.Poll)
		l := s.begin(t, rp.BackchannelRequest{})
		s.ApproveBackchannel(t.Context(), "alice")
		first, err := s.client.FinishBackchannel(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		l = s.begin(t, rp.BackchannelRequest{IDTokenHint: first.RawIDToken})
		s.ApproveBackchannel(t.Context(), "alice")
		if _, err := s.client.FinishBackchannel(t.Context(), l); err != nil {
			t.Errorf("the same user: %v", err)
		}
		l = s.begin(t, rp.BackchannelRequest{IDTokenHint: first.RawIDToken})
		s.ApproveBackchannel(t.Context(), "alice")
		s.TokenFaultTimes(1, func(j *rptest.JWT) { j.Claims["sub"] = "bob" })
		_, err = s.client.FinishBackchannel(t.Context(), l)
		if e, ok := errors.AsType[*rp.TokenError](err); !ok || e.Check != "sub" {
			t.Errorf("another user: %v", err)
		}
		if _, err := s.client.Backchannel(t.Context(), rp.BackchannelRequest{IDTokenHint: "x"}); err == nil {
			t.Error("a hint that is no ID token was sent")
		}
	})
}

func TestTheACRThatWasAskedForIsDemanded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, x := range []struct {
			req rp.BackchannelRequest
			acr string // that the provider says
			ok  bool
		}{
			{rp.BackchannelRequest{ACRValues: []string{"high"}}, "high", true},
			{rp.BackchannelRequest{ACRValues: []string{"high"}}, "low", false},
			{rp.BackchannelRequest{ACRValues: []string{"high"}}, "", false},
			{rp.BackchannelRequest{ACRValues: []string{"high"}, ACRVoluntary: true}, "low", true},
			{rp.BackchannelRequest{}, "low", true},
		} {
			s := newShop(t, rp.Poll)
			l := s.begin(t, x.req)
			s.ApproveBackchannel(t.Context(), "alice")
			s.TokenFault(func(j *rptest.JWT) { j.Claims["acr"] = x.acr })
			_, err := s.client.FinishBackchannel(t.Context(), l)
			if e, isToken := errors.AsType[*rp.TokenError](err); (err == nil) != x.ok || err != nil && (!isToken || e.Check != "acr") {
				t.Errorf("%v with %q: %v", x.req, x.acr, err)
			}
		}
	})
}

func TestAPolledIDTokenThatNamesAnotherRequestIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const request = "urn:openid:params:jwt:claim:auth_req_id"
		s := newShop(t, rp.Poll)
		for _, right := range []bool{true, false} {
			l := s.begin(t, rp.BackchannelRequest{})
			s.ApproveBackchannel(t.Context(), "alice")
			s.TokenFaultTimes(1, func(j *rptest.JWT) {
				if j.Claims[request] = "another"; right {
					j.Claims[request] = l.AuthReqID
				}
			})
			_, err := s.client.FinishBackchannel(t.Context(), l)
			if e, ok := errors.AsType[*rp.TokenError](err); right != (err == nil) || !right && (!ok || e.Check != request) {
				t.Errorf("right %t: %v", right, err)
			}
		}
	})
}

func TestAPolledIDTokenOfAnotherRefreshTokenIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rtHash = "urn:openid:params:jwt:claim:rt_hash"
		s := newShop(t, rp.Poll)
		for _, right := range []bool{true, false} {
			l := s.begin(t, rp.BackchannelRequest{})
			s.ApproveBackchannel(t.Context(), "alice")
			s.FaultTimes(rptest.Token, rptest.ModifyJSON(func(m map[string]any) { m["refresh_token"] = "r" }), 1)
			sum := sha256.Sum256([]byte("r"))
			s.TokenFaultTimes(1, func(j *rptest.JWT) {
				if j.Claims[rtHash] = "another"; right {
					j.Claims[rtHash] = base64.RawURLEncoding.EncodeToString(sum[:16])
				}
			})
			_, err := s.client.FinishBackchannel(t.Context(), l)
			if e, ok := errors.AsType[*rp.TokenError](err); right != (err == nil) || !right && (!ok || e.Check != rtHash) {
				t.Errorf("right %t: %v", right, err)
			}
		}
	})
}

func TestABackchannelRequestIsCheckedBeforeItIsSent(t *testing.T) {
	s := newShop(t, rp.Poll)
	for _, x := range []struct {
		req    rp.BackchannelRequest
		reason string
	}{
		{rp.BackchannelRequest{}, "exactly one"},
		{rp.BackchannelRequest{LoginHint: "a", LoginHintToken: "b"}, "exactly one"},
		{rp.BackchannelRequest{LoginHint: "a", IDTokenHint: "b"}, "exactly one"},
		{rp.BackchannelRequest{LoginHint: "a", Expiry: -time.Second}, "Expiry"},
		{rp.BackchannelRequest{LoginHint: "a", Expiry: time.Millisecond}, "Expiry"},
		{rp.BackchannelRequest{LoginHint: "a", Scopes: []string{"a b"}}, "scope"},
		{rp.BackchannelRequest{LoginHint: "a", ACRValues: []string{"a b"}}, "acr_values"},
		{rp.BackchannelRequest{LoginHint: "a", Delivery: "pigeon"}, "pigeon"},
		{rp.BackchannelRequest{LoginHint: "a", Extra: url.Values{"client_notification_token": {"x"}}}, "Extra"},
		{rp.BackchannelRequest{LoginHint: "a", Extra: url.Values{"request": {"x"}}}, "Extra"},
		{rp.BackchannelRequest{LoginHint: "a", Extra: url.Values{"client_secret": {"x"}}}, "Extra"},
		{rp.BackchannelRequest{LoginHint: "a", Extra: url.Values{"login_hint_token": {"x"}}}, "Extra"},
	} {
		if _, err := s.client.Backchannel(t.Context(), x.req); err == nil || !strings.Contains(err.Error(), x.reason) {
			t.Errorf("%v: %v, want %q", x.req, err, x.reason)
		}
	}
	if s.Hits(rptest.BackchannelAuthentication) != 0 {
		t.Error("something was sent")
	}
}

func TestABackchannelRequestIsSentAsAsked(t *testing.T) {
	s := newShop(t, rp.Ping)
	var form url.Values
	s.Fault(rptest.BackchannelAuthentication, func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.ParseForm()
			form = r.PostForm
			honest.ServeHTTP(w, r)
		})
	})
	l := s.begin(t, rp.BackchannelRequest{
		LoginHint: "bob", BindingMessage: "A1", UserCode: "1234", Expiry: 90 * time.Second, ACRValues: []string{"x", "y"}, Scopes: []string{"pay", "email"},
		Resources: []string{"https://a.example"}, Extra: url.Values{"tenant": {"7"}}, Delivery: rp.Ping,
	})
	if got := form.Get("client_notification_token"); got != l.NotificationToken || len(got) < 43 {
		t.Errorf("the notification token is %q", got)
	}
	form.Del("client_notification_token")
	if got := form.Encode(); got != "acr_values=x+y&binding_message=A1&login_hint=bob&requested_expiry=90&resource=https%3A%2F%2Fa.example&scope=openid+profile+email+pay&tenant=7&user_code=1234" {
		t.Errorf("sent %s", got)
	}
}

func TestABackchannelRequestsRefusalIsToldAsItIs(t *testing.T) {
	s := newShop(t, rp.Poll)
	for _, x := range []struct {
		req  rp.BackchannelRequest
		code string
	}{
		{rp.BackchannelRequest{LoginHint: "nobody"}, "unknown_user_id"},
		{rp.BackchannelRequest{LoginHint: "bob"}, "missing_user_code"},
		{rp.BackchannelRequest{LoginHint: "bob", UserCode: "4321"}, "invalid_user_code"},
		{rp.BackchannelRequest{LoginHint: "alice", BindingMessage: strings.Repeat("x", 65)}, "invalid_binding_message"},
		{rp.BackchannelRequest{LoginHintToken: s.Sign(map[string]any{"iss": s.Issuer(), "sub": "alice", "exp": 1})}, "expired_login_hint_token"},
	} {
		_, err := s.client.Backchannel(t.Context(), x.req)
		if e, ok := errors.AsType[*rp.ProviderError](err); !ok || e.Code != x.code || e.Endpoint != "backchannel authentication" {
			t.Errorf("%s: %v", x.code, err)
		}
	}
	if _, err := s.client.Backchannel(t.Context(), rp.BackchannelRequest{LoginHintToken: s.Sign(map[string]any{"iss": s.Issuer(), "sub": "alice"})}); err != nil {
		t.Errorf("a good login_hint_token: %v", err)
	}
	s.Fault(rptest.BackchannelAuthentication, rptest.Status(403, `{"error":"access_denied"}`))
	if _, err := s.client.Backchannel(t.Context(), rp.BackchannelRequest{LoginHint: "alice"}); !errors.Is(err, rp.ErrDenied) {
		t.Errorf("refused at once: %v", err)
	}
	for name, body := range map[string]string{
		"auth_req_id": `{"expires_in":120}`, "expires_in": `{"auth_req_id":"a"}`, "expires_in ": `{"auth_req_id":"a","expires_in":0}`, "JSON": `<p>`,
	} {
		s.Fault(rptest.BackchannelAuthentication, rptest.Status(200, body))
		_, err := s.client.Backchannel(t.Context(), rp.BackchannelRequest{LoginHint: "alice"})
		if e, ok := errors.AsType[*rp.ProviderError](err); !ok || e.Status != 200 || !strings.Contains(err.Error(), strings.TrimSpace(name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.Fault(rptest.BackchannelAuthentication, rptest.Status(200, `{"auth_req_id":"a","expires_in":120}`))
	if l, err := s.client.Backchannel(t.Context(), rp.BackchannelRequest{LoginHint: "alice"}); err != nil || l.Interval != 5*time.Second {
		t.Errorf("no interval: %v", err)
	}
}

func TestAProviderWithoutBackchannelLoginsOrDeliveryIsToldApart(t *testing.T) {
	p := newOP()
	if _, err := p.client(t).Backchannel(t.Context(), rp.BackchannelRequest{LoginHint: "a"}); !errors.Is(err, rp.ErrNoEndpoint) {
		t.Errorf("no endpoint: %v", err)
	}
	p.metadata["backchannel_authentication_endpoint"] = "https://op.example/bc"
	p.metadata["backchannel_token_delivery_modes_supported"] = []string{"poll", "ping"}
	_, err := p.client(t).Backchannel(t.Context(), rp.BackchannelRequest{LoginHint: "a", Delivery: rp.Push})
	if _, ok := errors.AsType[*rp.UnsupportedError](err); !ok {
		t.Errorf("no push: %v", err)
	}
}

func TestABackchannelLoginPrintsNoSecret(t *testing.T) {
	l := rp.BackchannelLogin{AuthReqID: marked, NotificationToken: marked, Subject: marked, Issuer: testIssuer, ClientID: testClient}
	r := rp.BackchannelRequest{LoginHint: marked, LoginHintToken: marked, IDTokenHint: marked, BindingMessage: marked, UserCode: marked, Scopes: []string{testClient}}
	for _, v := range []any{l, &l, r, &r} {
		if text := printed(v); strings.Contains(text, marked) || !strings.Contains(text, testClient) {
			t.Errorf("prints %s", text)
		}
	}
}

func FuzzFinishPush(f *testing.F) {
	f.Add([]byte(`{"auth_req_id":"a","access_token":"t","token_type":"Bearer","expires_in":3600,"refresh_token":"r","id_token":"e30.e30.e30"}`))
	f.Add([]byte(`{"auth_req_id":"a","error":"access_denied","error_description":"no"}`))
	f.Add([]byte(`{"auth_req_id":"a"}`))
	f.Add([]byte(`{"auth_req_id":"a","access_token":"t","token_type":"Bearer","expiry":7,"expires_in":"3600","scope":["openid"],"error":null}`))
	p := newOP()
	c := p.client(f)
	l := &rp.BackchannelLogin{AuthReqID: "a", NotificationToken: "n", Delivery: rp.Push, Expires: time.Now().Add(time.Hour), Issuer: testIssuer, ClientID: testClient}
	f.Fuzz(func(t *testing.T, body []byte) {
		if tokens, err := c.FinishPush(t.Context(), l, body); err == nil || tokens != nil {
			t.Errorf("%q was accepted", body)
		}
	})
}

func FuzzDeviceAnswer(f *testing.F) {
	f.Add([]byte(`{"device_code":"d","user_code":"WDJB-MJHT","verification_uri":"https://op.example/device","verification_uri_complete":"https://op.example/device?user_code=WDJB-MJHT","expires_in":900,"interval":5}`))
	f.Add([]byte(`{"device_code":"d","user_code":"\u001b[2J","verification_url":"https://op.example/#\u202e","expires_in":"900"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		p := newOP()
		p.metadata["device_authorization_endpoint"] = "https://op.example/device"
		p.other = func(*http.Request) *http.Response { return reply(200, "application/json", string(body)) }
		d, err := p.client(t).Device(t.Context(), rp.DeviceRequest{})
		if err != nil {
			return
		}
		for _, shown := range []string{d.UserCode, d.VerificationURI, d.VerificationURIComplete} {
			for _, r := range shown {
				if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u202e' {
					t.Errorf("%q goes to a terminal", shown)
				}
			}
		}
		if d.DeviceCode == "" || d.UserCode == "" || d.VerificationURI == "" || d.Interval < time.Second || d.Expires.Before(time.Now()) {
			t.Errorf("%q makes %q, %q, %s, %s", body, d.UserCode, d.VerificationURI, d.Interval, d.Expires)
		}
	})
}
