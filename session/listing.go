package session

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Errors of lists and limits.
var (
	// ErrNotListed: the store can't list sessions; NewServerStore's can.
	ErrNotListed = errors.New("session: this store can't list sessions; use NewServerStore")
	// ErrTooMany: the user has Config.MaxSessions sessions already, and Config.RefuseMore is set.
	ErrTooMany = errors.New("session: the user has too many sessions; end one of them first")
)

// Listing is a session as lists show it: to its user on an account page, or to an administrator.
type Listing struct {
	Key       string    // for EndListed; opens nothing
	LoginAt   time.Time // when it was made here
	SeenAt    time.Time // its last use, to a minute or so
	ExpiresAt time.Time // its absolute end
	Device    string    // the User-Agent it was made with, as it was sent: foreign text
}

// maxListed bounds a list. Who has more sessions has them made by a program.
const maxListed = 1000

// ownerOf is under what a user's sessions of this client are listed.
func (m *Manager) ownerOf(issuer, subject string) Key {
	return sha256.Sum256(fmt.Appendf(nil, "latchkey v1 owner %x %s", m.bound, ledgerName("sub", issuer, subject)))
}

// List returns the sessions of a user, those used last first; issuer empty: the client's. Sessions that the ledger has ended are among them until the backend
// forgets them. Errors: ErrNotListed, ErrStore.
func (m *Manager) List(ctx context.Context, issuer, subject string) ([]Listing, error) {
	k, ok := m.keep.(*serverKeeper)
	if !ok {
		return nil, ErrNotListed
	}
	return k.list(ctx, m.ownerOf(cmp.Or(issuer, m.client.Issuer()), subject))
}

// EndListed ends one session of a user's list, on every replica from the next request on. One that is not the user's, or not there, is ErrNone.
// Its refresh token is not revoked at the provider: only the browser's cookie opens it.
func (m *Manager) EndListed(ctx context.Context, issuer, subject, key string) error {
	k, ok := m.keep.(*serverKeeper)
	if !ok {
		return ErrNotListed
	}
	raw, err := base64.RawURLEncoding.DecodeString(key)
	if err != nil || len(raw) != len(Key{}) {
		return ErrNone
	}
	at, owner := Key(raw), m.ownerOf(cmp.Or(issuer, m.client.Issuer()), subject)
	for range maxMoves {
		items, err := k.store.get(ctx, at)
		if err != nil {
			return err
		}
		if items[0].Version != 0 && items[0].Owner == owner {
			return k.drop(ctx, at)
		}
		to, moved := movedTo(items[0]) // if so, the session was rotated after it was listed
		if !moved {
			return ErrNone
		}
		at = to
	}
	return errTooFar
}

// Key names the session in the lists of Manager.List; "" where the store keeps none, and right after a login.
func (s *Session) Key() string {
	h, ok := s.from.handle.(*serverHandle)
	if !ok {
		return ""
	}
	return listingKey(itemKey(serverKind, h.name, h.cookie.id[:]))
}

func listingKey(key Key) string { return base64.RawURLEncoding.EncodeToString(key[:]) }

func (s *serverKeeper) list(ctx context.Context, owner Key) ([]Listing, error) {
	limited, cancel := call(ctx)
	defer cancel()
	keys, err := s.store.backend.List(limited, owner, maxListed)
	if err != nil {
		return nil, backendError(ctx, err)
	}
	rows, err := s.rowsOf(ctx, owner, keys)
	if err != nil {
		return nil, err
	}
	var all []Listing
	for key, row := range rows {
		all = append(all, Listing{Key: listingKey(key), LoginAt: row.made, SeenAt: later(row.made, row.seen), ExpiresAt: row.expires, Device: row.device})
	}
	slices.SortFunc(all, func(a, b Listing) int { return cmp.Or(b.SeenAt.Compare(a.SeenAt), cmp.Compare(a.Key, b.Key)) })
	return all, nil
}

// limit keeps a user within Config.MaxSessions after one more session was made: it ends those used least lately, or the new one. Looking afterwards
// leaves no gap for two logins at once: at worst both are refused.
func (m *Manager) limit(r *http.Request, owner, made Key) error {
	k, ok := m.keep.(*serverKeeper)
	if !ok || m.cfg.MaxSessions <= 0 {
		return nil
	}
	all, err := k.list(r.Context(), owner)
	if err != nil {
		return err
	}
	own := listingKey(made)
	all = slices.DeleteFunc(all, func(l Listing) bool { return l.Key == own })
	if len(all) < m.cfg.MaxSessions {
		return nil
	}
	if m.cfg.RefuseMore {
		return ErrTooMany
	}
	for _, l := range all[m.cfg.MaxSessions-1:] {
		raw, err := base64.RawURLEncoding.DecodeString(l.Key)
		if err != nil {
			return fmt.Errorf("session: %w", err)
		}
		if err := k.drop(r.Context(), Key(raw)); err != nil {
			return err
		}
	}
	return nil
}
