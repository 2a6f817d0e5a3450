package bootstrap

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
)

// plaintext is what an operation must give.
func plaintext(op integer.Op, t integer.Type, x [3]uint64) uint64 {
	mask := ^uint64(0) >> (64 - t.Bits())
	flag := func(b bool) uint64 {
		if b {
			return 1
		}
		return 0
	}
	a, b := x[0], x[1]
	switch op {
	case integer.OpAdd:
		return (a + b) & mask
	case integer.OpSub:
		return (a - b) & mask
	case integer.OpNeg:
		return -a & mask
	case integer.OpEq:
		return flag(a == b)
	case integer.OpNe:
		return flag(a != b)
	case integer.OpLt:
		return flag(a < b)
	case integer.OpLe:
		return flag(a <= b)
	case integer.OpGt:
		return flag(a > b)
	case integer.OpGe:
		return flag(a >= b)
	case integer.OpAnd:
		return a & b
	case integer.OpOr:
		return a | b
	case integer.OpXor:
		return a ^ b
	case integer.OpNot:
		return ^a & mask
	case integer.OpSelect:
		if x[0] == 1 {
			return x[1]
		}
		return x[2]
	}
	panic(op)
}

// TestIntegersOnRealCiphertexts runs every operation, type and kind of right
// operand on real encryptions: on the test preset several vectors each, on the
// default preset one of each operation at 8 bits and the costlier ones at 64.
func TestIntegersOnRealCiphertexts(t *testing.T) {
	for _, c := range []struct {
		preset  string
		types   []integer.Type
		vectors int
		plain   bool
	}{
		{fhe.TestPreset, []integer.Type{integer.Bool, integer.Uint8, integer.Uint16, integer.Uint32, integer.Uint64}, 4, true},
		{fhe.DefaultPreset, []integer.Type{integer.Bool, integer.Uint8, integer.Uint64}, 1, false},
	} {
		t.Run(c.preset, func(t *testing.T) {
			if testing.Short() && c.preset != fhe.TestPreset {
				t.Skip("real parameters in -short")
			}
			f := load(t, c.preset)
			b := NewBatcher(f.eval, 2)
			defer b.Close()
			eval, err := integer.New(f.params, b)
			if err != nil {
				t.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(1, 2))
			for _, typ := range c.types {
				for op := integer.Op(0); op.Valid(); op++ {
					operands := []integer.Type{typ, typ, typ}[:op.Operands()]
					if op == integer.OpSelect {
						operands[0] = integer.Bool
					}
					if _, err := op.Result(operands...); err != nil {
						continue // not an operation of this type
					}
					for v := range c.vectors {
						x := vector(rng, v, operands)
						f.checkOp(t, eval, op, operands, x, false)
						if c.plain && len(operands) > 1 {
							f.checkOp(t, eval, op, operands, x, true)
						}
					}
				}
			}
		})
	}
}

// vector draws operands; the second vector of an operation has equal ones, the
// third neighbours across a carry.
func vector(rng *rand.Rand, v int, types []integer.Type) (x [3]uint64) {
	for i, t := range types {
		x[i] = rng.Uint64() >> (64 - t.Bits())
	}
	last := len(types) - 1
	switch {
	case v == 1 && last > 0:
		x[last-1] = x[last] & (^uint64(0) >> (64 - types[last-1].Bits()))
	case v == 2 && last > 0 && types[last] != integer.Bool:
		x[last-1], x[last] = 1<<(types[last].Bits()-1), 1<<(types[last].Bits()-1)-1
	}
	return x
}

func (f *fixture) checkOp(t *testing.T, eval *integer.Evaluator, op integer.Op, types []integer.Type, x [3]uint64, plain bool) {
	t.Helper()
	sk := f.keys.Secret
	in := make([]integer.Operand, len(types))
	for i, typ := range types {
		if plain && i == len(types)-1 {
			in[i] = integer.Plain(typ, x[i])
			continue
		}
		seed := testSeed(fmt.Sprint(op, types, x, i))
		list, err := integer.Encrypt(f.params, sk.ID(), sk, seed, integer.Plain(typ, x[i]))
		if err != nil {
			t.Fatal(err)
		}
		in[i] = list.Value(0)
	}
	out, err := eval.Apply(context.Background(), op, in...)
	if err != nil {
		t.Fatalf("%v %v %v: %v", op, types, x, err)
	}
	// The result is packed and goes through its encoding, as it does between jobs.
	list, err := integer.Pack(f.params, sk.ID(), f.eval, out)
	if err != nil {
		t.Fatal(err)
	}
	data, err := list.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	back, err := integer.UnmarshalList(data, f.params)
	if err != nil {
		t.Fatal(err)
	}
	want := plaintext(op, types[len(types)-1], x)
	if got := integer.Decrypt(sk, back.Value(0)).Big().Uint64(); got != want {
		t.Errorf("%v %v %v, plaintext operand %v: got %d, want %d", op, types, x[:len(types)], plain, got, want)
	}
	for i, b := range out.Blocks {
		if e := sk.Noise(b); e*e > 100*b.Bound.Variance {
			t.Errorf("%v %v: the error of block %d, %g, is beyond ten standard deviations", op, types, i, e)
		}
	}
}
