package tacit_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// elsewhere are decoders that no fuzz target is seen to call, and why.
var elsewhere = map[string]string{
	"cmd/tacit.parseDigest":     "graph.ParseHandle, which is",
	"cmd/tacit.parseKeyID":      "graph.ParseHandle, which is",
	"coprocessor.parseCursor":   "FuzzRequests calls it through what it has made before",
	"coprocessor.parseExpected": "FuzzRequests calls it through what it has made before",
	"coprocessor/graph.ParseOp": "looks up a name",
	"fhe.ReadEvaluationKey":     "fhe.CheckEvaluationKey, which is and reads the same without its memory",
	"fhe/boolean.ParseOp":       "looks up a name",
	"fhe/integer.decodeBlock":   "a method between it and integer.UnmarshalList, which is",
}

// decoderName is what a function is called that reads what somebody has written.
var decoderName = regexp.MustCompile(`^(?i:unmarshal|decode|parse|read|load|checkBackup|check\w*Key$)`)

// textName is what it is called where it takes a string: otherwise that is the path of a file, which is read for one of the
// others.
var textName = regexp.MustCompile(`^(?i:unmarshal|decode|parse)`)

// isDecoder reports whether a function reads bytes, a text or a stream, and may refuse it.
func isDecoder(f *ast.FuncDecl) bool {
	if f.Recv != nil || !decoderName.MatchString(f.Name.Name) || f.Type.Results == nil {
		return false
	}
	fails := false
	for _, r := range f.Type.Results.List {
		id, ok := r.Type.(*ast.Ident)
		fails = fails || ok && (id.Name == "error" || id.Name == "bool")
	}
	for _, p := range f.Type.Params.List {
		switch t := p.Type.(type) {
		case *ast.ArrayType:
			if id, ok := t.Elt.(*ast.Ident); ok && id.Name == "byte" {
				return fails
			}
		case *ast.Ident:
			if t.Name == "string" && textName.MatchString(f.Name.Name) {
				return fails
			}
		case *ast.SelectorExpr:
			if t.Sel.Name == "Reader" {
				return fails
			}
		case *ast.StarExpr:
			if s, ok := t.X.(*ast.SelectorExpr); ok && s.Sel.Name == "Decoder" {
				return fails
			}
		}
	}
	return false
}

// uses returns the functions that a piece of code calls or hands on, as folder.Name. What methods call is not known.
func uses(folder string, file *ast.File, in ast.Node) (names []string) {
	folders := make(map[string]string) // of the names of packages
	for _, spec := range file.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		name := path.Base(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		folders[name] = strings.TrimPrefix(p, module+"/")
	}
	add := func(e ast.Expr) {
		switch e := e.(type) {
		case *ast.IndexExpr: // of a generic function
			if id, ok := e.X.(*ast.Ident); ok {
				names = append(names, folder+"."+id.Name)
			}
		case *ast.Ident:
			names = append(names, folder+"."+e.Name)
		case *ast.SelectorExpr:
			if id, ok := e.X.(*ast.Ident); ok && folders[id.Name] != "" {
				names = append(names, folders[id.Name]+"."+e.Sel.Name)
			}
		}
	}
	ast.Inspect(in, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			add(call.Fun)
			for _, a := range call.Args {
				add(a) // it may be a function
			}
		}
		return true
	})
	return names
}

// fed returns what a fuzz target feeds: the function that it gives to Fuzz.
func fed(target *ast.FuncDecl) (fn ast.Node) {
	ast.Inspect(target, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			if s, ok := call.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Fuzz" && len(call.Args) == 1 {
				fn = call.Args[0]
			}
		}
		return true
	})
	return fn
}

// TestDecodersAreFuzzed checks that each function that reads what comes from outside is called by a fuzz target, itself or by
// what that calls, or that it is said why not.
func TestDecodersAreFuzzed(t *testing.T) {
	decoders, calls := make(map[string]bool), make(map[string][]string)
	var left []string // to follow
	for _, top := range []string{"fhe", "coprocessor", "bench", "cmd"} {
		err := filepath.WalkDir(top, func(p string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasPrefix(filepath.ToSlash(p), "bench/fuzztest/") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			folder := path.Dir(filepath.ToSlash(p))
			for _, d := range file.Decls {
				f, ok := d.(*ast.FuncDecl)
				if !ok {
					continue
				}
				name, test := folder+"."+f.Name.Name, strings.HasSuffix(p, "_test.go")
				calls[name] = append(calls[name], uses(folder, file, f)...)
				if test && strings.HasPrefix(f.Name.Name, "Fuzz") {
					left = append(left, uses(folder, file, fed(f))...)
				}
				if !test && isDecoder(f) {
					decoders[name] = true
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(decoders) < 20 {
		t.Fatalf("only %d decoders were found", len(decoders))
	}
	fuzzed := make(map[string]bool)
	for len(left) > 0 {
		name := left[len(left)-1]
		left = left[:len(left)-1]
		if !fuzzed[name] {
			fuzzed[name] = true
			left = append(left, calls[name]...)
		}
	}
	for d := range decoders {
		if why := elsewhere[d]; !fuzzed[d] && why == "" {
			t.Errorf("%s reads what comes from outside, and no fuzz target calls it", d)
		} else if fuzzed[d] && why != "" {
			t.Errorf("%s is fuzzed, and excused: %s", d, why)
		}
	}
	for d := range elsewhere {
		if !decoders[d] {
			t.Errorf("%s is no decoder", d)
		}
	}
}
