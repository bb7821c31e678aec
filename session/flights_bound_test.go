package session

import (
	"encoding/binary"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

func TestRefreshesAreForgottenTheOldestFirstAndUnsavedOnesLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newRefresher(nil)
		end := time.Now().Add(time.Hour).Unix()
		named := func(n int) (key [32]byte) {
			binary.BigEndian.PutUint64(key[:], uint64(n))
			return key
		}
		add := func(n int, saved bool) *flight {
			made := &flight{done: make(chan struct{}), key: named(n), rec: record{ExpiresAt: end}}
			f.flights[made.key] = made
			f.land(made, saved)
			f.forget(time.Now())
			return made
		}
		known := func(n int) bool { return f.flights[named(n)] != nil }

		memoryOnly := add(-1, false)
		for n := range maxFlights {
			add(n, true)
		}
		if !known(0) || len(f.flights) != maxFlights+1 {
			t.Fatalf("%d are known, want as many as may be", len(f.flights))
		}
		add(maxFlights, true)
		if known(0) || !known(1) || !known(maxFlights) || !known(-1) {
			t.Error("one too many did not make room by the oldest")
		}
		// A second flight under the key of a failed one stays when the first is forgotten.
		second := &flight{done: make(chan struct{}), key: named(1)}
		f.flights[second.key] = second
		add(maxFlights+1, true)
		if f.flights[second.key] != second {
			t.Error("the flight after a failed one was forgotten with it")
		}
		delete(f.flights, second.key)

		time.Sleep(resultLife)
		f.forget(time.Now())
		if len(f.settled) != maxFlights {
			t.Errorf("forgotten before their time: %d are left", len(f.settled))
		}
		time.Sleep(time.Nanosecond)
		f.forget(time.Now())
		if len(f.flights) != 1 || !known(-1) {
			t.Errorf("%d are known, want the unsaved one", len(f.flights))
		}
		// Saved late it has its time like any other.
		late := add(-2, false)
		f.savedLate(memoryOnly)
		time.Sleep(resultLife + 1)
		f.forget(time.Now())
		if known(-1) || !known(-2) {
			t.Error("what was saved late is remembered for good, or took the unsaved one along")
		}
		time.Sleep(time.Until(unix(late.rec.ExpiresAt)) - 1)
		if f.forget(time.Now()); !known(-2) {
			t.Error("an unsaved one was forgotten before its session's end")
		}
		time.Sleep(time.Nanosecond)
		if f.forget(time.Now()); known(-2) || len(f.unsaved) != 0 {
			t.Error("an unsaved one outlived its session")
		}
		end = time.Now().Add(time.Hour).Unix()
		for n := range maxFlights + 1 {
			add(n, false)
		}
		if known(0) || !known(1) || len(f.flights) != maxFlights {
			t.Errorf("%d unsaved ones are known, want %d", len(f.flights), maxFlights)
		}
	})
}

// stubbornKeeper refuses a number of updates.
type stubbornKeeper struct {
	keeper
	refusals int
	asked    int
}

func (s *stubbornKeeper) update(http.ResponseWriter, *http.Request, *kept, []byte, time.Time) error {
	if s.asked++; s.asked <= s.refusals {
		return ErrStore
	}
	return nil
}

func TestASaverTriesUntilTheAccessTokenEnds(t *testing.T) {
	for _, c := range []struct {
		name       string
		refusals   int
		token, end time.Duration // of the access token (0: not stated) and of the session
		saved      bool
		least      time.Duration
		most       time.Duration
	}{
		{"saved at the third try", 2, time.Hour, 2 * time.Hour, true, time.Second, 10 * time.Second},
		{"given up at the token's end", 1e6, time.Hour, 2 * time.Hour, false, 58 * time.Minute, time.Hour},
		{"given up at the session's end", 1e6, time.Hour, 30 * time.Minute, false, 28 * time.Minute, 30 * time.Minute},
		{"a token without a stated end", 1e6, 0, 2 * time.Hour, false, 118 * time.Minute, 2 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				keep := &stubbornKeeper{refusals: c.refusals}
				f := newRefresher(&Manager{keep: keep, log: slog.New(slog.DiscardHandler)})
				done := &flight{done: make(chan struct{}), rec: record{ExpiresAt: begun.Add(c.end).Unix()}}
				if c.token > 0 {
					done.rec.TokenExpiry = begun.Add(c.token).Unix()
				}
				f.land(done, false)
				f.saveLater(httptest.NewRequest(http.MethodGet, "/", nil), done, &kept{}, lastRetry)
				if took := time.Since(begun); done.saved != c.saved || took < c.least || took > c.most {
					t.Errorf("saved %t after %v, want %t after %v to %v", done.saved, took, c.saved, c.least, c.most)
				}
				if c.saved != (len(f.settled) == 1) || keep.asked > 150 {
					t.Errorf("%d settled, the store was asked %d times", len(f.settled), keep.asked)
				}
			})
		})
	}
}
