package interop_test

import (
	"net/http"
	"sync"
	"time"
)

// requests notes what a browser asked for.
type requests struct {
	mu    sync.Mutex
	paths map[string]int
}

func (q *requests) note(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.paths == nil {
			q.paths = map[string]int{}
		}
		q.paths[r.URL.Path]++
	})
}

// within waits until path was asked for.
func (q *requests) within(limit time.Duration, path string) bool {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		q.mu.Lock()
		n := q.paths[path]
		q.mu.Unlock()
		if n > 0 {
			return true
		}
	}
	return false
}
