package fhe

import (
	"math/bits"

	"github.com/tacit-fhe/tacit/fhe/codec"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

// Packed is a list of LWE ciphertexts at rest: one GLWE ciphertext for each group of
// up to N of them, its body cut to the coefficients that hold one and its residues
// to PackedBits bits.
type Packed struct {
	masks  [][]uint64 // k·N residues a group, their low bits zero
	bodies []uint64   // one residue a ciphertext, likewise
}

// PackedStride is the distance between the coefficients that hold the ciphertexts of
// a group of count in [1, N]: N divided by the next power of two.
func (p *Parameters) PackedStride(count int) int {
	return p.lit.PolynomialSize >> bits.Len(uint(count-1))
}

// NewPacked rounds GLWE ciphertexts of (k+1)·N residues, each with a group of the
// count ciphertexts at the coefficients that are multiples of PackedStride.
//
// Rounding is centred: it changes a mask A by E, and a phase by E·S, of which
// E·Σ X^i/2 is the mean over the keys and public. That is taken out of the body
// (noise.PackedRounding).
func (p *Parameters) NewPacked(glwes [][]uint64, count int) *Packed {
	n, size, q := p.lit.PolynomialSize, p.BigDimension(), p.lit.Modulus
	c := &Packed{bodies: make([]uint64, 0, count)}
	shift := make([]int64, n) // coefficients of E·Σ X^i
	for _, glwe := range glwes {
		mask := make([]uint64, size)
		clear(shift)
		for u := 0; u < size; u += n {
			// Coefficient h of E·Σ X^i is Σ_{i<=h} e_i - Σ_{i>h} e_i. With at
			// most 16 polynomials of 2^16 errors of at most 2^31 nothing overflows.
			var sum int64
			for i, a := range glwe[u : u+n] {
				mask[u+i] = p.round(a)
				sum += centred(subMod(a, mask[u+i], q), q)
				shift[i] += 2 * sum
			}
			for i := range shift {
				shift[i] -= sum
			}
		}
		group := min(count-len(c.bodies), n)
		stride := p.PackedStride(group)
		for i := range group {
			h := i * stride
			mean := shift[h] >> 1 % int64(q)
			c.bodies = append(c.bodies, p.round(subMod(glwe[size+h], residue(mean, q), q)))
		}
		c.masks = append(c.masks, mask)
	}
	return c
}

// round returns the multiple of 2^packedDrop that is nearest to a residue, as a
// residue: those at the end of the range go to 0.
func (p *Parameters) round(x uint64) uint64 {
	if p.packedDrop == 0 {
		return x
	}
	y := (x + 1<<(p.packedDrop-1)) >> p.packedDrop << p.packedDrop
	if y >= p.lit.Modulus {
		return 0
	}
	return y
}

// centred lifts a residue to (-q/2, q/2).
func centred(x, q uint64) int64 {
	if x > q/2 {
		return int64(x) - int64(q)
	}
	return int64(x)
}

// Len is the number of ciphertexts.
func (c *Packed) Len() int { return len(c.bodies) }

// LWE extracts ciphertext i, with the bound given. No key is needed.
func (c *Packed) LWE(p *Parameters, i int, bound noise.Bound) LWE {
	n, size := p.lit.PolynomialSize, p.BigDimension()
	group := i / n
	stride := p.PackedStride(min(len(c.bodies)-group*n, n))
	out := LWE{Value: make([]uint64, size+1), Bound: bound}
	p.ExtractMask(out.Value, c.masks[group], i%n*stride)
	out.Value[size] = c.bodies[i]
	return out
}

// Encode appends the ciphertexts, without their number and bounds, to a body.
func (c *Packed) Encode(p *Parameters, e *codec.Encoder) {
	for _, m := range c.masks {
		e.CutResidues(m, p.packedDrop, p.lit.Modulus)
	}
	e.CutResidues(c.bodies, p.packedDrop, p.lit.Modulus)
}

// DecodePacked reads count packed ciphertexts, at most MaxSlots.
func DecodePacked(p *Parameters, d *codec.Decoder, count int) (*Packed, error) {
	c := new(Packed)
	if d.Err() == nil && count > MaxSlots {
		d.Fail("bodies", &codec.LimitError{What: "messages", Got: uint64(count), Max: MaxSlots})
	}
	for g := 0; g*p.lit.PolynomialSize < count && d.Err() == nil; g++ {
		d.Enter("mask", g)
		c.masks = append(c.masks, d.CutResidues("residues", p.BigDimension(), p.packedDrop, p.lit.Modulus))
		d.Leave()
	}
	if d.Err() == nil {
		c.bodies = d.CutResidues("bodies", count, p.packedDrop, p.lit.Modulus)
	}
	return c, d.Err()
}
