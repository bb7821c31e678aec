package sqlbackend

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

//go:embed schema/*/*.sql
var files embed.FS

// schemaVersion is the one that this package reads and writes: the number of the last file.
const schemaVersion = 1

// ErrSchema: the tables are missing, older than this package needs, or of a later one.
var ErrSchema = errors.New("sqlbackend: the tables don't fit")

// schemaTimeout bounds CreateSchema for a context without a deadline. It is long, since a table may have to be rebuilt some day.
const schemaTimeout = 5 * time.Minute

// checkTimeout bounds CheckSchema in the same way.
const checkTimeout = time.Minute

// CheckSchema reports whether the tables are there and of the version that this package needs: for the start of a program whose schema is applied by hand.
// The error is ErrSchema when they are missing, may not be read, or are of another version; an outage is the driver's. ctx bounds it, or a minute.
func (b *Backend) CheckSchema(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := b.checkAutocommit(ctx); err != nil {
		return wrap("check schema", err)
	}
	found, err := b.version(ctx, b.db)
	switch {
	case err != nil && (ctx.Err() != nil || b.db.PingContext(ctx) != nil):
		return wrap("check schema", err)
	case err != nil: // each database has another error for a table that is missing, or may not be read
		return fmt.Errorf("%w: %s can't be read; apply schema/%s/*.sql or call CreateSchema: %w", ErrSchema, b.versionTable(), b.folder(), err)
	case found < schemaVersion:
		return fmt.Errorf("%w: %s is at version %d, this program needs %d; apply the later files of schema/%s or call CreateSchema",
			ErrSchema, b.table, found, schemaVersion, b.folder())
	case found > schemaVersion:
		return b.tooNew(found)
	}
	rows, err := b.db.QueryContext(ctx, b.text.readable)
	if err == nil {
		err = errors.Join(rows.Close(), rows.Err())
	}
	switch {
	case err != nil && (ctx.Err() != nil || b.db.PingContext(ctx) != nil):
		return wrap("check schema", err)
	case err != nil:
		return fmt.Errorf("%w: %s can't be read; grant the right to select, insert, update and delete there: %w", ErrSchema, b.table, err)
	}
	return nil
}

// checkAutocommit refuses connections on which what was put is not there for others, and gone with the connection.
func (b *Backend) checkAutocommit(ctx context.Context) error {
	if b.dialect != MySQL {
		return nil // drivers of the others begin no transaction by themselves
	}
	var on int
	if err := b.db.QueryRowContext(ctx, "SELECT @@autocommit").Scan(&on); err != nil {
		return err
	}
	if on == 0 {
		return errors.New("autocommit is off: nothing that is put would last; take autocommit=0 out of the data source name or of the server's init_connect")
	}
	return nil
}

func (b *Backend) tooNew(found int) error {
	return fmt.Errorf("%w: %s is at version %d, made by a later release, and this program knows version %d; use a release that knows it", ErrSchema, b.table, found, schemaVersion)
}

// CreateSchema makes the tables, or brings older ones to the version that this package needs. What is there already is left alone, so each replica may call it at
// start; of those that call it at once one works and the others wait. A schema of a later version is refused with ErrSchema. ctx bounds it, or five
// minutes.
func (b *Backend) CreateSchema(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, schemaTimeout)
	defer cancel()
	if err := b.checkAutocommit(ctx); err != nil {
		return wrap("create schema", err)
	}
	if found, err := b.version(ctx, b.db); err == nil && found == schemaVersion {
		return nil // without the rights and the locks that making it takes
	}
	return b.retry(ctx, "create schema", func() error {
		conn, err := b.db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		return b.locked(ctx, conn, func() error { return b.migrate(ctx, conn) })
	})
}

// migrate applies the files that are missing.
func (b *Backend) migrate(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+b.versionTable()+" (version INTEGER NOT NULL PRIMARY KEY)"); err != nil {
		return err
	}
	found, err := b.version(ctx, conn)
	if err != nil {
		return err
	}
	if found > schemaVersion {
		return b.tooNew(found)
	}
	for n := found + 1; n <= schemaVersion; n++ {
		text, err := files.ReadFile(fmt.Sprintf("schema/%s/%d.sql", b.folder(), n))
		if err != nil {
			return err
		}
		for statement := range strings.SplitSeq(b.named(string(text)), ";\n") {
			if strings.TrimSpace(statement) == "" {
				continue
			}
			if _, err := conn.ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("schema/%s/%d.sql: %w", b.folder(), n, err)
			}
		}
	}
	return nil
}

// locked calls do while no other replica is in it. In PostgreSQL and SQLite that is a transaction, and all is done or nothing. MySQL commits each CREATE by itself;
// its files must bear being applied again after half of one.
func (b *Backend) locked(ctx context.Context, conn *sql.Conn, do func() error) (err error) {
	defer func() {
		if err != nil { // closing the connection undoes the transaction and gives the lock back, whatever state it is in
			_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		}
	}()
	sum := sha256.Sum256([]byte("latchkey schema " + b.table))
	id := binary.BigEndian.Uint64(sum[:])
	begin, end := []string{"BEGIN", fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", int64(id))}, "COMMIT"
	switch b.dialect {
	case SQLite:
		begin = []string{"BEGIN IMMEDIATE"}
	case MySQL:
		begin, end = nil, fmt.Sprintf("DO RELEASE_LOCK('latchkey schema %x')", id)
		var got sql.NullInt64
		lock := fmt.Sprintf("SELECT GET_LOCK('latchkey schema %x', %d)", id, int(schemaTimeout/time.Second))
		if err := conn.QueryRowContext(ctx, lock).Scan(&got); err != nil {
			return err
		}
		if got.Int64 != 1 {
			return errors.New("another replica holds the lock of the schema")
		}
	}
	for _, statement := range begin {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, end)
	return err
}

// version is the schema's; zero: there is a table of versions and none in it.
func (b *Backend) version(ctx context.Context, from interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}) (int, error) {
	var found sql.NullInt64
	err := from.QueryRowContext(ctx, "SELECT MAX(version) FROM "+b.versionTable()).Scan(&found)
	return int(found.Int64), err
}

func (b *Backend) versionTable() string { return b.table + "_schema" }

// folder is the dialect's in schema.
func (b *Backend) folder() string { return strings.ToLower(b.dialect.String()) }

var fileNames = regexp.MustCompile(`\b` + defaultTable + `(\w*)`)

// named puts the names of b into a file: names of indexes take no schema before them.
func (b *Backend) named(text string) string {
	return fileNames.ReplaceAllStringFunc(text, func(name string) string {
		suffix := strings.TrimPrefix(name, defaultTable)
		if suffix == "_owner" || suffix == "_expires" {
			return b.table[strings.LastIndexByte(b.table, '.')+1:] + suffix
		}
		return b.table + suffix
	})
}
