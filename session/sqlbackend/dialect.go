package sqlbackend

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Dialect is which SQL a database speaks.
type Dialect int

// The dialects. The zero Dialect is none of them.
const (
	// PostgreSQL is 9.5 or later.
	PostgreSQL Dialect = iota + 1
	// MySQL is MySQL or MariaDB, with InnoDB.
	MySQL
	// SQLite is 3.24 or later, for the processes of one machine.
	SQLite
)

// String is the database's name.
func (d Dialect) String() string {
	switch d {
	case PostgreSQL:
		return "PostgreSQL"
	case MySQL:
		return "MySQL"
	case SQLite:
		return "SQLite"
	default:
		return fmt.Sprintf("Dialect(%d)", int(d))
	}
}

const defaultTable = "latchkey_items"

// maxName leaves room for the suffixes of the indexes within the shortest limit of the databases: 63 bytes.
const maxName = 50

var tableName = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*\.)?([A-Za-z_][A-Za-z0-9_]*)$`)

func checkTable(d Dialect, table string) error {
	parts := tableName.FindStringSubmatch(table)
	switch {
	case parts == nil:
		return fmt.Errorf("sqlbackend: Config.Table %q is no name: it must match [A-Za-z_][A-Za-z0-9_]*, perhaps after a schema and a dot", table)
	case len(parts[1]) > maxName+1 || len(parts[2]) > maxName:
		return fmt.Errorf("sqlbackend: Config.Table %q is too long: at most %d bytes for each name", table, maxName)
	case parts[1] != "" && d == SQLite:
		return fmt.Errorf("sqlbackend: Config.Table %q has a schema: in SQLite that is a database attached to one connection", table)
	}
	return nil
}

// statements are a dialect's texts.
type statements struct {
	dialect Dialect
	table   string
	gets    map[int]string

	create, revive, replace, remove, removeVersion, list, ended, sweep, readable string
}

const columns = "item_key, version, owner, expires, data"

func newStatements(d Dialect, table string) *statements {
	s := &statements{dialect: d, table: table, gets: map[int]string{}}
	for n := 1; n <= maxKeys; n = nextSize(n + 1) {
		s.gets[n] = s.bind("SELECT " + columns + " FROM @ WHERE item_key IN (" + marks(n) + ") AND expires > ?")
	}
	insert, set := "INTO @ ("+columns+") VALUES (?, ?, ?, ?, ?)", "UPDATE @ SET version = ?, owner = ?, expires = ?, data = ?"
	if d == MySQL {
		// MySQL counts rows that have changed, unless the driver sets clientFoundRows: one that gets the values it has must count, too.
		set += ", writes = writes + 1"
		s.create = s.bind("INSERT IGNORE " + insert)
		s.revive = s.bind(set + " WHERE item_key = ? AND expires <= ?")
	} else {
		s.create = s.bind("INSERT " + strings.Replace(insert, "@", "@ AS old", 1) + " ON CONFLICT (item_key) DO UPDATE SET version = excluded.version, " +
			"owner = excluded.owner, expires = excluded.expires, data = excluded.data WHERE old.expires <= ?")
	}
	s.replace = s.bind(set + " WHERE item_key = ? AND version = ? AND expires > ?")
	s.remove = s.bind("DELETE FROM @ WHERE item_key = ?")
	s.removeVersion = s.bind("DELETE FROM @ WHERE item_key = ? AND version = ?")
	s.list = s.bind("SELECT item_key, expires FROM @ WHERE owner = ? AND expires > ? LIMIT ?")
	s.readable = s.bind("SELECT " + columns + " FROM @ WHERE 1 = 0")
	const which = " FROM @ WHERE expires <= ? ORDER BY expires LIMIT ?"
	ended := "SELECT item_key" + which
	s.ended = s.bind("SELECT item_key, expires" + which)
	switch d {
	case PostgreSQL: // of two sweepers each skips the rows of the other; a WITH that locks runs once, so that LIMIT holds
		s.sweep = s.bind("WITH ended AS (" + ended + " FOR UPDATE SKIP LOCKED) DELETE FROM @ AS old USING ended WHERE old.item_key = ended.item_key")
	case SQLite:
		s.sweep = s.bind("DELETE FROM @ WHERE item_key IN (" + ended + ")")
	}
	return s
}

// get returns the statement for n keys, and how many it takes: as many or more, so that there are few statements for databases and drivers to remember.
func (s *statements) get(n int) (text string, size int) {
	size = nextSize(n)
	return s.gets[size], size
}

// nextSize rounds up to 1, 2, 3, 4 and then powers of two.
func nextSize(n int) int {
	if n <= 4 {
		return n
	}
	size := 8
	for size < n {
		size *= 2
	}
	return size
}

func (s *statements) sweepKeys(n int) string {
	return s.bind("DELETE FROM @ WHERE item_key IN (" + marks(n) + ") AND expires <= ?")
}

func marks(n int) string { return strings.Repeat("?, ", n-1) + "?" }

// bind puts in the table for @, and PostgreSQL's $1, $2 for ?.
func (s *statements) bind(text string) string {
	text = strings.ReplaceAll(text, "@", s.table)
	if s.dialect != PostgreSQL {
		return text
	}
	var b strings.Builder
	for i, part := range strings.Split(text, "?") {
		if i > 0 {
			b.WriteString("$" + strconv.Itoa(i))
		}
		b.WriteString(part)
	}
	return b.String()
}
