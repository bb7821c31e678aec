package rptest

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
)

// ModifyBody changes the honest body.
func ModifyBody(f func([]byte) []byte) Fault {
	return func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := record(honest, r)
			body := f(rec.body.Bytes())
			rec.body = *bytes.NewBuffer(body)
			rec.send(w)
		})
	}
}

// ModifyJSON changes the honest answer's JSON object: metadata, token response, UserInfo. Error answers are left as they are.
func ModifyJSON(f func(map[string]any)) Fault {
	return func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := record(honest, r)
			var m map[string]any
			if rec.status < 300 && json.Unmarshal(rec.body.Bytes(), &m) == nil {
				f(m)
				body, err := json.Marshal(m)
				if err != nil {
					http.Error(w, "rptest: ModifyJSON left what is no JSON: "+err.Error(), http.StatusInternalServerError)
					return
				}
				rec.body = *bytes.NewBuffer(body)
			}
			rec.send(w)
		})
	}
}

// recording is an honest answer that was not sent yet.
type recording struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func record(h http.Handler, r *http.Request) *recording {
	rec := &recording{header: http.Header{}}
	h.ServeHTTP(rec, r)
	if rec.status == 0 {
		rec.status = http.StatusOK
	}
	return rec
}

func (rec *recording) Header() http.Header { return rec.header }

func (rec *recording) WriteHeader(status int) {
	if rec.status == 0 {
		rec.status = status
	}
}

func (rec *recording) Write(b []byte) (int, error) {
	rec.WriteHeader(http.StatusOK)
	return rec.body.Write(b)
}

func (rec *recording) copyHeader(w http.ResponseWriter) {
	maps.Copy(w.Header(), rec.header)
	w.WriteHeader(rec.status)
}

func (rec *recording) send(w http.ResponseWriter) {
	rec.copyHeader(w)
	w.Write(rec.body.Bytes())
}
