//go:build unix

package sqlbackend_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/latchkey-go/latchkey/session/sqlbackend"
)

// service is a database server of its own, made for these tests and removed after them.
type service struct {
	name, driver, dsn string
	dialect           sqlbackend.Dialect
	account           string   // the server's, when root runs the tests: PostgreSQL refuses root
	binaries          []string // the server first, then what makes its directory
	init              func(s *service) *exec.Cmd
	serve             func(s *service) *exec.Cmd

	once    sync.Once
	failure error // of the first start
	missing string
	dir     string
	port    int
	process *exec.Cmd
	exited  chan struct{}
}

var postgres = &service{
	name: "PostgreSQL", driver: "pgx", dialect: sqlbackend.PostgreSQL, account: "postgres", binaries: []string{"postgres", "initdb"},
	init: func(s *service) *exec.Cmd {
		return exec.Command(s.binaries[1], "-D", s.dir+"/data", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync")
	},
	serve: func(s *service) *exec.Cmd {
		return exec.Command(s.binaries[0], "-D", s.dir+"/data", "-h", "127.0.0.1", "-p", strconv.Itoa(s.port), "-k", s.dir, "-c", "max_connections=200")
	},
	dsn: "postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable&connect_timeout=5",
}

var mariadb = &service{
	name: "MariaDB", driver: "mysql", dialect: sqlbackend.MySQL, account: "mysql", binaries: []string{"mariadbd", "mariadb-install-db"},
	init: func(s *service) *exec.Cmd {
		return exec.Command(s.binaries[1], "--no-defaults", "--datadir="+s.dir+"/data", "--auth-root-authentication-method=normal", "--skip-test-db")
	},
	serve: func(s *service) *exec.Cmd {
		return exec.Command(s.binaries[0], "--no-defaults", "--datadir="+s.dir+"/data", "--bind-address=127.0.0.1", "--port="+strconv.Itoa(s.port),
			"--socket="+s.dir+"/s", "--pid-file="+s.dir+"/pid", "--skip-name-resolve", "--max-connections=200")
	},
	dsn: "root@tcp(127.0.0.1:%d)/mysql?timeout=5s&interpolateParams=true",
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, s := range []*service{postgres, mariadb} {
		s.kill()
		if s.dir != "" {
			_ = os.RemoveAll(s.dir)
		}
	}
	os.Exit(code)
}

// running starts the service if it isn't running. Where it isn't installed the test is skipped, unless LATCHKEY_REQUIRE_SERVICES is set.
func (s *service) running(t testing.TB) *service {
	t.Helper()
	s.once.Do(func() { s.failure = s.create() })
	if s.missing != "" {
		if os.Getenv("LATCHKEY_REQUIRE_SERVICES") != "" {
			t.Fatalf("%s is not installed: there is no %s", s.name, s.missing)
		}
		t.Skipf("%s is not installed: there is no %s", s.name, s.missing)
	}
	if s.failure != nil {
		t.Fatalf("%s: %v\n%s", s.name, s.failure, s.output())
	}
	if s.process == nil {
		if err := s.start(); err != nil {
			t.Fatalf("%s: %v\n%s", s.name, err, s.output())
		}
	}
	return s
}

func (s *service) create() (err error) {
	for i, name := range s.binaries {
		if s.binaries[i], err = lookup(name); err != nil {
			s.missing = name
			return nil
		}
	}
	if s.dir, err = os.MkdirTemp("", "latchkey"); err != nil {
		return err
	}
	if os.Getuid() == 0 {
		uid, gid, err := s.ids()
		if err != nil {
			return err
		}
		if err := os.Chown(s.dir, uid, gid); err != nil {
			return err
		}
	}
	if out, err := s.owned(s.init(s)).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", s.binaries[1], err, out)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.port = free.Addr().(*net.TCPAddr).Port
	if err := free.Close(); err != nil {
		return err
	}
	s.dsn = fmt.Sprintf(s.dsn, s.port)
	return s.start()
}

// lookup finds binaries also where Debian keeps those that are not for everybody's PATH.
func lookup(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	places, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	for _, path := range append(places, "/usr/sbin/"+name) {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}

func (s *service) ids() (uid, gid int, err error) {
	u, err := user.Lookup(s.account)
	if err != nil {
		return 0, 0, err
	}
	uid, _ = strconv.Atoi(u.Uid)
	gid, _ = strconv.Atoi(u.Gid)
	return uid, gid, nil
}

// owned lets the command run as the service's account.
func (s *service) owned(c *exec.Cmd) *exec.Cmd {
	c.Dir = s.dir
	if os.Getuid() == 0 {
		uid, gid, err := s.ids()
		if err == nil {
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		}
	}
	return c
}

func (s *service) start() error {
	log, err := os.Create(s.dir + "/log")
	if err != nil {
		return err
	}
	defer log.Close()
	s.process, s.exited = s.owned(s.serve(s)), make(chan struct{})
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		s.process = nil
		return err
	}
	go func(c *exec.Cmd, exited chan struct{}) {
		_ = c.Wait()
		close(exited)
	}(s.process, s.exited)
	db, err := sql.Open(s.driver, s.dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	for until := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := db.PingContext(ctx)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-s.exited:
			s.process = nil
			return fmt.Errorf("it ended: %w", err)
		default:
		}
		if time.Now().After(until) {
			return fmt.Errorf("it doesn't answer: %w", err)
		}
	}
}

func (s *service) output() []byte {
	said, _ := os.ReadFile(s.dir + "/log")
	return said
}

// kill ends the server and its processes as a loss of power would.
func (s *service) kill() {
	if s.process == nil {
		return
	}
	s.signal(syscall.SIGKILL)
	<-s.exited
	s.process = nil
}

// signal sends it to the server and to its children, which in PostgreSQL serve the connections.
func (s *service) signal(signal syscall.Signal) {
	if signal == syscall.SIGSTOP {
		stop(s.process.Process.Pid) // before its children are listed: it starts no more
	}
	processes := s.processes()
	for _, pid := range processes {
		switch signal {
		case syscall.SIGSTOP:
			stop(pid)
		default:
			_ = syscall.Kill(pid, signal)
		}
	}
	if signal != syscall.SIGKILL {
		return
	}
	for _, pid := range processes[1:] { // they keep the memory that the next start wants
		for range 500 {
			if syscall.Kill(pid, 0) != nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// stop returns when every thread of the process has stopped. When kill returns, the signal is only on its way to one of them, and
// the others go on answering.
func stop(pid int) {
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	for range 5000 {
		running := false
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		for _, thread := range threads {
			stat, err := os.ReadFile(thread)
			running = running || err == nil && !bytes.HasPrefix(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" T"))
		}
		if !running {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func (s *service) processes() []int {
	all := []int{s.process.Process.Pid}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(all[0]) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			all = append(all, pid)
		}
	}
	return slices.Compact(all)
}

// open returns a pool of its own, as another replica has.
func (s *service) open(t testing.TB) *sql.DB { return openDB(t, s.driver, s.dsn) }

func openDB(t testing.TB, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// backend is a Backend over a pool of its own.
func (s *service) backend(t testing.TB, table string) *sqlbackend.Backend {
	t.Helper()
	return newBackend(t, s.open(t), s.dialect, table)
}

// newBackend has its schema made.
func newBackend(t testing.TB, db *sql.DB, dialect sqlbackend.Dialect, table string) *sqlbackend.Backend {
	t.Helper()
	b, err := sqlbackend.New(db, sqlbackend.Config{Dialect: dialect, Table: table})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.CreateSchema(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

func sqliteDSN(dir string) string {
	return "file:" + filepath.Join(dir, "sessions.db") + "?_pragma=busy_timeout(1000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)"
}
