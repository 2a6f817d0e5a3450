package workloads

import (
	"context"
	"math/rand/v2"

	"github.com/tacit-fhe/tacit/fhe/integer"
)

// matrices are products of them.
var matrices = []*Workload{
	{
		Name: "matrix", About: "The product of two square matrices of 8-bit numbers.",
		Unit: "rows", Sizes: []int{2, 4, 8},
		Inputs: func(r *rand.Rand, size int) Values { return uniform(r, 2*size*size, 8) },
		Oracle: func(n int, in Values) Values {
			v := ints(in)
			a, b, c := v[:n*n], v[n*n:], make([]int64, n*n)
			for i := range c {
				for k := range n {
					c[i] += a[i/n*n+k] * b[k*n+i%n]
				}
			}
			return of(c...)
		},
		Integers: &Integers{Types: func(n int) []integer.Type { return same(integer.Uint8, 2*n*n) }, Compute: matrix},
		Vectors: &Vectors{
			Depth: constant(1), Max: func(n int) int64 { return int64(n) << 16 }, Bits: 8, Degrees: []int{2},
			Results: func(n int) int { return n * n },
			// For every k column k of the first and row k of the second, repeated to whole matrices.
			Split: func(n int, in []int64) [][]int64 {
				out := make([][]int64, 2*n)
				for k := range n {
					for i := range n * n {
						out[k] = append(out[k], in[i/n*n+k])
						out[n+k] = append(out[n+k], in[n*n+k*n+i%n])
					}
				}
				return out
			},
			Compute: func(e *VectorEvaluator, n int, in []Vector) []Vector {
				sum := e.Mul(in[0], in[n])
				for k := 1; k < n; k++ {
					sum = e.Add(sum, e.Mul(in[k], in[n+k]))
				}
				return []Vector{sum}
			},
		},
	},
}

func matrix(ctx context.Context, e *integer.Evaluator, n int, in []*integer.Value) ([]*integer.Value, error) {
	in, err := widen(ctx, e, integer.Uint16, in)
	if err != nil {
		return nil, err
	}
	out := make([]*integer.Value, n*n)
	var g group
	for i := range out {
		g.set(&out[i], func() (*integer.Value, error) {
			terms := make([]*integer.Value, n)
			var products group
			for k := range terms {
				products.set(&terms[k], func() (*integer.Value, error) {
					p, err := e.Mul(ctx, in[i/n*n+k], in[n*n+k*n+i%n])
					if err != nil {
						return nil, err
					}
					return e.Cast(ctx, p, integer.Uint32)
				})
			}
			if err := products.end(); err != nil {
				return nil, err
			}
			return e.Sum(ctx, operands(terms)...)
		})
	}
	return out, g.end()
}
