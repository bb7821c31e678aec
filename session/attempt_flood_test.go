package session_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/rp"
)

func TestAFloodOfAttemptCookiesIsNotAnsweredInKind(t *testing.T) {
	s := newSite(t, setup{})
	for _, c := range []struct{ sent, most int }{{20, 21}, {30_000, 33}} {
		var flood strings.Builder
		for i := range c.sent {
			fmt.Fprintf(&flood, "__Host-Http-latchkey-login-%d=; ", i)
		}
		r := httptest.NewRequest("GET", shop+"/", nil)
		r.Header.Set("Cookie", flood.String())
		w := httptest.NewRecorder()
		if _, err := s.Begin(w, r, "/", rp.AuthParams{}); err != nil {
			t.Fatal(err)
		}
		if got := len(w.Header()["Set-Cookie"]); got > c.most || got < min(c.sent, 20) {
			t.Errorf("%d cookies are answered with %d, want at most %d", c.sent, got, c.most)
		}
	}
}
