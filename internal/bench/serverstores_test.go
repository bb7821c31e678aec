package bench

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/redisstore"
	"github.com/alexedwards/scs/v2"
	"github.com/gomodule/redigo/redis"
	"github.com/gorilla/sessions"
	"github.com/latchkey-go/latchkey/rp/store"
	"github.com/latchkey-go/latchkey/session"
	"github.com/latchkey-go/latchkey/session/redisbackend"
	"github.com/latchkey-go/latchkey/session/sqlbackend"
	goredis "github.com/redis/go-redis/v9"
	_ "modernc.org/sqlite"
)

// trips counts what a client writes to a server: one write for each round trip, or for each pipeline.
type trips struct{ n atomic.Int64 }

func (t *trips) dial(network, address string) (net.Conn, error) {
	conn, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	return &counted{Conn: conn, trips: t}, nil
}

type counted struct {
	net.Conn
	trips *trips
}

func (c *counted) Write(p []byte) (int, error) {
	c.trips.n.Add(1)
	return c.Conn.Write(p)
}

// redisServer is a real one, on a loopback port of its own.
func redisServer(b *testing.B) (address string) {
	b.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("LATCHKEY_REQUIRE_SERVICES") == "1" {
			b.Fatal("redis-server is missing: apt-get install redis-server")
		}
		b.Skip("redis-server is missing: apt-get install redis-server")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address = listener.Addr().String()
	listener.Close()
	_, port, _ := net.SplitHostPort(address)
	server := exec.Command(binary, "--port", port, "--bind", "127.0.0.1", "--dir", b.TempDir(), "--save", "", "--appendonly", "no")
	if err := server.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	for range 500 {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return address
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.Fatal("redis-server does not answer")
	return ""
}

func serverStore(b *testing.B, backend store.Backend) func() sessions.Store {
	b.Helper()
	s, err := session.NewServerStore(backend, []byte(strings.Repeat("benchmark-key-32", 2)))
	if err != nil {
		b.Fatal(err)
	}
	return func() sessions.Store { return s }
}

func sqliteBackend(b *testing.B) (store.Backend, string) {
	b.Helper()
	file := filepath.Join(b.TempDir(), "sessions.db")
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(1000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	backend, err := sqlbackend.New(db, sqlbackend.Config{Dialect: sqlbackend.SQLite})
	if err == nil {
		err = backend.CreateSchema(b.Context())
	}
	if err != nil {
		b.Fatal(err)
	}
	return backend, file
}

// memoryOf is what Redis says that all its keys take.
func memoryOf(b *testing.B, client *goredis.Client) float64 {
	b.Helper()
	keys, err := client.Keys(b.Context(), "*").Result()
	if err != nil {
		b.Fatal(err)
	}
	total := int64(0)
	for _, key := range keys {
		n, err := client.MemoryUsage(b.Context(), key).Result()
		if err != nil {
			b.Fatal(err)
		}
		total += n
	}
	return float64(total)
}

func cookieBytes(cookies []*http.Cookie) (n float64) {
	for _, c := range cookies {
		n += float64(len(c.Name) + 1 + len(c.Value))
	}
	return n
}

// BenchmarkServerStore reads a session that is kept on the server, whole: found, opened, all checks, what was revoked. Peers find it and decode it.
func BenchmarkServerStore(b *testing.B) {
	memory, memoryCookies, same := login(b, serverStore(b, store.NewMemory(0)))
	b.Run("latchkey/memory backend", func(b *testing.B) {
		loadManager(b, memory, memoryCookies)
		b.ReportMetric(cookieBytes(memoryCookies), "cookie-bytes")
	})

	sqlite, _ := sqliteBackend(b)
	inSQL, sqlCookies, _ := login(b, serverStore(b, sqlite))
	b.Run("latchkey/SQLite", func(b *testing.B) {
		loadManager(b, inSQL, sqlCookies)
		b.ReportMetric(cookieBytes(sqlCookies), "cookie-bytes")
	})

	b.Run("gorilla/FilesystemStore", func(b *testing.B) {
		dir := b.TempDir()
		files := sessions.NewFilesystemStore(dir, []byte(strings.Repeat("h", 32)), []byte(strings.Repeat("b", 32)))
		files.MaxLength(0)
		w := httptest.NewRecorder()
		s, _ := files.New(request(nil), "latchkey")
		s.Values["session"] = same
		if err := files.Save(request(nil), w, s); err != nil {
			b.Fatal(err)
		}
		r := request(w.Result().Cookies())
		b.ReportAllocs()
		for b.Loop() {
			s, err := files.New(r, "latchkey")
			if err != nil || s.Values["session"].(content).Subject != same.Subject {
				b.Fatal("no session", err)
			}
		}
		kept, _ := filepath.Glob(filepath.Join(dir, "session_*"))
		if len(kept) != 1 {
			b.Fatal("not one file", kept)
		}
		info, err := os.Stat(kept[0])
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(info.Size()), "store-bytes")
		b.ReportMetric(cookieBytes(w.Result().Cookies()), "cookie-bytes")
	})

	address := redisServer(b)
	look := goredis.NewClient(&goredis.Options{Addr: address})
	b.Cleanup(func() { look.Close() })
	b.Run("latchkey/Redis", func(b *testing.B) {
		if err := look.FlushAll(b.Context()).Err(); err != nil {
			b.Fatal(err)
		}
		var count trips
		client := goredis.NewClient(&goredis.Options{Addr: address, ContextTimeoutEnabled: true, Dialer: func(_ context.Context, network, address string) (net.Conn, error) {
			return count.dial(network, address)
		}})
		defer client.Close()
		backend, err := redisbackend.New(client, redisbackend.Config{})
		if err != nil {
			b.Fatal(err)
		}
		manager, cookies, _ := login(b, serverStore(b, backend))
		used := memoryOf(b, look)
		count.n.Store(0)
		b.ResetTimer()
		loadManager(b, manager, cookies)
		b.ReportMetric(float64(count.n.Load())/float64(b.N), "trips/op")
		b.ReportMetric(used, "store-bytes")
		b.ReportMetric(cookieBytes(cookies), "cookie-bytes")
	})
	b.Run("scs/redisstore", func(b *testing.B) {
		if err := look.FlushAll(b.Context()).Err(); err != nil {
			b.Fatal(err)
		}
		var count trips
		pool := &redis.Pool{MaxIdle: 10, Dial: func() (redis.Conn, error) { return redis.Dial("tcp", address, redis.DialNetDial(count.dial)) }}
		defer pool.Close()
		m := scs.New()
		m.Store = redisstore.New(pool)
		ctx, err := m.Load(b.Context(), "")
		if err != nil {
			b.Fatal(err)
		}
		m.Put(ctx, "session", same)
		token, _, err := m.Commit(ctx)
		if err != nil {
			b.Fatal(err)
		}
		used := memoryOf(b, look)
		count.n.Store(0)
		b.ReportAllocs()
		for b.Loop() {
			ctx, err := m.Load(b.Context(), token)
			if err != nil || m.Get(ctx, "session").(content).Subject != same.Subject {
				b.Fatal("no session", err)
			}
		}
		b.ReportMetric(float64(count.n.Load())/float64(b.N), "trips/op")
		b.ReportMetric(used, "store-bytes")
		b.ReportMetric(float64(len("session=")+len(token)), "cookie-bytes")
	})
	b.Run("floor/Redis GET", func(b *testing.B) {
		client := goredis.NewClient(&goredis.Options{Addr: address})
		defer client.Close()
		value := bytes.Repeat([]byte("x"), 2000)
		if err := client.Set(b.Context(), "floor", value, 0).Err(); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if got, err := client.Get(b.Context(), "floor").Bytes(); err != nil || len(got) != len(value) {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkServerStoreSave writes a session of a user's through gorilla's port, or the peer's own.
func BenchmarkServerStoreSave(b *testing.B) {
	_, _, same := login(b, func() sessions.Store { return nil })
	record := fmt.Appendf(nil, "%s|%s|%s|%s", same.Subject, same.AccessToken, same.RefreshToken, same.IDToken)
	address := redisServer(b)
	client := goredis.NewClient(&goredis.Options{Addr: address, ContextTimeoutEnabled: true})
	b.Cleanup(func() { client.Close() })
	backend, err := redisbackend.New(client, redisbackend.Config{})
	if err != nil {
		b.Fatal(err)
	}
	sqlite, _ := sqliteBackend(b)
	for _, x := range []struct {
		name  string
		store func() sessions.Store
	}{
		{"latchkey/memory backend", serverStore(b, store.NewMemory(0))},
		{"latchkey/Redis", serverStore(b, backend)},
		{"latchkey/SQLite", serverStore(b, sqlite)},
		{"gorilla/FilesystemStore", func() sessions.Store { return filesystemStore(b) }},
	} {
		b.Run(x.name, func(b *testing.B) {
			s := x.store()
			first := httptest.NewRecorder()
			kept, _ := s.New(request(nil), "latchkey")
			kept.Values["session"] = record
			if err := s.Save(request(nil), first, kept); err != nil {
				b.Fatal(err)
			}
			r, w := request(first.Result().Cookies()), &discard{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				if err := s.Save(r, w, kept); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("scs/redisstore", func(b *testing.B) {
		pool := &redis.Pool{MaxIdle: 10, Dial: func() (redis.Conn, error) { return redis.Dial("tcp", address) }}
		defer pool.Close()
		m := scs.New()
		m.Store = redisstore.New(pool)
		ctx, err := m.Load(b.Context(), "")
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			m.Put(ctx, "session", same)
			if _, _, err := m.Commit(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
}
