package session_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/latchkey-go/latchkey/session"
)

// Keys that are rotated without a restart: write the file anew, then kill -HUP the process.
func ExampleKeyringFromFile() {
	folder, err := os.MkdirTemp("", "keys")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "session-keys") // from your secret store
	newKey := func() string {
		key := make([]byte, 32)
		rand.Read(key)
		return base64.StdEncoding.EncodeToString(key) + "\n"
	}
	old := newKey()
	if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
		panic(err)
	}

	keys, err := session.KeyringFromFile(path)
	if err != nil {
		panic(err)
	}
	// sessions, err := session.New(client, session.Config{Keyring: keys})

	hup, reloaded := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(hup, syscall.SIGHUP)
	go func() { // ends when hup is closed
		for range hup {
			if err := keys.Reload(); err != nil {
				slog.Error("the session keys stay as they were", "error", err)
			}
			reloaded <- struct{}{}
		}
	}()

	fmt.Println(keys.Len())
	if err := os.WriteFile(path+".new", []byte(old+newKey()), 0o600); err != nil { // first step: the new key at the end
		panic(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		panic(err)
	}
	hup <- syscall.SIGHUP // as the operating system would
	<-reloaded
	fmt.Println(keys.Len())
	signal.Stop(hup)
	close(hup)
	// Output:
	// 1
	// 2
}
