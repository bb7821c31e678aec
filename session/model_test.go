package session

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// verify runs a model of testdata through every interleaving and returns what spin found.
func verify(t *testing.T, name string, defines ...string) (failed bool, report string) {
	t.Helper()
	dir := t.TempDir()
	model, err := filepath.Abs("testdata/" + name)
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
					if failed, report := verify(t, "refresh.pml", fmt.Sprintf("-DCRASHES=%d", crashes), fmt.Sprintf("-DPAUSES=%d", pauses), fmt.Sprintf("-DGRACE=%d", grace)); failed {
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
			if failed, report := verify(t, "refresh.pml", defines...); !failed {
				t.Error(report)
			}
		})
	}
}

// TestTheRotationModelHolds walks through rotations beside refreshes, logouts and each other, with deaths, lost leases and outages.
func TestTheRotationModelHolds(t *testing.T) {
	needSpin(t)
	for _, defines := range []string{
		"-DROTATORS=2 -DLOGOUTS=1",
		"-DCRASHES=1",
		"-DCRASHES=2",
		"-DPAUSES=1",
		"-DOUTAGES=1",
		"-DROTATORS=2 -DCRASHES=1 -DGRACE=1",
		"-DROTATORS=2 -DPAUSES=1 -DGRACE=1",
		"-DROTATORS=2 -DLOGOUTS=1 -DCRASHES=1",
		"-DROTATORS=2 -DLOGOUTS=1 -DPAUSES=1",
		"-DREFRESHERS=2 -DCRASHES=1 -DPAUSES=1",
		"-DREFRESHERS=2 -DCRASHES=2",
		"-DOUTAGES=2 -DCRASHES=1",
		"-DOUTAGES=2 -DPAUSES=1 -DGRACE=1",
		"-DOUTAGES=1 -DLOGOUTS=1 -DCRASHES=1",
	} {
		t.Run(defines, func(t *testing.T) {
			t.Parallel()
			if failed, report := verify(t, "rotate.pml", strings.Fields(defines)...); failed {
				t.Error(report)
			}
		})
	}
}

// TestTheRotationModelWouldNotice takes one step out at a time, as TestTheModelWouldNotice does.
func TestTheRotationModelWouldNotice(t *testing.T) {
	needSpin(t)
	for broken, defines := range map[string]string{
		"the logout's second look":              "-DBROKEN=1 -DLOGOUTS=1 -DREFRESHERS=0",
		"the compare-and-swap":                  "-DBROKEN=2 -DROTATORS=2 -DPAUSES=1",
		"the look at the old place":             "-DBROKEN=3 -DOUTAGES=1",
		"the turn of a refresh":                 "-DBROKEN=4",
		"the count of tries":                    "-DBROKEN=5 -DCRASHES=2",
		"a note of its own that counts as none": "-DBROKEN=6 -DROTATORS=2 -DCRASHES=2 -DREFRESHERS=0",
	} {
		t.Run("without "+broken, func(t *testing.T) {
			t.Parallel()
			if failed, report := verify(t, "rotate.pml", strings.Fields(defines)...); !failed {
				t.Error(report)
			}
		})
	}
}
