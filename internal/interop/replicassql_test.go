//go:build unix

package interop_test

import (
	"context"
	"database/sql"
	"math"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/latchkey-go/latchkey/internal/interop/service"
	"github.com/latchkey-go/latchkey/rp/rptest"
	"github.com/latchkey-go/latchkey/session/sqlbackend"
)

const (
	sqlSessions = 60
	roundLength = 12 * time.Second
	backWithin  = 20 * time.Second
)

// outage is what befalls the database while all tokens of a round are due. It returns when that is over.
type outage struct {
	name   string
	befall func() error
	within time.Duration // all sessions work so soon afterwards
}

// roundsOf has all tokens of a login end at first, those of a refresh in round i at first + (i+1) * roundLength, and those of the last round in an hour.
func (f *fleet) roundsOf(first time.Time, rounds int, round *atomic.Int64) {
	until := func(end func() time.Time) rptest.Fault {
		return rptest.ModifyJSON(func(m map[string]any) { m["expires_in"] = int(math.Ceil(time.Until(end()).Seconds())) })
	}
	f.op.Fault(rptest.Token, rptest.Both(
		rptest.OnGrant("authorization_code", until(func() time.Time { return first })),
		rptest.OnGrant("refresh_token", rptest.Both(rptest.Late(200*time.Millisecond), until(func() time.Time {
			next := int(round.Load()) + 1
			if next >= rounds {
				return time.Now().Add(time.Hour)
			}
			return first.Add(time.Duration(next) * roundLength)
		})))))
}

// endure logs everybody in, and lets one outage after the other befall the database, each when all tokens are due and in the middle of traffic.
func (f *fleet) endure(outages []outage) {
	t := f.t
	f.clients, f.pace = 24, 10*time.Millisecond
	first := time.Now().Add(10 * time.Second)
	var round atomic.Int64
	f.roundsOf(first, len(outages), &round)
	f.loginAll()
	over := make(chan struct{})
	go func() {
		defer close(over)
		for i, o := range outages {
			// The provider has just rotated the first tokens of the round: their answers are on the way, and nothing of them is saved.
			before, end := i*len(f.sessions), first.Add(time.Duration(i)*roundLength)
			for f.op.Refreshes() < before+5 && time.Now().Before(end) {
				time.Sleep(time.Millisecond)
			}
			began, atFirst := time.Now(), f.op.Refreshes()-before
			if err := o.befall(); err != nil {
				t.Errorf("%s: %v", o.name, err)
				return
			}
			ended, later := time.Now(), f.op.Refreshes()-before
			f.settle(o.within)
			t.Logf("%s for %.1f s: %d refreshes of the round before it, %d at its end; %.1f s later all sessions worked",
				o.name, ended.Sub(began).Seconds(), atFirst, later, time.Since(ended).Seconds())
			time.Sleep(time.Until(end.Add(time.Second))) // every token of the round before has ended
			f.settle(o.within)
			if got, want := f.spent(), before+len(f.sessions); got != want {
				t.Errorf("%s: %d refresh tokens were spent up to now, want %d: one of each session in each round", o.name, got, want)
			}
			round.Add(1)
		}
	}()
	count := f.traffic(func() bool {
		select {
		case <-over:
			return false
		default:
			return true
		}
	}, nil)
	f.settle(backWithin)
	again, most := f.sent()
	spent := f.spent()
	t.Logf("%d sessions, %d rounds over %d processes: %s; %d refreshes, %d refresh tokens spent, %d of them sent more than once, %d reuses; %d sessions lost",
		len(f.sessions), len(outages), len(f.programs), count, f.op.Refreshes(), spent, again, f.op.RefreshReuses(), f.lost())
	if want := len(outages) * len(f.sessions); spent != want {
		t.Errorf("%d refresh tokens were spent, want %d: one of each session in each round", spent, want)
	}
	if f.lost() != 0 || f.op.RefreshReuses() != 0 {
		t.Errorf("%d sessions lost, %d reuses: want none", f.lost(), f.op.RefreshReuses())
	}
	if !f.killed && (most > 1 || count[cutOff].Load() != 0) {
		t.Errorf("one token sent %d times, %d requests without an answer: want neither", most, count[cutOff].Load())
	}
	if count[served].Load() < int64(20*len(f.sessions)) {
		t.Error("too little happened: the test shows nothing")
	}
}

// spent counts the refresh tokens that were sent.
func (f *fleet) spent() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.sends)
}

func makeTables(t *testing.T, dialect sqlbackend.Dialect, driver, source string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	backend, err := sqlbackend.New(db, sqlbackend.Config{Dialect: dialect})
	if err != nil {
		t.Fatal(err)
	}
	if err := backend.CreateSchema(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

// TestADatabaseThatStopsDiesAndCrawlsLogsNobodyOut hangs, restarts, kills and slows the server that all replicas share.
func TestADatabaseThatStopsDiesAndCrawlsLogsNobodyOut(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(testing.TB) *service.Database{"PostgreSQL": service.PostgreSQL, "MariaDB": service.MariaDB} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := start(t)
			dialect := map[string]sqlbackend.Dialect{"PostgreSQL": sqlbackend.PostgreSQL, "MariaDB": sqlbackend.MySQL}[name]
			makeTables(t, dialect, d.Driver, d.Source(d.Addr())).Close()
			relay := service.NewRelay(t, d.Addr())
			f := startFleet(t, replicasCount(sqlSessions), fleetSize, nil, "-driver", d.Driver, "-source", d.Source(relay.Addr))
			outages := []outage{
				{"killed", func() error {
					d.Kill()
					time.Sleep(2 * time.Second)
					return d.Start()
				}, backWithin},
				{"stopped", func() error {
					d.Signal(syscall.SIGSTOP)
					time.Sleep(3 * time.Second)
					d.Signal(syscall.SIGCONT)
					return nil
				}, backWithin},
				{"shut down", func() error {
					d.Stop()
					time.Sleep(time.Second)
					return d.Start()
				}, backWithin},
				{"slow", func() error {
					relay.Slow(true)
					time.Sleep(4 * time.Second)
					relay.Slow(false)
					return nil
				}, backWithin},
			}
			if testing.Short() {
				outages = outages[:1]
			}
			f.endure(outages)
			if dialect == sqlbackend.PostgreSQL && !t.Failed() {
				f.logoutsCount()
			}
		})
	}
}

// TestASQLiteFileThatIsLockedAndLosesAReplicaLogsNobodyOut has this process hold the write lock for three seconds, and kills a replica at its work.
func TestASQLiteFileThatIsLockedAndLosesAReplicaLogsNobodyOut(t *testing.T) {
	t.Parallel()
	source := "file:" + filepath.Join(t.TempDir(), "sessions.db") + "?_pragma=busy_timeout(1000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)"
	db := makeTables(t, sqlbackend.SQLite, "sqlite", source)
	grace := func(o *rptest.Options) { o.RefreshGrace = 30 * time.Second } // a killed replica's token is sent once more
	f := startFleet(t, replicasCount(sqlSessions), 2, grace, "-driver", "sqlite", "-source", source)
	f.endure([]outage{
		{"locked", func() error {
			conn, err := db.Conn(context.Background())
			if err != nil {
				return err
			}
			defer conn.Close()
			if _, err := conn.ExecContext(context.Background(), "BEGIN IMMEDIATE"); err != nil {
				return err
			}
			time.Sleep(3 * time.Second)
			_, err = conn.ExecContext(context.Background(), "ROLLBACK")
			return err
		}, backWithin},
		{"a replica killed", func() error {
			return f.crash(0)
		}, 2 * backWithin},
	})
}
