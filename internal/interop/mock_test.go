package interop_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/internal/interop/app"
	"github.com/latchkey-go/latchkey/internal/interop/mock"
	"github.com/latchkey-go/latchkey/internal/interop/visitor"
)

func mockSubject(p *mock.Provider) subject {
	return subject{
		issuer:   p.Issuer(),
		register: func(*testing.T, string, string, string, *app.App) {},
		signIn:   func(_ *testing.T, page *visitor.Page) *visitor.Page { return page },
		// It keeps no refresh tokens, so it takes any.
		reuse:      "",
		repeats:    true,
		noAuthTime: true,
	}
}

func TestMockServer(t *testing.T) {
	p := mock.Start(t)
	s := mockSubject(p)
	common(t, s)

	t.Run("keys that sign in turn all verify", func(t *testing.T) {
		a := s.serve(t, "turns", "client_secret_basic", nil)
		kids := map[string]bool{}
		for range 3 {
			p.AddKey(t)
			s.login(t, a)
		}
		for _, call := range a.Tape.Grants("authorization_code") {
			header, _, _ := strings.Cut(call.JSON("id_token"), ".")
			kids[header] = true
		}
		if len(kids) < 2 {
			t.Errorf("%d keys signed, want several: the test shows nothing", len(kids))
		}
	})

	t.Run("a logout goes on although the revocation failed", func(t *testing.T) {
		a := s.serve(t, "logout", "client_secret_basic", nil)
		v := s.login(t, a)
		p.Arm(t, mock.Fault{"revoke": map[string]any{"statusCode": 503}})
		defer p.Arm(t, nil)
		page := v.Open(a.URL+"/").Post("/auth/logout", url.Values{})
		if page.Status != http.StatusOK {
			t.Errorf("logout ended at %s", page)
		}
		if page := v.Open(a.URL + "/maybe"); page.Body != "nobody" {
			t.Errorf("still signed in: %s", page)
		}
	})
}
