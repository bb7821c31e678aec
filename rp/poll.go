package rp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/latchkey-go/latchkey/discovery"
	"golang.org/x/oauth2"
)

// What ends a login that somebody answers on another device.
var (
	// ErrDenied: the user said no. Don't ask again unasked.
	ErrDenied = errors.New("rp: the user refused the login")
	// ErrExpired: nobody answered in time; begin another login.
	ErrExpired = errors.New("rp: the login ran out of time")
)

const (
	// defaultInterval between polls, where the provider states none; and what slow_down adds, for good (RFC 8628 sections 3.2 and 3.5, CIBA Core sections 7.3 and 11).
	defaultInterval = 5 * time.Second
	// maxBackoff is the longest wait that failed polls lead to, unless the provider's own interval or Retry-After is longer.
	maxBackoff = time.Minute
)

// poll is one login that waits for its user.
type poll struct {
	grant    GrantRequest
	expires  time.Time
	interval *time.Duration // the login's own: what slow_down adds must outlive this call
	atOnce   bool           // the provider has said that the tokens are there
}

// poll asks until there are tokens, a refusal, or no time left (RFC 8628 section 3.5, CIBA Core section 10.1). Each wait is counted from the last answer,
// so that one which the provider held back (long polling) is not followed too soon.
func (c *Client) poll(ctx context.Context, p poll) (*oauth2.Token, *discovery.Metadata, error) {
	if *p.interval < time.Second { // a login out of somebody's storage
		*p.interval = defaultInterval
	}
	wait, backoff := *p.interval, *p.interval
	if p.atOnce {
		wait = 0
	}
	var last error
	for {
		if !time.Now().Add(wait).Before(p.expires) {
			return nil, nil, expired(last)
		}
		if err := pause(ctx, wait); err != nil {
			return nil, nil, err
		}
		tok, md, err := c.ask(ctx, p.grant)
		if err == nil {
			return tok, md, nil
		}
		last = err
		switch errorCode(err) {
		case "authorization_pending":
			backoff = *p.interval
		case "slow_down":
			*p.interval += defaultInterval
			backoff = *p.interval
		case "access_denied", "expired_token":
			return nil, nil, ended(err)
		case "server_error", "temporarily_unavailable":
			backoff = slower(backoff)
		default:
			if !errors.Is(err, ErrUnavailable) {
				return nil, nil, err
			}
			// "must unilaterally reduce their polling frequency" after a time-out, section 3.5 says.
			backoff = slower(backoff)
		}
		wait = max(backoff, *p.interval, retryAfter(err))
	}
}

// verifyLate is finishTokens for tokens that the provider gives once: keys out of reach are waited for, a minute at most.
func (c *Client) verifyLate(ctx context.Context, md *discovery.Metadata, tok *oauth2.Token, want expected) (*Tokens, error) {
	until := time.Now().Add(maxBackoff)
	for wait := time.Second; ; wait = min(2*wait, maxBackoff) {
		t, err := c.finishTokens(ctx, md, tok, want)
		if !errors.Is(err, ErrUnavailable) {
			return t, err
		}
		wait = max(wait, retryAfter(err))
		if !time.Now().Add(wait).Before(until) || pause(ctx, wait) != nil {
			return nil, err
		}
	}
}

// demandIDToken: where openid was asked for, an access token alone is no proof of a login.
func demandIDToken(t *Tokens) error {
	if t.IDToken == nil {
		return &TokenError{Token: "ID token", Check: "missing", Want: "one beside the access token", Got: "none; an access token is no proof of a login (Core 3.1.3.3)"}
	}
	return nil
}

// ended adds to a provider's final word what a caller branches on.
func ended(err error) error {
	switch errorCode(err) {
	case "access_denied":
		return fmt.Errorf("%w: %w", ErrDenied, err)
	case "expired_token":
		return fmt.Errorf("%w: %w", ErrExpired, err)
	}
	return err
}

func expired(last error) error {
	if last == nil || errorCode(last) == "authorization_pending" {
		return ErrExpired
	}
	return fmt.Errorf("%w; the last request: %w", ErrExpired, last)
}

func errorCode(err error) string {
	if e, ok := errors.AsType[*ProviderError](err); ok {
		return e.Code
	}
	return ""
}

// retryAfter is what the provider asked for.
func retryAfter(err error) time.Duration {
	if e, ok := errors.AsType[*ProviderError](err); ok {
		return e.RetryAfter
	}
	if e, ok := errors.AsType[*UnavailableError](err); ok {
		return e.RetryAfter
	}
	return 0
}

func slower(wait time.Duration) time.Duration { return max(wait, min(2*wait, maxBackoff)) }

// pause waits for d, or says that ctx has ended.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// startAnswer is what device authorization and backchannel authentication answers have in common.
type startAnswer struct {
	ExpiresIn json.RawMessage `json:"expires_in"`
	Interval  json.RawMessage `json:"interval"`
}

// times reads an answer's lifetime, which is required, and interval.
func (a startAnswer) times(now time.Time) (expires time.Time, interval time.Duration, err error) {
	lifetime, ok := seconds(a.ExpiresIn)
	if !ok {
		return time.Time{}, 0, errors.New("the answer has no expires_in, a positive number of seconds")
	}
	interval, ok = seconds(a.Interval)
	if !ok {
		interval = defaultInterval
	}
	return now.Add(lifetime), interval, nil
}

// seconds reads a positive number of seconds, or a string that holds one. What is too large is as much as fits.
func seconds(raw json.RawMessage) (time.Duration, bool) {
	text := string(raw)
	var s string
	if json.Unmarshal(raw, &s) == nil {
		text = s
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f >= 1) || math.IsInf(f, 0) {
		return 0, false
	}
	return time.Duration(min(math.Ceil(f), math.MaxInt32)) * time.Second, true
}
