package workloads

import (
	"context"
	"math/big"
	"math/rand/v2"
	"slices"

	"github.com/tacit-fhe/tacit/fhe/integer"
)

// sequences put numbers in order, or make the next of them.
var sequences = []*Workload{
	{
		Name: "sort", About: "Numbers of 8 bits in ascending order.",
		Unit: "numbers", Sizes: []int{4, 8, 16},
		Inputs: func(r *rand.Rand, size int) Values { return uniform(r, size, 8) },
		Oracle: func(_ int, in Values) Values { return slices.SortedFunc(slices.Values(in), (*big.Int).Cmp) },
		Integers: &Integers{
			Types: func(size int) []integer.Type { return same(integer.Uint8, size) },
			Compute: func(ctx context.Context, e *integer.Evaluator, _ int, in []*integer.Value) ([]*integer.Value, error) {
				return Sort(ctx, e, in)
			},
		},
		Absent: leveledAbsent(noCompare),
	},
	{
		Name: "fibonacci", About: "A Fibonacci number from two encrypted ones of 8 bits.",
		Unit: "steps", Sizes: []int{10, 20},
		Inputs: func(r *rand.Rand, _ int) Values { return uniform(r, 2, 8) },
		Oracle: func(size int, in Values) Values {
			a, b := in[0].Int64(), in[1].Int64()
			for range size {
				a, b = b, a+b
			}
			return of(a)
		},
		Integers: &Integers{
			Types: func(int) []integer.Type { return same(integer.Uint32, 2) },
			Compute: func(ctx context.Context, e *integer.Evaluator, size int, in []*integer.Value) ([]*integer.Value, error) {
				a, b := in[0], in[1]
				for range size - 1 {
					next, err := e.Add(ctx, a, b)
					if err != nil {
						return nil, err
					}
					a, b = b, next
				}
				return []*integer.Value{b}, nil
			},
		},
		Vectors: &Vectors{
			Depth: constant(0), Bits: 8, Split: apart,
			Max: func(size int) int64 { return 1 << (8 + 7*size/10) }, // the golden ratio is below 2^0.7
			Compute: func(e *VectorEvaluator, size int, in []Vector) []Vector {
				a, b := in[0], in[1]
				for range size - 1 {
					a, b = b, e.Add(a, b)
				}
				return []Vector{b}
			},
		},
	},
}
