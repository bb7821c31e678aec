package interop_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/interop/chrome"
)

// startExample builds examples/login and runs it with its embedded provider until the test ends. It returns the application's
// address and the provider's.
func startExample(t *testing.T, args ...string) (origin, issuer string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "login")
	build := exec.Command("go", "build", "-o", program, "./login")
	build.Dir = filepath.Join("..", "..", "examples")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build ./login: %v\n%s", err, out)
	}
	cmd := exec.Command(program, append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		kill := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		defer kill.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the example ended with %v on an interrupt", err)
		}
	})
	lines := bufio.NewReader(stdout)
	for _, found := range []struct {
		after string
		into  *string
	}{{"Open ", &origin}, {"The provider is at ", &issuer}} {
		line, err := lines.ReadString('\n')
		_, address, ok := strings.Cut(line, found.after)
		if err != nil || !ok {
			t.Fatalf("the example said %q (%v), want %q", line, err, found.after)
		}
		*found.into = strings.TrimSuffix(strings.TrimSpace(address), "/")
	}
	go io.Copy(io.Discard, lines)
	return origin, issuer
}

// TestExampleInABrowser walks through every page of examples/login and looks at each on a desktop and on a phone. The pictures stay in
// $LATCHKEY_SCREENSHOTS when that is set.
func TestExampleInABrowser(t *testing.T) {
	browser := chrome.Start(t)
	origin, issuer := startExample(t)
	dir := os.Getenv("LATCHKEY_SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tab := browser.Profile(t).Tab()
	look := func(name string) {
		t.Helper()
		type page struct {
			Lang, Title, Heading string
			Unnamed, Images      int
		}
		got := chrome.Eval[page](tab, `({
			lang: document.documentElement.lang, title: document.title, heading: document.querySelector("h1")?.innerText ?? "",
			unnamed: [...document.querySelectorAll("button, a, input:not([type=hidden])")].filter(e => !(e.innerText || e.value || e.ariaLabel || e.labels?.length || e.querySelector("img[alt]"))).length,
			images: [...document.images].filter(i => i.complete && i.naturalWidth === 0).length,
		})`)
		if got.Lang == "" || got.Title == "" || got.Heading == "" {
			t.Errorf("%s: lang %q, title %q, heading %q", name, got.Lang, got.Title, got.Heading)
		}
		if got.Unnamed != 0 || got.Images != 0 {
			t.Errorf("%s: %d controls without a name, %d images that did not load", name, got.Unnamed, got.Images)
		}
		tab.Screenshots(dir, name)
	}

	tab.Open(origin + "/")
	look("01-home")
	tab.Click("#log-in", issuer)
	look("02-provider-login")
	tab.Type(`input[name=username]`, "alice")
	tab.Type(`input[type=password]`, "wrong")
	tab.Click("#sign-in", issuer)
	look("03-provider-wrong-password")
	tab.Click("#cancel", origin+"/auth/callback")
	look("04-cancelled")
	tab.Click(`a[href*="/auth/login"]`, issuer)
	tab.Type(`input[name=username]`, "alice")
	tab.Type(`input[type=password]`, "alice")
	tab.Click("#sign-in", issuer)
	look("05-provider-consent")
	tab.Click("#allow", origin+"/private")
	if !strings.Contains(tab.Text(), "Alice Archer") {
		t.Errorf("the account page shows nobody:\n%s", tab.Text())
	}
	look("06-account")
	tab.Press("#ask")
	tab.Wait(`!document.querySelector("#answer").hidden`)
	if text := tab.Text(); strings.Contains(text, "eyJ") {
		t.Errorf("a script sees a token:\n%s", text)
	}
	look("07-account-after-fetch")
	tab.Open(origin + "/")
	look("08-home-signed-in")
	tab.Open(origin + "/private/api")
	if text := chrome.Eval[string](tab, `document.querySelector("#api-status").innerText`); text != "200" {
		t.Errorf("the API answered %s", text)
	}
	tab.Press("#ask")
	tab.Wait(`!document.querySelector("#answer").hidden`)
	look("09-orders")
	tab.Open(origin + "/private/sensitive")
	if strings.HasPrefix(tab.URL(), issuer) {
		look("10-provider-step-up")
		tab.Type(`input[type=password]`, "alice")
		tab.Click("#confirm", origin+"/private/sensitive")
	} else {
		t.Errorf("the sensitive page asked nothing: %s", tab.URL())
	}
	look("11-sensitive")

	var callback string
	for _, at := range tab.Documents() {
		if strings.HasPrefix(at, origin+"/auth/callback") {
			callback = at
		}
	}
	stranger := browser.Profile(t).Tab()
	stranger.Open(callback)
	stranger.Screenshots(dir, "12-replayed-elsewhere")
	tab.Open(callback)
	look("13-replayed")
	tab.Open(origin + "/auth/callback?state=unknown&code=x")
	look("14-unknown-state")

	tab.Open(origin + "/private")
	tab.Click("#log-out-here", origin)
	look("15-logged-out-here")
	tab.Open(origin + "/auth/login?return_to=/private")
	if strings.HasPrefix(tab.URL(), issuer) {
		tab.Type(`input[name=username]`, "alice")
		tab.Type(`input[type=password]`, "alice")
		tab.Click("#sign-in", origin+"/private")
	}
	tab.Click("#log-out", "")
	if strings.HasPrefix(tab.URL(), issuer) {
		look("16-provider-logout")
		tab.Click("#confirm", "")
	}
	tab.Wait(`location.origin == "` + origin + `"`)
	look("17-logged-out")
	tab.Open(origin + "/private")
	if !strings.HasPrefix(tab.URL(), issuer) {
		t.Errorf("after logout /private led to %s, want the provider", tab.URL())
	}
}
