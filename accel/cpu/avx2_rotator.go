//go:build amd64 && !purego

package cpu

import (
	"math"

	"github.com/tacit-fhe/tacit/accel"
)

// fpEngine is the engine in floating point.
type fpEngine struct {
	*ringFP
	spec      accel.RotatorSpec
	constants [fpConstants]float64 // the ring's and those of the digits
	rows      int                  // (Rank+1)*Levels
	plain     int                  // 1 if the first ciphertext of a step meets no monomial, else 0
	minus     float64              // what is added to the monomials
	zero      []float64            // the polynomial 0
}

func newFPEngine(spec accel.RotatorSpec) *fpEngine {
	e := &fpEngine{
		ringFP: newRingFP(spec.N, spec.Q),
		spec:   spec,
		rows:   (spec.Rank + 1) * spec.Levels,
		zero:   alignedWords[float64](spec.N),
	}
	switch spec.Mode {
	case accel.Block:
		e.minus = -1
	case accel.Unrolled:
		e.plain = 1
	}
	e.constants = e.ringFP.constants
	e.constants[fpDigitScale] = math.Ldexp(1, spec.BaseLog*spec.Levels-48)
	e.constants[fpBase] = math.Ldexp(1, spec.BaseLog)
	e.constants[fpBaseInv] = math.Ldexp(1, -spec.BaseLog)
	return e
}

func (e *fpEngine) enter(acc []uint64) []float64 {
	a := asFloats(acc)
	fpImport(&a[0], &acc[0], len(acc)/4, &e.constants[0])
	return a
}

func (e *fpEngine) leave(acc []uint64) {
	fpExport(&acc[0], &asFloats(acc)[0], len(acc)/4, &e.constants[0])
}

func (e *fpEngine) rotatedDigits(digits, a []float64, exp uint32) {
	var mixed [4]float64
	negate := func(x float64) float64 { return -x }
	rotation(a, exp, mixed[:], negate, func(at int, rotated *float64, vectors int, negated bool) {
		sign := 1.0
		if negated {
			sign = -1
		}
		fpDigits(&digits[at], rotated, &a[at], vectors, sign, &e.constants[0])
	})
	e.split(digits)
}

func (e *fpEngine) plainDigits(digits, a []float64) {
	fpDigits(&digits[0], &a[0], &e.zero[0], e.n/4, 1, &e.constants[0])
	e.split(digits)
}

// split distributes the rounded values of the first polynomial over the levels.
func (e *fpEngine) split(digits []float64) {
	for level := e.spec.Levels - 1; level > 0; level-- {
		fpSplit(&digits[0], &digits[level*e.n], e.n/4, &e.constants[0])
	}
}

func (e *fpEngine) multiply(sums, digits, key *float64, groups int) {
	fpMultiplyInverseFirst(sums, digits, key, groups, e.n, e.rows, e.spec.Rank+1, &e.constants[0])
}

func (e *fpEngine) inverse(dst, sums []float64, add bool, p *prefetcher[float64]) {
	last := fpInverseLast
	if add {
		last = fpInverseLastAdd
	}
	e.ringFP.inverse(dst, sums, last, p)
}

func (e *fpEngine) monomials(dst *float64, x *monomialFactors[float64], odd *uint64, groups int) {
	fpMonomials(dst, &x.factors[0], &x.exps[0], odd, &x.powers[0], len(x.exps), groups, e.minus, uint64(2*e.n-1), &e.constants[0])
}

func (e *fpEngine) combine(dst, key, monomials *float64, groups int) {
	fpCombine(dst, key, monomials, (e.spec.Rank+1)*e.rows, e.spec.Terms, groups, e.plain, &e.constants[0])
}

func (e *fpEngine) pair(w uint64) (float64, float64) {
	c := centered(w, e.q)
	return c, c / float64(e.q)
}

// keyForm centers the values, with which both products want to meet. It is exact: they are
// below 2^52, and the quotient is off by less than its distance from a tie
// (see the generator).
func (e *fpEngine) keyForm(poly []uint64, _ bool) []float64 {
	a, q := e.enter(poly), float64(e.q)
	e.forward(a, &prefetcher[float64]{})
	for j, x := range a {
		a[j] = x - math.RoundToEven(x/q)*q
	}
	return a
}

func (e *fpEngine) storedWords() int { return 16 }

func (e *fpEngine) store(dst, group []float64) { copy(dst, group) }
