package bearer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
	"github.com/latchkey-go/latchkey/internal/contain"
	"github.com/latchkey-go/latchkey/internal/fetch"
	"github.com/latchkey-go/latchkey/internal/problem"
	"github.com/latchkey-go/latchkey/internal/strictjson"
	"github.com/latchkey-go/latchkey/rp/clientauth"
)

const (
	maxAnswer     = 512 << 10 // bytes
	maxRetryAfter = 5 * time.Minute

	plainAnswer  = "application/json"
	signedAnswer = "application/token-introspection+jwt"
)

var errPanicked = errors.New("a transport, or Introspection.Auth, panicked; the log has the stack")

// ask returns the token and until when the answer may be used. sum is the SHA-256 of raw, which is no JWT, or one that has been verified.
// Errors: *TokenError; *discovery.UnavailableError and ErrBusy, which say nothing against the token.
func (i *introspector) ask(ctx context.Context, raw string, sum *[sha256.Size]byte) (*Token, time.Time, error) {
	if !b64token(raw) {
		return nil, time.Time{}, &TokenError{Check: "compact", Want: "a token", Got: "characters that no bearer token has, or none"}
	}
	flights := i.flights
	if looksLikeJWT(raw) {
		flights = i.verified
	}
	v, ok := flights.do(ctx, sum, func(ctx context.Context) (v verdict) {
		ctx, cancel := context.WithTimeout(ctx, fetch.DefaultTimeout)
		defer cancel()
		// In a goroutine of ours a panic of a transport or an Auth would end the process.
		if !contain.Run(ctx, i.log, "bearer: panic while a token was asked about", func() { v = i.call(ctx, raw) }) {
			v = verdict{err: &discovery.UnavailableError{URL: "the introspection endpoint of " + i.issuer.Issuer.Issuer, Err: errPanicked}}
		}
		return v
	})
	if !ok {
		return nil, time.Time{}, &discovery.UnavailableError{URL: "the introspection endpoint of " + i.issuer.Issuer.Issuer, Err: context.Cause(ctx)}
	}
	return v.token, v.until, v.err
}

// call asks once.
func (i *introspector) call(ctx context.Context, raw string) verdict {
	target, method, err := i.endpoint(ctx)
	if err != nil {
		return verdict{err: err}
	}
	now := time.Now() // what is said of a token may be older than the answer, never younger
	media, body, err := i.send(ctx, target, method, raw)
	if err != nil {
		return verdict{err: err}
	}
	t, err := i.read(ctx, media, body, now, looksLikeJWT(raw))
	if err != nil {
		if !errors.Is(err, ErrInvalidToken) && !errors.Is(err, ErrUnavailable) {
			i.complain(ctx, target, err)
			err = &discovery.UnavailableError{URL: nameOf(target), Err: err}
		}
		return verdict{err: err}
	}
	until := now.Add(max(0, i.cfg.MaxAge))
	if !t.Expiry.IsZero() {
		until = earlier(until, t.Expiry)
	}
	return verdict{token: t, until: until}
}

// endpoint says where to ask, and how to prove who asks.
func (i *introspector) endpoint(ctx context.Context) (string, clientauth.Method, error) {
	method := i.cfg.Auth
	if i.cfg.Endpoint != "" {
		if method == nil {
			method = i.basic
		}
		return i.cfg.Endpoint, method, nil
	}
	md, err := i.issuer.provider.Metadata(ctx)
	if err != nil {
		return "", nil, err
	}
	target := md.IntrospectionEndpoint
	if target == "" {
		err = errors.New("its metadata has no introspection_endpoint; set Introspection.Endpoint")
	} else {
		err = fetch.CheckURL(target, i.loopbackHTTP)
	}
	if err != nil {
		return "", nil, &discovery.UnavailableError{URL: i.issuer.provider.Issuer(), Err: err}
	}
	if method == nil {
		method = i.basic
		if listed := md.IntrospectionEndpointAuthMethodsSupported; slices.Contains(listed, i.post.Name()) && !slices.Contains(listed, i.basic.Name()) {
			method = i.post
		}
	}
	return target, method, nil
}

// send sends the question, and returns the body of an answer with status 200 and its media type.
func (i *introspector) send(ctx context.Context, target string, method clientauth.Method, raw string) (media string, body []byte, err error) {
	client := *i.client
	client.Transport = &clientauth.Transport{Method: method, Issuer: i.issuer.provider.Issuer(), ClientID: i.cfg.ClientID, Base: i.client.Transport}
	form := url.Values{"token": {raw}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		return "", nil, &discovery.UnavailableError{URL: nameOf(target), Err: errors.New("it is not a URL")}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", plainAnswer)
	if i.cfg.Signed {
		req.Header.Set("Accept", signedAnswer)
	}
	resp, err := fetch.Do(&client, req, maxAnswer)
	if err != nil {
		if e, ok := errors.AsType[*fetch.Error](err); ok {
			err = e.Err // which names the URL once more
		}
		return "", nil, &discovery.UnavailableError{URL: nameOf(target), Err: err}
	}
	if resp.Status != http.StatusOK {
		err := statusError(resp, method.Name())
		if resp.Status == http.StatusBadRequest || resp.Status == http.StatusUnauthorized || resp.Status == http.StatusForbidden {
			i.complain(ctx, target, err)
		}
		return "", nil, &discovery.UnavailableError{URL: nameOf(target), RetryAfter: retryAfter(resp.Header, time.Now()), Err: err}
	}
	media, _, err = mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		media = ""
	}
	return media, resp.Body, nil
}

// complain tells the operator what no waiting will mend.
func (i *introspector) complain(ctx context.Context, target string, err error) {
	i.log.LogAttrs(ctx, slog.LevelError, "bearer: introspection does not work",
		slog.String("issuer", i.issuer.Issuer.Issuer), slog.String("url", nameOf(target)), slog.String("error", problem.Quote(err.Error())))
}

// statusError says what a status means here. A 4xx is about this API: about the token the endpoint has only active to say (RFC 7662 section 2.3).
func statusError(resp *fetch.Response, method string) error {
	text := fmt.Sprintf("it answered %d %s", resp.Status, http.StatusText(resp.Status))
	switch {
	case resp.Status >= 300 && resp.Status < 400:
		return errors.New(text + ", a redirect, which is not followed: set Introspection.Endpoint to the final URL")
	case resp.Status == http.StatusBadRequest, resp.Status == http.StatusUnauthorized, resp.Status == http.StatusForbidden:
		return errors.New(text + errorCode(resp.Body) + ": it does not let this API ask; check Introspection's credentials, which were sent by " + printable(method))
	}
	return errors.New(text)
}

// errorCode is the error member of an answer, if it is one of the registered: any other text may quote what was sent.
func errorCode(body []byte) string {
	members, err := strictjson.Object(body)
	if err != nil {
		return ""
	}
	switch code, _ := text(members["error"]); code {
	case "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "access_denied", "invalid_token", "insufficient_scope", "server_error", "temporarily_unavailable":
		return " (" + code + ")"
	}
	return ""
}

// retryAfter reads Retry-After: seconds or a date (RFC 9110 section 10.2.3). Zero: none.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseUint(value, 10, 31); err == nil {
		return min(time.Duration(n)*time.Second, maxRetryAfter)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(0, at.Sub(now)), maxRetryAfter)
	}
	return 0
}

// nameOf is a URL as errors may show it.
func nameOf(target string) string {
	u, err := url.Parse(target)
	if err != nil {
		return "the introspection endpoint"
	}
	return fetch.Name(u)
}
