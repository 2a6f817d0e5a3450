package bootstrap

import (
	"context"
	"testing"

	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/boolean"
)

// TestGatesOnRealCiphertexts runs every gate on every input, and an adder of four
// bits made of gates.
func TestGatesOnRealCiphertexts(t *testing.T) {
	f := load(t, "tacit-bool-v1")
	b := NewBatcher(f.eval, 2)
	defer b.Close()
	eval, err := boolean.New(f.params, b)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	bit := f.encrypt("bits", 1, 0, 1)
	var gates []boolean.Gate
	var want []int64
	for op := boolean.Op(0); op.Valid(); op++ {
		for x := range int64(1) << op.Inputs() {
			in := make([]fhe.LWE, op.Inputs())
			for i := range in {
				in[i] = f.encrypt("gate", 1, x>>i&1)[0]
			}
			gates = append(gates, boolean.Gate{Op: op, In: in})
			want = append(want, map[boolean.Op][]int64{
				boolean.And: {0, 0, 0, 1}, boolean.Or: {0, 1, 1, 1}, boolean.Xor: {0, 1, 1, 0},
				boolean.Nand: {1, 1, 1, 0}, boolean.Nor: {1, 0, 0, 0}, boolean.Xnor: {1, 0, 0, 1},
				boolean.Not: {1, 0}, boolean.Mux: {0, 0, 0, 1, 1, 0, 1, 1},
			}[op][x])
		}
	}
	out, err := eval.Apply(ctx, gates...)
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range out {
		if got := f.keys.Secret.Decrypt(x); got != want[i] {
			t.Errorf("gate %d, %v: %d, want %d", i, gates[i].Op, got, want[i])
		}
		if e := f.keys.Secret.Noise(x); e*e > 100*x.Bound.Variance {
			t.Errorf("gate %d, %v: error %g is beyond ten standard deviations", i, gates[i].Op, e)
		}
	}

	apply := func(op boolean.Op, in ...fhe.LWE) fhe.LWE {
		t.Helper()
		out, err := eval.Apply(ctx, boolean.Gate{Op: op, In: in})
		if err != nil {
			t.Fatal(err)
		}
		return out[0]
	}
	// 11 + 6, carries by multiplexers: where a and b differ the carry goes on.
	x, y := 11, 6
	carry := bit[0]
	sum := 0
	for i := range 4 {
		a, b := bit[x>>i&1], bit[y>>i&1]
		differ := apply(boolean.Xor, a, b)
		sum |= int(f.keys.Secret.Decrypt(apply(boolean.Xor, differ, carry))) << i
		carry = apply(boolean.Mux, differ, carry, a)
	}
	if sum |= int(f.keys.Secret.Decrypt(carry)) << 4; sum != x+y {
		t.Errorf("%d + %d = %d", x, y, sum)
	}
}
