package rp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-go/latchkey/internal/fetch"
	"github.com/latchkey-go/latchkey/internal/strictjson"
	"golang.org/x/oauth2"
)

// ParseNotification reads of which login a notification is, from its body (CIBA Core sections 10.2 and 10.3). Nothing of it has been authenticated:
// find the login that authReqID names, and hold the request's bearer token against it with CheckNotificationToken.
func ParseNotification(body []byte) (authReqID string, err error) {
	var n struct {
		AuthReqID string `json:"auth_req_id"`
	}
	if err := strictjson.Unmarshal(body, &n); err != nil {
		return "", fmt.Errorf("rp: the notification is not acceptable JSON: %w", err)
	}
	if n.AuthReqID == "" {
		return "", errors.New("rp: the notification has no auth_req_id")
	}
	return n.AuthReqID, nil
}

// FinishPush takes the notification that brings the tokens of a login by Push, or says why there are none (CIBA Core sections 10.3.1 and 12); body is what the
// provider posted, with a bearer token that CheckNotificationToken has found good. The ID token must name the login and fit the tokens beside it: at_hash
// and, for a refresh token, rt_hash are required.
// A notification can be replayed until l.Expires: forget the login once it is finished.
// Errors: ErrDenied, ErrExpired, ErrMismatch (another login's), *ProviderError of the endpoint "notification", *TokenError (ErrInvalidToken); ErrUnavailable when the keys can't be
// had, after which the same body may be tried again.
func (c *Client) FinishPush(ctx context.Context, l *BackchannelLogin, body []byte) (*Tokens, error) {
	if err := c.checkBackchannel(l); err != nil {
		return nil, err
	}
	if l.Delivery != Push {
		return nil, &MismatchError{"login", "its tokens are not pushed: FinishBackchannel fetches them"}
	}
	id, err := ParseNotification(body)
	if err != nil {
		return nil, &ProviderError{Endpoint: "notification", Err: err}
	}
	if id != l.AuthReqID {
		return nil, &MismatchError{"auth_req_id", "the notification is of another login"}
	}
	now := time.Now()
	if now.After(l.Expires.Add(c.leeway)) {
		return nil, ErrExpired
	}
	tok, err := pushed(body, now, l.AuthReqID, l.NotificationToken)
	if err != nil {
		return nil, ended(err)
	}
	md, err := c.provider.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	t, err := c.finishTokens(ctx, md, tok, expected{also: func(t *verifiedJWT, id *IDToken) error { return l.checkPushed(t, id, tok.RefreshToken) }})
	if err != nil {
		return nil, err
	}
	return l.complete(t)
}

// pushed reads the tokens as strictly as the token endpoint's.
func pushed(body []byte, now time.Time, secrets ...string) (*oauth2.Token, error) {
	clean, err := cleanTokens("application/json", body, nil)
	if err != nil {
		return nil, &ProviderError{Endpoint: "notification", Err: err}
	}
	var extra map[string]any
	// Not into an oauth2.Token, whose own JSON has an "expiry" that is no member of a token answer.
	var n struct {
		AccessToken  string          `json:"access_token"`
		TokenType    string          `json:"token_type"`
		RefreshToken string          `json:"refresh_token"`
		ExpiresIn    int64           `json:"expires_in"`
		Error        json.RawMessage `json:"error"`
	}
	if err := errors.Join(json.Unmarshal(clean, &extra), json.Unmarshal(clean, &n)); err != nil {
		return nil, &ProviderError{Endpoint: "notification", Err: errors.New("the tokens can't be read")}
	}
	if n.Error != nil {
		return nil, providerError("notification", &fetch.Response{Body: clean}, secrets...)
	}
	tok := &oauth2.Token{AccessToken: n.AccessToken, TokenType: n.TokenType, RefreshToken: n.RefreshToken, ExpiresIn: n.ExpiresIn}
	if n.ExpiresIn > 0 {
		tok.Expiry = now.Add(time.Duration(n.ExpiresIn) * time.Second)
	}
	return tok.WithExtra(extra), nil
}

// checkPushed: these tokens have not come from the token endpoint over TLS, so their ID token alone says that they belong together.
func (l *BackchannelLogin) checkPushed(t *verifiedJWT, id *IDToken, refreshToken string) error {
	required := []string{authReqIDClaim, "at_hash"}
	if refreshToken != "" {
		required = append(required, rtHashClaim)
	}
	for _, name := range required {
		if _, err := t.requiredString(name); err != nil {
			return err
		}
	}
	return l.check(t, id, refreshToken)
}
