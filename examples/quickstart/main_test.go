package main

import (
	"os"
	"strings"
	"testing"
)

// TestREADMEShowsThesePrograms keeps the README's programs ones that compile: these.
func TestREADMEShowsThesePrograms(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"main.go", "api/main.go", "job/main.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, program, _ := strings.Cut(string(source), "\n") // less its package comment
		if !strings.Contains(string(readme), "```go\n"+program+"```") {
			t.Errorf("README.md and examples/quickstart/%s differ; make the README's program the file less its first line", file)
		}
	}
}
