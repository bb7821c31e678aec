//go:build unix

package redisbackend_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/session"
	"github.com/latchkey-go/latchkey/session/redisbackend"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

func TestMain(m *testing.M) {
	logging.Disable() // the client tells of every lost connection, which here are wanted
	os.Exit(m.Run())
}

// server is a redis-server of a test.
type server struct {
	t      testing.TB
	binary string
	port   int
	dir    string
	args   []string
	cmd    *exec.Cmd
	said   bytes.Buffer
}

// program returns the path of redis-server or valkey-server. Without either the test is skipped, or fails where services are required.
func program(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const missing = "no redis-server and no valkey-server on the PATH; apt-get install redis-server"
	if os.Getenv("LATCHKEY_REQUIRE_SERVICES") != "" {
		t.Fatalf("%s: LATCHKEY_REQUIRE_SERVICES forbids to go on without", missing)
	}
	t.Skip(missing)
	return ""
}

// startServer starts one on a free port. It ends with the test.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	s := &server{t: t, binary: program(t), dir: t.TempDir(), args: args}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("redis-server said:\n%s", &s.said)
		}
	})
	for attempt := range 5 { // somebody else may take the port first
		s.port = freePort(t)
		if err := s.start(); err == nil {
			return s
		} else if attempt == 4 {
			t.Fatalf("redis-server: %v\n%s", err, &s.said)
		}
	}
	return nil
}

// freePort is one that has a free one 10000 above it, for the bus of a Cluster.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		if port > 55535 {
			port -= 20000
		}
		free := true
		for _, p := range []int{port, port + 10000} {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
			if free = free && err == nil; err == nil {
				l.Close()
			}
		}
		if free {
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

func (s *server) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// start starts it and waits until it answers.
func (s *server) start() error {
	args := append([]string{"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--daemonize", "no"}, s.args...)
	s.cmd = exec.Command(s.binary, args...)
	s.cmd.Stdout, s.cmd.Stderr = &s.said, &s.said
	if err := s.cmd.Start(); err != nil {
		return err
	}
	client := redis.NewClient(&redis.Options{Addr: s.addr(), MaxRetries: -1})
	defer client.Close()
	var err error
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		if err = client.Ping(context.Background()).Err(); err == nil {
			return nil
		}
	}
	s.kill()
	return err
}

// kill is SIGKILL: nothing is saved on the way out.
func (s *server) kill() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
}

func (s *server) restart() {
	s.t.Helper()
	if err := s.start(); err != nil {
		s.t.Fatalf("restart: %v", err)
	}
}

// freeze stops the process: its connections stay open and answer nothing. It returns when every thread has stopped: when kill
// returns, the signal is only on its way to one of them, and the others go on.
func (s *server) freeze() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
	for range 5000 {
		running := false
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", s.cmd.Process.Pid))
		for _, thread := range threads {
			stat, err := os.ReadFile(thread)
			running = running || err == nil && !bytes.HasPrefix(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" T"))
		}
		if !running {
			return
		}
		time.Sleep(time.Millisecond)
	}
	s.t.Fatal("the server doesn't stop")
}

func (s *server) thaw() { s.signal(syscall.SIGCONT) }

func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// client returns a client of its own, as each replica has one.
func (s *server) client(bend ...func(*redis.Options)) *redis.Client {
	o := &redis.Options{Addr: s.addr(), ContextTimeoutEnabled: true}
	for _, b := range bend {
		b(o)
	}
	client := redis.NewClient(o)
	s.t.Cleanup(func() { client.Close() })
	return client
}

func backendOn(t testing.TB, client redis.UniversalClient) *redisbackend.Backend {
	t.Helper()
	b, err := redisbackend.New(client, redisbackend.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// startCluster starts a Cluster of three masters.
func startCluster(t testing.TB) []*server {
	t.Helper()
	const slots = 16384
	var nodes []*server
	for range 3 {
		nodes = append(nodes, startServer(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000"))
	}
	for i, node := range nodes {
		var args []any
		for slot := i * slots / 3; slot < (i+1)*slots/3; slot++ {
			if args == nil {
				args = []any{"cluster", "addslots"}
			}
			args = append(args, slot)
		}
		client := node.client()
		if err := client.Do(t.Context(), args...).Err(); err != nil {
			t.Fatalf("addslots: %v", err)
		}
		if err := client.ClusterMeet(t.Context(), "127.0.0.1", strconv.Itoa(nodes[0].port)).Err(); i > 0 && err != nil {
			t.Fatalf("meet: %v", err)
		}
	}
	until := time.Now().Add(30 * time.Second)
	for _, node := range nodes {
		for client := node.client(); ; time.Sleep(20 * time.Millisecond) {
			info, err := client.ClusterInfo(t.Context()).Result()
			if err == nil && bytes.Contains([]byte(info), []byte("cluster_state:ok")) && bytes.Contains([]byte(info), []byte("cluster_known_nodes:3")) {
				break
			}
			if time.Now().After(until) {
				t.Fatalf("the Cluster does not form: %v\n%s", err, info)
			}
		}
	}
	return nodes
}

func clusterClient(t testing.TB, nodes []*server) *redis.ClusterClient {
	var addrs []string
	for _, node := range nodes {
		addrs = append(addrs, node.addr())
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, ContextTimeoutEnabled: true})
	t.Cleanup(func() { client.Close() })
	return client
}

func itemOf(data string, version uint64) session.Item {
	return session.Item{Data: []byte(data), Version: version, Expires: time.Now().Add(time.Minute)}
}
