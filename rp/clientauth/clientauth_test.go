package clientauth_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/rp/clientauth"
)

// base records what would go on the wire.
type base struct {
	header http.Header
	form   url.Values
	body   string
	calls  int
}

func (b *base) RoundTrip(r *http.Request) (*http.Response, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	b.calls++
	b.body, b.header = string(raw), r.Header
	b.form, err = url.ParseQuery(b.body)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: 200, Body: http.NoBody, Header: http.Header{}}, nil
}

func send(t *testing.T, m clientauth.Method, clientID string, form url.Values) *base {
	t.Helper()
	b := &base{}
	tr := &clientauth.Transport{Method: m, Issuer: "https://op.example", ClientID: clientID, Base: b}
	req, err := http.NewRequest(http.MethodPost, "https://op.example/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.RoundTrip(req); err != nil {
		t.Fatal(err)
	}
	if len(req.Header) != 0 {
		t.Errorf("the caller's request was changed: %v", req.Header)
	}
	return b
}

func TestBasicFormEncodesBothHalves(t *testing.T) {
	for _, c := range []struct{ id, secret, want string }{
		{"web", "secret", "web:secret"},
		{"client_:%+ \"", "s e:c%r+t", "client_%3A%25%2B+%22:s+e%3Ac%25r%2Bt"},
		{"web-app_1.0~x", "a-b.c_d~e", "web-app_1.0~x:a-b.c_d~e"}, // glewlwyd compares without decoding
		{"ü", "§", "%C3%BC:%C2%A7"},
	} {
		b := send(t, clientauth.Basic(c.secret), c.id, url.Values{"grant_type": {"x"}, "client_id": {c.id}, "client_secret": {"old"}})
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(b.header.Get("Authorization"), "Basic "))
		if err != nil || string(raw) != c.want {
			t.Errorf("Basic of %q:%q is %q, want %q (%v)", c.id, c.secret, raw, c.want, err)
		}
		if b.form.Has("client_id") || b.form.Has("client_secret") {
			t.Errorf("a second proof is in the body: %v", b.body)
		}
		if b.form.Get("grant_type") != "x" {
			t.Errorf("the form got lost: %v", b.body)
		}
	}
}

func TestPostSendsIdAndSecretInTheFormOnly(t *testing.T) {
	b := send(t, clientauth.Post("s e+c&r=t"), "id&1", url.Values{"grant_type": {"x"}})
	if b.form.Get("client_id") != "id&1" || b.form.Get("client_secret") != "s e+c&r=t" {
		t.Errorf("form is %v", b.form)
	}
	if b.header.Get("Authorization") != "" {
		t.Error("a header was sent as well")
	}
}

func TestNoneSendsTheClientIdAlone(t *testing.T) {
	b := send(t, clientauth.None(), "id", url.Values{"grant_type": {"x"}})
	if b.form.Get("client_id") != "id" || b.form.Has("client_secret") || b.header.Get("Authorization") != "" {
		t.Errorf("form is %v, header %v", b.form, b.header)
	}
}

func TestNamesAreTheRegisteredOnes(t *testing.T) {
	for want, m := range map[string]clientauth.Method{
		"client_secret_basic": clientauth.Basic("x"), "client_secret_post": clientauth.Post("x"), "none": clientauth.None(),
	} {
		if m.Name() != want {
			t.Errorf("%q, want %q", m.Name(), want)
		}
	}
}

func TestAnEmptySecretIsRefusedBeforeAnythingIsSent(t *testing.T) {
	for _, m := range []clientauth.Method{clientauth.Basic(""), clientauth.Post("")} {
		b := &base{}
		tr := &clientauth.Transport{Method: m, ClientID: "id", Base: b}
		req, _ := http.NewRequest(http.MethodPost, "https://op.example/token", strings.NewReader("a=b"))
		if _, err := tr.RoundTrip(req); err == nil || !strings.Contains(err.Error(), "client secret is empty") || b.calls != 0 {
			t.Errorf("%s: %v after %d calls", m.Name(), err, b.calls)
		}
	}
}

// counter is an assertion: it must never be sent twice.
type counter struct{ n int }

func (*counter) Name() string { return "private_key_jwt" }

func (c *counter) Authenticate(_ context.Context, r *clientauth.Request) error {
	c.n++
	r.Form.Set("client_assertion", fmt.Sprint(c.n, " for ", r.Issuer, " as ", r.ClientID, " at ", r.Endpoint))
	return nil
}

func TestEachAttemptIsAuthenticatedAnew(t *testing.T) {
	b, m := &base{}, &counter{}
	tr := &clientauth.Transport{Method: m, Issuer: "https://op.example", ClientID: "id", Base: b}
	for i := 1; i <= 2; i++ {
		req, _ := http.NewRequest(http.MethodPost, "https://op.example/token", strings.NewReader("a=b"))
		if _, err := tr.RoundTrip(req); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprint(i, " for https://op.example as id at https://op.example/token"); b.form.Get("client_assertion") != want {
			t.Errorf("assertion %q, want %q", b.form.Get("client_assertion"), want)
		}
	}
}

type failing struct{ err error }

func (failing) Name() string                                              { return "private_key_jwt" }
func (f failing) Authenticate(context.Context, *clientauth.Request) error { return f.err }

func TestAFailedProofSendsNothingAndKeepsItsError(t *testing.T) {
	b, cause := &base{}, errors.New("the signer is locked")
	tr := &clientauth.Transport{Method: failing{cause}, Base: b}
	req, _ := http.NewRequest(http.MethodPost, "https://op.example/token", strings.NewReader("a=b"))
	if _, err := tr.RoundTrip(req); !errors.Is(err, cause) || b.calls != 0 {
		t.Errorf("%v after %d calls", err, b.calls)
	}
}

func TestABodyThatIsNoFormIsRefusedWithoutQuotingIt(t *testing.T) {
	for name, body := range map[string]string{"escape": "code=marked%zz", "size": "code=" + strings.Repeat("x", 1<<20)} {
		b := &base{}
		tr := &clientauth.Transport{Method: clientauth.None(), Base: b}
		req, _ := http.NewRequest(http.MethodPost, "https://op.example/token", strings.NewReader(body))
		_, err := tr.RoundTrip(req)
		if err == nil || strings.Contains(err.Error(), "marked") || b.calls != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPrintingShowsNoSecret(t *testing.T) {
	req := &clientauth.Request{
		ClientID: "id", Endpoint: "https://op.example/token?key=marked",
		Form: url.Values{"code": {"marked"}}, Header: http.Header{"Authorization": {"Basic marked"}},
	}
	type holder struct {
		Public clientauth.Method
		hidden clientauth.Method
	}
	for _, v := range []any{
		clientauth.Basic("marked"), clientauth.Post("marked"), clientauth.None(), req, *req,
		holder{clientauth.Basic("marked"), clientauth.Post("marked")},
	} {
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		text := fmt.Sprintf("%v %+v %#v %s %q %x %d", v, v, v, v, v, v, v) + log.String()
		if strings.Contains(text, "marked") || strings.Contains(text, fmt.Sprintf("%x", "marked")) {
			t.Errorf("%T prints %s", v, text)
		}
	}
	if h := (holder{clientauth.None(), clientauth.None()}); h.hidden == nil {
		t.Error("no input")
	}
}

func ExampleBasic() {
	r := &clientauth.Request{ClientID: "web app", Form: url.Values{}, Header: http.Header{}}
	if err := clientauth.Basic("p%ss").Authenticate(context.Background(), r); err != nil {
		fmt.Println(err)
	}
	raw, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(r.Header.Get("Authorization"), "Basic "))
	fmt.Println(string(raw))
	// Output: web+app:p%25ss
}
