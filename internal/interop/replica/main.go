// Command replica is one process of a login application whose sessions are in Redis or an SQL database. It prints one line of JSON, {"url"}, and serves until its standard input ends.
// GET /who needs a session, and answers the subject and a hash of the access token; GET /who?user=alice names who signs in where nobody is.
package main

import (
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/latchkey-go/latchkey/middleware"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/session"
	"github.com/latchkey-go/latchkey/session/redisbackend"
	"github.com/latchkey-go/latchkey/session/sqlbackend"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	_ "modernc.org/sqlite"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:0", "where to listen")
	server := flag.String("redis", "", "address of Redis")
	driver := flag.String("driver", "", "of the SQL database: pgx, mysql or sqlite; in place of Redis")
	source := flag.String("source", "", "data source name of the SQL database, whose tables are there")
	issuer := flag.String("issuer", "", "issuer of the provider")
	client := flag.String("client", "", "client ID; the client is public")
	key := flag.String("key", "", "32 bytes in hexadecimal, the same for every replica")
	flag.Parse()
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	if err := run(*addr, *server, *driver, *source, *issuer, *client, *key); err != nil {
		fmt.Fprintln(os.Stderr, "replica:", err)
		os.Exit(1)
	}
}

func run(addr, server, driver, source, issuer, clientID, hexKey string) error {
	logging.Disable() // the client tells of every lost connection, which here are wanted
	key, err := hex.DecodeString(hexKey)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	origin := "http://" + listener.Addr().String()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	client, err := rp.New(rp.Config{Issuer: issuer, ClientID: clientID, RedirectURL: origin + "/auth/callback", InsecureLoopbackHTTP: true, Logger: log})
	if err != nil {
		return err
	}
	backend, err := open(server, driver, source)
	if err != nil {
		return err
	}
	store, err := session.NewServerStore(backend, key)
	if err != nil {
		return err
	}
	sessions, err := session.New(client, session.Config{Keys: [][]byte{key}, Store: store, BackchannelLogout: true, Logger: log})
	if err != nil {
		return err
	}
	guard := &middleware.Guard{Sessions: sessions, Logger: log, Params: func(r *http.Request) rp.AuthParams {
		return rp.AuthParams{LoginHint: r.URL.Query().Get("user")} // a test's own client: nobody else asks
	}}
	mux := http.NewServeMux()
	mux.Handle("GET /who", guard.Require(http.HandlerFunc(who)))
	fmt.Printf("{\"url\": %q}\n", origin)
	return (&http.Server{Handler: guard.Handler(mux), ReadHeaderTimeout: 10 * time.Second}).Serve(listener)
}

func open(server, driver, source string) (session.Backend, error) {
	if driver == "" {
		return redisbackend.New(redis.NewClient(&redis.Options{Addr: server, ContextTimeoutEnabled: true}), redisbackend.Config{})
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(20)
	db.SetMaxIdleConns(20)
	dialect := map[string]sqlbackend.Dialect{"pgx": sqlbackend.PostgreSQL, "mysql": sqlbackend.MySQL, "sqlite": sqlbackend.SQLite}[driver]
	return sqlbackend.New(db, sqlbackend.Config{Dialect: dialect})
}

func who(w http.ResponseWriter, r *http.Request) {
	s := session.FromContext(r.Context())
	sum := sha256.Sum256([]byte(s.Token().AccessToken))
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(struct{ Subject, SID, Hash string }{s.Subject, s.SID, hex.EncodeToString(sum[:8])})
}
