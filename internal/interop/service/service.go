// Package service starts the programs which the tests of this module talk to.
package service

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// Required reports whether a missing service is a failure: LATCHKEY_REQUIRE_SERVICES=1.
func Required() bool { return os.Getenv("LATCHKEY_REQUIRE_SERVICES") == "1" }

// Need ends the test when missing is not nil: as a failure where services are required, else as a skip. howTo says what to run.
func Need(t testing.TB, missing error, howTo string) {
	t.Helper()
	if missing == nil {
		return
	}
	if Required() {
		t.Fatalf("%v; LATCHKEY_REQUIRE_SERVICES=1 forbids to go on without it: %s", missing, howTo)
	}
	t.Skipf("%v; to run this test: %s", missing, howTo)
}

// Chromium returns the path of the browser.
func Chromium(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	Need(t, errors.New("no Chromium on the PATH"), "apt-get install chromium")
	return ""
}

// Process is a running program of the node directory.
type Process struct {
	Issuer string `json:"issuer"`
	Admin  string `json:"admin"`
}

// Tell sends a command to the program's admin address.
func (p *Process) Tell(t testing.TB, path string, said any) {
	t.Helper()
	body, err := json.Marshal(said)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Post(p.Admin+path, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusNoContent {
		t.Fatalf("admin %s answered %s", path, res.Status)
	}
}

// Node starts script of the node directory and waits for the line that says where it listens. The program ends with the test.
func Node(t testing.TB, script string) *Process {
	t.Helper()
	Need(t, installed(), "cd internal/interop/node && npm ci")
	cmd := exec.Command("node", script)
	cmd.Dir = nodeDir()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The program ends with its input; one that doesn't is killed.
		stdin.Close()
		kill := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
		defer kill.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v\n%s", script, err, &stderr)
		}
	})
	type said struct {
		line []byte
		err  error
	}
	first := make(chan said, 1)
	go func() {
		line, err := bufio.NewReader(stdout).ReadBytes('\n')
		first <- said{line, err}
	}()
	select {
	case s := <-first:
		if s.err != nil {
			t.Fatalf("%s ended without saying where it listens: %v", script, s.err)
		}
		p := new(Process)
		if err := json.Unmarshal(s.line, p); err != nil || p.Issuer == "" {
			t.Fatalf("%s said %q (%v)", script, s.line, err)
		}
		return p
	case <-time.After(60 * time.Second):
		t.Fatalf("%s said nothing for a minute", script)
		return nil
	}
}

func nodeDir() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "node")
}

// installed reports what is missing of Node.js and the locked packages. Only where services are required does it install them: a test run
// on somebody's desk fetches nothing.
var installed = sync.OnceValue(func() error {
	if _, err := exec.LookPath("node"); err != nil {
		return errors.New("no Node.js on the PATH")
	}
	if _, err := os.Stat(filepath.Join(nodeDir(), "node_modules", "oidc-provider", "package.json")); err == nil {
		return nil
	}
	if !Required() {
		return errors.New("internal/interop/node/node_modules is missing")
	}
	npm := exec.Command("npm", "ci", "--no-progress")
	npm.Dir = nodeDir()
	if out, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return nil
})
