package rptest_test

import (
	"bytes"
	"encoding/json"
	"errors"
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

// answer is what a client sees of an endpoint.
type answer struct {
	status int
	header http.Header
	body   string
	err    error
}

func ask(c *http.Client, target string) answer {
	resp, err := c.Get(target)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return answer{resp.StatusCode, resp.Header, string(body), err}
}

func TestEndpointFaultsBendTheAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		fault rptest.Fault
		bent  func(answer) bool
	}{
		"down":        {rptest.Down, func(a answer) bool { return a.err != nil && a.status == 0 }},
		"lost":        {rptest.LoseAnswer, func(a answer) bool { return a.err != nil && a.status == 0 }},
		"status":      {rptest.Status(502, "bad gateway"), func(a answer) bool { return a.status == 502 && a.body == "bad gateway" }},
		"retry after": {rptest.RetryAfter(2 * time.Minute), func(a answer) bool { return a.status == 503 && a.header.Get("Retry-After") == "120" }},
		"redirect":    {rptest.Redirect("https://evil.example/x", 307), func(a answer) bool { return a.status == 307 && a.header.Get("Location") == "https://evil.example/x" }},
		"html": {rptest.HTML, func(a answer) bool {
			return a.status == 200 && strings.HasPrefix(a.header.Get("Content-Type"), "text/html")
		}},
		"empty":          {rptest.EmptyBody, func(a answer) bool { return a.status == 200 && a.body == "" }},
		"content type":   {rptest.WrongContentType, func(a answer) bool { return a.header.Get("Content-Type") == "text/plain" && valid(a.body) }},
		"no type":        {rptest.ResponseHeader("Content-Type", ""), func(a answer) bool { return a.header.Get("Content-Type") == "" && valid(a.body) }},
		"header":         {rptest.ResponseHeader("Cache-Control", "max-age=9"), func(a answer) bool { return a.header.Get("Cache-Control") == "max-age=9" }},
		"truncated":      {rptest.Truncated, func(a answer) bool { return errors.Is(a.err, io.ErrUnexpectedEOF) && a.body != "" && !valid(a.body) }},
		"garbage":        {rptest.TrailingGarbage, func(a answer) bool { return !valid(a.body) }},
		"mark":           {rptest.Prefixed("\ufeff"), func(a answer) bool { return strings.HasPrefix(a.body, "\ufeff{") }},
		"duplicates":     {rptest.DuplicateKeys, func(a answer) bool { return valid(a.body) && strings.Count(a.body, `"issuer":`) == 2 }},
		"deep":           {rptest.Deep(100), func(a answer) bool { return valid(a.body) && strings.Contains(a.body, strings.Repeat("[", 100)) }},
		"oversized":      {rptest.Oversized(1 << 19), func(a answer) bool { return valid(a.body) && len(a.body) > 1<<19 }},
		"without end":    {rptest.Oversized(-1), func(a answer) bool { return len(a.body) == 1<<20 && a.err == nil }},
		"bomb":           {rptest.Bomb(1 << 19), func(a answer) bool { return valid(a.body) && len(a.body) > 1<<19 }},
		"json":           {rptest.WithMember("issuer", "https://evil.example"), func(a answer) bool { return strings.Contains(a.body, "evil") && valid(a.body) }},
		"without member": {rptest.WithoutMember("issuer"), func(a answer) bool { return !strings.Contains(a.body, `"issuer"`) && valid(a.body) }},
		"both":           {rptest.Both(rptest.WrongContentType, rptest.Status(500, "{}")), func(a answer) bool { return a.status == 500 && a.header.Get("Content-Type") == "text/plain" }},
	} {
		t.Run(name, func(t *testing.T) {
			for where, p := range map[string]*rptest.Provider{
				"in memory": newRig(t, rptest.Options{}).p,
				"by socket": rptest.Start(t, rptest.Options{SigningAlg: "ES256"}),
			} {
				client := p.Client()
				if where == "by socket" {
					client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
				}
				client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
				target := base(p) + "/.well-known/openid-configuration"
				p.FaultTimes(rptest.Discovery, test.fault, 1)
				bent := ask(client, target)
				if !test.bent(bent) {
					t.Errorf("%s: not bent: %d %v %.200s %v", where, bent.status, bent.header, bent.body, bent.err)
				}
				honest := ask(client, target)
				if test.bent(honest) || honest.status != 200 || !valid(honest.body) {
					t.Errorf("%s: still bent: %d %v %.200s %v", where, honest.status, honest.header, honest.body, honest.err)
				}
			}
		})
	}
}

func valid(body string) bool { return json.Valid([]byte(body)) }

func TestSlowAnswersTakeTheirTime(t *testing.T) {
	for name, test := range map[string]struct {
		fault rptest.Fault
		want  time.Duration
		bad   bool
	}{
		"honest":   {fault: rptest.Both()},
		"slow":     {fault: rptest.Slow(5 * time.Second), want: 5 * time.Second},
		"too slow": {fault: rptest.Slow(time.Hour), want: 10 * time.Second, bad: true},
		"hanging":  {fault: rptest.Hang, want: 10 * time.Second, bad: true},
		"dripping": {fault: rptest.SlowBody(time.Second), want: 10 * time.Second, bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, rptest.Options{})
				r.p.Fault(rptest.JWKS, test.fault)
				client := r.p.Client()
				client.Timeout = 10 * time.Second
				began := time.Now()
				got := ask(client, base(r.p)+"/jwks")
				if took := time.Since(began); took != test.want || (got.err != nil) != test.bad {
					t.Errorf("took %v: %v", took, got.err)
				}
			})
		})
	}
}

func TestCountedFaultsGoBeforeLastingOnes(t *testing.T) {
	r := newRig(t, rptest.Options{})
	r.p.Fault(rptest.JWKS, rptest.Status(500, ""))
	r.p.FaultTimes(rptest.JWKS, rptest.Status(501, ""), 1)
	r.p.FaultTimes(rptest.JWKS, rptest.Status(502, ""), 2)
	r.p.Fault(rptest.JWKS, rptest.Status(503, "")) // replaces the lasting one
	var got []int
	for range 5 {
		got = append(got, ask(r.http, base(r.p)+"/jwks").status)
	}
	r.p.ClearFaults()
	got = append(got, ask(r.http, base(r.p)+"/jwks").status)
	if want := "[501 502 502 503 503 200]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if n := r.p.Hits(rptest.JWKS); n != 6 {
		t.Errorf("%d hits", n)
	}
	r.p.ResetHits()
	if n := r.p.Hits(rptest.JWKS); n != 0 {
		t.Errorf("%d hits after the reset", n)
	}
}

func TestTokenResponseFaults(t *testing.T) {
	for name, test := range map[string]struct {
		fault  rptest.Fault
		status int
		bent   func(map[string]any) bool
	}{
		"no id_token":      {rptest.NoIDToken, 200, func(m map[string]any) bool { return m["id_token"] == nil }},
		"no access_token":  {rptest.NoAccessToken, 200, func(m map[string]any) bool { return m["access_token"] == nil }},
		"no refresh_token": {rptest.NoRefreshToken, 200, func(m map[string]any) bool { return m["refresh_token"] == nil }},
		"no expires_in":    {rptest.NoExpiresIn, 200, func(m map[string]any) bool { return m["expires_in"] == nil }},
		"no token_type":    {rptest.NoTokenType, 200, func(m map[string]any) bool { return m["token_type"] == nil }},
		"token_type":       {rptest.WrongTokenType, 200, func(m map[string]any) bool { return m["token_type"] == "mac" }},
		"expires_in":       {rptest.ExpiresInString, 200, func(m map[string]any) bool { return m["expires_in"] == "300" }},
		"invalid_grant":    {rptest.InvalidGrant, 400, func(m map[string]any) bool { return m["error"] == "invalid_grant" }},
		"invalid_client":   {rptest.InvalidClient, 401, func(m map[string]any) bool { return m["error"] == "invalid_client" }},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rptest.Options{})
			honest := r.login()
			if test.bent(honest) {
				t.Fatalf("the honest answer is %v", honest)
			}
			r.p.Fault(rptest.Token, rptest.OnGrant("refresh_token", test.fault))
			r.login() // not bent: another grant
			if status, got := r.renew(honest["refresh_token"]); status != test.status || !test.bent(got) {
				t.Errorf("status %d: %v", status, got)
			}
		})
	}
}

func TestLateAndSlowDifferInWhatWasDone(t *testing.T) {
	for name, test := range map[string]struct {
		fault rptest.Fault
		want  int
	}{"slow": {rptest.Slow(time.Minute), 0}, "late": {rptest.Late(time.Minute), 1}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, rptest.Options{})
				tokens := r.login()
				r.p.FaultTimes(rptest.Token, test.fault, 2)
				client := r.p.Client()
				client.Timeout = time.Second
				form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {fmt.Sprint(tokens["refresh_token"])}, "client_id": {r.p.ClientID()}, "client_secret": {r.p.ClientSecret()}}
				if resp, err := client.PostForm(base(r.p)+"/token", form); err == nil {
					t.Fatalf("an answer: %s", resp.Status)
				}
				if got := r.p.Refreshes(); got != test.want {
					t.Errorf("%d refreshes, want %d", got, test.want)
				}
				began := time.Now()
				r.renew(tokens["refresh_token"])
				if took := time.Since(began); took != time.Minute {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

func TestALostAnswerHasRotatedTheRefreshToken(t *testing.T) {
	r := newRig(t, rptest.Options{})
	tokens := r.login()
	r.p.FaultTimes(rptest.Token, rptest.LoseAnswer, 1)
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {fmt.Sprint(tokens["refresh_token"])}, "client_id": {r.p.ClientID()}, "client_secret": {r.p.ClientSecret()}}
	if resp, err := r.http.PostForm(base(r.p)+"/token", form); err == nil {
		t.Fatalf("an answer: %s", resp.Status)
	}
	if status, got := r.renew(tokens["refresh_token"]); status != 400 || r.p.RefreshReuses() != 1 {
		t.Errorf("status %d %v, %d reuses", status, got, r.p.RefreshReuses())
	}
}

// TestTokenFaultsBendTheToken holds each against an honest token: it must differ, and the signature must be what it claims.
func TestTokenFaultsBendTheToken(t *testing.T) {
	faults := rptest.TokenFaults()
	if len(faults) < 30 {
		t.Fatalf("only %d faults", len(faults))
	}
	unsigned := map[string]bool{"alg none": true, "HS256 with the public key": true, "an unknown kid": true, "a bad signature": true, "no signature": true, "JSON serialization": true, "crit": true}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, rptest.Options{})
				access := r.login()["id_token"] // makes the key
				_, honest := r.verified(access, "ES256")
				r.p.TokenFaultTimes(1, fault)
				bent := fmt.Sprint(r.login()["id_token"])
				_, after := r.verified(r.login()["id_token"], "ES256")
				if after["aud"] != honest["aud"] {
					t.Error("the fault outlived its count")
				}
				if !strings.HasPrefix(bent, "{") && strings.Count(bent, ".") != 2 {
					t.Fatalf("%s is no JWS", bent)
				}
				if unsigned[name] {
					return
				}
				alg := jose.ES256
				if name == "another algorithm" {
					alg = jose.EdDSA
				}
				jws, err := jose.ParseSignedCompact(bent, []jose.SignatureAlgorithm{alg})
				if err != nil {
					t.Fatal(err)
				}
				var set jose.JSONWebKeySet
				if err := json.Unmarshal([]byte(read(t, r.get(base(r.p)+"/jwks", ""))), &set); err != nil {
					t.Fatal(err)
				}
				payload, err := jws.Verify(set.Key(jws.Signatures[0].Header.KeyID)[0])
				if err != nil {
					t.Fatal(err)
				}
				want, _ := json.Marshal(honest)
				if typ := jws.Signatures[0].Header.ExtraHeaders["typ"]; bytes.Equal(payload, want) && typ == "JWT" && alg == jose.ES256 {
					t.Errorf("nothing is bent: %s", payload)
				}
			})
		})
	}
}

func TestFaultsOfRefreshedTokensSpareTheFirst(t *testing.T) {
	r := newRig(t, rptest.Options{})
	r.p.TokenFault(rptest.OnRefresh(rptest.WithClaim("sub", "mallory")), rptest.OnRefresh(rptest.NoAuthTime), rptest.WithHeader("x", "y"), rptest.WithoutHeader("typ"))
	tokens := r.login()
	if header, claims := r.verified(tokens["id_token"], "ES256"); claims["sub"] != "alice" || header.ExtraHeaders["x"] != "y" || header.ExtraHeaders["typ"] != nil {
		t.Errorf("first token: %v %v", header, claims)
	}
	_, refreshed := r.renew(tokens["refresh_token"])
	if _, claims := r.verified(refreshed["id_token"], "ES256"); claims["sub"] != "mallory" || claims["auth_time"] != nil || claims["nonce"] != nil {
		t.Errorf("refreshed token: %v", claims)
	}
}

func TestAnswerFaultsBendWhatTheBrowserBrings(t *testing.T) {
	for name, test := range map[string]struct {
		fault rptest.AnswerFault
		bent  func(url.Values) bool
	}{
		"no state":  {rptest.AnswerWithout("state"), func(v url.Values) bool { return !v.Has("state") }},
		"iss":       {rptest.AnswerWith("iss", "https://evil.example"), func(v url.Values) bool { return v.Get("iss") == "https://evil.example" }},
		"two codes": {rptest.AnswerTwice("code", "x"), func(v url.Values) bool { return len(v["code"]) == 2 && v["code"][1] == "x" }},
		"error": {rptest.AnswerError("access_denied", "no"), func(v url.Values) bool {
			return v.Get("error") == "access_denied" && v.Get("error_description") == "no" && !v.Has("code")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rptest.Options{})
			r.p.AnswerFaultTimes(1, test.fault)
			if got := r.authorize(); !test.bent(got) {
				t.Errorf("not bent: %v", got)
			}
			if got := r.authorize(); test.bent(got) {
				t.Errorf("still bent: %v", got)
			}
		})
	}
}
