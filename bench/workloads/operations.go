package workloads

import (
	"context"
	"fmt"
	"math/big"
	"math/rand/v2"

	"github.com/tacit-fhe/tacit/bench/workloads/parity"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
)

var widths = []int{8, 16, 32, 64, 128, 256}

// operations are the operations on encrypted integers of 8 to 256 bits, all
// operands encrypted.
func operations() (all []*Workload) {
	wrap := func(f func(z, a, b *big.Int) *big.Int) func(int, Values) Values {
		return func(size int, in Values) Values {
			z := f(new(big.Int), in[0], in[1])
			return Values{z.And(z, mask(size))}
		}
	}
	compare := func(f func(order int) bool) func(int, Values) Values {
		return func(_ int, in Values) Values { return of(boolean(f(in[0].Cmp(in[1])))) }
	}
	for _, o := range []struct {
		op     integer.Op
		sizes  []int
		oracle func(size int, in Values) Values
	}{
		{integer.OpAdd, widths, wrap((*big.Int).Add)},
		{integer.OpSub, widths, wrap((*big.Int).Sub)},
		{integer.OpMul, widths, wrap((*big.Int).Mul)},
		{integer.OpDiv, widths[:4], func(size int, in Values) Values {
			if in[1].Sign() == 0 {
				return Values{mask(size)}
			}
			return Values{new(big.Int).Quo(in[0], in[1])}
		}},
		{integer.OpEq, widths, compare(func(order int) bool { return order == 0 })},
		{integer.OpLt, widths, compare(func(order int) bool { return order < 0 })},
		{integer.OpMin, widths, func(_ int, in Values) Values {
			if in[0].Cmp(in[1]) < 0 {
				return in[:1]
			}
			return in[1:]
		}},
		{integer.OpAnd, widths, wrap((*big.Int).And)},
		{integer.OpXor, widths, wrap((*big.Int).Xor)},
		{integer.OpShl, widths, func(size int, in Values) Values {
			amount := new(big.Int).Mod(in[1], big.NewInt(int64(size)))
			z := new(big.Int).Lsh(in[0], uint(amount.Uint64()))
			return Values{z.And(z, mask(size))}
		}},
		{integer.OpSelect, widths, func(_ int, in Values) Values {
			if in[0].Sign() != 0 {
				return in[1:2]
			}
			return in[2:]
		}},
	} {
		types := func(size int) []integer.Type {
			if o.op == integer.OpSelect {
				return []integer.Type{integer.Bool, width(size), width(size)}
			}
			return same(width(size), 2)
		}
		all = append(all, &Workload{
			Name: "integer-" + o.op.String(), About: fmt.Sprintf("The operation %v on encrypted integers.", o.op),
			Unit: "bits", Sizes: o.sizes,
			Inputs: func(r *rand.Rand, size int) (in Values) {
				for _, t := range types(size) {
					in = append(in, uniform(r, 1, t.Bits())...)
				}
				return in
			},
			Oracle: o.oracle,
			Integers: &Integers{
				Types: types,
				Compute: func(ctx context.Context, e *integer.Evaluator, _ int, in []*integer.Value) ([]*integer.Value, error) {
					return e.ApplyAll(ctx, o.op, operands(in)...)
				},
			},
			Absent: leveledAbsent(noWrap),
		})
	}
	return all
}

// vectorOperations are the operations of the leveled schemes on full vectors.
var vectorOperations = []*Workload{
	vectorOperation("add", "The sum of two vectors.", 0, func(a, b int64) int64 { return a + b },
		func(e *VectorEvaluator, in []Vector) Vector { return e.Add(in[0], in[1]) }, 1),
	vectorOperation("mul", "The product of two vectors slot by slot, relinearised and rescaled.", 1, func(a, b int64) int64 { return a * b },
		func(e *VectorEvaluator, in []Vector) Vector { return e.Mul(in[0], in[1]) }, 2),
	vectorOperation("mul-plain", "The product of a vector and a known one, rescaled.", 1, func(a, b int64) int64 { return 3 * a },
		func(e *VectorEvaluator, in []Vector) Vector { return e.MulPlain(in[0], []int64{3}) }, 1),
	{
		Name: "vector-rotate", About: "A rotation of a vector by one slot.", Unit: "slots", Sizes: []int{4},
		Inputs: func(r *rand.Rand, size int) Values { return uniform(r, size, 7) },
		Oracle: func(_ int, in Values) Values { return in[1:2] },
		Vectors: &Vectors{
			Depth: constant(0), Max: constant(int64(1 << 7)), Bits: 7,
			Compute: func(e *VectorEvaluator, _ int, in []Vector) []Vector { return []Vector{e.Rotate(in[0], 1)} },
		},
		Absent: map[string]string{TFHE: noSlots},
	},
}

// bootstrapping is the refresh of what is too noisy to go on with.
var bootstrapping = &Workload{
	Name: "bootstrap", About: "One bootstrap: of one bit on TFHE; on CKKS of as many values as a ciphertext holds, down to no level and back to all.",
	Unit: "values", Sizes: []int{1}, Slow: true,
	Inputs: func(r *rand.Rand, size int) Values { return uniform(r, size, 1) },
	Oracle: func(_ int, in Values) Values { return in },
	Bits: &Bits{
		In: constant([]int{1}), Out: constant([]int{1}),
		Prepare: func(p *fhe.Parameters, boot parity.Bootstrapper) (func(context.Context, int, []fhe.LWE) ([]fhe.LWE, error), error) {
			e, err := parity.NewEvaluator(p, boot)
			return func(ctx context.Context, _ int, in []fhe.LWE) ([]fhe.LWE, error) {
				out, err := e.Refresh(ctx, []parity.Bit{parity.New(in[0])})
				if err != nil {
					return nil, err
				}
				return []fhe.LWE{e.Ciphertext(out[0])}, nil
			}, err
		},
	},
	Vectors: &Vectors{
		Depth: constant(0), Max: constant(int64(1)), Real: true, Bootstraps: true,
		Compute: func(e *VectorEvaluator, _ int, in []Vector) []Vector { return []Vector{e.Bootstrap(in[0])} },
	},
	Absent: map[string]string{BGV: noBootstrap, BFV: noBootstrap},
}

const noBootstrap = "lattigo v5 bootstraps CKKS alone"

const noSlots = "a ciphertext holds one number, there is nothing to rotate"

// vectorOperation is an operation on two vectors of one value each, of 7 bits.
func vectorOperation(name, about string, depth int, oracle func(a, b int64) int64, compute func(e *VectorEvaluator, in []Vector) Vector, degree int) *Workload {
	return &Workload{
		Name: "vector-" + name, About: about, Unit: "values", Sizes: []int{1},
		Inputs: func(r *rand.Rand, size int) Values { return uniform(r, 2, 7) },
		Oracle: func(_ int, in Values) Values { v := ints(in); return of(oracle(v[0], v[1])) },
		Vectors: &Vectors{
			Depth: constant(depth), Max: constant(int64(1 << 14)), Bits: 7, Degrees: []int{degree},
			Split:   func(_ int, in []int64) [][]int64 { return [][]int64{in[:1], in[1:]} },
			Compute: func(e *VectorEvaluator, _ int, in []Vector) []Vector { return []Vector{compute(e, in)} },
		},
		Absent: map[string]string{TFHE: "numbers modulo a prime are not its type; integer-add and integer-mul are the like"},
	}
}
