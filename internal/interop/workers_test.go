//go:build unix

package interop_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/interop/service"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/rp/store"
	"github.com/latchkey-go/latchkey/session/redisbackend"
	"github.com/redis/go-redis/v9"
)

// jobSize is for how long how many tenants are kept, and how often a process dies. LATCHKEY_JOB_TIME=5m is the whole proof.
func jobSize(t *testing.T) (tenants int, length, dies time.Duration) {
	if text := os.Getenv("LATCHKEY_JOB_TIME"); text != "" {
		length, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		return 500, length, 10 * time.Second
	}
	return 100, 30 * time.Second, 5 * time.Second
}

// workers are processes of one job, their tokens' backend and their provider in this process.
type workers struct {
	t       *testing.T
	op      *rptest.Provider
	client  *rp.Client
	backend store.Backend
	tokens  *rp.TokenStore
	args    []string
	binary  string
}

// newWorkers has every tenant connected. where says to a worker where the backend is.
func newWorkers(t *testing.T, tenants int, backend store.Backend, where ...string) *workers {
	t.Helper()
	w := &workers{t: t, backend: backend, binary: service.Build(t, "worker")}
	provider := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.op.ServeHTTP(rw, r) }))
	issuer := "http://" + provider.Listener.Addr().String()
	options := rptest.Options{
		Issuer: issuer, SigningAlg: "ES256", AccessTokenLifetime: 10 * time.Second, Clients: []rptest.Client{{ID: fleetClient, AuthMethod: "none"}},
		// Longer than a lease and the wait for a late save together: then the protocol can keep what a process takes with it.
		RefreshGrace: 30 * time.Second,
	}
	for i := range tenants {
		options.Users = append(options.Users, rptest.User{Name: fmt.Sprint("tenant-", i)})
	}
	var err error
	if w.op, err = rptest.New(options); err != nil {
		t.Fatal(err)
	}
	provider.Start()
	t.Cleanup(provider.Close)
	w.op.Fault(rptest.Token, rptest.OnGrant("refresh_token", rptest.Late(50*time.Millisecond)))

	key := make([]byte, 32)
	rand.Read(key)
	ring, err := store.NewKeyring(key)
	if err != nil {
		t.Fatal(err)
	}
	if w.tokens, err = rp.NewTokenStore(rp.TokenStoreConfig{Backend: backend, Keyring: ring}); err != nil {
		t.Fatal(err)
	}
	if w.client, err = rp.New(rp.Config{Issuer: issuer, ClientID: fleetClient, RedirectURL: "http://127.0.0.1/callback", InsecureLoopbackHTTP: true}); err != nil {
		t.Fatal(err)
	}
	w.args = append([]string{"-issuer", issuer, "-client", fleetClient, "-key", hex.EncodeToString(key), "-tenants", fmt.Sprint(tenants)}, where...)
	for _, user := range options.Users {
		w.connect(user.Name)
	}
	return w
}

func (w *workers) connect(tenant string) {
	w.t.Helper()
	ctx := w.t.Context()
	login, err := w.client.Begin(ctx, rp.AuthParams{LoginHint: tenant, Scopes: []string{"offline_access"}})
	if err != nil {
		w.t.Fatal(err)
	}
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := browser.Get(login.URL)
	if err != nil {
		w.t.Fatal(err)
	}
	resp.Body.Close()
	back, err := resp.Location()
	if err != nil {
		w.t.Fatal(err)
	}
	tokens, err := w.client.Finish(ctx, login, back.Query())
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.client.TokenSource(ctx, w.tokens, tenant).Save(ctx, tokens); err != nil {
		w.t.Fatal(err)
	}
}

// versions is how often each tenant's tokens have been saved, up to a beginning of its own.
func (w *workers) versions(tenants int) []uint64 {
	w.t.Helper()
	versions := make([]uint64, tenants)
	for i := range versions {
		items, err := w.backend.Get(w.t.Context(), sha256.Sum256(fmt.Appendf(nil, "latchkey v1 tokens tenant-%d", i)))
		if err != nil || items[0].Version == 0 {
			w.t.Fatalf("tenant-%d is not in the store: %v", i, err)
		}
		versions[i] = items[0].Version
	}
	return versions
}

func (w *workers) start() *service.Program {
	w.t.Helper()
	program, err := service.Run(w.t, w.binary, w.args...)
	if err == nil {
		err = program.Read(&struct{}{}, 20*time.Second)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return program
}

type workerCounts struct {
	Store        rp.TokenStoreStats
	Keeper       rp.KeeperStats
	Used, Failed int64
}

func TestWorkersThatDieLoseNoTenant(t *testing.T) {
	tenants, length, dies := jobSize(t)
	for name, start := range map[string]func(t *testing.T) (store.Backend, []string){
		"Redis": func(t *testing.T) (store.Backend, []string) {
			server := startRedis(t)
			client := redis.NewClient(&redis.Options{Addr: server.addr, ContextTimeoutEnabled: true})
			t.Cleanup(func() { client.Close() })
			backend, err := redisbackend.New(client, redisbackend.Config{})
			if err != nil {
				t.Fatal(err)
			}
			return backend, []string{"-redis", server.addr}
		},
		"files": func(t *testing.T) (store.Backend, []string) {
			dir := t.TempDir() + "/tokens"
			backend, err := store.NewFile(dir)
			if err != nil {
				t.Fatal(err)
			}
			return backend, []string{"-dir", dir}
		},
	} {
		t.Run(name, func(t *testing.T) {
			length := length
			if name == "files" && os.Getenv("LATCHKEY_JOB_TIME") == "" {
				length = 15 * time.Second
			}
			backend, where := start(t)
			w := newWorkers(t, tenants, backend, where...)
			before := w.versions(tenants)
			programs := []*service.Program{w.start(), w.start(), w.start()}
			kills, said := 0, ""
			for end := time.Now().Add(length); time.Now().Before(end); {
				// At no fixed beat: a token whose process died is sent once more ten seconds later, and that would be when the next one dies. It is not sent a third time.
				time.Sleep(min(dies/2+mathrand.N(dies), time.Until(end)))
				if time.Until(end) < dies/2 {
					continue
				}
				i := mathrand.IntN(len(programs))
				programs[i].Kill()
				kills++
				said += programs[i].Stderr()
				programs[i] = w.start()
			}
			var counts [3]workerCounts
			var wg sync.WaitGroup
			for i, p := range programs {
				wg.Go(func() {
					p.End()
					if err := p.Read(&counts[i], 2*time.Minute); err != nil {
						t.Errorf("worker %d: %v", i, err)
					}
				})
			}
			wg.Wait()
			for _, p := range programs {
				p.Kill() // its standard error can be read then
				said += p.Stderr()
			}
			w.judge(tenants, length, kills, before, counts, said)
		})
	}
}

var diedTwice = regexp.MustCompile(`key=(\S+) reason=refresh_outcome_unknown error=<nil>`)

// judge counts.
func (w *workers) judge(tenants int, length time.Duration, kills int, before []uint64, counts [3]workerCounts, said string) {
	t := w.t
	t.Helper()
	saved, again := 0, strings.Count(said, "sent once more")
	for i, version := range w.versions(tenants) {
		saved += int(version - before[i])
	}
	made, lost, used := w.op.Refreshes(), 0, int64(0)
	// Two processes died on these, and a token is not sent a third time.
	twice := map[string]bool{}
	for _, found := range diedTwice.FindAllStringSubmatch(said, -1) {
		twice[found[1]] = true
	}
	for i := range tenants {
		source := w.client.TokenSource(t.Context(), w.tokens, fmt.Sprint("tenant-", i))
		if _, err := source.Token(); err != nil {
			lost++
			if !twice[source.Key()] {
				t.Errorf("%s is lost: %v", source.Key(), err)
			}
		}
	}
	for _, c := range counts {
		used += c.Used
		if c.Failed != 0 || c.Keeper.Reconnect > len(twice) || c.Store.Unsaved != 0 {
			t.Errorf("a worker ends with %+v", c)
		}
	}
	if t.Failed() {
		t.Logf("the workers said:\n%.4000s", said)
	}
	t.Logf("%d tenants, %v, %d processes killed: %d refreshes at the provider, %d saved (%.2f %% more than saved), %d sent again after a death, %d reuses, %d tenants lost (two processes died on %d), %d calls by the workers that lived",
		tenants, length, kills, made, saved, 100*float64(made-saved)/float64(saved), again, w.op.RefreshReuses(), lost, len(twice), used)
	if len(twice) > 1+kills/10 {
		t.Errorf("of %d deaths two were of one token %d times", kills, len(twice))
	}
	if n := w.op.RefreshReuses(); n != 0 {
		t.Errorf("%d refresh tokens were used twice", n)
	}
	// A killed process's refreshes are made once more; any other is one too many.
	if most := saved + max(saved/100, kills*16); made < saved || made > most {
		t.Errorf("%d refreshes for %d that were saved, want %d at most", made, saved, most)
	}
	if least := int(float64(tenants) * (length.Seconds() - 20) / 10); saved < least {
		t.Errorf("%d refreshes were saved, want %d at least", saved, least)
	}
}
