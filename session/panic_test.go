package session_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/sessions"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session"
)

// fuse makes foreign code panic: at its next use, after so many that go well.
type fuse struct {
	armed atomic.Bool
	spare atomic.Int32
}

func (f *fuse) arm(spare int32) {
	f.spare.Store(spare)
	f.armed.Store(true)
}

func (f *fuse) blow() {
	if f.armed.Load() && f.spare.Add(-1) < 0 {
		f.armed.Store(false)
		panic("a bug, and secret-marked")
	}
}

// Each piece of foreign code that a refresh runs has a fuse.
type panickyTransport struct {
	http.RoundTripper
	token, userInfo, revocation *fuse
}

func (p panickyTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	for name, f := range map[string]*fuse{"token": p.token, "userinfo": p.userInfo, "revo": p.revocation} {
		if strings.Contains(r.URL.Path, name) {
			f.blow()
		}
	}
	return p.RoundTripper.RoundTrip(r)
}

type panickyStore struct {
	sessions.Store
	read, write *fuse
}

func (p panickyStore) New(r *http.Request, name string) (*sessions.Session, error) {
	p.read.blow()
	return p.Store.New(r, name)
}

func (p panickyStore) Save(r *http.Request, w http.ResponseWriter, s *sessions.Session) error {
	p.write.blow()
	return p.Store.Save(r, w, s)
}

type panickyLedger struct {
	session.Ledger
	read *fuse
}

func (p panickyLedger) RevokedAt(ctx context.Context, keys ...string) (time.Time, error) {
	p.read.blow()
	return p.Ledger.RevokedAt(ctx, keys...)
}

func TestAPanicInForeignCodeDoesNotEndTheProcess(t *testing.T) {
	for name, c := range map[string]struct {
		spare int32 // uses by the request itself, before the refresh's
		got   bool  // the provider's answer had come by then: it is kept
	}{
		"token": {}, "userInfo": {got: true}, "read": {spare: 1}, "write": {got: true}, "ledger": {spare: 1, got: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fuses := map[string]*fuse{"token": {}, "userInfo": {}, "read": {}, "write": {}, "ledger": {}, "revocation": {}}
				s := newSite(t, setup{
					client: func(r *rp.Config) {
						r.HTTPClient = &http.Client{Transport: panickyTransport{r.HTTPClient.Transport, fuses["token"], fuses["userInfo"], fuses["revocation"]}}
					},
					session: session.Config{
						SingleProcess: true, UserInfo: true, Idle: -1, Store: panickyStore{fileStore(t), fuses["read"], fuses["write"]},
						Ledger: panickyLedger{session.NewMemoryLedger(0), fuses["ledger"]},
					},
				})
				v := s.visitor()
				first := v.login()
				untilDue(first)
				fuses[name].arm(c.spare)
				got := v.mustLoad() // the access token is still good
				if fuses[name].armed.Load() {
					t.Fatal("nothing panicked")
				}
				if (access(got) != access(first)) != c.got {
					t.Errorf("the tokens that had come are kept: %t, want %t", access(got) != access(first), c.got)
				}
				if logs := s.logs.String(); !strings.Contains(logs, "panic") || !strings.Contains(logs, "panic_test.go") || strings.Contains(logs, "secret-marked") {
					t.Errorf("want one line with the stack and without the value: %s", logs)
				}
				time.Sleep(time.Minute + time.Second)
				late := v.mustLoad()
				if access(late) == access(first) {
					t.Error("no new tokens when it works again")
				}
				if n := s.provider.RefreshReuses(); n != 0 {
					t.Errorf("%d refresh tokens were used twice", n)
				}
			})
		})
	}
}

// Without an access token that is good there is nothing to serve: everyone who waits is told, and nobody is signed out.
func TestWaitersAreToldOfAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := &fuse{}
		s := newSite(t, setup{
			session: session.Config{Store: memoryStore(t)},
			client: func(r *rp.Config) {
				r.HTTPClient = &http.Client{Transport: panickyTransport{r.HTTPClient.Transport, token, &fuse{}, &fuse{}}}
			},
		})
		v := s.visitor()
		first := v.login()
		time.Sleep(time.Until(first.TokenExpiry) + time.Second)
		token.arm(0)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, err := v.copy().load(); err == nil || errors.Is(err, session.ErrNone) || strings.Contains(err.Error(), "secret-marked") {
					t.Errorf("Load: %v, want an error that is not ErrNone", err)
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Minute)
		v.mustLoad()
	})
}

type panickyBackend struct {
	session.Backend
	put *fuse
}

func (p panickyBackend) Put(ctx context.Context, key session.Key, item session.Item, from uint64) error {
	p.put.blow()
	return p.Backend.Put(ctx, key, item, from)
}

// A lease, its renewals, the note of what is about to be sent, the save: whichever write of a shared backend panics.
func TestAPanicInABackendDoesNotEndTheProcess(t *testing.T) {
	for spare := range int32(4) {
		synctest.Test(t, func(t *testing.T) {
			put := &fuse{}
			backend := panickyBackend{session.NewMemoryBackend(0), put}
			store, err := session.NewServerStore(backend, testKey(1))
			if err != nil {
				t.Fatal(err)
			}
			s := newSite(t, setup{session: session.Config{Store: store, Idle: -1}})
			s.provider.Fault(rptest.Token, rptest.Late(4*time.Second)) // a renewal of the lease comes before the save
			v := s.visitor()
			first := v.login()
			untilDue(first)
			put.arm(spare)
			v.mustLoad()
			time.Sleep(5 * time.Second)
			if put.armed.Load() {
				t.Fatalf("write %d did not panic", spare)
			}
			v.mustLoad()
			if !strings.Contains(s.logs.String(), "panic_test.go") {
				t.Errorf("write %d: no stack in %s", spare, s.logs)
			}
			time.Sleep(time.Minute)
			if got := v.mustLoad(); access(got) == access(first) && time.Now().After(first.TokenExpiry) {
				t.Errorf("write %d: old tokens", spare)
			}
			time.Sleep(5 * time.Second)
			if got := v.mustLoad(); access(got) == access(first) {
				t.Errorf("write %d: no new tokens when it works again", spare)
			}
			if n := s.provider.RefreshReuses(); n != 0 {
				t.Errorf("write %d: %d refresh tokens were used twice", spare, n)
			}
		})
	}
}
