package rp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/latchkey-go/latchkey/rp/store"
	"golang.org/x/oauth2"
)

// TokenSource is the tokens of one key of a TokenStore, kept fresh. It is an oauth2.TokenSource, for oauth2.NewClient and the SDKs that take one; TokenContext is for those who
// can pass a context; Transport is an http.RoundTripper over it.
//
// It refreshes ahead of the access token's end, in the background, once over all goroutines and processes that share the store, and saves a rotated refresh token before
// it hands out the access token that came with it. While the provider or the store is out of reach it serves the access token it has until its end, and asks again after
// pauses that grow to a minute, or as Retry-After says: that of a 503 holds for all keys of the Client, after it one goes first.
//
// It is safe for concurrent use, and a value: making another for the same store and key costs nothing.
type TokenSource struct {
	ctx    context.Context
	client *Client
	store  *TokenStore
	key    string
	mint   *mint
}

// TokenSource returns the tokens under key. Nothing is read before the first Token. ctx is what Token waits under; its end cuts no refresh short. Without a Client of New
// or a TokenStore of NewTokenStore the source is empty: each of its calls is an error that says so.
func (c *Client) TokenSource(ctx context.Context, tokens *TokenStore, key string) *TokenSource {
	if c == nil || c.cfg == nil || tokens == nil || tokens.cfg == nil {
		return &TokenSource{ctx: ctx, client: c, store: tokens, key: key}
	}
	tokens.mu.Lock()
	defer tokens.mu.Unlock()
	s := &TokenSource{ctx: ctx, client: c, store: tokens, key: key, mint: tokens.mints[mintKey{c, key}].mint.Value()}
	if s.mint == nil {
		// The mint's own source has no caller's context.
		own := &TokenSource{ctx: context.Background(), client: c, store: tokens, key: key}
		s.mint = &mint{log: tokens.log, begin: tokens.begin, fetch: own.fetch}
		own.mint = s.mint
	}
	tokens.remember(mintKey{c, key}, s.mint)
	return s
}

// Token implements oauth2.TokenSource: TokenContext under the context that the source was made with.
func (s *TokenSource) Token() (*oauth2.Token, error) {
	if s == nil || s.mint == nil {
		return nil, errNoSource
	}
	return s.TokenContext(s.ctx)
}

var errNoSource = errors.New("rp: an empty TokenSource or CredentialsSource: make it with Client.TokenSource, of a TokenStore of NewTokenStore, or with Client.ClientCredentials")

// TokenContext returns an access token that can be used now. It waits for a refresh only when there is none, and no longer than ctx. The token holds no refresh token.
// Errors: ErrReconnect (permanent, until Save), ErrTokenStore and ErrUnavailable (passing), a *ProviderError (the client's registration is wrong), ctx's.
func (s *TokenSource) TokenContext(ctx context.Context) (*oauth2.Token, error) {
	if s == nil || s.mint == nil {
		return nil, errNoSource
	}
	return s.mint.get(ctx)
}

// Invalidate says that a resource server has refused this access token: the next TokenContext gets another. A token that came less than ten seconds ago is kept:
// then the token is not what the server minds.
func (s *TokenSource) Invalidate(accessToken string) {
	if s != nil && s.mint != nil {
		s.mint.invalidate(accessToken)
	}
}

// Key returns the key.
func (s *TokenSource) Key() string { return s.key }

// Save keeps tokens that somebody has just consented to (Client.Finish, FinishDevice, Exchange ...) under the key, in place of what is there. Ask for a refresh token: mostly by the scope offline_access.
// When it returns nil they are in the store. Errors: ErrTokenStore; none is kept then.
func (s *TokenSource) Save(ctx context.Context, tokens *Tokens) error {
	if s.mint == nil {
		return errNoSource
	}
	if tokens == nil || tokens.OAuth2 == nil || tokens.OAuth2.AccessToken == "" {
		return errors.New("rp: TokenSource.Save needs tokens with an access token")
	}
	for range 10 {
		there, err := s.store.load(ctx, s.key)
		if err != nil && !errors.Is(err, store.ErrSealed) {
			return err
		}
		version := uint64(0)
		if there != nil {
			version = there.version
		}
		if errors.Is(err, store.ErrSealed) { // sealed under a key nobody has any more: what is saved now takes its place
			if err := s.Forget(ctx); err != nil {
				return err
			}
		}
		fresh := &storedTokens{Key: s.key, Issuer: s.client.Issuer(), ClientID: s.client.ClientID(), version: store.RandomVersion()}
		fresh.renew(tokens, time.Now())
		switch err := s.store.save(ctx, fresh, version); {
		case err == nil:
			s.mint.put(fresh.minted())
			return nil
		case !errors.Is(err, store.ErrConflict):
			return err
		}
	}
	return fmt.Errorf("%w: others keep writing %q", ErrTokenStore, printable(s.key, 128))
}

// Forget removes what is under the key. Tokens that are handed out live on until their end: see Client.Revoke.
func (s *TokenSource) Forget(ctx context.Context) error {
	if s.mint == nil {
		return errNoSource
	}
	limited, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := s.store.cfg.Backend.Delete(limited, itemKey("tokens", s.key), 0); err != nil {
		return storeError(ctx, err)
	}
	s.mint.put(nil)
	return nil
}

// Revoke forgets what is under the key, and revokes it at the provider (RFC 7009): the refresh token, with which mostly the whole grant goes. It is forgotten first: an error of the
// provider's, or that it can't be reached, leaves nothing here to try again with. A provider without a revocation endpoint is no error.
func (s *TokenSource) Revoke(ctx context.Context) error {
	if s.mint == nil {
		return errNoSource
	}
	there, err := s.store.load(ctx, s.key)
	if err != nil {
		return err
	}
	if err := s.Forget(ctx); err != nil {
		return err
	}
	if there == nil || there.Issuer != s.client.Issuer() || there.ClientID != s.client.ClientID() {
		return nil
	}
	return s.giveBack(ctx, there)
}

// giveBack revokes tokens that nobody will use.
func (s *TokenSource) giveBack(ctx context.Context, t *storedTokens) error {
	token, hint := t.RefreshToken, "refresh_token"
	if token == "" {
		token, hint = t.AccessToken, "access_token"
	}
	if token == "" {
		return nil
	}
	if err := s.client.Revoke(ctx, token, hint); !errors.Is(err, ErrNoEndpoint) {
		return err
	}
	return nil
}

// renew takes over what came.
func (t *storedTokens) renew(tokens *Tokens, now time.Time) {
	o := tokens.OAuth2
	t.AccessToken, t.TokenType, t.RefreshToken = o.AccessToken, o.TokenType, cmp.Or(o.RefreshToken, t.RefreshToken)
	t.Got, t.Expiry, t.RefreshAt = now.UnixMilli(), millis(o.Expiry), 0
	end := o.Expiry
	if next := tokens.RefreshExpiry; !next.IsZero() && (end.IsZero() || next.Before(end)) && millis(next)-t.RefreshExpiry > leastAge.Milliseconds() {
		end = next // which a refresh moves, as far as is known
	}
	if !end.IsZero() {
		t.RefreshAt = millis(aheadOf(end, end.Sub(now)))
	}
	t.RefreshExpiry, t.Unjudged = millis(tokens.RefreshExpiry), 0
	if tokens.RawIDToken != "" {
		t.IDToken = tokens.RawIDToken
	}
	if tokens.Scope != nil {
		t.Scope = slices.Clone(tokens.Scope)
	}
}

// minted is the access token of t.
func (t *storedTokens) minted() *minted {
	m := newMinted(&oauth2.Token{AccessToken: t.AccessToken, TokenType: t.TokenType, Expiry: fromMillis(t.Expiry)}, fromMillis(t.Got))
	m.refreshAt, m.stored = fromMillis(t.RefreshAt), t
	if t.RefreshToken == "" {
		m.refreshAt = m.until
	}
	return m
}

// String names the key.
func (s *TokenSource) String() string { return fmt.Sprintf("rp.TokenSource(%q)", s.key) }

// Format prints String for every verb.
func (s *TokenSource) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue is String.
func (s *TokenSource) LogValue() slog.Value { return slog.StringValue(s.String()) }
