package rp_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/latchkey-go/latchkey/rp"
	"golang.org/x/oauth2"
)

// tokens are a source that counts, and changes its token when it is refused.
type tokens struct {
	n, refused atomic.Int64
	stubborn   bool
	err        error
}

func (s *tokens) TokenContext(context.Context) (*oauth2.Token, error) {
	if s.err != nil {
		return nil, s.err
	}
	return &oauth2.Token{AccessToken: fmt.Sprint("token-", s.n.Load())}, nil
}

func (s *tokens) Invalidate(accessToken string) {
	s.refused.Add(1)
	if !s.stubborn && accessToken == fmt.Sprint("token-", s.n.Load()) {
		s.n.Add(1)
	}
}

// api takes token-1 and later ones, and answers with the body.
func api(t *testing.T, challenge string) (*httptest.Server, *atomic.Int64) {
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Authorization") == "Bearer token-0" {
			w.Header().Set("WWW-Authenticate", challenge)
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, r.Header.Get("Authorization"), " ", string(body))
	}))
	t.Cleanup(server.Close)
	return server, &calls
}

func TestTransportRenewsARefusedTokenOnce(t *testing.T) {
	const invalid = `Bearer realm="api", error="invalid_token"`
	for name, x := range map[string]struct {
		challenge string
		source    *tokens
		body      func() io.Reader
		status    int
		calls     int64
	}{
		"invalid_token":         {challenge: invalid, source: &tokens{}, status: 200, calls: 2},
		"no challenge":          {source: &tokens{}, status: 200, calls: 2},
		"a bare challenge":      {challenge: "Bearer", source: &tokens{}, status: 200, calls: 2},
		"another error":         {challenge: `Bearer error="insufficient_user_authentication"`, source: &tokens{}, status: 401, calls: 1},
		"no other token":        {challenge: invalid, source: &tokens{stubborn: true}, status: 401, calls: 1},
		"a body that repeats":   {challenge: invalid, source: &tokens{}, body: func() io.Reader { return strings.NewReader("body") }, status: 200, calls: 2},
		"a body that is gone":   {challenge: invalid, source: &tokens{}, body: func() io.Reader { return io.MultiReader(strings.NewReader("body")) }, status: 401, calls: 1},
		"a token that is taken": {source: func() *tokens { s := &tokens{}; s.n.Store(1); return s }(), status: 200, calls: 1},
	} {
		t.Run(name, func(t *testing.T) {
			server, calls := api(t, x.challenge)
			var body io.Reader
			if x.body != nil {
				body = x.body()
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, body)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := (&http.Client{Transport: &rp.Transport{Source: x.source}}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != x.status || calls.Load() != x.calls {
				t.Errorf("%d after %d calls, want %d after %d", resp.StatusCode, calls.Load(), x.status, x.calls)
			}
			if answer, _ := io.ReadAll(resp.Body); x.status == 200 && x.body != nil && !bytes.HasSuffix(answer, []byte(" body")) {
				t.Errorf("the second request had another body: %s", answer)
			}
			if req.Header.Get("Authorization") != "" {
				t.Error("the caller's request was changed")
			}
		})
	}
}

func TestTransportSendsNoTokenToAnotherOrigin(t *testing.T) {
	var leaked atomic.Value
	leaked.Store("")
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaked.Store(leaked.Load().(string) + r.Header.Get("Authorization"))
		if r.URL.Path == "/back" {
			http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusTemporaryRedirect)
		}
	}))
	defer stranger.Close()
	var home *httptest.Server
	var served atomic.Value
	served.Store("")
	home = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, stranger.URL+"/", http.StatusTemporaryRedirect)
		case "/round":
			http.Redirect(w, r, stranger.URL+"/back?to="+home.URL+"/end", http.StatusTemporaryRedirect)
		case "/near":
			http.Redirect(w, r, "/end", http.StatusFound)
		default:
			served.Store(cmp.Or(r.Header.Get("Authorization"), "none"))
		}
	}))
	defer home.Close()
	source := &tokens{}
	source.n.Store(1)
	client := &http.Client{Transport: &rp.Transport{Source: source}}
	for _, x := range []struct{ path, served string }{{"/away", ""}, {"/round", "none"}, {"/near", "Bearer token-1"}} {
		path := x.path
		served.Store("")
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, home.URL+path, strings.NewReader("body"))
		req.Header.Set("X-Other", "kept")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := served.Load(); got != x.served {
			t.Errorf("%s: home was asked with %q, want %q", path, got, x.served)
		}
		if resp.Request.Header.Get("Authorization") != "" {
			t.Errorf("%s: the answer shows the token", path)
		}
	}
	if got := leaked.Load(); got != "" {
		t.Errorf("a stranger saw %s", got)
	}
}

// A Base that answers by itself, a cache or a recorder, does not always say what it answers.
func TestTransportKnowsARedirectWhateverItsBase(t *testing.T) {
	var seen []string
	base := roundTripper(func(r *http.Request) (*http.Response, error) {
		seen = append(seen, r.URL.Host+" "+r.Header.Get("Authorization"))
		resp := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody}
		if r.URL.Host == "api.example" {
			resp.StatusCode, resp.Header = http.StatusFound, http.Header{"Location": {"https://stranger.example/"}}
		}
		return resp, nil
	})
	resp, err := (&http.Client{Transport: &rp.Transport{Source: &tokens{}, Base: base}}).Get("https://api.example/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := strings.Join(seen, ", "); got != "api.example Bearer token-0, stranger.example " {
		t.Errorf("sent %q", got)
	}
}

func TestTransportSendsNoTokenInTheOpen(t *testing.T) {
	source := &tokens{}
	asked := errors.New("asked")
	base := roundTripper(func(r *http.Request) (*http.Response, error) { return nil, asked })
	for target, want := range map[string]error{
		"https://api.example/": asked, "http://127.0.0.1:1/": asked, "http://localhost:1/": asked, "http://api.example/": nil, "http://127.0.0.1.api.example/": nil,
	} {
		closed := &closing{Reader: strings.NewReader("x")}
		req, _ := http.NewRequest(http.MethodPost, target, closed)
		_, err := (&rp.Transport{Source: source, Base: base}).RoundTrip(req)
		if want != nil != errors.Is(err, asked) || err == nil {
			t.Errorf("%s: %v", target, err)
		}
		if want == nil && !closed.closed {
			t.Errorf("%s: the body is left open", target)
		}
	}
	req, _ := http.NewRequest(http.MethodGet, "http://api.example/", nil)
	if _, err := (&rp.Transport{Source: source, Base: base, InsecureHTTP: true}).RoundTrip(req); !errors.Is(err, asked) {
		t.Errorf("allowed: %v", err)
	}
	if _, err := (&rp.Transport{Base: base}).RoundTrip(req); err == nil || !strings.Contains(err.Error(), "Source is missing") {
		t.Errorf("no source: %v", err)
	}
	if _, err := (&http.Client{Transport: &rp.Transport{Source: &tokens{err: rp.ErrReconnect}, Base: base}}).Get("https://api.example"); !errors.Is(err, rp.ErrReconnect) {
		t.Errorf("the source's error is lost: %v", err)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }
