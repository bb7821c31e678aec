package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/examples/internal/program"
	"github.com/latchkey-go/latchkey/rp/rptest"
)

func TestMistakesOnTheCommandLineAreOneClearLine(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "say one of"},
		{[]string{"log-in"}, "say one of"},
		{[]string{"login", "now"}, "say one of"},
		{[]string{"-unknown", "login"}, "-h"},
		{[]string{"-issuer", "nonsense", "login"}, "no URL"},
		{[]string{"-issuer", "https://login.example", "provider"}, "needs an -issuer"},
		{[]string{"-ca-file", "/does/not/exist", "login"}, "-ca-file"},
	} {
		err := run(t.Context(), c.args, io.Discard, nil)
		if _, usage := errors.AsType[program.UsageError](err); !usage || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: %v, want one line with %q", c.args, err, c.want)
		}
	}
	var help strings.Builder
	if err := run(t.Context(), []string{"-h"}, &help, nil); !errors.Is(err, program.ErrHelp) || !strings.Contains(help.String(), "whoami") || !strings.Contains(help.String(), "-issuer") {
		t.Errorf("help: %v, %s", err, &help)
	}
}

// screen is what the program prints, read while it runs.
type screen struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func TestLoginLastsFromOneCommandToTheNext(t *testing.T) {
	op := rptest.Start(t, rptest.Options{Clients: []rptest.Client{{ID: "cli-example", AuthMethod: "none"}}, AccessTokenLifetime: 2 * time.Second})
	dir := filepath.Join(t.TempDir(), "tokens")
	browser := func(_ context.Context, target string) error {
		go func() {
			resp, err := http.Get(target)
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("the browser ends at %v, %v", resp, err)
			}
		}()
		return nil
	}
	do := func(command string) (string, error) {
		var out screen
		err := run(t.Context(), []string{"-issuer", op.Issuer(), "-dir", dir, command}, &out, browser)
		return out.String(), err
	}
	if _, err := do("whoami"); err == nil || !strings.Contains(err.Error(), "go run ./examples/cli login") {
		t.Errorf("before the login: %v", err)
	}
	if said, err := do("login"); err != nil || !strings.Contains(said, "You are logged in as alice.") {
		t.Fatalf("login: %v, %s", err, said)
	}
	for range 3 {
		if said, err := do("whoami"); err != nil || !strings.Contains(said, "subject alice") {
			t.Errorf("whoami: %v, %s", err, said)
		}
		time.Sleep(1500 * time.Millisecond)
	}
	if n := op.Refreshes(); n < 1 || op.RefreshReuses() != 0 {
		t.Errorf("%d refreshes, %d reuses", n, op.RefreshReuses())
	}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if info, infoErr := entry.Info(); err == nil && (infoErr != nil || info.Mode().Perm()&0o077 != 0) {
			t.Errorf("%s is for others too: %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	op.Fault(rptest.UserInfo, rptest.Status(http.StatusUnauthorized, ""))
	if _, err := do("whoami"); err == nil || !strings.Contains(err.Error(), "any more") {
		t.Errorf("a provider that knows nothing of it: %v", err)
	}
	op.ClearFaults()
	if said, err := do("logout"); err != nil || !strings.Contains(said, "You are logged out.") {
		t.Errorf("logout: %v, %s", err, said)
	}
	if _, err := do("whoami"); err == nil || !strings.Contains(err.Error(), "not logged in") {
		t.Errorf("after the logout: %v", err)
	}
	if op.Hits(rptest.Revocation) != 1 {
		t.Error("the provider was not told")
	}
}

func TestADeviceIsConfirmedElsewhere(t *testing.T) {
	op := rptest.Start(t, rptest.Options{Clients: []rptest.Client{{ID: "cli-example", AuthMethod: "none"}}, PollInterval: time.Second})
	var out screen
	done := make(chan error, 1)
	go func() {
		done <- run(t.Context(), []string{"-issuer", op.Issuer(), "-dir", filepath.Join(t.TempDir(), "tokens"), "device"}, &out, nil)
	}()
	for range 500 {
		if found := regexp.MustCompile(`and enter (\S+)\.`).FindStringSubmatch(out.String()); found != nil {
			if err := op.ApproveDevice(found[1], "bob"); err != nil {
				t.Fatal(err)
			}
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := <-done; err != nil || !strings.Contains(out.String(), "You are logged in as bob.") || !strings.Contains(out.String(), "▀") {
		t.Errorf("%v, %s", err, out.String())
	}
}
