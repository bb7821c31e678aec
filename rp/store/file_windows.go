package store

import (
	"errors"
	"os"
	"syscall"
	"time"
)

const (
	sharingViolation = syscall.Errno(32)
	lockViolation    = syscall.Errno(33)
)

func private(string, os.FileInfo, string) error { return nil }

func openItem(path string) (*os.File, error) { return os.Open(path) }

// rename tries again while somebody reads the file: there it can't be replaced.
func rename(from, to string) (err error) {
	for pause := time.Millisecond; pause < time.Second; pause *= 2 {
		err = os.Rename(from, to)
		if !errors.Is(err, sharingViolation) && !errors.Is(err, syscall.ERROR_ACCESS_DENIED) {
			return err
		}
		time.Sleep(pause)
	}
	return err
}

func flush(string) error { return nil }

// lockFile opens the file for this process alone, if nobody has it open.
func lockFile(path string) (unlock func(), held bool, err error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, false, err
	}
	handle, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	switch {
	case errors.Is(err, sharingViolation), errors.Is(err, lockViolation):
		return nil, false, nil
	case err != nil:
		return nil, false, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	return func() { _ = syscall.CloseHandle(handle) }, true, nil
}
