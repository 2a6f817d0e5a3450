package bootstrap

import (
	"context"
	"errors"
	"testing"

	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

// TestClear compares what is computed without keys with whole bootstraps under keys of
// zeros: messages and bounds.
func TestClear(t *testing.T) {
	f := load(t, fhe.MockPreset)
	c, err := NewClear(f.params)
	if err != nil {
		t.Fatal(err)
	}
	for _, lut := range f.tables(t) {
		lo, hi := lut.Domain()
		for m := lo; m <= hi; m++ {
			in := f.params.Combine(lo, fhe.Term{Weight: 1, LWE: f.encrypt("clear", hi-lo, m-lo)[0]})
			real, clear := []fhe.PBS{{In: in, LUT: lut}}, []fhe.PBS{{In: in, LUT: lut}}
			if err := f.eval.Bootstrap(context.Background(), real); err != nil {
				t.Fatal(err)
			}
			if err := c.Bootstrap(context.Background(), clear); err != nil {
				t.Fatal(err)
			}
			sources := make(map[uint64]bool)
			for i, want := range real[0].Out {
				got := clear[0].Out[i]
				if g, w := f.keys.Secret.Decrypt(got), f.keys.Secret.Decrypt(want); g != w {
					t.Errorf("output %d of %d at %d: %d, want %d", i, len(real[0].Out), m, g, w)
				}
				if got.Bound.Min != want.Bound.Min || got.Bound.Max != want.Bound.Max || got.Bound.Variance != want.Bound.Variance {
					t.Errorf("bound %+v, want %+v", got.Bound, want.Bound)
				}
				sources[got.Bound.Source] = true
			}
			if len(sources) != len(real[0].Out) || sources[0] {
				t.Errorf("sources %v of %d outputs", sources, len(real[0].Out))
			}
		}
	}
	if s := c.Stats(); s.Bootstraps == 0 || s.Bootstraps != s.Batches || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
	noisy := f.encrypt("noisy", 3, 1)[0]
	noisy.Bound.Variance = 1
	var task *TaskError
	if err := c.Bootstrap(context.Background(), []fhe.PBS{{In: noisy, LUT: f.lut(t, 0, 3, func(m int64) int64 { return m })}}); !errors.As(err, &task) || !errors.As(err, new(*noise.NoiseError)) {
		t.Errorf("a noisy input: %v", err)
	}
	if _, err := NewClear(load(t, fhe.TestPreset).params); !errors.As(err, new(*fhe.ParametersError)) {
		t.Errorf("ciphertexts that are none: %v", err)
	}
}

// TestClearIntegers computes with 64-bit values and packs them, as a mock does.
func TestClearIntegers(t *testing.T) {
	f := load(t, fhe.MockPreset)
	c, err := NewClear(f.params)
	if err != nil {
		t.Fatal(err)
	}
	eval, err := integer.New(f.params, c)
	if err != nil {
		t.Fatal(err)
	}
	list, err := integer.Encrypt(f.params, f.keys.Secret.ID(), f.keys.Secret, testSeed("clear"), integer.Plain(integer.Uint64, 1<<40+17), integer.Plain(integer.Uint64, 1<<20+3))
	if err != nil {
		t.Fatal(err)
	}
	for op, want := range map[integer.Op]string{
		integer.OpAdd: "euint64:1099512676372", integer.OpSub: "euint64:1099510579214", integer.OpMul: "euint64:1152924803159556147", integer.OpDiv: "euint64:1048573",
		integer.OpGt: "ebool:true",
	} {
		out, err := eval.Apply(context.Background(), op, list.Value(0), list.Value(1))
		if err != nil {
			t.Fatal(err)
		}
		packed, err := integer.Pack(f.params, f.keys.Secret.ID(), c, out)
		if err != nil {
			t.Fatal(err)
		}
		data, err := packed.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		back, err := integer.UnmarshalList(data, f.params)
		if err != nil {
			t.Fatal(err)
		}
		if got := integer.Decrypt(f.keys.Secret, back.Value(0)).String(); got != want {
			t.Errorf("%v: %s, want %s", op, got, want)
		}
	}
}
