package workloads

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/tacit-fhe/tacit/fhe/integer"
	"github.com/tacit-fhe/tacit/fhe/leveled"
)

// inferences are those of small models whose weights are public.
var inferences = []*Workload{
	{
		Name: "logistic", About: "Inference of a logistic regression with a public model on 8 encrypted features of 5 bits, as a probability in 1/256.",
		Unit: "features", Sizes: []int{8}, Tolerance: 4,
		Inputs: func(r *rand.Rand, size int) Values { return uniform(r, size, 5) },
		Oracle: func(_ int, in Values) Values {
			z := int64(logisticBias)
			for i, x := range ints(in) {
				z += logisticWeights[i] * x
			}
			return of(int64(math.Round(256 * sigmoid(float64(z)/256))))
		},
		Integers: &Integers{Types: func(size int) []integer.Type { return same(integer.Uint8, size) }, Compute: logistic},
		Vectors: &Vectors{
			Depth: constant(6), Max: constant(int64(1 << 20)), Bits: 5, Real: true,
			Compute: func(e *VectorEvaluator, size int, in []Vector) []Vector {
				z := e.AddPlain(e.InnerSum(e.MulPlain(in[0], logisticWeights), size), []int64{logisticBias}, 1)
				// Slots hold z/32, which lies in [-64, 64]; the probability counts in units of 32.
				return []Vector{e.Evaluate(z, leveled.Approximate(func(x float64) float64 { return 8 * sigmoid(x/8) }, -64, 64, 15))}
			},
		},
		Absent: map[string]string{BGV: noSigmoid, BFV: noSigmoid},
	},
	{
		Name: "network", About: "Inference of a public neural network of 4 inputs of 4 bits, 4 neurons with squares and 2 outputs.",
		Unit: "inputs", Sizes: []int{4},
		Inputs: func(r *rand.Rand, size int) Values { return uniform(r, size, 4) },
		Oracle: func(_ int, in Values) Values {
			out := []int64{networkBias, networkBias}
			for j, weights := range networkHidden {
				h := int64(0)
				for i, x := range ints(in) {
					h += weights[i] * x
				}
				for o := range out {
					out[o] += networkOutput[o][j] * h * h
				}
			}
			return of(out...)
		},
		Integers: &Integers{Types: func(size int) []integer.Type { return same(integer.Uint8, size) }, Compute: inference},
		Vectors: &Vectors{
			Depth: constant(3), Max: constant(int64(1 << 20)), Bits: 4, Degrees: []int{2},
			// The inputs once for every neuron.
			Split: func(_ int, in []int64) [][]int64 { return [][]int64{slices.Repeat(in, len(networkHidden))} },
			Compute: func(e *VectorEvaluator, size int, in []Vector) (out []Vector) {
				h := e.InnerSum(e.MulPlain(in[0], slices.Concat(networkHidden...)), size)
				h = e.Mul(h, h)
				for _, weights := range networkOutput {
					spread := make([]int64, size*len(weights)) // neuron j is in slot size·j
					for j, w := range weights {
						spread[size*j] = w
					}
					out = append(out, e.AddPlain(e.InnerSum(e.MulPlain(h, spread), len(spread)), []int64{networkBias}, 2))
				}
				return out
			},
		},
	},
}

const noSigmoid = "a sigmoid is a polynomial with real coefficients"

// logisticWeights and logisticBias are the model, in 1/256.
var logisticWeights = []int64{3, -5, 7, 1, -2, -7, 4, 6}

const logisticBias = -90

func sigmoid(z float64) float64 { return 1 / (1 + math.Exp(-z)) }

func logistic(ctx context.Context, e *integer.Evaluator, _ int, in []*integer.Value) ([]*integer.Value, error) {
	// The score lies in (-2^11, 2^11); its upper eight of twelve bits decide the probability.
	const offset, step = 1 << 11, 4
	z, err := weighted(ctx, e, integer.Uint16, logisticWeights, in)
	if err != nil {
		return nil, err
	}
	if z, err = e.Add(ctx, z, integer.Plain(integer.Uint16, offset+logisticBias)); err != nil {
		return nil, err
	}
	if z, err = e.Shr(ctx, z, integer.Plain(integer.Uint16, step)); err != nil {
		return nil, err
	}
	if z, err = e.Cast(ctx, z, integer.Uint8); err != nil {
		return nil, err
	}
	values := make([]uint64, 256)
	for u := range values {
		middle := float64(u<<step + 1<<(step-1) - offset)
		values[u] = uint64(min(255, math.Round(256*sigmoid(middle/256))))
	}
	table, err := integer.NewTable(integer.Uint8, values)
	if err != nil {
		return nil, err
	}
	return e.ApplyAll(ctx, integer.OpLookup, z, table)
}

// The weights of the neurons and of the outputs of the network, and what keeps the
// outputs positive.
var (
	networkHidden = [][]int64{{2, -1, 3, 1}, {-3, 2, 1, -2}, {1, 1, -2, 3}, {-1, 3, -1, -3}}
	networkOutput = [][]int64{{2, -1, 1, -3}, {-2, 3, -1, 1}}
)

const networkBias = 400000

func inference(ctx context.Context, e *integer.Evaluator, _ int, in []*integer.Value) ([]*integer.Value, error) {
	squares := make([]*integer.Value, len(networkHidden))
	var g group
	for j, weights := range networkHidden {
		g.set(&squares[j], func() (*integer.Value, error) {
			// Below 2^8 in absolute value: the square is right modulo 2^16.
			h, err := weighted(ctx, e, integer.Uint16, weights, in)
			if err != nil {
				return nil, err
			}
			if h, err = e.Mul(ctx, h, h); err != nil {
				return nil, err
			}
			return e.Cast(ctx, h, integer.Uint32)
		})
	}
	if err := g.end(); err != nil {
		return nil, err
	}
	out := make([]*integer.Value, len(networkOutput))
	for o, weights := range networkOutput {
		g.set(&out[o], func() (*integer.Value, error) {
			x, err := weighted(ctx, e, integer.Uint32, weights, squares)
			if err != nil {
				return nil, err
			}
			return e.Add(ctx, x, integer.Plain(integer.Uint32, networkBias))
		})
	}
	return out, g.end()
}
