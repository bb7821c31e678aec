package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// listRounds bounds how often List reads the folders, and tick is more than the steps in which disks note the time of a change.
const (
	listRounds = 8
	tick       = 20 * time.Millisecond
)

// List implements Backend.
//
// It reads one folder after the other, and an item may move meanwhile from one that was not read yet to one that was. So it reads them again when one was changed.
func (f *File) List(ctx context.Context, owner Key, limit int) ([]Key, error) {
	var keys []Key
	seen := map[Key]bool{}
	for round := 1; len(keys) < limit; round++ {
		began := time.Now()
		before, last, err := f.changes(ctx)
		if err != nil {
			return nil, err
		}
		err = f.walk(ctx, func(path string, key Key) (bool, error) {
			item, err := f.read(path, maxFileItem) // whole: the checksum covers whose it is
			if err != nil {
				return false, err
			}
			if item.Version != 0 && item.Owner == owner && !item.ended(time.Now()) && !seen[key] {
				seen[key] = true
				keys = append(keys, key)
			}
			return len(keys) < limit, nil
		})
		if err != nil {
			return nil, err
		}
		after, _, err := f.changes(ctx)
		if err != nil {
			return nil, err
		}
		recent := began.Sub(last) < tick // a change after it may have the same time
		if before == after && !recent || round == listRounds {
			break
		}
		if recent && !pause(ctx, tick) {
			return nil, ctx.Err()
		}
	}
	return keys, nil
}

// changes are the times when each folder was changed last, and the latest of them.
func (f *File) changes(ctx context.Context) (times [folders]time.Time, last time.Time, err error) {
	if err := errors.Join(ctx.Err(), f.prepare()); err != nil {
		return times, last, err
	}
	for n := range folders {
		info, err := os.Stat(f.folder(n))
		if err != nil {
			return times, last, fmt.Errorf("store: %w", err)
		}
		if times[n] = info.ModTime(); times[n].After(last) {
			last = times[n]
		}
	}
	return times, last, nil
}

// walk calls visit for every item's file until that returns false.
func (f *File) walk(ctx context.Context, visit func(path string, key Key) (more bool, err error)) error {
	if err := errors.Join(ctx.Err(), f.prepare()); err != nil {
		return err
	}
	for n := range folders {
		folder := f.folder(n)
		entries, err := os.ReadDir(folder)
		if err != nil {
			return fmt.Errorf("store: %w", err)
		}
		for _, entry := range entries {
			if err := ctx.Err(); err != nil {
				return err
			}
			var key Key
			if len(entry.Name()) != 2*len(key) { // Decode panics for a longer one
				continue
			}
			path := filepath.Join(folder, entry.Name())
			if _, err := hex.Decode(key[:], []byte(entry.Name())); err != nil || path != f.path(key) { // a copy elsewhere, which Get doesn't find
				continue
			}
			if more, err := visit(path, key); err != nil || !more {
				return err
			}
		}
	}
	return nil
}

// Sweep implements Sweeper. It removes what processes left behind that died while they wrote, too.
func (f *File) Sweep(ctx context.Context, limit int) (n int, err error) {
	if limit <= 0 {
		return 0, nil
	}
	now := time.Now()
	err = f.walk(ctx, func(path string, key Key) (bool, error) {
		if item, err := f.read(path, int64(fileHeader)); err != nil || !item.ended(now) || item.Version == 0 {
			return true, nil // a damaged one is whoever reads it's to hear of
		}
		unlock, err := f.lock(ctx, key)
		if err != nil {
			return false, err
		}
		defer unlock()
		if item, err := f.read(path, maxFileItem); err != nil || !item.ended(now) || item.Version == 0 {
			return true, nil // written anew meanwhile, or its end is what was altered
		}
		if err := remove(path); err != nil {
			return false, err
		}
		n++
		return n < limit, nil
	})
	for i := range folders {
		folder := f.folder(i)
		entries, readErr := os.ReadDir(folder)
		if readErr != nil {
			err = errors.Join(err, fmt.Errorf("store: %w", readErr))
		}
		for _, entry := range entries {
			if !strings.HasPrefix(entry.Name(), tempPrefix) || n >= limit {
				continue
			}
			if info, statErr := entry.Info(); statErr == nil && now.Sub(info.ModTime()) > tempAge {
				_ = os.Remove(filepath.Join(folder, entry.Name()))
				n++
			}
		}
	}
	return n, err
}
