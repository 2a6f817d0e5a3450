//go:build amd64 && !purego

package cpu

import "github.com/tacit-fhe/tacit/accel"

// ifmaEngine is the engine for moduli just below 2^48.
type ifmaEngine struct {
	*ringIFMA
	spec        accel.RotatorSpec
	constants   [ifmaConstants]uint64 // the ring's and those of the digits
	rows        int                   // (Rank+1)*Levels
	last        ifmaForwardLastFunc
	plain       int      // 1 if the first ciphertext of a step meets no monomial, else 0
	minus       uint64   // what is added to the monomials
	zero        []uint64 // the polynomial 0
	once, twice twiddle  // 2^52 and 2^104 mod q
}

// ifmaForwardLastFor chooses how the digits leave the forward transform, so that
// rows times digits times factors is at most 48, as ifmaMultiplyInverseFirst wants; nil if
// nothing fits. Lazy digits are below 14q, reduced ones only just above q; a
// factor is below q, and a combination of t monomials below q*(1+3t/16), plus q for
// a plain ciphertext.
func ifmaForwardLastFor(spec accel.RotatorSpec) ifmaForwardLastFunc {
	factor := 16 // in units of q/16
	switch spec.Mode {
	case accel.Block:
		factor = 16 + 3*spec.Terms
	case accel.Unrolled:
		factor = 32 + 3*spec.Terms
	}
	rows := (spec.Rank + 1) * spec.Levels
	switch {
	case rows*14*factor <= 48*16:
		return ifmaForwardLast
	case rows*factor <= 47*16:
		return ifmaForwardLastReduced
	}
	return nil
}

func newIFMAEngine(spec accel.RotatorSpec, last ifmaForwardLastFunc) *ifmaEngine {
	q := spec.Q
	e := &ifmaEngine{
		ringIFMA: newRingIFMA(spec.N, q),
		spec:     spec,
		rows:     (spec.Rank + 1) * spec.Levels,
		last:     last,
		zero:     alignedWords[uint64](spec.N),
		once:     newTwiddle(1<<52%q, q),
	}
	e.twice = newTwiddle(mulMod(e.once.w, e.once.w, q), q)
	switch spec.Mode {
	case accel.Block:
		e.minus = q - 1
	case accel.Unrolled:
		e.plain = 1
	}
	e.constants = e.ringIFMA.constants
	c, bl := &e.constants, spec.BaseLog*spec.Levels
	round := uint64(1) << (48 - bl) >> 1
	add := uint64(1)<<47 + round
	c[ifmaDigitAdd], c[ifmaDigitSub] = add, add+q
	c[ifmaDigitLow], c[ifmaDigitHigh] = add-q/2, add+q/2
	c[ifmaDigitShift], c[ifmaDigitBase] = uint64(48-bl), q-1<<(bl-1)
	c[ifmaSplitAdd], c[ifmaSplitShift] = 1<<(spec.BaseLog-1)-1, uint64(spec.BaseLog)
	return e
}

func (e *ifmaEngine) enter(acc []uint64) []uint64 { return acc }
func (e *ifmaEngine) leave([]uint64)              {}

func (e *ifmaEngine) rotatedDigits(digits, a []uint64, exp uint32) {
	var mixed [8]uint64
	negate := func(x uint64) uint64 { return e.q - x }
	rotation(a, exp, mixed[:], negate, func(at int, rotated *uint64, vectors int, negated bool) {
		sign := 0
		if negated {
			sign = 1
		}
		ifmaDigits(&digits[at], rotated, &a[at], vectors, sign, &e.constants[0])
	})
	e.split(digits)
}

func (e *ifmaEngine) plainDigits(digits, a []uint64) {
	ifmaDigits(&digits[0], &a[0], &e.zero[0], e.n/8, 0, &e.constants[0])
	e.split(digits)
}

// split distributes the rounded values of the first polynomial over the levels.
func (e *ifmaEngine) split(digits []uint64) {
	for level := e.spec.Levels - 1; level > 0; level-- {
		ifmaSplit(&digits[0], &digits[level*e.n], e.n/8, &e.constants[0])
	}
}

func (e *ifmaEngine) forward(a []uint64, p *prefetcher[uint64]) { e.ringIFMA.forward(a, e.last, p) }

func (e *ifmaEngine) multiply(sums, digits, key *uint64, groups int) {
	ifmaMultiplyInverseFirst(sums, digits, key, groups, e.n, e.rows, e.spec.Rank+1, &e.constants[0])
}

func (e *ifmaEngine) inverse(dst, sums []uint64, add bool, p *prefetcher[uint64]) {
	last := ifmaInverseLast
	if add {
		last = ifmaInverseLastAdd
	}
	e.ringIFMA.inverse(dst, sums, last, p)
}

func (e *ifmaEngine) monomials(dst *uint64, x *monomialFactors[uint64], odd *uint64, groups int) {
	ifmaMonomials(dst, &x.factors[0], &x.exps[0], odd, &x.powers[0], len(x.exps), groups, e.minus, uint64(2*e.n-1), &e.constants[0])
}

func (e *ifmaEngine) combine(dst, key, monomials *uint64, groups int) {
	ifmaCombine(dst, key, monomials, (e.spec.Rank+1)*e.rows, e.spec.Terms, groups, e.plain, &ifmaSpread, &e.constants[0])
}

func (e *ifmaEngine) pair(w uint64) (uint64, uint64) { return w, shoup52(w, e.q) }

// keyForm multiplies by 2^52 for each of Montgomery's reductions that follow.
func (e *ifmaEngine) keyForm(poly []uint64, combined bool) []uint64 {
	form := e.once
	if combined {
		form = e.twice
	}
	e.ringIFMA.forward(poly, ifmaForwardLastReduced, &prefetcher[uint64]{})
	for j, x := range poly {
		poly[j] = reduceOnce(form.mul(reduceOnce(x&ifmaMask52, e.q), e.q), e.q)
	}
	return poly
}

// packs reports whether the key has words of six bytes: where each is read once in a step.
// In mode CMux every accumulator of a batch reads the words again, from a cache.
func (e *ifmaEngine) packs() bool { return e.spec.Mode != accel.CMux }

func (e *ifmaEngine) storedWords() int {
	if e.packs() {
		return 64 * 6 / 8
	}
	return 64
}

func (e *ifmaEngine) store(dst, group []uint64) {
	if !e.packs() {
		copy(dst, group)
		return
	}
	// Four words of six bytes are three of eight.
	for i := 0; i < len(group); i += 4 {
		a, b, c, d := group[i], group[i+1], group[i+2], group[i+3]
		dst[i/4*3], dst[i/4*3+1], dst[i/4*3+2] = a|b<<48, b>>16|c<<32, c>>32|d<<16
	}
}

// ifmaSpread tells for each byte of a vector of eight words where it is among the
// packed 48; the kernel clears the upper two of each word.
var ifmaSpread = func() (at [64]byte) {
	for i := range at {
		at[i] = byte(i/8*6 + i%8)
	}
	return at
}()
