package rptest

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// logins lists which clients have a login within one of sids, and whose.
func (p *Provider) logins(sids map[string]bool) map[*Client]*grant {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := map[*Client]*grant{}
	for g := range p.grantsLocked() {
		if g.sid != "" && sids[g.sid] {
			found[g.client] = g
		}
	}
	return found
}

// notify tells the clients of ended sessions over the back channel and returns the frames for the front channel.
// A client that can't be told does not stop the logout.
func (p *Provider) notify(ctx context.Context, sids map[string]bool) (frames []string) {
	for c, g := range p.logins(sids) {
		if c.BackchannelLogoutURI != "" {
			_ = p.deliver(ctx, c, g.sub, g.sid)
		}
		if c.FrontchannelLogoutURI != "" {
			sep := "?"
			if strings.Contains(c.FrontchannelLogoutURI, "?") {
				sep = "&"
			}
			frames = append(frames, c.FrontchannelLogoutURI+sep+url.Values{"iss": {p.opts.Issuer}, "sid": {g.sid}}.Encode())
		}
	}
	return frames
}

// BackchannelLogout ends the user's sessions and posts a logout token for each to the clients that have a BackchannelLogoutURI.
// It returns the first refusal; a client that answers neither 200 nor 204 has refused.
func (p *Provider) BackchannelLogout(ctx context.Context, user string) error {
	sids := map[string]bool{}
	p.mu.Lock()
	if u := p.userByName(user); u != nil {
		for g := range p.grantsLocked() {
			if g.sub == u.Subject && g.sid != "" {
				sids[g.sid] = true
			}
		}
	}
	p.mu.Unlock()
	var first error
	for sid := range sids {
		for c, g := range p.logins(map[string]bool{sid: true}) {
			if c.BackchannelLogoutURI == "" {
				continue
			}
			if err := p.deliver(ctx, c, g.sub, sid); err != nil && first == nil {
				first = err
			}
		}
	}
	p.EndUserSessions(user)
	return first
}

func (p *Provider) deliver(ctx context.Context, c *Client, sub, sid string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	form := url.Values{"logout_token": {p.logoutToken(c, sub, sid)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.BackchannelLogoutURI, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := p.notifier().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("rptest: client %s answered its logout token with status %d", c.ID, resp.StatusCode)
	}
	return nil
}
