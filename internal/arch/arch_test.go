// Package arch holds the test that keeps the rooms apart: see ARCHITECTURE.md.
package arch_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/latchkey-go/latchkey/"

// rooms lists what each package may import of this module and of other modules; the standard library is free but for forbidden.
var rooms = map[string]struct{ own, foreign, forbidden []string }{
	"pkce":                {forbidden: []string{"net/http"}},
	"internal/strictjson": {forbidden: []string{"net/http"}},
	"internal/jws":        {own: []string{"internal/strictjson"}, forbidden: []string{"net/http"}},
	"internal/fetch":      {},
	"internal/contain":    {forbidden: []string{"net/http"}},
	"discovery": {
		own:     []string{"internal/fetch", "internal/jws", "internal/strictjson"},
		foreign: []string{"github.com/go-jose/go-jose/v4", "github.com/coreos/go-oidc/v3/oidc"},
	},
	"rp/clientauth": {},
	"rp/store":      {own: []string{"internal/contain"}, forbidden: []string{"net/http"}},
	"rp": {
		own:     []string{"discovery", "pkce", "rp/clientauth", "rp/store", "internal/contain", "internal/fetch", "internal/jws", "internal/strictjson"},
		foreign: []string{"golang.org/x/oauth2", "golang.org/x/oauth2/clientcredentials", "github.com/coreos/go-oidc/v3/oidc", "github.com/go-jose/go-jose/v4"},
	},
	"rp/rptest": {foreign: []string{"github.com/go-jose/go-jose/v4", "github.com/go-jose/go-jose/v4/jwt"}},
	"rp/native": {own: []string{"rp"}},
	"session": {
		own:     []string{"rp", "rp/store", "internal/contain"},
		foreign: []string{"github.com/gorilla/sessions", "github.com/gorilla/securecookie", "golang.org/x/oauth2"},
	},
	"session/sessiontest": {own: []string{"session"}, foreign: []string{"github.com/gorilla/sessions"}},
	"middleware":          {own: []string{"session", "rp", "internal/problem"}},
	"middleware/bearer":   {own: []string{"discovery", "rp/clientauth", "internal/contain", "internal/fetch", "internal/jws", "internal/problem", "internal/strictjson"}},
	"internal/problem":    {},
}

// TestRoomsImportOnlyTheRoomBelow parses the files: asking the go command would be answered from the test cache.
func TestRoomsImportOnlyTheRoomBelow(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := map[string]int{}
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return skipDir(root, file)
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		room, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		room = filepath.ToSlash(room)
		seen[room]++
		checkFile(t, room, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for room := range rooms {
		if seen[room] == 0 {
			t.Errorf("room %s: no file was seen; the test looked in the wrong place", room)
		}
	}
}

// skipDir passes over nested modules, hidden folders and test data.
func skipDir(root, dir string) error {
	name := filepath.Base(dir)
	if dir == root {
		return nil
	}
	if strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules" {
		return filepath.SkipDir
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
		return filepath.SkipDir
	}
	return nil
}

func checkFile(t *testing.T, room, file string) {
	rules, ok := rooms[room]
	if !ok {
		t.Errorf("%s: package %s has no place in the house; give it one here and in ARCHITECTURE.md", file, room)
		return
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Error(err)
		return
	}
	for _, spec := range parsed.Imports {
		name, _ := strconv.Unquote(spec.Path.Value)
		allowed := true
		switch own, inside := strings.CutPrefix(name, module); {
		case inside:
			allowed = slices.Contains(rules.own, own)
		case strings.Contains(strings.SplitN(name, "/", 2)[0], "."):
			allowed = slices.Contains(rules.foreign, name)
		default:
			allowed = !slices.Contains(rules.forbidden, name)
		}
		if !allowed {
			t.Errorf("%s: package %s must not import %s", file, path.Base(room), name)
		}
	}
}
