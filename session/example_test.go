package session_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/session"
)

// A login around a web application, without package middleware: it would choose the status codes, check return paths and draw the pages.
func Example() {
	client, err := rp.New(rp.Config{
		Issuer: "https://op.example", ClientID: "shop", ClientSecret: "from your secret store", RedirectURL: "https://shop.example/auth/callback",
	})
	if err != nil {
		log.Fatal(err)
	}
	key := []byte("32 random bytes, kept as a secret") // crypto/rand, from your secret store
	sessions, err := session.New(client, session.Config{Keys: [][]byte{key}, SingleProcess: true})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		to, err := sessions.Begin(w, r, "/", rp.AuthParams{})
		if err != nil {
			http.Error(w, "The login can't begin now.", http.StatusServiceUnavailable)
			return
		}
		http.Redirect(w, r, to, http.StatusSeeOther)
	})
	mux.HandleFunc("GET /auth/callback", func(w http.ResponseWriter, r *http.Request) {
		_, returnTo, err := sessions.Finish(w, r, nil)
		if err != nil {
			http.Error(w, "The login failed. Log in again.", http.StatusForbidden)
			return
		}
		http.Redirect(w, r, returnTo, http.StatusSeeOther)
	})
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		to, err := sessions.End(w, r, "/")
		if err != nil {
			log.Print(err)
		}
		if to == "" {
			to = "/"
		}
		http.Redirect(w, r, to, http.StatusSeeOther)
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		s, err := sessions.Load(w, r)
		switch {
		case errors.Is(err, session.ErrNone):
			http.Redirect(w, r, "/login", http.StatusSeeOther)
		case err != nil:
			http.Error(w, "Try again later.", http.StatusServiceUnavailable)
		default:
			fmt.Fprintf(w, "Hello, %s.", s.Subject)
		}
	})

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "https://shop.example/", nil))
	fmt.Println(w.Code, w.Header().Get("Location"))
	// Output: 303 /login
}

// A test of a handler needs no login.
func ExampleNewContext() {
	greet := func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "Hello, %s.", session.FromContext(r.Context()).Subject)
	}
	ctx := session.NewContext(context.Background(), &session.Session{Issuer: "https://op.example", Subject: "alice"})
	w := httptest.NewRecorder()
	greet(w, httptest.NewRequest("GET", "/", nil).WithContext(ctx))
	fmt.Println(w.Body)
	// Output: Hello, alice.
}
