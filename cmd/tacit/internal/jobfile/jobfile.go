// Package jobfile reads job files: the text form of package graph, or a JobSpec
// in protojson. A text may use names that it does not define; they are bound to
// ciphertexts when the job is submitted.
package jobfile

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tacit-fhe/tacit/coprocessor/graph"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// MaxSize bounds a job file in bytes.
const MaxSize = 16 << 20

// File is a job file whose syntax was checked.
type File struct {
	// Names are what has to be bound, sorted.
	Names []string

	text string
	json *tacitv1.JobSpec // of a file in protojson
}

// JSONError reports a file that begins as JSON but is no JobSpec.
type JSONError struct{ Err error }

func (e *JSONError) Error() string { return "not a job in JSON: " + e.Err.Error() }

func (e *JSONError) Unwrap() error { return e.Err }

// Parse reads a job file. The error is a *graph.SyntaxError or a *JSONError.
func Parse(data []byte) (*File, error) {
	if JSON(data) {
		spec := new(tacitv1.JobSpec)
		if err := protojson.Unmarshal(data, spec); err != nil {
			return nil, &JSONError{err}
		}
		return &File{json: spec}, nil
	}
	f := &File{text: string(data)}
	candidates := make(map[string]graph.Handle)
	for _, name := range undefined(f.text) {
		candidates[name] = sha256.Sum256([]byte("unbound name " + name))
	}
	spec, err := graph.ParseText(f.text, candidates)
	if err != nil {
		return nil, err
	}
	used := make(map[graph.Handle]bool)
	for _, n := range spec.Nodes {
		for _, in := range n.Inputs {
			if h := in.GetHandle(); len(h) == len(graph.Handle{}) {
				used[graph.Handle(h)] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(candidates)) {
		if used[candidates[name]] {
			f.Names = append(f.Names, name)
		}
	}
	return f, nil
}

// JSON says that a job file is in protojson.
func JSON(data []byte) bool { return bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) }

var (
	comments   = regexp.MustCompile(`#[^\n]*`)
	words      = regexp.MustCompile(`\b[A-Za-z_][A-Za-z0-9_]*`)
	definition = regexp.MustCompile(`(?m)^[ \t]*(?:input[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*[=:]`)
)

// undefined lists the words of a text that it does not define: the names that
// need a value, and words of the language, which as names do no harm.
func undefined(text string) (found []string) {
	text = comments.ReplaceAllString(text, "")
	defined := make(map[string]bool)
	for _, m := range definition.FindAllStringSubmatch(text, -1) {
		defined[m[1]] = true
	}
	for _, w := range words.FindAllString(text, -1) {
		if !defined[w] {
			defined[w] = true
			found = append(found, w)
		}
	}
	return found
}

// BindError reports names without a value, or values without a name.
type BindError struct {
	Missing, Unused []string
}

func (e *BindError) Error() string {
	if len(e.Missing) > 0 {
		return "the job needs ciphertexts for " + strings.Join(e.Missing, ", ")
	}
	return "the job has no use for " + strings.Join(e.Unused, ", ")
}

// Spec returns the job with its names bound. The error is a *BindError.
func (f *File) Spec(names map[string]graph.Handle) (*tacitv1.JobSpec, error) {
	if err := f.Check(slices.Collect(maps.Keys(names))); err != nil {
		return nil, err
	}
	if f.json != nil {
		return f.json, nil
	}
	return graph.ParseText(f.text, names)
}

// Check says whether names are those that have to be bound. The error is a
// *BindError.
func (f *File) Check(names []string) error {
	e := &BindError{}
	for _, n := range f.Names {
		if !slices.Contains(names, n) {
			e.Missing = append(e.Missing, n)
		}
	}
	for _, n := range slices.Sorted(slices.Values(names)) {
		if !slices.Contains(f.Names, n) {
			e.Unused = append(e.Unused, n)
		}
	}
	if len(e.Missing)+len(e.Unused) > 0 {
		return e
	}
	return nil
}

// Binding gives a name a ciphertext: a stored one, or one of a file.
type Binding struct {
	Name   string
	Handle graph.Handle  // where File is empty
	Type   *tacitv1.Type // of a handle that may not be there yet, or nil
	File   string
	Index  int // of the value in File
}

// ParseBinding reads name=handle, name=handle:type, name=file or name=file#index.
func ParseBinding(text string) (Binding, error) {
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" || value == "" {
		return Binding{}, fmt.Errorf("%q is not of the form name=handle or name=file#index", text)
	}
	b := Binding{Name: name}
	var err error
	if b.Handle, err = graph.ParseHandle(value); err == nil {
		return b, nil
	}
	if digits, word, ok := strings.Cut(value, ":"); ok {
		if b.Handle, err = graph.ParseHandle(digits); err == nil {
			t, known := graph.ParseType(word)
			if !known {
				return Binding{}, fmt.Errorf("%q: no type is named %.20q", text, word)
			}
			b.Type = &t
			return b, nil
		}
	}
	b.File = value
	if i := strings.LastIndexByte(value, '#'); i >= 0 {
		b.File = value[:i]
		if b.Index, err = strconv.Atoi(value[i+1:]); err != nil || b.Index < 0 || b.File == "" {
			return Binding{}, fmt.Errorf("%q is not of the form name=file#index", text)
		}
	}
	return b, nil
}

// OutputNames returns a file name, without extension, for each output of a job:
// the label of its node where that is a plain name and no other output has it,
// with .1 for the second result, and output-0, output-1 … elsewhere.
func OutputNames(spec *tacitv1.JobSpec) []string {
	names := make([]string, len(spec.Outputs))
	taken := make(map[string]bool)
	for i, o := range spec.Outputs {
		names[i] = fmt.Sprintf("output-%d", i)
		if n := o.GetNode(); int(n) < len(spec.Nodes) {
			label := spec.Nodes[n].GetLabel()
			name := label
			if k := o.GetResult(); k > 0 {
				name = fmt.Sprintf("%s.%d", label, k)
			}
			if plainName.MatchString(label) && !taken[name] {
				names[i] = name
			}
		}
		taken[names[i]] = true
	}
	return names
}

// plainName matches what is safe as the name of a file everywhere.
var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)
