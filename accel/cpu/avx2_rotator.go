//go:build amd64 && !purego

package cpu

import (
	"math"
	"sync"

	"github.com/tacit-fhe/tacit/accel"
)

// rotatorFP is the accel.Rotator in floating point.
type rotatorFP struct {
	spec      accel.RotatorSpec
	ring      *ringFP
	constants [fpConstants]float64 // the ring's and those of the digits
	rows      int                  // (Rank+1)*Levels
	// key holds for each step, each group of 16 words in internal order, each
	// polynomial of a row and each row the 16 words, centered, so that a step
	// reads it from front to back.
	key     []float64
	scratch sync.Pool
}

// rotatorFPScratch is what a step needs next to its accumulator.
type rotatorFPScratch struct {
	digits []float64 // rows polynomials
	sums   []float64 // Rank+1 polynomials
}

func newRotatorFP(spec accel.RotatorSpec, ggsw func(i int, dst []uint64)) *rotatorFP {
	k1, n, q := spec.Rank+1, spec.N, spec.Q
	rows := k1 * spec.Levels
	r := &rotatorFP{
		spec: spec,
		ring: newRingFP(n, q),
		rows: rows,
		key:  asFloats(alignedWords(spec.Steps * rows * k1 * n)),
	}
	hugePages(r.key)
	r.constants = r.ring.constants
	r.constants[fpDigitScale] = math.Ldexp(1, spec.BaseLog*spec.Levels-48)
	r.constants[fpBase] = math.Ldexp(1, spec.BaseLog)
	r.constants[fpBaseInv] = math.Ldexp(1, -spec.BaseLog)
	r.scratch.New = func() any {
		return &rotatorFPScratch{asFloats(alignedWords(rows * n)), asFloats(alignedWords(k1 * n))}
	}
	parallel(spec.Steps, func(next func() (int, bool)) {
		in := alignedWords(rows * k1 * n)
		for i, ok := next(); ok; i, ok = next() {
			ggsw(i, in)
			for at := range rows * k1 {
				row, o := at/k1, at%k1
				poly := in[at*n:][:n]
				a := asFloats(poly)
				fpImport(&a[0], &poly[0], n/4, &r.constants[0])
				r.ring.forward(a, &prefetcher[float64]{})
				for group := range n / 16 {
					dst := r.key[(((i*n/16+group)*k1+o)*rows+row)*16:][:16]
					for j, x := range a[group*16:][:16] {
						// Exact: |x| < 2^52, and the quotient is off by less than
						// its distance from a tie (see the generator).
						dst[j] = x - math.RoundToEven(x/float64(q))*float64(q)
					}
				}
			}
		}
	})
	return r
}

// Rotate turns the accumulators into floating point, and back at the end.
func (r *rotatorFP) Rotate(acc [][]uint64, exps [][]uint32) {
	checkRotate(r.spec, acc, exps)
	s := r.scratch.Get().(*rotatorFPScratch)
	c := &r.constants[0]
	for _, a := range acc {
		fpImport(&asFloats(a)[0], &a[0], len(a)/4, c)
	}
	size := len(r.key) / r.spec.Steps
	for i := range r.spec.Steps {
		for t, a := range acc {
			var p prefetcher[float64]
			if t == len(acc)-1 && i+1 < r.spec.Steps {
				p.key = r.key[(i+1)*size:][:size]
			}
			r.cmux(asFloats(a), exps[t][i], r.key[i*size:][:size], s, &p)
		}
	}
	for _, a := range acc {
		fpExport(&a[0], &asFloats(a)[0], len(a)/4, c)
	}
	r.scratch.Put(s)
}

// cmux does acc += GGSW ⊡ (X^e*acc - acc).
func (r *rotatorFP) cmux(acc []float64, e uint32, key []float64, s *rotatorFPScratch, p *prefetcher[float64]) {
	n, k1, l := r.spec.N, r.spec.Rank+1, r.spec.Levels
	c := &r.constants[0]
	for component := range k1 {
		digits := s.digits[component*l*n:][:l*n]
		r.roundRotated(digits[:n], acc[component*n:][:n], e)
		for level := l - 1; level > 0; level-- {
			fpSplit(&digits[0], &digits[level*n], n/4, c)
		}
		for ; len(digits) > 0; digits = digits[n:] {
			r.ring.forward(digits[:n], p)
		}
	}
	fpMultiplyInverseFirst(&s.sums[0], &s.digits[0], &key[0], n, r.rows, k1, c)
	for o := range k1 {
		r.ring.inverse(acc[o*n:][:n], s.sums[o*n:][:n], fpInverseLastAdd, p)
	}
}

// roundRotated writes X^e*a - a, rounded to the top bits of the decomposition.
func (r *rotatorFP) roundRotated(dst, a []float64, e uint32) {
	n, c := len(a), &r.constants[0]
	// Coefficient j of X^shift*a is a[j-shift], with the sign changed for
	// j < shift; X^N changes it once more. The vector in which the sign changes
	// is put together first.
	shift := int(e) & (n - 1)
	wrapped, straight := -1.0, 1.0
	if int(e)&n != 0 {
		wrapped, straight = 1, -1
	}
	whole, rest := shift/4, shift%4
	if whole > 0 {
		fpDigits(&dst[0], &a[n-shift], &a[0], whole, wrapped, c)
	}
	at := 4 * whole
	if rest > 0 {
		var mixed [4]float64
		for i := range mixed {
			if i < rest {
				mixed[i] = wrapped * a[n-rest+i]
			} else {
				mixed[i] = straight * a[i-rest]
			}
		}
		fpDigits(&dst[at], &mixed[0], &a[at], 1, 1, c)
		at += 4
	}
	if at < n {
		fpDigits(&dst[at], &a[at-shift], &a[at], (n-at)/4, straight, c)
	}
}
