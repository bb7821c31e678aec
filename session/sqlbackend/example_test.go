package sqlbackend_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"

	"github.com/latchkey-go/latchkey/session"
	"github.com/latchkey-go/latchkey/session/sqlbackend"
	_ "modernc.org/sqlite" // or github.com/jackc/pgx/v5/stdlib, or github.com/go-sql-driver/mysql
)

// A store that every replica makes over the same database.
func Example() {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // only since each connection to :memory: has a database of its own
	backend, err := sqlbackend.New(db, sqlbackend.Config{Dialect: sqlbackend.SQLite})
	if err != nil {
		log.Fatal(err)
	}
	if err := backend.CreateSchema(context.Background()); err != nil { // or CheckSchema, when it was applied by hand
		log.Fatal(err)
	}
	key := []byte("32 random bytes, kept as a secret") // crypto/rand, from your secret store
	store, err := session.NewServerStore(backend, key)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(backend)
	fmt.Println(store) // for session.Config.Store
	// Output:
	// sqlbackend.Backend(SQLite latchkey_items)
	// session.ServerStore(*sqlbackend.Backend)
}
