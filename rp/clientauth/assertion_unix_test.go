//go:build unix

package clientauth_test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/latchkey-go/latchkey/rp/clientauth"
)

// Opening a pipe would wait for whoever writes into it.
func TestAssertionFileRefusesAPipe(t *testing.T) {
	p := newProjected(t)
	if err := syscall.Mkfifo(p.path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := proof(t, clientauth.AssertionFile(p.path)); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("error is %v", err)
	}
}
