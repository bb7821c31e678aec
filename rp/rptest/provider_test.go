package rptest_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

const callback = "https://app.example/callback"

// rig is a client written by hand: the package has none to lean on.
type rig struct {
	t        *testing.T
	p        *rptest.Provider
	http     *http.Client
	verifier string
	scope    string
	extra    url.Values // further authorization parameters
	basic    bool
}

func newRig(t *testing.T, opts rptest.Options) *rig {
	t.Helper()
	if opts.Issuer == "" {
		opts.Issuer = "https://op.example/tenant"
	}
	if opts.SigningAlg == "" {
		opts.SigningAlg = "ES256" // keys are made in no time
	}
	p, err := rptest.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	client := p.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &rig{t: t, p: p, http: client, verifier: rand.Text() + rand.Text(), scope: "openid profile email", basic: true}
}

func (r *rig) authURL() string {
	sum := sha256.Sum256([]byte(r.verifier))
	v := url.Values{
		"client_id": {r.p.ClientID()}, "redirect_uri": {callback}, "response_type": {"code"}, "scope": {r.scope}, "state": {"the-state"}, "nonce": {"the-nonce"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	for name, values := range r.extra {
		v[name] = values
		if values == nil {
			delete(v, name)
		}
	}
	return base(r.p) + "/authorize?" + v.Encode()
}

func base(p *rptest.Provider) string { return strings.TrimSuffix(p.Issuer(), "/") }

// authorize returns what the browser brings back.
func (r *rig) authorize() url.Values {
	r.t.Helper()
	resp, err := r.http.Get(r.authURL())
	if err != nil {
		r.t.Fatal(err)
	}
	body := read(r.t, resp)
	location, err := resp.Location()
	if err != nil {
		r.t.Fatalf("no redirect but %s: %s", resp.Status, body)
	}
	if !strings.HasPrefix(location.String(), callback+"?") {
		r.t.Fatalf("the browser was sent to %s", location)
	}
	return location.Query()
}

func (r *rig) code() string {
	r.t.Helper()
	code := r.authorize().Get("code")
	if code == "" {
		r.t.Fatal("no code")
	}
	return code
}

// post sends a form, authenticated as the first client, and returns status and JSON.
func (r *rig) post(path string, form url.Values) (int, map[string]any) {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodPost, base(r.p)+path, strings.NewReader(form.Encode()))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if r.basic {
		req.SetBasicAuth(url.QueryEscape(r.p.ClientID()), url.QueryEscape(r.p.ClientSecret()))
	}
	resp, err := r.http.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	var answer map[string]any
	if body := read(r.t, resp); body != "" {
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			r.t.Fatalf("%v: %s", err, body)
		}
	}
	return resp.StatusCode, answer
}

func (r *rig) redeem(code string) (int, map[string]any) {
	r.t.Helper()
	return r.post("/token", url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {r.verifier}})
}

func (r *rig) renew(token any) (int, map[string]any) {
	r.t.Helper()
	return r.post("/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {fmt.Sprint(token)}})
}

// login returns the tokens of one whole login.
func (r *rig) login() map[string]any {
	r.t.Helper()
	status, tokens := r.redeem(r.code())
	if status != http.StatusOK {
		r.t.Fatalf("status %d: %v", status, tokens)
	}
	return tokens
}

func (r *rig) get(target, bearer string) *http.Response {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := r.http.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp
}

func (r *rig) json(target, bearer string) map[string]any {
	r.t.Helper()
	resp := r.get(target, bearer)
	var m map[string]any
	if body := read(r.t, resp); json.Unmarshal([]byte(body), &m) != nil {
		r.t.Fatalf("%s: %s: %s", target, resp.Status, body)
	}
	return m
}

// verified checks a token with the published keys, by go-jose, and returns header and claims.
func (r *rig) verified(token any, alg string) (jose.Header, map[string]any) {
	r.t.Helper()
	jws, err := jose.ParseSignedCompact(fmt.Sprint(token), []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
	if err != nil {
		r.t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(read(r.t, r.get(base(r.p)+"/jwks", ""))), &set); err != nil {
		r.t.Fatal(err)
	}
	header := jws.Signatures[0].Header
	keys := set.Key(header.KeyID)
	if len(keys) != 1 {
		r.t.Fatalf("%d keys have the kid %q", len(keys), header.KeyID)
	}
	payload, err := jws.Verify(keys[0])
	if err != nil {
		r.t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		r.t.Fatal(err)
	}
	return header, claims
}

func read(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLoginGivesTokensOfThePublishedKeys(t *testing.T) {
	for _, alg := range []string{"RS256", "PS384", "ES256", "ES384", "ES512", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			r := newRig(t, rptest.Options{SigningAlg: alg})
			back := r.authorize()
			if back.Get("state") != "the-state" || back.Get("iss") != r.p.Issuer() {
				t.Fatalf("answer %v", back)
			}
			status, tokens := r.redeem(back.Get("code"))
			if status != 200 || tokens["token_type"] != "Bearer" || tokens["expires_in"] != 300.0 || tokens["scope"] != r.scope || tokens["refresh_token"] == nil {
				t.Fatalf("status %d: %v", status, tokens)
			}
			_, claims := r.verified(tokens["id_token"], alg)
			for name, want := range map[string]any{"iss": r.p.Issuer(), "sub": "alice", "aud": r.p.ClientID(), "nonce": "the-nonce", "name": "Alice Archer"} {
				if claims[name] != want {
					t.Errorf("%s is %v, want %v", name, claims[name], want)
				}
			}
			for _, name := range []string{"exp", "iat", "auth_time", "sid", "at_hash"} {
				if claims[name] == nil {
					t.Errorf("no %s", name)
				}
			}
			user := r.json(base(r.p)+"/userinfo", fmt.Sprint(tokens["access_token"]))
			if user["sub"] != "alice" || user["email"] != "alice@example.com" || user["phone_number"] != nil {
				t.Errorf("userinfo %v", user)
			}
		})
	}
}

func TestStartListensUntilTheTestEnds(t *testing.T) {
	var issuer string
	t.Run("inner", func(t *testing.T) {
		p := rptest.Start(t, rptest.Options{SigningAlg: "ES256"})
		issuer = p.Issuer()
		resp, err := http.Get(issuer + "/.well-known/openid-configuration")
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal([]byte(read(t, resp)), &m); err != nil || m["issuer"] != issuer {
			t.Fatalf("%v %v", m, err)
		}
	})
	if resp, err := http.Get(issuer); err == nil {
		resp.Body.Close()
		t.Fatal("still listening after the test")
	}
}

func TestTimeIsTheTestsInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rptest.Options{})
		tokens := r.login()
		access := fmt.Sprint(tokens["access_token"])
		time.Sleep(5*time.Minute - time.Second)
		if resp := r.get(base(r.p)+"/userinfo", access); resp.StatusCode != 200 {
			t.Fatalf("before its end: %s", resp.Status)
		}
		time.Sleep(time.Second)
		if resp := r.get(base(r.p)+"/userinfo", access); resp.StatusCode != 401 {
			t.Fatalf("after its end: %s", resp.Status)
		}
		if status, _ := r.renew(tokens["refresh_token"]); status != 200 {
			t.Fatalf("refresh: %d", status)
		}
	})
}
