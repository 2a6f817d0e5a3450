package bootstrap

import (
	"context"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
)

// maximum is the greatest plaintext of a type.
func maximum(t integer.Type) *big.Int {
	m := new(big.Int).Lsh(big.NewInt(1), uint(t.Bits()))
	return m.Sub(m, big.NewInt(1))
}

// plaintext is what an operation must give, or nothing for random values.
func plaintext(op integer.Op, types []integer.Type, x []*big.Int) []*big.Int {
	t, width := types[len(types)-1], uint(types[0].Bits())
	var z big.Int
	is := func(x *big.Int) []*big.Int { return []*big.Int{new(big.Int).And(x, maximum(t))} }
	flag := func(b bool) []*big.Int {
		if b {
			return []*big.Int{big.NewInt(1)}
		}
		return []*big.Int{new(big.Int)}
	}
	over := func(x *big.Int) []*big.Int { return append(is(x), flag(is(x)[0].Cmp(x) != 0)...) }
	var a, b *big.Int
	var order int
	var amount uint
	if a = x[0]; len(x) > 1 {
		b = x[1]
		order = a.Cmp(b)
		amount = uint(new(big.Int).Mod(b, big.NewInt(int64(width))).Uint64())
	}
	// The bits of a twice in a row, shifted right.
	turned := func(right uint) []*big.Int { return is(z.Rsh(z.Or(z.Lsh(a, width), a), right)) }
	switch op {
	case integer.OpAdd:
		return is(z.Add(a, b))
	case integer.OpSub:
		return is(z.Sub(a, b))
	case integer.OpMul:
		return is(z.Mul(a, b))
	case integer.OpAddOverflow:
		return over(z.Add(a, b))
	case integer.OpSubOverflow:
		return over(z.Sub(a, b))
	case integer.OpMulOverflow:
		return over(z.Mul(a, b))
	case integer.OpNeg:
		return is(z.Neg(a))
	case integer.OpNot:
		return is(z.Not(a))
	case integer.OpAnd:
		return is(z.And(a, b))
	case integer.OpOr:
		return is(z.Or(a, b))
	case integer.OpXor:
		return is(z.Xor(a, b))
	case integer.OpEq:
		return flag(order == 0)
	case integer.OpNe:
		return flag(order != 0)
	case integer.OpLt:
		return flag(order < 0)
	case integer.OpLe:
		return flag(order <= 0)
	case integer.OpGt:
		return flag(order > 0)
	case integer.OpGe:
		return flag(order >= 0)
	case integer.OpMin:
		return []*big.Int{x[max(0, order)]}
	case integer.OpMax:
		return []*big.Int{x[max(0, -order)]}
	case integer.OpSelect:
		return []*big.Int{x[2-a.Int64()]}
	case integer.OpDiv, integer.OpRem, integer.OpDivRem:
		q, r := maximum(t), a
		if b.Sign() != 0 {
			q, r = new(big.Int).QuoRem(a, b, new(big.Int))
		}
		return map[integer.Op][]*big.Int{integer.OpDiv: {q}, integer.OpRem: {r}, integer.OpDivRem: {q, r}}[op]
	case integer.OpMulDiv:
		return is(z.Quo(z.Mul(a, b), x[2]))
	case integer.OpShl:
		return []*big.Int{z.And(z.Lsh(a, amount), maximum(types[0]))}
	case integer.OpShr:
		return []*big.Int{z.Rsh(a, amount)}
	case integer.OpRotl:
		return turned(width - amount)
	case integer.OpRotr:
		return turned(amount)
	case integer.OpCast:
		if t == integer.Bool {
			return flag(a.Sign() != 0)
		}
		return is(a)
	case integer.OpSum:
		for _, y := range x {
			z.Add(&z, y)
		}
		return is(&z)
	case integer.OpIsIn:
		return flag(slices.ContainsFunc(x[1:], func(y *big.Int) bool { return y.Cmp(a) == 0 }))
	case integer.OpLookup:
		return is(z.SetUint64(tableValues[a.Int64()]))
	case integer.OpLookup2:
		return is(z.SetUint64(tableValues[a.Int64()&15<<4+b.Int64()&15]))
	case integer.OpRand, integer.OpRandBounded:
		return nil
	}
	panic(op)
}

// tableValues are those of a function of eight bits without structure.
var tableValues = func() (out [256]uint64) {
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range out {
		out[i] = rng.Uint64()
	}
	return out
}()

// operandTypes are the operands of an operation on values of type t, or nothing
// if it does not take them.
func operandTypes(op integer.Op, t integer.Type) []integer.Type {
	types := slices.Repeat([]integer.Type{t}, op.Operands())
	switch op {
	case integer.OpSelect:
		types[0] = integer.Bool
	case integer.OpCast:
		types[1] = integer.Uint32
	case integer.OpSum:
		types = slices.Repeat(types, 6)
	case integer.OpIsIn:
		types = slices.Repeat(types, 2)
	}
	if _, err := op.Results(types...); err != nil {
		return nil
	}
	return types
}

// TestIntegersOnRealCiphertexts runs every operation, type and kind of right
// operand on real encryptions: on the test preset several vectors each with
// either strategy, on the default preset one of each operation at 8 bits and the
// first ones at 64.
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
					types := operandTypes(op, typ)
					if types == nil || op > integer.OpSelect && typ.Bits() > 16 {
						continue // not an operation of this type, or too long
					}
					for v := range c.vectors {
						if op > integer.OpSelect && v == 3 {
							continue
						}
						x := vector(rng, v, types)
						strategy := []integer.Strategy{integer.Throughput, integer.Latency}[v%2]
						f.checkOp(t, eval.Using(strategy), op, types, x, false)
						if c.plain && len(types) > 1 {
							f.checkOp(t, eval.Using(strategy), op, types, x, true)
						}
					}
				}
			}
		})
	}
}

// vector draws operands; the second vector of an operation has equal ones, the
// third neighbours across a carry.
func vector(rng *rand.Rand, v int, types []integer.Type) []*big.Int {
	x := make([]*big.Int, len(types))
	for i, t := range types {
		x[i] = new(big.Int)
		for range (t.Bits() + 63) / 64 {
			x[i].Lsh(x[i], 64).Or(x[i], new(big.Int).SetUint64(rng.Uint64()))
		}
		x[i].And(x[i], maximum(t))
	}
	last := len(types) - 1
	if last == 0 || v == 0 || v > 2 {
		return x
	}
	if v == 2 {
		half := new(big.Int).Rsh(maximum(types[last]), 1)
		x[last-1], x[last] = half.Add(half, big.NewInt(1)), new(big.Int).Sub(half, big.NewInt(1))
	} else {
		x[last-1] = new(big.Int).Set(x[last])
	}
	x[last-1].And(x[last-1], maximum(types[last-1]))
	return x
}

// operand is operand i of an operation. It changes plaintexts that the operation
// does not take.
func (f *fixture) operand(t *testing.T, op integer.Op, types []integer.Type, x []*big.Int, i int, plain bool) integer.Operand {
	typ := types[i]
	seed := testSeed(fmt.Sprint(op, types, x, i))
	switch {
	case op == integer.OpCast && i == 1:
		return integer.To(typ)
	case (op == integer.OpRand || op == integer.OpRandBounded) && i == 0:
		return integer.Seed{Type: typ, Bytes: seed}
	case op == integer.OpRandBounded:
		x[i] = new(big.Int).Lsh(big.NewInt(1), uint(x[i].Bit(0)+2*x[i].Bit(1)+4*x[i].Bit(2)))
		plain = true
	case (op == integer.OpLookup || op == integer.OpLookup2) && i == op.Operands()-1:
		size := 256
		if types[0] == integer.Bool {
			size = 2
		}
		values := slices.Clone(tableValues[:size])
		for j := range values {
			values[j] &= new(big.Int).And(maximum(typ), maximum(integer.Uint64)).Uint64()
		}
		table, err := integer.NewTable(typ, values)
		if err != nil {
			t.Fatal(err)
		}
		return table
	case op == integer.OpMulDiv && i == 2:
		plain = true
	}
	if plain {
		if op == integer.OpDiv || op == integer.OpRem || op == integer.OpDivRem || op == integer.OpMulDiv {
			x[i].SetBit(x[i], 0, 1) // not 0
		}
		return integer.PlainBig(typ, x[i])
	}
	sk := f.keys.Secret
	list, err := integer.Encrypt(f.params, sk.ID(), sk, seed, integer.PlainBig(typ, x[i]))
	if err != nil {
		t.Fatal(err)
	}
	return list.Value(0)
}

func (f *fixture) checkOp(t *testing.T, eval *integer.Evaluator, op integer.Op, types []integer.Type, x []*big.Int, plain bool) {
	t.Helper()
	sk := f.keys.Secret
	in := make([]integer.Operand, len(types))
	for i := range types {
		in[i] = f.operand(t, op, types, x, i, plain && i == len(types)-1)
	}
	out, err := eval.ApplyAll(context.Background(), op, in...)
	if err != nil {
		t.Fatalf("%v %v %v: %v", op, types, x, err)
	}
	want := plaintext(op, types, x)
	for i, v := range out {
		// The result goes through its encoding, as it does between jobs.
		data, err := integer.NewList(f.params, sk.ID(), v).MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		back, err := integer.UnmarshalList(data, f.params)
		if err != nil {
			t.Fatal(err)
		}
		got := integer.Decrypt(sk, back.Value(0)).Big()
		if want != nil && got.Cmp(want[i]) != 0 {
			t.Errorf("%v %v %v, plaintext operand %v, result %d: got %d, want %d", op, types, x, plain, i, got, want[i])
		}
		if op == integer.OpRandBounded && got.Cmp(x[1]) >= 0 {
			t.Errorf("%v below %d: got %d", op, x[1], got)
		}
		for j, b := range v.Blocks {
			if e := sk.Noise(b); e*e > 100*b.Bound.Variance {
				t.Errorf("%v %v: the error of block %d, %g, is beyond ten standard deviations", op, types, j, e)
			}
		}
	}
}

// Errors of outputs of one rotation are correlated, the more the nearer they are
// (see fhe.LUT). The combinations that package integer makes of them have no more
// than the sum of squares of the weights, and outputs half a table apart are
// independent.
func TestOutputsOfOneRotation(t *testing.T) {
	f := load(t, fhe.TestPreset)
	stair := func(i int64) func(int64) int64 { return func(m int64) int64 { return (m + i) / 4 } }
	const samples = 4000
	messages := make([]int64, samples)
	for i := range messages {
		messages[i] = int64(i % 8)
	}
	for _, c := range []struct {
		name      string
		shifts    []int64
		fs        []func(int64) int64
		weights   []int64
		low, high float64 // of what independent errors have
	}{
		{"message of a staircase", []int64{0, 1, 2, 3}, []func(int64) int64{stair(0), stair(1), stair(2), stair(3)}, []int64{-3, 1, 1, 1}, 0.6, 1},
		{"difference of neighbours", []int64{0, 1}, []func(int64) int64{stair(0), stair(1)}, []int64{1, -1}, 0.6, 1},
		{"sum of neighbours", []int64{0, 1}, []func(int64) int64{stair(0), stair(1)}, []int64{1, 1}, 1, 1.5},
		{"sum of halves", []int64{0, 8}, []func(int64) int64{stair(0), stair(1)}, []int64{1, 1}, 0.9, 1.1},
		{"difference of halves", []int64{0, 8}, []func(int64) int64{stair(0), stair(1)}, []int64{1, -1}, 0.9, 1.1},
	} {
		lut, err := f.params.NewShiftedLUT(0, 7, c.shifts, c.fs...)
		if err != nil {
			t.Fatal(err)
		}
		tasks := make([]fhe.PBS, samples)
		for i, in := range f.encrypt(c.name, 7, messages...) {
			tasks[i] = fhe.PBS{In: in, LUT: lut}
		}
		if err := f.eval.Bootstrap(context.Background(), tasks); err != nil {
			t.Fatal(err)
		}
		combined, single, norm := 0.0, 0.0, 0.0
		for i, task := range tasks {
			want := int64(0)
			terms := make([]fhe.Term, len(c.weights))
			for j, w := range c.weights {
				terms[j] = fhe.Term{Weight: w, LWE: task.Out[j]}
				want += w * c.fs[j](messages[i])
			}
			out := f.params.Combine(0, terms...)
			if got := f.params.Decode(f.keys.Secret.Phase(out)); got != want {
				t.Fatalf("%s of %d: %d, want %d", c.name, messages[i], got, want)
			}
			e, first := f.keys.Secret.Noise(out), f.keys.Secret.Noise(task.Out[0])
			combined += e * e
			single += first * first
		}
		for _, w := range c.weights {
			norm += float64(w * w)
		}
		// The deviation of either sample variance is sqrt(2/samples), 2.2 %.
		if ratio := combined / (norm * single); ratio < c.low || ratio > c.high {
			t.Errorf("%s: %.3f of what independent errors have, not in [%v, %v]", c.name, ratio, c.low, c.high)
		}
	}
}

// A test and its opposite of one ciphertext have opposite errors, and bounds that
// say that they are not independent.
func TestOppositeTables(t *testing.T) {
	f := load(t, fhe.TestPreset)
	equal := func(m int64) int64 { return 1 - min(m, 1) }
	var tasks []fhe.PBS
	for i, in := range f.encrypt("opposite", 3, 0, 1, 2, 3) {
		for sign := range int64(2) {
			lut, err := f.params.NewLUT(-15, 15, func(m int64) int64 { return sign + (1-2*sign)*equal(max(m, -m)) })
			if err != nil {
				t.Fatal(i, err)
			}
			tasks = append(tasks, fhe.PBS{In: in, LUT: lut})
		}
	}
	if err := f.eval.Bootstrap(context.Background(), tasks); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(tasks); i += 2 {
		a, b := tasks[i].Out[0], tasks[i+1].Out[0]
		difference := f.params.Combine(0, fhe.Term{Weight: 1, LWE: a}, fhe.Term{Weight: -1, LWE: b})
		if want := 4 * a.Bound.Variance; a.Bound.Source != b.Bound.Source || difference.Bound.Variance < 0.999*want {
			t.Errorf("pair %d: sources %d and %d, a difference of variance %g, want %g", i/2, a.Bound.Source, b.Bound.Source, difference.Bound.Variance, want)
		}
		if e, g := f.keys.Secret.Noise(a), f.keys.Secret.Noise(b); e != -g {
			t.Errorf("pair %d: errors %g and %g", i/2, e, g)
		}
	}
}
