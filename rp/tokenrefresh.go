package rp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/latchkey-go/latchkey/rp/store"
)

const (
	// turnTimeout bounds the wait for another process's refresh: longer than its lease and a late save take together.
	turnTimeout = 30 * time.Second
	// firstSave and lastSave bound the pauses between tries to save what other processes wait for.
	firstSave, lastSave = 250 * time.Millisecond, 2 * time.Second
)

var errClosed = fmt.Errorf("rp: the TokenStore is closed: %w", ErrUnavailable)

// fetch brings tokens that are not due: those in the store if another process was faster, else refreshed ones. It is the fetch of the source's mint.
func (s *TokenSource) fetch(ctx context.Context, old *minted, f *minting) (*minted, error) {
	got, err := s.renew(ctx, old, f)
	if err != nil && !over(err) {
		s.store.failures.Add(1)
		level, text := slog.LevelWarn, "rp: refresh postponed"
		if _, unsent := errors.AsType[*laterError](err); unsent {
			level = slog.LevelDebug // whoever did send has said so
		} else if !errors.Is(err, ErrUnavailable) {
			level, text = slog.LevelError, "rp: refresh failed; check the client's registration"
		}
		s.store.log.LogAttrs(ctx, level, text, slog.String("key", s.key), slog.Any("error", err))
	}
	return got, err
}

func (s *TokenSource) renew(ctx context.Context, old *minted, f *minting) (*minted, error) {
	for range 5 { // each time the store's tokens have changed meanwhile
		there, got, err := s.look(ctx, old)
		if err != nil || got != nil {
			return got, err
		}
		turn, got, err := s.turn(ctx, there, f)
		if turn != store.Newer {
			return got, err
		}
	}
	return nil, fmt.Errorf("%w: others keep changing %q", ErrTokenStore, printable(s.key, 128))
}

// look reads the store. It returns tokens that can be handed out, the error that there are none, or what is to be refreshed.
func (s *TokenSource) look(ctx context.Context, old *minted) (there *storedTokens, got *minted, err error) {
	there, err = s.store.load(ctx, s.key)
	switch {
	case err != nil:
		return nil, nil, err
	case there == nil:
		return nil, nil, s.reconnect(ctx, "unknown_key", nil)
	case there.Issuer != s.client.Issuer() || there.ClientID != s.client.ClientID():
		// Sent there, the refresh token would be given away.
		return nil, nil, fmt.Errorf("rp: the tokens under %q are of client %q at %q, not of this one", printable(s.key, 128), printable(there.ClientID, 128), printable(there.Issuer, 256))
	case there.Over != "":
		return nil, nil, s.reconnect(ctx, there.Over, nil)
	}
	now := time.Now()
	got = there.minted()
	// What was refused is worth another only if it has been there for a while: see invalidate.
	refused := old != nil && old.refused.Load() && old.token.AccessToken == there.AccessToken && now.Sub(got.got) >= leastAge
	switch {
	case got.usable(now) && !got.due(now) && !refused:
		if old != nil && old.stored != nil && old.stored.version != there.version {
			s.store.adopted.Add(1)
		}
		return nil, got, nil
	case there.RefreshToken == "":
		if got.usable(now) && !refused {
			return nil, got, nil
		}
		err = s.end(ctx, there, "no_refresh_token", nil)
	case there.RefreshExpiry != 0 && !now.Before(fromMillis(there.RefreshExpiry)):
		if got.usable(now) && !refused {
			got.refreshAt = got.until // there is nothing to refresh it with
			return nil, got, nil
		}
		err = s.end(ctx, there, "refresh_token_expired", nil)
	}
	if errors.Is(err, store.ErrConflict) {
		err = nil // turn finds out
	}
	return there, nil, err
}

// turn refreshes there, once over all processes. store.Newer: look again.
func (s *TokenSource) turn(ctx context.Context, there *storedTokens, f *minting) (turn store.Turn, got *minted, err error) {
	waiting, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	lease := store.NewLease(s.store.cfg.Backend, itemKey("tokens", s.key), itemKey("token lease", s.key), itemKey("token intent", s.key), there.version, there.expires, s.store.log)
	turn, until, err := lease.Take(waiting)
	switch {
	case err != nil:
		return 0, nil, fmt.Errorf("%w: %w", ErrTokenStore, err)
	case turn == store.Failed:
		return turn, nil, &laterError{at: until}
	case turn != store.Held:
		return store.Newer, nil, nil
	}
	spent, retryAt := false, time.Time{}
	defer func() { lease.Release(ctx, spent, retryAt) }()
	if now, err := s.store.load(waiting, s.key); err != nil {
		return 0, nil, err
	} else if now == nil || now.version != there.version {
		return store.Newer, nil, nil
	}
	defer func() {
		if errors.Is(err, store.ErrConflict) {
			turn, got, err = store.Newer, nil, nil // something else was saved
		}
	}()
	leave, err := s.client.respite.enter()
	if err != nil {
		retryAt = time.Now().Add(pauseAfter(err, 1))
		return 0, nil, err
	}
	sent := errUnsent
	defer func() { leave(sent) }()
	turn, again, err := lease.Intend(waiting)
	switch {
	case errors.Is(err, store.ErrConflict):
		return 0, nil, err
	case err != nil:
		return 0, nil, fmt.Errorf("%w: %w", ErrTokenStore, err)
	case turn == store.Unknown:
		spent = true
		return 0, nil, s.end(ctx, there, "refresh_outcome_unknown", nil)
	case turn != store.Held:
		return store.Newer, nil, nil
	}
	if again {
		s.store.again.Add(1)
		s.store.log.LogAttrs(ctx, slog.LevelWarn, "rp: a process died while it refreshed these tokens; the refresh token is sent once more", slog.String("key", s.key))
	}
	fresh, err := s.spend(ctx, there)
	sent = err
	switch {
	case err == nil:
	case IsInvalidGrant(err):
		spent = true
		now, readErr := s.store.load(ctx, s.key)
		switch {
		case readErr != nil:
			return 0, nil, readErr // nobody knows yet whether it is over
		case now == nil || now.version != there.version:
			return store.Newer, nil, nil // a process that was believed dead had won
		}
		reason := "invalid_grant"
		if again {
			reason = "refresh_outcome_unknown"
		}
		return 0, nil, s.end(ctx, there, reason, err)
	case errors.Is(err, ErrInvalidToken):
		spent = true
		return 0, nil, s.end(ctx, there, "invalid_token", err)
	default:
		s.mint.mu.Lock()
		fails := s.mint.fails
		s.mint.mu.Unlock()
		retryAt = time.Now().Add(pauseAfter(err, fails+1))
		return 0, nil, err
	}
	spent = true
	s.store.refreshes.Add(1)
	got, err = s.keep(ctx, fresh, there.version, f)
	if errors.Is(err, store.ErrConflict) {
		if now, readErr := s.store.load(ctx, s.key); readErr == nil && now == nil {
			_ = s.giveBack(ctx, fresh) // whoever forgot the key meanwhile could not know of these
		}
	}
	return 0, got, err
}

// spend sends the refresh token.
func (s *TokenSource) spend(ctx context.Context, there *storedTokens) (*storedTokens, error) {
	var prev *IDToken
	if there.IDToken != "" {
		var err error
		if prev, err = ParseIDToken(there.IDToken); err != nil {
			return nil, err
		}
	}
	tokens, err := s.client.Refresh(ctx, there.RefreshToken, prev)
	fresh := *there
	fresh.version++
	now := time.Now()
	switch {
	case err == nil:
		fresh.renew(tokens, now)
		return &fresh, nil
	case tokens != nil && tokens.OAuth2 != nil && tokens.OAuth2.RefreshToken != "" && tokens.OAuth2.RefreshToken != there.RefreshToken:
		// It was rotated, but the new ID token can't be judged now: keep the new refresh token and nothing else, and come back soon.
		fresh.RefreshToken, fresh.RefreshExpiry = tokens.OAuth2.RefreshToken, millis(tokens.RefreshExpiry)
		fresh.RefreshAt = millis(now.Add(min(firstPause<<min(fresh.Unjudged, 10), lastPause)))
		fresh.Unjudged++
		return &fresh, nil
	}
	return nil, err
}

// keep saves fresh before anybody sees it. When the store does not take it, it stays in memory, callers are served from there, and the save is tried again for as long
// as it is worth something: other processes have nothing but a spent token. The lease is held all the time. store.ErrConflict: something else was saved.
func (s *TokenSource) keep(ctx context.Context, fresh *storedTokens, from uint64, f *minting) (*minted, error) {
	got := fresh.minted()
	for pause, shown := firstSave, false; ; pause = min(2*pause, lastSave) {
		err := s.store.save(ctx, fresh, from)
		if err == nil || errors.Is(err, store.ErrConflict) {
			if shown {
				s.store.held.Add(^uint64(0))
				s.store.log.LogAttrs(ctx, slog.LevelInfo, "rp: tokens that were kept in memory are saved or replaced", slog.String("key", s.key))
			}
			if err != nil && s.savedBefore(ctx, fresh) {
				err = nil // this very save: its answer was lost
			}
			return got, err
		}
		if !shown {
			shown = true
			s.store.held.Add(1)
			s.store.log.LogAttrs(ctx, slog.LevelError, "rp: refreshed tokens are kept in memory, the store does not take them", slog.String("key", s.key), slog.Any("error", err))
			s.mint.publish(f, got)
		}
		if end := fromMillis(fresh.RefreshExpiry); !end.IsZero() && !time.Now().Before(end) {
			s.store.held.Add(^uint64(0))
			return nil, err
		}
		time.Sleep(pause)
	}
}

// savedBefore reports whether what is in the store is fresh.
func (s *TokenSource) savedBefore(ctx context.Context, fresh *storedTokens) bool {
	there, err := s.store.load(ctx, s.key)
	return err == nil && there != nil && there.version == fresh.version && there.RefreshToken == fresh.RefreshToken && there.AccessToken == fresh.AccessToken
}

// end notes in the store that there is nothing to refresh any more, so that no other process asks the provider again. If that can't be written now, the next one finds out itself.
// store.ErrConflict: something else was saved meanwhile.
func (s *TokenSource) end(ctx context.Context, there *storedTokens, reason string, err error) error {
	ended := *there
	ended.version++
	ended.Over, ended.AccessToken, ended.RefreshToken, ended.IDToken = reason, "", "", ""
	if saveErr := s.store.save(ctx, &ended, there.version); errors.Is(saveErr, store.ErrConflict) {
		return saveErr
	} else if saveErr != nil {
		s.store.log.LogAttrs(ctx, slog.LevelWarn, "rp: the end of tokens could not be saved", slog.String("key", s.key), slog.Any("error", saveErr))
	}
	return s.reconnect(ctx, reason, err)
}

// reconnect tells the application, once.
func (s *TokenSource) reconnect(ctx context.Context, reason string, err error) error {
	e := &ReconnectError{Key: s.key, Reason: reason, Err: err}
	if reason == "unknown_key" {
		return e
	}
	s.mint.mu.Lock()
	told := s.mint.told // an outage of the store in between makes it no news
	s.mint.told = true
	s.mint.mu.Unlock()
	if told {
		return e
	}
	s.store.over.Add(1)
	s.store.log.LogAttrs(ctx, slog.LevelError, "rp: tokens are over, whoever they are of must connect again", slog.String("key", s.key), slog.String("reason", reason), slog.Any("error", err))
	if tell := s.store.cfg.OnReconnect; tell != nil {
		s.store.background(func() { tell(s.key, e) })
	}
	return e
}
