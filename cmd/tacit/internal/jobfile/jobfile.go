// Package jobfile reads job files: the text form of package graph, or a JobSpec
// in protojson. A text may use names that it does not define; they are bound to
// ciphertexts when the job is submitted.
package jobfile

import (
	"bytes"
	"cmp"
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

	text    string
	outline *graph.Outline
	json    *tacitv1.JobSpec // of a file in protojson
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
	outline, err := graph.ReadOutline(string(data))
	if err != nil {
		return nil, err
	}
	f := &File{text: string(data), outline: outline}
	for _, n := range outline.Free {
		f.Names = append(f.Names, n.Text)
	}
	slices.Sort(f.Names)
	return f, nil
}

// JSON says that a job file is in protojson.
func JSON(data []byte) bool { return bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) }

// BindError reports names without a value, or values without a name.
type BindError struct {
	Missing []graph.Name // in the order of the text
	Unused  []string     // sorted
	// Meant is what one of those names was likely meant to be, or empty.
	Meant string
}

func (e *BindError) Error() string {
	var parts []string
	if len(e.Missing) > 0 {
		var names []string
		for _, n := range e.Missing {
			names = append(names, fmt.Sprintf("%s (line %d)", n.Text, n.Line))
		}
		parts = append(parts, "the job needs ciphertexts for "+strings.Join(names, ", "))
	}
	if len(e.Unused) > 0 {
		parts = append(parts, "the job has no use for "+strings.Join(e.Unused, ", "))
	}
	return strings.Join(parts, "; ")
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
	var defined []string
	if f.outline != nil {
		defined = f.outline.Defined
		for _, n := range f.outline.Free {
			if !slices.Contains(names, n.Text) {
				e.Missing = append(e.Missing, n)
			}
		}
	}
	for _, n := range slices.Sorted(slices.Values(names)) {
		if !slices.Contains(f.Names, n) {
			e.Unused = append(e.Unused, n)
			e.Meant = cmp.Or(e.Meant, graph.Nearest(n, slices.Values(f.Names)))
		}
	}
	for _, n := range e.Missing {
		e.Meant = cmp.Or(e.Meant, graph.Nearest(n.Text, slices.Values(defined)))
	}
	if len(e.Missing)+len(e.Unused) > 0 {
		return e
	}
	return nil
}

// nodePlace matches the places of a spec that are within a node.
var nodePlace = regexp.MustCompile(`^nodes\[(\d+)\]`)

// Line returns the line of the statement that a place of the spec is in, such as
// nodes[3].inputs[1], or 0 when the place is in none or the file has no lines.
func (f *File) Line(place string) int {
	m := nodePlace.FindStringSubmatch(place)
	if m == nil || f.outline == nil {
		return 0
	}
	if i, err := strconv.Atoi(m[1]); err == nil && i < len(f.outline.Lines) {
		return f.outline.Lines[i]
	}
	return 0
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
