package workloads

import (
	"context"
	_ "embed"
	"encoding/csv"
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"

	"github.com/tacit-fhe/tacit/fhe/integer"
)

// Accuracy is the share of test samples that a model classifies right.
type Accuracy struct {
	Samples  int     `json:"samples"`  // of the test set
	Clear    float64 `json:"clear"`    // of the model in floating point
	Computed float64 `json:"computed"` // of the model as it is computed on ciphertexts
}

//go:embed data/breast_cancer.csv
var cancerText string

// dataset is samples of real features with classes 0 and 1, every fifth of them for
// tests.
type dataset struct {
	train, test []labelled
	low, high   []float64 // of the features of the training set
}

type labelled struct {
	x     []float64
	class int
}

var cancer = sync.OnceValue(func() *dataset {
	rows, err := csv.NewReader(strings.NewReader(cancerText[strings.IndexByte(cancerText, '\n')+1:])).ReadAll()
	if err != nil {
		panic(err) // of a file that the program ships
	}
	d := new(dataset)
	for i, row := range rows {
		var s labelled
		for _, cell := range row[:len(row)-1] {
			v, err := strconv.ParseFloat(cell, 64)
			if err != nil {
				panic(err) // as above
			}
			s.x = append(s.x, v)
		}
		if row[len(row)-1] == "1" {
			s.class = 1
		}
		if i%5 == 0 {
			d.test = append(d.test, s)
		} else {
			d.train = append(d.train, s)
		}
	}
	for f := range d.train[0].x {
		low, high := math.Inf(1), math.Inf(-1)
		for _, s := range d.train {
			low, high = min(low, s.x[f]), max(high, s.x[f])
		}
		d.low, d.high = append(d.low, low), append(d.high, high)
	}
	return d
})

// quantise makes numbers of so many bits of the features.
func (d *dataset) quantise(s labelled, bits int) []int64 {
	out := make([]int64, len(s.x))
	top := float64(int64(1)<<bits - 1)
	for f, x := range s.x {
		out[f] = int64(math.Round(top * min(1, max(0, (x-d.low[f])/(d.high[f]-d.low[f])))))
	}
	return out
}

// accuracy is the share of the test set that a function classifies right.
func (d *dataset) accuracy(class func(s labelled) bool) float64 {
	right := 0
	for _, s := range d.test {
		if class(s) == (s.class == 1) {
			right++
		}
	}
	return float64(right) / float64(len(d.test))
}

// draw is a sample of the test set.
func (d *dataset) draw(r *rand.Rand, bits int) Values {
	return of(d.quantise(d.test[r.IntN(len(d.test))], bits)...)
}

// The logistic regression on the breast cancer data: features of 6 bits, weights of
// -7 to 7, and a score with an offset that keeps it positive.
const (
	cancerBits   = 6
	cancerWeight = 7
	cancerOffset = 1 << 14
)

// linear is a linear model.
type linear struct {
	weights  []int64
	bias     int64
	real     func(s labelled) float64 // the score before rounding, in units of its own
	accuracy Accuracy
}

func (l *linear) score(x []int64) int64 {
	sum := l.bias
	for i, w := range l.weights {
		sum += w * x[i]
	}
	return sum
}

// cancerLinear is trained by gradient descent on the logistic loss with the features
// scaled to [0, 1], and rounded.
var cancerLinear = sync.OnceValue(func() *linear {
	const steps, rate, decay = 3000, 2.0, 1e-3
	d := cancer()
	scale := func(s labelled) []float64 {
		x := make([]float64, len(s.x))
		for f := range x {
			x[f] = (s.x[f] - d.low[f]) / (d.high[f] - d.low[f])
		}
		return x
	}
	var samples [][]float64
	for _, s := range d.train {
		samples = append(samples, scale(s))
	}
	w, b := make([]float64, len(d.low)), 0.0
	score := func(x []float64) float64 {
		z := b
		for f, v := range x {
			z += w[f] * v
		}
		return z
	}
	for range steps {
		gradient, slope := make([]float64, len(w)), 0.0
		for i, x := range samples {
			miss := (sigmoid(score(x)) - float64(d.train[i].class)) / float64(len(samples))
			for f, v := range x {
				gradient[f] += miss * v
			}
			slope += miss
		}
		for f := range w {
			w[f] -= rate * (gradient[f] + decay*w[f])
		}
		b -= rate * slope
	}
	most := 0.0
	for _, v := range w {
		most = max(most, math.Abs(v))
	}
	l := &linear{real: func(s labelled) float64 { return score(scale(s)) }}
	for _, v := range w {
		l.weights = append(l.weights, int64(math.Round(v/most*cancerWeight)))
	}
	l.bias = int64(math.Round(b / most * cancerWeight * (1<<cancerBits - 1)))
	l.accuracy = Accuracy{
		len(d.test),
		d.accuracy(func(s labelled) bool { return l.real(s) > 0 }),
		d.accuracy(func(s labelled) bool { return l.score(d.quantise(s, cancerBits)) > 0 }),
	}
	return l
})

// models are those on real data, which is public: the samples are encrypted, the
// models are the server's.
var models = []*Workload{
	{
		Name: "cancer-logistic", About: "The score of a logistic regression on the 30 features of a sample of the Breast Cancer Wisconsin data.",
		Unit: "features", Sizes: []int{30},
		Inputs: func(r *rand.Rand, _ int) Values { return cancer().draw(r, cancerBits) },
		Oracle: func(_ int, in Values) Values { return of(cancerLinear().score(ints(in)) + cancerOffset) },
		Model:  func(int) Accuracy { return cancerLinear().accuracy },
		Integers: &Integers{
			Types: func(size int) []integer.Type { return same(integer.Uint8, size) },
			Compute: func(ctx context.Context, e *integer.Evaluator, _ int, in []*integer.Value) ([]*integer.Value, error) {
				l := cancerLinear()
				z, err := weighted(ctx, e, integer.Uint16, l.weights, in)
				if err != nil {
					return nil, err
				}
				return e.ApplyAll(ctx, integer.OpAdd, z, integer.PlainBig(integer.Uint16, big.NewInt(l.bias+cancerOffset)))
			},
		},
		Vectors: &Vectors{
			Depth: constant(1), Max: constant(int64(2*cancerOffset - 1)), Bits: cancerBits,
			Compute: func(e *VectorEvaluator, size int, in []Vector) []Vector {
				l := cancerLinear()
				z := e.InnerSum(e.MulPlain(in[0], l.weights), powerOfTwo(size))
				return []Vector{e.AddPlain(z, []int64{l.bias + cancerOffset}, 1)}
			},
		},
	},
	{
		Name: "cancer-tree", About: "The class of a sample of the Breast Cancer Wisconsin data by a decision tree of depth 4.",
		Unit: "features", Sizes: []int{30},
		Inputs: func(r *rand.Rand, _ int) Values { return cancer().draw(r, treeBits) },
		Oracle: func(_ int, in Values) Values { return of(int64(cancerTree().root.decide(ints(in)))) },
		Model:  func(int) Accuracy { return cancerTree().accuracy },
		Integers: &Integers{
			Types: func(size int) []integer.Type { return same(integer.Uint8, size) },
			Compute: func(ctx context.Context, e *integer.Evaluator, _ int, in []*integer.Value) ([]*integer.Value, error) {
				class, err := decide(ctx, e, cancerTree().root, in)
				return []*integer.Value{class}, err
			},
		},
		Absent: leveledAbsent(noCompare),
	},
}
