// Package chrome drives Chromium: profiles that share nothing, and tabs that share a profile.
package chrome

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/latchkey-go/latchkey/internal/interop/service"
)

// patience is how long a page may take to be there.
const patience = 30 * time.Second

// Browser is a running Chromium.
type Browser struct{ ctx context.Context }

// Start runs Chromium without a window until the test ends. Hosts under example.com are this machine, other names don't exist,
// and certificates are not checked.
func Start(t testing.TB) *Browser {
	t.Helper()
	path := service.Chromium(t)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(path),
		chromedp.Flag("headless", true),
		chromedp.Flag("no-sandbox", os.Geteuid() == 0), // Chromium's sandbox refuses to run as root
		chromedp.Flag("disable-gpu", true),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("no-first-run", true),
		chromedp.Flag("no-default-browser-check", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-extensions", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("ignore-certificate-errors", true),
		chromedp.Flag("host-resolver-rules", "MAP *.example.com 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"),
		chromedp.UserDataDir(t.TempDir()),
	)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("Chromium did not start: %v", err)
	}
	return &Browser{ctx}
}

// Profile is a browser context: its cookies are its own.
type Profile struct {
	t     testing.TB
	ctx   context.Context
	first *Tab
}

// Profile makes an empty one.
func (b *Browser) Profile(t testing.TB) *Profile {
	t.Helper()
	p := &Profile{t: t}
	p.first = p.attach(chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext()))
	p.ctx = p.first.ctx
	return p
}

// Tab opens a tab.
func (p *Profile) Tab() *Tab {
	p.t.Helper()
	if first := p.first; first != nil {
		p.first = nil
		return first
	}
	return p.attach(chromedp.NewContext(p.ctx))
}

func (p *Profile) attach(ctx context.Context, cancel context.CancelFunc) *Tab {
	p.t.Helper()
	p.t.Cleanup(cancel)
	tab := &Tab{t: p.t, ctx: ctx}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1280, 800)); err != nil {
		p.t.Fatal(err)
	}
	if err := chromedp.Listen(ctx, tab.note); err != nil {
		p.t.Fatal(err)
	}
	return tab
}

// Tab is one tab.
type Tab struct {
	t         testing.TB
	ctx       context.Context
	mu        sync.Mutex
	documents []string
	status    int64
}

func (tab *Tab) note(event any) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if e.Type == network.ResourceTypeDocument {
			tab.documents = append(tab.documents, e.Request.URL)
		}
	case *network.EventResponseReceived:
		if e.Type == network.ResourceTypeDocument {
			tab.status = e.Response.Status
		}
	}
}

// Documents are the addresses the tab went to, redirects included, in order.
func (tab *Tab) Documents() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return slices.Clone(tab.documents)
}

// Status is of the last document.
func (tab *Tab) Status() int {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return int(tab.status)
}

func (tab *Tab) do(steps ...chromedp.Action[chromedp.Void]) {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		tab.t.Fatalf("at %s: %v", tab.url(), err)
	}
}

// Open navigates to address.
func (tab *Tab) Open(address string) { tab.t.Helper(); tab.do(chromedp.Navigate(address)) }

// Reload is the reload button.
func (tab *Tab) Reload() { tab.t.Helper(); tab.do(chromedp.Reload()) }

// Type fills in a field.
func (tab *Tab) Type(selector, text string) {
	tab.t.Helper()
	Eval[any](tab, fmt.Sprintf(`document.querySelector(%q).value = ""; null`, selector))
	tab.do(chromedp.SendKeys(chromedp.CSS(selector), text))
}

// Click clicks and waits for the page that follows to be at an address which starts with where.
func (tab *Tab) Click(selector, where string) {
	tab.t.Helper()
	Eval[any](tab, `window.notYetLeft = true`)
	tab.do(chromedp.Click(chromedp.CSS(selector)))
	tab.arrive(where)
}

// Press clicks on what does not leave the page.
func (tab *Tab) Press(selector string) {
	tab.t.Helper()
	tab.do(chromedp.Click(chromedp.CSS(selector)))
}

// Wait waits until the expression is true.
func (tab *Tab) Wait(expression string) {
	tab.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if there, err := chromedp.Run(tab.ctx, chromedp.Evaluate[bool](expression)); err == nil && there {
			return
		}
	}
	tab.t.Fatalf("%s did not come true at %s\n%s", expression, tab.url(), tab.Text())
}

// Back is the back button, and waits as Click does. The page may come from the back/forward cache, and then nothing is loaded.
func (tab *Tab) Back(where string) {
	tab.t.Helper()
	Eval[any](tab, `setTimeout(() => history.back(), 0); null`)
	var at string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if at = tab.url(); strings.HasPrefix(at, where) {
			return
		}
	}
	tab.t.Fatalf("back led to %s, want %s", at, where)
}

// Go runs a script that leaves the page, and waits as Click does.
func (tab *Tab) Go(script, where string) {
	tab.t.Helper()
	Eval[any](tab, `window.notYetLeft = true; setTimeout(() => { `+script+` }, 0); null`)
	tab.arrive(where)
}

func (tab *Tab) arrive(where string) {
	tab.t.Helper()
	var at string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		there, err := chromedp.Run(tab.ctx, chromedp.Evaluate[bool](`!window.notYetLeft && document.readyState === 'complete'`))
		if err != nil || !there {
			continue
		}
		if at = tab.url(); strings.HasPrefix(at, where) {
			return
		}
	}
	tab.t.Fatalf("the tab is at %s (%s), want %s\n%s", at, tab.Title(), where, tab.Text())
}

// URL is the address the tab shows.
func (tab *Tab) URL() string { return tab.url() }

func (tab *Tab) url() string {
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	at, err := chromedp.Run(ctx, chromedp.Location())
	if err != nil {
		return err.Error()
	}
	return at
}

// Title is the page's.
func (tab *Tab) Title() string { tab.t.Helper(); return Eval[string](tab, `document.title`) }

// Text is what the page shows.
func (tab *Tab) Text() string { tab.t.Helper(); return Eval[string](tab, `document.body.innerText`) }

// Eval runs a script, awaits it, and decodes its value.
func Eval[T any](tab *Tab, script string) T {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, patience)
	defer cancel()
	raw, err := chromedp.Run(ctx, chromedp.Evaluate[[]byte](script, chromedp.EvalAwaitPromise))
	if err != nil {
		tab.t.Fatalf("script %.60q at %s: %v", script, tab.url(), err)
	}
	var v T
	if len(raw) == 0 {
		return v
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		tab.t.Fatalf("script %.60q gave %.200s: %v", script, raw, err)
	}
	return v
}

// Cookies are the ones the browser would send to address.
func (tab *Tab) Cookies(address string) []*network.Cookie {
	tab.t.Helper()
	got, err := chromedp.Call(tab.ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{address}})
	if err != nil {
		tab.t.Fatal(err)
	}
	return got.Cookies
}

// Screenshots saves the whole page as a desktop, a desktop in dark mode and a phone show it. What is wider than its screen is an error.
func (tab *Tab) Screenshots(dir, name string) {
	tab.t.Helper()
	for _, screen := range []struct {
		name          string
		width, height int64
		scheme        string
		phone         bool
	}{{"desktop", 1280, 800, "light", false}, {"dark", 1280, 800, "dark", false}, {"phone", 390, 844, "light", true}} {
		if _, err := chromedp.Call(tab.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: screen.scheme}},
		}); err != nil {
			tab.t.Fatal(err)
		}
		options := []chromedp.EmulateViewportOption{}
		if screen.phone {
			options = append(options, chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulateScale(2))
		}
		tab.do(chromedp.EmulateViewport(screen.width, screen.height, options...))
		png, err := chromedp.Run(tab.ctx, chromedp.FullScreenshot(100))
		if err != nil {
			tab.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%s.png", name, screen.name)), png, 0o644); err != nil {
			tab.t.Fatal(err)
		}
		if width := Eval[int64](tab, `document.documentElement.scrollWidth`); width > screen.width {
			tab.t.Errorf("%s on a %s is %d pixels wide, want at most %d", name, screen.name, width, screen.width)
		}
	}
	tab.do(chromedp.EmulateReset(), chromedp.EmulateViewport(1280, 800))
}
