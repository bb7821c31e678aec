package rptest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Down cuts the connection without an answer, before the provider has done anything.
func Down(http.Handler) http.Handler {
	return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
}

// LoseAnswer does what was asked and cuts the connection in place of the answer: a refresh token is rotated, and nobody has the new one.
func LoseAnswer(honest http.Handler) http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		record(honest, r)
		panic(http.ErrAbortHandler)
	})
}

// Slow waits for d before it does anything, and does nothing for a client that has gone.
func Slow(d time.Duration) Fault {
	return func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			wait(r, d)
			honest.ServeHTTP(w, r)
		})
	}
}

// Late does what was asked at once and answers after d: a client that does not wait has its token rotated all the same.
func Late(d time.Duration) Fault {
	return func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := record(honest, r)
			wait(r, d)
			rec.send(w)
		})
	}
}

// SlowBody sends the headers at once and then a byte every d.
func SlowBody(d time.Duration) Fault {
	return func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := record(honest, r)
			rec.copyHeader(w)
			for i := range rec.body.Len() {
				flush(w)
				wait(r, d)
				w.Write(rec.body.Bytes()[i : i+1])
			}
		})
	}
}

// Hang never answers; it waits for the client to go.
func Hang(http.Handler) http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // a server sees that the client has gone once the body is read
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	})
}

// wait waits for d, or gives up with a client that has gone.
func wait(r *http.Request, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
		panic(http.ErrAbortHandler)
	}
}

func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

// Status answers with status and body in place of the honest answer. A body that begins with { is sent as JSON.
func Status(status int, body string) Fault {
	return answerWith(func(w http.ResponseWriter) {
		if strings.HasPrefix(body, "{") {
			w.Header().Set("Content-Type", "application/json")
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	})
}

func answerWith(f func(http.ResponseWriter)) Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { f(w) })
	}
}

// RetryAfter answers 503 with a Retry-After in whole seconds.
func RetryAfter(d time.Duration) Fault {
	return answerWith(func(w http.ResponseWriter) {
		w.Header().Set("Retry-After", strconv.Itoa(int(d/time.Second)))
		http.Error(w, "down for maintenance", http.StatusServiceUnavailable)
	})
}

// Redirect answers with a redirect to another URL, with status 301 to 308.
func Redirect(to string, status int) Fault {
	return answerWith(func(w http.ResponseWriter) {
		w.Header().Set("Location", to)
		w.WriteHeader(status)
	})
}

// HTML answers 200 with a web page, as proxies and captive portals do.
func HTML(honest http.Handler) http.Handler {
	return answerWith(func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, "<!DOCTYPE html><title>Sign in to the network</title><p>Welcome to the hotel.</p>")
	})(honest)
}

// EmptyBody answers with the honest status and no body.
func EmptyBody(honest http.Handler) http.Handler {
	return ModifyBody(func([]byte) []byte { return nil })(honest)
}

// WrongContentType sends the honest body as text/plain.
func WrongContentType(honest http.Handler) http.Handler {
	return ResponseHeader("Content-Type", "text/plain")(honest)
}

// ResponseHeader sets a header of the honest answer; an empty value removes it.
func ResponseHeader(name, value string) Fault {
	return func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := record(honest, r)
			rec.header.Set(name, value)
			if value == "" {
				rec.header[http.CanonicalHeaderKey(name)] = nil // present, so that net/http does not guess a Content-Type
			}
			rec.send(w)
		})
	}
}

// Truncated promises the whole honest body, sends half of it and cuts the connection.
func Truncated(honest http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := record(honest, r)
		w.Header().Set("Content-Length", strconv.Itoa(rec.body.Len()))
		rec.copyHeader(w)
		w.Write(rec.body.Bytes()[:rec.body.Len()/2])
		flush(w)
		panic(http.ErrAbortHandler)
	})
}

// Oversized sends n bytes of white space before the honest body, which is JSON still; n < 0: without end.
func Oversized(n int64) Fault {
	return func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := record(honest, r)
			rec.copyHeader(w)
			if pad(w, n) {
				w.Write(rec.body.Bytes())
			}
		})
	}
}

// Bomb sends what Oversized(n) does compressed by gzip, a thousandth of its size.
func Bomb(n int64) Fault {
	return func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := record(honest, r)
			rec.header.Set("Content-Encoding", "gzip")
			rec.copyHeader(w)
			zip := gzip.NewWriter(w)
			if pad(zip, n) {
				zip.Write(rec.body.Bytes())
				zip.Close()
			}
		})
	}
}

// pad writes n spaces and reports whether the client took them all.
func pad(w io.Writer, n int64) bool {
	block := bytes.Repeat([]byte(" "), 32<<10)
	for n != 0 {
		if n > 0 && n < int64(len(block)) {
			block = block[:n]
		}
		if _, err := w.Write(block); err != nil {
			return false
		}
		if n > 0 {
			n -= int64(len(block))
		}
	}
	return true
}

// TrailingGarbage appends to the honest body what is no JSON.
func TrailingGarbage(honest http.Handler) http.Handler {
	return ModifyBody(func(b []byte) []byte { return append(b, "}garbage"...) })(honest)
}

// Prefixed puts text before the honest body: a byte order mark, or )]}'.
func Prefixed(text string) Fault {
	return ModifyBody(func(b []byte) []byte { return append([]byte(text), b...) })
}

// DuplicateKeys says every member of the honest JSON object twice, with a string's first value changed.
func DuplicateKeys(honest http.Handler) http.Handler {
	return ModifyBody(func(b []byte) []byte {
		var members map[string]json.RawMessage
		if json.Unmarshal(b, &members) != nil {
			return b
		}
		var out []string
		for _, name := range slices.Sorted(maps.Keys(members)) {
			key, _ := json.Marshal(name)
			other := string(members[name])
			if strings.HasSuffix(other, `"`) {
				other = strings.TrimSuffix(other, `"`) + `-twice"`
			}
			out = append(out, string(key)+":"+other, string(key)+":"+string(members[name]))
		}
		return []byte("{" + strings.Join(out, ",") + "}")
	})(honest)
}

// Deep adds a member of depth nested arrays to the honest JSON object.
func Deep(depth int) Fault {
	return ModifyBody(func(b []byte) []byte {
		end := bytes.LastIndexByte(b, '}')
		if end < 0 {
			return b
		}
		return []byte(string(b[:end]) + `,"deep":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + "}")
	})
}

// OnGrant applies f to token requests of one grant_type only: OnGrant("refresh_token", InvalidGrant).
func OnGrant(grantType string, f Fault) Fault {
	return func(honest http.Handler) http.Handler {
		bent := f(honest)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.PostFormValue("grant_type") == grantType {
				bent.ServeHTTP(w, r)
				return
			}
			honest.ServeHTTP(w, r)
		})
	}
}

// Both applies faults one over the other, the first one nearest to the client.
func Both(faults ...Fault) Fault {
	return func(honest http.Handler) http.Handler {
		for _, f := range slices.Backward(faults) {
			honest = f(honest)
		}
		return honest
	}
}
