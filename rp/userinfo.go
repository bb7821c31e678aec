package rp

import (
	"context"
	"crypto/subtle"
	"errors"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/latchkey-go/latchkey/discovery"
	"github.com/latchkey-go/latchkey/internal/fetch"
)

// maxUserInfo is the longest UserInfo answer that is read, in bytes.
const maxUserInfo = 1 << 20

// UserInfo fetches the UserInfo claims (OpenID Connect Core 5.3), as JSON or as a signed JWT; the answer's content type tells which.
// subject is the sub of the verified ID token, and the answer's must equal it: otherwise nothing of it is used (5.3.4).
// Errors: ErrNoEndpoint when the provider has none; *ProviderError (see IsUnauthorized); *TokenError; ErrUnavailable.
func (c *Client) UserInfo(ctx context.Context, accessToken, subject string) (Claims, error) {
	if accessToken == "" || subject == "" {
		return Claims{}, errors.New("rp: UserInfo needs an access token and the subject of the ID token")
	}
	md, err := c.provider.Metadata(ctx)
	if err != nil {
		return Claims{}, err
	}
	target, err := c.endpoint("userinfo_endpoint", md.UserinfoEndpoint)
	if err != nil {
		return Claims{}, err
	}
	resp, err := c.getUserInfo(ctx, target, accessToken)
	if err != nil {
		return Claims{}, err
	}
	t, err := c.readUserInfo(ctx, md, resp)
	if err != nil {
		return Claims{}, err
	}
	got, err := t.subject()
	if err != nil {
		return Claims{}, err
	}
	if subtle.ConstantTimeCompare([]byte(got), []byte(subject)) != 1 {
		return Claims{}, t.fail("sub", "the ID token's", "another")
	}
	claims, err := NewClaims(t.payload)
	if err != nil {
		return Claims{}, t.wrap("json", err)
	}
	return c.Tolerate(claims), nil
}

// getUserInfo sends the token in the header (RFC 6750 section 2.1), and to this URL alone.
func (c *Client) getUserInfo(ctx context.Context, target, accessToken string) (*fetch.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, errors.New("rp: the provider's userinfo_endpoint is no URL")
	}
	req.Header.Set("Authorization", "Bearer "+accessToken)
	req.Header.Set("Accept", "application/json, application/jwt")
	resp, err := fetch.Do(c.http, req, maxUserInfo)
	if tooLarge, ok := errors.AsType[*fetch.TooLargeError](err); ok {
		return nil, &ProviderError{Endpoint: "userinfo", Err: tooLarge}
	}
	if err != nil {
		where := *req.URL
		where.User, where.RawQuery, where.Fragment = nil, "", ""
		return nil, &discovery.UnavailableError{URL: where.String(), Err: err}
	}
	if resp.Status != http.StatusOK {
		failed := providerError("userinfo", resp, accessToken)
		if failed.Code == "" {
			failed.Code = challengeCode(resp.Header, accessToken)
		}
		return nil, failed
	}
	return resp, nil
}

// challengeCode is the error of a Bearer challenge (RFC 6750 section 3), "" when there is none. One that quotes the token does not get it into a log.
func challengeCode(h http.Header, token string) string {
	for _, challenge := range h.Values("WWW-Authenticate") {
		scheme, params, _ := strings.Cut(challenge, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			continue
		}
		for param := range strings.SplitSeq(params, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
			if strings.EqualFold(name, "error") {
				return printable(strings.ReplaceAll(strings.Trim(value, `"`), token, "[redacted]"), 64)
			}
		}
	}
	return ""
}

// IsUnauthorized reports whether err is an endpoint's word that the access token is not good (any more): 401, or 403 as some providers say it.
func IsUnauthorized(err error) bool {
	e, ok := errors.AsType[*ProviderError](err)
	return ok && e.Endpoint == "userinfo" && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden)
}

// readUserInfo judges by content type: what calls itself a JWT is verified as one, whatever was registered.
func (c *Client) readUserInfo(ctx context.Context, md *discovery.Metadata, resp *fetch.Response) (*verifiedJWT, error) {
	t := &verifiedJWT{kind: "UserInfo", payload: resp.Body}
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case err == nil && media == "application/jwt":
		return c.verifyUserInfo(ctx, md, strings.TrimSpace(string(resp.Body)))
	case err == nil && (media == "application/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")):
		if c.cfg.UserInfoSigningAlg != "" {
			return nil, t.fail("signature", "a JWT signed with "+c.cfg.UserInfoSigningAlg, "plain JSON")
		}
		return t, t.readClaims()
	}
	return nil, &ProviderError{Endpoint: "userinfo", Status: resp.Status, Err: errors.New("its answer is " + strconv.Quote(printable(media, 64)) + ", neither JSON nor a JWT")}
}

// verifyUserInfo checks a signed answer (Core 5.3.2): the signature always; iss and aud when they are there, and that they are when signing was registered.
func (c *Client) verifyUserInfo(ctx context.Context, md *discovery.Metadata, raw string) (*verifiedJWT, error) {
	listed := md.UserinfoSigningAlgValuesSupported
	if len(listed) == 0 {
		listed = md.IDTokenSigningAlgValuesSupported
	}
	registered := c.cfg.UserInfoSigningAlg
	if registered == "" {
		registered = c.cfg.SigningAlg
	}
	algs, err := c.signingAlgs(registered, listed)
	if err != nil {
		return nil, err
	}
	t, err := c.verifyJWT(ctx, raw, "UserInfo", algs)
	if err != nil {
		return nil, err
	}
	if err := t.checkKind(); err != nil {
		return nil, err
	}
	strict := c.cfg.UserInfoSigningAlg != ""
	if _, present := t.claims["iss"]; present || strict {
		if err := c.checkUserInfoIssuer(t); err != nil {
			return nil, err
		}
	}
	if _, present := t.claims["aud"]; present || strict {
		audience, err := t.audience()
		if err != nil {
			return nil, err
		}
		if !slices.Contains(audience, c.cfg.ClientID) {
			return nil, t.fail("aud", strconv.Quote(c.cfg.ClientID), printable(quoteAll(audience), 256))
		}
	}
	return t, nil
}

func (c *Client) checkUserInfoIssuer(t *verifiedJWT) error {
	issuer, err := t.requiredString("iss")
	if err != nil {
		return err
	}
	if issuer == c.cfg.Issuer && !strings.Contains(issuer, tenantPlaceholder) || c.tenantIssuer(issuer) || slices.Contains(c.cfg.Quirks.IssuerAliases, issuer) {
		return nil
	}
	return t.fail("iss", strconv.Quote(c.cfg.Issuer), strconv.Quote(printable(issuer, 256)))
}
