package workloads

import (
	"context"
	"math/rand/v2"

	"github.com/tacit-fhe/tacit/fhe/integer"
)

// distances are those of two vectors.
var distances = []*Workload{
	{
		Name: "euclidean", About: "The squared Euclidean distance of two vectors of 8-bit numbers.",
		Unit: "coordinates", Sizes: []int{4, 16, 64},
		Inputs: func(r *rand.Rand, size int) Values { return uniform(r, 2*size, 8) },
		Oracle: distance(func(d int64) int64 { return d * d }),
		Integers: &Integers{
			Types: func(size int) []integer.Type { return same(integer.Uint8, 2*size) },
			Compute: termwise(func(ctx context.Context, e *integer.Evaluator, a, b *integer.Value) (*integer.Value, error) {
				// The square of a difference below 2^8 is right modulo 2^16, wrapped or not.
				wide, err := widen(ctx, e, integer.Uint16, []*integer.Value{a, b})
				if err != nil {
					return nil, err
				}
				d, err := e.Sub(ctx, wide[0], wide[1])
				if err != nil {
					return nil, err
				}
				return e.Mul(ctx, d, d)
			}),
		},
		Vectors: &Vectors{
			Depth: constant(1), Max: func(size int) int64 { return int64(size) << 16 }, Bits: 8, Degrees: []int{2},
			Split: halves, Compute: squaredDistance,
		},
	},
	{
		Name: "hamming", About: "The Hamming distance of two vectors of bits.",
		Unit: "bits", Sizes: []int{16, 64, 256},
		Inputs: func(r *rand.Rand, size int) Values { return uniform(r, 2*size, 1) },
		Oracle: distance(func(d int64) int64 { return d * d }),
		Integers: &Integers{
			Types: func(size int) []integer.Type { return same(integer.Bool, 2*size) },
			Compute: termwise(func(ctx context.Context, e *integer.Evaluator, a, b *integer.Value) (*integer.Value, error) {
				return e.Ne(ctx, a, b)
			}),
		},
		Vectors: &Vectors{
			Depth: constant(1), Max: func(size int) int64 { return int64(size) }, Degrees: []int{2},
			Split: halves, Compute: squaredDistance,
		},
	},
	{
		Name: "manhattan", About: "The Manhattan distance of two vectors of 8-bit numbers.",
		Unit: "coordinates", Sizes: []int{4, 16, 64},
		Inputs: func(r *rand.Rand, size int) Values { return uniform(r, 2*size, 8) },
		Oracle: distance(func(d int64) int64 { return max(d, -d) }),
		Integers: &Integers{
			Types: func(size int) []integer.Type { return same(integer.Uint8, 2*size) },
			Compute: termwise(func(ctx context.Context, e *integer.Evaluator, a, b *integer.Value) (*integer.Value, error) {
				p, err := exchange(ctx, e, pair{a, b})
				if err != nil {
					return nil, err
				}
				return e.Sub(ctx, p[0][1], p[0][0])
			}),
		},
		Absent: leveledAbsent("an absolute value takes a comparison: " + noCompare),
	},
}

// halves makes two vectors of the inputs.
func halves(size int, in []int64) [][]int64 { return [][]int64{in[:size], in[size:]} }

// distance is the sum of a function of the differences of two vectors.
func distance(f func(d int64) int64) func(size int, in Values) Values {
	return func(size int, in Values) Values {
		v := ints(in)
		sum := int64(0)
		for i, x := range v[:size] {
			sum += f(x - v[size+i])
		}
		return of(sum)
	}
}

func squaredDistance(e *VectorEvaluator, size int, in []Vector) []Vector {
	d := e.Sub(in[0], in[1])
	return []Vector{e.InnerSum(e.Mul(d, d), powerOfTwo(size))}
}

// termwise is the sum, as a Uint32, of a function of the coordinates of two vectors.
func termwise(f func(ctx context.Context, e *integer.Evaluator, a, b *integer.Value) (*integer.Value, error)) func(context.Context, *integer.Evaluator, int, []*integer.Value) ([]*integer.Value, error) {
	return func(ctx context.Context, e *integer.Evaluator, size int, in []*integer.Value) ([]*integer.Value, error) {
		terms := make([]*integer.Value, size)
		var g group
		for i := range terms {
			g.set(&terms[i], func() (*integer.Value, error) {
				x, err := f(ctx, e, in[i], in[size+i])
				if err != nil {
					return nil, err
				}
				return e.Cast(ctx, x, integer.Uint32)
			})
		}
		if err := g.end(); err != nil {
			return nil, err
		}
		out, err := sum(ctx, e, operands(terms))
		return []*integer.Value{out}, err
	}
}
