package rp_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/rp"
)

// second is another provider, with the same client id and redirect URL at it: what a mix-up attack needs.
func second() *op {
	p := newOP()
	p.issuer = "https://second.example"
	for name, path := range map[string]string{"issuer": "", "authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/jwks"} {
		p.metadata[name] = p.issuer + path
	}
	p.rotate("second", keys()["rsa2"])
	return p
}

func TestAnswersOfTwoProvidersDoNotMix(t *testing.T) {
	for name, swap := range map[string]func(mine, other url.Values) url.Values{
		"the whole answer": func(_, other url.Values) url.Values { return other },
		"the other's iss": func(mine, other url.Values) url.Values {
			mine.Set("iss", other.Get("iss"))
			return mine
		},
		"the other's state": func(mine, other url.Values) url.Values {
			mine.Set("state", other.Get("state"))
			return mine
		},
		"the other's code with its iss": func(mine, other url.Values) url.Values {
			mine.Set("code", other.Get("code"))
			mine.Set("iss", other.Get("iss"))
			return mine
		},
	} {
		t.Run(name, func(t *testing.T) {
			one, two := newOP(), second()
			a, b := one.client(t), two.client(t)
			loginA, err := a.Begin(t.Context(), rp.AuthParams{})
			if err != nil {
				t.Fatal(err)
			}
			loginB, err := b.Begin(t.Context(), rp.AuthParams{})
			if err != nil {
				t.Fatal(err)
			}
			answerA, answerB := one.authorize(t, loginA), two.authorize(t, loginB)
			answerA.Set("iss", one.issuer)
			answerB.Set("iss", two.issuer)
			if _, err := a.Finish(t.Context(), loginA, swap(answerA, answerB)); !errors.Is(err, rp.ErrMismatch) {
				t.Errorf("error is %v", err)
			}
			if _, err := b.Finish(t.Context(), loginA, answerA); !errors.Is(err, rp.ErrMismatch) {
				t.Errorf("a login at another client: %v", err)
			}
			if one.count()+two.count() != 0 {
				t.Error("a code was sent")
			}
		})
	}
}

func TestAnIDTokenOfAnotherLoginIsRefused(t *testing.T) {
	p := newOP()
	c := p.client(t)
	first, err := p.login(t, c, rp.AuthParams{})
	if err != nil {
		t.Fatal(err)
	}
	p.tokens = func(m map[string]any) { m["id_token"] = first.RawIDToken }
	refused(t, p, c, rp.AuthParams{}, "nonce")
}

func TestAnIDTokenOfAnotherProviderIsRefused(t *testing.T) {
	one, two := newOP(), second()
	one.wrap = func(string) string { return two.seal(one.claims("x")) }
	refused(t, one, one.client(t), rp.AuthParams{}, "key", "kid")
}

// An attacker's code and state in the victim's browser, whose own login has another state.
func TestAnAnswerIsBoundToTheBrowsersLogin(t *testing.T) {
	p := newOP()
	c := p.client(t)
	victim, err := c.Begin(t.Context(), rp.AuthParams{})
	if err != nil {
		t.Fatal(err)
	}
	attacker, err := c.Begin(t.Context(), rp.AuthParams{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Finish(t.Context(), victim, p.authorize(t, attacker))
	mismatch(t, err, "state")
	stolen := p.authorize(t, attacker)
	stolen.Set("state", victim.State) // the code is injected: PKCE ends it at the provider
	_, err = c.Finish(t.Context(), victim, stolen)
	provider(t, err, 400, "invalid_grant")
}

// The redirect URL is configuration; nothing of a request reaches it.
func TestEveryLoginGoesToTheConfiguredRedirectURL(t *testing.T) {
	p := newOP()
	c := p.client(t)
	for range 3 {
		login, err := c.Begin(t.Context(), rp.AuthParams{LoginHint: "https://evil.example", Extra: url.Values{"Host": {"evil.example"}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := query(t, login).Get("redirect_uri"); got != testCallback {
			t.Errorf("redirect_uri is %q", got)
		}
	}
}

// Nothing a caller put under x/oauth2's context key may carry a secret elsewhere.
func TestAClientInTheContextIsNotUsed(t *testing.T) {
	p := newOP()
	c := p.client(t)
	login, err := c.Begin(t.Context(), rp.AuthParams{})
	if err != nil {
		t.Fatal(err)
	}
	stranger := &http.Client{Transport: tripper(func(r *http.Request) (*http.Response, error) {
		t.Errorf("%s went elsewhere", strings.TrimSuffix(r.URL.String(), r.URL.RawQuery))
		return nil, errors.New("no")
	})}
	if _, err := c.Finish(withHTTPClient(t.Context(), stranger), login, p.authorize(t, login)); err != nil {
		t.Error(err)
	}
}
