package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

const (
	fileForm    = "latchkey item 1\n"
	fileHeader  = len(fileForm) + 8 + 8 + 32 // form, version, end, owner
	maxFileItem = 1<<20 + 1<<10
	tempPrefix  = ".new-"
	// tempAge is how old a file must be that a process left behind when it died while it wrote. No write lasts as long.
	tempAge   = time.Hour
	lockFiles = 64
	folders   = 256 // by the first byte of the key
	// firstTry and lastTry are the pauses of who waits for another process's write.
	firstTry, lastTry = time.Millisecond, 25 * time.Millisecond
)

// File is a Backend in a folder: for a program on one machine, or the few processes of one machine that share it. It is safe for concurrent use, by many processes too.
//
// An item is a file, replaced as a whole: written beside it, flushed to the disk (fsync), renamed over it, and the folder flushed, before Put returns. Whoever reads, reads the old one or the
// new one. A process that dies at any point, or a disk that is full, leaves the old one. Writers take turns by file locks (flock), which end with their process; a write waits for its turn until its context ends. So the folder
// must be on a disk of this machine: NFS and its like do not all keep locks. A disk that lies about flushes can lose the last writes when the power goes; then a refresh token may be back that is spent.
//
// Folder and files are for their owner alone (0700, 0600): others in their place are refused, links too; not checked on Windows. A file that is damaged is an error that names it, in every method; it is
// neither taken for absent nor overwritten. Delete with version zero removes it. A folder that goes away while it is used is an error, too.
//
// Get is one file read for each key, Put one read, one write and two flushes. List reads every file, and again while others write: it is for thousands, not for millions.
type File struct {
	dir   string
	ready atomic.Bool // the folder is there, and fit
}

// NewFile returns the backend in folder dir, which is made, with its parents, when it is first used.
func NewFile(dir string) (*File, error) {
	if dir == "" {
		return nil, errors.New("store: NewFile needs a folder")
	}
	abs, err := filepath.Abs(dir) // the process may change its own
	if err != nil {
		return nil, fmt.Errorf("store: folder %s: %w", dir, err)
	}
	return &File{dir: abs}, nil
}

func (f *File) path(key Key) string {
	return filepath.Join(f.folder(int(key[0])), hex.EncodeToString(key[:]))
}

// Get implements Backend.
func (f *File) Get(ctx context.Context, keys ...Key) ([]Item, error) {
	if err := f.prepare(); err != nil {
		return nil, err
	}
	items := make([]Item, len(keys))
	for i, key := range keys {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		item, err := f.read(f.path(key), maxFileItem)
		if err != nil {
			return nil, err
		}
		if !item.ended(time.Now()) {
			items[i] = item
		}
	}
	return items, nil
}

// read returns the item in a file, ended or not; the zero Item if there is no file. With most below maxFileItem it reads the header alone, and leaves the checksum out.
func (f *File) read(path string, most int64) (item Item, err error) {
	file, err := openItem(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Item{}, stillThere(filepath.Dir(path))
	case err != nil:
		return Item{}, fmt.Errorf("store: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return Item{}, fmt.Errorf("store: %w", err)
	}
	if !info.Mode().IsRegular() {
		return Item{}, fmt.Errorf("store: %s is not a regular file", path)
	}
	if err := private(path, info, "600"); err != nil {
		return Item{}, err
	}
	text, err := io.ReadAll(io.LimitReader(file, most))
	if err != nil {
		return Item{}, fmt.Errorf("store: %w", err)
	}
	whole := most == maxFileItem
	body := text
	if whole {
		if len(text) < fileHeader+sha256.Size {
			return Item{}, damaged(path)
		}
		body = text[:len(text)-sha256.Size]
		if sum := sha256.Sum256(body); !bytes.Equal(sum[:], text[len(body):]) {
			return Item{}, damaged(path)
		}
	}
	if len(body) < fileHeader || string(body[:len(fileForm)]) != fileForm {
		return Item{}, damaged(path)
	}
	at := len(fileForm)
	item.Version = binary.BigEndian.Uint64(body[at:])
	item.Expires = time.UnixMilli(int64(binary.BigEndian.Uint64(body[at+8:])))
	copy(item.Owner[:], body[at+16:])
	if whole {
		item.Data = body[fileHeader:]
	}
	return item, nil
}

func damaged(path string) error {
	return fmt.Errorf("store: %s is damaged: cut short, altered, or nothing of ours; restore it from a copy, or delete it and connect anew", path)
}

// Put implements Backend.
func (f *File) Put(ctx context.Context, key Key, item Item, from uint64) error {
	switch {
	case item.Version == 0:
		return errors.New("store: an item of version zero can't be put")
	case len(item.Data) > maxFileItem-fileHeader-sha256.Size:
		return fmt.Errorf("store: an item of %d bytes is too large", len(item.Data))
	}
	unlock, err := f.lock(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	path, now := f.path(key), time.Now()
	there, err := f.read(path, maxFileItem)
	if err != nil {
		return err
	}
	if there.ended(now) {
		there = Item{}
	}
	if there.Version != from {
		return ErrConflict
	}
	text := append(make([]byte, 0, fileHeader+len(item.Data)+sha256.Size), fileForm...)
	text = binary.BigEndian.AppendUint64(text, item.Version)
	text = binary.BigEndian.AppendUint64(text, uint64(item.Expires.UnixMilli()))
	text = append(append(text, item.Owner[:]...), item.Data...)
	sum := sha256.Sum256(text)
	return replaceFile(path, append(text, sum[:]...))
}

// replaceFile puts text in place of path, whole or not at all.
func replaceFile(path string, text []byte) error {
	folder := filepath.Dir(path)
	temp, err := writeTemp(folder, text)
	if err != nil {
		return err
	}
	if err := rename(temp, path); err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("store: %w", err)
	}
	if err := flush(folder); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// writeTemp writes text to a new file in folder, and flushes it.
func writeTemp(folder string, text []byte) (name string, err error) {
	name = filepath.Join(folder, tempPrefix+rand.Text())
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("store: %w", err)
	}
	_, err = file.Write(text)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		_ = os.Remove(name)
		return "", fmt.Errorf("store: nothing was changed: %w", err)
	}
	return name, nil
}

// Delete implements Backend.
func (f *File) Delete(ctx context.Context, key Key, version uint64) error {
	unlock, err := f.lock(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	path := f.path(key)
	if version != 0 {
		there, err := f.read(path, maxFileItem)
		if err != nil {
			return err
		}
		if there.Version != version || there.ended(time.Now()) {
			return nil
		}
	}
	return remove(path)
}

func remove(path string) error {
	switch err := os.Remove(path); {
	case errors.Is(err, fs.ErrNotExist):
		return stillThere(filepath.Dir(path))
	case err != nil:
		return fmt.Errorf("store: %w", err)
	}
	if err := flush(filepath.Dir(path)); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// lock waits for the turn to write what is under key. Of 64 locks, keys share one by chance.
func (f *File) lock(ctx context.Context, key Key) (unlock func(), err error) {
	if err := errors.Join(ctx.Err(), f.prepare()); err != nil {
		return nil, err
	}
	path := filepath.Join(f.dir, fmt.Sprintf("lock-%02x", key[1]%lockFiles))
	for pause := firstTry; ; pause = min(2*pause, lastTry) {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("store: another process holds %s: %w", path, err)
		}
		unlock, held, err := lockFile(path)
		if err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
		if held {
			return unlock, nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// String names the folder.
func (f *File) String() string { return "store.File(" + strings.ToValidUTF8(f.dir, "?") + ")" }

// GoString is String.
func (f *File) GoString() string { return f.String() }
