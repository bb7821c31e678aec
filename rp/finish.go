package rp

import (
	"context"
	"crypto/subtle"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
	"golang.org/x/oauth2"
)

// single are the parameters of an authorization response which must not come twice (RFC 6749 section 3.1): two readers would
// pick different ones.
var single = []string{"state", "code", "iss", "error", "error_description", "error_uri", "id_token", "access_token", "session_state"}

// Finish checks the answer to login (the callback's query or form values; every value, duplicates are refused), redeems the code once,
// and verifies the ID token (Core 3.1.3.7, RFC 9207). The answer of another browser's login is caught by its state, so the Login must be
// this browser's own, and used for one Finish only.
// The token request is not cut short by the end of ctx; Config.Timeout bounds it.
// Errors: *ProviderError (the provider said no), ErrMismatch, *TokenError (ErrInvalidToken), ErrUnavailable.
func (c *Client) Finish(ctx context.Context, login *Login, answer url.Values) (*Tokens, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := c.checkState(login, answer); err != nil {
		return nil, err
	}
	md, err := c.provider.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.checkIssuer(md, answer); err != nil {
		return nil, err
	}
	if code := answer.Get("error"); code != "" {
		return nil, &ProviderError{
			Endpoint:    "authorization",
			Code:        printable(code, 64),
			Description: printable(answer.Get("error_description"), 256),
			URI:         printable(answer.Get("error_uri"), 256),
		}
	}
	for _, name := range []string{"id_token", "access_token"} {
		// Only response_type=code is asked for; a token from the front channel is somebody else's idea (RFC 9700 section 2.1.2).
		if answer.Has(name) {
			return nil, &MismatchError{"response_type", "a token came through the browser, where only a code was asked for"}
		}
	}
	code := answer.Get("code")
	if code == "" {
		return nil, &MismatchError{"code", "neither a code nor an error came"}
	}
	tok, err := c.exchange(ctx, md, login, code)
	if err != nil {
		return nil, err
	}
	t, err := c.finishTokens(ctx, md, tok, expected{login: login, code: code, iss: c.answeredIssuer(answer)})
	if err != nil {
		return nil, err
	}
	t.SessionState = sessionState(answer.Get("session_state"))
	return t, nil
}

// checkState compares what the browser brings with what it was given. Nothing else of the answer is believed before.
func (c *Client) checkState(login *Login, answer url.Values) error {
	if login == nil {
		return &MismatchError{"login", "no login of this browser is known"}
	}
	for _, name := range single {
		if len(answer[name]) > 1 {
			return &MismatchError{"duplicate", name + " came more than once"}
		}
	}
	state := answer.Get("state")
	// An empty state would equal an empty one.
	if state == "" || login.State == "" {
		return &MismatchError{"state", "none came"}
	}
	if subtle.ConstantTimeCompare([]byte(state), []byte(login.State)) != 1 {
		return &MismatchError{"state", "it is another login's"}
	}
	switch {
	case login.Issuer != c.cfg.Issuer:
		return &MismatchError{"login", "it began at another provider"}
	case login.ClientID != c.cfg.ClientID:
		return &MismatchError{"login", "it began for another client"}
	case login.RedirectURL != c.cfg.RedirectURL:
		return &MismatchError{"login", "it began with another redirect URL"}
	case login.Nonce == "":
		return &MismatchError{"login", "it has no nonce"}
	case login.Verifier == "" && !c.cfg.Quirks.InsecureSkipPKCE:
		return &MismatchError{"login", "it has no PKCE verifier"}
	}
	return nil
}

// checkIssuer compares the iss parameter (RFC 9207 section 2.4), of error answers too: an error that another provider sends
// must not be blamed on this one. A provider that announces it must send it; one that sends it unannounced must still be right.
func (c *Client) checkIssuer(md *discovery.Metadata, answer url.Values) error {
	if c.cfg.Quirks.IgnoreIssParameter {
		return nil
	}
	iss := answer.Get("iss")
	if !answer.Has("iss") {
		if md.AuthorizationResponseIssParameterSupported {
			return &MismatchError{"iss", "none came, though the provider announces it (RFC 9207)"}
		}
		return nil
	}
	if iss == c.cfg.Issuer && !strings.Contains(iss, tenantPlaceholder) || c.tenantIssuer(iss) {
		return nil
	}
	if once, err := url.QueryUnescape(iss); err == nil && once == c.cfg.Issuer {
		return &MismatchError{"iss", "the provider escapes it twice; Quirks.IgnoreIssParameter accepts that"}
	}
	return &MismatchError{"iss", "another provider answered (RFC 9207)"}
}

// answeredIssuer is the iss parameter when the ID token's issuer can't be known beforehand: one tenant must not answer for another.
func (c *Client) answeredIssuer(answer url.Values) string {
	if c.cfg.Quirks.IgnoreIssParameter || !strings.Contains(c.cfg.Issuer, tenantPlaceholder) {
		return ""
	}
	return answer.Get("iss")
}

// tenantIssuer reports whether iss is Config.Issuer with an allowed tenant in its placeholder.
func (c *Client) tenantIssuer(iss string) bool {
	before, after, ok := strings.Cut(c.cfg.Issuer, tenantPlaceholder)
	if !ok || len(iss) < len(before)+len(after) || !strings.HasPrefix(iss, before) || !strings.HasSuffix(iss, after) {
		return false
	}
	return c.tenantAllowed(iss[len(before) : len(iss)-len(after)])
}

// tenantAllowed reports whether tid is a name that can stand in a path, and in Quirks.Tenants.
func (c *Client) tenantAllowed(tid string) bool {
	for _, r := range tid {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '.', r == '_':
		default:
			return false
		}
	}
	return tid != "" && (len(c.cfg.Quirks.Tenants) == 0 || slices.Contains(c.cfg.Quirks.Tenants, tid))
}

// exchange redeems the code, once.
func (c *Client) exchange(ctx context.Context, md *discovery.Metadata, login *Login, code string) (*oauth2.Token, error) {
	conf, err := c.oauth2Config(md)
	if err != nil {
		return nil, err
	}
	var opts []oauth2.AuthCodeOption
	if login.Verifier != "" {
		opts = append(opts, oauth2.VerifierOption(string(login.Verifier)))
	}
	tctx, cancel := c.tokenContext(ctx, md)
	defer cancel()
	tok, err := conf.Exchange(tctx, code, opts...)
	if err != nil {
		return nil, tokenError(err)
	}
	return tok, nil
}

// finishTokens verifies the ID token that came with tok, with keys fetched if need be, whatever became of ctx meanwhile.
func (c *Client) finishTokens(ctx context.Context, md *discovery.Metadata, tok *oauth2.Token, want expected) (*Tokens, error) {
	t := &Tokens{OAuth2: tok, Scope: want.scope(), RefreshExpiry: refreshExpiry(tok, time.Now())}
	if s, ok := tok.Extra("scope").(string); ok && s != "" {
		t.Scope = strings.Fields(s)
	}
	t.RawIDToken, _ = tok.Extra("id_token").(string)
	if t.RawIDToken == "" {
		if want.login == nil {
			return t, nil
		}
		return nil, &TokenError{Token: "ID token", Check: "missing", Want: "one beside the access token", Got: "none; an access token is no proof of a login (Core 3.1.3.3)"}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
	defer cancel()
	want.accessToken = tok.AccessToken
	want.now = time.Now()
	var err error
	t.IDToken, err = c.verifyIDToken(ctx, md, t.RawIDToken, want)
	if err != nil {
		return nil, err
	}
	t.IDToken.Claims = c.Tolerate(t.IDToken.Claims)
	return t, nil
}
