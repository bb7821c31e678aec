package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// prepare makes the folder, once.
func (f *File) prepare() error {
	if f.ready.Load() {
		return nil
	}
	there := f.dir // the nearest folder that there is
	for {
		if _, err := os.Lstat(there); !errors.Is(err, fs.ErrNotExist) || filepath.Dir(there) == there {
			break
		}
		there = filepath.Dir(there)
	}
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := checkFolder(f.dir); err != nil {
		return err
	}
	for n := range folders {
		folder := f.folder(n)
		if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("store: %w", err)
		}
		if err := checkFolder(folder); err != nil {
			return err
		}
	}
	// What is written into a folder is worth no more than the folder's own name on the disk. Those that were there are not ours, and perhaps not ours to read.
	if err := flush(f.dir); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	for folder := f.dir; folder != there; {
		folder = filepath.Dir(folder)
		if err := flush(folder); err != nil && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("store: %w", err)
		}
	}
	f.ready.Store(true)
	return nil
}

func (f *File) folder(n int) string { return filepath.Join(f.dir, fmt.Sprintf("%02x", n)) }

func checkFolder(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("store: %s is not a folder (a link is not followed)", path)
	}
	return private(path, info, "700")
}

// stillThere tells a file that is not there from a disk that is not.
func stillThere(folder string) error {
	if _, err := os.Lstat(folder); err != nil {
		return fmt.Errorf("store: the folder has gone since it was first used; is its disk still mounted? %w", err)
	}
	return nil
}
