//go:build unix

package service

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
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
)

// Database is a PostgreSQL or MariaDB server of its own, made for one test and removed after it.
type Database struct {
	Driver string // of database/sql

	account string // the server's, when root runs the tests: PostgreSQL refuses root
	source  string // with %s for the address
	fast    syscall.Signal
	serve   []string
	dir     string
	addr    string
	process *exec.Cmd
	exited  chan struct{}
}

// PostgreSQL starts one.
func PostgreSQL(t testing.TB) *Database {
	t.Helper()
	server, initdb := binary(t, "postgres", "postgresql"), binary(t, "initdb", "postgresql")
	d := newDatabase(t, "pgx", "postgres")
	d.source, d.fast = "postgres://postgres@%s/postgres?sslmode=disable&connect_timeout=5", syscall.SIGINT
	d.make(t, initdb, "-D", d.dir+"/data", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync")
	_, port, _ := net.SplitHostPort(d.addr)
	d.serve = []string{server, "-D", d.dir + "/data", "-h", "127.0.0.1", "-p", port, "-k", d.dir, "-c", "max_connections=300"}
	return d.first(t)
}

// MariaDB starts one.
func MariaDB(t testing.TB) *Database {
	t.Helper()
	server, install := binary(t, "mariadbd", "mariadb-server"), binary(t, "mariadb-install-db", "mariadb-server")
	d := newDatabase(t, "mysql", "mysql")
	d.source, d.fast = "root@tcp(%s)/mysql?timeout=5s&readTimeout=10s&interpolateParams=true", syscall.SIGTERM
	d.make(t, install, "--no-defaults", "--datadir="+d.dir+"/data", "--auth-root-authentication-method=normal", "--skip-test-db")
	_, port, _ := net.SplitHostPort(d.addr)
	d.serve = []string{server, "--no-defaults", "--datadir=" + d.dir + "/data", "--bind-address=127.0.0.1", "--port=" + port,
		"--socket=" + d.dir + "/s", "--pid-file=" + d.dir + "/pid", "--skip-name-resolve", "--max-connections=300"}
	return d.first(t)
}

// binary finds programs also where Debian keeps those that are not for everybody's PATH.
func binary(t testing.TB, name, from string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	places, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	for _, path := range append(places, "/usr/sbin/"+name) {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	Need(t, err, "apt-get install "+from)
	return ""
}

func newDatabase(t testing.TB, driver, account string) *Database {
	t.Helper()
	// t.TempDir is closed to the server's account, and too long for its socket.
	dir, err := os.MkdirTemp("", "latchkey")
	if err != nil {
		t.Fatal(err)
	}
	d := &Database{Driver: driver, account: account, dir: dir}
	t.Cleanup(func() {
		d.Kill()
		_ = os.RemoveAll(dir)
	})
	if os.Getuid() == 0 {
		uid, gid, err := d.ids()
		if err == nil {
			err = os.Chown(dir, uid, gid)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	d.addr = free.Addr().String()
	return d
}

func (d *Database) make(t testing.TB, program string, args ...string) {
	t.Helper()
	if out, err := d.owned(exec.Command(program, args...)).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
}

func (d *Database) first(t testing.TB) *Database {
	t.Helper()
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *Database) ids() (uid, gid int, err error) {
	u, err := user.Lookup(d.account)
	if err != nil {
		return 0, 0, err
	}
	uid, _ = strconv.Atoi(u.Uid)
	gid, _ = strconv.Atoi(u.Gid)
	return uid, gid, nil
}

// owned lets the command run as the server's account.
func (d *Database) owned(c *exec.Cmd) *exec.Cmd {
	c.Dir = d.dir
	if os.Getuid() == 0 {
		if uid, gid, err := d.ids(); err == nil {
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		}
	}
	return c
}

// Addr is the server's.
func (d *Database) Addr() string { return d.addr }

// Source is the data source name for the server itself, or for what stands before it at addr.
func (d *Database) Source(addr string) string { return fmt.Sprintf(d.source, addr) }

// Start starts the server on what it has on disk, and returns when it answers.
func (d *Database) Start() error {
	log, err := os.Create(d.dir + "/log")
	if err != nil {
		return err
	}
	defer log.Close()
	process, exited := d.owned(exec.Command(d.serve[0], d.serve[1:]...)), make(chan struct{})
	process.Stdout, process.Stderr = log, log
	if err := process.Start(); err != nil {
		return err
	}
	d.process, d.exited = process, exited
	go func() {
		_ = process.Wait()
		close(exited)
	}()
	db, err := sql.Open(d.Driver, d.Source(d.addr))
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
		case <-exited:
			said, _ := os.ReadFile(d.dir + "/log")
			return fmt.Errorf("%s ended: %w\n%s", d.serve[0], err, said)
		default:
		}
		if time.Now().After(until) {
			return fmt.Errorf("%s does not answer: %w", d.serve[0], err)
		}
	}
}

// Stop shuts the server down in order, without waiting for its clients.
func (d *Database) Stop() {
	if d.process != nil {
		_ = d.process.Process.Signal(d.fast)
		<-d.exited
		d.process = nil
	}
}

// Kill ends the server and its processes as a loss of power would.
func (d *Database) Kill() {
	if d.process == nil {
		return
	}
	pids := d.Signal(syscall.SIGKILL)
	<-d.exited
	d.process = nil
	for _, pid := range pids { // they keep the memory that the next start wants
		for range 500 {
			if syscall.Kill(pid, 0) != nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// Signal sends it to the server and to its children, which in PostgreSQL serve the connections.
func (d *Database) Signal(signal syscall.Signal) []int {
	pids := []int{d.process.Process.Pid}
	parent := strconv.Itoa(pids[0])
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) > 1 && fields[1] == parent {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, signal)
	}
	return pids
}
