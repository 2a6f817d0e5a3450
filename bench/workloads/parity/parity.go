// Package parity computes on encrypted bits whose exclusive or is free.
//
// A bit is a ciphertext of 0 or half the torus. Adding two of them is their
// exclusive or, since twice half the torus is nothing: it takes no bootstrap and
// costs noise alone. What is not linear takes bootstraps: a function of eight bits
// (Lookup) spends 16 for every four bits of its result, and one for every bit
// that goes in or comes out as a number. It suits ciphers and checksums, which are
// mostly exclusive ors; numbers are better off in package integer.
//
// What may not enter here: running bootstraps (package bootstrap), keys.
package parity

import (
	"context"
	"fmt"
	"math/bits"
	"slices"

	"github.com/tacit-fhe/tacit/fhe"
)

// Half is the message of a bit that is set: half the torus of blocks of 2+2 bits.
const Half = 16

// Bit is an exclusive or of ciphertexts of 0 or Half, and of a plaintext bit. It
// is kept as its terms, so that equal terms cancel and add no noise. The zero
// value is the plaintext 0.
type Bit struct {
	terms []*fhe.LWE
	flip  bool
}

// New is the bit of a ciphertext of 0 or Half, as its bound must say.
func New(c fhe.LWE) Bit { return Bit{terms: []*fhe.LWE{&c}} }

// Plain is a plaintext bit.
func Plain(b bool) Bit { return Bit{flip: b} }

// Xor is the exclusive or of bits.
func Xor(in ...Bit) Bit {
	var out Bit
	for _, b := range in {
		out.flip = out.flip != b.flip
		for _, t := range b.terms {
			if i := slices.Index(out.terms, t); i >= 0 {
				out.terms = slices.Delete(out.terms, i, i+1)
			} else {
				out.terms = append(out.terms, t)
			}
		}
	}
	return out
}

// Variance is the variance of the bit's ciphertext, relative to q².
func (b Bit) Variance() (sum float64) {
	for _, t := range b.terms {
		sum += t.Bound.Variance
	}
	return sum
}

// scaled are the bit's terms with a weight.
func (b Bit) scaled(weight int64) []fhe.Term {
	out := make([]fhe.Term, len(b.terms))
	for i, t := range b.terms {
		out[i] = fhe.Term{Weight: weight, LWE: *t}
	}
	return out
}

// Evaluator computes on bits. It is immutable and safe for concurrent use if its
// Bootstrapper is.
type Evaluator struct {
	params   *fhe.Parameters
	boot     Bootstrapper
	identity *fhe.LUT
	weighted [nibble]*fhe.LUT // 0 or 2^i
	extract  [nibble]*fhe.LUT // bit i of a number below 16
}

// Bootstrapper runs programmable bootstraps, see integer.Bootstrapper.
type Bootstrapper interface {
	Bootstrap(ctx context.Context, tasks []fhe.PBS) error
}

// nibble is the number of bits of a number that one block holds.
const nibble = 4

// NewEvaluator returns an evaluator for a parameter set with 2 message and 2 carry
// bits. For others the error is a *fhe.ParametersError.
func NewEvaluator(p *fhe.Parameters, boot Bootstrapper) (*Evaluator, error) {
	if p.Boxes() != Half {
		return nil, &fhe.ParametersError{Name: p.Name(), Field: "MessageBits", Reason: fmt.Sprintf("bits need %d boxes, not %d", Half, p.Boxes())}
	}
	e := &Evaluator{params: p, boot: boot}
	var failed error
	lut := func(lo, hi int64, f func(m int64) int64) *fhe.LUT {
		t, err := p.NewLUT(lo, hi, f)
		if err != nil {
			failed = err
		}
		return t
	}
	// Half a torus lies between the two messages of a bit.
	set := func(x int64) func(int64) int64 {
		return func(m int64) int64 {
			if m >= Half/2 {
				return x
			}
			return 0
		}
	}
	e.identity = lut(-Half/2, 3*Half/2-1, set(Half))
	for i := range nibble {
		e.weighted[i] = lut(-Half/2, 3*Half/2-1, set(1<<i))
		e.extract[i] = lut(0, Half-1, func(m int64) int64 { return Half * (m >> i & 1) })
	}
	return e, failed
}

// Ciphertext is the bit as one ciphertext of 0 or Half, whose noise is the sum of
// that of its terms.
func (e *Evaluator) Ciphertext(b Bit) fhe.LWE {
	var constant int64
	if b.flip {
		constant = Half
	}
	out := e.params.Combine(constant, b.scaled(1)...)
	out.Bound.Min, out.Bound.Max = 0, Half // modulo twice Half
	return out
}

// Refresh returns the bits as bootstrap outputs, for one bootstrap each.
func (e *Evaluator) Refresh(ctx context.Context, in []Bit) ([]Bit, error) {
	tasks := make([]fhe.PBS, len(in))
	for i, b := range in {
		tasks[i] = fhe.PBS{In: e.Ciphertext(b), LUT: e.identity, Out: make([]fhe.LWE, 1)}
	}
	if err := e.boot.Bootstrap(ctx, tasks); err != nil {
		return nil, err
	}
	out := make([]Bit, len(in))
	for i, t := range tasks {
		out[i] = New(t.Out[0])
	}
	return out, nil
}

// Byte is eight bits, least significant first.
type Byte [8]Bit

// Table is a function of a byte, prepared for Lookup.
type Table struct {
	number, signs [nibble]int              // the bits that become a number, and those that become signs
	luts          [2][1 << nibble]*fhe.LUT // by four bits of the result and pattern of signs
}

// NewTable prepares the function x -> values[x]. signs names the four bits, from
// 0, that enter as they are: the sum of their noise is what limits a Lookup, so
// they are the bits of the fewest terms. The other four are bootstrapped first.
//
// With u the number that those four make and c the four signs, the function is the
// Walsh-Hadamard sum f(u, c) = Σ_w (-1)^(w·c)·F_w(u), F_w(u) = 2^-4·Σ_c (-1)^(w·c)·f(u, c)
// over the sixteen patterns w: a bootstrap each, since half the torus in the
// argument of a table changes the sign of its output. The fractions cancel in
// the sum.
func (e *Evaluator) NewTable(values *[256]byte, signs [nibble]int) (*Table, error) {
	t := &Table{signs: signs}
	at := 0
	for i := range 8 {
		if !slices.Contains(signs[:], i) {
			if at == nibble {
				return nil, fmt.Errorf("parity: the signs %v are not four different bits", signs)
			}
			t.number[at] = i
			at++
		}
	}
	input := func(u, c int) (x int) {
		for i := range nibble {
			x |= u >> i & 1 << t.number[i]
			x |= c >> i & 1 << signs[i]
		}
		return x
	}
	for half := range t.luts {
		for w := range t.luts[half] {
			var f [Half]int64
			for u := range f {
				for c := range Half {
					value := int64(values[input(u, c)] >> (nibble * half) & 15)
					f[u] += value * int64(1-2*(bits.OnesCount(uint(w&c))&1))
				}
			}
			lut, err := e.params.NewFractionLUT(0, 2*Half-1, nibble, func(m int64) int64 { return f[m&15] * (1 - 2*(m>>nibble)) })
			if err != nil {
				return nil, err
			}
			t.luts[half][w] = lut
		}
	}
	return t, nil
}

// Bootstraps is what Lookup spends on a byte, in three rounds.
const Bootstraps = nibble + 2*(1<<nibble) + 8

// Lookup returns the values of a function of bytes, as bootstrap outputs. All
// bytes go through each round together. The error is that of the Bootstrapper,
// a *noise.NoiseError where the signs have too many terms.
func (e *Evaluator) Lookup(ctx context.Context, table *Table, in []Byte) ([]Byte, error) {
	weighted := make([]fhe.PBS, 0, nibble*len(in))
	for _, b := range in {
		for i, at := range table.number {
			weighted = append(weighted, fhe.PBS{In: e.Ciphertext(b[at]), LUT: e.weighted[i], Out: make([]fhe.LWE, 1)})
		}
	}
	if err := e.boot.Bootstrap(ctx, weighted); err != nil {
		return nil, err
	}

	var signed []fhe.PBS
	for n, b := range in {
		var number []fhe.Term
		for i := range nibble {
			number = append(number, fhe.Term{Weight: 1, LWE: weighted[nibble*n+i].Out[0]})
		}
		for w := range 1 << nibble {
			var sign Bit
			for i, at := range table.signs {
				if w>>i&1 == 1 {
					sign = Xor(sign, b[at])
				}
			}
			var constant int64
			if sign.flip {
				constant = Half
			}
			x := e.params.Combine(constant, append(sign.scaled(1), number...)...)
			x.Bound.Min, x.Bound.Max = 0, 2*Half-1 // modulo twice Half
			for half := range table.luts {
				signed = append(signed, fhe.PBS{In: x, LUT: table.luts[half][w], Out: make([]fhe.LWE, 1)})
			}
		}
	}
	if err := e.boot.Bootstrap(ctx, signed); err != nil {
		return nil, err
	}

	var out []fhe.PBS
	for n := range in {
		for half := range table.luts {
			var terms []fhe.Term
			for w := range 1 << nibble {
				terms = append(terms, fhe.Term{Weight: 1, LWE: signed[(n<<nibble+w)*len(table.luts)+half].Out[0]})
			}
			x := e.params.Combine(0, terms...)
			x.Bound.Min, x.Bound.Max = 0, Half-1
			for i := range nibble {
				out = append(out, fhe.PBS{In: x, LUT: e.extract[i], Out: make([]fhe.LWE, 1)})
			}
		}
	}
	if err := e.boot.Bootstrap(ctx, out); err != nil {
		return nil, err
	}
	result := make([]Byte, len(in))
	for i, t := range out {
		result[i/8][i%8] = New(t.Out[0])
	}
	return result, nil
}
