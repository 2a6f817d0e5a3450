// Package tacit_test checks the shape of the repository: which folders there
// are, and which of them may import which.
package tacit_test

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

const module = "github.com/tacit-fhe/tacit"

// folders are the top folders that hold Go, each with the others that it may
// import. The order of the house is
// accel <- fhe <- bootstrap <- coprocessor <- bench <- cmd; proto stands alone.
var folders = map[string][]string{
	"accel":       {},
	"fhe":         {"accel"},
	"bootstrap":   {"accel", "fhe"},
	"proto":       {},
	"coprocessor": {"accel", "fhe", "bootstrap", "proto"},
	"bench":       {"accel", "fhe", "bootstrap", "proto", "coprocessor"},
	"cmd":         {"accel", "fhe", "bootstrap", "proto", "coprocessor", "bench"},
}

// source is a Go file: its path from the root, with slashes, and what it imports.
type source struct {
	path    string
	imports []string
}

// violations returns what is wrong with the imports of the files. A file may
// import from its own folder and from those that folders allows. A test
// may also import test helpers, which are packages with names that end in "test".
func violations(files []source) []string {
	var found []string
	for _, f := range files {
		top, _, inFolder := strings.Cut(f.path, "/")
		if !inFolder {
			if !strings.HasSuffix(f.path, "_test.go") {
				found = append(found, f.path+": the root holds no package")
			}
			top = ""
		} else if _, ok := folders[top]; !ok {
			found = append(found, f.path+": unknown top folder "+top)
			continue
		}
		for _, p := range f.imports {
			ours, ok := strings.CutPrefix(p, module+"/")
			if !ok {
				continue
			}
			target, _, _ := strings.Cut(ours, "/")
			helper := strings.HasSuffix(f.path, "_test.go") && strings.HasSuffix(path.Base(ours), "test")
			if target != top && !slices.Contains(folders[top], target) && !helper {
				found = append(found, f.path+" imports "+ours)
			}
		}
	}
	return found
}

// sources reads the imports of all Go files of the module, for every platform
// and build tag.
func sources(t *testing.T) []source {
	var files []source
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, err := os.Stat(filepath.Join(name, "go.mod"))
			nested := err == nil
			hidden := strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "testdata"
			if name != "." && (nested || hidden) {
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		s := source{path: filepath.ToSlash(name)}
		for _, i := range f.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			s.imports = append(s.imports, p)
		}
		files = append(files, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestImportDirection(t *testing.T) {
	files := sources(t)
	if len(files) < 10 {
		t.Fatalf("only %d Go files found", len(files))
	}
	for _, v := range violations(files) {
		t.Error(v)
	}
}

func TestTopFolders(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		_, known := folders[e.Name()]
		if e.IsDir() && !known && !strings.HasPrefix(e.Name(), ".") && e.Name() != "dist" {
			t.Errorf("unknown top folder %s", e.Name())
		}
	}
}

// TestViolations plants imports in both directions.
func TestViolations(t *testing.T) {
	for _, c := range []struct {
		path, imports string
		want          string // the violation, or nothing
	}{
		{"accel/cpu/ntt.go", "accel", ""},
		{"accel/cpu/ntt_test.go", "accel/acceltest", ""},
		{"accel/accel.go", "fhe", "accel/accel.go imports fhe"},
		{"accel/accel.go", "proto/tacit/v1", "accel/accel.go imports proto/tacit/v1"},
		{"fhe/keys.go", "accel", ""},
		{"fhe/integer/add.go", "fhe/noise", ""},
		{"fhe/integer/add.go", "bootstrap", "fhe/integer/add.go imports bootstrap"},
		{"fhe/integer/add_test.go", "bootstrap", "fhe/integer/add_test.go imports bootstrap"},
		{"fhe/integer/add_test.go", "bootstrap/bootstraptest", ""},
		{"fhe/integer/add.go", "bootstrap/bootstraptest", "fhe/integer/add.go imports bootstrap/bootstraptest"},
		{"bootstrap/batcher.go", "fhe", ""},
		{"bootstrap/batcher.go", "coprocessor/graph", "bootstrap/batcher.go imports coprocessor/graph"},
		{"bootstrap/batcher.go", "proto/tacit/v1", "bootstrap/batcher.go imports proto/tacit/v1"},
		{"coprocessor/server.go", "proto/tacit/v1", ""},
		{"coprocessor/server.go", "bench", "coprocessor/server.go imports bench"},
		{"proto/tacit/v1/job.pb.go", "fhe", "proto/tacit/v1/job.pb.go imports fhe"},
		{"bench/run.go", "coprocessor", ""},
		{"bench/run.go", "cmd/tacit", "bench/run.go imports cmd/tacit"},
		{"cmd/tacit/main.go", "bench", ""},
		{"util/strings.go", "fhe", "util/strings.go: unknown top folder util"},
		{"tacit.go", "", "tacit.go: the root holds no package"},
		{"house_test.go", "fhe", "house_test.go imports fhe"},
	} {
		f := source{c.path, []string{"fmt", "example.org/bootstrap"}}
		if c.imports != "" {
			f.imports = append(f.imports, module+"/"+c.imports)
		}
		got := strings.Join(violations([]source{f}), "; ")
		if got != c.want {
			t.Errorf("%s with %s: got %q, want %q", c.path, c.imports, got, c.want)
		}
	}
}
