//go:build unix

package interop_test

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/internal/interop/chrome"
	"github.com/latchkey-go/latchkey/rp"
	"github.com/latchkey-go/latchkey/rp/native"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

// TestNativeLoginInABrowser is a login of a program on a command line: the page that ends it is Chromium's own rendering of it. With LATCHKEY_SCREENSHOTS set to a folder it is kept there.
func TestNativeLoginInABrowser(t *testing.T) {
	profile := chrome.Start(t).Profile(t)
	for name, x := range map[string]struct {
		interactive bool
		title, says string
	}{
		"logged in": {title: "You are logged in", says: "You can close this window"},
		"refused":   {interactive: true, title: "Not logged in", says: "the program says more"},
	} {
		t.Run(name, func(t *testing.T) {
			op := rptest.Start(t, rptest.Options{Clients: []rptest.Client{{ID: "cli", AuthMethod: "none"}}, Interactive: x.interactive})
			tab := profile.Tab()
			open := func(_ context.Context, target string) error {
				go func() {
					tab.Open(target)
					if x.interactive {
						tab.Press("#cancel")
					}
				}()
				return nil
			}
			_, tokens, err := native.Login(t.Context(), rp.Config{Issuer: op.Issuer(), ClientID: "cli", InsecureLoopbackHTTP: true}, native.Options{Open: open, Out: io.Discard, Timeout: 30 * time.Second})
			var refused *rp.ProviderError
			switch {
			case x.interactive && (!errors.As(err, &refused) || refused.Code != "access_denied"):
				t.Errorf("%v, %v", tokens, err)
			case !x.interactive && (err != nil || tokens.IDToken.Subject != "alice"):
				t.Errorf("%v, %v", tokens, err)
			}
			tab.Wait(`document.title === ` + "`" + x.title + "`")
			if text := tab.Text(); !strings.Contains(text, x.says) {
				t.Errorf("the page says %q", text)
			}
			if dir := os.Getenv("LATCHKEY_SCREENSHOTS"); dir != "" {
				tab.Screenshots(dir, "native-"+strings.ReplaceAll(name, " ", "-"))
			}
		})
	}
}
