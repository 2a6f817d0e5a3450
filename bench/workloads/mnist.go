package workloads

import (
	"context"
	"math/bits"
	"math/rand/v2"

	"github.com/tacit-fhe/tacit/bench/workloads/digits"
	"github.com/tacit-fhe/tacit/fhe/integer"
)

// scoreOffset keeps the scores of test images positive and below 2^15, which BGV and BFV compute
// modulo 65537 and TFHE modulo 2^16.
const scoreOffset = 1 << 14

// images are networks that read images.
var images = []*Workload{{
	Name: "mnist", About: "The scores of the ten digits for an encrypted image of 28 by 28 pixels by a public network with one layer of neurons with squares.",
	Unit: "neurons", Sizes: digits.Hidden, Slow: true,
	Inputs: func(r *rand.Rand, _ int) Values { return of(digits.Test()[r.IntN(len(digits.Test()))].Pixels...) },
	Oracle: func(size int, in Values) Values {
		scores := digits.Get(size).Scores(ints(in))
		for o := range scores {
			scores[o] += scoreOffset
		}
		return of(scores...)
	},
	Model: func(size int) Accuracy {
		m := digits.Get(size)
		return Accuracy{len(digits.Test()), m.Clear, m.Accuracy()}
	},
	Integers: &Integers{Types: func(int) []integer.Type { return same(integer.Bool, digits.Pixels) }, Compute: readDigit},
	Vectors: &Vectors{
		Depth: constant(3), Max: constant(int64(2*scoreOffset - 1)), Degrees: []int{2}, Spare: 1,
		// Twice, so that rotations find the first pixels behind the last.
		Split: func(_ int, in []int64) [][]int64 {
			image := append(in, make([]int64, frame-len(in))...)
			return [][]int64{append(image, image...)}
		},
		Results: constant(digits.Classes), Spread: func(size int) int { return size },
		Compute: func(e *VectorEvaluator, size int, in []Vector) []Vector {
			return []Vector{scoreDigits(e, digits.Get(size), in[0])}
		},
	},
}}

// readDigit sums pixels exactly, eight bits for each neuron, takes squares from a table, and sums those
// modulo 2^16, each as often as the weights of its classes say.
func readDigit(ctx context.Context, e *integer.Evaluator, size int, pixels []*integer.Value) ([]*integer.Value, error) {
	m := digits.Get(size)
	pixels, err := widen(ctx, e, integer.Uint8, pixels)
	if err != nil {
		return nil, err
	}
	squares := make([]uint64, 256)
	for x := range squares {
		h := int64(int8(x))
		squares[x] = uint64(h * h)
	}
	square, err := integer.NewTable(integer.Uint16, squares)
	if err != nil {
		return nil, err
	}
	activations := make([]*integer.Value, size)
	var g group
	for j := range activations {
		g.set(&activations[j], func() (*integer.Value, error) {
			weights := make([]int64, len(pixels))
			for i := range weights {
				weights[i] = m.Weight(j, i)
			}
			h, err := difference(ctx, e, integer.Uint8, uint8(m.Biases[j]), weights, pixels)
			if err != nil {
				return nil, err
			}
			return e.Lookup(ctx, h, square)
		})
	}
	if err := g.end(); err != nil {
		return nil, err
	}
	scores := make([]*integer.Value, digits.Classes)
	for o := range scores {
		g.set(&scores[o], func() (*integer.Value, error) {
			return difference(ctx, e, integer.Uint16, uint16(m.OutputBiases[o]+scoreOffset), m.Outputs[o], activations)
		})
	}
	return scores, g.end()
}

// difference is bias + Σ weights·in modulo the range of t, for weights below 8 in absolute value: what is added, less
// what is taken away, four times a value as the value two bits higher, which costs nothing.
func difference[T uint8 | uint16](ctx context.Context, e *integer.Evaluator, t integer.Type, bias T, weights []int64, in []*integer.Value) (*integer.Value, error) {
	plus, minus := []integer.Operand{integer.Plain(t, uint64(bias))}, []integer.Operand{integer.Plain(t, 0)}
	for i, w := range weights {
		once := (w+9)%4 - 1 // -1, 0, 1 or 2
		fours := (w - once) / 4
		var quadruple *integer.Value
		if fours != 0 {
			var err error
			if quadruple, err = e.Shl(ctx, in[i], integer.Plain(t, 2)); err != nil {
				return nil, err
			}
		}
		for _, part := range []struct {
			times int64
			value *integer.Value
		}{{once, in[i]}, {fours, quadruple}} {
			for range part.times {
				plus = append(plus, part.value)
			}
			for range -part.times {
				minus = append(minus, part.value)
			}
		}
	}
	var added, taken *integer.Value
	var g group
	g.set(&added, func() (*integer.Value, error) { return sum(ctx, e, plus) })
	g.set(&taken, func() (*integer.Value, error) { return sum(ctx, e, minus) })
	if err := g.end(); err != nil {
		return nil, err
	}
	return e.Sub(ctx, added, taken)
}

// frame is how many slots an image takes: a power of two.
const frame = 1024

// scoreDigits computes with one ciphertext of an image, twice in a row. The neurons are the product of a matrix and a vector by
// the diagonals of blocks of as many columns as there are neurons (Juvekar et al., "Gazelle",
// 2018/073), with rotations shared by groups of diagonals (Halevi, Shoup, 2014/106). They come
// out once for every class, side by side, so that one product and one inner sum make all scores: that of
// class o is in slot o·n.
func scoreDigits(e *VectorEvaluator, m *digits.Model, x Vector) Vector {
	n := len(m.Weights)
	slots := frame + digits.Classes*n // in which products have to be right
	baby := 1 << (bits.Len(uint(n)) / 2)
	turned := []Vector{x}
	for b := 1; b < baby; b++ {
		turned = append(turned, e.Rotate(turned[b-1], 1))
	}
	var h Vector
	for giant := n - baby; giant >= 0; giant -= baby {
		diagonals := make([][]int64, baby)
		for b := range diagonals {
			diagonals[b] = make([]int64, slots+giant)
			for s := range slots {
				if pixel := (s + giant + b) % frame; pixel < digits.Pixels {
					diagonals[b][s+giant] = m.Weight(s%n, pixel)
				}
			}
		}
		part := e.Combine(turned, diagonals)
		if h == nil {
			h = part
		} else {
			h = e.Add(e.Rotate(h, baby), part)
		}
	}
	for k := n; k < frame; k *= 2 {
		h = e.Add(h, e.Rotate(h, k))
	}
	biases, outputs := make([]int64, digits.Classes*n), make([]int64, digits.Classes*n)
	offsets := make([]int64, digits.Classes*n)
	for o := range digits.Classes {
		copy(biases[o*n:], m.Biases)
		copy(outputs[o*n:], m.Outputs[o])
		offsets[o*n] = m.OutputBiases[o] + scoreOffset
	}
	h = e.AddPlain(h, biases, 1)
	scores := e.InnerSum(e.MulPlain(e.Mul(h, h), outputs), n)
	return e.AddPlain(scores, offsets, 2)
}
