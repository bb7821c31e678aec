package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/examples/internal/program"
)

func TestMistakesOnTheCommandLineAreOneClearLine(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-addr", "nonsense"}, "-addr"},
		{[]string{"-addr", "192.0.2.1:80"}, "choose another"},
		{[]string{"-issuer", "https://login.example"}, "-audience"},
		{[]string{"-audience", "x"}, "need -issuer"},
		{[]string{"-profile", "okta"}, "need -issuer"},
		{[]string{"-profile", "none"}, "choose one of"},
		{[]string{"-issuer", "http://127.0.0.1:1", "-audience", "x"}, "-insecure-http"},
		{[]string{"-issuer", "http://login.example", "-audience", "x", "-insecure-http", "-addr", "127.0.0.1:0"}, "https"},
		{[]string{"-issuer", "nonsense", "-audience", "x"}, "no URL"},
		{[]string{"-ca-file", "/does/not/exist"}, "-ca-file"},
		{[]string{"-ca-file", empty}, "no PEM certificate"},
		{[]string{"-unknown"}, "-h"},
		{[]string{"stray"}, "unexpected argument"},
	} {
		err := run(t.Context(), c.args, io.Discard)
		if _, usage := errors.AsType[program.UsageError](err); !usage || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: %v, want one line with %q", c.args, err, c.want)
		}
	}
	var help strings.Builder
	if err := run(t.Context(), []string{"-h"}, &help); !errors.Is(err, program.ErrHelp) || !strings.Contains(help.String(), "-audience") {
		t.Errorf("help: %v, %s", err, &help)
	}
}

// start runs the program on a free port and returns what it prints first.
func start(t *testing.T, args ...string) string {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, append([]string{"-addr", "127.0.0.1:0"}, args...), write) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	printed := make(chan string, 1)
	go func() {
		page := make([]byte, 8<<10)
		n, _ := read.Read(page)
		printed <- string(page[:n])
	}()
	select {
	case text := <-printed:
		return text
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	case <-time.After(20 * time.Second):
		t.Fatal("the program did not say where it is")
	}
	return ""
}

// The program is there to be tried with the commands that it prints, so these are what is run.
func TestThePrintedCommandsShowWhatTheySay(t *testing.T) {
	for _, tool := range []string{"sh", "curl", "sed"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("LATCHKEY_REQUIRE_SERVICES") != "" {
				t.Fatal(err)
			}
			t.Skipf("%s is needed to run the printed commands: %v", tool, err)
		}
	}
	printed := start(t)
	var define string
	ran := 0
	for line := range strings.Lines(printed) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "token()") {
			define = line
		}
		if !strings.HasPrefix(line, "curl") {
			continue
		}
		status := regexp.MustCompile(`# (\d{3})`).FindStringSubmatch(line)
		if status == nil {
			t.Fatalf("%s: no status is promised", line)
		}
		answer, err := exec.CommandContext(t.Context(), "sh", "-c", define+"\n"+line).Output()
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 "+status[1]) {
			t.Errorf("%s: %v\n%s", line, err, answer)
		}
		if want := map[string]string{"200": "", "401": "Www-Authenticate: Bearer realm=", "403": `error="insufficient_scope"`}[status[1]]; !strings.Contains(string(answer), want) {
			t.Errorf("%s: no %s in\n%s", line, want, answer)
		}
		ran++
	}
	if ran != 5 {
		t.Errorf("%d commands in %q", ran, printed)
	}
}

func TestItStandsBeforeAnotherProvider(t *testing.T) {
	issuer := regexp.MustCompile(`http://\S+/token`).FindString(start(t))
	issuer = strings.TrimSuffix(issuer, "/token")
	printed := start(t, "-issuer", issuer, "-audience", "https://orders.example", "-insecure-http")
	orders := regexp.MustCompile(`http://\S+/orders`).FindString(printed)
	for target, want := range map[string]int{orders: http.StatusUnauthorized, strings.TrimSuffix(orders, "orders") + "healthz": http.StatusOK} {
		resp, err := http.Get(target)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", target, resp.StatusCode, want)
		}
	}
}
