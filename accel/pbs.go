package accel

import (
	"fmt"
	"math/bits"
)

// PBSEngine is a Backend that runs whole bootstraps without leaving its device,
// many at a time. Backends of the processor have no use for it.
type PBSEngine interface {
	Backend
	// PBS joins a Rotator and a KeySwitcher of this backend. It returns the
	// *UnsupportedError of CheckPBS when their shapes do not go together.
	PBS(r Rotator, k KeySwitcher) (PBS, error)
}

// PBS runs programmable bootstraps. It is safe for concurrent use.
type PBS interface {
	// Batch is the number of tasks of a call that fills the device, and Calls the
	// number of calls at a time that keeps it busy.
	Batch() int
	Calls() int
	// Bootstrap runs the tasks and sets their outputs:
	//
	//	KeySwitch       (a_1, ..., a_n, b) = KeySwitcher.Switch(In)
	//	ModSwitch       exponents and e_b of (a, b), see below
	//	BlindRotate     acc = Rotator.Rotate((0, ..., 0, X^-e_b * Test), exponents)
	//	SampleExtract   Out[i] = the LWE ciphertext of coefficient Offsets[i] of acc
	//
	// ModSwitch rounds x modulo 2^32 to x' = floor(x*2N/2^32 + 1/2) and leaves
	// an error x - x'*2^32/2N in [-2^31/2N, 2^31/2N). A step of mode CMux takes one a_i,
	// one of mode Block takes Terms, each rounded to an exponent; one of mode Unrolled
	// takes log2(Terms+1), and its exponent j is the rounded sum of the a_i at the bits
	// of j+1, the first a_i at the lowest bit. With d = 2, Terms+1 and Terms+1 for the
	// three modes, e_b is rounded from b - floor(S/d), S the sum of all errors.
	//
	// SampleExtract of coefficient h of masks A_u and body B gives, for u < Rank and
	// i < N, A_u[h-i] where i <= h and -A_u[N+h-i] elsewhere, and then B[h].
	//
	// When the device fails, the error says so and outputs hold anything; whoever
	// called computes them in another way.
	Bootstrap(tasks []PBSTask) error
}

// PBSTask is one bootstrap. Tasks may share inputs and test polynomials, not outputs.
type PBSTask struct {
	In      []uint64   // NIn+1 residues
	Test    []uint64   // N residues
	Offsets []int      // of the outputs, each in [0, N)
	Out     [][]uint64 // Rank*N+1 residues for each offset
}

// CheckPBS returns an *UnsupportedError unless a rotation and a key switch make a
// bootstrap: from and to LWE ciphertexts of dimension Rank*N modulo Q, with one step
// for each group of coefficients in between.
func CheckPBS(r RotatorSpec, k KeySwitchSpec) error {
	if k.NIn == r.Rank*r.N && k.Q == r.Q && k.NOut == r.Steps*r.KeyBits() && (r.Mode != Unrolled || r.Terms == 1<<r.KeyBits()-1) {
		return nil
	}
	reason := fmt.Sprintf("a key switch from dimension %d to %d modulo %d does not fit to %d steps of %d key bits", k.NIn, k.NOut, k.Q, r.Steps, r.KeyBits())
	return &UnsupportedError{Object: "bootstrap", N: r.N, Q: r.Q, Reason: reason}
}

// KeyBits is the number of bits of the small key that a step takes.
func (s RotatorSpec) KeyBits() int {
	if s.Mode == Unrolled {
		return bits.Len(uint(s.Terms))
	}
	return s.Exponents()
}
