package rp_test

// The OpenID Foundation's client test modules of the FAPI-CIBA plan (alpha), as far as they reach this package, each under its own name. Its signed requests and its client
// authentication by private key or certificate are other things, and not shown here.

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

// cibaModes runs a module by poll and by ping. approved is a login whose user has said yes.
func cibaModes(t *testing.T, run func(t *testing.T, s *shop, approved func() *rp.BackchannelLogin)) {
	for _, mode := range []rp.Delivery{rp.Poll, rp.Ping} {
		t.Run(string(mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShop(t, mode)
				run(t, s, func() *rp.BackchannelLogin {
					l := s.begin(t, rp.BackchannelRequest{Delivery: mode})
					if err := s.ApproveBackchannel(t.Context(), "alice"); err != nil {
						t.Fatal(err)
					}
					return l
				})
			})
		})
	}
}

func cibaModule(t *testing.T, check string, fault rptest.TokenFault) {
	t.Helper()
	cibaModes(t, func(t *testing.T, s *shop, approved func() *rp.BackchannelLogin) {
		s.TokenFault(fault)
		tokens, err := s.client.FinishBackchannel(t.Context(), approved())
		if e, ok := errors.AsType[*rp.TokenError](err); !ok || e.Check != check || tokens != nil {
			t.Errorf("error is %v, want a failed %s", err, check)
		}
		if s.Hits(rptest.UserInfo) != 0 || s.Hits(rptest.Token) != 1 {
			t.Error("it went on")
		}
	})
}

func TestFAPICIBAInvalidIss(t *testing.T)        { cibaModule(t, "iss", rptest.WrongIssuer) }
func TestFAPICIBAInvalidMissingIss(t *testing.T) { cibaModule(t, "iss", rptest.WithoutClaim("iss")) }
func TestFAPICIBAInvalidAud(t *testing.T)        { cibaModule(t, "aud", rptest.WrongAudience) }
func TestFAPICIBAInvalidMissingAud(t *testing.T) { cibaModule(t, "aud", rptest.WithoutClaim("aud")) }
func TestFAPICIBAInvalidSecondaryAud(t *testing.T) {
	cibaModule(t, "aud", rptest.ExtraAudience)
}
func TestFAPICIBAInvalidSignature(t *testing.T) { cibaModule(t, "signature", rptest.BadSignature) }
func TestFAPICIBAInvalidNullAlg(t *testing.T)   { cibaModule(t, "alg", rptest.AlgNone) }
func TestFAPICIBAInvalidAlternateAlg(t *testing.T) {
	cibaModule(t, "alg", rptest.AlgOther)
}
func TestFAPICIBAInvalidExpiredExp(t *testing.T)      { cibaModule(t, "exp", rptest.Expired) }
func TestFAPICIBAInvalidMissingExp(t *testing.T)      { cibaModule(t, "exp", rptest.NoExp) }
func TestFAPICIBAInvalidIatIsWeekInPast(t *testing.T) { cibaModule(t, "iat", rptest.OldIAT) }

func TestFAPICIBAClientTest(t *testing.T) {
	cibaModes(t, func(t *testing.T, s *shop, approved func() *rp.BackchannelLogin) {
		l := approved()
		if l.Delivery == rp.Poll {
			s.FaultTimes(rptest.Token, rptest.Status(400, `{"error":"authorization_pending"}`), 2)
		}
		tokens, err := s.client.FinishBackchannel(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.client.UserInfo(t.Context(), tokens.OAuth2.AccessToken, tokens.IDToken.Subject); err != nil {
			t.Errorf("the accounts: %v", err)
		}
	})
}

func TestFAPICIBAPingBeforeTheTokensAreReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, rp.Ping)
		l := s.begin(t, rp.BackchannelRequest{Delivery: rp.Ping})
		s.ApproveBackchannel(t.Context(), "alice")
		s.FaultTimes(rptest.Token, rptest.Status(400, `{"error":"authorization_pending"}`), 1)
		start := time.Now()
		if _, err := s.client.FinishBackchannel(t.Context(), l); err != nil {
			t.Error(err)
		}
		if got := fmt.Sprint(s.waits(start)); got != "[0s 5s]" {
			t.Errorf("asked after %s", got)
		}
	})
}

func TestFAPICIBAValidAudAsArray(t *testing.T) {
	cibaModes(t, func(t *testing.T, s *shop, approved func() *rp.BackchannelLogin) {
		s.TokenFault(rptest.WithClaim("aud", []string{s.ClientID()}))
		if _, err := s.client.FinishBackchannel(t.Context(), approved()); err != nil {
			t.Error(err)
		}
	})
}

func TestFAPICIBANoScopeInTokenEndpointResponse(t *testing.T) {
	cibaModes(t, func(t *testing.T, s *shop, approved func() *rp.BackchannelLogin) {
		s.Fault(rptest.Token, rptest.WithoutMember("scope"))
		if tokens, err := s.client.FinishBackchannel(t.Context(), approved()); err != nil || tokens.Scope[0] != "openid" {
			t.Errorf("%v, %v", tokens, err)
		}
	})
}

// invalid-request-test, invalid-access-denied-test and invalid-expired-token-test: that error at the third poll, and no poll after it.
func TestFAPICIBAAnErrorAtTheThirdPollIsTheLast(t *testing.T) {
	for code, want := range map[string]error{"invalid_request": nil, "access_denied": rp.ErrDenied, "expired_token": rp.ErrExpired} {
		synctest.Test(t, func(t *testing.T) {
			s := newShop(t, rp.Poll)
			l := s.begin(t, rp.BackchannelRequest{})
			s.FaultTimes(rptest.Token, rptest.Status(400, `{"error":"authorization_pending"}`), 2)
			s.Fault(rptest.Token, rptest.Status(400, `{"error":"`+code+`"}`))
			_, err := s.client.FinishBackchannel(t.Context(), l)
			e, ok := errors.AsType[*rp.ProviderError](err)
			if !ok || e.Code != code || want != nil && !errors.Is(err, want) || s.Hits(rptest.Token) != 3 {
				t.Errorf("%s: %v after %d polls", code, err, s.Hits(rptest.Token))
			}
		})
	}
}
