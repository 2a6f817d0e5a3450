package device

import (
	"errors"
	"slices"
	"testing"

	"github.com/tacit-fhe/tacit/accel/cuda"
	"github.com/tacit-fhe/tacit/accel/cuda/cudatest"
	"github.com/tacit-fhe/tacit/bench/fuzztest"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, kind string
		indices    []int
		bad        bool
	}{
		{name: "auto", kind: Auto}, {name: "cpu", kind: CPU}, {name: "cuda", kind: CUDA},
		{name: "cuda:0", kind: CUDA, indices: []int{0}}, {name: "cuda:2,0", kind: CUDA, indices: []int{2, 0}},
		{name: "", bad: true}, {name: "gpu", bad: true}, {name: "cpu:0", bad: true}, {name: "auto:", bad: true}, {name: "cuda:", bad: true},
		{name: "cuda:x", bad: true}, {name: "cuda:-1", bad: true}, {name: "cuda:0,", bad: true}, {name: "cuda:1,1", bad: true},
	} {
		kind, indices, err := parse(c.name)
		var nameError *NameError
		if c.bad != errors.As(err, &nameError) || kind != c.kind || !slices.Equal(indices, c.indices) {
			t.Errorf("%q: %q, %v, %v", c.name, kind, indices, err)
		}
	}
}

func TestOpen(t *testing.T) {
	broken := errors.New("broken")
	failing := func(cuda.Options) (*cuda.Backend, error) { return nil, broken }
	working := func(o cuda.Options) (*cuda.Backend, error) { return cuda.Open(cudatest.NewDriver(1), o) }
	for _, c := range []struct {
		name    string
		open    func(cuda.Options) (*cuda.Backend, error)
		backend string // "" for an error
		why     error
	}{
		{"auto", failing, "cpu", broken}, {"auto", working, "cuda", nil}, {"cpu", working, "cpu", nil},
		{"cuda", working, "cuda", nil}, {"cuda:0", working, "cuda", nil}, {"cuda", failing, "", nil}, {"cuda:1", working, "", nil}, {"tpu", working, "", nil},
	} {
		b, why, err := open(c.name, c.open, nil)
		if why != c.why || (err != nil) != (c.backend == "") {
			t.Errorf("%s: why %v, error %v", c.name, why, err)
		}
		if err != nil {
			continue
		}
		if got := b.Info().Name; (got == "cuda") != (c.backend == "cuda") {
			t.Errorf("%s: backend %s, want %s", c.name, got, c.backend)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

// FuzzParse feeds the reader of names of devices.
func FuzzParse(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 128})
	for _, name := range []string{"auto", "cpu", "cuda", "cuda:0,1", "cuda:-1"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		_, indices, err := parse(name)
		for _, i := range indices {
			if err == nil && i < 0 {
				t.Errorf("%q has the index %d", name, i)
			}
		}
	})
}
