package middleware

import (
	"errors"
	"net/http"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/session"
)

// Require lets only signed-in requests through to next.
func (g *Guard) Require(next http.Handler) http.Handler { return g.gate(next, nil) }

// Authorize is Require and allow(session): a plain function of the user. False answers 403.
func (g *Guard) Authorize(next http.Handler, allow func(s *session.Session) bool) http.Handler {
	return g.gate(next, func(s *session.Session) *demand {
		if allow(s) {
			return nil
		}
		return &demand{err: errForbidden}
	})
}

// RequireACR is Require and a session whose acr is one of values; else a login with acr_values, which fails if the answer's acr is none of them.
// Whoever comes back from that login is the user from then on. Without values nobody passes.
func (g *Guard) RequireACR(next http.Handler, values ...string) http.Handler {
	return g.gate(next, func(s *session.Session) *demand {
		for _, v := range values {
			if v != "" && v == s.ACR {
				return nil
			}
		}
		if len(values) == 0 {
			return &demand{err: errForbidden}
		}
		return &demand{err: errStepUp, stepUp: func(p *rp.AuthParams) { p.ACRValues, p.ACRVoluntary = values, false }}
	})
}

// RequireFresh is Require and a user who authenticated at the provider at most maxAge ago, give or take the client's Leeway; else a login with max_age, whose auth_time is checked.
// A session whose provider states no auth_time counts as old.
func (g *Guard) RequireFresh(next http.Handler, maxAge time.Duration) http.Handler {
	// Without the leeway that the login's own check allows, a provider whose clock is behind would be asked again and again.
	leeway := g.Sessions.Client().Leeway()
	return g.gate(next, func(s *session.Session) *demand {
		if !s.AuthTime.IsZero() && time.Since(s.AuthTime) <= max(maxAge, 0)+leeway {
			return nil
		}
		return &demand{err: errStepUp, stepUp: func(p *rp.AuthParams) {
			// In whole seconds, and never zero, which would send none.
			if p.MaxAge = maxAge.Truncate(time.Second); p.MaxAge <= 0 {
				p.MaxAge = -1
			}
		}}
	})
}

// Optional puts the session, if there is one, into the request's context. A store or provider outage is 503: a page must not tell somebody that
// they are signed out when nobody knows.
func (g *Guard) Optional(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := g.load(w, r)
		if errors.Is(err, session.ErrNone) {
			private(w, r, next)
			return
		}
		if err != nil {
			g.fail(w, r, err, "")
			return
		}
		if g.foreignSocket(r) {
			g.fail(w, r, errForeignSocket, "")
			return
		}
		private(w, with(r, s), next)
	})
}

// foreignSocket reports a WebSocket handshake by another site's page: the browser sends the cookie with it, and no other rule stands in the way of that page.
func (g *Guard) foreignSocket(r *http.Request) bool {
	from := r.Header.Get("Origin")
	return from != "" && classify(r) == websocket && from != g.origin()
}

// demand is what a session lacks.
type demand struct {
	err    error
	stepUp func(p *rp.AuthParams) // nil: no login helps
}

// gate is the one way to next.
func (g *Guard) gate(next http.Handler, lacks func(s *session.Session) *demand) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := g.load(w, r)
		if errors.Is(err, session.ErrNone) {
			g.challenge(w, r, &demand{err: err})
			return
		}
		if err != nil {
			g.fail(w, r, err, "")
			return
		}
		if g.foreignSocket(r) {
			g.fail(w, r, errForeignSocket, "")
			return
		}
		if lacks != nil {
			if d := lacks(s); d != nil {
				g.deny(w, r, d)
				return
			}
		}
		private(w, with(r, s), next)
	})
}

func with(r *http.Request, s *session.Session) *http.Request {
	if session.FromContext(r.Context()) == s {
		return r
	}
	return r.WithContext(session.NewContext(r.Context(), s))
}

// load takes the session from an outer gate of ours, or from the request.
func (g *Guard) load(w http.ResponseWriter, r *http.Request) (*session.Session, error) {
	if s := session.FromContext(r.Context()); g.Sessions.Owns(s) {
		return s, nil
	}
	return g.Sessions.Load(w, r)
}

func (g *Guard) deny(w http.ResponseWriter, r *http.Request, d *demand) {
	if d.stepUp == nil {
		g.fail(w, r, d.err, "")
		return
	}
	g.challenge(w, r, d)
}

// challenge sends a navigation to the provider and tells everyone else what is missing.
func (g *Guard) challenge(w http.ResponseWriter, r *http.Request, d *demand) {
	w.Header().Add("Vary", read)
	kind := classify(r)
	here, ok := localPath(r.URL.RequestURI())
	if !ok {
		here = g.afterLogin()
	}
	switch {
	case kind == navigate && r.Method == http.MethodHead:
		// Nobody logs in by HEAD: the same way, by our own route, and no cookie.
		redirect(w, g.loginURL(here))
	case kind == navigate:
		params := g.params(r)
		if d.stepUp != nil {
			d.stepUp(&params)
		}
		to, err := g.Sessions.Begin(w, r, here, params)
		if err != nil {
			g.fail(w, r, err, here)
			return
		}
		redirect(w, to)
	case kind == submit:
		g.fail(w, r, d.err, g.referer(r))
	case d.stepUp != nil && r.Method == http.MethodGet:
		g.failAt(w, r, d.err, here) // loading the page itself begins the step-up
	default:
		g.fail(w, r, d.err, "")
	}
}

// redirect answers 303: the next request is a GET, whatever this one was.
func redirect(w http.ResponseWriter, to string) {
	h := w.Header()
	h.Set("Location", to)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(http.StatusSeeOther)
}
