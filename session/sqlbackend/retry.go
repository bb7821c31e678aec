package sqlbackend

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"time"
)

const (
	attempts   = 10
	firstPause = 2 * time.Millisecond
	lastPause  = 100 * time.Millisecond
)

// retry calls try again while its error says that the database has done nothing because others were in the way.
func (b *Backend) retry(ctx context.Context, operation string, try func() error) error {
	for n, pause := 1, firstPause; ; n, pause = n+1, min(2*pause, lastPause) {
		err := try()
		if err == nil {
			return nil
		}
		if n == attempts || !b.collided(err) || !wait(ctx, pause) {
			return wrap(operation, err)
		}
	}
}

// wait waits for about d; false: ctx has ended.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d/2 + rand.N(d))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func wrap(operation string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("sqlbackend: %s: %w", operation, err)
}

// mysqlCollision is how go-sql-driver/mysql begins the text of a deadlock (1213), and of MariaDB's refusal to change a row that is newer than the snapshot (1020).
// Both end the transaction, which is the statement. 1205, a lock not got in innodb_lock_wait_timeout, is left alone: it has taken long enough.
var mysqlCollision = regexp.MustCompile(`^Error (1213|1020)\b`)

// collided reports whether err is the database's word that it has undone the statement because of another. Only exact codes count: a class of
// SQLSTATEs wouldn't do, since 40003 beside 40001 says that nobody knows whether the statement took place.
func (b *Backend) collided(err error) bool {
	switch b.dialect {
	case PostgreSQL:
		var state interface{ SQLState() string }
		return errors.As(err, &state) && (state.SQLState() == "40001" || state.SQLState() == "40P01")
	case MySQL:
		return inChain(err, mysqlCollision.MatchString)
	default:
		// The low byte is the primary code: SQLITE_BUSY or SQLITE_LOCKED.
		var code interface{ Code() int }
		if errors.As(err, &code) {
			return code.Code()&0xff == 5 || code.Code()&0xff == 6
		}
		return inChain(err, func(text string) bool {
			return strings.Contains(text, "database is locked") || strings.Contains(text, "database table is locked")
		})
	}
}

// inChain looks at the text of err and of what it wraps.
func inChain(err error, match func(string) bool) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if match(err.Error()) {
			return true
		}
	}
	return false
}
