package rp_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/rp/store"
)

// mortal is a process's connections, to the backend and to the token endpoint, which are dead from one point on. A point is before or after what is done there: calls are
// counted together, and each has two points. What is called after its death does nothing and learns nothing, as if the process were gone.
type mortal struct {
	store.Backend
	provider http.RoundTripper

	mu           sync.Mutex
	end          int // the point; negative: it lives
	points       int
	dead         bool
	leased       bool // it has had the lease
	noted, saved bool // what it got done
}

var errDead = errors.New("the process is dead")

// pass counts a call, and reports whether it is made and whether its answer is heard.
func (m *mortal) pass() (made, heard bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return false, false
	}
	before, after := m.points == m.end, m.points+1 == m.end
	m.points += 2
	m.dead = before || after
	return !before, !m.dead
}

// waits reports whether it has only waited for its turn since its first call. Waiting is no point to die at: there are many, and at each it is as if the process had not begun.
func (m *mortal) waits() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.dead && !m.leased && m.points > 0
}

func (m *mortal) Get(ctx context.Context, keys ...store.Key) ([]store.Item, error) {
	if m.waits() {
		return m.Backend.Get(ctx, keys...)
	}
	made, heard := m.pass()
	if !made || !heard {
		return nil, errDead
	}
	return m.Backend.Get(ctx, keys...)
}

func (m *mortal) Put(ctx context.Context, key store.Key, item store.Item, from uint64) error {
	lease := key == sha256.Sum256([]byte("latchkey v1 token lease tenant-42"))
	if there, err := m.Backend.Get(ctx, key); m.waits() && lease && (err != nil || there[0].Version != from) {
		return store.ErrConflict
	}
	made, heard := m.pass()
	if !made {
		return errDead
	}
	err := m.Backend.Put(ctx, key, item, from)
	m.mu.Lock()
	m.leased = m.leased || err == nil && lease
	m.noted = m.noted || err == nil && key == sha256.Sum256([]byte("latchkey v1 token intent tenant-42"))
	m.saved = m.saved || err == nil && key == sha256.Sum256([]byte("latchkey v1 tokens tenant-42"))
	m.mu.Unlock()
	if !heard {
		return errDead
	}
	return err
}

func (m *mortal) Delete(ctx context.Context, key store.Key, version uint64) error {
	made, heard := m.pass()
	if !made {
		return errDead
	}
	err := m.Backend.Delete(ctx, key, version)
	if !heard {
		return errDead
	}
	return err
}

func (m *mortal) RoundTrip(req *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(req.URL.Path, "/token") {
		return m.provider.RoundTrip(req)
	}
	made, heard := m.pass()
	if !made {
		return nil, errDead
	}
	resp, err := m.provider.RoundTrip(req)
	if err == nil && !heard {
		resp.Body.Close()
		return nil, errDead
	}
	return resp, err
}

// revive is for a process that was believed dead, and was not.
func (m *mortal) revive() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead, m.end = false, -1
}

func (m *mortal) done() (died, noted, saved bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dead, m.noted, m.saved
}

// doomed is a process that dies at the end-th point from its first Token on.
func (j *job) doomed(end int) (*rp.TokenSource, *mortal) {
	j.t.Helper()
	m := &mortal{Backend: j.backend, provider: j.op.Client().Transport, end: end}
	client, err := rp.New(rp.Config{Issuer: j.op.Issuer(), ClientID: "test-client", ClientSecret: j.op.ClientSecret(), RedirectURL: testCallback, HTTPClient: &http.Client{Transport: m}})
	if err != nil {
		j.t.Fatal(err)
	}
	return client.TokenSource(j.t.Context(), j.processOver(m), "tenant-42"), m
}

// lives is a refresh by processes of which each dies at its point, and then by one that lives. It reports whether the last of those that shall die did.
func lives(t *testing.T, grace time.Duration, ends ...int) (died bool) {
	synctest.Test(t, func(t *testing.T) {
		j := newJob(t, rptest.Options{RefreshGrace: grace})
		first := j.connect(j.client.TokenSource(t.Context(), j.process(), "tenant-42")).OAuth2.AccessToken
		time.Sleep(time.Minute)
		notes, saved, gone := 0, false, false // gone: the only answer died
		var dead []*mortal
		for _, end := range ends {
			source, m := j.doomed(end)
			if token, err := source.Token(); err == nil && token.AccessToken == first {
				t.Error("an ended token")
			}
			synctest.Wait()
			var noted, kept bool
			died, noted, kept = m.done()
			if noted && !saved {
				notes++
			}
			saved = saved || kept
			gone = gone || grace == 0 && !saved && j.op.Refreshes() > 0
			dead = append(dead, m)
		}
		began := time.Now()
		source := j.client.TokenSource(t.Context(), j.process(), "tenant-42")
		_, err := source.Token()
		lost := gone || notes > 1 && !saved
		var reconnect *rp.ReconnectError
		switch {
		case !lost && err != nil:
			t.Errorf("lost: %v", err)
		case !lost:
			j.token(source)
		case !errors.As(err, &reconnect) || reconnect.Reason != "refresh_outcome_unknown":
			t.Errorf("what can't be known ended as %v", err)
		}
		if waited := time.Since(began); waited > 16*time.Second {
			t.Errorf("the one that lives waited %v", waited)
		}
		reuses := 0
		if gone {
			reuses = 1
		}
		if n := j.op.RefreshReuses(); n > reuses {
			t.Errorf("%d reuses, want %d", n, reuses)
		}
		// None was dead: none may take anybody's place, or send anything.
		for _, m := range dead {
			m.revive()
		}
		refreshes, used := j.op.Refreshes(), j.op.RefreshReuses()
		time.Sleep(10 * time.Second)
		if j.op.Refreshes() != refreshes || j.op.RefreshReuses() != used {
			t.Error("a process that came back has sent a refresh token")
		}
		if !lost {
			time.Sleep(time.Minute)
			j.token(source)
			if n := j.op.RefreshReuses(); n > reuses {
				t.Errorf("%d reuses after the dead came back", n)
			}
		}
	})
	return died
}

const graceOfCrashes = 30 * time.Second

// pointsOfRefresh is how many points a refresh has that nothing keeps waiting.
const pointsOfRefresh = 20

// A process may die before and after each call that a refresh makes. The next one gets tokens: always, where the provider takes a refresh token once more for a while; else unless the only answer died with the process.
func TestAProcessMayDieAnywhereInARefresh(t *testing.T) {
	for name, grace := range map[string]time.Duration{"with grace": graceOfCrashes, "strict": 0} {
		t.Run(name, func(t *testing.T) {
			points := 0
			for died := true; died && points < 100; points++ {
				t.Run(fmt.Sprint(points), func(t *testing.T) { died = lives(t, grace, points) })
			}
			if points != pointsOfRefresh+1 {
				t.Errorf("a refresh has %d points, want %d", points-1, pointsOfRefresh)
			}
		})
	}
}

// Two may die in a row, each anywhere. A refresh token that two have noted is not sent a third time.
func TestTwoProcessesMayDieAnywhereInARefresh(t *testing.T) {
	for name, grace := range map[string]time.Duration{"with grace": graceOfCrashes, "strict": 0} {
		t.Run(name, func(t *testing.T) {
			for first := range pointsOfRefresh {
				for second, died := 0, true; died && second < 4*pointsOfRefresh; second++ {
					t.Run(fmt.Sprintf("%d and %d", first, second), func(t *testing.T) { died = lives(t, grace, first, second) })
				}
			}
		})
	}
}
