package rp_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

// watchedLogin logs in, with this session_state in the answer.
func watchedLogin(t *testing.T, o rptest.Options, state string) (*rp.Client, *rp.Tokens) {
	t.Helper()
	o.Issuer, o.SigningAlg = "https://op.example", "ES256"
	p, err := rptest.New(o)
	if err != nil {
		t.Fatal(err)
	}
	client, err := rp.New(rp.Config{Issuer: p.Issuer(), ClientID: p.ClientID(), ClientSecret: p.ClientSecret(), RedirectURL: "https://shop.example/cb", HTTPClient: p.Client()})
	if err != nil {
		t.Fatal(err)
	}
	login, err := client.Begin(t.Context(), rp.AuthParams{})
	if err != nil {
		t.Fatal(err)
	}
	b := p.Browser()
	b.StopAt = func(u *url.URL) bool { return u.Host == "shop.example" }
	page, err := b.Get(login.URL)
	if err != nil {
		t.Fatal(err)
	}
	answer := page.Location.Query()
	if state != "" {
		answer.Set("session_state", state)
	}
	tokens, err := client.Finish(t.Context(), login, answer)
	if err != nil {
		t.Fatal(err)
	}
	return client, tokens
}

func TestSessionStateIsKeptAsItCameOrNotAtAll(t *testing.T) {
	long := strings.Repeat("s", 512)
	for sent, want := range map[string]string{
		"":                   "",
		"hash.salt":          "hash.salt",
		"a+b/c=.d":           "a+b/c=.d",
		long:                 long,
		long + "s":           "",
		"two words":          "",
		"a line\n":           "",
		"\x7f":               "",
		"ümlaut":             "",
		`"><script>.salt`:    `"><script>.salt`, // whoever shows it must escape it
		"00000000-0000.0000": "00000000-0000.0000",
	} {
		if _, tokens := watchedLogin(t, rptest.Options{}, sent); tokens.SessionState != want {
			t.Errorf("%q is kept as %q, want %q", sent, tokens.SessionState, want)
		}
	}
}

func TestTheCheckSessionIframeIsTheMetadatas(t *testing.T) {
	client, tokens := watchedLogin(t, rptest.Options{SessionManagement: true}, "")
	if got, err := client.CheckSessionIframe(t.Context()); got != "https://op.example/check_session" || err != nil || tokens.SessionState == "" {
		t.Errorf("%q, %v, session_state %q", got, err, tokens.SessionState)
	}
	if got, err := client.AuthorizationEndpoint(t.Context()); got != "https://op.example/authorize" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	client, _ = watchedLogin(t, rptest.Options{}, "")
	if got, err := client.CheckSessionIframe(t.Context()); got != "" || !errors.Is(err, rp.ErrNoEndpoint) {
		t.Errorf("of a provider without: %q, %v", got, err)
	}
}
