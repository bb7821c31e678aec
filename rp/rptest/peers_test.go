package rptest_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"golang.org/x/oauth2"
)

// TestStockClientsAcceptAnHonestLogin has the provider judged by code which is not ours: x/oauth2 and go-oidc, over a socket.
func TestStockClientsAcceptAnHonestLogin(t *testing.T) {
	p := rptest.Start(t, rptest.Options{SigningAlg: "ES256", Clients: []rptest.Client{{ID: "c:%", Secret: "s +:%"}}})
	ctx := context.Background()
	discovered, err := oidc.NewProvider(ctx, p.Issuer())
	if err != nil {
		t.Fatal(err)
	}
	config := oauth2.Config{ClientID: p.ClientID(), ClientSecret: p.ClientSecret(), Endpoint: discovered.Endpoint(), RedirectURL: "http://127.0.0.1/callback", Scopes: []string{"openid", "email"}}
	config.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
	verifier := oauth2.GenerateVerifier()
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := browser.Get(config.AuthCodeURL("state", oidc.Nonce("nonce"), oauth2.S256ChallengeOption(verifier)))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	back, err := resp.Location()
	if err != nil {
		t.Fatal(err)
	}
	token, err := config.Exchange(ctx, back.Query().Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := token.Extra("id_token").(string)
	checker := discovered.Verifier(&oidc.Config{ClientID: p.ClientID()})
	id, err := checker.Verify(ctx, raw)
	if err != nil || id.Subject != "alice" || id.Nonce != "nonce" {
		t.Fatalf("%+v %v", id, err)
	}
	if err := id.VerifyAccessToken(token.AccessToken); err != nil {
		t.Error(err)
	}
	user, err := discovered.UserInfo(ctx, config.TokenSource(ctx, token))
	if err != nil || user.Email != "alice@example.com" || !user.EmailVerified {
		t.Errorf("%+v %v", user, err)
	}
	token.Expiry = token.Expiry.AddDate(-1, 0, 0)
	fresh, err := config.TokenSource(ctx, token).Token()
	if err != nil || fresh.RefreshToken == token.RefreshToken || p.RefreshReuses() != 0 {
		t.Errorf("refresh: %v", err)
	}
	logout, err := checker.VerifyLogout(ctx, p.LogoutToken("alice", "s1"))
	if err != nil || logout.Subject != "alice" || logout.SessionID != "s1" {
		t.Errorf("%+v %v", logout, err)
	}
	if _, err := checker.Verify(ctx, p.LogoutToken("alice", "s1", rptest.WrongIssuer)); err == nil || !strings.Contains(err.Error(), "issue") {
		t.Errorf("another issuer: %v", err)
	}
}
