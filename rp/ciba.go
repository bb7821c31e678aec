package rp

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/internal/fetch"
	"github.com/latchkey-go/latchkey/internal/strictjson"
)

const (
	cibaGrant = "urn:openid:params:grant-type:ciba"

	// longPoll bounds a poll where Config.Timeout is silent: providers hold their answer back for 30 seconds (CIBA Core section 10.1), and one that is cut off may have been the tokens.
	longPoll = 40 * time.Second
)

// Delivery is how the tokens of a backchannel login come: as registered for the client (backchannel_token_delivery_mode; CIBA Core section 5).
type Delivery string

const (
	Poll Delivery = "poll" // FinishBackchannel asks until they are there
	Ping Delivery = "ping" // a notification says when FinishBackchannel finds them
	Push Delivery = "push" // a notification brings them, for FinishPush
)

// BackchannelRequest is an authentication request of OpenID Connect CIBA Core 1.0 section 7.1. Who is to log in is said by exactly one hint.
// It is sent as parameters: signed authentication requests (section 7.1.1) are not supported.
type BackchannelRequest struct {
	LoginHint      string // as the provider wants it: a name, a telephone number, JSON ...
	LoginHintToken string
	IDTokenHint    string // raw ID token of an earlier login; the new one must be of the same subject
	// BindingMessage is shown on both devices, so that the user sees that the two belong together. Short, of plain letters and digits.
	BindingMessage string
	UserCode       string        // known to user and provider alone, where the provider wants one against unsolicited requests
	Expiry         time.Duration // requested_expiry, in whole seconds; zero: the provider's own
	ACRValues      []string      // acr_values; the ID token's acr must be one of them (unless ACRVoluntary)
	ACRVoluntary   bool          // a wish only: acr is not checked
	Scopes         []string      // in addition to Config.Scopes
	Resources      []string      // resource (RFC 8707)
	Extra          url.Values    // further parameters; one that has a field above, or that the protocol owns, is an error
	Delivery       Delivery      // as registered; empty: Poll
}

// String names the way of delivery, and nobody.
func (r BackchannelRequest) String() string {
	return fmt.Sprintf("rp.BackchannelRequest{ACRValues: %q, Scopes: %q, Delivery: %q}", r.ACRValues, r.Scopes, r.Delivery)
}

// Format prints String for every verb.
func (r BackchannelRequest) Format(f fmt.State, _ rune) { io.WriteString(f, r.String()) }

// LogValue is String.
func (r BackchannelRequest) LogValue() slog.Value { return slog.StringValue(r.String()) }

// BackchannelLogin is a login that its user answers on a device of their own, such as a telephone.
//
// It marshals to JSON WITH its secrets, so that any process can finish it: keep that sealed, by AuthReqID. Printed, it shows none of them.
type BackchannelLogin struct {
	AuthReqID string        `json:"id"` // secret; and what a notification names the login by
	Expires   time.Time     `json:"e"`
	Interval  time.Duration `json:"in"` // between polls; FinishBackchannel makes it longer when the provider says slow_down
	Delivery  Delivery      `json:"d"`
	// NotificationToken is what the provider authenticates its notification with; see CheckNotificationToken. Empty with Poll.
	NotificationToken string `json:"n,omitempty"`

	Issuer    string   `json:"i"`
	ClientID  string   `json:"c"`
	Scopes    []string `json:"sc,omitempty"`
	ACRValues []string `json:"a,omitempty"`  // demanded
	Resources []string `json:"re,omitempty"` // asked for
	Subject   string   `json:"su,omitempty"` // of the ID token hint; empty: whoever was hinted at
}

// String names the login's client and end.
func (l BackchannelLogin) String() string {
	return fmt.Sprintf("rp.BackchannelLogin{Issuer: %q, ClientID: %q, Delivery: %q, Expires: %s}", l.Issuer, l.ClientID, l.Delivery, l.Expires.Format(time.RFC3339))
}

// Format prints String for every verb.
func (l BackchannelLogin) Format(f fmt.State, _ rune) { io.WriteString(f, l.String()) }

// LogValue is String.
func (l BackchannelLogin) LogValue() slog.Value { return slog.StringValue(l.String()) }

// CheckNotificationToken reports whether token, the bearer token of a notification, is this login's. It takes the same time for every wrong one.
func (l *BackchannelLogin) CheckNotificationToken(token string) bool {
	return l.NotificationToken != "" && subtle.ConstantTimeCompare([]byte(token), []byte(l.NotificationToken)) == 1
}

// cibaOwned are the parameters that BackchannelRequest.Extra can't set, besides notParams and owned.
var cibaOwned = []string{"client_notification_token", "login_hint_token", "binding_message", "user_code", "requested_expiry", "auth_req_id", ""}

// values checks r and returns its parameters.
func (r *BackchannelRequest) values() (url.Values, error) {
	bad := func(what string) (url.Values, error) { return nil, errors.New("rp: BackchannelRequest: " + what) }
	v := url.Values{}
	for name, values := range r.Extra {
		if owned[name] || slices.Contains(notParams, name) || slices.Contains(cibaOwned, name) {
			return bad(fmt.Sprintf("Extra: %q belongs to the protocol or has a field of its own", name))
		}
		v[name] = slices.Clone(values)
	}
	hints := 0
	for name, value := range map[string]string{
		"login_hint": r.LoginHint, "login_hint_token": r.LoginHintToken, "id_token_hint": r.IDTokenHint,
		"binding_message": r.BindingMessage, "user_code": r.UserCode,
	} {
		if value == "" {
			continue
		}
		v.Set(name, value)
		if strings.Contains(name, "hint") {
			hints++
		}
	}
	if hints != 1 {
		return bad(fmt.Sprintf("exactly one of LoginHint, LoginHintToken and IDTokenHint says who is to log in (CIBA Core section 7.1), not %d", hints))
	}
	for _, s := range r.ACRValues {
		if s == "" || strings.ContainsAny(s, " \t\r\n") {
			return bad(fmt.Sprintf("%q is no member of acr_values; list each in a string of its own", s))
		}
	}
	if len(r.ACRValues) > 0 {
		v.Set("acr_values", strings.Join(r.ACRValues, " "))
	}
	for _, s := range r.Scopes {
		if !validScope(s) {
			return bad(fmt.Sprintf("%q is no scope (RFC 6749 section 3.3)", s))
		}
	}
	if len(r.Resources) > 0 {
		v["resource"] = slices.Clone(r.Resources)
	}
	if r.Expiry < 0 || r.Expiry > 0 && r.Expiry < time.Second {
		return bad("Expiry must be a second or more, or zero for the provider's own")
	}
	if r.Expiry > 0 {
		v.Set("requested_expiry", strconv.FormatInt(int64(r.Expiry/time.Second), 10))
	}
	return v, nil
}

// Backchannel asks the provider to have a user log in on a device of theirs (CIBA Core section 7). Save the login at once where a notification is to find it.
// Errors: ErrNoEndpoint; *ProviderError, whose Code says what of the request is wrong (unknown_user_id, expired_login_hint_token, missing_user_code, invalid_binding_message ...;
// section 13); *UnsupportedError; ErrUnavailable; or a mistake in req.
func (c *Client) Backchannel(ctx context.Context, req BackchannelRequest) (*BackchannelLogin, error) {
	form, err := req.values()
	if err != nil {
		return nil, err
	}
	login := &BackchannelLogin{
		Delivery: req.Delivery, Issuer: c.cfg.Issuer, ClientID: c.cfg.ClientID,
		Scopes: scopeList(c.cfg.Scopes, req.Scopes), Resources: slices.Clone(req.Resources),
	}
	if !req.ACRVoluntary {
		login.ACRValues = slices.Clone(req.ACRValues)
	}
	if req.IDTokenHint != "" {
		hint, err := ParseIDToken(req.IDTokenHint)
		if err != nil {
			return nil, fmt.Errorf("rp: BackchannelRequest.IDTokenHint: %w", err)
		}
		login.Subject = hint.Subject
	}
	switch req.Delivery {
	case "":
		login.Delivery = Poll
	case Poll:
	case Ping, Push:
		login.NotificationToken = random()
		form.Set("client_notification_token", login.NotificationToken)
	default:
		return nil, fmt.Errorf("rp: BackchannelRequest.Delivery: %q is not poll, ping or push", req.Delivery)
	}
	form.Set("scope", strings.Join(login.Scopes, " "))
	md, err := c.provider.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	target, err := c.endpoint("backchannel_authentication_endpoint", md.BackchannelAuthenticationEndpoint)
	if err != nil {
		return nil, err
	}
	if modes := md.BackchannelTokenDeliveryModesSupported; modes != nil && !slices.Contains(modes, string(login.Delivery)) {
		return nil, &UnsupportedError{"token delivery by " + string(login.Delivery), fmt.Sprintf("the provider's backchannel_token_delivery_modes_supported is %q", modes)}
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	answer, err := c.call(ctx, "backchannel authentication", target, form)
	if err != nil {
		return nil, ended(err)
	}
	if err := login.read(answer.Body, time.Now()); err != nil {
		return nil, &ProviderError{Endpoint: "backchannel authentication", Status: answer.Status, Err: err}
	}
	return login, nil
}

// read takes the answer of CIBA Core section 7.3.
func (l *BackchannelLogin) read(body []byte, now time.Time) error {
	var a struct {
		startAnswer
		AuthReqID string `json:"auth_req_id"`
	}
	if err := strictjson.Unmarshal(body, &a); err != nil {
		return fmt.Errorf("the answer is not acceptable JSON: %w", err)
	}
	if l.AuthReqID = a.AuthReqID; l.AuthReqID == "" {
		return errors.New("the answer has no auth_req_id")
	}
	var err error
	l.Expires, l.Interval, err = a.times(now)
	return err
}

func (c *Client) checkBackchannel(l *BackchannelLogin) error {
	switch {
	case l == nil || l.AuthReqID == "":
		return &MismatchError{"login", "no backchannel login is known"}
	case l.Issuer != c.cfg.Issuer:
		return &MismatchError{"login", "it began at another provider"}
	case l.ClientID != c.cfg.ClientID:
		return &MismatchError{"login", "it began for another client"}
	}
	return nil
}

// FinishBackchannel fetches the tokens of a login by Poll or Ping, and verifies the ID token, which there must be. It waits as FinishDevice does until the user has answered;
// with Ping the first request is sent at once, so call it when the notification has come, or, should none come, shortly before l.Expires.
// A provider may hold its answer back for half a minute: one request is given 40 seconds, or Config.Timeout where that is set.
// Errors: as FinishDevice.
func (c *Client) FinishBackchannel(ctx context.Context, l *BackchannelLogin) (*Tokens, error) {
	if err := c.checkBackchannel(l); err != nil {
		return nil, err
	}
	if l.Delivery == Push {
		return nil, &MismatchError{"login", "its tokens are pushed: give FinishPush the notification"}
	}
	tok, md, err := c.patient().poll(ctx, poll{
		grant:    GrantRequest{Type: cibaGrant, Resources: l.Resources, Params: url.Values{"auth_req_id": {l.AuthReqID}}},
		expires:  l.Expires,
		interval: &l.Interval,
		atOnce:   l.Delivery == Ping,
	})
	if err != nil {
		return nil, err
	}
	t, err := c.verifyLate(ctx, md, tok, expected{also: func(t *verifiedJWT, id *IDToken) error { return l.check(t, id, tok.RefreshToken) }})
	if err != nil {
		return nil, err
	}
	return l.complete(t)
}

// patient is c with time for long polling.
func (c *Client) patient() *Client {
	if c.cfg.Timeout != 0 {
		return c
	}
	patient, calls := *c, *c.http
	calls.Timeout = fetch.Client(c.cfg.HTTPClient, longPoll).Timeout
	patient.timeout, patient.http = longPoll, &calls
	return &patient
}

func (l *BackchannelLogin) complete(t *Tokens) (*Tokens, error) {
	if err := demandIDToken(t); err != nil {
		return nil, err
	}
	if t.Scope == nil {
		t.Scope = slices.Clone(l.Scopes)
	}
	return t, nil
}

// check is what a backchannel login demands of its ID token, past what every grant does: the user hinted at, the acr, and that it names no other request or refresh token.
func (l *BackchannelLogin) check(t *verifiedJWT, id *IDToken, refreshToken string) error {
	if l.Subject != "" && id.Subject != l.Subject {
		return t.fail("sub", "that of the ID token hint", "another user")
	}
	if len(l.ACRValues) > 0 && !slices.Contains(l.ACRValues, id.ACR) {
		return t.fail("acr", "one of "+quoteAll(l.ACRValues), strconv.Quote(printable(id.ACR, 64)))
	}
	if err := t.checkHash(rtHashClaim, refreshToken); err != nil {
		return err
	}
	return l.checkRequestID(t)
}

// The claims that tie an ID token to its request and to what came beside it (CIBA Core section 10.3.1).
const (
	authReqIDClaim = "urn:openid:params:jwt:claim:auth_req_id"
	rtHashClaim    = "urn:openid:params:jwt:claim:rt_hash"
)

func (l *BackchannelLogin) checkRequestID(t *verifiedJWT) error {
	if _, present := t.claims[authReqIDClaim]; !present {
		return nil
	}
	got, err := t.requiredString(authReqIDClaim)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare([]byte(got), []byte(l.AuthReqID)) != 1 {
		return t.fail(authReqIDClaim, "the login's", "another")
	}
	return nil
}
