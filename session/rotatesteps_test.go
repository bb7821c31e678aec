package session_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

// stepper is a replica's way to its backend. Each call that it makes while armed has two points, before it is made and after; at the one named at, act is called once.
type stepper struct {
	session.Backend
	mu     sync.Mutex
	points int
	at     int // negative: never
	act    func()
	dead   bool // calls do nothing, as if the process were gone
	asleep bool // all but the one that sleeps get nowhere
}

func (s *stepper) arm(at int, act func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.points, s.at, s.act = 0, at, act
}

func (s *stepper) set(dead, asleep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead, s.asleep = dead, asleep
}

// pass is one point. false: the process is not there.
func (s *stepper) pass() bool {
	s.mu.Lock()
	if s.dead || s.asleep {
		s.mu.Unlock()
		return false
	}
	act := s.act
	if s.points++; s.points-1 != s.at || act == nil {
		s.mu.Unlock()
		return true
	}
	s.act = nil
	s.mu.Unlock()
	act()
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.dead
}

// acted reports whether the point was reached.
func (s *stepper) acted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.act == nil
}

func (s *stepper) Get(ctx context.Context, keys ...session.Key) ([]session.Item, error) {
	if !s.pass() {
		return nil, errDead
	}
	items, err := s.Backend.Get(ctx, keys...)
	if !s.pass() {
		return nil, errDead
	}
	return items, err
}

func (s *stepper) Put(ctx context.Context, key session.Key, item session.Item, from uint64) error {
	if !s.pass() {
		return errDead
	}
	err := s.Backend.Put(ctx, key, item, from)
	if !s.pass() {
		return errDead
	}
	return err
}

func (s *stepper) Delete(ctx context.Context, key session.Key, version uint64) error {
	if !s.pass() {
		return errDead
	}
	err := s.Backend.Delete(ctx, key, version)
	if !s.pass() {
		return errDead
	}
	return err
}

func (s *stepper) List(ctx context.Context, owner session.Key, limit int) ([]session.Key, error) {
	if !s.pass() {
		return nil, errDead
	}
	keys, err := s.Backend.List(ctx, owner, limit)
	if !s.pass() {
		return nil, errDead
	}
	return keys, err
}

// pair is two replicas: one whose steps are counted, and one that lives.
type pair struct {
	provider     *rptest.Provider
	step         *stepper
	first, other *site
}

func newPair(t *testing.T, options rptest.Options, config session.Config) *pair {
	t.Helper()
	if options.AccessTokenLifetime == 0 {
		options.AccessTokenLifetime = time.Hour
	}
	p := &pair{provider: newProvider(t, options)}
	backend := session.NewMemoryBackend(0)
	p.step = &stepper{Backend: backend, at: -1}
	here, there := config, config
	here.Store, there.Store = serverStore(t, p.step), serverStore(t, backend)
	p.first, p.other = siteOn(t, p.provider, newClient(t, p.provider, nil), here), siteOn(t, p.provider, newClient(t, p.provider, nil), there)
	return p
}

// atEveryPoint runs f for each point until one is not reached any more. f arms the stepper and reports whether it acted.
func atEveryPoint(t *testing.T, f func(t *testing.T, at int) (acted bool)) {
	t.Helper()
	for at := 0; ; at++ {
		acted := false
		synctest.Test(t, func(t *testing.T) {
			defer time.Sleep(time.Minute) // what is still under way comes to its end
			acted = f(t, at)
		})
		if !acted {
			if at < 8 {
				t.Fatalf("only %d points", at)
			}
			return
		}
		if at > 80 || t.Failed() {
			t.Fatalf("stopped at point %d", at)
		}
	}
}

// refreshed loads v's session until a refresh that is due has come.
func refreshed(v *visitor) *session.Session {
	v.site.t.Helper()
	v.mustLoad()
	time.Sleep(15 * time.Second)
	return v.mustLoad()
}

// opens counts those of vs whose cookie opens a session, asked at another replica.
func opens(t *testing.T, at *site, vs ...*visitor) (n int) {
	t.Helper()
	for _, v := range vs {
		switch _, err := v.at(at).load(); {
		case err == nil:
			n++
		case !errors.Is(err, session.ErrNone):
			t.Errorf("load: %v", err)
		}
	}
	return n
}

func listed(t *testing.T, s *site) []session.Listing {
	t.Helper()
	all, err := s.List(t.Context(), "", "alice")
	if err != nil {
		t.Error(err)
	}
	return all
}

// A process that dies at any call of a rotation leaves the session as it was, listed once; or, where its answer with the new cookie is lost on the way, as one that no browser has the
// cookie of: like any whose browser lost its cookies, it is listed, can be ended, and ends by itself. Never are there two, nor one that its user can't end, nor one whose tokens can't be refreshed.
func TestAProcessThatDiesAtAnyCallOfARotationLeavesNoGhost(t *testing.T) {
	for name, deaths := range map[string]int{"once": 1, "three times": 3} {
		t.Run(name, func(t *testing.T) {
			atEveryPoint(t, func(t *testing.T, at int) bool {
				p := newPair(t, rptest.Options{}, session.Config{Idle: -1})
				v := p.first.visitor()
				v.login()
				acted := false
				for range deaths {
					p.step.arm(at, func() { p.step.set(true, false) })
					_ = v.copy().rotate() // whatever it answers reaches nobody
					acted = p.step.acted()
					time.Sleep(11 * time.Second) // the lease ends
					p.step.set(false, false)
				}
				p.step.arm(-1, nil)
				alive := opens(t, p.other, v)
				all := listed(t, p.other)
				if len(all) > 1 || len(all) < alive {
					t.Fatalf("point %d: %d open, %d are listed", at, alive, len(all))
				}
				if !acted || len(all) == 0 {
					return acted
				}
				if err := p.other.EndListed(t.Context(), "", "alice", all[0].Key); err != nil {
					t.Errorf("point %d: EndListed: %v", at, err)
				}
				if opens(t, p.other, v) != 0 || len(listed(t, p.other)) != 0 {
					t.Fatalf("point %d: the session outlives its being ended on its user's page", at)
				}
				w := p.first.visitor()
				first := w.login()
				p.step.arm(at, func() { p.step.set(true, false) })
				_ = w.copy().rotate()
				p.step.set(false, false)
				time.Sleep(11 * time.Second)
				next := w.at(p.other)
				if err := next.rotate(); err != nil {
					if alive == 1 {
						t.Fatalf("point %d: the next rotation: %v", at, err)
					}
					return true
				}
				if all := listed(t, p.other); len(all) != 1 || opens(t, p.other, w) != 0 {
					t.Fatalf("point %d: after the next rotation %d sessions are listed", at, len(all))
				}
				untilDue(first)
				if s := refreshed(next); access(s) == access(first) || p.provider.RefreshReuses() != 0 || p.provider.Refreshes() != 1 {
					t.Fatalf("point %d: %d refreshes, %d reuses", at, p.provider.Refreshes(), p.provider.RefreshReuses())
				}
				time.Sleep(3 * time.Hour) // the marks are gone
				if all := listed(t, p.other); len(all) != 1 {
					t.Fatalf("point %d: three hours later %d sessions are listed", at, len(all))
				}
				next.mustLoad()
				return true
			})
		})
	}
}

// Processes that die while they rotate spend nothing, so they use up none of the tries that a refresh token has.
func TestProcessesThatDieInRotationsDoNotEndTheSession(t *testing.T) {
	atEveryPoint(t, func(t *testing.T, at int) bool {
		p := newPair(t, rptest.Options{}, session.Config{})
		v := p.first.visitor()
		first := v.login()
		for range 3 {
			p.step.arm(at, func() { p.step.set(true, false) })
			_ = v.copy().rotate()
			time.Sleep(11 * time.Second)
			p.step.set(false, false)
		}
		acted := p.step.acted()
		p.step.arm(-1, nil)
		if opens(t, p.other, v) == 0 {
			return acted
		}
		untilDue(first)
		if s := refreshed(v.at(p.other)); access(s) == access(first) || p.provider.RefreshReuses() != 0 {
			t.Fatalf("point %d: %d refreshes, %d reuses", at, p.provider.Refreshes(), p.provider.RefreshReuses())
		}
		return acted
	})
}

// An outage from any call of a rotation on: one cookie of both opens, the browser has it, and a logout with it ends all there is.
func TestAnOutageAtAnyCallOfARotationLeavesOneSession(t *testing.T) {
	for name, ends := range map[string]bool{"refreshed": false, "ended": true} {
		t.Run(name, func(t *testing.T) {
			atEveryPoint(t, func(t *testing.T, at int) bool {
				p := newPair(t, rptest.Options{}, session.Config{})
				v := p.first.visitor()
				first := v.login()
				old := v.copy()
				p.step.arm(at, func() { p.step.set(true, false) })
				err := v.rotate()
				acted := p.step.acted()
				p.step.arm(-1, nil)
				if err != nil && !errors.Is(err, session.ErrStore) {
					t.Errorf("point %d: %v", at, err)
				}
				p.step.set(false, false)
				time.Sleep(11 * time.Second)
				if ends {
					if _, err := v.at(p.other).end(); err != nil {
						t.Errorf("point %d: End: %v", at, err)
					}
					if opens(t, p.other, v, old) != 0 || len(listed(t, p.other)) != 0 {
						t.Fatalf("point %d: a session outlives the logout", at)
					}
					return acted
				}
				if _, err := v.at(p.other).load(); err != nil {
					t.Fatalf("point %d: the browser's cookie: %v", at, err)
				}
				if moved := v.jar[sessionKey].value != old.jar[sessionKey].value; moved && opens(t, p.other, old) != 0 {
					t.Fatalf("point %d: the old cookie opens beside the new one", at)
				}
				if all := listed(t, p.other); len(all) != 1 {
					t.Fatalf("point %d: %d sessions are listed", at, len(all))
				}
				untilDue(first)
				_, _ = old.at(p.first).load()
				refreshed(v.at(p.other))
				if p.provider.RefreshReuses() != 0 || p.provider.Refreshes() != 1 {
					t.Fatalf("point %d: %d refreshes, %d reuses", at, p.provider.Refreshes(), p.provider.RefreshReuses())
				}
				return acted
			})
		})
	}
}

// As above, where a process died in a refresh before, and the browser comes back with many requests at once.
func TestABrowserThatComesBackAfterAnOutageInARotationIsSignedIn(t *testing.T) {
	for name, dies := range map[string]bool{"": false, "after a death in a refresh": true} {
		t.Run(name, func(t *testing.T) {
			atEveryPoint(t, func(t *testing.T, at int) bool {
				p := newPair(t, rptest.Options{}, session.Config{})
				v := p.first.visitor()
				first := v.login()
				untilDue(first)
				if dies {
					link := &mortal{Backend: p.step.Backend, provider: p.provider.Client().Transport}
					link.beforeSend = func() { link.dead.Store(true) }
					doomed := siteOn(t, p.provider, newClient(t, p.provider, func(c *rp.Config) { c.HTTPClient = &http.Client{Transport: link} }), session.Config{Store: serverStore(t, link)})
					_, _ = v.copy().at(doomed).load()
					time.Sleep(7 * time.Second)
				}
				p.step.arm(at, func() { p.step.set(true, false) })
				_ = v.rotate()
				acted := p.step.acted()
				p.step.arm(-1, nil)
				p.step.set(false, false)
				time.Sleep(11 * time.Second)
				var wg sync.WaitGroup
				for i := range 8 {
					tab := v.at([]*site{p.first, p.other}[i%2])
					wg.Go(func() {
						if _, err := tab.load(); err != nil {
							t.Errorf("point %d: %v", at, err)
						}
					})
				}
				wg.Wait()
				if s := refreshed(v.at(p.other)); access(s) == access(first) || p.provider.Refreshes() != 1 || p.provider.RefreshReuses() != 0 || len(listed(t, p.other)) != 1 {
					t.Fatalf("point %d: %d refreshes, %d reuses, %d listed", at, p.provider.Refreshes(), p.provider.RefreshReuses(), len(listed(t, p.other)))
				}
				return acted
			})
		})
	}
}

// A rotated session lasts as long as any, used or not.
func TestARotatedSessionLastsAsLongAsItDid(t *testing.T) {
	for at := range 24 {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, rptest.Options{NoRefreshTokens: true}, session.Config{OutliveTokens: true, Idle: -1})
			v := p.first.visitor()
			v.login()
			p.step.arm(at, func() { p.step.set(true, false) })
			_ = v.rotate()
			p.step.set(false, false)
			if _, err := v.at(p.other).load(); err != nil {
				t.Fatalf("point %d: %v", at, err)
			}
			time.Sleep(5 * time.Hour)
			v.at(p.other).mustLoad()
			if n := len(listed(t, p.other)); n != 1 {
				t.Errorf("point %d: %d sessions are listed", at, n)
			}
		})
	}
}

// Whatever another replica does between two calls of a rotation.
func TestALogoutAtAnyCallOfARotationLeavesNobodySignedIn(t *testing.T) {
	for name, logout := range map[string]func(p *pair, old *visitor, key string) error{
		"End": func(p *pair, old *visitor, _ string) error { _, err := old.end(); return err },
		"EndListed": func(p *pair, _ *visitor, key string) error {
			return p.other.EndListed(context.Background(), "", "alice", key)
		},
		"the page made anew": func(p *pair, _ *visitor, _ string) error {
			all, err := p.other.List(context.Background(), "", "alice")
			for _, l := range all {
				err = errors.Join(err, p.other.EndListed(context.Background(), "", "alice", l.Key))
			}
			return err
		},
		"RevokeAll": func(p *pair, old *visitor, _ string) error {
			return p.other.Revoke(context.Background(), session.Revocation{Subject: "alice"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			atEveryPoint(t, func(t *testing.T, at int) bool {
				p := newPair(t, rptest.Options{}, session.Config{})
				v := p.first.visitor()
				v.login()
				old, key := v.copy().at(p.other), v.mustLoad().Key()
				p.step.arm(at, func() {
					if err := logout(p, old, key); err != nil {
						t.Errorf("point %d: %v", at, err)
					}
				})
				err := v.rotate()
				if acted := p.step.acted(); !acted {
					return false
				}
				if opens(t, p.other, v, old) != 0 {
					t.Fatalf("point %d: the session outlives the logout; the rotation said %v", at, err)
				}
				if n := len(listed(t, p.other)); n != 0 && name != "RevokeAll" {
					t.Fatalf("point %d: %d sessions are listed", at, n)
				}
				return true
			})
		})
	}
}

func TestARotationAtAnyCallOfALogoutLeavesNobodySignedIn(t *testing.T) {
	for name, listedOnly := range map[string]bool{"End": false, "EndListed": true} {
		t.Run(name, func(t *testing.T) {
			for at := 0; ; at++ {
				acted := false
				synctest.Test(t, func(t *testing.T) {
					p := newPair(t, rptest.Options{}, session.Config{})
					v := p.first.visitor()
					v.login()
					key, next := v.mustLoad().Key(), v.copy().at(p.other)
					var rotated error
					p.step.arm(at, func() { rotated = next.rotate() })
					var err error
					if listedOnly {
						err = p.first.EndListed(t.Context(), "", "alice", key)
					} else {
						_, err = v.copy().end()
					}
					if acted = p.step.acted(); err != nil {
						t.Errorf("point %d: %v", at, err)
					}
					if opens(t, p.other, v, next) != 0 || len(listed(t, p.other)) != 0 {
						t.Errorf("point %d: the session outlives the logout; the rotation said %v", at, rotated)
					}
				})
				if !acted || t.Failed() {
					break
				}
			}
		})
	}
}

// Two rotations, one of which sleeps at any call: one wins, and a logout with the cookie from before both reaches the winner's session.
func TestTwoRotationsAtOnceLeaveOneSessionThatTheOldCookieEnds(t *testing.T) {
	for name, options := range map[string]rptest.Options{"with refresh tokens": {}, "without": {NoRefreshTokens: true}} {
		t.Run(name, func(t *testing.T) {
			atEveryPoint(t, func(t *testing.T, at int) bool {
				p := newPair(t, options, session.Config{OutliveTokens: true})
				v := p.first.visitor()
				v.login()
				old, twin := v.copy(), v.copy().at(p.other)
				p.step.arm(at, func() {
					p.step.set(false, true)
					if err := twin.rotate(); err != nil && !errors.Is(err, rp.ErrUnavailable) && !errors.Is(err, session.ErrNone) {
						t.Errorf("point %d: %v", at, err)
					}
					p.step.set(false, false)
				})
				_ = v.rotate()
				if !p.step.acted() {
					return false
				}
				mine, others := v.jar[sessionKey].value != old.jar[sessionKey].value, twin.jar[sessionKey].value != old.jar[sessionKey].value
				if n := opens(t, p.other, v, twin); mine == others || n != 1 {
					t.Fatalf("point %d: rotated here %t, there %t; %d cookies open", at, mine, others, n)
				}
				if opens(t, p.other, old) != 0 || len(listed(t, p.other)) != 1 {
					t.Fatalf("point %d: the old cookie opens, or %d are listed", at, len(listed(t, p.other)))
				}
				if _, err := old.at(p.other).end(); err != nil {
					t.Fatal(err)
				}
				if opens(t, p.other, v, twin) != 0 || len(listed(t, p.other)) != 0 {
					t.Fatalf("point %d: the session outlives a logout with the old cookie", at)
				}
				return true
			})
		})
	}
}

// A rotation that sleeps while another replica refreshes: no token is lost, and none is sent twice.
func TestARotationThatSleepsAtAnyCallOverwritesNoRefresh(t *testing.T) {
	atEveryPoint(t, func(t *testing.T, at int) bool {
		p := newPair(t, rptest.Options{}, session.Config{})
		v := p.first.visitor()
		first := v.login()
		untilDue(first)
		old, twin := v.copy(), v.copy().at(p.other)
		p.step.arm(at, func() {
			p.step.set(false, true)
			_, _ = twin.load()
			p.step.set(false, false)
		})
		_ = v.rotate()
		if !p.step.acted() {
			return false
		}
		s := refreshed(v.at(p.other))
		if v.jar[sessionKey].value != old.jar[sessionKey].value && opens(t, p.other, old) != 0 {
			t.Fatalf("point %d: the old cookie opens", at)
		}
		if access(s) == access(first) || p.provider.RefreshReuses() != 0 || p.provider.Refreshes() != 1 {
			t.Fatalf("point %d: %d refreshes, %d reuses", at, p.provider.Refreshes(), p.provider.RefreshReuses())
		}
		return true
	})
}

// The list of a user's sessions has each once, wherever a rotation is in it, and wherever the list is in a rotation.
func TestAListBesideARotationHasTheSessionOnce(t *testing.T) {
	atEveryPoint(t, func(t *testing.T, at int) bool {
		p := newPair(t, rptest.Options{}, session.Config{})
		v := p.first.visitor()
		v.login()
		p.step.arm(at, func() {
			if n := len(listed(t, p.other)); n != 1 {
				t.Errorf("point %d of the rotation: %d sessions", at, n)
			}
		})
		v.mustRotate()
		return p.step.acted()
	})
	for at := range 4 {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, rptest.Options{}, session.Config{})
			v := p.first.visitor()
			v.login()
			p.step.arm(at, func() {
				v.at(p.other).mustRotate()
			})
			if n := len(listed(t, p.first)); n != 1 || !p.step.acted() {
				t.Errorf("point %d of the list: %d sessions", at, n)
			}
		})
	}
}

// apart reads the keys of a Get at moments of their own, as a cluster does.
type apart struct {
	session.Backend
	backwards bool
}

func (a *apart) Get(ctx context.Context, keys ...session.Key) ([]session.Item, error) {
	items := make([]session.Item, len(keys))
	for i := range keys {
		if a.backwards {
			i = len(keys) - 1 - i
		}
		one, err := a.Backend.Get(ctx, keys[i])
		if err != nil {
			return nil, err
		}
		items[i] = one[0]
	}
	return items, nil
}

// A list that begins at any call of a rotation, and sees it go on between its own, or between the keys that one of them reads.
func TestAListThatARotationOvertakesHasTheSessionOnce(t *testing.T) {
	atEveryPoint(t, func(t *testing.T, at int) (acted bool) {
		for way := range 30 {
			own := way / 3
			p := newPair(t, rptest.Options{}, session.Config{})
			lister := &stepper{Backend: p.step.Backend}
			var backend session.Backend = lister
			if way%3 > 0 {
				backend = &apart{Backend: lister, backwards: way%3 == 1}
			}
			reader := siteOn(t, p.provider, newClient(t, p.provider, nil), session.Config{Store: serverStore(t, backend)})
			v := p.first.visitor()
			v.login()
			reached, goOn, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
			p.step.arm(at, func() { close(reached); <-goOn })
			go func() {
				defer close(done)
				v.mustRotate()
			}()
			select {
			case <-reached:
			case <-done:
				return false
			}
			lister.arm(own, func() { close(goOn); <-done })
			if n := len(listed(t, reader)); n != 1 {
				t.Errorf("point %d of the rotation, %d of the list: %d sessions", at, own, n)
			}
			if !lister.acted() {
				close(goOn)
				<-done
			}
		}
		return true
	})
}

// Who has stolen a cookie can't rotate it out of its owner's reach.
func TestALogoutWithACookieOfManyRotationsAgoEndsTheSession(t *testing.T) {
	for _, name := range []string{"memory", "server"} {
		config := stores(t)[name]
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, setup{session: config()})
				v := s.visitor()
				v.login()
				old := v.copy()
				for range 40 {
					v.mustRotate()
				}
				if _, err := old.end(); err != nil {
					t.Fatal(err)
				}
				if _, err := v.load(); !errors.Is(err, session.ErrNone) {
					t.Errorf("afterwards: %v", err)
				}
			})
		})
	}
}

// What a process that died in a refresh has noted counts under the new identifier as well: the token is never sent a third time.
func TestARotationKeepsCountOfHowOftenATokenWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, rptest.Options{RefreshGrace: time.Hour})
		v := f.sites[0].visitor()
		first := v.login()
		untilDue(first)
		before := f.provider.Hits(rptest.Token)
		die := func(link *mortal, v *visitor) {
			link.afterAnswer = func() { link.dead.Store(true) }
			_, _ = v.copy().load()
			time.Sleep(8 * time.Second) // it waits for who left a note
			if !link.dead.Load() {
				t.Error("it did not die")
			}
			time.Sleep(7 * time.Second) // its lease ends
		}
		die(f.links[0], v)
		next := v.at(f.sites[2])
		next.mustRotate()
		die(f.links[1], next.at(f.sites[1]))
		_, _ = next.load()
		time.Sleep(15 * time.Second)
		if _, err := next.load(); !errors.Is(err, session.ErrNone) {
			t.Errorf("after two deaths: %v", err)
		}
		if n := f.provider.Hits(rptest.Token) - before; n != 2 {
			t.Errorf("the token was sent %d times, want 2", n)
		}
		time.Sleep(12 * time.Minute)
	})
}

// A refresh that sleeps at any call while another replica rotates the session. Where it wakes up with tokens that it can't save any more they are lost, which a provider with a time of
// grace makes up for; they are not to be revoked like those of an ended session, since their grant is the rotated one's.
func TestARefreshThatSleepsWhileTheSessionIsRotatedEndsNothing(t *testing.T) {
	atEveryPoint(t, func(t *testing.T, at int) bool {
		p := newPair(t, rptest.Options{RefreshGrace: time.Hour}, session.Config{})
		v := p.first.visitor()
		first := v.login()
		untilDue(first)
		old, next := v.copy(), v.copy().at(p.other)
		p.step.arm(at, func() {
			p.step.set(false, true)
			err := next.rotate()
			for range 3 {
				if errors.Is(err, rp.ErrUnavailable) {
					err = next.rotate()
				}
			}
			if err != nil {
				t.Errorf("point %d: %v", at, err)
			}
			p.step.set(false, false)
		})
		_, _ = v.load()
		time.Sleep(2 * time.Minute)
		if !p.step.acted() {
			return false
		}
		if s := refreshed(next); access(s) == access(first) || p.provider.RefreshReuses() != 0 || p.provider.Hits(rptest.Revocation) != 0 {
			t.Fatalf("point %d: %d refreshes, %d reuses, %d revocations", at, p.provider.Refreshes(), p.provider.RefreshReuses(), p.provider.Hits(rptest.Revocation))
		}
		if opens(t, p.other, old) != 0 || len(listed(t, p.other)) != 1 {
			t.Fatalf("point %d: the old cookie opens, or %d are listed", at, len(listed(t, p.other)))
		}
		return true
	})
}
