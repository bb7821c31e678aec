//go:build unix && !aix && (!solaris || illumos)

package store

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// private refuses what others can get at.
func private(path string, info os.FileInfo, mode string) error {
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("store: %s has the mode %#o, so that others can get at it: chmod %s it", path, perm, mode)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("store: %s belongs to user %d, and this process is of user %d: chown it", path, stat.Uid, os.Geteuid())
	}
	return nil
}

// openItem follows no link, and waits for nobody.
func openItem(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
}

func rename(from, to string) error { return os.Rename(from, to) }

// flush writes a folder's entries to the disk.
func flush(folder string) error {
	dir, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// lockFile takes the lock, if nobody has it. It ends with the process.
func lockFile(path string) (unlock func(), held bool, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, false, err
	}
	for {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil, false, file.Close()
	case err != nil:
		return nil, false, errors.Join(&os.PathError{Op: "flock", Path: path, Err: err}, file.Close())
	}
	return func() { _ = file.Close() }, true, nil
}
