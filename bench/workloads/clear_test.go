package workloads

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/bench/workloads/parity"
	"github.com/tacit-fhe/tacit/bootstrap"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
)

// clear computes in the clear with the noise bounds of the default parameters, so that
// a program that has no room for its noise fails.
type clear struct {
	params *fhe.Parameters
	secret *fhe.SecretKey
	boot   *bootstrap.Clear
	eval   *integer.Evaluator
}

func newClear(t *testing.T) *clear {
	t.Helper()
	p, err := fhe.Preset(fhe.DefaultPreset)
	if err != nil {
		t.Fatal(err)
	}
	l := p.Literal()
	l.Name, l.Clear, l.TestOnly = "insecure-test-default", true, true
	if p, err = fhe.NewParameters(l); err != nil {
		t.Fatal(err)
	}
	backend, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	secret, _, err := fhe.EncryptionKeys(p, [fhe.SeedSize]byte{1}, backend)
	if err != nil {
		t.Fatal(err)
	}
	c := &clear{params: p, secret: secret}
	if c.boot, err = bootstrap.NewClear(p); err != nil {
		t.Fatal(err)
	}
	if c.eval, err = integer.New(p, c.boot); err != nil {
		t.Fatal(err)
	}
	return c
}

// run runs the program of a workload on inputs.
func (c *clear) run(t *testing.T, w *Workload, size int, in Values) Values {
	t.Helper()
	seed := [fhe.SeedSize]byte{2}
	var out Values
	if w.Bits != nil {
		var messages []int64
		for i, width := range w.Bits.In(size) {
			for b := range width {
				messages = append(messages, parity.Half*int64(in[i].Bit(b)))
			}
		}
		encryption := c.secret.Encrypt(seed, messages)
		bits := make([]fhe.LWE, len(messages))
		for i := range bits {
			bits[i] = encryption.LWE(c.params, i, parity.Half)
		}
		compute, err := w.Bits.Prepare(c.params, c.boot)
		if err != nil {
			t.Fatal(err)
		}
		result, err := compute(t.Context(), size, bits)
		if err != nil {
			t.Fatal(err)
		}
		for _, width := range w.Bits.Out(size) {
			x := new(big.Int)
			for b, bit := range result[:width] {
				x.SetBit(x, b, uint(c.secret.Decrypt(bit)/parity.Half&1))
			}
			result = result[width:]
			out = append(out, x)
		}
		return out
	}
	var values []*integer.Value
	for i, typ := range w.Integers.Types(size) {
		list, err := integer.Encrypt(c.params, c.secret.ID(), c.secret, seed, integer.PlainBig(typ, in[i]))
		if err != nil {
			t.Fatal(err)
		}
		seed[0]++
		values = append(values, list.Value(0))
	}
	result, err := w.Integers.Compute(t.Context(), c.eval, size, values)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range result {
		out = append(out, integer.Decrypt(c.secret, v).Big())
	}
	return out
}

// TestPrograms runs every program of TFHE at its smallest size and, where that does
// not take long, at the next.
func TestPrograms(t *testing.T) {
	c := newClear(t)
	for _, w := range All {
		if w.Integers == nil && w.Bits == nil {
			continue
		}
		sizes := w.Sizes[:1]
		if !w.Slow {
			sizes = w.Sizes[:min(2, len(w.Sizes))]
		}
		for _, size := range sizes {
			t.Run(fmt.Sprintf("%s/%d", w.Name, size), func(t *testing.T) {
				r := rand.New(rand.NewPCG(1, uint64(size)))
				for range 3 {
					in := w.Inputs(r, size)
					want := w.Oracle(size, in)
					got := c.run(t, w, size, in)
					if len(got) != len(want) {
						t.Fatalf("%d results, want %d", len(got), len(want))
					}
					for i := range want {
						miss := new(big.Int).Sub(got[i], want[i])
						if miss.Abs(miss).Cmp(big.NewInt(int64(w.Tolerance))) > 0 {
							t.Errorf("result %d of %v is %v, want %v", i, in, got[i], want[i])
						}
					}
				}
			})
		}
	}
}

// TestAbsences expects a program or a reason for every scheme.
func TestAbsences(t *testing.T) {
	names := map[string]bool{}
	for _, w := range All {
		if names[w.Name] {
			t.Errorf("%s is there twice", w.Name)
		}
		names[w.Name] = true
		for _, s := range Schemes {
			has := w.Vectors != nil && (!w.Vectors.Real || s == CKKS)
			if s == TFHE {
				has = w.Integers != nil || w.Bits != nil
			}
			if reason := w.Absent[s]; has == (reason != "") {
				t.Errorf("%s on %s: has a program: %v, is absent because %q", w.Name, s, has, reason)
			}
		}
	}
}
