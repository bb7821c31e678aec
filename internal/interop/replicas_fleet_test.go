//go:build unix

package interop_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/interop/service"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

const fleetSize, fleetClient = 4, "replicas"

// fleet is processes of one application on one store, four on a Redis if nothing else is said, and their provider in this process.
type fleet struct {
	t         *testing.T
	op        *rptest.Provider
	store     *redisServer
	binary    string
	args      []string
	addrs     []string
	transport *http.Transport
	sessions  []*visit
	clients   int           // of the traffic
	pace      time.Duration // between two requests of one of them

	mu       sync.Mutex
	programs []*service.Program
	logs     strings.Builder // of the programs that were killed
	killed   bool
	sends    map[string]int // of each refresh token
}

// visit is one logged-in browser.
type visit struct {
	user   string
	client *http.Client
	who    who
	over   atomic.Bool // a request has been sent to the login
}

type who struct{ Subject, SID, Hash string }

// newFleet starts everything. Tokens of a login end after first, those of a refresh after next.
func newFleet(t *testing.T, n int, first, next time.Duration, bend func(*rptest.Options)) *fleet {
	t.Helper()
	store := startRedis(t)
	f := startFleet(t, n, fleetSize, bend, "-redis", store.addr)
	f.store = store
	f.op.Fault(rptest.Token, rptest.Both(
		rptest.OnGrant("authorization_code", rptest.WithMember("expires_in", int(first.Seconds()))),
		rptest.OnGrant("refresh_token", rptest.Both(rptest.WithMember("expires_in", int(next.Seconds())), rptest.Late(50*time.Millisecond)))))
	f.loginAll()
	return f
}

// startFleet starts the provider, for n users, and the processes; store is where these keep sessions.
func startFleet(t *testing.T, n, size int, bend func(*rptest.Options), store ...string) *fleet {
	t.Helper()
	f := &fleet{t: t, binary: service.Build(t, "replica"), sends: map[string]int{}, sessions: make([]*visit, n), clients: 64}
	f.transport = &http.Transport{MaxIdleConnsPerHost: 128}
	t.Cleanup(f.transport.CloseIdleConnections)

	provider := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			body, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
			if err != nil {
				return // the replica was killed while it asked
			}
			if form, err := url.ParseQuery(string(body)); err == nil && form.Has("refresh_token") {
				f.mu.Lock()
				f.sends[form.Get("refresh_token")]++
				f.mu.Unlock()
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		f.op.ServeHTTP(w, r)
	}))
	options := rptest.Options{Issuer: "http://" + provider.Listener.Addr().String(), Clients: []rptest.Client{{ID: fleetClient, AuthMethod: "none"}}}
	for i := range n {
		options.Users = append(options.Users, rptest.User{Name: userName(i)})
	}
	if bend != nil {
		bend(&options)
	}
	var err error
	if f.op, err = rptest.New(options); err != nil {
		t.Fatal(err)
	}
	provider.Start()
	t.Cleanup(provider.Close)

	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(rand.IntN(256))
	}
	f.args = append(store, "-issuer", options.Issuer, "-client", fleetClient, "-key", hex.EncodeToString(key))
	f.programs = make([]*service.Program, size)
	for i := range size {
		f.addrs = append(f.addrs, quietPort(t))
		if err := f.start(i); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func userName(i int) string { return fmt.Sprintf("user-%d", i) }

// loginAll logs every user in.
func (f *fleet) loginAll() {
	f.t.Helper()
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := worker; i < len(f.sessions); i += 8 {
				f.sessions[i] = f.login(userName(i))
			}
		})
	}
	wg.Wait()
	if f.t.Failed() {
		f.t.FailNow()
	}
}

func (f *fleet) start(i int) error {
	program, err := service.Run(f.t, f.binary, append([]string{"-addr", f.addrs[i]}, f.args...)...)
	if err != nil {
		return err
	}
	var said struct{ URL string }
	if err := program.Read(&said, 20*time.Second); err != nil {
		return err
	}
	f.mu.Lock()
	f.programs[i] = program
	f.mu.Unlock()
	return nil
}

// crash kills a replica, and starts it again on the same port.
func (f *fleet) crash(i int) error {
	f.kill(i)
	return f.start(i)
}

func (f *fleet) kill(i int) {
	f.killed = true
	f.programs[i].Kill()
	f.logs.WriteString(f.programs[i].Stderr())
}

// diedTwice ends all processes, and counts the sessions that one of them has ended because two had died while they refreshed it: the second one may have died
// before it sent anything.
func (f *fleet) diedTwice() int {
	for i := range f.programs {
		f.kill(i)
	}
	return strings.Count(f.logs.String(), "twice a process died while it refreshed it")
}

func (f *fleet) address(path string) string {
	return "http://" + f.addrs[rand.IntN(len(f.addrs))] + path
}

func (f *fleet) login(user string) *visit {
	jar, _ := cookiejar.New(nil)
	v := &visit{user: user, client: &http.Client{Jar: jar, Transport: f.transport, Timeout: 30 * time.Second}}
	resp, err := v.client.Do(navigation(f.address("/who?user=" + user)))
	if err != nil {
		f.t.Error(err)
		return v
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if err := json.Unmarshal(body, &v.who); err != nil || resp.StatusCode != http.StatusOK || v.who.Subject != user {
		f.t.Errorf("the login of %s ended with %s: %.300s", user, resp.Status, body)
	}
	v.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return v
}

func navigation(address string) *http.Request {
	req, _ := http.NewRequest(http.MethodGet, address, nil)
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Dest", "document")
	return req
}

// answer is what a request earned.
type answer int

const (
	served answer = iota
	loggedOut
	unavailable // 503 with Retry-After
	cutOff      // no answer: the replica is dead
	odd
)

// ask sends one request of v to a replica at random.
func (f *fleet) ask(v *visit) (answer, string) {
	resp, err := v.client.Do(navigation(f.address("/who")))
	if err != nil {
		return cutOff, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return cutOff, err.Error()
	}
	var got who
	switch resp.StatusCode {
	case http.StatusOK:
		if json.Unmarshal(body, &got) == nil && got.Subject == v.user && got.Hash != "" {
			return served, got.Hash
		}
	case http.StatusFound, http.StatusSeeOther:
		if u, err := resp.Location(); err == nil && u.Query().Get("client_id") == fleetClient {
			return loggedOut, ""
		}
	case http.StatusServiceUnavailable:
		if resp.Header.Get("Retry-After") != "" {
			return unavailable, ""
		}
	}
	return odd, fmt.Sprintf("%s of %s: %.200s", resp.Status, v.user, body)
}

// tally counts answers.
type tally [odd + 1]atomic.Int64

func (c *tally) String() string {
	return fmt.Sprintf("%d served, %d sent to the login, %d times 503, %d without an answer, %d odd", c[served].Load(), c[loggedOut].Load(), c[unavailable].Load(), c[cutOff].Load(), c[odd].Load())
}

// traffic has the clients ask for sessions at random, until more says no. Sessions that are over are not asked for again. saw may be nil.
func (f *fleet) traffic(more func() bool, saw func(v *visit, began time.Time, a answer)) *tally {
	count := new(tally)
	var wg sync.WaitGroup
	for range f.clients {
		wg.Go(func() {
			for more() {
				v := f.sessions[rand.IntN(len(f.sessions))]
				if v.over.Load() {
					time.Sleep(time.Millisecond)
					continue
				}
				began := time.Now()
				a, detail := f.ask(v)
				if count[a].Add(1); a == odd {
					f.t.Errorf("answer: %s", detail)
				}
				if saw != nil {
					saw(v, began, a)
				}
				switch a {
				case loggedOut:
					v.over.Store(true)
				case unavailable, cutOff:
					time.Sleep(20 * time.Millisecond)
				}
				time.Sleep(f.pace)
			}
		})
	}
	wg.Wait()
	return count
}

// sent tells how many refresh tokens were sent more than once, and how often the worst.
func (f *fleet) sent() (again, most int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range f.sends {
		if n > 1 {
			again++
		}
		most = max(most, n)
	}
	return again, most
}

// lost counts the sessions that are over.
func (f *fleet) lost() (n int) {
	for _, v := range f.sessions {
		if v.over.Load() {
			n++
		}
	}
	return n
}

// settle asks for every session until it is served or over.
func (f *fleet) settle(limit time.Duration) {
	f.t.Helper()
	until := time.Now().Add(limit)
	var wg sync.WaitGroup
	for _, v := range f.sessions {
		wg.Go(func() {
			for !v.over.Load() {
				a, detail := f.ask(v)
				if a == loggedOut {
					v.over.Store(true)
				}
				if a == served || a == loggedOut {
					return
				}
				if a == odd || time.Now().After(until) {
					f.t.Errorf("%s is neither served nor logged out: %d %s", v.user, a, detail)
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
	wg.Wait()
}

// redisServer keeps everything it acknowledges on disk.
type redisServer struct {
	t         *testing.T
	addr, dir string
	cmd       *exec.Cmd
}

func startRedis(t *testing.T) *redisServer {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		service.Need(t, err, "apt-get install redis-server")
	}
	s := &redisServer{t: t, addr: quietPort(t), dir: t.TempDir()}
	t.Cleanup(s.kill)
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *redisServer) start() error {
	_, port, _ := net.SplitHostPort(s.addr)
	s.cmd = exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--appendonly", "yes", "--appendfsync", "always")
	if err := s.cmd.Start(); err != nil {
		return err
	}
	var err error
	for range 500 {
		var c net.Conn
		if c, err = net.Dial("tcp", s.addr); err == nil {
			return c.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

func (s *redisServer) kill() {
	if s.cmd != nil && s.cmd.Process != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}
