package sqlbackend

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/latchkey-go/latchkey/rp/store"
)

// Config is what New needs.
type Config struct {
	// Dialect is the database's. Required: the zero Dialect is none.
	Dialect Dialect
	// Table names the table of the items; a schema may come before it (auth.sessions), but not in SQLite. Empty: latchkey_items.
	// A table beside it, of the same name followed by _schema, holds the schema's version.
	Table string
}

// Backend keeps items in a table. It implements store.Backend and store.Sweeper, and is safe for concurrent use.
//
// Errors name the operation and wrap the driver's. When a connection breaks after a statement was sent, nobody knows whether it took place: that is an error, and
// never store.ErrConflict. Deadlocks, serialization failures and a busy SQLite file are tried again a few times, since they say that nothing took place.
type Backend struct {
	db      *sql.DB
	dialect Dialect
	table   string
	text    *statements
}

var (
	_ store.Backend = (*Backend)(nil)
	_ store.Sweeper = (*Backend)(nil)
)

// New returns a Backend over db, which stays the caller's to close. No I/O: the tables must be there, see CreateSchema and CheckSchema.
func New(db *sql.DB, cfg Config) (*Backend, error) {
	if db == nil {
		return nil, errors.New("sqlbackend: New needs a *sql.DB")
	}
	if cfg.Dialect < PostgreSQL || cfg.Dialect > SQLite {
		return nil, errors.New("sqlbackend: Config.Dialect must be PostgreSQL, MySQL or SQLite")
	}
	table := cfg.Table
	if table == "" {
		table = defaultTable
	}
	if err := checkTable(cfg.Dialect, table); err != nil {
		return nil, err
	}
	return &Backend{db: db, dialect: cfg.Dialect, table: table, text: newStatements(cfg.Dialect, table)}, nil
}

// maxData is what store.Item allows. A database that isn't strict would cut what is longer than its column.
const maxData = 1 << 20

// maxKeys bounds the parameters of one statement: databases have limits, SQLite the lowest.
const maxKeys = 1024

// Get implements store.Backend. More than 1024 keys take more than one round trip.
func (b *Backend) Get(ctx context.Context, keys ...store.Key) ([]store.Item, error) {
	if err := ctx.Err(); err != nil {
		return nil, wrap("get", err)
	}
	items := make([]store.Item, 0, len(keys))
	for part := range slices.Chunk(keys, maxKeys) {
		var found []store.Item
		if err := b.retry(ctx, "get", func() (err error) {
			found, err = b.read(ctx, part)
			return err
		}); err != nil {
			return nil, err
		}
		items = append(items, found...)
	}
	return items, nil
}

func (b *Backend) read(ctx context.Context, keys []store.Key) ([]store.Item, error) {
	text, n := b.text.get(len(keys))
	args := make([]any, 0, n+1)
	for i := range n {
		args = append(args, keys[min(i, len(keys)-1)][:])
	}
	rows, err := b.db.QueryContext(ctx, text, append(args, time.Now().UnixMilli())...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	items := make([]store.Item, len(keys))
	for rows.Next() {
		var raw, owner sql.RawBytes
		var version, expires int64
		var item store.Item
		if err := rows.Scan(&raw, &version, &owner, &expires, &item.Data); err != nil {
			return nil, err
		}
		key, err := keyOf(raw)
		if err != nil {
			return nil, err
		}
		if owner != nil {
			if item.Owner, err = keyOf(owner); err != nil {
				return nil, err
			}
		}
		if item.Data == nil {
			item.Data = []byte{}
		}
		item.Version, item.Expires = uint64(version), time.UnixMilli(expires)
		if !time.Now().Before(item.Expires) {
			continue // ended while the statement waited for a connection
		}
		for i := range keys {
			if keys[i] == key {
				items[i] = item
			}
		}
	}
	return items, rows.Err()
}

func keyOf(raw []byte) (key store.Key, err error) {
	if len(raw) != len(key) {
		return key, fmt.Errorf("a key in the table has %d bytes instead of %d", len(raw), len(key))
	}
	copy(key[:], raw)
	return key, nil
}

// Put implements store.Backend.
func (b *Backend) Put(ctx context.Context, key store.Key, item store.Item, from uint64) error {
	switch {
	case item.Version == 0:
		return errors.New("sqlbackend: put: an item of version zero can't be put")
	case len(item.Data) > maxData:
		return fmt.Errorf("sqlbackend: put: %d bytes are more than %d", len(item.Data), maxData)
	}
	var done bool
	if err := b.retry(ctx, "put", func() (err error) {
		if from == 0 {
			done, err = b.create(ctx, key, &item)
		} else {
			done, err = b.replace(ctx, key, &item, from)
		}
		return err
	}); err != nil {
		return err
	}
	if !done {
		return store.ErrConflict
	}
	return nil
}

// create puts an item where nothing is, or what has ended.
//
// PostgreSQL and SQLite decide that in one statement, and tell by the number of rows. MySQL's ON DUPLICATE KEY UPDATE can't: it reports an insert and a row left as it
// was by the same 1 when the driver sets clientFoundRows, and by 1 and 0 when not. So there it is an INSERT IGNORE, which reports 1 or 0 either way; for 0 an UPDATE
// of an ended row, and if that meets none the INSERT again, for a row that was ended at first and swept up meanwhile. A refusal is right: the second
// INSERT met a row which either was put after the UPDATE, or was there for it and not ended. Each of the three is atomic and reads what is committed at
// every isolation level, and outside a transaction none holds a lock that another waits for.
func (b *Backend) create(ctx context.Context, key store.Key, item *store.Item) (done bool, err error) {
	now := time.Now().UnixMilli()
	values := []any{int64(item.Version), ownerArg(item.Owner), item.Expires.UnixMilli(), dataArg(item.Data)}
	insert := slices.Concat([]any{key[:]}, values)
	if b.dialect != MySQL {
		return b.changed(ctx, b.text.create, append(insert, now)...)
	}
	if done, err = b.changed(ctx, b.text.create, insert...); done || err != nil {
		return done, err
	}
	if done, err = b.changed(ctx, b.text.revive, append(values, key[:], now)...); done || err != nil {
		return done, err
	}
	return b.changed(ctx, b.text.create, insert...)
}

func (b *Backend) replace(ctx context.Context, key store.Key, item *store.Item, from uint64) (done bool, err error) {
	return b.changed(ctx, b.text.replace, int64(item.Version), ownerArg(item.Owner), item.Expires.UnixMilli(), dataArg(item.Data),
		key[:], int64(from), time.Now().UnixMilli())
}

// changed reports whether the statement changed its row.
func (b *Backend) changed(ctx context.Context, text string, args ...any) (bool, error) {
	result, err := b.db.ExecContext(ctx, text, args...)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

func ownerArg(owner store.Key) any {
	if owner == (store.Key{}) {
		return nil
	}
	return owner[:]
}

// dataArg: drivers take nil for NULL.
func dataArg(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}

// Delete implements store.Backend.
func (b *Backend) Delete(ctx context.Context, key store.Key, version uint64) error {
	return b.retry(ctx, "delete", func() (err error) {
		if version == 0 {
			_, err = b.changed(ctx, b.text.remove, key[:])
		} else {
			_, err = b.changed(ctx, b.text.removeVersion, key[:], int64(version))
		}
		return err
	})
}

// List implements store.Backend.
func (b *Backend) List(ctx context.Context, owner store.Key, limit int) (keys []store.Key, err error) {
	if err := ctx.Err(); err != nil || limit <= 0 {
		return nil, wrap("list", err)
	}
	err = b.retry(ctx, "list", func() (err error) {
		keys, err = b.keys(ctx, false, b.text.list, owner[:], time.Now().UnixMilli(), limit)
		return err
	})
	return keys, err
}

// keys are those that the statement selects, with their ends; without ended only those that are still ahead when the answer is there.
func (b *Backend) keys(ctx context.Context, ended bool, text string, args ...any) (keys []store.Key, err error) {
	rows, err := b.db.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var raw sql.RawBytes
		var expires int64
		if err := rows.Scan(&raw, &expires); err != nil {
			return nil, err
		}
		key, err := keyOf(raw)
		if err != nil {
			return nil, err
		}
		if ended || time.Now().UnixMilli() < expires {
			keys = append(keys, key)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return keys, nil
}

// String names the dialect and the table, and nothing of the connection.
func (b *Backend) String() string {
	return fmt.Sprintf("sqlbackend.Backend(%s %s)", b.dialect, b.table)
}

// GoString is String.
func (b *Backend) GoString() string { return b.String() }

// LogValue is String.
func (b *Backend) LogValue() slog.Value { return slog.StringValue(b.String()) }
