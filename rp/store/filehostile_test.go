//go:build unix && !aix && (!solaris || illumos)

package store_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/rp/store"
)

// A disk that goes away takes its folder along: nobody is to be told that there never were any tokens.
func TestAFolderThatGoesAwayIsNotTakenForAnEmptyOne(t *testing.T) {
	for _, part := range []string{"", "01"} {
		dir := filepath.Join(t.TempDir(), "tokens")
		f := fileAt(t, dir)
		put(t, f, store.Key{1}, "x", 7, 0)
		gone, away := filepath.Join(dir, part), filepath.Join(filepath.Dir(dir), "away")
		if err := os.Rename(gone, away); err != nil {
			t.Fatal(err)
		}
		_, got := f.Get(t.Context(), store.Key{1})
		_, listed := f.List(t.Context(), store.Key{}, 10)
		for name, err := range map[string]error{
			"Get": got, "List": listed,
			"Put":            f.Put(t.Context(), store.Key{1}, store.Item{Version: 8, Expires: soon()}, 0),
			"Delete":         f.Delete(t.Context(), store.Key{1}, 7),
			"Delete of zero": f.Delete(t.Context(), store.Key{1}, 0),
		} {
			if err == nil || errors.Is(err, store.ErrConflict) {
				t.Errorf("without %q: %s: %v", part, name, err)
			}
		}
		if err := os.Rename(away, gone); err != nil {
			t.Fatal(err)
		}
		if get(t, f, store.Key{1}) != "x" {
			t.Error("it is not found when it is back")
		}
	}
}

// Copies under other names are no items: Get never finds them.
func TestOnlyFilesInTheirPlaceAreListedAndSwept(t *testing.T) {
	dir, owner := filepath.Join(t.TempDir(), "tokens"), store.Key{9}
	f, key := fileAt(t, dir), store.Key{0xab}
	if err := f.Put(t.Context(), key, store.Item{Data: []byte("x"), Version: 7, Expires: time.Now().Add(time.Second), Owner: owner}, 0); err != nil {
		t.Fatal(err)
	}
	name := hex.EncodeToString(key[:])
	text, err := os.ReadFile(filepath.Join(dir, "ab", name))
	if err != nil {
		t.Fatal(err)
	}
	for _, copied := range []string{filepath.Join("ab", strings.ToUpper(name)), filepath.Join("01", name), filepath.Join("01", strings.Repeat("cd", 32))} {
		if err := os.WriteFile(filepath.Join(dir, copied), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if keys, err := f.List(t.Context(), owner, 10); err != nil || !slices.Equal(keys, []store.Key{key}) {
		t.Errorf("%d keys, %v; want the one", len(keys), err)
	}
	time.Sleep(1100 * time.Millisecond)
	if n, err := f.Sweep(t.Context(), 10); err != nil || n != 1 {
		t.Errorf("swept %d, %v; want the one", n, err)
	}
}

// Somebody tidies up, and removes a lock that is held by a process that is stuck.
func TestALockThatWasRemovedKeepsNobody(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tokens")
	f, key := fileAt(t, dir), store.Key{1}
	put(t, f, key, "x", 1, 0)
	path := filepath.Join(dir, "lock-00")
	held, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := f.Put(ctx, key, store.Item{Version: 2, Expires: soon()}, 1); err == nil || errors.Is(err, store.ErrConflict) {
		t.Errorf("while it is held: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	put(t, f, key, "y", 2, 1) // not waiting for a lock that has no name any more
}

// unprivileged uses a folder whose parent this user can't read.
func unprivileged(dir string) int {
	f, err := store.NewFile(dir)
	if err == nil {
		err = f.Put(context.Background(), store.Key{1}, store.Item{Version: 1, Expires: time.Now().Add(time.Hour)}, 0)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// An operator makes the folder for the service where the service may not look around: /var/lib with mode 0711, say.
func TestAFolderWhoseParentMayNotBeReadIsUsed(t *testing.T) {
	parent, err := os.MkdirTemp("", "store")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(parent, "tokens")
	defer os.RemoveAll(parent)
	mode := os.FileMode(0o311)
	cmd := exec.Command("/proc/self/exe")
	if self, err := os.Executable(); err == nil {
		cmd.Path = self
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 { // whom no mode keeps from reading
		const nobody = 65534
		mode = 0o711
		copied := filepath.Join(parent, "test")
		text, err := os.ReadFile(cmd.Path)
		if err == nil {
			err = os.WriteFile(copied, text, 0o755)
		}
		if err == nil {
			err = os.Chown(dir, nobody, nobody)
		}
		if err != nil {
			t.Fatal(err)
		}
		cmd.Path, cmd.Dir = copied, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	if err := os.Chmod(parent, mode); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "STORE_TEST_PROCESS=unprivileged", "STORE_TEST_DIR="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if err := os.Chmod(parent, 0o700); err != nil {
		t.Error(err)
	}
}
