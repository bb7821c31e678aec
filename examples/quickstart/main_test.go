package main

import (
	"os"
	"strings"
	"testing"
)

// TestREADMEShowsThisProgram keeps the README's first program one that compiles: this one.
func TestREADMEShowsThisProgram(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	_, program, _ := strings.Cut(string(source), "\n") // less its package comment
	if !strings.Contains(string(readme), "```go\n"+program+"```") {
		t.Error("README.md and examples/quickstart/main.go differ; make the README's program the file less its first line")
	}
}
