package session_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/session"
)

// fmt follows the unexported fields of a caller's struct past every Formatter, and with %s a pointer in them as well.
func TestACallersStructPrintsNoSecret(t *testing.T) {
	key := testKey(1)
	cookies, err := session.NewCookieStore(key)
	if err != nil {
		t.Fatal(err)
	}
	server, err := session.NewServerStore(session.NewMemoryBackend(0), key)
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, setup{session: session.Config{Store: memoryStore(t), Keys: [][]byte{key}}})
	v := s.visitor()
	v.login()
	type holder struct {
		manager *session.Manager
		session *session.Session
		cookies *session.CookieStore
		server  *session.ServerStore
	}
	h := holder{s.Manager, v.mustLoad(), cookies, server}
	secrets := []string{
		access(h.session), h.session.RawIDToken(), s.provider.ClientSecret(), strings.Trim(fmt.Sprint(key), "[]"), string(key),
		fmt.Sprintf("%x", key), fmt.Sprintf("%x", access(h.session)),
	}
	if h.manager == nil || h.cookies == nil || h.server == nil || secrets[0] == "" || secrets[1] == "" || secrets[2] == "" {
		t.Fatal("no input")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%t"} {
		for _, v := range []any{h, &h, []holder{h}} {
			text := fmt.Sprintf(verb, v)
			wantNone(t, verb, text, secrets)
		}
	}
}

func wantNone(t *testing.T, verb, text string, secrets []string) {
	t.Helper()
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Errorf("%s prints %q in %.300s", verb, secret, text)
		}
	}
}
