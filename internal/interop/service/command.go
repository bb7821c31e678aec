package service

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// Build compiles a command of this module, a directory beside this one, and returns the path of the program.
func Build(t testing.TB, name string) string {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	program := filepath.Join(t.TempDir(), name)
	build := exec.Command("go", "build", "-o", program, "./"+name)
	build.Dir = filepath.Join(filepath.Dir(file), "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build ./%s: %v\n%s", name, err, out)
	}
	return program
}

// Program is a running program that says something in JSON, a line each, and ends with its input: even when this process is killed, none stays behind.
type Program struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stdout *bufio.Reader
	stderr bytes.Buffer
	once   sync.Once
	ended  chan struct{}
}

// Run starts a program. It is killed at the end of the test, if not before.
func Run(t testing.TB, program string, args ...string) (*Program, error) {
	p := &Program{cmd: exec.Command(program, args...), ended: make(chan struct{})}
	p.cmd.Stderr = &p.stderr
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.stdin, p.stdout = stdin, bufio.NewReader(stdout)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	t.Cleanup(p.Kill)
	return p, nil
}

// Kill ends the program at once, as a crash of its machine would.
func (p *Program) Kill() {
	p.once.Do(func() {
		p.cmd.Process.Kill()
		p.cmd.Wait()
		p.stdin.Close()
		close(p.ended)
	})
	<-p.ended
}

// Stderr is what the program has said there. It may be called after Kill.
func (p *Program) Stderr() string { return p.stderr.String() }

// Read decodes the program's next line into v. A program that says nothing within the limit is killed.
func (p *Program) Read(v any, limit time.Duration) error {
	timer := time.AfterFunc(limit, p.Kill)
	line, err := p.stdout.ReadBytes('\n')
	timer.Stop()
	if err == nil {
		err = json.Unmarshal(line, v)
	}
	if err != nil {
		p.Kill()
		return fmt.Errorf("%s: %w: %s", filepath.Base(p.cmd.Path), err, p.Stderr())
	}
	return nil
}
