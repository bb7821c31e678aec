package rptest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// serveBackchannel is the backchannel authentication endpoint (OpenID Connect CIBA Core 1.0 section 7).
func (p *Provider) serveBackchannel(w http.ResponseWriter, r *http.Request) {
	client, form, perr := p.authenticated(w, r)
	var l *pending
	if perr == nil {
		l, perr = p.backchannelRequest(client, form)
	}
	if perr != nil {
		writeError(w, perr)
		return
	}
	p.mu.Lock()
	p.waitLocked(l)
	p.mu.Unlock()
	answer := map[string]any{"auth_req_id": l.id, "expires_in": int(time.Until(l.expires) / time.Second)}
	if client.TokenDelivery != "push" {
		answer["interval"] = int(l.interval / time.Second)
	}
	noStore(w)
	writeJSON(w, http.StatusOK, answer)
}

// backchannelRequest checks a request as section 7.2 says.
func (p *Provider) backchannelRequest(client *Client, form url.Values) (*pending, *protocolError) {
	scopes, perr := pendingScopes(form)
	switch {
	case perr != nil:
		return nil, perr
	case client.Secret == "":
		return nil, refuse(400, "unauthorized_client", "a public client may not wake its users")
	case form.Has("request"):
		return nil, refuse(400, "invalid_request", "signed authentication requests are not supported")
	case !strings.Contains(" "+form.Get("scope")+" ", " openid "):
		return nil, refuse(400, "invalid_scope", "openid is missing")
	}
	l := &pending{
		grantType: cibaGrant, client: client, scopes: scopes, resources: form["resource"],
		acrValues: strings.Fields(form.Get("acr_values")), message: form.Get("binding_message"),
	}
	if l.sub, perr = p.hintedAt(form); perr != nil {
		return nil, perr
	}
	if len(l.message) > 64 || strings.ContainsFunc(l.message, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return nil, refuse(400, "invalid_binding_message", "")
	}
	p.mu.Lock()
	u := p.userBySubject(l.sub)
	p.mu.Unlock()
	switch {
	case u == nil:
		return nil, refuse(400, "unknown_user_id", "")
	case u.UserCode != "" && !form.Has("user_code"):
		return nil, refuse(400, "missing_user_code", "")
	case u.UserCode != "" && !same(u.UserCode, form.Get("user_code")):
		return nil, refuse(400, "invalid_user_code", "")
	}
	if form.Has("requested_expiry") {
		seconds, err := strconv.ParseUint(form.Get("requested_expiry"), 10, 31)
		if err != nil || seconds == 0 {
			return nil, refuse(400, "invalid_request", "requested_expiry is no positive number of seconds")
		}
		l.expires = time.Now().Add(min(time.Duration(seconds)*time.Second, 24*time.Hour))
	}
	if client.TokenDelivery == "ping" || client.TokenDelivery == "push" {
		if l.notification = form.Get("client_notification_token"); !bearerSyntax(l.notification) {
			return nil, refuse(400, "invalid_request", "client_notification_token is no bearer token of 128 bits to 1024 characters")
		}
	}
	return l, nil
}

// bearerSyntax is RFC 6750 section 2.1's, for a token with room for 128 bits.
func bearerSyntax(token string) bool {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"
	return len(token) >= 22 && len(token) <= 1024 && strings.Trim(strings.TrimRight(token, "="), letters) == ""
}

// hintedAt is the subject that the one hint means. A login_hint_token is a JWT that Sign has made, with a sub and perhaps an exp.
func (p *Provider) hintedAt(form url.Values) (string, *protocolError) {
	hints := 0
	for _, name := range []string{"login_hint", "login_hint_token", "id_token_hint"} {
		if form.Get(name) != "" {
			hints++
		}
	}
	if hints != 1 {
		return "", refuse(400, "invalid_request", "exactly one hint must come")
	}
	if hint := form.Get("login_hint"); hint != "" {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.hintedUser(hint), nil
	}
	claims := p.hinted(form.Get("login_hint_token") + form.Get("id_token_hint"))
	if claims == nil {
		return "", refuse(400, "invalid_request", "the hint was not issued here")
	}
	if exp, ok := claims["exp"].(float64); ok && form.Has("login_hint_token") && int64(exp) <= time.Now().Unix() {
		return "", refuse(400, "expired_login_hint_token", "")
	}
	sub, _ := claims["sub"].(string)
	return sub, nil
}

// ApproveBackchannel allows every backchannel login that waits for the user of that name, and notifies the clients which are registered for it: of ping by
// the id, of push with the tokens. It returns the first refusal of a notification, and an error when nothing waits.
func (p *Provider) ApproveBackchannel(ctx context.Context, user string) error {
	return p.answerBackchannel(ctx, user, true)
}

// DenyBackchannel refuses them.
func (p *Provider) DenyBackchannel(ctx context.Context, user string) error {
	return p.answerBackchannel(ctx, user, false)
}

// BindingMessages are the binding messages of the logins that wait for the user of that name: what the telephone shows.
func (p *Provider) BindingMessages(user string) (messages []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.waitingForLocked(user) {
		messages = append(messages, l.message)
	}
	return messages
}

func (p *Provider) waitingForLocked(user string) (found []*pending) {
	u := p.userByName(user)
	for _, l := range p.waiting {
		if u != nil && l.grantType == cibaGrant && l.sub == u.Subject && l.open(time.Now()) {
			found = append(found, l)
		}
	}
	return found
}

func (p *Provider) answerBackchannel(ctx context.Context, user string, yes bool) error {
	p.mu.Lock()
	waiting := p.waitingForLocked(user)
	for _, l := range waiting {
		if yes {
			p.approveLocked(l, p.userByName(user))
		} else {
			l.denied = true
		}
	}
	p.mu.Unlock()
	if len(waiting) == 0 {
		return fmt.Errorf("rptest: no backchannel login waits for %q", user)
	}
	var first error
	for _, l := range waiting {
		body := map[string]any{"auth_req_id": l.id}
		switch {
		case l.notification == "":
			continue
		case l.client.TokenDelivery == "push" && yes:
			body = p.issue(l.grant, l.scopes, issuance{authReqID: l.id})
			body["auth_req_id"] = l.id
			p.mu.Lock()
			l.used = true
			p.mu.Unlock()
		case l.client.TokenDelivery == "push":
			body["error"] = "access_denied"
		}
		if err := p.Notify(ctx, l.client.NotificationURI, l.notification, body); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// Notify posts a notification as JSON to uri with the bearer token, as section 10.2 says: for those that no honest provider sends. An answer that is neither 200 nor 204 is an error.
func (p *Provider) Notify(ctx context.Context, uri, token string, body map[string]any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, uri, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := p.notifier().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("rptest: the notification was answered with status %d", resp.StatusCode)
	}
	return nil
}

// notifier is Options.HTTPClient, or its default.
func (p *Provider) notifier() *http.Client {
	if p.opts.HTTPClient != nil {
		return p.opts.HTTPClient
	}
	return &http.Client{Transport: &memory{&p.hosts, http.DefaultTransport}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}
