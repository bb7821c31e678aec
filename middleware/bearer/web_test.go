package bearer_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-go/latchkey/rp/rptest"
)

// web is everything outbound calls can reach, in memory: each URL answers with a JSON document, and every request is counted.
type web struct {
	mu        sync.Mutex
	documents map[string]any
	requests  []string
}

// publish puts a discovery document for issuer at url, which names a key set of op's keys beside it.
func (w *web) publish(t testing.TB, op *rptest.Provider, url, issuer string) {
	t.Helper()
	jwks := url + "/keys"
	w.set(url, map[string]any{"issuer": issuer, "jwks_uri": jwks})
	w.set(jwks, keysOf(t, op))
}

func (w *web) set(url string, document any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.documents == nil {
		w.documents = map[string]any{}
	}
	w.documents[url] = document
}

// drop makes url unreachable.
func (w *web) drop(url string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.documents, url)
}

// asked returns the URLs asked for so far that contain part.
func (w *web) asked(part string) (urls []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, url := range w.requests {
		if strings.Contains(url, part) {
			urls = append(urls, url)
		}
	}
	return urls
}

func (w *web) client() *http.Client { return &http.Client{Transport: w} }

func (w *web) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	url := r.URL.String()
	w.requests = append(w.requests, url)
	document, ok := w.documents[url]
	if !ok {
		return nil, fmt.Errorf("nothing is at %s", url)
	}
	body, err := json.Marshal(document)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)), Request: r,
	}, nil
}

// keysOf is op's key set.
func keysOf(t testing.TB, op *rptest.Provider) map[string]any {
	t.Helper()
	response, err := op.Client().Get(op.Issuer() + "/jwks")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var set map[string]any
	if err := json.NewDecoder(response.Body).Decode(&set); err != nil || set["keys"] == nil {
		t.Fatalf("no key set: %v", err)
	}
	return set
}

// with is claims with changes: pairs of names and values, nil for none.
func with(claims map[string]any, changes ...any) map[string]any {
	c := maps.Clone(claims)
	for i := 0; i < len(changes); i += 2 {
		if name := fmt.Sprint(changes[i]); changes[i+1] == nil {
			delete(c, name)
		} else {
			c[name] = changes[i+1]
		}
	}
	return c
}
