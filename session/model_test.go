package session

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// verify runs the model of testdata/refresh.pml through every interleaving and returns what spin found.
func verify(t *testing.T, defines ...string) (failed bool, report string) {
	t.Helper()
	dir := t.TempDir()
	model, err := filepath.Abs("testdata/refresh.pml")
	if err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		return string(out)
	}
	run("spin", append(defines, "-a", model)...)
	run("gcc", "-O1", "-DSAFETY", "-o", "pan", "pan.c")
	report = run("./pan", "-m100000")
	if !strings.Contains(report, "states, stored") || strings.Contains(report, "max search depth too small") {
		t.Fatalf("the search is not complete:\n%s", report)
	}
	return !strings.Contains(report, "errors: 0"), report
}

func needSpin(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"spin", "gcc"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("LATCHKEY_REQUIRE_SERVICES") != "" {
				t.Fatal(err)
			}
			t.Skipf("the model of the refresh needs %s (Debian: apt-get install spin gcc): %v", tool, err)
		}
	}
}

// TestTheModelHolds walks through all interleavings of three replicas with up to one death and one lost lease.
func TestTheModelHolds(t *testing.T) {
	needSpin(t)
	for crashes := range 2 {
		for pauses := range 2 {
			for grace := range 2 {
				name := fmt.Sprintf("crashes=%d pauses=%d grace=%d", crashes, pauses, grace)
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					if failed, report := verify(t, fmt.Sprintf("-DCRASHES=%d", crashes), fmt.Sprintf("-DPAUSES=%d", pauses), fmt.Sprintf("-DGRACE=%d", grace)); failed {
						t.Error(report)
					}
				})
			}
		}
	}
}

// TestTheModelWouldNotice takes one step out at a time: a model that holds without it proves nothing.
func TestTheModelWouldNotice(t *testing.T) {
	needSpin(t)
	for broken, defines := range map[string][]string{
		"the lease": {"-DBROKEN=1", "-DCRASHES=0"}, "the looks at the session": {"-DBROKEN=2", "-DCRASHES=0"},
		"the intent": {"-DBROKEN=3", "-DCRASHES=2"}, "the compare-and-swap": {"-DBROKEN=4", "-DCRASHES=0", "-DPAUSES=1", "-DGRACE=1"},
	} {
		t.Run("without "+broken, func(t *testing.T) {
			t.Parallel()
			if failed, report := verify(t, defines...); !failed {
				t.Error(report)
			}
		})
	}
}
