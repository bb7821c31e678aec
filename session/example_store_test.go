package session_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/latchkey-go/latchkey/session"
)

// A CookieStore serves an application's own values, too, as any gorilla store does.
func ExampleNewCookieStore() {
	key := []byte("32 random bytes, kept as a secret") // crypto/rand, from your secret store
	store, err := session.NewCookieStore(key)
	if err != nil {
		panic(err)
	}
	visits := func(w http.ResponseWriter, r *http.Request) {
		s, _ := store.Get(r, "visits")
		n, _ := s.Values["n"].(int)
		s.Values["n"] = n + 1
		if err := s.Save(r, w); err != nil {
			http.Error(w, "can't save", http.StatusInternalServerError)
			return
		}
		fmt.Println("visit", n+1)
	}

	first := httptest.NewRecorder()
	visits(first, httptest.NewRequest("GET", "/", nil))
	again := httptest.NewRequest("GET", "/", nil)
	again.AddCookie(first.Result().Cookies()[0])
	visits(httptest.NewRecorder(), again)
	// Output:
	// visit 1
	// visit 2
}

func ExampleNewMemoryStore() {
	store, err := session.NewMemoryStore(session.MemoryConfig{MaxSessions: 10_000})
	if err != nil {
		panic(err)
	}
	fmt.Println(store)
	// Output: session.MemoryStore(0 sessions)
}

func ExampleNewMemoryLedger() {
	ledger, ctx, now := session.NewMemoryLedger(0), context.Background(), time.Now()
	if err := ledger.Revoke(ctx, "sub alice", now, now.Add(12*time.Hour)); err != nil {
		panic(err)
	}
	at, _ := ledger.RevokedAt(ctx, "sub alice", "sid 7")
	fmt.Println(at.Equal(now))
	// Output: true
}
