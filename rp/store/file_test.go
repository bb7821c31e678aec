//go:build unix && !aix && (!solaris || illumos)

package store_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey-go/latchkey/rp/store"
	"github.com/latchkey-go/latchkey/session"
	"github.com/latchkey-go/latchkey/session/sessiontest"
)

func fileAt(t testing.TB, dir string) *store.File {
	t.Helper()
	f, err := store.NewFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func soon() time.Time { return time.Now().Add(time.Hour).Truncate(time.Millisecond) }

func put(t testing.TB, f *store.File, key store.Key, data string, version, from uint64) {
	t.Helper()
	if err := f.Put(t.Context(), key, store.Item{Data: []byte(data), Version: version, Expires: soon()}, from); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, f *store.File, key store.Key) string {
	t.Helper()
	items, err := f.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(items[0].Data)
}

func TestFileIsABackend(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b") // that the replicas of the suite share
	sessiontest.RunBackend(t, func(t *testing.T) session.Backend { return fileAt(t, dir) })
}

// itemFile is the one item's file.
func itemFile(t *testing.T, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "??", "*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("the items are %q, %v", found, err)
	}
	return found[0]
}

func TestADamagedFileIsNamedAndNeverOverwritten(t *testing.T) {
	for name, damage := range map[string]func(text []byte) []byte{
		"truncated": func(text []byte) []byte { return text[:len(text)-1] },
		"to half":   func(text []byte) []byte { return text[:len(text)/2] },
		"empty":     func(text []byte) []byte { return nil },
		"longer":    func(text []byte) []byte { return append(text, 0) },
		"one bit":   func(text []byte) []byte { text[len(text)/2] ^= 1; return text },
		"another":   func(text []byte) []byte { return []byte(strings.Repeat("not ours ", 100)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "tokens")
			f, key := fileAt(t, dir), store.Key{1}
			put(t, f, key, "refresh token", 7, 0)
			path := itemFile(t, dir)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			text = damage(text)
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			refused := func(what string, err error) {
				t.Helper()
				if err == nil || errors.Is(err, store.ErrConflict) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "damaged") {
					t.Errorf("%s: %v", what, err)
				}
			}
			_, err = f.Get(t.Context(), key)
			refused("Get", err)
			refused("Put", f.Put(t.Context(), key, store.Item{Data: []byte("x"), Version: 8, Expires: soon()}, 7))
			refused("Put as new", f.Put(t.Context(), key, store.Item{Data: []byte("x"), Version: 8, Expires: soon()}, 0))
			refused("Delete", f.Delete(t.Context(), key, 7))
			if n, err := f.Sweep(t.Context(), 100); n != 0 || err != nil {
				t.Errorf("Sweep: %d, %v", n, err)
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, text) {
				t.Errorf("the damaged file was touched: %v", err)
			}
			if err := f.Delete(t.Context(), key, 0); err != nil {
				t.Fatal(err)
			}
			put(t, f, key, "a new one", 9, 0)
		})
	}
}

func TestWhatOthersCanReadIsRefused(t *testing.T) {
	for name, x := range map[string]struct {
		spoil func(t *testing.T, dir, item string) error
		want  string
	}{
		"folder": {func(t *testing.T, dir, _ string) error { return os.Chmod(dir, 0o750) }, "chmod 700"},
		"item":   {func(t *testing.T, _, item string) error { return os.Chmod(item, 0o640) }, "chmod 600"},
		"a link for the folder": {func(t *testing.T, dir, _ string) error {
			return errors.Join(os.Rename(dir, dir+"-"), os.Symlink(dir+"-", dir))
		}, "not a folder"},
		"a link for an item": {func(t *testing.T, _, item string) error {
			return errors.Join(os.Rename(item, item+"-"), os.Symlink(item+"-", item))
		}, "too many levels of symbolic links"},
		"a pipe for an item": {func(t *testing.T, _, item string) error {
			return errors.Join(os.Remove(item), syscall.Mkfifo(item, 0o600))
		}, "not a regular file"},
		"a file for the folder": {func(t *testing.T, dir, _ string) error {
			return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600))
		}, "not a directory"},
		"somebody else's": {func(t *testing.T, _, item string) error {
			if os.Geteuid() != 0 {
				t.Skip("only root can give a file away")
			}
			return os.Chown(item, 12345, 12345)
		}, "belongs to user 12345"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, key := filepath.Join(t.TempDir(), "tokens"), store.Key{1}
			put(t, fileAt(t, dir), key, "refresh token", 7, 0)
			if err := x.spoil(t, dir, itemFile(t, dir)); err != nil {
				t.Fatal(err)
			}
			f := fileAt(t, dir) // as the next process
			if _, err := f.Get(t.Context(), key); err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("Get: %v", err)
			}
			if err := f.Put(t.Context(), key, store.Item{Version: 8, Expires: soon()}, 7); err == nil || errors.Is(err, store.ErrConflict) {
				t.Errorf("Put: %v", err)
			}
		})
	}
	if _, err := store.NewFile(""); err == nil {
		t.Error("no folder")
	}
}

func TestFilesAreForTheirOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tokens")
	old := syscall.Umask(0)
	put(t, fileAt(t, dir), store.Key{1}, "x", 7, 0)
	syscall.Umask(old)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestMain makes this program a process of its own for the tests below, where they ask for it.
func TestMain(m *testing.M) {
	switch os.Getenv("STORE_TEST_PROCESS") {
	case "count":
		os.Exit(count(os.Getenv("STORE_TEST_DIR")))
	case "unprivileged":
		os.Exit(unprivileged(os.Getenv("STORE_TEST_DIR")))
	case "fill":
		os.Exit(fill(os.Getenv("STORE_TEST_DIR")))
	}
	os.Exit(m.Run())
}

func process(t *testing.T, role, dir string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "STORE_TEST_PROCESS="+role, "STORE_TEST_DIR="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewReader(out)
}

var counters = []store.Key{{1}, {2}, {3, 1}, {3, 2}}

// count adds one to a counter at a time, and says so before and after: "+2" was begun, "=2" is done.
func count(dir string) int {
	f, err := store.NewFile(dir)
	for err == nil {
		i := rand.IntN(len(counters))
		fmt.Printf("+%d\n", i)
		if err = increment(f, counters[i]); err == nil {
			fmt.Printf("=%d\n", i)
		}
	}
	fmt.Fprintln(os.Stderr, "count:", err)
	return 1
}

func increment(f *store.File, key store.Key) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		items, err := f.Get(ctx, key)
		if err != nil {
			return err
		}
		n := uint64(0)
		if len(items[0].Data) == 8 {
			n = binary.BigEndian.Uint64(items[0].Data)
		}
		data := binary.BigEndian.AppendUint64(nil, n+1)
		err = f.Put(ctx, key, store.Item{Data: data, Version: n + 1, Expires: time.Now().Add(time.Hour)}, items[0].Version)
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

func TestNoWriteIsLostWhenProcessesDie(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tokens")
	deaths := 200
	if testing.Short() {
		deaths = 16
	}
	var begun, done [4]uint64
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range deaths / 8 {
				cmd, out := process(t, "count", dir)
				time.AfterFunc(30*time.Millisecond+rand.N(150*time.Millisecond), func() { cmd.Process.Kill() })
				for {
					line, err := out.ReadString('\n')
					var i int
					if n, _ := fmt.Sscanf(strings.TrimLeft(line, "+="), "%d", &i); err != nil || n != 1 {
						break
					}
					mu.Lock()
					if line[0] == '+' {
						begun[i]++
					} else {
						done[i]++
					}
					mu.Unlock()
				}
				_, _ = io.Copy(io.Discard, out)
				_ = cmd.Wait()
			}
		})
	}
	wg.Wait()
	f := fileAt(t, dir)
	for i, key := range counters {
		n := uint64(0)
		if data := get(t, f, key); len(data) == 8 {
			n = binary.BigEndian.Uint64([]byte(data))
		}
		if n < done[i] || n > begun[i] || begun[i] == 0 {
			t.Errorf("counter %d is %d, and %d were begun, %d done", i, n, begun[i], done[i])
		}
	}
	t.Logf("%d processes killed while they wrote: %v writes done, %v begun", deaths, done, begun)
}

// fill is a process whose disk is full: it may write no file of more than 100 bytes.
func fill(dir string) int {
	f, err := store.NewFile(dir)
	if err == nil {
		err = syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 100, Max: 100})
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	err = f.Put(context.Background(), store.Key{1}, store.Item{Data: bytes.Repeat([]byte("x"), 4096), Version: 8, Expires: soon()}, 7)
	fmt.Println(err)
	return 0
}

func TestAFullDiskLosesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tokens")
	f := fileAt(t, dir)
	put(t, f, store.Key{1}, "refresh token", 7, 0)
	cmd, out := process(t, "fill", dir)
	said, _ := io.ReadAll(out)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(said), "nothing was changed") || !strings.Contains(string(said), "file too large") {
		t.Errorf("the error is %s", said)
	}
	if got := get(t, f, store.Key{1}); got != "refresh token" {
		t.Errorf("the item is %q", got)
	}
	itemFile(t, dir) // nothing is beside it
}

func TestAWriterThatSleepsHoldsNobodyForEver(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tokens")
	f := fileAt(t, dir)
	put(t, f, store.Key{1}, "refresh token", 7, 0)
	lock, err := os.OpenFile(filepath.Join(dir, "lock-00"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err = f.Put(ctx, store.Key{1}, store.Item{Version: 8, Expires: soon()}, 7)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "another process holds") {
		t.Errorf("the error is %v", err)
	}
	if got := get(t, f, store.Key{1}); got != "refresh token" {
		t.Errorf("a read waits, or finds %q", got)
	}
	put(t, f, store.Key{1, 1}, "of another lock", 7, 0)
	lock.Close()
	put(t, f, store.Key{1}, "renewed", 8, 7)
}

func TestSweepRemovesWhatEndedAndWhatTheDeadLeft(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tokens")
	f := fileAt(t, dir)
	put(t, f, store.Key{1}, "alive", 7, 0)
	for i := range 20 {
		item := store.Item{Data: []byte("x"), Version: 7, Expires: time.Now().Add(20 * time.Millisecond)}
		if err := f.Put(t.Context(), store.Key{2, byte(i)}, item, 0); err != nil {
			t.Fatal(err)
		}
	}
	left, fresh := filepath.Join(dir, "01", ".new-LEFT"), filepath.Join(dir, "01", ".new-NOW")
	for _, path := range []string{left, fresh} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(left, time.Now(), time.Now().Add(-2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(30 * time.Millisecond)
	total := 0
	for range 5 {
		n, err := f.Sweep(t.Context(), 10)
		if err != nil || n > 10 {
			t.Errorf("swept %d, %v", n, err)
		}
		total += n
	}
	if total != 21 {
		t.Errorf("swept %d, want 21", total)
	}
	if _, err := os.Stat(fresh); err != nil {
		t.Error("what is being written was removed")
	}
	if get(t, f, store.Key{1}) != "alive" {
		t.Error("what is alive was removed")
	}
}

func TestAKeyFileIsMadeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "keys")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := store.CreateKeyFile(path); err != nil {
				t.Error(err)
			}
			if ring, err := store.KeyringFromFile(path); err != nil || ring.Len() != 1 {
				t.Errorf("half a file: %v, %v", ring, err)
			}
		})
	}
	wg.Wait()
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.CreateKeyFile(path); err != nil {
		t.Error(err)
	}
	second, _ := os.ReadFile(path)
	info, err := os.Stat(path)
	if !bytes.Equal(first, second) || err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file was made anew, or is %v, %v", info, err)
	}
	entries, _ := os.ReadDir(filepath.Dir(path))
	if len(entries) != 1 {
		t.Errorf("%d files are left", len(entries))
	}
	if err := store.CreateKeyFile(filepath.Join(path, "below")); err == nil {
		t.Error("a folder that is a file")
	}
}

func BenchmarkFile(b *testing.B) {
	f := fileAt(b, filepath.Join(b.TempDir(), "tokens"))
	item := store.Item{Data: bytes.Repeat([]byte("x"), 4096), Version: 1, Expires: soon()}
	if err := f.Put(b.Context(), store.Key{}, item, 0); err != nil {
		b.Fatal(err)
	}
	b.Run("Get", func(b *testing.B) {
		for b.Loop() {
			if _, err := f.Get(b.Context(), store.Key{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Put", func(b *testing.B) {
		for b.Loop() {
			if err := f.Put(b.Context(), store.Key{}, item, 1); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// alter changes bytes of the one item's file.
func alter(t *testing.T, dir string, at int, mask byte) {
	t.Helper()
	path := itemFile(t, dir)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text[at] ^= mask
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestADamagedItemIsNeitherSweptNorMissedInSilence(t *testing.T) {
	dir, owner := filepath.Join(t.TempDir(), "tokens"), store.Key{9}
	f := fileAt(t, dir)
	if err := f.Put(t.Context(), store.Key{1}, store.Item{Data: []byte("x"), Version: 7, Expires: soon(), Owner: owner}, 0); err != nil {
		t.Fatal(err)
	}
	const end, whose = 16 + 8, 16 + 8 + 8
	alter(t, dir, end, 0x80) // long ago
	if n, err := f.Sweep(t.Context(), 10); n != 0 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	alter(t, dir, end, 0x80)
	if keys, err := f.List(t.Context(), owner, 10); err != nil || len(keys) != 1 {
		t.Errorf("as it was: %v, %v", keys, err)
	}
	alter(t, dir, whose, 1)
	if keys, err := f.List(t.Context(), owner, 10); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("missed: %v, %v", keys, err)
	}
}

func TestAFolderWithOddNamesIsListedAndSwept(t *testing.T) {
	for _, name := range []string{"a[b]", "a[b", "a*", `a\b`} {
		dir := filepath.Join(t.TempDir(), name)
		f := fileAt(t, dir)
		put(t, f, store.Key{1}, "x", 7, 0)
		left := filepath.Join(dir, "01", ".new-LEFT")
		for _, path := range []string{left, filepath.Join(dir, "01", strings.Repeat("0", 66)), filepath.Join(dir, "01", strings.Repeat("g", 64))} {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chtimes(left, time.Now(), time.Now().Add(-2*time.Hour)); err != nil {
			t.Fatal(err)
		}
		if keys, err := f.List(t.Context(), store.Key{}, 10); err != nil || len(keys) != 1 {
			t.Errorf("%s: %v, %v", name, keys, err)
		}
		if n, err := f.Sweep(t.Context(), 10); n != 1 || err != nil {
			t.Errorf("%s: swept %d, %v", name, n, err)
		}
	}
}

func TestALinkInPlaceOfAPartIsNotFollowed(t *testing.T) {
	dir, other := filepath.Join(t.TempDir(), "tokens"), t.TempDir()
	put(t, fileAt(t, dir), store.Key{1}, "x", 7, 0)
	if err := errors.Join(os.RemoveAll(filepath.Join(dir, "02")), os.Symlink(other, filepath.Join(dir, "02"))); err != nil {
		t.Fatal(err)
	}
	if err := fileAt(t, dir).Put(t.Context(), store.Key{2}, store.Item{Version: 8, Expires: soon()}, 0); err == nil || !strings.Contains(err.Error(), "not followed") {
		t.Errorf("the error is %v", err)
	}
}

func TestAnEndedContextBlamesNobody(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := fileAt(t, filepath.Join(t.TempDir(), "tokens")).Put(ctx, store.Key{1}, store.Item{Version: 8, Expires: soon()}, 0)
	if !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "another process") {
		t.Errorf("the error is %v", err)
	}
}

func ExampleNewFile() {
	parent, err := os.MkdirTemp("", "job")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(parent)
	keys := filepath.Join(parent, "key")
	if err := store.CreateKeyFile(keys); err != nil {
		panic(err)
	}
	ring, err := store.KeyringFromFile(keys)
	if err != nil {
		panic(err)
	}
	backend, err := store.NewFile(filepath.Join(parent, "tokens"))
	if err != nil {
		panic(err)
	}
	// tokens, err := rp.NewTokenStore(rp.TokenStoreConfig{Backend: backend, Keyring: ring})
	items, err := backend.Get(context.Background(), store.Key{})
	fmt.Println(ring.Len(), items[0].Version, err)
	// Output: 1 0 <nil>
}
