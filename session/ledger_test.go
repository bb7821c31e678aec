package session_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/session"
)

func TestMemoryLedgerRemembersTheLatestOfItsKeys(t *testing.T) {
	l, ctx, now := session.NewMemoryLedger(0), t.Context(), time.Now()
	until := now.Add(time.Hour)
	for _, mark := range []struct {
		key string
		at  time.Time
	}{{"sub", now}, {"sub", now.Add(-time.Minute)}, {"sid", now.Add(time.Minute)}} {
		if err := l.Revoke(ctx, mark.key, mark.at, until); err != nil {
			t.Fatal(err)
		}
	}
	for want, keys := range map[time.Time][]string{
		now: {"sub"}, now.Add(time.Minute): {"sid", "sub"}, {}: {"other", "su", strings.Repeat("x", 10_000)},
	} {
		if got, err := l.RevokedAt(ctx, keys...); err != nil || !got.Equal(want) {
			t.Errorf("%.40q: %v, %v, want %v", keys, got, err, want)
		}
	}
	if got, err := l.RevokedAt(ctx); err != nil || !got.IsZero() {
		t.Errorf("no key: %v, %v", got, err)
	}
}

func TestMemoryLedgerForgetsAfterUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ctx, now := session.NewMemoryLedger(1), t.Context(), time.Now()
		if err := l.Revoke(ctx, "sub", now, now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if err := l.Revoke(ctx, "sub", now, now.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour - time.Second)
		if got, _ := l.RevokedAt(ctx, "sub"); !got.Equal(now) {
			t.Errorf("before until: %v", got)
		}
		time.Sleep(time.Second)
		if got, _ := l.RevokedAt(ctx, "sub"); !got.IsZero() {
			t.Errorf("at until: %v", got)
		}
		if err := l.Revoke(ctx, "other", now, now.Add(2*time.Hour)); err != nil {
			t.Errorf("what has ended takes room: %v", err)
		}
	})
}

// TestAFullMemoryLedgerRefusesInsteadOfForgetting: a revocation that was acknowledged must not be undone by later ones.
func TestAFullMemoryLedgerRefusesInsteadOfForgetting(t *testing.T) {
	l, ctx, now := session.NewMemoryLedger(2), t.Context(), time.Now()
	for i := range 2 {
		if err := l.Revoke(ctx, fmt.Sprint(i), now, now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Revoke(ctx, "third", now, now.Add(time.Hour)); !errors.Is(err, session.ErrStore) || !strings.Contains(err.Error(), "NewMemoryLedger") {
		t.Fatalf("got %v", err)
	}
	if err := l.Revoke(ctx, "1", now.Add(time.Second), now.Add(time.Hour)); err != nil {
		t.Errorf("a known key: %v", err)
	}
	for i := range 2 {
		if got, _ := l.RevokedAt(ctx, fmt.Sprint(i)); got.IsZero() {
			t.Errorf("%d was forgotten", i)
		}
	}
}

func TestMemoryLedgerHeedsItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l := session.NewMemoryLedger(0)
	if err := l.Revoke(ctx, "k", time.Now(), time.Now().Add(time.Hour)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := l.RevokedAt(ctx, "k"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestMemoryLedgerServesManyAtOnce(t *testing.T) {
	l, ctx, now := session.NewMemoryLedger(100), t.Context(), time.Now()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			key := fmt.Sprint(i % 10)
			if err := l.Revoke(ctx, key, now.Add(time.Duration(i)), now.Add(time.Hour)); err != nil {
				t.Error(err)
			}
			if got, err := l.RevokedAt(ctx, key); err != nil || got.Before(now.Add(time.Duration(i))) {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	wg.Wait()
}
