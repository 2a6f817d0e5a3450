// Package accel is the contract between the TFHE arithmetic and the machine
// that runs it: number-theoretic transforms, whole blind rotations and key
// switches over batches of ciphertexts. It holds the interfaces, the checks
// every backend shares and a self-test; the arithmetic itself lives in the
// backends (accel/cpu and others), and nothing about keys, noise or encryption
// may enter here.
//
// # The contract of a backend
//
// Bit-exactness. Every result is defined by this package down to the last bit:
// residues are canonical (in [0, q)), rounding and the gadget decomposition are
// part of the definition. Two backends that both accept the same arguments
// return the same bytes. A backend may use any radix, any lazy reduction and
// any order of operations, never a different result.
//
// Memory. All slices belong to the caller. A backend reads and writes them only
// during the call, keeps none of them and needs no alignment. Key material
// handed over through a callback is copied into the backend's own form while
// the constructor runs; the buffer passed to the callback belongs to the
// backend and is valid only until the callback returns.
//
// Aliasing. Slices of one call do not overlap unless the method says that they
// may.
//
// Synchrony. A call returns when its results are in place.
//
// Concurrency. Backend, Ring, Rotator and KeySwitcher are safe for concurrent
// use on disjoint outputs. Constructors call their callback from several
// goroutines at once, each time for another index.
//
// Inputs. Residues given to a backend are canonical; with other values the
// result is unspecified, but memory stays safe. A slice of the wrong length is a
// mistake in the program and panics. Nothing else panics.
package accel

import (
	"fmt"
	"math/big"
	"math/bits"
)

// Bounds of the rings that the package defines.
const (
	MinN        = 256     // smallest ring dimension
	MaxN        = 65536   // largest ring dimension
	MaxModulus  = 1 << 50 // exclusive bound of the ring moduli
	MaxRank     = 16      // largest GLWE rank of a Rotator
	MaxSteps    = 1 << 16 // largest number of steps of a Rotator
	MaxTerms    = 15      // largest number of exponents of a step
	MaxLWE      = 1 << 20 // largest LWE dimension of a KeySwitcher
	rotatorBits = 48      // the gadget of a Rotator is g_j = 2^(48 - BaseLog*j)
)

// Info describes a backend to people and logs.
type Info struct {
	// Name is the implementation, for example "portable", "avx2" or "avx512".
	Name string
	// Features lists what the implementation relies on, for example CPU
	// extensions, in lower case.
	Features []string
}

// Backend builds the objects that compute. See the package comment for the
// contract.
type Backend interface {
	// Info describes the backend.
	Info() Info
	// Ring prepares Z_q[X]/(X^n+1). It returns the *UnsupportedError of
	// CheckRing when the arguments fail that check.
	Ring(n int, q uint64) (Ring, error)
	// Rotator prepares a bootstrapping key. ggsw(i, dst) fills dst with the
	// GGSW ciphertext of step i in the coefficient domain: (Rank+1)*Levels
	// rows of (Rank+1)*N canonical residues, row c*Levels+(j-1) for component
	// c = 0..Rank (the last one is the body) and level j = 1..Levels; in modes
	// with several GGSW ciphertexts a step, dst holds them one after the other.
	// It is called once for each i in [0, Steps), from several goroutines at once.
	// The *UnsupportedError of spec.Check comes before the first call of ggsw.
	Rotator(spec RotatorSpec, ggsw func(i int, dst []uint64)) (Rotator, error)
	// KeySwitcher prepares a key-switching key. rows(i, dst) fills dst with
	// the Levels rows of NOut+1 words of input coefficient i, level 1 first.
	// It is called once for each i in [0, NIn), from several goroutines at
	// once. The *UnsupportedError of spec.Check comes before the first call of
	// rows.
	KeySwitcher(spec KeySwitchSpec, rows func(i int, dst []uint32)) (KeySwitcher, error)
	// Close releases what the backend holds. Objects built by it must not be
	// used afterwards.
	Close() error
}

// Ring is Z_q[X]/(X^N+1) for a power of two N in [MinN, MaxN] and a prime
// q < MaxModulus with q = 1 mod 2N. Every slice has N residues in [0, q).
type Ring interface {
	// N is the dimension.
	N() int
	// Modulus is q.
	Modulus() uint64
	// NTT evaluates src at the odd powers of ψ in bit-reversed order:
	//
	//	dst[j] = Σ_i src[i] * ψ^(i*(2*brv(j)+1)) mod q
	//
	// where brv reverses log2(N) bits and ψ = RootOfUnity(N, q). dst may be
	// src.
	NTT(dst, src []uint64)
	// INTT is the exact inverse of NTT, the factor 1/N included. dst may be
	// src.
	INTT(dst, src []uint64)
	// MulAcc sets acc[j] = acc[j] + a[j]*b[j] mod q. The slices may be the
	// same.
	MulAcc(acc, a, b []uint64)
}

// RotatorSpec is the shape of a blind rotation: GLWE ciphertexts of dimension N
// and rank Rank modulo Q, a gadget of Levels digits of BaseLog bits, and Steps
// steps of the given mode.
type RotatorSpec struct {
	N, Rank         int
	Q               uint64
	BaseLog, Levels int
	Steps           int
	// Mode is what a step does.
	Mode RotatorMode
	// Terms is the number of exponents of a step in the modes that have several,
	// in [1, MaxTerms]; 0 for CMux.
	Terms int
}

// RotatorMode says how many GGSW ciphertexts a step of a blind rotation has and
// how they act on the accumulator.
type RotatorMode uint8

const (
	// CMux has one ciphertext and one exponent a step, for one key bit:
	//
	//	acc += GGSW ⊡ (X^e*acc - acc)
	CMux RotatorMode = iota
	// Block has Terms ciphertexts, of the bits of a block of the key of which at
	// most one is set (Lee, Min, Song, "Faster TFHE Bootstrapping with Block
	// Binary Keys", 2023/958), and Terms exponents:
	//
	//	acc += (Σ_j (X^e_j - 1)*GGSW_j) ⊡ acc
	Block
	// Unrolled has Terms+1 ciphertexts, of indicators of which exactly one is
	// set: of no bit of a group of the key, and of each other pattern of its bits
	// (Zhou et al., "Faster Bootstrapping with Multiple Addends", 2018/735; Bourse
	// et al., 2017/1114), and one exponent for each but the first:
	//
	//	acc = (GGSW_0 + Σ_{j>=1} X^e_j*GGSW_j) ⊡ acc
	Unrolled
)

// GGSWs is the number of GGSW ciphertexts of a step.
func (s RotatorSpec) GGSWs() int {
	switch s.Mode {
	case Block:
		return s.Terms
	case Unrolled:
		return s.Terms + 1
	}
	return 1
}

// Exponents is the number of exponents of a step.
func (s RotatorSpec) Exponents() int { return max(s.Terms, 1) }

// Rotator holds one bootstrapping key in the backend's own form.
type Rotator interface {
	// Rotate runs one blind rotation for each t (Chillotti, Gama, Georgieva,
	// Izabachène, "TFHE: Fast Fully Homomorphic Encryption over the Torus",
	// 2018, Algorithm 3, without the initial rotation and the extraction).
	//
	// acc[t] is a GLWE ciphertext of (Rank+1)*N residues, mask polynomials
	// first, then the body, and is changed in place; exps[t] holds the
	// exponents of X, Exponents() for each step, of which only the residue modulo
	// 2N counts. Step by step, acc[t] changes as RotatorMode says, with the
	// external product Σ_{c,j} digit_{c,j} * row_{c,j}, where in the modes with
	// several ciphertexts a row is the sum of theirs. The digits of a residue x,
	// with b = BaseLog and l = Levels, are defined thus:
	//
	//	c = x lifted to (-Q/2, Q/2)
	//	v = floor((c + 2^(47-b*l)) / 2^(48-b*l))     (v = c for b*l = 48)
	//
	// |v| is written with the digits d of base B = 2^b from the least
	// significant, level l, up to level 2: d is the remainder in [0, B), and if
	// d > B/2 then d -= B and the next digit is one higher; level 1 takes what
	// remains. Then every digit takes the sign of v. So digits lie in
	// [-B/2, B/2] and their distribution is symmetric. The gadget is
	// g_j = 2^(48-b*j).
	//
	// acc and exps have the same length, and the acc[t] do not overlap.
	Rotate(acc [][]uint64, exps [][]uint32)
}

// KeySwitchSpec is the shape of a key switch: from LWE ciphertexts of dimension
// NIn modulo Q to dimension NOut modulo 2^32, with a gadget of Levels digits of
// BaseLog bits.
type KeySwitchSpec struct {
	NIn, NOut       int
	Q               uint64
	BaseLog, Levels int
}

// KeySwitcher holds one key-switching key in the backend's own form.
type KeySwitcher interface {
	// Switch computes, for each t, from in[t] = (a_0, ..., a_{NIn-1}, b) modulo
	// Q the NOut+1 words
	//
	//	out[t] = (0, ..., 0, round(b*2^32/Q)) - Σ_{i,j} d_{i,j} * row_{i,j} mod 2^32
	//
	// where round(x/Q) = floor((x + (Q-1)/2) / Q), and d_{i,j} are the digits of
	//
	//	v_i = floor((a_i*2^(b*l) + (Q-1)/2) / Q) mod 2^(b*l)
	//
	// lifted to (-2^(b*l-1), 2^(b*l-1)], b = BaseLog and l = Levels, taken with
	// the same sign and magnitude rule as in Rotator.Rotate; the gadget is
	// 2^(32-b*j). out and in have the same length.
	Switch(out [][]uint32, in [][]uint64)
}

// UnsupportedError says that the package does not define the object asked for.
type UnsupportedError struct {
	// Object is what was asked for: "ring", "rotator", "key switcher" or "bootstrap".
	Object string
	// N is the ring dimension, or NIn for a key switcher, and Q the modulus.
	N int
	Q uint64
	// Reason names the condition that does not hold.
	Reason string
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("accel: unsupported %s (n=%d, q=%d): %s", e.Object, e.N, e.Q, e.Reason)
}

// CheckRing returns an *UnsupportedError unless n and q name a ring that the
// package defines.
func CheckRing(n int, q uint64) error {
	if reason := ringProblem(n, q); reason != "" {
		return &UnsupportedError{Object: "ring", N: n, Q: q, Reason: reason}
	}
	return nil
}

func ringProblem(n int, q uint64) string {
	switch {
	case n < MinN || n > MaxN || bits.OnesCount(uint(n)) != 1:
		return fmt.Sprintf("n must be a power of two in [%d, %d]", MinN, MaxN)
	case q >= MaxModulus:
		return "q must be below 2^50"
	case q%uint64(2*n) != 1:
		return "q must be 1 modulo 2n"
	case !new(big.Int).SetUint64(q).ProbablyPrime(0):
		return "q must be prime"
	}
	return ""
}

// Check returns an *UnsupportedError unless the package defines this rotation.
func (s RotatorSpec) Check() error {
	reason := ringProblem(s.N, s.Q)
	switch {
	case reason != "":
	case s.Q>>(rotatorBits-1) != 1:
		reason = "q must lie between 2^47 and 2^48"
	case s.Rank < 1 || s.Rank > MaxRank:
		reason = fmt.Sprintf("rank %d is not in [1, %d]", s.Rank, MaxRank)
	case !validGadget(s.BaseLog, s.Levels, rotatorBits):
		reason = fmt.Sprintf("gadget of %d levels of %d bits does not fit in %d bits", s.Levels, s.BaseLog, rotatorBits)
	case s.Steps < 1 || s.Steps > MaxSteps:
		reason = fmt.Sprintf("%d steps are not in [1, %d]", s.Steps, MaxSteps)
	case s.Mode > Unrolled:
		reason = fmt.Sprintf("there is no mode %d", s.Mode)
	case s.Mode == CMux && s.Terms != 0 || s.Mode != CMux && (s.Terms < 1 || s.Terms > MaxTerms):
		reason = fmt.Sprintf("%d terms are not 0 for CMux or in [1, %d] for others", s.Terms, MaxTerms)
	}
	if reason != "" {
		return &UnsupportedError{Object: "rotator", N: s.N, Q: s.Q, Reason: reason}
	}
	return nil
}

// Check returns an *UnsupportedError unless the package defines this key switch.
// Q may be any odd modulus below MaxModulus and above 2^32.
func (s KeySwitchSpec) Check() error {
	reason := ""
	switch {
	case s.Q >= MaxModulus || s.Q <= 1<<32 || s.Q%2 == 0:
		reason = "q must be odd and between 2^32 and 2^50"
	case s.NIn < 1 || s.NIn > MaxLWE || s.NOut < 1 || s.NOut > MaxLWE:
		reason = fmt.Sprintf("dimensions %d and %d are not both in [1, %d]", s.NIn, s.NOut, MaxLWE)
	case !validGadget(s.BaseLog, s.Levels, 32):
		reason = fmt.Sprintf("gadget of %d levels of %d bits does not fit in 32 bits", s.Levels, s.BaseLog)
	}
	if reason != "" {
		return &UnsupportedError{Object: "key switcher", N: s.NIn, Q: s.Q, Reason: reason}
	}
	return nil
}

func validGadget(baseLog, levels, total int) bool {
	return baseLog >= 1 && levels >= 1 && baseLog <= total && levels <= total && baseLog*levels <= total
}

// RootOfUnity returns the ψ of Ring.NTT: ψ = g^((q-1)/2n) mod q for the smallest
// g >= 2 such that ψ^n = -1. The arguments must pass CheckRing.
func RootOfUnity(n int, q uint64) uint64 {
	for g := uint64(2); ; g++ {
		psi := powMod(g, (q-1)/uint64(2*n), q)
		if powMod(psi, uint64(n), q) == q-1 {
			return psi
		}
	}
}

// powMod returns x^e mod q for x < q < 2^63.
func powMod(x, e, q uint64) uint64 {
	r := uint64(1)
	for ; e != 0; e >>= 1 {
		if e&1 != 0 {
			r = mulMod(r, x, q)
		}
		x = mulMod(x, x, q)
	}
	return r
}

// mulMod returns x*y mod q for x, y < q.
func mulMod(x, y, q uint64) uint64 {
	hi, lo := bits.Mul64(x, y)
	_, r := bits.Div64(hi, lo, q)
	return r
}
