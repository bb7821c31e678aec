package rp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/internal/fetch"
	"github.com/latchkey-go/latchkey/internal/strictjson"
)

const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

// DeviceRequest is a device authorization request (RFC 8628 section 3.1). The zero value asks for the client's scopes.
type DeviceRequest struct {
	// Scopes asked for. Nil: Config.Scopes. Those given are taken as they are: without "openid" no ID token is expected.
	Scopes    []string
	Audiences []string   // audience, which some providers want for access tokens to an API
	Resources []string   // resource (RFC 8707)
	Extra     url.Values // further parameters; one that has a field above, or that authenticates the client, is an error
}

// DeviceLogin is a login that its user finishes in a browser on another device: show UserCode and VerificationURI, then call FinishDevice.
//
// It marshals to JSON WITH its secret, so that another process can finish it: keep that sealed. Printed, it shows neither the secret nor the codes.
type DeviceLogin struct {
	UserCode        string `json:"u"`  // to be typed in as it is; printable characters only
	VerificationURI string `json:"vu"` // where; ASCII, and safe to print on a terminal
	// VerificationURIComplete holds the user code, for a QR code or a link; empty: the provider offers none. Show UserCode beside it, to be compared (RFC 8628 section 5.4).
	VerificationURIComplete string    `json:"vc,omitempty"`
	Expires                 time.Time `json:"e"` // when the codes end

	DeviceCode string        `json:"d"`  // the secret
	Interval   time.Duration `json:"in"` // between polls; FinishDevice makes it longer when the provider says slow_down
	Issuer     string        `json:"i"`
	ClientID   string        `json:"c"`
	Scopes     []string      `json:"sc,omitempty"`
	Resources  []string      `json:"re,omitempty"`
}

// String names the login's client and end.
func (d DeviceLogin) String() string {
	return fmt.Sprintf("rp.DeviceLogin{Issuer: %q, ClientID: %q, Expires: %s}", d.Issuer, d.ClientID, d.Expires.Format(time.RFC3339))
}

// Format prints String for every verb.
func (d DeviceLogin) Format(f fmt.State, _ rune) { io.WriteString(f, d.String()) }

// LogValue is String.
func (d DeviceLogin) LogValue() slog.Value { return slog.StringValue(d.String()) }

// Device begins a login for a program without a browser: a command-line tool, a television (RFC 8628 section 3.1).
// Errors: ErrNoEndpoint, *ProviderError, ErrUnavailable, or a mistake in req.
func (c *Client) Device(ctx context.Context, req DeviceRequest) (*DeviceLogin, error) {
	form := url.Values{}
	for name, values := range req.Extra {
		if slices.Contains(notParams, name) || name == "" {
			return nil, fmt.Errorf("rp: DeviceRequest.Extra must not set %q", name)
		}
		form[name] = slices.Clone(values)
	}
	scopes := req.Scopes
	if scopes == nil {
		scopes = c.cfg.Scopes
	}
	for _, s := range scopes {
		if !validScope(s) {
			return nil, fmt.Errorf("rp: DeviceRequest.Scopes: %q is no scope (RFC 6749 section 3.3)", s)
		}
	}
	md, err := c.provider.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	target, err := c.endpoint("device_authorization_endpoint", md.DeviceAuthorizationEndpoint)
	if err != nil {
		return nil, err
	}
	if len(scopes) > 0 {
		form.Set("scope", strings.Join(scopes, " "))
	}
	for name, values := range map[string][]string{"audience": req.Audiences, "resource": req.Resources} {
		if len(values) > 0 {
			form[name] = slices.Clone(values)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	answer, err := c.call(ctx, "device authorization", target, form)
	if err != nil {
		return nil, err
	}
	d := &DeviceLogin{
		Issuer: c.cfg.Issuer, ClientID: c.cfg.ClientID, Scopes: slices.Clone(scopes),
		Resources: slices.Clone(req.Resources),
	}
	if err := d.read(answer.Body, time.Now(), c.cfg.InsecureLoopbackHTTP); err != nil {
		return nil, &ProviderError{Endpoint: "device authorization", Status: answer.Status, Err: err}
	}
	return d, nil
}

// read takes the answer of RFC 8628 section 3.2. People see these texts on terminals, where a control character is a command.
func (d *DeviceLogin) read(body []byte, now time.Time, loopbackHTTP bool) error {
	var a struct {
		startAnswer
		DeviceCode      string `json:"device_code"`
		UserCode        string `json:"user_code"`
		VerificationURI string `json:"verification_uri"`
		VerificationURL string `json:"verification_url"` // Google's spelling, from the drafts
		Complete        any    `json:"verification_uri_complete"`
	}
	if err := strictjson.Unmarshal(body, &a); err != nil {
		return fmt.Errorf("the answer is not acceptable JSON: %w", err)
	}
	var err error
	if d.Expires, d.Interval, err = a.times(now); err != nil {
		return err
	}
	if d.DeviceCode = a.DeviceCode; d.DeviceCode == "" {
		return errors.New("the answer has no device_code")
	}
	if d.UserCode = printable(a.UserCode, 128); d.UserCode == "" {
		return errors.New("the answer has no user_code")
	}
	d.VerificationURI = a.VerificationURI
	if d.VerificationURI == "" {
		d.VerificationURI = a.VerificationURL
	}
	if err := checkPageURL(d.VerificationURI, loopbackHTTP); err != nil {
		return fmt.Errorf("the verification_uri is refused: %w", err)
	}
	// A mere convenience: what is wrong with it costs nobody the login.
	if complete, ok := a.Complete.(string); ok && checkPageURL(complete, loopbackHTTP) == nil {
		d.VerificationURIComplete = complete
	}
	return nil
}

// checkPageURL is fetch.CheckURL for a page that people open: a fragment is fine there, and what does not print is not.
func checkPageURL(raw string, loopbackHTTP bool) error {
	for i := range len(raw) {
		if raw[i] <= ' ' || raw[i] > '~' {
			return errors.New("it has a character no URL has")
		}
	}
	if len(raw) > 2048 {
		return errors.New("it is longer than 2048 characters")
	}
	page, _, _ := strings.Cut(raw, "#")
	return fetch.CheckURL(page, loopbackHTTP)
}

// FinishDevice waits until the user has answered, and returns the tokens; the ID token is verified, and required where "openid" was asked for.
// It polls as RFC 8628 section 3.5 says: never faster than the provider wants, slower after each slow_down, slower and slower while the provider is out of
// reach, and never past d.Expires. The end of ctx ends the waiting, but not a request that is under way: its answer may hold the only tokens.
// After ctx has ended, d may be finished by another call, in another process too; by one at a time.
// Errors: ErrDenied, ErrExpired, ctx's, ErrMismatch (another client's d), *ProviderError, *TokenError (ErrInvalidToken), ErrUnavailable.
func (c *Client) FinishDevice(ctx context.Context, d *DeviceLogin) (*Tokens, error) {
	switch {
	case d == nil || d.DeviceCode == "":
		return nil, &MismatchError{"login", "no device login is known"}
	case d.Issuer != c.cfg.Issuer:
		return nil, &MismatchError{"login", "it began at another provider"}
	case d.ClientID != c.cfg.ClientID:
		return nil, &MismatchError{"login", "it began for another client"}
	}
	tok, md, err := c.poll(ctx, poll{
		grant:    GrantRequest{Type: deviceGrant, Resources: d.Resources, Params: url.Values{"device_code": {d.DeviceCode}}},
		expires:  d.Expires,
		interval: &d.Interval,
	})
	if err != nil {
		return nil, err
	}
	t, err := c.verifyLate(ctx, md, tok, expected{})
	if err != nil {
		return nil, err
	}
	if t.Scope == nil {
		t.Scope = slices.Clone(d.Scopes)
	}
	if slices.Contains(d.Scopes, "openid") {
		if err := demandIDToken(t); err != nil {
			return nil, err
		}
	}
	return t, nil
}
