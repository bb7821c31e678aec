//go:build !windows && !(unix && !aix && (!solaris || illumos))

package store

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

func private(string, os.FileInfo, string) error { return nil }

func openItem(path string) (*os.File, error) { return os.Open(path) }

func rename(from, to string) error { return os.Rename(from, to) }

func flush(string) error { return nil }

// lockFile has no lock to take: without one a write could be lost, so none is made.
func lockFile(string) (unlock func(), held bool, err error) {
	return nil, false, fmt.Errorf("no file locks on %s, use another Backend: %w", runtime.GOOS, errors.ErrUnsupported)
}
