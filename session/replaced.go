package session

import (
	"cmp"
	"context"
	"net/http"
)

// replaced names the session that a login will replace, in the attempt.
type replaced struct {
	ID        string `json:"i"`
	Issuer    string `json:"s,omitempty"` // if another than the client's
	Subject   string `json:"u"`
	Key       []byte `json:"k,omitempty"` // for a discarder
	IssuedAt  int64  `json:"b"`
	ExpiresAt int64  `json:"e"`
}

// discarder is a keeper that finds a record without a request. What the others keep of it stays until its end; the ledger refuses it.
type discarder interface {
	discard(ctx context.Context, id keptID) error
}

// blind reports whether the callback comes without the session's cookie: the provider's page makes the request, and only a cookie for all sites' goes with its POST,
// and no Strict one with its redirect. Begin's request is of this site, so what the login will replace must be noted then.
func (m *Manager) blind() bool {
	return m.cfg.SameSite == http.SameSiteStrictMode || m.client.ResponseMode() == "form_post" && m.cfg.SameSite != http.SameSiteNoneMode
}

// toReplace names the session that r carries, if its callback would not; nil: none.
func (m *Manager) toReplace(r *http.Request) *replaced {
	if !m.blind() {
		return nil
	}
	rec, id := m.carried(r)
	if rec == nil {
		return nil
	}
	old := &replaced{ID: rec.root(), Issuer: rec.Issuer, Subject: rec.Subject, IssuedAt: rec.IssuedAt, ExpiresAt: rec.latestEnd(m.cfg.Lifetime)}
	if old.Issuer == m.client.Issuer() {
		old.Issuer = ""
	}
	if _, ok := m.keep.(discarder); ok {
		old.Key = id[:]
	}
	return old
}

// replace ends what the login of a replaces: the session that r carries, which create has removed from the store, and the one that Begin's request carried.
func (m *Manager) replace(r *http.Request, carried *record, a *attempt) error {
	old := a.Old
	if old != nil && (carried == nil || carried.root() != old.ID) {
		if store, ok := m.keep.(discarder); ok && len(old.Key) == len(keptID{}) {
			if err := store.discard(r.Context(), keptID(old.Key)); err != nil {
				return err
			}
		}
		if err := m.forget(r.Context(), &record{ID: old.ID, Issuer: cmp.Or(old.Issuer, m.client.Issuer()), Subject: old.Subject, IssuedAt: old.IssuedAt, ExpiresAt: old.ExpiresAt}); err != nil {
			return err
		}
	}
	return m.forget(r.Context(), carried)
}
