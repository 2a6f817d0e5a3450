package graph

import (
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tacit-fhe/tacit/bench/fuzztest"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// seedJobs returns the jobs of testdata.
func seedJobs(f testing.TB) []string {
	paths, err := filepath.Glob(filepath.Join("testdata", "*.job"))
	if err != nil || len(paths) == 0 {
		f.Fatal("no jobs in testdata", err)
	}
	var jobs []string
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		jobs = append(jobs, string(text))
	}
	return jobs
}

func FuzzValidate(tf *testing.F) {
	// The smallest node takes two bytes on the wire and some hundred times as many here.
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 256 << 10, PerByte: 1000})
	for _, text := range seedJobs(f) {
		spec, err := ParseText(text, nil)
		if err != nil {
			f.Fatal(err)
		}
		encoded, err := proto.Marshal(spec)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
		f.Add(encoded[:len(encoded)/2])
	}
	limits := DefaultLimits()
	limits.MaxNodes = 1000
	f.Fuzz(func(t *testing.T, encoded []byte) {
		spec := new(tacitv1.JobSpec)
		if proto.Unmarshal(encoded, spec) != nil {
			return
		}
		g, err := validate(spec, limits)
		var refused *Error
		switch {
		case err == nil:
			checkGraph(t, spec, g)
		case errors.As(err, &refused):
			if refused.Reason == "" || refused.Message == "" {
				t.Errorf("%+v does not say why", refused)
			}
		case !errors.Is(err, errDown):
			t.Errorf("%v is no *Error", err)
		}
	})
}

// checkGraph checks what holds for every graph.
func checkGraph(t *testing.T, spec *tacitv1.JobSpec, g *Graph) {
	done := make(map[int]bool)
	for _, i := range g.Order() {
		n := g.Node(i)
		for _, o := range n.Operands {
			width, ok := Width(o.Type)
			if !ok || o.Kind == Scalar && n.Op != tacitv1.Op_OP_RAND && n.Op != tacitv1.Op_OP_RAND_BOUNDED && new(big.Int).SetBytes(o.Scalar).BitLen() > width {
				t.Errorf("node %d has the operand %+v", i, o)
			}
			if o.Kind == Computed && (!done[o.Node] || g.Node(o.Node).Types()[o.Result] != o.Type) {
				t.Errorf("node %d reads %+v too early, or as another type", i, o)
			}
		}
		done[i] = true
	}
	if g.Len() != len(spec.Nodes) || len(g.Outputs()) != len(spec.Outputs) || len(g.Outputs()) == 0 {
		t.Errorf("%d nodes and %d outputs of %d and %d", g.Len(), len(g.Outputs()), len(spec.Nodes), len(spec.Outputs))
	}
	handles := make(map[Handle]bool)
	for _, o := range g.Outputs() {
		if !done[o.Node] || handles[o.Handle] {
			t.Errorf("output %+v is not computed, or not alone", o)
		}
		handles[o.Handle] = true
	}
}

func FuzzParseText(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 256 << 10, PerByte: 500})
	for _, text := range seedJobs(f) {
		f.Add(text)
	}
	f.Add("a: ebool = rand() as")
	f.Add("output given # \x00\xff")
	names := map[string]Handle{"given": {5}}
	f.Fuzz(func(t *testing.T, src string) {
		spec, err := ParseText(src, names)
		if err == nil {
			checkRoundTrip(t, spec)
			return
		}
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || syntax.Line < 1 || syntax.Column < 1 || syntax.Message == "" {
			t.Errorf("%v does not say what is wrong and where", err)
		}
	})
}
