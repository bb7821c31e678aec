package session_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

func TestRevokingAUserEndsTheirSessionsAndNobodyElses(t *testing.T) {
	for name, config := range allStores(t) {
		s := newSite(t, setup{session: config()})
		one, two, other := s.visitor(), s.visitor(), s.visitor()
		s.provider.SignInAs("bob")
		other.login()
		s.provider.SignInAs("alice")
		one.login()
		two.login()
		if err := s.RevokeAll(httptest.NewRequest(http.MethodGet, shop, nil)); !errors.Is(err, session.ErrNone) {
			t.Errorf("%s: for nobody: %v", name, err)
		}
		two.mustLoad()
		s.provider.Fault(rptest.Token, rptest.Down)
		if err := s.RevokeAll(one.get(shop)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, v := range []*visitor{one, two} {
			if _, err := v.load(); !errors.Is(err, session.ErrRevoked) {
				t.Errorf("%s: %v", name, err)
			}
		}
		other.mustLoad()
	}
}

func TestARefreshUnderWaySavesNoSessionFromTheRevocationOfItsUser(t *testing.T) {
	for name, config := range allStores(t) {
		s := newSite(t, setup{session: config()})
		v := s.visitor()
		v.login()
		entered, release, done := make(chan struct{}), make(chan struct{}), make(chan error)
		s.provider.FaultTimes(rptest.Token, func(honest http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(entered)
				<-release
				honest.ServeHTTP(w, r)
			})
		}, 1)
		r, w := v.get(shop), httptest.NewRecorder()
		go func() { _, err := s.Refresh(w, r); done <- err }()
		<-entered
		if err := s.RevokeAll(v.get(shop)); err != nil {
			t.Fatal(err)
		}
		close(release)
		if err := <-done; !errors.Is(err, session.ErrRevoked) {
			t.Errorf("%s: the refresh: %v", name, err)
		}
		v.take(w)
		if _, err := v.load(); !errors.Is(err, session.ErrNone) {
			t.Errorf("%s: afterwards: %v", name, err)
		}
	}
}
