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
	if err := makeFolder(f.dir); err != nil {
		return err
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
	if err := flush(f.dir); err != nil { // also when another process has made them, and died
		return fmt.Errorf("store: %w", err)
	}
	f.ready.Store(true)
	return nil
}

// makeFolder makes dir and its parents, and flushes their names: what is written into a folder is worth no more on the disk than they are. Parents that are there already are not ours, and
// perhaps not ours to read.
func makeFolder(dir string) error {
	there := dir
	for {
		if _, err := os.Lstat(there); !errors.Is(err, fs.ErrNotExist) || filepath.Dir(there) == there {
			break
		}
		there = filepath.Dir(there)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	for dir != there {
		dir = filepath.Dir(dir)
		if err := flush(dir); err != nil && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("store: %w", err)
		}
	}
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
