package accel

import (
	"fmt"
	"math/bits"
)

// PBSEngine is a Backend that runs whole bootstraps without leaving its device,
// many at a time. Backends of the processor have no use for it.
//
// Its Rotators and KeySwitchers have a copy of their key in the memory of every device,
// until they are closed: they are io.Closers. Calls that are under way keep what
// they use, and later ones are computed by the processor.
type PBSEngine interface {
	Backend
	// PBS joins a Rotator and a KeySwitcher of this backend. It returns the
	// *UnsupportedError of CheckPBS when their shapes do not go together.
	PBS(r Rotator, k KeySwitcher) (PBS, error)
	// KeyMemory is how many bytes of keys there is room for on every device.
	KeyMemory() int64
	// DeviceStates describes the devices as they are now.
	DeviceStates() []DeviceState
}

// DeviceState is how a device does.
type DeviceState struct {
	Index int
	Name  string
	// Lost says that the device failed and computes no more in this process.
	Lost bool
	// Failures counts batches and keys that the device could not take, for want of
	// memory or when it was lost.
	Failures int64
	// KeyBytes is the memory that keys take, and Memory that of the device.
	KeyBytes, Memory int64
}

// PBS runs programmable bootstraps. It is safe for concurrent use.
type PBS interface {
	// Batch is the number of tasks of a call that fills the device, and Calls the
	// number of calls at a time that keeps it busy.
	Batch() int
	Calls() int
	// Host computes rotations and key switches under the same keys on the processor.
	Host() (Rotator, KeySwitcher)
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
// bootstrap: with one step for each group of coefficients that the key switch leaves.
// It may begin at ciphertexts of another dimension and modulus than it ends at.
func CheckPBS(r RotatorSpec, k KeySwitchSpec) error {
	if k.NOut == r.Steps*r.KeyBits() && (r.Mode != Unrolled || r.Terms == 1<<r.KeyBits()-1) {
		return nil
	}
	reason := fmt.Sprintf("a key switch to dimension %d does not fit to %d steps of %d key bits", k.NOut, r.Steps, r.KeyBits())
	return &UnsupportedError{Object: "bootstrap", N: r.N, Q: r.Q, Reason: reason}
}

// KeyBits is the number of bits of the small key that a step takes.
func (s RotatorSpec) KeyBits() int {
	if s.Mode == Unrolled {
		return bits.Len(uint(s.Terms))
	}
	return s.Exponents()
}
