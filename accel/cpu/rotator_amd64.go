//go:build amd64 && !purego

package cpu

import (
	"math/bits"
	"sync"

	"github.com/tacit-fhe/tacit/accel"
)

// Shape of the work in the modes with several ciphertexts a step: the external
// products of vectorBatch accumulators advance together, a tile of the key at a time that
// stays in the first-level cache with its combinations.
const (
	vectorBatch     = 4
	vectorTileWords = 2048
)

// keyPadding is how many words behind a key the kernels read.
const keyPadding = 2

// engine is the arithmetic of a vectorRotator on residues in words of type W. Its polynomials
// in the evaluation domain are in internal order: groups of lanes*lanes words,
// in which word lanes*k+i is word lanes*i+k of accel.Ring's order.
type engine[W uint64 | float64] interface {
	// enter converts an accumulator in place, leave converts it back.
	enter(acc []uint64) []W
	leave(acc []uint64)
	// rotatedDigits writes the polynomials of the digits of X^e*a - a, level 1 first,
	// plainDigits those of a.
	rotatedDigits(digits, a []W, e uint32)
	plainDigits(digits, a []W)
	// forward transforms digits.
	forward(a []W, p *prefetcher[W])
	// multiply sums the products of all rows of digits with the key, for some groups of
	// words, and starts the inverse transform of the sums, which inverse finishes and
	// writes or adds to dst.
	multiply(sums, digits, key *W, groups int)
	inverse(dst, sums []W, add bool, p *prefetcher[W])
	// monomials writes X^e, less 1 in mode Block, for all terms of a step and some groups;
	// combine writes the combinations of the ciphertexts with them.
	monomials(dst *W, x *monomialFactors[W], odd *uint64, groups int)
	combine(dst, key, monomials *W, groups int)
	// pair returns the form of a constant factor, with its companion.
	pair(w uint64) (W, W)
	// keyForm turns a polynomial of a key into the form that meets the digits, or, if
	// combined is true, monomials first. It may work in place.
	keyForm(poly []uint64, combined bool) []W
	// storedWords is the room that a group takes in the key of a rotator, and store
	// writes one there.
	storedWords() int
	store(dst, group []W)
}

// monomialFactors is what the monomials of a step depend on.
type monomialFactors[W uint64 | float64] struct {
	powers []W      // pairs of ψ^i and its companion, i < 2N
	exps   []uint64 // below 2N, one for each term
	// factors has for each term lanes words, the factors ψ^(2e*brv(i)*N/lanes^2) of the
	// lanes i, and lanes pairs, the factors ψ^(2e*brv(k)*N/lanes) of the vectors k of a
	// group, brv reversing log2(lanes) bits.
	factors []W
}

// vectorRotator is the accel.Rotator on vector units.
type vectorRotator[W uint64 | float64] struct {
	spec   accel.RotatorSpec
	engine engine[W]
	lanes  int
	rows   int // (Rank+1)*Levels
	// key holds for each step, each group of words in internal order, each
	// polynomial of a row, each row and each ciphertext the words of the group, so
	// that a step reads it from front to back.
	key     []W
	odd     []uint64 // 2*brv(b)+1 for each group b
	powers  []W      // see monomialFactors
	tile    int      // groups of a tile
	scratch sync.Pool
}

// vectorScratch is what steps need next to their accumulators.
type vectorScratch[W uint64 | float64] struct {
	digits, sums [][]W // for each accumulator rows and Rank+1 polynomials
	factors      []monomialFactors[W]
	monomials    []W // of a tile
	combined     []W
}

func newVectorRotator[W uint64 | float64](spec accel.RotatorSpec, e engine[W], lanes int, ggsw func(i int, dst []uint64)) *vectorRotator[W] {
	k1, n, ggsws, group := spec.Rank+1, spec.N, spec.GGSWs(), lanes*lanes
	rows, stored := k1*spec.Levels, e.storedWords()
	words := spec.Steps * ggsws * rows * k1 * n / group * stored
	r := &vectorRotator[W]{
		spec:   spec,
		engine: e,
		lanes:  lanes,
		rows:   rows,
		key:    alignedWords[W](words + keyPadding)[:words],
		odd:    make([]uint64, n/group),
		tile:   max(1, vectorTileWords/(group*ggsws*rows*k1)),
	}
	hugePages(r.key)
	for b := range r.odd {
		r.odd[b] = bits.Reverse64(uint64(b))>>(63-log2(len(r.odd))) | 1
	}
	batch := 1
	if spec.Mode != accel.CMux {
		batch = vectorBatch
		psi := newTwiddle(accel.RootOfUnity(n, spec.Q), spec.Q)
		r.powers = alignedWords[W](2 * 2 * n)
		power := uint64(1)
		for i := range 2 * n {
			r.powers[2*i], r.powers[2*i+1] = e.pair(power)
			power = reduceOnce(psi.mul(power, spec.Q), spec.Q)
		}
	}
	r.scratch.New = func() any { return r.newScratch(batch) }
	parallel(spec.Steps, func(next func() (int, bool)) {
		in := alignedWords[uint64](ggsws * rows * k1 * n)
		for i, ok := next(); ok; i, ok = next() {
			ggsw(i, in)
			for at := range ggsws * rows * k1 {
				g, row, o := at/k1/rows, at/k1%rows, at%k1
				plain := spec.Mode == accel.CMux || spec.Mode == accel.Unrolled && g == 0
				poly := e.keyForm(in[at*n:][:n], !plain)
				for b := range n / group {
					at := (((i*n/group+b)*k1+o)*rows+row)*ggsws + g
					e.store(r.key[at*stored:][:stored], poly[b*group:][:group])
				}
			}
		}
	})
	return r
}

func (r *vectorRotator[W]) newScratch(batch int) *vectorScratch[W] {
	k1, n, terms := r.spec.Rank+1, r.spec.N, r.spec.Terms
	s := &vectorScratch[W]{
		monomials: alignedWords[W](r.lanes * r.lanes * r.tile * terms),
		combined:  alignedWords[W](r.lanes * r.lanes * r.tile * r.rows * k1),
	}
	for range batch {
		s.digits = append(s.digits, alignedWords[W](r.rows*n))
		s.sums = append(s.sums, alignedWords[W](k1*n))
		s.factors = append(s.factors, monomialFactors[W]{
			powers:  r.powers,
			exps:    make([]uint64, terms),
			factors: alignedWords[W](terms * 3 * r.lanes),
		})
	}
	return s
}

func (r *vectorRotator[W]) Rotate(acc [][]uint64, exps [][]uint32) {
	checkRotate(r.spec, acc, exps)
	s := r.scratch.Get().(*vectorScratch[W])
	in := make([][]W, len(acc))
	for t := range acc {
		in[t] = r.engine.enter(acc[t])
	}
	terms, size := r.spec.Exponents(), len(r.key)/r.spec.Steps
	for i := range r.spec.Steps {
		for t := 0; t < len(in); t += len(s.digits) {
			end := min(t+len(s.digits), len(in))
			var p prefetcher[W]
			if end == len(in) && i+1 < r.spec.Steps {
				p.key = r.key[(i+1)*size:][:size]
			}
			key := r.key[i*size:][:size]
			if r.spec.Mode == accel.CMux {
				r.cmux(in[t], exps[t][i], key, s, &p)
			} else {
				r.combined(in[t:end], exps[t:end], i*terms, key, s, &p)
			}
		}
	}
	for t := range acc {
		r.engine.leave(acc[t])
	}
	r.scratch.Put(s)
}

// cmux does acc += GGSW ⊡ (X^e*acc - acc).
func (r *vectorRotator[W]) cmux(acc []W, e uint32, key []W, s *vectorScratch[W], p *prefetcher[W]) {
	n, l := r.spec.N, r.spec.Levels
	digits, sums := s.digits[0], s.sums[0]
	for c := range r.spec.Rank + 1 {
		r.engine.rotatedDigits(digits[c*l*n:][:l*n], acc[c*n:][:n], e)
	}
	r.forward(digits, p)
	r.engine.multiply(&sums[0], &digits[0], &key[0], n/r.lanes/r.lanes)
	r.inverse(acc, sums, true, p)
}

// combined does a step of the modes with several ciphertexts, for up to vectorBatch
// accumulators; its exponents start at first.
func (r *vectorRotator[W]) combined(acc [][]W, exps [][]uint32, first int, key []W, s *vectorScratch[W], p *prefetcher[W]) {
	n, l, group := r.spec.N, r.spec.Levels, r.lanes*r.lanes
	for t := range acc {
		r.setFactors(&s.factors[t], exps[t][first:][:r.spec.Terms])
		for c := range r.spec.Rank + 1 {
			r.engine.plainDigits(s.digits[t][c*l*n:][:l*n], acc[t][c*n:][:n])
		}
		r.forward(s.digits[t], p)
	}
	each := len(key) / (n / group)
	for b := 0; b < n/group; b += r.tile {
		groups := min(r.tile, n/group-b)
		for t := range acc {
			r.engine.monomials(&s.monomials[0], &s.factors[t], &r.odd[b], groups)
			r.engine.combine(&s.combined[0], &key[b*each], &s.monomials[0], groups)
			r.engine.multiply(&s.sums[t][b*group], &s.digits[t][b*group], &s.combined[0], groups)
		}
	}
	for t := range acc {
		r.inverse(acc[t], s.sums[t], r.spec.Mode == accel.Block, p)
	}
}

// forward transforms polynomials of digits that lie one after the other.
func (r *vectorRotator[W]) forward(digits []W, p *prefetcher[W]) {
	for ; len(digits) > 0; digits = digits[r.spec.N:] {
		r.engine.forward(digits[:r.spec.N], p)
	}
}

// inverse ends an external product.
func (r *vectorRotator[W]) inverse(acc, sums []W, add bool, p *prefetcher[W]) {
	for n := r.spec.N; len(acc) > 0; acc, sums = acc[n:], sums[n:] {
		r.engine.inverse(acc[:n], sums[:n], add, p)
	}
}

// setFactors prepares the monomials of a step.
func (r *vectorRotator[W]) setFactors(x *monomialFactors[W], exps []uint32) {
	n, lanes := r.spec.N, r.lanes
	mask := 2*n - 1
	for g, e := range exps {
		e := int(e) & mask
		x.exps[g] = uint64(e)
		f := x.factors[3*lanes*g:][:3*lanes]
		for i := range lanes {
			twice := 2 * int(bits.Reverse8(uint8(i))>>(8-log2(lanes)))
			lane, vector := e*twice*(n/lanes/lanes)&mask, e*twice*(n/lanes)&mask
			f[i] = x.powers[2*lane]
			f[lanes+2*i], f[lanes+2*i+1] = x.powers[2*vector], x.powers[2*vector+1]
		}
	}
}

// rotation cuts X^e*a into runs of vectors for a kernel: run gets an offset, the
// address of the rotated coefficients there, the number of vectors, and whether they
// change the sign. The vector in which the sign changes is put together in mixed, for
// which negate changes the sign of a word.
func rotation[W uint64 | float64](a []W, e uint32, mixed []W, negate func(W) W, run func(at int, rotated *W, vectors int, negated bool)) {
	// Coefficient j of X^shift*a is a[j-shift], with the sign changed for
	// j < shift; X^N changes it once more.
	n, lanes := len(a), len(mixed)
	shift := int(e) & (n - 1)
	negated := int(e)&n == 0 // the first coefficients
	at := shift / lanes * lanes
	if at > 0 {
		run(0, &a[n-shift], at/lanes, negated)
	}
	if rest := shift - at; rest > 0 {
		copy(mixed[:rest], a[n-rest:])
		copy(mixed[rest:], a)
		for i := range mixed {
			if (i < rest) == negated {
				mixed[i] = negate(mixed[i])
			}
		}
		run(at, &mixed[0], 1, false)
		at += lanes
	}
	if at < n {
		run(at, &a[at-shift], (n-at)/lanes, !negated)
	}
}
