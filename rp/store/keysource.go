package store

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unicode"
)

// maxKeyFile bounds a file of keys, in bytes: some hundred keys.
const maxKeyFile = 64 << 10

// KeyringFromFile reads keys from a file: one in base64 a line (openssl rand -base64 32), the first seals. Blank lines, and what follows a #, are skipped. The file must be a
// regular one of at most 64 KiB, which no other user may read and the group may not write (chmod 600 or 640; not checked on Windows). Links are followed, as secrets mounted by Kubernetes need:
// set its defaultMode to 0440. Replace the file by renaming a new one over it: one that is half written has fewer keys.
func KeyringFromFile(path string) (*Keyring, error) {
	return sourcedKeyring(path, func() ([][]byte, error) { return readKeyFile(path) })
}

// KeyringFromEnv reads keys from an environment variable: in base64, separated by commas or white space, the first seals. A Reload reads the variable again, which only
// this process can have changed.
func KeyringFromEnv(name string) (*Keyring, error) {
	return sourcedKeyring("$"+name, func() ([][]byte, error) {
		text, found := os.LookupEnv(name)
		if !found {
			return nil, errors.New("the variable is not set")
		}
		var keys [][]byte
		for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
			key, ok := parseKey(word)
			if !ok {
				return nil, fmt.Errorf("key %d is not base64", len(keys))
			}
			keys = append(keys, key)
		}
		return keys, nil
	})
}

func readKeyFile(path string) ([][]byte, error) {
	info, err := os.Stat(path) // before it is opened: a pipe would keep us there
	if err == nil {
		err = checkKeyFile(info)
	}
	if err != nil {
		return nil, bare(err)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, bare(err)
	}
	defer file.Close()
	if info, err = file.Stat(); err == nil {
		err = checkKeyFile(info) // of what was opened
	}
	if err != nil {
		return nil, bare(err)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	switch {
	case err != nil:
		return nil, bare(err)
	case len(text) > maxKeyFile:
		return nil, fmt.Errorf("the file is longer than %d bytes", maxKeyFile)
	}
	return parseKeys(text)
}

// bare is err without the path, which the caller names.
func bare(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return fmt.Errorf("%s: %w", e.Op, e.Err)
	}
	return err
}

func checkKeyFile(info os.FileInfo) error {
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	if mode := info.Mode().Perm(); mode&0o027 != 0 && runtime.GOOS != "windows" {
		return fmt.Errorf("its mode is %#o, so that other users can get at the keys: chmod 600 it, or 640 for a group that may read", mode)
	}
	return nil
}

// parseKeys reads the lines of a file of keys. Errors name the line, never what is in it.
func parseKeys(text []byte) (keys [][]byte, err error) {
	n := 0
	for line := range bytes.Lines(text) {
		n++
		line, _, _ = bytes.Cut(line, []byte("#"))
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		key, ok := parseKey(string(line))
		if !ok {
			return nil, fmt.Errorf("line %d is not one key in base64", n)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

var keyAlphabet = strings.NewReplacer("-", "+", "_", "/")

// parseKey takes both alphabets of base64, padded or not.
func parseKey(text string) ([]byte, bool) {
	if strings.ContainsAny(text, "\r\n") { // which the decoder would skip
		return nil, false
	}
	key, err := base64.RawStdEncoding.Strict().DecodeString(strings.TrimRight(keyAlphabet.Replace(text), "="))
	return key, err == nil
}

// CreateKeyFile makes a file with one new random key, for KeyringFromFile, with its folder, if there is nothing at path: for a program on one machine that has nobody to hand it
// secrets. Of several processes one makes it. Like the tokens it seals, it is as safe as the disk; keep it elsewhere where you can.
func CreateKeyFile(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	folder := filepath.Dir(path)
	if err := makeFolder(folder); err != nil {
		return err
	}
	key := make([]byte, 32)
	rand.Read(key) // never fails
	temp, err := writeTemp(folder, []byte(base64.StdEncoding.EncodeToString(key)+"\n"))
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	// A link, unlike a renaming, takes nobody's place.
	if err := os.Link(temp, path); errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := flush(folder); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}
