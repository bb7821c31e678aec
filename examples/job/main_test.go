package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/latchkey-go/latchkey/examples/internal/program"
)

func TestMistakesOnTheCommandLineAreOneClearLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-tenants", "0"}, "-tenants"},
		{[]string{"-lifetime", "1s"}, "-lifetime"},
		{[]string{"-for", "-1s"}, "-for"},
		{[]string{"stray"}, "unexpected argument"},
	} {
		err := run(t.Context(), c.args, io.Discard)
		if _, usage := errors.AsType[program.UsageError](err); !usage || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: %v, want one line with %q", c.args, err, c.want)
		}
	}
	if err := run(t.Context(), []string{"-tenants", "1", "-dir", file}, io.Discard); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("a file for a folder: %v", err)
	}
}

// The clock is a real one here: tokens of ten seconds, refreshed at seven or eight, an outage of a second from the fifteenth on.
func TestTheJobKeepsEveryTenantFresh(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 20 seconds")
	}
	for _, where := range [][]string{nil, {"-dir", filepath.Join(t.TempDir(), "tokens")}} {
		t.Run(strings.Join(where[:min(len(where), 1)], " "), func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			if err := run(t.Context(), append([]string{"-tenants", "20", "-lifetime", "10s", "-for", "19s", "-outage", "1s"}, where...), &out); err != nil {
				t.Fatal(err)
			}
			text := out.String()
			counts := regexp.MustCompile(`: (\d\d) refreshes here, (\d\d) at the provider, 0 refresh tokens used twice, \d+ failures, 0 tokens not saved`).FindStringSubmatch(text)
			if counts == nil || counts[1] != counts[2] || !strings.Contains(text, "tenant-0 must connect again: invalid_grant") || !strings.Contains(text, " 1 to connect again; ") || strings.Contains(text, "2 to connect again") {
				t.Errorf("it said:\n%s", text)
			}
		})
	}
}
