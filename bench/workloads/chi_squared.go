package workloads

import (
	"context"
	"math/rand/v2"

	"github.com/tacit-fhe/tacit/fhe/integer"
)

// statistics are tests of samples.
var statistics = []*Workload{
	{
		Name: "chi-squared", About: "The terms of a chi-squared test of three genotype counts of 6 bits.",
		Unit: "tests", Sizes: []int{1},
		Inputs: func(r *rand.Rand, _ int) Values { return uniform(r, 3, 6) },
		Oracle: func(_ int, in Values) Values {
			v := ints(in)
			d, b, c := 4*v[0]*v[2]-v[1]*v[1], 2*v[0]+v[1], 2*v[2]+v[1]
			return of(d*d, 2*b*b, b*c, 2*c*c)
		},
		Integers: &Integers{Types: func(int) []integer.Type { return same(integer.Uint8, 3) }, Compute: chiSquared},
		Vectors: &Vectors{
			Depth: constant(2), Max: constant(int64(4 * 63 * 63 * 4 * 63 * 63)), Bits: 6, Degrees: []int{4, 2},
			Split: apart,
			Compute: func(e *VectorEvaluator, _ int, in []Vector) []Vector {
				n0, n1, n2 := in[0], in[1], in[2]
				d := e.Sub(e.MulScalar(e.Mul(n0, n2), 4), e.Mul(n1, n1))
				b, c := e.Add(e.MulScalar(n0, 2), n1), e.Add(e.MulScalar(n2, 2), n1)
				return []Vector{e.Mul(d, d), e.MulScalar(e.Mul(b, b), 2), e.Mul(b, c), e.MulScalar(e.Mul(c, c), 2)}
			},
		},
	},
}

func chiSquared(ctx context.Context, e *integer.Evaluator, _ int, in []*integer.Value) ([]*integer.Value, error) {
	var product, square, b, c *integer.Value
	narrow, err := widen(ctx, e, integer.Uint16, in)
	if err != nil {
		return nil, err
	}
	twice := func(x, y *integer.Value) (*integer.Value, error) { // 2x + y
		double, err := e.Shl(ctx, x, integer.Plain(integer.Uint16, 1))
		if err != nil {
			return nil, err
		}
		return e.Add(ctx, double, y)
	}
	var g group
	g.set(&product, func() (*integer.Value, error) {
		p, err := e.Mul(ctx, narrow[0], narrow[2])
		if err != nil {
			return nil, err
		}
		return e.Shl(ctx, p, integer.Plain(integer.Uint16, 2))
	})
	g.set(&square, func() (*integer.Value, error) { return e.Mul(ctx, narrow[1], narrow[1]) })
	g.set(&b, func() (*integer.Value, error) { return twice(narrow[0], narrow[1]) })
	g.set(&c, func() (*integer.Value, error) { return twice(narrow[2], narrow[1]) })
	if err := g.end(); err != nil {
		return nil, err
	}
	out := make([]*integer.Value, 4)
	g.set(&out[0], func() (*integer.Value, error) { // of the absolute value, whose upper half is 0
		p, err := exchange(ctx, e, pair{product, square})
		if err != nil {
			return nil, err
		}
		d, err := e.Sub(ctx, p[0][1], p[0][0])
		if err != nil {
			return nil, err
		}
		if d, err = e.Cast(ctx, d, integer.Uint32); err != nil {
			return nil, err
		}
		return e.Mul(ctx, d, d)
	})
	for i, f := range [][2]*integer.Value{{b, b}, {b, c}, {c, c}} {
		g.set(&out[1+i], func() (*integer.Value, error) {
			x, err := e.Mul(ctx, f[0], f[1])
			if err != nil {
				return nil, err
			}
			if x, err = e.Cast(ctx, x, integer.Uint32); err != nil || i == 1 {
				return x, err
			}
			return e.Shl(ctx, x, integer.Plain(integer.Uint32, 1))
		})
	}
	return out, g.end()
}
