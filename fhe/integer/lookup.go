package integer

import (
	"math/bits"

	"github.com/tacit-fhe/tacit/fhe"
)

// random draws a value: ciphertexts of a uniform phase, which anyone can make and
// nobody read, become uniform messages by tables that give every message the same
// share of the torus.
func (r *run) random(c *call) ([]fhe.LWE, error) {
	width := c.results[0].Bits()
	if c.op == OpRandBounded {
		width = plaintext(c.in[1]).BitLen() - 1
	}
	out := constants(make([]int64, c.results[0].Blocks()))
	var step batch
	for i := range (width + 1) / blockBits {
		lut := r.tables.uniform
		if width-blockBits*i == 1 {
			lut = r.tables.uniformBit
		}
		step.to(&out[i], r.uniform(c.seed, i), lut)
	}
	return out, r.bootstrap(&step)
}

const (
	lookupBits = 4               // of the bits that are looked up: those above 16 messages
	lookupSize = 1 << lookupBits // and their patterns
)

// lookup is a function of a Bool or of four blocks.
//
// With u = 4x₁ + x₀ and the bits c of x₃ and x₂ it is the Walsh-Hadamard sum
// f(u, c) = Σ_w (-1)^(w·c)·F_w(u), F_w(u) = 2^-4·Σ_c (-1)^(w·c)·f(u, c), over the
// sixteen patterns w: a bootstrap each, since 16 more in the argument of a table
// changes the sign of its output. The fractions cancel in the sum. A table of
// messages up to 15 serves two blocks of the result, which two more bootstraps
// take apart.
func (r *run) lookup(x []fhe.LWE, table *Table) ([]fhe.LWE, error) {
	count := table.typ.Blocks()
	digits := func(x int) []fhe.LWE {
		out := make([]int64, count)
		for j := range out {
			out[j] = table.digit(x, j)
		}
		return constants(out)
	}
	if len(x) == 1 {
		return r.choose(x[0], digits(1), digits(0))
	}
	if p := plaintext(x); p != nil {
		return digits(int(p.Int64())), nil
	}
	x, err := r.refreshAll(x, 5)
	if err != nil {
		return nil, err
	}
	var top [lookupBits]fhe.LWE // 16 times the bits of c
	var first, second, third batch
	for i, b := range x[2:] {
		for j := range blockBits {
			top[blockBits*i+j] = constant(b.Bound.Min >> j & 1 << 4)
		}
		if !isConstant(b) {
			first.add(b, r.tables.topBits, func(o []fhe.LWE) { copy(top[blockBits*i:], o) })
		}
	}
	if err := r.bootstrap(&first); err != nil {
		return nil, err
	}

	var arguments [lookupSize]fhe.LWE
	for w := range arguments {
		terms := []fhe.Term{{Weight: 4, LWE: x[1]}, {Weight: 1, LWE: x[0]}}
		for i := range top {
			if w>>i&1 == 1 {
				terms = append(terms, fhe.Term{Weight: 1, LWE: top[i]})
			}
		}
		arguments[w] = r.linear(0, terms...)
		if isConstant(arguments[w]) {
			arguments[w] = r.solid(arguments[w])
		}
		arguments[w].Bound.Min, arguments[w].Bound.Max = 0, 31 // modulo 32
	}
	out := make([]fhe.LWE, count)
	pairs := make([][]fhe.Term, (count+1)/2)
	for p := range pairs {
		value := func(x int) int64 { return table.digit(x, 2*p) + 4*table.digit(x, 2*p+1) }
		for w := range arguments {
			f := walsh(value, w)
			if f == nil {
				continue
			}
			lut, err := r.params.NewFractionLUT(0, 31, lookupBits, func(m int64) int64 { return f[m&15] * (1 - 2*(m>>4)) })
			if err != nil {
				return nil, err
			}
			second.add(arguments[w], lut, func(o []fhe.LWE) { pairs[p] = append(pairs[p], fhe.Term{Weight: 1, LWE: o[0]}) })
		}
	}
	if err := r.bootstrap(&second); err != nil {
		return nil, err
	}
	for p, terms := range pairs {
		if len(terms) == 0 {
			out[2*p] = constant(0)
			if 2*p+1 < count {
				out[2*p+1] = constant(0)
			}
			continue
		}
		in := r.merge(0, 15, 0, terms...)
		if 2*p+1 == count {
			third.add(in, r.tables.message[0], func(o []fhe.LWE) { out[2*p] = bounded(o[0], 0, table.typ.blockMax(), message) })
			continue
		}
		third.to(&out[2*p], in, r.tables.message[0])
		third.to(&out[2*p+1], in, r.tables.quarter[0])
	}
	return out, r.bootstrap(&third)
}

// walsh returns the values of 2^4·F_w, or nothing if they are all 0.
func walsh(value func(x int) int64, w int) *[16]int64 {
	var f [16]int64
	some := false
	for u := range f {
		for c := range lookupSize {
			f[u] += value(16*c+u) * int64(1-2*(bits.OnesCount(uint(w&c))&1))
		}
		some = some || f[u] != 0
	}
	if !some {
		return nil
	}
	return &f
}
