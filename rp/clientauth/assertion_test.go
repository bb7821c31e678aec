package clientauth_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp/clientauth"
)

// svid is a JWT of that id and end, in the form of ES256. Nobody here verifies it.
func svid(id string, end time.Time) string {
	part := func(v any) string {
		b, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(b)
	}
	signature := sha(id)
	return part(map[string]any{"alg": "ES256"}) + "." + part(map[string]any{"jti": id, "exp": end.Unix()}) + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// sha is 64 bytes that look like a signature.
func sha(id string) []byte { return bytes.Repeat([]byte((id + "-marked-")[:8]), 8) }

func authenticate(m clientauth.Method) (url.Values, http.Header, error) {
	r := &clientauth.Request{
		ClientID: "web", Issuer: "https://op.example", Endpoint: "https://op.example/token",
		Form: url.Values{"grant_type": {"x"}, "client_secret": {"old"}}, Header: http.Header{"Authorization": {"Basic old"}},
	}
	err := m.Authenticate(context.Background(), r)
	return r.Form, r.Header, err
}

// proof is what m sends, or its error.
func proof(t *testing.T, m clientauth.Method) (string, error) {
	t.Helper()
	form, _, err := authenticate(m)
	if err != nil && form.Has("client_assertion") {
		t.Error("an assertion is in the form of a failed request")
	}
	if err != nil && strings.Contains(err.Error(), "marked") {
		t.Errorf("a token is in %v", err)
	}
	return form.Get("client_assertion"), err
}

func TestAssertionIsTheOnlyProof(t *testing.T) {
	token := svid("one", time.Now().Add(time.Hour))
	m := clientauth.Assertion(func(context.Context) (string, error) { return token, nil })
	form, header, err := authenticate(m)
	want := url.Values{
		"grant_type": {"x"}, "client_id": {"web"}, "client_assertion": {token},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
	}
	if err != nil || form.Encode() != want.Encode() || len(header) != 0 || m.Name() != "private_key_jwt" {
		t.Errorf("%v, %v, %v", form, header, err)
	}
}

func TestAssertionRefusesWhatIsNone(t *testing.T) {
	b64 := base64.RawURLEncoding.EncodeToString
	end := fmt.Sprintf(`{"exp":%d}`, time.Now().Add(time.Hour).Unix())
	jwt := func(header, claims string, signature int) string {
		return b64([]byte(header)) + "." + b64([]byte(claims)) + "." + b64(make([]byte, signature))
	}
	cause := errors.New("the agent is down")
	for name, c := range map[string]struct {
		token  string
		reason string
	}{
		"good":              {jwt(`{"alg":"ES256"}`, end, 64), ""},
		"RSA":               {jwt(`{"alg":"RS256"}`, end, 256), ""},
		"EdDSA":             {jwt(`{"alg":"EdDSA"}`, end, 64), ""},
		"empty":             {"", "is empty"},
		"opaque":            {"marked", "1 parts"},
		"encrypted":         {"a.b.c.d.e", "5 parts"},
		"line end":          {"marked\n." + jwt(`{"alg":"ES256"}`, end, 64)[7:], "part"},
		"padded":            {jwt(`{"alg":"ES256"}`, end, 64) + "==", "part 3"},
		"no JSON":           {jwt("marked", end, 64), "no JSON"},
		"no claims":         {jwt(`{"alg":"ES256"}`, "marked", 64), "no JSON"},
		"cut signature":     {jwt(`{"alg":"ES256"}`, end, 63), "cut short"},
		"cut RSA signature": {jwt(`{"alg":"RS256"}`, end, 250), "cut short"},
		"P-384":             {jwt(`{"alg":"ES384"}`, end, 64), "cut short"},
		"P-521":             {jwt(`{"alg":"ES512"}`, end, 131), "cut short"},
		"unsigned":          {jwt(`{"alg":"none"}`, end, 0), "missing"},
		"no end":            {jwt(`{"alg":"ES256"}`, `{"sub":"marked"}`, 64), "no exp"},
		"text as end":       {jwt(`{"alg":"ES256"}`, `{"exp":"marked"}`, 64), "no JSON"},
		"end beyond time":   {jwt(`{"alg":"ES256"}`, `{"exp":1e300}`, 64), "no exp"},
		"too long":          {strings.Repeat("marked", 4<<10), "longer than 16384"},
	} {
		_, err := proof(t, clientauth.Assertion(func(context.Context) (string, error) { return c.token, nil }))
		if (err == nil) != (c.reason == "") || err != nil && !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: %v, want %q", name, err, c.reason)
		}
	}
	if _, err := proof(t, clientauth.Assertion(func(context.Context) (string, error) { return "", cause })); !errors.Is(err, cause) {
		t.Errorf("the source's error is lost: %v", err)
	}
	if _, err := proof(t, clientauth.Assertion(nil)); err == nil || !strings.Contains(err.Error(), "without a source") {
		t.Errorf("no source: %v", err)
	}
}

// projected is a file as somebody else renews it.
type projected struct {
	t    *testing.T
	path string
}

func newProjected(t *testing.T) *projected { return &projected{t, filepath.Join(t.TempDir(), "token")} }

// write replaces the content in place, at that time of change.
func (p *projected) write(content string, changed time.Time) {
	p.t.Helper()
	if err := errors.Join(os.WriteFile(p.path, []byte(content), 0o600), os.Chtimes(p.path, changed, changed)); err != nil {
		p.t.Fatal(err)
	}
}

// rename puts another file in its place, as Kubernetes does.
func (p *projected) rename(content string, changed time.Time) {
	p.t.Helper()
	next := &projected{p.t, p.path + ".next"}
	next.write(content, changed)
	if err := os.Rename(next.path, p.path); err != nil {
		p.t.Fatal(err)
	}
}

func (p *projected) want(m clientauth.Method, token, after string) {
	p.t.Helper()
	if got, err := proof(p.t, m); err != nil || got != token {
		p.t.Errorf("%s: another token than the file's, or %v", after, err)
	}
}

func TestAssertionFileFollowsItsFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, old, now := newProjected(t), time.Now().Add(-time.Hour), time.Now()
		m := clientauth.AssertionFile(p.path)
		first, second, third, fourth := svid("token1", now.Add(time.Hour)), svid("token2", now.Add(time.Hour)), svid("token3", now.Add(time.Hour)), svid("fourth", now.Add(2*time.Hour))
		p.write(first, old)
		p.want(m, first, "the first request")
		p.write(second, old.Add(time.Second))
		p.want(m, second, "another time of change")
		p.rename(third, old.Add(time.Second))
		p.want(m, third, "another file of the same size and time")
		p.write(" "+second+"\n", old.Add(time.Second))
		p.want(m, second, "another size, with space around")

		// What looks unchanged is not read: the file is another, and nothing about it tells.
		p.write("  "+first, old.Add(time.Second))
		p.want(m, second, "no change to be seen")
		// Near its end a token is looked for again.
		time.Sleep(59*time.Minute + time.Second)
		p.write(fourth+"  ", old.Add(time.Second))
		p.want(m, fourth, "the end in sight")

		// A file that has just changed may change again within the same tick of the file system.
		fifth, sixth := svid("fifth", now.Add(3*time.Hour)), svid("sixth", now.Add(3*time.Hour))
		tick := time.Now()
		p.write(fifth, tick)
		p.want(m, fifth, "a change")
		p.write(sixth, tick)
		p.want(m, sixth, "a second change in the same tick")
	})
}

func TestAssertionFileKeepsTheLastGoodTokenUntilItsEnd(t *testing.T) {
	for name, spoil := range map[string]struct {
		do     func(*projected)
		reason string
	}{
		"empty":   {func(p *projected) { p.write("", time.Now().Add(-time.Minute)) }, "is empty"},
		"blank":   {func(p *projected) { p.write(" \n\n", time.Now().Add(-time.Minute)) }, "is empty"},
		"half":    {func(p *projected) { p.write(svid("next", time.Now().Add(5*time.Hour))[:140], time.Now()) }, "no signed JWT"},
		"expired": {func(p *projected) { p.write(svid("next", time.Now().Add(-time.Second)), time.Now()) }, "has expired at 1999-12-31T23:59:59Z"},
		"too long": {func(p *projected) {
			p.write(svid("next", time.Now().Add(5*time.Hour))+strings.Repeat(" ", 16<<10), time.Now())
		}, "longer than 16384"},
		"gone": {func(p *projected) { os.Remove(p.path) }, "assertion file"},
		"a directory": {func(p *projected) {
			os.Remove(p.path)
			os.Mkdir(p.path, 0o700)
		}, "no regular file"},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newProjected(t)
			m, token := clientauth.AssertionFile(p.path), svid("first", time.Now().Add(time.Hour))
			p.write(token, time.Now().Add(-time.Hour))
			p.want(m, token, name+", before")
			spoil.do(p)
			p.want(m, token, name)
			fresh := clientauth.AssertionFile(p.path)
			if _, err := proof(t, fresh); err == nil || !strings.Contains(err.Error(), spoil.reason) || !strings.Contains(err.Error(), p.path) {
				t.Errorf("%s, without a good one: %v, want %q", name, err, spoil.reason)
			}
			time.Sleep(time.Hour - time.Second)
			p.want(m, token, name+", a second before the end")
			time.Sleep(time.Second)
			if _, err := proof(t, m); err == nil {
				t.Errorf("%s: a token was sent that has expired", name)
			}
			if err := os.RemoveAll(p.path); err != nil {
				t.Fatal(err)
			}
			again := svid("again", time.Now().Add(time.Hour))
			p.write(again, time.Now())
			p.want(m, again, name+", mended")
			p.want(fresh, again, name+", mended")
		})
	}
}

func TestAssertionFileIsForManyAtOnce(t *testing.T) {
	p := newProjected(t)
	tokens := map[string]bool{}
	for n := range 4 {
		tokens[svid(fmt.Sprint(n), time.Now().Add(time.Hour))] = true
	}
	for token := range tokens {
		p.write(token, time.Now())
		break
	}
	m := clientauth.AssertionFile(p.path)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if token, err := proof(t, m); err != nil || !tokens[token] {
					t.Errorf("no token of the file: %v", err)
				}
			}
		})
	}
	for range 10 {
		for token := range tokens {
			p.rename(token, time.Now())
		}
	}
	wg.Wait()
}

func TestAssertionFileSendsNothingAfterItsContext(t *testing.T) {
	p := newProjected(t)
	p.write(svid("one", time.Now().Add(time.Hour)), time.Now())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := &clientauth.Request{Form: url.Values{}, Header: http.Header{}}
	if err := clientauth.AssertionFile(p.path).Authenticate(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

// actions is the runner's endpoint.
func actions(t *testing.T, answer http.HandlerFunc) (*http.Client, *atomic.Int32) {
	var hits atomic.Int32
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", server.URL+"/token?api-version=2.0&job=marked")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "marked-request-token")
	return server.Client(), &hits
}

func TestGitHubActionsFetchesItsTokenOnce(t *testing.T) {
	var asked http.Request
	end := time.Now().Add(5 * time.Minute)
	var mu sync.Mutex
	client, hits := actions(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = *r
		fmt.Fprintf(w, `{"count":857,"value":%q}`, svid("actions", end))
	})
	m := clientauth.Assertion(clientauth.GitHubActions("api://a b&c", client))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if token, err := proof(t, m); err != nil || token != svid("actions", end) {
				t.Errorf("another token, or %v", err)
			}
		})
	}
	wg.Wait()
	if n := hits.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
	query := asked.URL.Query()
	if asked.Method != http.MethodGet || asked.Header.Get("Authorization") != "Bearer marked-request-token" || query.Get("audience") != "api://a b&c" || query.Get("api-version") != "2.0" {
		t.Errorf("the request was %s %s", asked.Method, asked.URL)
	}

	// One that ends within a minute is fetched anew at each request, and kept where there is no other.
	end = time.Now().Add(30 * time.Second)
	m = clientauth.Assertion(clientauth.GitHubActions("", client))
	for range 2 {
		if _, err := proof(t, m); err != nil {
			t.Error(err)
		}
	}
	if n := hits.Load(); n != 3 || asked.URL.Query().Has("audience") {
		t.Errorf("%d fetches, the last one %s", n-1, asked.URL)
	}
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "")
	if token, err := proof(t, m); err != nil || token != svid("actions", end) {
		t.Errorf("a good token was not kept: %v", err)
	}
}

func TestGitHubActionsRefusesABadAnswer(t *testing.T) {
	good := svid("actions", time.Now().Add(5*time.Minute))
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		reason string
	}{
		"refused": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "marked", http.StatusForbidden) }, "403"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/elsewhere" {
				http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
				return
			}
			fmt.Fprintf(w, `{"value":%q}`, good)
		}, "307"},
		"no JSON":  {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, good) }, "no JSON"},
		"no value": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"token":"marked"}`) }, "is empty"},
		"too long": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"value":%q,"more":%q}`, good, strings.Repeat("x", 32<<10))
		}, "longer than 32768"},
		"expired": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"value":%q}`, svid("actions", time.Now().Add(-time.Second)))
		}, "expired already"},
	} {
		client, hits := actions(t, c.answer)
		_, err := proof(t, clientauth.Assertion(clientauth.GitHubActions("", client)))
		if err == nil || !strings.Contains(err.Error(), c.reason) || hits.Load() != 1 {
			t.Errorf("%s: %v, want %q; %d calls", name, err, c.reason, hits.Load())
		}
	}
}

func TestGitHubActionsNeedsItsEnvironment(t *testing.T) {
	client, hits := actions(t, func(http.ResponseWriter, *http.Request) {})
	for name, c := range map[string]struct{ name, value, reason string }{
		"no address": {"ACTIONS_ID_TOKEN_REQUEST_URL", "", "id-token: write"},
		"no token":   {"ACTIONS_ID_TOKEN_REQUEST_TOKEN", "", "id-token: write"},
		"plain http": {"ACTIONS_ID_TOKEN_REQUEST_URL", "http://127.0.0.1/marked", "no https URL"},
		"no URL":     {"ACTIONS_ID_TOKEN_REQUEST_URL", "https://%zz-marked", "no https URL"},
		"nobody":     {"ACTIONS_ID_TOKEN_REQUEST_URL", "https://127.0.0.1:1/?marked", "no answer"},
	} {
		before := os.Getenv(c.name)
		t.Setenv(c.name, c.value)
		if _, err := proof(t, clientauth.Assertion(clientauth.GitHubActions("", client))); err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: %v, want %q", name, err, c.reason)
		}
		t.Setenv(c.name, before)
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d calls", n)
	}
}

func TestGitHubActionsEndsWithItsContext(t *testing.T) {
	gate := make(chan struct{})
	client, _ := actions(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-gate:
		case <-r.Context().Done():
		}
	})
	defer close(gate)
	source := clientauth.GitHubActions("", client)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 { // one that fetches, one that waits for it
		wg.Go(func() {
			if _, err := source(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("error is %v", err)
			}
		})
	}
	cancel()
	wg.Wait()
}

func TestPrintingAnAssertionShowsNoToken(t *testing.T) {
	p := newProjected(t)
	p.write(svid("one", time.Now().Add(time.Hour)), time.Now())
	file := clientauth.AssertionFile(p.path)
	token, err := proof(t, file)
	if err != nil {
		t.Fatal(err)
	}
	type holder struct {
		Public clientauth.Method
		hidden clientauth.Method
	}
	for _, v := range []any{file, &file, holder{file, file}, &holder{file, file}, []clientauth.Method{file}} {
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		text := fmt.Sprintf("%v %+v %#v %s %q %x %d", v, v, v, v, v, v, v) + log.String()
		if strings.Contains(text, token) || strings.Contains(text, fmt.Sprintf("%x", token)) {
			t.Errorf("%T prints %s", v, text)
		}
	}
	if text := fmt.Sprint(file); text != "private_key_jwt([redacted])" {
		t.Errorf("it prints %s", text)
	}
	if h := (holder{file, file}); h.hidden == nil {
		t.Error("no input")
	}
}

func FuzzAssertion(f *testing.F) {
	f.Add(svid("one", time.Unix(2e9, 0)))
	f.Add("eyJhbGciOiJSUzI1NiJ9.e30.")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		form, _, err := authenticate(clientauth.Assertion(func(context.Context) (string, error) { return token, nil }))
		if err == nil && (form.Get("client_assertion") != token || strings.Count(token, ".") != 2 || strings.ContainsAny(token, "\r\n &=")) {
			t.Errorf("%q was sent as %q", token, form.Get("client_assertion"))
		}
	})
}

// A pod of Kubernetes with a projected service account token, whose audience the provider has been told.
func ExampleAssertionFile() {
	method := clientauth.AssertionFile("/var/run/secrets/tokens/op") // rp.Config.Auth
	fmt.Println(method)
	// Output: private_key_jwt([redacted])
}
