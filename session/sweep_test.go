package session_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

func TestEndedSessionsAreSweptWhileOthersAreMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := session.NewMemoryBackend(0)
		s := newSite(t, setup{session: session.Config{Store: serverStore(t, backend), Lifetime: time.Hour}, provider: rptest.Options{AccessTokenLifetime: time.Hour}})
		for range 700 { // more than one batch
			s.visitor().login()
		}
		if n := backend.Len(); n != 700 {
			t.Fatalf("%d items of 700 sessions", n)
		}
		time.Sleep(2 * time.Hour)
		s.visitor().login()
		synctest.Wait()
		if n := backend.Len(); n != 1 {
			t.Errorf("%d items are left, want the new one", n)
		}
	})
}
