package workloads

import (
	"context"
	"math/big"
	"math/rand/v2"
	"slices"

	"github.com/tacit-fhe/tacit/bench/workloads/parity"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
)

// Values are plaintexts: the inputs or the results of one run of a workload.
type Values = []*big.Int

// Workload is a computation with an oracle.
type Workload struct {
	Name  string
	About string // one sentence
	Unit  string // what a size counts, such as bids
	Sizes []int  // from small to large
	Slow  bool   // left out of quick runs

	Inputs func(r *rand.Rand, size int) Values
	Oracle func(size int, in Values) Values
	// Tolerance is how far a result may be from the oracle's, for workloads that
	// approximate; 0 means exact, up to the precision of CKKS.
	Tolerance float64
	// Model is how good the model is that the workload computes, or nil.
	Model func(size int) Accuracy

	// The programs. A workload has Integers or Bits, or neither.
	Integers *Integers
	Bits     *Bits
	Vectors  *Vectors

	// Absent says why there is no program, by scheme: TFHE, BGV, BFV or CKKS.
	Absent map[string]string
}

// The names of the schemes.
const (
	TFHE = "tfhe"
	BGV  = "bgv"
	BFV  = "bfv"
	CKKS = "ckks"
)

// Schemes lists their names.
var Schemes = []string{TFHE, BGV, BFV, CKKS}

// Integers is a program of encrypted integers, for TFHE.
type Integers struct {
	// Types are those of the inputs.
	Types   func(size int) []integer.Type
	Compute func(ctx context.Context, e *integer.Evaluator, size int, in []*integer.Value) ([]*integer.Value, error)
}

// Bits is a program of encrypted bits as package parity has them, for TFHE.
type Bits struct {
	// In and Out are the widths in bits of inputs and results. Bits come from the
	// least significant on.
	In, Out func(size int) []int
	// Prepare makes what computes: it takes and returns the ciphertexts of all bits.
	Prepare func(p *fhe.Parameters, boot parity.Bootstrapper) (func(ctx context.Context, size int, in []fhe.LWE) ([]fhe.LWE, error), error)
}

// Get returns the workload with a name, or nil.
func Get(name string) *Workload {
	if i := slices.IndexFunc(All, func(w *Workload) bool { return w.Name == name }); i >= 0 {
		return All[i]
	}
	return nil
}

// All are the workloads, in the order in which they are reported.
var All = slices.Concat(programs, studies, models, images, operations(), vectorOperations, []*Workload{bootstrapping})

// uniform draws n values below 2^bits.
func uniform(r *rand.Rand, n, bits int) Values {
	out := make(Values, n)
	for i := range out {
		x := new(big.Int)
		for range (bits + 63) / 64 {
			x.Lsh(x, 64).Or(x, new(big.Int).SetUint64(r.Uint64()))
		}
		out[i] = x.And(x, mask(bits))
	}
	return out
}

// mask is 2^bits - 1.
func mask(bits int) *big.Int {
	m := new(big.Int).Lsh(big.NewInt(1), uint(bits))
	return m.Sub(m, big.NewInt(1))
}

// of makes Values.
func of(x ...int64) Values {
	out := make(Values, len(x))
	for i, v := range x {
		out[i] = big.NewInt(v)
	}
	return out
}

// ints are values below 2^63.
func ints(in Values) []int64 {
	out := make([]int64, len(in))
	for i, x := range in {
		out[i] = x.Int64()
	}
	return out
}

// same is n times one type.
func same(t integer.Type, n int) []integer.Type { return slices.Repeat([]integer.Type{t}, n) }

// width is the type of integers of so many bits.
func width(bits int) integer.Type {
	for _, t := range []integer.Type{integer.Uint8, integer.Uint16, integer.Uint32, integer.Uint64, integer.Uint128, integer.Uint256} {
		if t.Bits() == bits {
			return t
		}
	}
	panic("workloads: there is no such width")
}

// boolean is 1 for true.
func boolean(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
