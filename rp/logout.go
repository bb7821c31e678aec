package rp

import (
	"cmp"
	"context"
	"fmt"
	"net/url"

	"github.com/latchkey-go/latchkey/internal/fetch"
)

// maxLogoutURL is the longest logout URL that carries the ID token hint: servers and proxies refuse request lines of 8 KB.
const maxLogoutURL = 7000

// EndSessionURL is where the browser goes to log out at the provider (RP-Initiated Logout 1.0 section 2), "" when the provider has no such endpoint.
// rawIDToken, the session's last ID token, is the hint; the client id is sent beside it, and alone when the hint would make the URL too long.
// state comes back with the browser to Config.PostLogoutRedirectURL; it may be empty. ErrUnavailable when the metadata can't be had.
func (c *Client) EndSessionURL(ctx context.Context, rawIDToken, state string) (string, error) {
	endpoint := c.cfg.Quirks.EndSessionURL
	if endpoint == "" {
		md, err := c.provider.Metadata(ctx)
		if err != nil {
			return "", err
		}
		if endpoint = md.EndSessionEndpoint; endpoint == "" {
			return "", nil
		}
		if err := fetch.CheckURL(endpoint, c.cfg.InsecureLoopbackHTTP); err != nil {
			return "", fmt.Errorf("rp: the provider's end_session_endpoint: %w", err)
		}
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", fmt.Errorf("rp: the provider's end_session_endpoint is no URL")
	}
	params := url.Values{"client_id": {c.cfg.ClientID}}
	if back := c.cfg.PostLogoutRedirectURL; back != "" {
		params.Set(cmp.Or(c.cfg.Quirks.LogoutReturnParam, "post_logout_redirect_uri"), back)
		if state != "" {
			params.Set("state", state)
		}
	}
	own := u.RawQuery
	with := func(hint string) string {
		if hint != "" {
			params.Set("id_token_hint", hint)
		} else {
			params.Del("id_token_hint")
		}
		if u.RawQuery = params.Encode(); own != "" {
			u.RawQuery = own + "&" + u.RawQuery
		}
		return u.String()
	}
	if c.cfg.Quirks.LogoutWithoutHint {
		return with(""), nil
	}
	if full := with(rawIDToken); len(full) <= maxLogoutURL {
		return full, nil
	}
	return with(""), nil
}
