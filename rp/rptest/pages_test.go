package rptest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-go/latchkey/rp/rptest"
)

// visit is a rig in interactive mode with a browser that stops at the client.
type visit struct {
	*rig
	b *rptest.Browser
}

func newVisit(t *testing.T, opts rptest.Options) *visit {
	t.Helper()
	opts.Interactive = true
	v := &visit{rig: newRig(t, opts)}
	v.b = v.p.Browser()
	v.b.StopAt = func(u *url.URL) bool { return u.Host == "app.example" }
	return v
}

func (v *visit) open(extra url.Values) *rptest.Page {
	v.t.Helper()
	v.extra = extra
	page, err := v.b.Get(v.authURL())
	if err != nil {
		v.t.Fatal(err)
	}
	return page
}

func (v *visit) submit(page *rptest.Page, button string, values url.Values) *rptest.Page {
	v.t.Helper()
	next, err := v.b.Submit(page, button, values)
	if err != nil {
		v.t.Fatalf("%v\n%s", err, page.Body)
	}
	return next
}

func (v *visit) signIn(page *rptest.Page, name, password string) *rptest.Page {
	v.t.Helper()
	return v.submit(page, "sign-in", url.Values{"username": {name}, "password": {password}})
}

// claims redeems the code that page leads to.
func (v *visit) claims(page *rptest.Page) map[string]any {
	v.t.Helper()
	back := v.back(page)
	status, tokens := v.redeem(back.Get("code"))
	if status != 200 {
		v.t.Fatalf("%v: %d %v", back, status, tokens)
	}
	_, claims := v.verified(tokens["id_token"], "ES256")
	return claims
}

func (v *visit) back(page *rptest.Page) url.Values {
	v.t.Helper()
	if page.Location == nil {
		v.t.Fatalf("%s does not lead to the client: %d\n%s", page.URL, page.Status, page.Body)
	}
	return page.Location.Query()
}

func wantPage(t *testing.T, page *rptest.Page, path string, texts ...string) {
	t.Helper()
	if page.Location != nil || !strings.HasSuffix(page.URL.Path, path) {
		t.Fatalf("at %s, to %v; want %s\n%s", page.URL, page.Location, path, page.Body)
	}
	for _, text := range texts {
		if !strings.Contains(page.Body, text) {
			t.Errorf("%s does not say %q:\n%s", path, text, page.Body)
		}
	}
}

func TestLoginPageAsksOnceAndRefusesAWrongPassword(t *testing.T) {
	v := newVisit(t, rptest.Options{ShowHints: true})
	page := v.open(nil)
	wantPage(t, page, "/login", "Test application", "<code>alice</code>", `id="sign-in"`, "viewport")
	for _, name := range []string{"Content-Security-Policy", "X-Frame-Options"} {
		if page.Header.Get(name) == "" {
			t.Errorf("no %s", name)
		}
	}
	if page.Header.Get("Cache-Control") != "no-store" || strings.Contains(page.Body, "http-equiv") {
		t.Errorf("%v", page.Header)
	}
	page = v.signIn(page, "bob", "wrong")
	wantPage(t, page, "/login", `id="mistake"`)
	if page.Status != http.StatusUnauthorized {
		t.Errorf("status %d", page.Status)
	}
	if claims := v.claims(v.signIn(page, "bob", "bob")); claims["sub"] != "bob" {
		t.Errorf("%v", claims)
	}
	if claims := v.claims(v.open(url.Values{"prompt": {"none"}})); claims["sub"] != "bob" {
		t.Errorf("the second time: %v", claims)
	}
	for _, prompt := range []string{"login", "select_account"} {
		wantPage(t, v.open(url.Values{"prompt": {prompt}}), "/login")
	}
	wantPage(t, v.open(url.Values{"login_hint": {"alice"}}), "/login", `value="alice"`)
}

func TestIDTokenHintLetsOnlyItsUserIn(t *testing.T) {
	v := newVisit(t, rptest.Options{})
	_, tokens := v.redeem(v.back(v.signIn(v.open(nil), "alice", "alice")).Get("code"))
	v.b = v.p.Browser()
	v.b.StopAt = func(u *url.URL) bool { return u.Host == "app.example" }
	page := v.open(url.Values{"id_token_hint": {fmt.Sprint(tokens["id_token"])}})
	wantPage(t, page, "/login", `value="alice"`)
	page = v.signIn(page, "bob", "bob")
	wantPage(t, page, "/login", "signed in before")
	if claims := v.claims(v.signIn(page, "alice", "alice")); claims["sub"] != "alice" {
		t.Errorf("%v", claims)
	}
}

func TestHintsAreOnlyShownWhenAskedFor(t *testing.T) {
	if page := newVisit(t, rptest.Options{}).open(nil); strings.Contains(page.Body, "alice") {
		t.Errorf("hints: %s", page.Body)
	}
}

func TestPromptNoneAsksNothing(t *testing.T) {
	v := newVisit(t, rptest.Options{Consent: true})
	if got := v.back(v.open(url.Values{"prompt": {"none"}})); got.Get("error") != "login_required" {
		t.Errorf("nobody signed in: %v", got)
	}
	v.signIn(v.open(nil), "alice", "alice")
	if got := v.back(v.open(url.Values{"prompt": {"none"}})); got.Get("error") != "consent_required" {
		t.Errorf("no consent: %v", got)
	}
	if got := v.back(v.open(url.Values{"prompt": {"none"}, "acr_values": {"urn:strong"}})); got.Get("error") != "interaction_required" {
		t.Errorf("no step-up: %v", got)
	}
}

func TestCancelAndDenyReturnAnError(t *testing.T) {
	v := newVisit(t, rptest.Options{Consent: true})
	if got := v.back(v.submit(v.open(nil), "cancel", nil)); got.Get("error") != "access_denied" || got.Get("state") != "the-state" {
		t.Errorf("cancel: %v", got)
	}
	page := v.signIn(v.open(nil), "alice", "alice")
	if got := v.back(v.submit(page, "deny", nil)); got.Get("error") != "access_denied" {
		t.Errorf("deny: %v", got)
	}
}

func TestConsentIsAskedOncePerScope(t *testing.T) {
	v := newVisit(t, rptest.Options{Consent: true})
	page := v.signIn(v.open(nil), "alice", "alice")
	wantPage(t, page, "/consent", "Test application", "Alice Archer", "e-mail address")
	v.claims(v.submit(page, "allow", nil))
	v.claims(v.open(nil)) // straight back
	wantPage(t, v.open(url.Values{"prompt": {"consent"}}), "/consent")
	wantPage(t, v.open(url.Values{"scope": {"openid phone reports.read"}}), "/consent", "phone number", "“reports.read”")
}

func TestStepUpConfirmsThePasswordAndGrantsTheAcr(t *testing.T) {
	v := newVisit(t, rptest.Options{})
	v.signIn(v.open(nil), "alice", "alice")
	page := v.open(url.Values{"acr_values": {"urn:strong"}})
	wantPage(t, page, "/confirm", "Alice Archer")
	page = v.submit(page, "confirm", url.Values{"password": {"wrong"}})
	wantPage(t, page, "/confirm", `id="mistake"`)
	claims := v.claims(v.submit(page, "confirm", url.Values{"password": {"alice"}}))
	if claims["acr"] != "urn:strong" || fmt.Sprint(claims["amr"]) != "[pwd mfa]" {
		t.Errorf("%v", claims)
	}
	if claims := v.claims(v.open(url.Values{"acr_values": {"urn:strong"}})); claims["acr"] != "urn:strong" {
		t.Errorf("the second time: %v", claims)
	}
}

func TestMaxAgeShowsTheLoginPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVisit(t, rptest.Options{})
		v.signIn(v.open(nil), "alice", "alice")
		time.Sleep(time.Minute)
		v.claims(v.open(url.Values{"max_age": {"60"}}))
		time.Sleep(time.Second)
		page := v.open(url.Values{"max_age": {"60"}})
		wantPage(t, page, "/login")
		if claims := v.claims(v.signIn(page, "alice", "alice")); claims["auth_time"] != float64(time.Now().Unix()) {
			t.Errorf("%v", claims)
		}
	})
}

// TestPagesBelongToOneBrowser is login CSRF: a stranger's interaction, posted by the victim.
func TestPagesBelongToOneBrowser(t *testing.T) {
	v := newVisit(t, rptest.Options{})
	page := v.open(nil)
	stranger := v.p.Browser()
	if got, err := stranger.Get(page.URL.String()); err != nil || got.Status != 400 {
		t.Errorf("GET: %v %v", got, err)
	}
	form := url.Values{"interaction": {page.Forms[0].Values.Get("interaction")}, "username": {"alice"}, "password": {"alice"}}
	if got, err := stranger.PostForm(base(v.p)+"/login", form); err != nil || got.Status != 400 || len(stranger.Cookies(v.p.Issuer())) != 0 {
		t.Errorf("POST: %v %v", got, err)
	}
	done := v.signIn(page, "alice", "alice")
	v.claims(done)
	if got, err := v.b.Submit(page, "sign-in", url.Values{"username": {"alice"}, "password": {"alice"}}); err != nil || got.Status != 400 {
		t.Errorf("the used page: %v %v", got, err)
	}
}

func TestNamesOnPagesAreText(t *testing.T) {
	v := newVisit(t, rptest.Options{Clients: []rptest.Client{{ID: "c", Name: `<script>alert(1)</script>`}}})
	if page := v.open(nil); strings.Contains(page.Body, "<script>alert") || !strings.Contains(page.Body, "&lt;script&gt;") {
		t.Errorf("%s", page.Body)
	}
}

func TestFormPostCarriesTheAnswerInABody(t *testing.T) {
	r := newRig(t, rptest.Options{})
	r.extra = url.Values{"response_mode": {"form_post"}}
	resp := r.get(r.authURL(), "")
	body := read(t, resp)
	if resp.StatusCode != 200 || !strings.Contains(body, `method="post" action="`+callback+`"`) || !strings.Contains(body, `name="state" value="the-state"`) || strings.Contains(body, "ZgotmplZ") {
		t.Errorf("%s\n%s", resp.Status, body)
	}
	if policy := resp.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "script-src 'sha256-") {
		t.Errorf("policy %s", policy)
	}
	var got *http.Request
	r.p.HandleHost("app.example", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		got = r
	}))
	if _, err := r.p.Browser().Get(r.authURL()); err != nil {
		t.Fatal(err)
	}
	if got == nil || got.Method != http.MethodPost || got.PostForm.Get("code") == "" || got.PostForm.Get("iss") != r.p.Issuer() || got.URL.RawQuery != "" {
		t.Fatalf("the client got %+v", got)
	}
	if got.Header.Get("Sec-Fetch-Site") != "cross-site" || got.Header.Get("Origin") != "https://op.example" {
		t.Errorf("%v", got.Header)
	}
}

func TestPicturesAreDrawn(t *testing.T) {
	r := newRig(t, rptest.Options{})
	user := r.json(base(r.p)+"/userinfo", fmt.Sprint(r.login()["access_token"]))
	resp := r.get(fmt.Sprint(user["picture"]), "")
	if body := read(t, resp); resp.Header.Get("Content-Type") != "image/svg+xml" || !strings.Contains(body, ">A</text>") {
		t.Errorf("%s %v %s", resp.Status, resp.Header, body)
	}
	if resp := r.get(base(r.p)+"/picture/nobody.svg", ""); resp.StatusCode != 404 {
		t.Errorf("nobody: %s", resp.Status)
	}
}
