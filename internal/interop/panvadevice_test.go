package interop_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/interop/panva"
	"github.com/latchkey-go/latchkey/internal/interop/visitor"
	"github.com/latchkey-go/latchkey/middleware"
	"github.com/latchkey-go/latchkey/rp"
)

const (
	deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"
	cibaGrant   = "urn:openid:params:grant-type:ciba"

	headlessSecret = "a secret: of enough bytes+for/HS256 too"
)

// headless registers a client without a redirect URI, and makes it. Without a secret it is public.
func headless(t *testing.T, p *panva.Provider, id, secret string, metadata map[string]any) *rp.Client {
	t.Helper()
	client := map[string]any{
		"client_id": id, "redirect_uris": []string{}, "response_types": []string{}, "grant_types": []string{deviceGrant, "refresh_token"},
		"token_endpoint_auth_method": "none",
	}
	if secret != "" {
		client["client_secret"], client["token_endpoint_auth_method"] = secret, "client_secret_basic"
	}
	for name, value := range metadata {
		client[name] = value
	}
	p.Register(t, client)
	c, err := rp.New(rp.Config{Issuer: p.Issuer(), ClientID: id, ClientSecret: secret, Scopes: []string{"openid"}, InsecureLoopbackHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// confirm is the button of that name on the page that shows a user code, in place of the one beside it that aborts.
func confirm(t *testing.T, page *visitor.Page) *visitor.Page {
	t.Helper()
	if len(page.Forms) != 1 || !page.Forms[0].Values.Has("confirm") {
		t.Fatalf("want the page that shows the code, got %s", page)
	}
	form := page.Forms[0].Values
	form.Del("abort")
	return page.Post(page.Forms[0].Action.String(), form)
}

// finish is FinishDevice or FinishBackchannel running beside the test.
func finish(f func() (*rp.Tokens, error)) (wait func() (*rp.Tokens, error)) {
	var tokens *rp.Tokens
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		tokens, err = f()
	}()
	return func() (*rp.Tokens, error) {
		<-done
		return tokens, err
	}
}

func beginDevice(t *testing.T, c *rp.Client) *rp.DeviceLogin {
	t.Helper()
	d, err := c.Device(t.Context(), rp.DeviceRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if d.Interval != 5*time.Second {
		t.Errorf("the interval is %s, although this provider states none", d.Interval)
	}
	d.Interval = time.Second // the test's time is short, and this provider counts no polls
	return d
}

func TestOIDCProvidersDeviceFlow(t *testing.T) {
	p := panva.StartDevices(t)
	for name, secret := range map[string]string{"public": "", "confidential": headlessSecret} {
		t.Run("a "+name+" client logs its user in by another browser", func(t *testing.T) {
			c := headless(t, p, "device-"+name, secret, nil)
			d := beginDevice(t, c)
			if d.UserCode == "" || !strings.HasPrefix(d.VerificationURI, p.Issuer()+"/device") || !strings.Contains(d.VerificationURIComplete, d.UserCode) || time.Until(d.Expires) < 9*time.Minute {
				t.Fatalf("%q at %s or %s until %s", d.UserCode, d.VerificationURI, d.VerificationURIComplete, d.Expires)
			}
			wait := finish(func() (*rp.Tokens, error) { return c.FinishDevice(t.Context(), d) })
			v := visitor.New(t, nil)
			page := v.Open(d.VerificationURI).Submit(map[string]string{"user_code": strings.ToLower(d.UserCode)})
			page = p.SignIn(t, confirm(t, page), "alice")
			if !strings.Contains(page.Body, "Sign-in Success") {
				t.Fatalf("the provider ended at %s", page)
			}
			tokens, err := wait()
			if err != nil {
				t.Fatal(err)
			}
			if tokens.IDToken.Subject != "alice" || tokens.IDToken.Nonce != "" || tokens.OAuth2.AccessToken == "" {
				t.Errorf("%v", tokens)
			}
			if _, err := c.Refresh(t.Context(), tokens.OAuth2.RefreshToken, tokens.IDToken); err != nil {
				t.Errorf("the refresh: %v", err)
			}
			if _, err := c.FinishDevice(t.Context(), d); !rp.IsInvalidGrant(err) {
				t.Errorf("the code a second time: %v", err)
			}
		})
	}

	t.Run("the complete link needs no code", func(t *testing.T) {
		c := headless(t, p, "device-complete", "", nil)
		d := beginDevice(t, c)
		wait := finish(func() (*rp.Tokens, error) { return c.FinishDevice(t.Context(), d) })
		page := visitor.New(t, nil).Open(d.VerificationURIComplete)
		if len(page.Forms) == 1 && !page.Forms[0].Values.Has("confirm") { // which its script would send
			page = page.Submit(map[string]string{"user_code": page.Forms[0].Values.Get("user_code")})
		}
		p.SignIn(t, confirm(t, page), "bob")
		if tokens, err := wait(); err != nil || tokens.IDToken.Subject != "bob" {
			t.Errorf("%v, %v", tokens, err)
		}
	})

	t.Run("a user who aborts ends it", func(t *testing.T) {
		c := headless(t, p, "device-abort", "", nil)
		d := beginDevice(t, c)
		wait := finish(func() (*rp.Tokens, error) { return c.FinishDevice(t.Context(), d) })
		page := visitor.New(t, nil).Open(d.VerificationURI).Submit(map[string]string{"user_code": d.UserCode})
		form := page.Forms[0].Values
		form.Set("abort", "yes")
		page.Post(page.Forms[0].Action.String(), form)
		if _, err := wait(); !errors.Is(err, rp.ErrDenied) {
			t.Errorf("error is %v", err)
		}
	})

	t.Run("a code that nobody enters ends", func(t *testing.T) {
		p.Waiting(t, 3)
		defer p.Waiting(t, 600)
		c := headless(t, p, "device-late", "", nil)
		d := beginDevice(t, c)
		late := *d
		late.Expires = late.Expires.Add(time.Hour) // so that the provider is the one to say so
		if _, err := c.FinishDevice(t.Context(), d); !errors.Is(err, rp.ErrExpired) || time.Now().After(d.Expires) {
			t.Errorf("error is %v", err)
		}
		_, err := c.FinishDevice(t.Context(), &late)
		var refused *rp.ProviderError
		if !errors.As(err, &refused) || !errors.Is(err, rp.ErrExpired) && refused.Code != "invalid_grant" { // its storage may have dropped the code already
			t.Errorf("error is %v", err)
		}
	})

	t.Run("an outage is waited for", func(t *testing.T) {
		c := headless(t, p, "device-outage", "", nil)
		d := beginDevice(t, c)
		page := visitor.New(t, nil).Open(d.VerificationURI).Submit(map[string]string{"user_code": d.UserCode})
		p.SignIn(t, confirm(t, page), "alice")
		p.Down(t, true)
		wait := finish(func() (*rp.Tokens, error) { return c.FinishDevice(t.Context(), d) })
		time.Sleep(1500 * time.Millisecond) // past the first poll
		p.Down(t, false)
		if tokens, err := wait(); err != nil || tokens.IDToken.Subject != "alice" {
			t.Errorf("%v, %v", tokens, err)
		}
	})

	t.Run("a client without the grant is told so", func(t *testing.T) {
		c := headless(t, p, "device-none", headlessSecret, map[string]any{"grant_types": []string{"client_credentials"}})
		_, err := c.Device(t.Context(), rp.DeviceRequest{})
		var refused *rp.ProviderError
		if !errors.As(err, &refused) || refused.Code == "" || refused.Endpoint != "device authorization" {
			t.Errorf("error is %v", err)
		}
	})
}

func TestOIDCProvidersCIBA(t *testing.T) {
	p := panva.StartDevices(t)
	backchannel := func(t *testing.T, id string, metadata map[string]any) *rp.Client {
		all := map[string]any{"grant_types": []string{cibaGrant, "refresh_token"}, "backchannel_token_delivery_mode": "poll"}
		for name, value := range metadata {
			all[name] = value
		}
		return headless(t, p, id, headlessSecret, all)
	}
	begin := func(t *testing.T, c *rp.Client, req rp.BackchannelRequest) *rp.BackchannelLogin {
		t.Helper()
		l, err := c.Backchannel(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		l.Interval = time.Second // as beginDevice
		return l
	}

	t.Run("a login is polled for until its user has answered", func(t *testing.T) {
		c := backchannel(t, "ciba-poll", nil)
		l := begin(t, c, rp.BackchannelRequest{LoginHint: "alice", BindingMessage: "W4SCT", ACRValues: []string{"urn:example:silver"}, Expiry: time.Minute})
		if left := time.Until(l.Expires); left > time.Minute || left < 50*time.Second {
			t.Errorf("requested a minute, and got %s", left)
		}
		wait := finish(func() (*rp.Tokens, error) { return c.FinishBackchannel(t.Context(), l) })
		time.Sleep(1500 * time.Millisecond) // past the first poll
		p.Answer(t, "alice", true)
		tokens, err := wait()
		if err != nil {
			t.Fatal(err)
		}
		if tokens.IDToken.Subject != "alice" || tokens.IDToken.ACR != "urn:example:silver" {
			t.Errorf("%v with %q", tokens, tokens.IDToken.ACR)
		}
		if _, err := c.Refresh(t.Context(), tokens.OAuth2.RefreshToken, tokens.IDToken); err != nil {
			t.Errorf("the refresh: %v", err)
		}

		t.Run("and once more by its ID token", func(t *testing.T) {
			l := begin(t, c, rp.BackchannelRequest{IDTokenHint: tokens.RawIDToken})
			p.Answer(t, "alice", true)
			if again, err := c.FinishBackchannel(t.Context(), l); err != nil || again.IDToken.Subject != "alice" {
				t.Errorf("%v, %v", again, err)
			}
		})
	})

	t.Run("a user's no ends it", func(t *testing.T) {
		c := backchannel(t, "ciba-no", nil)
		l := begin(t, c, rp.BackchannelRequest{LoginHint: "bob"})
		p.Answer(t, "bob", false)
		if _, err := c.FinishBackchannel(t.Context(), l); !errors.Is(err, rp.ErrDenied) {
			t.Errorf("error is %v", err)
		}
	})

	t.Run("what is wrong with a request is told", func(t *testing.T) {
		c := backchannel(t, "ciba-wrong", nil)
		for code, req := range map[string]rp.BackchannelRequest{
			"unknown_user_id":         {LoginHint: "nobody"},
			"invalid_binding_message": {LoginHint: "alice", BindingMessage: "longer than this provider takes"},
		} {
			_, err := c.Backchannel(t.Context(), req)
			var refused *rp.ProviderError
			if !errors.As(err, &refused) || refused.Code != code {
				t.Errorf("%s: %v", code, err)
			}
		}
		_, err := c.Backchannel(t.Context(), rp.BackchannelRequest{LoginHint: "alice", Delivery: rp.Push})
		var lacking *rp.UnsupportedError
		if !errors.As(err, &lacking) {
			t.Errorf("push, which this provider has not: %v", err)
		}
	})

	t.Run("a ping brings the tokens at once", func(t *testing.T) {
		type end struct {
			tokens *rp.Tokens
			err    error
		}
		var logins sync.Map
		ends := make(chan end, 4)
		n := &middleware.Notifications{
			Find: func(_ context.Context, id string) (*rp.BackchannelLogin, error) {
				found, _ := logins.Load(id)
				l, _ := found.(*rp.BackchannelLogin)
				return l, nil
			},
			Finished: func(_ context.Context, l *rp.BackchannelLogin, tokens *rp.Tokens, err error) error {
				logins.Delete(l.AuthReqID)
				ends <- end{tokens, err}
				return nil
			},
		}
		server := httptest.NewServer(n)
		defer server.Close()
		n.Client = backchannel(t, "ciba-ping", map[string]any{
			"backchannel_token_delivery_mode": "ping", "backchannel_client_notification_endpoint": strings.Replace(server.URL, "http:", "https:", 1),
		})
		for _, allow := range []bool{true, false} {
			l := begin(t, n.Client, rp.BackchannelRequest{LoginHint: "alice", Delivery: rp.Ping})
			l.Interval = time.Hour // nothing but the notification fetches them
			logins.Store(l.AuthReqID, l)
			p.Answer(t, "alice", allow)
			select {
			case got := <-ends:
				if allow && (got.err != nil || got.tokens.IDToken.Subject != "alice") || !allow && !errors.Is(got.err, rp.ErrDenied) {
					t.Errorf("allow %t: %v, %v", allow, got.tokens, got.err)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("allow %t: no notification has ended the login", allow)
			}
		}
	})
}
