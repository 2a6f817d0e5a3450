//go:build amd64 && !purego

package cpu

import (
	"sync"

	"github.com/tacit-fhe/tacit/accel"
)

// rotatorIFMA is the accel.Rotator for moduli just below 2^48.
type rotatorIFMA struct {
	spec      accel.RotatorSpec
	ring      *ringIFMA
	constants [ifmaConstants]uint64 // the ring's and those of the digits
	rows      int                   // (Rank+1)*Levels
	last      func(a, tw *uint64, groups int, c, next *uint64, step int)
	// key holds for each step, each group of 64 words in internal order, each
	// polynomial of a row and each row the 64 words times 2^52 mod q, so that a
	// step reads it from front to back.
	key     []uint64
	scratch sync.Pool
}

// rotatorIFMAScratch is what one step needs next to its accumulator.
type rotatorIFMAScratch struct {
	digits []uint64 // rows polynomials
	sums   []uint64 // Rank+1 polynomials
}

func newRotatorIFMA(spec accel.RotatorSpec, ggsw func(i int, dst []uint64)) *rotatorIFMA {
	k1, n, q := spec.Rank+1, spec.N, spec.Q
	rows := k1 * spec.Levels
	r := &rotatorIFMA{
		spec: spec,
		ring: newRingIFMA(n, q),
		rows: rows,
		last: ifmaForwardLast,
		key:  alignedWords(spec.Steps * rows * k1 * n),
	}
	if rows > ifmaMaxLazyRows {
		r.last = ifmaForwardLastReduced
	}
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
	r.scratch.New = func() any {
		return &rotatorIFMAScratch{alignedWords(rows * n), alignedWords(k1 * n)}
	}
	toForm := newTwiddle(1<<52%q, q)
	parallel(spec.Steps, func(next func() (int, bool)) {
		in, poly := make([]uint64, rows*k1*n), alignedWords(n)
		for i, ok := next(); ok; i, ok = next() {
			ggsw(i, in)
			for row := range rows {
				for o := range k1 {
					copy(poly, in[(row*k1+o)*n:])
					r.ring.forward(poly, ifmaForwardLastReduced, &prefetcher{})
					for group := range n / 64 {
						dst := r.key[(((i*n/64+group)*k1+o)*rows+row)*64:][:64]
						for j, x := range poly[group*64:][:64] {
							x = reduceOnce(x&ifmaMask52, q)
							dst[j] = reduceOnce(toForm.mul(x, q), q)
						}
					}
				}
			}
		}
	})
	return r
}

func (r *rotatorIFMA) Rotate(acc [][]uint64, exps [][]uint32) {
	checkRotate(r.spec, acc, exps)
	s := r.scratch.Get().(*rotatorIFMAScratch)
	size := r.rows * (r.spec.Rank + 1) * r.spec.N
	for i := range r.spec.Steps {
		key := r.key[i*size:][:size]
		for t := range acc {
			var p prefetcher
			if t == len(acc)-1 && i+1 < r.spec.Steps {
				p.key = r.key[(i+1)*size:][:size]
			}
			r.step(acc[t], key, exps[t][i], s, &p)
		}
	}
	r.scratch.Put(s)
}

// step does acc += GGSW ⊡ (X^e*acc - acc).
func (r *rotatorIFMA) step(acc, key []uint64, e uint32, s *rotatorIFMAScratch, p *prefetcher) {
	n, k1, l := r.spec.N, r.spec.Rank+1, r.spec.Levels
	for c := range k1 {
		a, digits := acc[c*n:][:n], s.digits[c*l*n:][:l*n]
		if l == 1 {
			r.digits(digits, a, e)
		} else {
			poly := s.sums[:n]
			rotateSub(poly, a, e, r.spec.Q)
			decomposeGeneric(digits, poly, r.spec.Q, r.spec.BaseLog, l)
		}
		for j := range l {
			r.ring.forward(digits[j*n:][:n], r.last, p)
		}
	}
	ifmaMultiplyInverseFirst(&s.sums[0], &s.digits[0], &key[0], n, r.rows, k1, &r.constants[0])
	for o := range k1 {
		r.ring.inverse(acc[o*n:][:n], s.sums[o*n:][:n], ifmaInverseLastAdd, p)
	}
}

// digits writes the digits of X^e*a - a.
func (r *rotatorIFMA) digits(dst, a []uint64, e uint32) {
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
