package workloads

import (
	"math"
	"math/bits"
	"slices"
	"sync/atomic"

	"github.com/tacit-fhe/tacit/fhe/leveled"
)

// Vectors is a program of encrypted vectors, for BGV, BFV and CKKS. An item, which
// is one run of the workload, takes the same stride of slots in every ciphertext,
// a power of two, and the next items follow it: what computes one computes as many
// as there is room for.
type Vectors struct {
	// Depth is how many multiplications follow each other.
	Depth func(size int) int
	// Max bounds the absolute values of all numbers that are computed with: BGV and
	// BFV need a plaintext modulus above twice as much.
	Max func(size int) int64
	// Split makes vectors of the inputs of an item, one ciphertext each. If nil, all
	// inputs are one vector.
	Split func(size int, in []int64) [][]int64
	// Results is how many values an item has in each ciphertext of the result, from its first slot
	// on. If nil, there is one.
	Results func(size int) int
	// Spread is how many slots a value is behind the one before it. If nil, it is one.
	Spread func(size int) int
	// Compute returns the ciphertexts of the results. Errors stay with the evaluator.
	Compute func(e *VectorEvaluator, size int, in []Vector) []Vector

	// CKKS computes on inputs divided by 2^Bits, so that they are 1 at most. Degrees
	// are those of the results as polynomials of the inputs, of which the last one
	// counts for all that follow; if nil, they are 1.
	Bits    int
	Degrees []int
	// Spare is how many levels of CKKS have to be left for the size of the numbers that are
	// computed with.
	Spare int
	// Bootstraps says that the program bootstraps, which takes a set that can.
	Bootstraps bool
	// Real says that the program takes real numbers, so that CKKS alone runs it.
	Real bool
}

// Degree is the degree of the results in ciphertext i.
func (v *Vectors) Degree(i int) int {
	if len(v.Degrees) == 0 {
		return 1
	}
	return v.Degrees[min(i, len(v.Degrees)-1)]
}

// Unit is what a result of ciphertext i is divided by under CKKS.
func (v *Vectors) Unit(i int) float64 { return math.Exp2(float64(v.Bits * v.Degree(i))) }

// Vectors returns the vectors of an item.
func (v *Vectors) Vectors(size int, in Values) [][]int64 {
	if v.Split == nil {
		return [][]int64{ints(in)}
	}
	return v.Split(size, ints(in))
}

// Values is the number of results in each ciphertext of the result.
func (v *Vectors) Values(size int) int {
	if v.Results == nil {
		return 1
	}
	return v.Results(size)
}

// Slot is the slot of value i of an item, counted from its first one.
func (v *Vectors) Slot(size, i int) int {
	if v.Spread == nil {
		return i
	}
	return i * v.Spread(size)
}

// Stride is the number of slots of an item with the given vectors.
func Stride(vectors [][]int64) int {
	longest := 1
	for _, v := range vectors {
		longest = max(longest, len(v))
	}
	return powerOfTwo(longest)
}

// powerOfTwo is the least power of two that is not below n.
func powerOfTwo(n int) int { return 1 << bits.Len(uint(n-1)) }

// Vector is an encrypted vector.
type Vector = *leveled.Ciphertext

// VectorEvaluator computes on vectors. The first error ends the computation: what
// follows returns nil, and Err tells it. It is for one computation.
type VectorEvaluator struct {
	*leveled.Evaluator
	program *Vectors
	stride  int
	err     error
	counts  *Counts
}

// Counts says what was done.
type Counts struct{ KeySwitches, Bootstraps atomic.Int64 }

// NewVectorEvaluator returns an evaluator for items of the given stride.
func NewVectorEvaluator(e *leveled.Evaluator, program *Vectors, stride int, counts *Counts) *VectorEvaluator {
	return &VectorEvaluator{Evaluator: e, program: program, stride: stride, counts: counts}
}

// Err is the first error.
func (e *VectorEvaluator) Err() error { return e.err }

// reals says that slots hold real numbers.
func (e *VectorEvaluator) reals() bool { return e.Parameters().Scheme() == leveled.CKKS }

func (e *VectorEvaluator) keep(f func() (Vector, error)) Vector {
	if e.err != nil {
		return nil
	}
	out, err := f()
	e.err = err
	return out
}

// Add returns a + b.
func (e *VectorEvaluator) Add(a, b Vector) Vector {
	return e.keep(func() (Vector, error) { return e.Evaluator.Add(a, b) })
}

// Sub returns a - b.
func (e *VectorEvaluator) Sub(a, b Vector) Vector {
	return e.keep(func() (Vector, error) { return e.Evaluator.Sub(a, b) })
}

// Mul returns a·b, relinearised and rescaled.
func (e *VectorEvaluator) Mul(a, b Vector) Vector {
	e.counts.KeySwitches.Add(1)
	return e.rescale(func() (Vector, error) { return e.Evaluator.Mul(a, b) })
}

func (e *VectorEvaluator) rescale(f func() (Vector, error)) Vector {
	return e.keep(func() (Vector, error) {
		out, err := f()
		if err != nil || e.Parameters().Scheme() == leveled.BFV {
			return out, err
		}
		return e.Evaluator.Rescale(out)
	})
}

// MulScalar returns k·a.
func (e *VectorEvaluator) MulScalar(a Vector, k int64) Vector {
	return e.keep(func() (Vector, error) { return e.Evaluator.MulScalar(a, k) })
}

// MulPlain multiplies the slots of every item by known values.
func (e *VectorEvaluator) MulPlain(a Vector, values []int64) Vector {
	return e.Combine([]Vector{a}, [][]int64{values})
}

// Combine returns the sum of vectors, the slots of every item multiplied by known values. It
// rescales once.
func (e *VectorEvaluator) Combine(vectors []Vector, values [][]int64) Vector {
	return e.rescale(func() (total Vector, err error) {
		for i, a := range vectors {
			var term Vector
			if e.reals() {
				term, err = e.MulReals(a, tile(e, values[i], 1.0))
			} else {
				term, err = e.MulIntegers(a, tile(e, values[i], int64(1)))
			}
			if err == nil && total != nil {
				term, err = e.Evaluator.Add(total, term)
			}
			if err != nil {
				return nil, err
			}
			total = term
		}
		return total, nil
	})
}

// AddPlain adds known values, of a result of the given degree, to the slots of every
// item.
func (e *VectorEvaluator) AddPlain(a Vector, values []int64, degree int) Vector {
	return e.keep(func() (Vector, error) {
		if e.reals() {
			return e.AddReals(a, tile(e, values, math.Exp2(-float64(e.program.Bits*degree))))
		}
		return e.AddIntegers(a, tile(e, values, int64(1)))
	})
}

// tile repeats the values of one item over all slots.
func tile[T int64 | float64](e *VectorEvaluator, values []int64, unit T) []T {
	item := make([]T, e.stride)
	for i, v := range values {
		item[i] = T(v) * unit
	}
	return slices.Repeat(item, e.Parameters().Slots()/e.stride)
}

// InnerSum adds n slots, a power of two: slot i becomes the sum of those from i on.
func (e *VectorEvaluator) InnerSum(a Vector, n int) Vector {
	e.counts.KeySwitches.Add(int64(bits.Len(uint(n)) - 1))
	if n == 1 {
		return a
	}
	return e.keep(func() (Vector, error) { return e.Evaluator.InnerSum(a, n) })
}

// Rotate moves every slot k places to the left.
func (e *VectorEvaluator) Rotate(a Vector, k int) Vector {
	row := e.Parameters().Row()
	e.counts.KeySwitches.Add(int64(bits.OnesCount(uint((k%row + row) % row))))
	return e.keep(func() (Vector, error) { return e.Evaluator.Rotate(a, k) })
}

// Bootstrap returns a with all levels, for CKKS, whatever level it has now.
func (e *VectorEvaluator) Bootstrap(a Vector) Vector {
	e.counts.Bootstraps.Add(1)
	return e.keep(func() (Vector, error) {
		low, err := e.Drop(a, 0)
		if err != nil {
			return nil, err
		}
		return e.Evaluator.Bootstrap(low)
	})
}

// Evaluate returns f(a), for CKKS.
func (e *VectorEvaluator) Evaluate(a Vector, f leveled.Polynomial) Vector {
	return e.keep(func() (Vector, error) { return e.Polynomial(a, f) })
}

// constant is a function of the size that does not depend on it.
func constant[T any](x T) func(int) T { return func(int) T { return x } }

// apart makes a vector of every input.
func apart(_ int, in []int64) (out [][]int64) {
	for _, x := range in {
		out = append(out, []int64{x})
	}
	return out
}
