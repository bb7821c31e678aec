package rp_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

func TestDeprecatedPasswordYieldsWhatALoginDoes(t *testing.T) {
	c := newCity(t, nil)
	client := c.client("web")
	got, err := client.DeprecatedPassword(t.Context(), "alice", "alice", "openid", "email")
	if err != nil {
		t.Fatal(err)
	}
	if got.IDToken.Subject != "alice" || got.IDToken.Nonce != "" || fmt.Sprint(got.Scope) != "[openid email]" {
		t.Errorf("%v", got)
	}
	if _, err := client.Refresh(t.Context(), got.OAuth2.RefreshToken, got.IDToken); err != nil {
		t.Errorf("the refresh: %v", err)
	}
	plain, err := client.DeprecatedPassword(t.Context(), "bob", "bob")
	if err != nil || plain.IDToken != nil || plain.Scope != nil {
		t.Errorf("without scopes: %v, %v", plain, err)
	}
}

func TestDeprecatedPasswordTellsAWrongPasswordFromNoSuchGrant(t *testing.T) {
	for name, x := range map[string]struct {
		allowed bool
		code    string
		grant   bool
	}{"wrong": {true, "invalid_grant", true}, "not offered": {false, "unsupported_grant_type", false}} {
		c := newCity(t, func(o *rptest.Options) { o.AllowPassword = x.allowed })
		_, err := c.client("web").DeprecatedPassword(t.Context(), "alice", marked)
		var refused *rp.ProviderError
		if !errors.As(err, &refused) || refused.Code != x.code || rp.IsInvalidGrant(err) != x.grant || strings.Contains(printed(err), marked) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A batch program that still has its user's password, until the day it asks for a device login instead.
func ExampleClient_DeprecatedPassword() {
	op, err := rptest.New(rptest.Options{Issuer: "https://op.example", AllowPassword: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := rp.New(rp.Config{Issuer: op.Issuer(), ClientID: op.ClientID(), ClientSecret: op.ClientSecret(), HTTPClient: op.Client()})
	if err != nil {
		fmt.Println(err)
		return
	}
	tokens, err := client.DeprecatedPassword(context.Background(), "alice", "alice", "openid")
	if rp.IsInvalidGrant(err) {
		fmt.Println("wrong name or password")
		return
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(tokens.IDToken.Subject)
	// Output: alice
}
