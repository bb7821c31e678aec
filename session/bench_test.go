package session

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/sessions"
)

// benchRecord holds 1.5 KB of tokens.
func benchRecord() *record {
	return &record{
		ID: strings.Repeat("i", 22), Version: 3, Issuer: "https://op.example", Subject: "248289761001", SID: "08a5019c-17e1-4977-8f42-65a12843ea02",
		AccessToken: strings.Repeat("a", 700), TokenType: "Bearer", IDToken: strings.Repeat("t", 700), RefreshToken: strings.Repeat("r", 100),
		Scope: "openid profile email", LoginAt: 1e9, IssuedAt: 1e9, ExpiresAt: 2e9, TokenExpiry: 1e9, RefreshAt: 1e9,
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, name := range []string{"CookieStore", "MemoryStore"} {
		b.Run(name, func(b *testing.B) {
			k, data := keeperNamed(b, name), benchRecord().append(nil)
			browser := newBrowser()
			browser.create(b, k, string(data), hour())
			r := browser.request()
			b.ReportAllocs()
			for b.Loop() {
				var have kept
				var rec record
				if err := k.load(r, &have); err != nil {
					b.Fatal(err)
				}
				if err := rec.parse(have.data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("MemoryStore without the record's parse", func(b *testing.B) {
		k, browser := keeperNamed(b, "MemoryStore"), newBrowser()
		browser.create(b, k, string(benchRecord().append(nil)), hour())
		r := browser.request()
		var have kept
		b.ReportAllocs()
		for b.Loop() {
			if err := k.load(r, &have); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("gorilla CookieStore", func(b *testing.B) {
		store, rec := sessions.NewCookieStore(key(1), key(2)), benchRecord()
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
		s, _ := store.New(r, "latchkey")
		benchValues(s, rec)
		if err := store.Save(r, w, s); err != nil {
			b.Fatal(err)
		}
		r.Header.Set("Cookie", "latchkey="+w.Result().Cookies()[0].Value)
		b.ReportAllocs()
		for b.Loop() {
			if s, err := store.New(r, "latchkey"); err != nil || s.IsNew {
				b.Fatal(err)
			}
		}
	})
}

func benchValues(s *sessions.Session, rec *record) {
	s.Values["sub"], s.Values["access"], s.Values["id"], s.Values["refresh"] = rec.Subject, rec.AccessToken, rec.IDToken, rec.RefreshToken
	s.Values["issuer"], s.Values["sid"], s.Values["scope"], s.Values["expiry"] = rec.Issuer, rec.SID, rec.Scope, rec.TokenExpiry
}

func BenchmarkSave(b *testing.B) {
	for _, name := range []string{"CookieStore", "MemoryStore"} {
		b.Run(name, func(b *testing.B) {
			k, rec := keeperNamed(b, name), benchRecord()
			browser := newBrowser()
			browser.create(b, k, string(rec.append(nil)), hour())
			r := browser.request()
			have := browser.load(b, k)
			w := httptest.NewRecorder()
			buf, end := make([]byte, 0, 4096), hour()
			b.ReportAllocs()
			for b.Loop() {
				clear(w.Header())
				if err := k.update(w, r, &have, rec.append(buf), end); err != nil {
					b.Fatal(err)
				}
				if name == "MemoryStore" {
					have.version++
				}
			}
		})
	}
	b.Run("gorilla CookieStore", func(b *testing.B) {
		store := sessions.NewCookieStore(key(1), key(2))
		r := httptest.NewRequest("GET", "/", nil)
		s, _ := store.New(r, "latchkey")
		benchValues(s, benchRecord())
		w := httptest.NewRecorder()
		b.ReportAllocs()
		for b.Loop() {
			clear(w.Header())
			if err := store.Save(r, w, s); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkLedger(b *testing.B) {
	l := NewMemoryLedger(0)
	if err := l.Revoke(b.Context(), "sub:x", time.Now(), hour()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if at, err := l.RevokedAt(b.Context(), "iss https://op.example sid 08a5019c-17e1", "sub:x"); err != nil || at.IsZero() {
			b.Fatal(err)
		}
	}
}
