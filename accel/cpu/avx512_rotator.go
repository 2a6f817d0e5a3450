//go:build amd64 && !purego

package cpu

import (
	"math/bits"
	"sync"

	"github.com/tacit-fhe/tacit/accel"
)

// Shape of the work in the modes with several ciphertexts a step: the external
// products of ifmaBatch accumulators advance together, a tile of the key at a time that
// stays in the first-level cache with its combinations.
const (
	ifmaBatch     = 4
	ifmaTileWords = 2048
)

// rotatorIFMA is the accel.Rotator for moduli just below 2^48.
type rotatorIFMA struct {
	spec      accel.RotatorSpec
	ring      *ringIFMA
	constants [ifmaConstants]uint64 // the ring's and those of the digits
	last      ifmaForwardLastFunc
	rows      int // (Rank+1)*Levels
	// key holds for each step, each group of 64 words in internal order, each
	// polynomial of a row, each row and each ciphertext the 64 words, so that a
	// step reads it from front to back. They are multiplied by 2^52 mod q if
	// they meet the digits as they are, by 2^104 if they meet monomials first.
	key []uint64

	// The rest serves the modes with several ciphertexts.
	powers  []uint64 // pairs of ψ^i, i < 2N, and its companion
	odd     []uint64 // 2*brv(b)+1 for each group b
	zero    []uint64 // the polynomial 0
	plain   int      // 1 if the first ciphertext meets no monomial, else 0
	add     uint64   // what is added to the monomials
	tile    int      // groups of a tile
	scratch sync.Pool
}

// rotatorIFMAScratch is what a step needs next to its accumulators.
type rotatorIFMAScratch struct {
	digits, sums [][]uint64 // for each accumulator rows and Rank+1 polynomials
	factors      [][]uint64 // for each accumulator those of ifmaMonomials
	exps         [][]uint64
	monomials    []uint64 // of a tile
	combined     []uint64
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

func newRotatorIFMA(spec accel.RotatorSpec, ggsw func(i int, dst []uint64), last ifmaForwardLastFunc) *rotatorIFMA {
	k1, n, q := spec.Rank+1, spec.N, spec.Q
	rows, ggsws := k1*spec.Levels, spec.GGSWs()
	r := &rotatorIFMA{
		spec: spec,
		ring: newRingIFMA(n, q),
		last: last,
		rows: rows,
		key:  alignedWords(spec.Steps * ggsws * rows * k1 * n),
	}
	hugePages(r.key)
	r.constants = r.ring.constants
	if spec.Levels == 1 {
		c := &r.constants
		b := spec.BaseLog
		round := uint64(1) << (48 - b) >> 1
		add := uint64(1)<<47 + round
		c[ifmaDigitAdd], c[ifmaDigitSub] = add, add+q
		c[ifmaDigitLow], c[ifmaDigitHigh] = add-q/2, add+q/2
		c[ifmaDigitShift] = uint64(48 - b)
		c[ifmaDigitBase] = q - 1<<(b-1)
	}
	batch := 1
	if spec.Mode != accel.CMux {
		batch = ifmaBatch
		r.prepareMonomials()
	}
	r.scratch.New = func() any { return r.newScratch(batch) }

	once := newTwiddle(1<<52%q, q)
	twice := newTwiddle(mulMod(once.w, once.w, q), q)
	parallel(spec.Steps, func(next func() (int, bool)) {
		in, poly := make([]uint64, ggsws*rows*k1*n), alignedWords(n)
		for i, ok := next(); ok; i, ok = next() {
			ggsw(i, in)
			for at := range ggsws * rows * k1 {
				g, row, o := at/k1/rows, at/k1%rows, at%k1
				form := once
				if spec.Mode != accel.CMux && g >= r.plain {
					form = twice
				}
				copy(poly, in[at*n:])
				r.ring.forward(poly, ifmaForwardLastReduced, &prefetcher[uint64]{})
				for group := range n / 64 {
					dst := r.key[((((i*n/64+group)*k1+o)*rows+row)*ggsws+g)*64:][:64]
					for j, x := range poly[group*64:][:64] {
						dst[j] = reduceOnce(form.mul(reduceOnce(x&ifmaMask52, q), q), q)
					}
				}
			}
		}
	})
	return r
}

// prepareMonomials builds what the modes with several ciphertexts need.
func (r *rotatorIFMA) prepareMonomials() {
	n, q := r.spec.N, r.spec.Q
	psi := newTwiddle(accel.RootOfUnity(n, q), q)
	r.powers = alignedWords(2 * 2 * n)
	power := uint64(1)
	for i := range 2 * n {
		r.powers[2*i], r.powers[2*i+1] = power, shoup52(power, q)
		power = reduceOnce(psi.mul(power, q), q)
	}
	r.odd = make([]uint64, n/64)
	for b := range r.odd {
		r.odd[b] = bits.Reverse64(uint64(b))>>(63-log2(n/64)) | 1
	}
	r.zero = alignedWords(n)
	r.tile = max(1, ifmaTileWords/(64*r.spec.GGSWs()*r.rows*(r.spec.Rank+1)))
	if r.spec.Mode == accel.Block {
		r.add = q - 1
	} else {
		r.plain = 1
	}
}

func (r *rotatorIFMA) newScratch(batch int) *rotatorIFMAScratch {
	k1, n, terms := r.spec.Rank+1, r.spec.N, r.spec.Terms
	s := &rotatorIFMAScratch{
		monomials: alignedWords(64 * r.tile * terms),
		combined:  alignedWords(64 * r.tile * r.rows * k1),
	}
	for range batch {
		s.digits = append(s.digits, alignedWords(r.rows*n))
		s.sums = append(s.sums, alignedWords(k1*n))
		s.factors = append(s.factors, alignedWords(terms*24))
		s.exps = append(s.exps, make([]uint64, terms))
	}
	return s
}

func (r *rotatorIFMA) Rotate(acc [][]uint64, exps [][]uint32) {
	checkRotate(r.spec, acc, exps)
	s := r.scratch.Get().(*rotatorIFMAScratch)
	each, size := r.spec.Exponents(), len(r.key)/r.spec.Steps
	for i := range r.spec.Steps {
		for t := 0; t < len(acc); t += len(s.digits) {
			end := min(t+len(s.digits), len(acc))
			var p prefetcher[uint64]
			if end == len(acc) && i+1 < r.spec.Steps {
				p.key = r.key[(i+1)*size:][:size]
			}
			key := r.key[i*size:][:size]
			if r.spec.Mode == accel.CMux {
				r.cmux(acc[t], exps[t][i], key, s, &p)
			} else {
				r.combined(acc[t:end], exps[t:end], i*each, key, s, &p)
			}
		}
	}
	r.scratch.Put(s)
}

// cmux does acc += GGSW ⊡ (X^e*acc - acc).
func (r *rotatorIFMA) cmux(acc []uint64, e uint32, key []uint64, s *rotatorIFMAScratch, p *prefetcher[uint64]) {
	n, k1, l := r.spec.N, r.spec.Rank+1, r.spec.Levels
	digits, sums := s.digits[0], s.sums[0]
	for c := range k1 {
		a, digits := acc[c*n:][:n], digits[c*l*n:][:l*n]
		if l == 1 {
			r.digitsRotated(digits, a, e)
		} else {
			rotateSub(sums[:n], a, e, r.spec.Q)
			decomposeGeneric(digits, sums[:n], r.spec.Q, r.spec.BaseLog, l)
		}
		r.forward(digits, p)
	}
	ifmaMultiplyInverseFirst(&sums[0], &digits[0], &key[0], n/64, n, r.rows, k1, &r.constants[0])
	for o := range k1 {
		r.ring.inverse(acc[o*n:][:n], sums[o*n:][:n], ifmaInverseLastAdd, p)
	}
}

// forward transforms polynomials of digits that lie one after the other.
func (r *rotatorIFMA) forward(digits []uint64, p *prefetcher[uint64]) {
	for ; len(digits) > 0; digits = digits[r.spec.N:] {
		r.ring.forward(digits[:r.spec.N], r.last, p)
	}
}

// combined does a step of the modes with several ciphertexts, for up to ifmaBatch
// accumulators; its exponents start at first.
func (r *rotatorIFMA) combined(acc [][]uint64, exps [][]uint32, first int, key []uint64, s *rotatorIFMAScratch, p *prefetcher[uint64]) {
	n, k1, l, terms := r.spec.N, r.spec.Rank+1, r.spec.Levels, r.spec.Terms
	c := &r.constants[0]
	for t := range acc {
		r.factors(s.factors[t], s.exps[t], exps[t][first:][:terms])
		for component := range k1 {
			a, digits := acc[t][component*n:][:n], s.digits[t][component*l*n:][:l*n]
			if l == 1 {
				ifmaDigits(&digits[0], &a[0], &r.zero[0], n/8, 0, c)
			} else {
				decomposeGeneric(digits, a, r.spec.Q, r.spec.BaseLog, l)
			}
			r.forward(digits, p)
		}
	}
	polys := k1 * r.rows
	for group := 0; group < n/64; group += r.tile {
		groups := min(r.tile, n/64-group)
		tile := &key[group*64*polys*r.spec.GGSWs()]
		for t := range acc {
			ifmaMonomials(&s.monomials[0], &s.factors[t][0], &s.exps[t][0], &r.odd[group], &r.powers[0], terms, groups, r.add, uint64(2*n-1), c)
			ifmaCombine(&s.combined[0], tile, &s.monomials[0], polys, terms, groups, r.plain, c)
			ifmaMultiplyInverseFirst(&s.sums[t][group*64], &s.digits[t][group*64], &s.combined[0], groups, n, r.rows, k1, c)
		}
	}
	last := ifmaInverseLastAdd
	if r.spec.Mode == accel.Unrolled {
		last = ifmaInverseLast
	}
	for t := range acc {
		for o := range k1 {
			r.ring.inverse(acc[t][o*n:][:n], s.sums[t][o*n:][:n], last, p)
		}
	}
}

// factors prepares the arguments of ifmaMonomials that depend on the exponents.
func (r *rotatorIFMA) factors(dst, reduced []uint64, exps []uint32) {
	n := r.spec.N
	mask := 2*n - 1
	for g, e := range exps {
		e := int(e) & mask
		reduced[g] = uint64(e)
		dst := dst[24*g:][:24]
		for i, reversed := range [8]int{0, 4, 2, 6, 1, 5, 3, 7} {
			lane, vector := e*reversed*n/32&mask, e*reversed*n/4&mask
			dst[i] = r.powers[2*lane]
			dst[8+2*i], dst[9+2*i] = r.powers[2*vector], r.powers[2*vector+1]
		}
	}
}

// digitsRotated writes the digits of X^e*a - a, in decompositions with one level.
func (r *rotatorIFMA) digitsRotated(dst, a []uint64, e uint32) {
	n, q, c := len(a), r.spec.Q, &r.constants[0]
	// Coefficient j of X^shift*a is a[j-shift], with the sign changed for
	// j < shift; X^N changes it once more. The vector in which the sign changes
	// is put together first.
	shift := int(e) & (n - 1)
	wrapped, straight := 1, 0
	if int(e)&n != 0 {
		wrapped, straight = 0, 1
	}
	whole, rest := shift/8, shift%8
	if whole > 0 {
		ifmaDigits(&dst[0], &a[n-shift], &a[0], whole, wrapped, c)
	}
	at := 8 * whole
	if rest > 0 {
		var mixed [8]uint64
		copy(mixed[:rest], a[n-rest:])
		copy(mixed[rest:], a)
		negated := mixed[:rest]
		if straight == 1 {
			negated = mixed[rest:]
		}
		for i, x := range negated {
			negated[i] = q - x
		}
		ifmaDigits(&dst[at], &mixed[0], &a[at], 1, 0, c)
		at += 8
	}
	if at < n {
		ifmaDigits(&dst[at], &a[at-shift], &a[at], (n-at)/8, straight, c)
	}
}
